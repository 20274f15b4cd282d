//! The load generator that anybody writes in an hour: tokio-tungstenite with small buffers, a task a socket.
//!
//! `plain URL SOCKETS SECONDS MESSAGES`: opens the sockets as fast as it goes (256 at once, from 127.0.k.1 in turn), sends
//! so many messages in all of 128 bytes, each with a flush of its own, and holds the sockets for so long.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _, stream};
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use tokio::{net::TcpSocket, time::sleep};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// Handshakes at once.
const OPENING: usize = 256;

/// Sockets from one source address, within the half of its ports where a connect is cheap.
const PER_SOURCE: usize = 12_000;

/// Bytes of a message.
const SIZE: usize = 128;

type Socket = WebSocketStream<tokio::net::TcpStream>;
type Error = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().collect();
    let [_, url, sockets, seconds, messages] = &args[..] else {
        return Err("usage: plain URL SOCKETS SECONDS MESSAGES".into());
    };
    let (sockets, messages): (usize, usize) = (sockets.parse()?, messages.parse()?);
    let host = url.trim_start_matches("ws://").trim_end_matches('/');
    let to: SocketAddr = host.parse()?;
    let opening = stream::iter(0..sockets).map(|number| open(url, to, number)).buffer_unordered(OPENING);
    let mut open: Vec<Socket> =
        opening.filter_map(async |socket| socket.inspect_err(|why| eprintln!("{why}")).ok()).collect().await;
    println!("{} open", open.len());
    sleep(Duration::from_secs(2)).await;
    let text = "x".repeat(SIZE);
    let count = open.len();
    for number in 0..messages {
        open[number % count].send(Message::text(text.clone())).await?;
        if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    println!("{messages} sent");
    sleep(Duration::from_secs(seconds.parse()?)).await;
    Ok(())
}

async fn open(url: &str, to: SocketAddr, number: usize) -> Result<Socket, String> {
    let network = u8::try_from(number / PER_SOURCE + 1).map_err(|_| "more than 255 source addresses")?;
    let tcp = async {
        let socket = TcpSocket::new_v4()?;
        socket.set_nodelay(true)?;
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddr::from(([127, 0, network, 1], 0)))?;
        socket.connect(to).await // the port is chosen here
    };
    let tcp = tcp.await.map_err(|why| why.to_string())?;
    let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(4096);
    let opened = client_async_with_config(url, tcp, Some(config)).await;
    opened.map(|(socket, _)| socket).map_err(|why| why.to_string())
}
