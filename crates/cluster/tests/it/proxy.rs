//! Every mode of the proxy, for live and for new connections.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use ws_cluster::{
    port::Port,
    proxy::{Mode, Proxy, Ways},
};

use crate::until;

/// A proxy, and a connection through it with both of its ends.
struct Link {
    proxy: Proxy,
    target: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Link {
    async fn new() -> Self {
        let target = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = Proxy::start(target.local_addr().expect("bound")).expect("starts");
        let (client, server) = pair(&proxy, &target).await;
        Self { proxy, target, client, server }
    }
}

async fn pair(proxy: &Proxy, target: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(proxy.address()).await.expect("connects");
    let (server, _) = target.accept().await.expect("the proxy connects");
    (client, server)
}

async fn arrives(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"ping").await.expect("sent");
    let mut read = [0; 4];
    to.read_exact(&mut read).await.expect("arrives");
    assert_eq!(&read, b"ping");
}

async fn is_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0; 16]).await.expect_err("no end, no bytes");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn connect_error(address: SocketAddr) -> Option<ErrorKind> {
    TcpStream::connect(address).await.err().map(|error| error.kind())
}

/// Nothing arrives, as far as can be seen: what comes after proves that it was not lost.
async fn is_silent(stream: &mut TcpStream) {
    let read = timeout(Duration::from_millis(50), stream.read_u8()).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn passing_it_passes_both_ways_and_counts() {
    let Link { proxy, mut client, mut server, .. } = Link::new().await;
    arrives(&mut client, &mut server).await;
    arrives(&mut server, &mut client).await;
    until(|| proxy.counts().passed == 8).await;
    assert_eq!(proxy.counts().live, 1);
    drop((client, server));
    until(|| proxy.counts().live == 0).await;
}

#[tokio::test]
async fn an_end_is_passed_on_after_what_was_sent_before() {
    let Link { proxy: _proxy, mut client, mut server, .. } = Link::new().await;
    client.write_all(&[7; 100_000]).await.expect("sent");
    client.shutdown().await.expect("half closed");
    let mut all = Vec::new();
    server.read_to_end(&mut all).await.expect("an end, no reset");
    assert_eq!(all, [7; 100_000]);
    // The other way is still open.
    arrives(&mut server, &mut client).await;
    drop(server);
    assert_eq!(client.read(&mut [0; 1]).await.expect("an end"), 0);
}

#[tokio::test]
async fn a_reset_is_passed_on_as_a_reset() {
    let Link { proxy: _proxy, mut client, server, .. } = Link::new().await;
    server.set_zero_linger().expect("set");
    drop(server);
    is_reset(&mut client).await;
}

#[tokio::test]
async fn a_target_that_is_gone_resets() {
    let port = Port::reserve().expect("a port");
    let proxy = Proxy::start(port.address()).expect("starts");
    let mut client = TcpStream::connect(proxy.address()).await.expect("connects");
    is_reset(&mut client).await;
}

#[tokio::test]
async fn cut_it_resets_live_and_new_connections() {
    let Link { proxy, target, mut client, mut server } = Link::new().await;
    let cut = proxy.hold(Mode::Cut);
    is_reset(&mut client).await;
    is_reset(&mut server).await;
    let mut new = TcpStream::connect(proxy.address()).await.expect("accepted");
    is_reset(&mut new).await;
    assert_eq!(proxy.counts().cut, 2);
    drop(cut);
    let (mut client, mut server) = pair(&proxy, &target).await;
    arrives(&mut client, &mut server).await;
}

#[tokio::test]
async fn a_cut_that_is_over_at_once_still_resets() {
    let Link { proxy, mut client, mut server, .. } = Link::new().await;
    drop(proxy.hold(Mode::Cut));
    is_reset(&mut client).await;
    is_reset(&mut server).await;
}

#[tokio::test]
async fn refusing_it_refuses_and_comes_back_on_its_port() {
    let Link { proxy, target, mut client, mut server } = Link::new().await;
    let refuse = proxy.hold(Mode::Refuse);
    is_reset(&mut client).await;
    is_reset(&mut server).await;
    proxy.listens(false).await;
    assert_eq!(connect_error(proxy.address()).await, Some(ErrorKind::ConnectionRefused));
    drop(refuse);
    proxy.listens(true).await;
    let (mut client, mut server) = pair(&proxy, &target).await;
    arrives(&mut client, &mut server).await;
}

#[tokio::test]
async fn stalled_it_keeps_everything_and_new_connections_wait() {
    let Link { proxy, target, mut client, mut server } = Link::new().await;
    let stall = proxy.hold(Mode::Stall(Ways::Both));
    client.write_all(b"out").await.expect("sent");
    server.write_all(b"back").await.expect("sent");
    until(|| proxy.counts().held == 7).await;
    is_silent(&mut server).await;
    is_silent(&mut client).await;
    let mut new = TcpStream::connect(proxy.address()).await.expect("accepted");
    new.write_all(b"new").await.expect("sent");
    drop(stall);
    let mut read = [0; 4];
    server.read_exact(&mut read[..3]).await.expect("arrives");
    client.read_exact(&mut read).await.expect("arrives");
    let (mut new_server, _) = target.accept().await.expect("connected at last");
    new_server.read_exact(&mut read[..3]).await.expect("arrives");
    assert_eq!(&read[..3], b"new");
}

#[tokio::test]
async fn a_stall_of_one_way_leaves_the_other() {
    let Link { proxy, mut client, mut server, .. } = Link::new().await;
    let stall = proxy.hold(Mode::Stall(Ways::In));
    arrives(&mut client, &mut server).await;
    server.write_all(b"held").await.expect("sent");
    until(|| proxy.counts().held == 4).await;
    is_silent(&mut client).await;
    drop(stall);
    client.read_exact(&mut [0; 4]).await.expect("arrives");
}

#[tokio::test]
async fn stalled_it_does_not_read_without_bound() {
    let Link { proxy, mut client, mut server, .. } = Link::new().await;
    let stall = proxy.hold(Mode::Stall(Ways::Both));
    let sent = Box::leak(vec![3; 32 << 20].into_boxed_slice());
    let sending = tokio::spawn(async move { client.write_all(sent).await.map(|()| client) });
    until(|| proxy.counts().held >= 1 << 20).await;
    is_silent(&mut server).await;
    assert!(proxy.counts().held < 2 << 20 && !sending.is_finished(), "{:?}", proxy.counts());
    drop(stall);
    tokio::io::copy(&mut server.take(32 << 20), &mut tokio::io::sink()).await.expect("all arrives");
    sending.await.expect("no panic").expect("sent");
}

#[tokio::test]
async fn slow_it_adds_the_delay_and_keeps_to_the_rate() {
    let Link { proxy, mut client, mut server, .. } = Link::new().await;
    let slow = proxy.hold(Mode::Slow { delay: Duration::from_millis(60), bytes_per_second: None });
    let start = Instant::now();
    arrives(&mut client, &mut server).await;
    arrives(&mut server, &mut client).await;
    assert!(start.elapsed() >= Duration::from_millis(120));
    assert_eq!(proxy.counts().delayed, 8);
    drop(slow);
    let _slow = proxy.hold(Mode::Slow { delay: Duration::ZERO, bytes_per_second: Some(100_000) });
    let start = Instant::now();
    client.write_all(&[1; 20_000]).await.expect("sent");
    server.read_exact(&mut [0; 20_000]).await.expect("arrives");
    assert!(start.elapsed() >= Duration::from_millis(195), "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_newest_hold_counts_and_the_older_comes_back() {
    let Link { proxy, mut client, mut server, .. } = Link::new().await;
    let stall = proxy.hold(Mode::Stall(Ways::Both));
    let slow = proxy.hold(Mode::Slow { delay: Duration::from_millis(1), bytes_per_second: None });
    arrives(&mut client, &mut server).await;
    drop(slow);
    client.write_all(b"held").await.expect("sent");
    until(|| proxy.counts().held == 4).await;
    assert!(proxy.is_held());
    drop(stall);
    assert!(!proxy.is_held());
    server.read_exact(&mut [0; 4]).await.expect("arrives");
}

#[tokio::test]
async fn dropped_it_ends_everything() {
    let Link { proxy, mut client, .. } = Link::new().await;
    let address = proxy.address();
    drop(proxy);
    assert_eq!(client.read(&mut [0; 1]).await.ok(), Some(0));
    assert_eq!(connect_error(address).await, Some(ErrorKind::ConnectionRefused));
}

/// Whatever the modes that lose no connection do and however they alternate, both streams arrive byte for byte.
#[tokio::test]
async fn streams_arrive_byte_for_byte() {
    for seed in 0..8 {
        let Link { proxy, client, server, .. } = Link::new().await;
        let (client_reads, client_writes) = client.into_split();
        let (server_reads, server_writes) = server.into_split();
        let moving = async {
            tokio::try_join!(
                send(client_writes, seed),
                send(server_writes, seed + 100),
                receive(server_reads, seed),
                receive(client_reads, seed + 100),
            )
            .map(drop)
        };
        tokio::select! {
            moved = moving => moved.expect("no reset"),
            () = disturb(&proxy, seed) => unreachable!("it does not end"),
        }
    }
}

const STREAM: usize = 3 << 20;

fn bytes(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; STREAM];
    SmallRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}

async fn send(mut to: impl tokio::io::AsyncWrite + Unpin, seed: u64) -> io::Result<()> {
    let mut random = SmallRng::seed_from_u64(seed + 1000);
    let bytes = bytes(seed);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.random_range(1..=rest.len().min(50_000)));
        to.write_all(piece).await?;
        rest = after;
    }
    to.shutdown().await
}

async fn receive(mut from: impl tokio::io::AsyncRead + Unpin, seed: u64) -> io::Result<()> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).await?;
    assert!(all == bytes(seed), "seed {seed}: {} bytes differ", all.len());
    Ok(())
}

/// Holds random modes for random times, for ever.
async fn disturb(proxy: &Proxy, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    loop {
        let hold = match random.random_range(0..5) {
            0 => Some(Mode::Stall(Ways::Both)),
            1 => Some(Mode::Stall(Ways::Out)),
            2 => Some(Mode::Slow { delay: Duration::from_millis(3), bytes_per_second: None }),
            3 => Some(Mode::Slow {
                delay: Duration::from_millis(1),
                bytes_per_second: Some(random.random_range(1_000_000..50_000_000)),
            }),
            _ => None,
        }
        .map(|mode| proxy.hold(mode));
        tokio::time::sleep(Duration::from_micros(random.random_range(0..8000))).await;
        drop(hold);
    }
}
