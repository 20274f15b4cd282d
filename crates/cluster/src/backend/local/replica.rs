//! One replica, and what stands between it and the others.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{port::Port, proxy::Proxy, service::Service};

/// How long a replica has to hear itself through its broker.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long it has for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it is asked again.
const POLL: Duration = Duration::from_millis(10);

/// One replica.
#[derive(Debug)]
pub struct Replica {
    /// Its name, `app-1` and so on.
    pub node: String,
    /// Where clients find its WebSocket: behind its front, if it has one.
    pub url: String,
    pub(super) address: SocketAddr,
    /// If it is a process.
    pub(super) own: Option<Own>,
    /// Its way to Redis, if it can be broken.
    pub(super) link: Option<Proxy>,
    /// What a balancer would be, if it can be broken.
    pub(super) front: Option<Proxy>,
}

/// What a replica is that is a process.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) service: Service,
    #[expect(dead_code, reason = "held, so that the port is still ours when it comes back")]
    pub(super) port: Port,
}

impl Replica {
    /// Its own address, past any front.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process; none if it runs in ours.
    #[must_use]
    pub fn service(&self) -> Option<&Service> {
        self.own.as_ref().map(|own| &own.service)
    }

    /// Its way to Redis, if some fault is to break it.
    #[must_use]
    pub fn link(&self) -> Option<&Proxy> {
        self.link.as_ref()
    }

    /// What stands between it and the clients, if some fault is to break it.
    #[must_use]
    pub fn front(&self) -> Option<&Proxy> {
        self.front.as_ref()
    }

    /// Whether a fault keeps it from getting ready.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.service().is_some_and(Service::is_held) || self.link().is_some_and(Proxy::is_held)
    }

    /// The status line and the body of `/readyz`, asked at its own address.
    ///
    /// # Errors
    /// It does not answer within `patience`.
    pub async fn readyz(&self, patience: Duration) -> io::Result<String> {
        timeout(patience, readyz(self.address)).await?
    }

    /// Waits for a 200 of `/readyz`.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let why = match self.readyz(ANSWER_TIMEOUT).await {
                Ok(answer) if is_ready(&answer) => return Ok(()),
                Ok(answer) => answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned(),
                Err(error) => format!("/readyz: {error}"),
            };
            if let Some(said) = self.service().and_then(Service::death) {
                return Err(said);
            }
            if Instant::now() >= deadline {
                let said = self.service().map(Service::last_lines).unwrap_or_default();
                return Err(format!("not ready within {} s: {why}; {said}", READY_TIMEOUT.as_secs()));
            }
            sleep(POLL).await;
        }
    }
}

/// Whether an answer of `/readyz` says yes.
pub(crate) fn is_ready(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200")
}

async fn readyz(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
