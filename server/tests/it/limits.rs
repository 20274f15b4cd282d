//! What is refused, and that it says so.

use serde_json::json;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::tungstenite::Error;

use crate::{
    client::Client,
    replica::{PATIENCE, Replica},
};

#[tokio::test]
async fn rooms_of_one_connection() {
    let replica = Replica::alone(|config| config.limits.rooms = 2).await;
    let mut client = Client::connect(&replica).await;
    client.join("a").await;
    client.join("b").await;
    let refused = client.ask(json!({"op": "join", "room": "c"})).await;
    assert_eq!(refused["code"], "too_many_rooms");
    // One it is in already costs nothing.
    client.join("b").await;
    client.expect_ack(json!({"op": "leave", "room": "a"})).await;
    client.join("c").await;
}

#[tokio::test]
async fn sends_a_second() {
    let replica = Replica::alone(|config| config.limits.sends_per_second = 5).await;
    let mut client = Client::connect(&replica).await;
    client.join("r").await;
    let mut requests = Vec::new();
    for _ in 0..20 {
        requests.push(client.request(json!({"op": "send", "room": "r", "data": "x"})).await);
    }
    let mut accepted = 0;
    for request in requests {
        let answer = client.answer(request).await;
        match answer["code"].as_str() {
            None => accepted += 1,
            Some(code) => {
                assert_eq!(code, "rate_limited");
                assert!(
                    answer["message"].as_str().is_some_and(|message| message.contains(" ms")),
                    "{answer}"
                );
            }
        }
    }
    // More than the burst only if this machine took its time.
    assert!((5..20).contains(&accepted), "{accepted} of 20 were accepted");
}

#[tokio::test]
async fn a_storm_of_reconnects_finds_room_in_the_queue() {
    let listener = ws_server::listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux has it");
    let storm = most.trim().parse::<usize>().expect("a number").min(1000);
    // Nobody accepts: who found no room would never be connected.
    let mut connected = Vec::new();
    for _ in 0..storm {
        let connection = timeout(PATIENCE, TcpStream::connect(address)).await.expect("there is room");
        connected.push(connection.expect("it is connected"));
    }
    drop(listener);
}

#[tokio::test]
async fn connections() {
    let replica = Replica::alone(|config| config.limits.connections = 1).await;
    let first = Client::connect(&replica).await;
    let Err(Error::Http(refused)) = Client::connect_to(replica.address).await else {
        panic!("there is room for one");
    };
    assert_eq!(refused.status(), 503);
    let body = refused.body().as_deref().unwrap_or_default();
    assert!(String::from_utf8_lossy(body).contains("1 connections"), "{body:?}");
    assert!(replica.get("/metrics").await.body.contains("\nws_server_connections_refused_total 1\n"));
    assert_eq!(replica.get("/livez").await.status, 200, "the others' endpoints are not counted");
    drop(first);
}

#[tokio::test]
async fn bytes_that_wait_for_a_slow_client() {
    let replica = Replica::alone(|config| {
        config.limits.queue_bytes = 50_000;
        config.limits.sends_per_second = 1_000_000;
    })
    .await;
    let mut slow = Client::connect(&replica).await;
    let mut quick = Client::connect(&replica).await;
    slow.join("r").await;
    quick.join("r").await;
    let data = "x".repeat(40_000);
    // More than the kernel buffers of a connection, one at a time so that the quick one keeps up.
    while !replica.get("/metrics").await.body.contains("\nws_server_connections 1\n") {
        quick.send("r", &data).await;
        quick.delivery().await;
    }
    let (code, reason) = slow.closed().await;
    assert_eq!(code, 1013, "{reason}");
    quick.send("r", "unharmed").await;
    assert_eq!(quick.delivery().await["data"], "unharmed");
}
