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

/// How long an answer may be, in bytes, and how much of its body is told, in characters.
const ANSWER: usize = 64 * 1024;
const BODY: usize = 300;

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
    /// What is asked for to learn whether it is ready.
    pub(super) ready_path: String,
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

    /// What is asked for to learn whether it is ready: `/readyz`, or what its program has instead.
    #[must_use]
    pub fn ready_path(&self) -> &str {
        &self.ready_path
    }

    /// The answer at its ready path, asked at its own address: the head, and as much of the body as came in time.
    ///
    /// # Errors
    /// It does not answer within `patience`.
    pub async fn readyz(&self, patience: Duration) -> io::Result<String> {
        let mut answer = Vec::new();
        match timeout(patience, ask(self.address, &self.ready_path, &mut answer)).await {
            Ok(asked) => asked?,
            // The connection is kept open though the answer is over.
            Err(_) if has_head(&answer) => {}
            Err(elapsed) => return Err(elapsed.into()),
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let why = match self.readyz(ANSWER_TIMEOUT).await {
                Ok(answer) if is_ready(&answer) => return Ok(()),
                Ok(answer) => said(&answer),
                Err(error) => format!("{}: {error}", self.ready_path),
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

/// Whether an answer says yes. A program that has no such path (404), or nothing but WebSockets (426), is ready when it
/// answers.
pub(crate) fn is_ready(answer: &str) -> bool {
    matches!(status(answer), Some(200..=299 | 404 | 426))
}

/// The status of an answer.
pub(crate) fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.get(..3)?.parse().ok()
}

/// For a message: the status and the beginning of the body.
fn said(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body: String = body.chars().take(BODY).collect();
    match status(answer) {
        Some(status) => format!("HTTP {status} {}", body.trim()),
        None => "what answers is no HTTP".into(),
    }
}

fn has_head(answer: &[u8]) -> bool {
    answer.windows(4).any(|window| window == b"\r\n\r\n")
}

/// Reads until the answer ends or is known to be a yes, or is too long.
async fn ask(address: SocketAddr, path: &str, answer: &mut Vec<u8>) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    while stream.read_buf(answer).await? > 0 && answer.len() < ANSWER {
        if has_head(answer) && is_ready(&String::from_utf8_lossy(answer)) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_says_so_or_has_no_such_path() {
        for yes in [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 204\r\n",
            "HTTP/1.1 404 Not Found\r\n",
            "HTTP/1.1 426 Upgrade\r\n",
        ] {
            assert!(is_ready(yes), "{yes}");
        }
        for no in
            ["", "HTTP/1.1 503 Service Unavailable\r\n", "HTTP/1.1 302 Found\r\n", "SSH-2.0", "HTTP/1.1 é"]
        {
            assert!(!is_ready(no), "{no}");
        }
        assert_eq!(said("HTTP/1.1 503 No\r\nA: b\r\n\r\nnot yet\n"), "HTTP 503 not yet");
        assert_eq!(said("-ERR"), "what answers is no HTTP");
    }
}
