//! Asks a replica whether it is ready: for a container's health check, where no curl is.

use std::{net::SocketAddr, time::Duration};

use axum::http::Uri;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long the answer is waited for.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// The most that is read of an answer.
const MOST: u64 = 64 * 1024;

/// Why a replica is not ready.
#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    /// Something else than `http://host[:port][/path]`.
    #[error("{0} is no URL that begins with http://")]
    Url(String),
    /// It can't be reached.
    #[error("can't ask {0}: {1}")]
    Io(String, std::io::Error),
    /// It took too long.
    #[error("no answer from {0} within 2 s")]
    Timeout(String),
    /// It answered something else than 200.
    #[error("{url} says {status}{}", reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    NotReady {
        /// Who was asked.
        url: String,
        /// The line with the status.
        status: String,
        /// As `/readyz` gives it.
        reason: Option<String>,
    },
}

/// The `/readyz` of a replica of this machine that listens on `listen`.
#[must_use]
pub fn url(listen: SocketAddr) -> String {
    let host = match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    };
    format!("http://{host}:{}/readyz", listen.port())
}

/// Returns when `url` has answered with 200.
///
/// # Errors
/// It has not, within [`TIMEOUT`].
pub async fn check(url: &str) -> Result<(), HealthcheckError> {
    let uri: Uri = url.parse().map_err(|_| HealthcheckError::Url(url.to_owned()))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority.ok_or_else(|| HealthcheckError::Url(url.to_owned()))?;
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MOST).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    match timeout(TIMEOUT, asking).await {
        Ok(Ok(answer)) => judge(url, &answer),
        Ok(Err(error)) => Err(HealthcheckError::Io(url.to_owned(), error)),
        Err(_) => Err(HealthcheckError::Timeout(url.to_owned())),
    }
}

fn judge(url: &str, answer: &str) -> Result<(), HealthcheckError> {
    #[derive(Deserialize)]
    struct Ready {
        reason: Option<String>,
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.lines().next().unwrap_or_default();
    let mut words = status.split(' ');
    if words.next().is_some_and(|version| version.starts_with("HTTP/1.")) && words.next() == Some("200") {
        return Ok(());
    }
    let reason = serde_json::from_str::<Ready>(body).ok().and_then(|ready| ready.reason);
    let status = status.strip_prefix("HTTP/1.1 ").unwrap_or("nothing that is HTTP").to_owned();
    Err(HealthcheckError::NotReady { url: url.to_owned(), status, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_this_machine() {
        let check = |listen: &str, expected: &str| {
            assert_eq!(url(listen.parse().expect("an address")), expected);
        };
        check("127.0.0.1:8080", "http://127.0.0.1:8080/readyz");
        check("0.0.0.0:9000", "http://127.0.0.1:9000/readyz");
        check("[::]:9000", "http://[::1]:9000/readyz");
        check("10.1.2.3:80", "http://10.1.2.3:80/readyz");
    }

    #[test]
    fn an_answer_is_judged() {
        assert!(judge("u", "HTTP/1.1 200 OK\r\n\r\n").is_ok());
        let check = |answer: &str, expected: &str| {
            assert_eq!(judge("u", answer).expect_err(answer).to_string(), expected);
        };
        check(
            "HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\n{\"ready\":false,\"reason\":\"no message\"}",
            "u says 503 Service Unavailable: no message",
        );
        check("HTTP/1.1 404 Not Found\r\n\r\n", "u says 404 Not Found");
        check("", "u says nothing that is HTTP");
        check("SSH-2.0-x 200", "u says nothing that is HTTP");
    }
}
