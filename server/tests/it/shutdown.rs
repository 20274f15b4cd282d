//! The end of a replica.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpStream;
use ws_server::{BrokerChoice, Config, broker::redis::History};

use crate::{
    client::Client,
    redis::Redis,
    replica::{Replica, over},
};

#[tokio::test]
async fn every_client_is_told_to_come_back() {
    let replica = Replica::alone(|_| {}).await;
    let mut one = Client::connect(&replica).await;
    let two = Client::connect(&replica).await;
    one.join("r").await;
    // Open, but no WebSocket: it is not waited for.
    let _silent = TcpStream::connect(replica.address).await.expect("it listens");
    replica.shutdown.cancel();
    let (one, two) = tokio::join!(one.closed(), two.closed());
    assert_eq!((one.0, two.0), (1012, 1012));
    let address = replica.address;
    replica.ended().await.expect("a shutdown is no failure");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_client_that_does_not_go_is_not_waited_for() {
    let replica = Replica::alone(|config| config.drain_timeout = Duration::from_millis(100)).await;
    let _stays = Client::connect(&replica).await;
    let start = Instant::now();
    replica.shutdown.cancel();
    replica.ended().await.expect("a shutdown is no failure");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// In the middle of a burst: what was acked is there, what was refused is not, and the answers come before the close.
#[tokio::test]
async fn what_was_taken_is_answered_before_the_end() {
    let redis = Redis::start();
    let mut replicas = Vec::new();
    for number in 1..=2 {
        let broker = BrokerChoice::RedisStream(redis.url(), History::default());
        replicas.push(Replica::start(Config { broker, ..over(&redis, number) }).await);
    }
    let (mut sender, mut other) = (Client::connect(&replicas[0]).await, Client::connect(&replicas[1]).await);
    sender.join("r").await;
    other.join("r").await;
    let mut asked = Vec::new();
    for number in 0..500 {
        let data = number.to_string();
        let reference = sender.request(json!({"op": "send", "room": "r", "data": data})).await;
        asked.push((reference, data));
    }
    sender.answer(asked[100].0).await;
    replicas[0].shutdown.cancel();
    let (frames, code) = sender.rest().await;
    assert_eq!(code, 1012);
    other.send("r", "end").await;
    let heard = other.data_until("end").await;
    for (reference, data) in &asked[101..] {
        let answer = frames.iter().find(|frame| frame["ref"] == *reference);
        // Not read any more where there is none.
        if let Some(answer) = answer {
            assert_eq!(heard.contains(data), answer["op"] == "ack", "{answer}");
        }
    }
}
