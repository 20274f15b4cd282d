//! Joining, sending and leaving across replicas.

use std::time::Duration;

use serde_json::json;
use tokio::time::{interval, timeout};

use crate::{
    client::Client,
    redis::Redis,
    replica::{PATIENCE, Replica},
};

#[tokio::test]
async fn a_room_has_one_order_on_three_replicas() {
    const EACH: usize = 200;
    let redis = Redis::start();
    let replicas = Replica::cluster(&redis, 3).await;
    let mut members = Vec::new();
    for replica in replicas.iter().chain(&replicas) {
        let mut member = Client::connect(replica).await;
        member.join("r").await;
        members.push(member);
    }
    let mut sending = members.iter_mut().enumerate();
    let senders = [sending.next(), sending.next(), sending.next()].map(|sender| sender.expect("six members"));
    let send_all = async |(number, member): (usize, &mut Client)| {
        for count in 0..EACH {
            member.request(json!({"op": "send", "room": "r", "data": format!("{number} {count:03}")})).await;
        }
    };
    let [one, two, three] = senders;
    tokio::join!(send_all(one), send_all(two), send_all(three));
    let mut orders = Vec::new();
    for member in &mut members {
        let mut order = Vec::new();
        for _ in 0..3 * EACH {
            let delivery = member.delivery().await;
            order.push((delivery["from"].to_string(), delivery["data"].to_string()));
        }
        orders.push(order);
    }
    for order in &orders {
        assert_eq!(order, &orders[0], "everybody hears the same, the senders included");
    }
    for sender in &members[..3] {
        let own: Vec<_> =
            orders[0].iter().filter(|(from, _)| from.trim_matches('"') == sender.name()).collect();
        assert_eq!(own.len(), EACH);
        assert!(own.is_sorted(), "a sender's own order is kept");
    }
}

#[tokio::test]
async fn all_is_a_room_that_everybody_is_in() {
    let redis = Redis::start();
    let replicas = Replica::cluster(&redis, 2).await;
    let mut here = Client::connect(&replicas[0]).await;
    let mut there = Client::connect(&replicas[1]).await;
    here.expect_ack(json!({"op": "send", "all": true, "data": {"any": ["JSON", 1, null]}})).await;
    for client in [&mut here, &mut there] {
        let delivery = client.delivery().await;
        assert_eq!(delivery["all"], true);
        assert_eq!(delivery["room"], json!(null));
        assert_eq!(delivery["data"], json!({"any": ["JSON", 1, null]}));
    }
}

#[tokio::test]
async fn the_hello_says_who_answers() {
    let redis = Redis::start();
    let replicas = Replica::cluster(&redis, 2).await;
    let one = Client::connect(&replicas[0]).await;
    let two = Client::connect(&replicas[1]).await;
    assert_eq!(one.hello["protocol"], "ws-rooms/1");
    assert_eq!(one.hello["node"], "app-1");
    assert_eq!(two.hello["node"], "app-2");
    assert_ne!(one.name(), two.name());
    assert_eq!(one.hello["broker"], json!({"kind": "redis-pubsub", "guarantee": "at-most-once"}));
    assert_eq!(one.hello["heartbeat"], json!({"ping_interval_ms": 25_000, "ping_timeout_ms": 20_000}));
    assert_eq!(one.hello["bugs"], json!(null));
    let alone = Replica::alone(|_| {}).await;
    let client = Client::connect(&alone).await;
    assert_eq!(client.hello["broker"], json!({"kind": "memory", "guarantee": "no-silent-loss"}));
}

#[tokio::test]
async fn who_left_hears_no_more() {
    let replica = Replica::alone(|_| {}).await;
    let mut stays = Client::connect(&replica).await;
    let mut leaves = Client::connect(&replica).await;
    stays.join("r").await;
    leaves.join("r").await;
    stays.send("r", "first").await;
    leaves.expect_ack(json!({"op": "leave", "room": "r"})).await;
    stays.send("r", "second").await;
    stays.expect_ack(json!({"op": "send", "all": true, "data": "end"})).await;
    assert_eq!(stays.data_until("end").await, ["first", "second", "end"]);
    assert_eq!(leaves.data_until("end").await, ["first", "end"]);
}

#[tokio::test]
async fn rooms_do_not_mix() {
    let redis = Redis::start();
    let replicas = Replica::cluster(&redis, 2).await;
    let mut one = Client::connect(&replicas[0]).await;
    let mut two = Client::connect(&replicas[1]).await;
    // Names that a careless channel name would confuse.
    for (client, rooms) in [(&mut one, ["a", "all"]), (&mut two, ["a:b", "*"])] {
        client.join(rooms[0]).await;
        client.join(rooms[1]).await;
    }
    one.send("a", "1").await;
    one.send("all", "2").await;
    two.send("a:b", "3").await;
    two.send("*", "4").await;
    one.expect_ack(json!({"op": "send", "all": true, "data": "end"})).await;
    assert_eq!(one.data_until("end").await, ["1", "2", "end"]);
    assert_eq!(two.data_until("end").await, ["3", "4", "end"]);
}

#[tokio::test]
async fn joining_twice_is_being_there_once() {
    let replica = Replica::alone(|_| {}).await;
    let mut client = Client::connect(&replica).await;
    client.join("r").await;
    client.join("r").await;
    client.send("r", "once").await;
    client.send("r", "end").await;
    assert_eq!(client.data_until("end").await, ["once", "end"]);
}

/// The ack of a join promises every later message, so it has to come first, and after the subscription.
#[tokio::test]
async fn nothing_is_missed_after_a_join() {
    let redis = Redis::start();
    let replicas = Replica::cluster(&redis, 2).await;
    let mut sender = Client::connect(&replicas[0]).await;
    for round in 0..100 {
        let room = format!("r{round}");
        sender.join(&room).await;
        let mut member = Client::connect(&replicas[1]).await;
        member.join(&room).await;
        sender.send(&room, "hello").await;
        assert_eq!(member.delivery().await["data"], "hello");
        sender.expect_ack(json!({"op": "leave", "room": room})).await;
    }
}

#[tokio::test]
async fn an_empty_room_is_unsubscribed_and_can_come_back() {
    let redis = Redis::start();
    let replica = &Replica::cluster(&redis, 1).await[0];
    let client = redis_client(&redis);
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis is there");
    let mut channels = async || -> Vec<String> {
        redis::cmd("PUBSUB")
            .arg("CHANNELS")
            .arg("ws:room:*")
            .query_async(&mut connection)
            .await
            .expect("an answer")
    };
    let mut member = Client::connect(replica).await;
    member.join("r").await;
    assert_eq!(channels().await, ["ws:room:r"]);
    member.expect_ack(json!({"op": "leave", "room": "r"})).await;
    let mut polls = interval(Duration::from_millis(20));
    let unsubscribed = async {
        while !channels().await.is_empty() {
            polls.tick().await;
        }
    };
    timeout(PATIENCE, unsubscribed).await.expect("an empty room is unsubscribed");
    member.join("r").await;
    member.send("r", "back").await;
    assert_eq!(member.delivery().await["data"], "back");
}

#[tokio::test]
async fn who_hangs_up_is_forgotten() {
    let replica = Replica::alone(|_| {}).await;
    let mut stays = Client::connect(&replica).await;
    let mut goes = Client::connect(&replica).await;
    stays.join("r").await;
    goes.join("r").await;
    assert_eq!(goes.goodbye().await, 1005, "an empty close frame is answered by a close frame");
    stays.send("r", "still here").await;
    assert_eq!(stays.delivery().await["data"], "still here");
    let mut polls = interval(Duration::from_millis(20));
    let forgotten = async {
        while !replica.get("/metrics").await.body.contains("\nws_server_connections 1\n") {
            polls.tick().await;
        }
    };
    timeout(PATIENCE, forgotten).await.expect("the metrics count one connection");
}

fn redis_client(redis: &Redis) -> redis::Client {
    redis::Client::open(redis.url()).expect("a URL")
}
