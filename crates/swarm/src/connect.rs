//! From an address to an open WebSocket: TCP, TLS if asked, and the handshake of RFC 6455 section 4.1.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

use ws_wire::message::Position;

use crate::plan::Plan;

/// How long one try may take, from the first packet to the server's 101.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer to a handshake that is read.
const MAX_RESPONSE: usize = 16 * 1024;

/// A connection, plain or not.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a connection did not open.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Io(String),
    #[error("no answer within {} s", TRY_TIMEOUT.as_secs())]
    Timeout,
    #[error("TLS: {0}")]
    Tls(String),
    #[error("the server answered {0}")]
    Refused(String),
    #[error("not a WebSocket handshake: {0}")]
    Handshake(&'static str),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// Which connection, and where to.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    /// Its number in the run.
    pub(crate) number: u32,
    /// The endpoint whose turn it is.
    pub(crate) turn: u32,
    /// The last message to all that its session has, to get all that came after it.
    pub(crate) since: Option<&'a Position>,
}

/// A connection whose handshake is over.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    /// What came right behind the handshake.
    pub(crate) early: Vec<u8>,
    /// Who answered, if a header says so.
    pub(crate) node: Option<String>,
}

/// Opens a connection.
pub(crate) async fn connect(
    plan: &Plan,
    tls: Option<&TlsConnector>,
    way: Way<'_>,
) -> Result<Opened, ConnectError> {
    let Way { number, turn, since } = way;
    let endpoint = plan.endpoint(number, turn);
    let opening = async {
        let tcp = open_tcp(endpoint.address, plan.source_ip(number), plan.receive_buffer).await?;
        let mut stream = match tls {
            Some(tls) if endpoint.tls => {
                let name = ServerName::try_from(endpoint.host.clone())
                    .map_err(|error| ConnectError::Tls(error.to_string()))?;
                let tls =
                    tls.connect(name, tcp).await.map_err(|error| ConnectError::Tls(error.to_string()))?;
                Stream::Tls(Box::new(tls))
            }
            _ => Stream::Plain(tcp),
        };
        let url = plan.protocol.url(&endpoint.url, since);
        let (early, node) = handshake(&mut stream, &url, plan).await?;
        Ok(Opened { stream, early, node })
    };
    timeout(TRY_TIMEOUT, opening).await.unwrap_or(Err(ConnectError::Timeout))
}

async fn open_tcp(
    to: SocketAddr,
    from: Option<IpAddr>,
    receive_buffer: Option<u32>,
) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.set_nodelay(true)?;
    if let Some(from) = from {
        // The port is chosen when the peer is known: so one address has 28k of them for each peer, not for all.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(to).await
}

async fn handshake(
    stream: &mut Stream,
    url: &str,
    plan: &Plan,
) -> Result<(Vec<u8>, Option<String>), ConnectError> {
    let key = generate_key();
    stream.write_all(request(url, &key, plan).as_bytes()).await?;
    stream.flush().await?;
    let mut response = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut response).await? == 0 {
            return Err(ConnectError::Handshake("the server closed the connection"));
        }
        if let Some((len, node)) = accepted(&response, &key, &plan.node_header)? {
            return Ok((response.split_off(len), node));
        }
        if response.len() > MAX_RESPONSE {
            return Err(ConnectError::Handshake("the answer never ends"));
        }
    }
}

/// The request of a handshake. The URL was checked when it was resolved, the headers when they were typed.
fn request(url: &str, key: &str, plan: &Plan) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let root = if path.starts_with('/') { "" } else { "/" };
    let mut request = format!(
        "GET {root}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    );
    let subprotocol = plan.protocol.subprotocol().map(|name| ("Sec-WebSocket-Protocol", name));
    let headers = plan.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in headers.chain(subprotocol) {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request + "\r\n"
}

/// The length of the response once it is whole and says yes, and who says it.
fn accepted(
    response: &[u8],
    key: &str,
    node_header: &str,
) -> Result<Option<(usize, Option<String>)>, ConnectError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let len = match parsed.parse(response) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ConnectError::Handshake("the answer is not HTTP")),
    };
    if parsed.code != Some(101) {
        let status = format!("{} {}", parsed.code.unwrap_or(0), parsed.reason.unwrap_or(""));
        let body = String::from_utf8_lossy(&response[len..]).chars().take(120).collect::<String>();
        return Err(ConnectError::Refused(format!("{} {}", status.trim(), body.trim()).trim().to_owned()));
    }
    let header = |name: &str| {
        parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    };
    match header("sec-websocket-accept") {
        Some(value) if value == derive_accept_key(key.as_bytes()).as_bytes() => {
            let node = header(node_header).map(|node| String::from_utf8_lossy(node).into_owned());
            Ok(Some((len, node)))
        }
        _ => Err(ConnectError::Handshake("the server's Sec-WebSocket-Accept is not the answer to our key")),
    }
}

impl Stream {
    /// From now on its end is a reset: what is on its way is thrown away, at both sides.
    pub(crate) fn reset_at_drop(&self) {
        // An error: it is broken already.
        let _ = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// Bytes that have arrived and were not read.
    pub(crate) fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(self.tcp()).unwrap_or(0)
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
