//! Silence, and how it ends.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{interval, timeout},
};

use crate::{
    client::Client,
    redis::Redis,
    replica::{PATIENCE, Replica, over},
};

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn who_does_not_answer_pings_is_closed() {
    let replica = Replica::alone(|config| {
        config.ping_interval = SHORT;
        config.ping_timeout = SHORT;
    })
    .await;
    let mut alive = Client::connect(&replica).await;
    let dead = Client::connect(&replica).await;
    alive.join("r").await;
    // The one is read and so answers by its library, the other is only recorded.
    let mut ticks = interval(SHORT / 10);
    let recorded = tokio::select! {
        recorded = dead.raw_to_end() => recorded,
        () = async {
            loop {
                ticks.tick().await;
                alive.expect_ack(json!({"op": "send", "room": "r", "data": "x"})).await;
            }
        } => unreachable!("it never ends"),
    };
    assert!(recorded.starts_with(&[0x89, 0]), "a ping first: {recorded:x?}");
    let close = [&4000_u16.to_be_bytes()[..], b"ping timeout"].concat();
    assert!(recorded.windows(close.len()).any(|window| window == close), "then the close: {recorded:x?}");
    alive.expect_ack(json!({"op": "join", "room": "other"})).await;
}

/// It is not read meanwhile, so its silence says nothing.
#[tokio::test]
async fn who_waits_for_the_broker_is_not_taken_for_dead() {
    let mut redis = Redis::start();
    let mut config = over(&redis, 1);
    config.ping_interval = SHORT;
    config.ping_timeout = SHORT;
    let replica = Replica::start(config).await;
    redis.stop();
    replica.until_ready(false).await;
    let mut client = Client::connect(&replica).await;
    let answer = client.ask(json!({"op": "join", "room": "r"})).await;
    assert_eq!(answer["code"], "broker_unavailable");
}

#[tokio::test]
async fn who_asks_for_nothing_is_closed_if_so_configured() {
    let replica = Replica::alone(|config| {
        config.ping_timeout = SHORT;
        config.idle_timeout = Some(SHORT);
    })
    .await;
    let client = Client::connect(&replica).await;
    assert_eq!(client.closed().await.0, 4001);
}

#[tokio::test]
async fn a_ping_is_answered_with_its_own_payload() {
    let replica = Replica::alone(|config| {
        config.ping_interval = SHORT;
        config.ping_timeout = SHORT;
    })
    .await;
    let mut client = Client::connect(&replica).await;
    client.raw(b"\x89\x83\0\0\0\0abc").await;
    let recorded = client.raw_to_end().await;
    assert!(recorded.starts_with(b"\x8a\x03abc"), "{recorded:x?}");
}

/// Connects, sends `start` and no more; the server must hang up.
async fn check_half_open(replica: &Replica, start: &[u8]) {
    let mut stream = TcpStream::connect(replica.address).await.expect("the replica listens");
    stream.write_all(start).await.expect("it is open");
    let end = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    end.unwrap_or_else(|_| panic!("still open after {start:?}")).expect("in order");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let replica = Replica::alone(|config| config.handshake_timeout = SHORT).await;
    check_half_open(&replica, b"").await;
    check_half_open(&replica, b"GET /ws HTTP/1.1\r\nHost: ").await;
    check_half_open(&replica, b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n").await;
    check_half_open(&replica, b"\x16\x03\x01\x02\x00\x01").await;
}
