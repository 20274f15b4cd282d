//! A link to Redis that can be broken in ways of its own.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{redis::Redis, replica::PATIENCE};

/// Forwards connections to a Redis. Its drop ends them.
pub(crate) struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    end: CancellationToken,
}

struct Shared {
    /// Connections accepted so far.
    connections: watch::Sender<usize>,
    /// Connections with a number below this have their requests held back, even after the client is gone.
    requests_held: watch::Sender<usize>,
    /// The same of answers.
    answers_held: watch::Sender<usize>,
    /// Connections that Redis has read to the end.
    ended: watch::Sender<usize>,
}

impl Link {
    pub(crate) async fn to(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            connections: watch::Sender::new(0),
            requests_held: watch::Sender::new(0),
            answers_held: watch::Sender::new(0),
            ended: watch::Sender::new(0),
        });
        let end = CancellationToken::new();
        let serving = serve(listener, redis.address(), shared.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(serving));
        Self { address, shared, end }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// From now on nothing reaches Redis on the connections that there are; new ones are free.
    pub(crate) fn hold_requests(&self) {
        self.shared.requests_held.send_replace(self.connections());
    }

    /// From now on nothing comes back on the connections that there are; new ones are free.
    pub(crate) fn hold_answers(&self) {
        self.shared.answers_held.send_replace(self.connections());
    }

    /// Nothing comes through in either direction, and nothing is lost.
    pub(crate) fn hold_all(&self) {
        self.shared.requests_held.send_replace(usize::MAX);
        self.shared.answers_held.send_replace(usize::MAX);
    }

    /// Waits until Redis has done all that came on some connection, and closed it.
    pub(crate) async fn one_ended(&self) {
        let mut ended = self.shared.ended.subscribe();
        let ended = ended.wait_for(|ended| *ended > 0);
        timeout(PATIENCE, ended).await.expect("a connection ends").expect("the link is there");
    }

    /// What was held goes on: nothing was lost.
    pub(crate) fn release(&self) {
        self.shared.requests_held.send_replace(0);
        self.shared.answers_held.send_replace(0);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn serve(listener: TcpListener, redis: SocketAddr, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.expect("it listens");
        let number = *shared.connections.borrow();
        shared.connections.send_replace(number + 1);
        let Ok(server) = TcpStream::connect(redis).await else { continue };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::spawn(forward(from_client, to_server, number, shared.requests_held.subscribe()));
        let shared = shared.clone();
        tokio::spawn(async move {
            forward(from_server, to_client, number, shared.answers_held.subscribe()).await;
            shared.ended.send_modify(|ended| *ended += 1);
        });
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: usize,
    mut held: watch::Receiver<usize>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        // Errors: the test is over, or nobody reads any more.
        if held.wait_for(|held| *held <= number).await.is_err() {
            return;
        }
        let _ = to.write_all(&buffer[..count]).await;
    }
}
