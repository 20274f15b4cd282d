//! A trivial WebSocket server, the same for all load generators: it answers handshakes, pings and closes, counts messages
//! and drops them. One thread, no rooms, nothing kept of a connection but what is incomplete.
//!
//! `sink 127.0.0.1:9000`; `GET /stats` on the same port answers `{"opened":..,"open":..,"messages":..}`.

use std::{cell::Cell, future::poll_fn, io, net::SocketAddr, pin::Pin, rc::Rc};

use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use ws_wire::frame::{self, Message, MessageReader, Role, opcode};

/// Longer handshakes and messages are refused.
const MAX: usize = 64 * 1024;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// What all connections share.
#[derive(Default)]
struct Sink {
    opened: Cell<u64>,
    open: Cell<u64>,
    messages: Cell<u64>,
    /// Lent to whoever reads.
    buffer: Cell<Vec<u8>>,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).and_then(|address| address.parse().ok());
    let address: SocketAddr = address.ok_or_else(|| io::Error::other("usage: sink IP:PORT"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, serve(address))
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let sink = Rc::new(Sink::default());
    sink.buffer.set(vec![0; MAX]);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(connection(sink.clone(), stream));
    }
}

/// One connection to its end; how it ends is nobody's business here.
async fn connection(sink: Rc<Sink>, mut stream: TcpStream) {
    let Ok(Some(behind)) = handshake(&sink, &mut stream).await else { return };
    sink.opened.set(sink.opened.get() + 1);
    sink.open.set(sink.open.get() + 1);
    let _ = messages(&sink, &mut stream, behind).await;
    sink.open.set(sink.open.get() - 1);
}

/// Answers the request; what came behind it, if it was a handshake.
async fn handshake(sink: &Sink, stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut request = Vec::new();
    loop {
        if !read(sink, stream, |bytes| request.extend_from_slice(bytes)).await? || request.len() > MAX {
            return Ok(None);
        }
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Request::new(&mut headers);
        let Ok(status) = parsed.parse(&request) else { return Ok(None) };
        let httparse::Status::Complete(len) = status else { continue };
        let key = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"));
        let Some(key) = key else {
            stream.write_all(stats(sink).as_bytes()).await?;
            return Ok(None);
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.value)
        );
        stream.write_all(answer.as_bytes()).await?;
        return Ok(Some(request.split_off(len)));
    }
}

fn stats(sink: &Sink) -> String {
    let Sink { opened, open, messages, .. } = sink;
    let body =
        format!(r#"{{"opened":{},"open":{},"messages":{}}}"#, opened.get(), open.get(), messages.get());
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn messages(sink: &Sink, stream: &mut TcpStream, mut behind: Vec<u8>) -> io::Result<()> {
    let mut reader = MessageReader::new(Role::Server, MAX);
    let mut answers = Vec::new();
    let mut ends = false;
    let mut hear = |bytes: &mut [u8], answers: &mut Vec<u8>| {
        let heard = reader.read(bytes, |message| {
            match message {
                Message::Text(_) | Message::Binary(_) => sink.messages.set(sink.messages.get() + 1),
                Message::Ping(payload) => frame::write_server(answers, opcode::PONG, payload),
                Message::Pong(_) => {}
                Message::Close(code, _) => {
                    let payload = frame::close_payload(code.unwrap_or(1000), "");
                    frame::write_server(answers, opcode::CLOSE, &payload);
                    ends = true;
                }
            }
            true
        });
        heard.is_ok() && !ends
    };
    let mut goes_on = hear(&mut behind, &mut answers);
    loop {
        if !answers.is_empty() {
            stream.write_all(&answers).await?;
            answers = Vec::new();
        }
        if !goes_on || !read(sink, stream, |bytes| goes_on = hear(bytes, &mut answers)).await? {
            return Ok(());
        }
    }
}

/// Hands on what one read brings; false at the end.
async fn read(sink: &Sink, stream: &mut TcpStream, mut take: impl FnMut(&mut [u8])) -> io::Result<bool> {
    poll_fn(|cx| {
        let mut buffer = sink.buffer.take();
        let mut bytes = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut *stream).poll_read(cx, &mut bytes).map_ok(|()| {
            let filled = bytes.filled_mut();
            let is_open = !filled.is_empty();
            if is_open {
                take(filled);
            }
            is_open
        });
        sink.buffer.set(buffer);
        polled
    })
    .await
}
