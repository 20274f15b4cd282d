//! Replicas inside the test's process.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;
use ws_server::{BrokerChoice, Config};

use crate::redis::Redis;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running replica. Its drop shuts it down.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<io::Result<()>>,
}

impl Replica {
    /// Starts one, and waits until it is ready.
    pub(crate) async fn start(config: Config) -> Self {
        let replica = Self::start_unready(config).await;
        replica.until_ready(true).await;
        replica
    }

    pub(crate) async fn start_unready(config: Config) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = ws_server::listen(free).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(ws_server::run(listener, config, shutdown.clone()));
        Self { address, shutdown, task }
    }

    /// One alone, with what `change` does to the default settings.
    pub(crate) async fn alone(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("app-1".into(), BrokerChoice::Memory(std::sync::Arc::default()));
        change(&mut config);
        Self::start(config).await
    }

    /// `count` of them over `redis`.
    pub(crate) async fn cluster(redis: &Redis, count: usize) -> Vec<Self> {
        let mut replicas = Vec::new();
        for number in 1..=count {
            replicas.push(Self::start(over(redis, number)).await);
        }
        replicas
    }

    /// Waits for what `/readyz` is to say.
    pub(crate) async fn until_ready(&self, ready: bool) {
        let mut polls = interval(Duration::from_millis(20));
        let polling = async {
            while (self.get("/readyz").await.status == 200) != ready {
                polls.tick().await;
            }
        };
        timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("/readyz never said {ready}"));
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")).await
    }

    /// Sends bytes as they are, and reads all that comes back.
    pub(crate) async fn request(&self, request: &str) -> Answer {
        let asking = async {
            let mut stream = TcpStream::connect(self.address).await.expect("the replica listens");
            stream.write_all(request.as_bytes()).await.expect("the replica reads");
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.expect("the replica closes");
            Answer::parse(&String::from_utf8(bytes).expect("HTTP is text"))
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("no answer to {request:?}"))
    }

    /// Waits for the end of a replica that was shut down.
    pub(crate) async fn ended(mut self) -> io::Result<()> {
        timeout(PATIENCE, &mut self.task).await.expect("a shutdown is bounded").expect("no panic")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The settings of replica `number` over `redis`.
pub(crate) fn over(redis: &Redis, number: usize) -> Config {
    Config::new(format!("app-{number}"), BrokerChoice::RedisPubSub(redis.url()))
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_lowercase(), body: body.into() }
    }
}
