//! Redis goes away and comes back, with clients connected.

use std::{cell::Cell, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;
use ws_server::{BrokerChoice, Config, broker::redis::History};

use crate::{
    client::Client,
    link::Link,
    redis::Redis,
    replica::{Replica, over},
};

#[tokio::test]
async fn clients_are_told_and_everything_comes_back() {
    let mut redis = Redis::start();
    let replicas = Replica::cluster(&redis, 2).await;
    let mut one = Client::connect(&replicas[0]).await;
    let mut two = Client::connect(&replicas[1]).await;
    one.join("r").await;
    two.join("r").await;
    redis.stop();
    // Into a room that is live here: its subscription is lost, an ack now would be a lie.
    let mut late = Client::connect(&replicas[0]).await;
    let send =
        async |client: &mut Client| client.ask(json!({"op": "send", "room": "r", "data": "lost"})).await;
    // The first may have been on its way.
    while send(&mut one).await["code"] != "broker_unavailable" {}
    let refused = late.ask(json!({"op": "join", "room": "r"})).await;
    assert_eq!(refused["code"], "broker_unavailable");
    for replica in &replicas {
        replica.until_ready(false).await;
        assert_eq!(replica.get("/livez").await.status, 200);
    }
    let waiting = late.request(json!({"op": "join", "room": "r"})).await;
    redis.start_again();
    assert_eq!(late.answer(waiting).await["op"], "ack", "this one waits until Redis is back");
    for replica in &replicas {
        replica.until_ready(true).await;
    }
    one.send("r", "back").await;
    for client in [&mut one, &mut two, &mut late] {
        assert_eq!(client.data_until("back").await, ["back"], "the rooms are the same as before");
    }
}

/// How long the outages last: longer than Redis is given to answer.
const OUTAGE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_redis_that_hangs_costs_nothing() {
    check(async |redis, _| {
        redis.pause();
        sleep(OUTAGE).await;
        redis.go_on();
    })
    .await;
}

#[tokio::test]
async fn links_that_stall_and_burst_cost_nothing() {
    check(async |_, links| {
        links.iter().for_each(Link::hold_all);
        sleep(OUTAGE).await;
        links.iter().for_each(Link::release);
    })
    .await;
}

#[tokio::test]
async fn answers_that_stall_and_burst_cost_nothing() {
    check(async |_, links| {
        links.iter().for_each(Link::hold_answers);
        sleep(OUTAGE).await;
        links.iter().for_each(Link::release);
    })
    .await;
}

#[tokio::test]
async fn connections_that_are_cut_again_and_again_cost_nothing() {
    check(async |redis, _| {
        for _ in 0..10 {
            for kind in ["normal", "pubsub"] {
                redis.command(&["CLIENT", "KILL", "TYPE", kind]);
            }
            sleep(OUTAGE / 30).await;
        }
    })
    .await;
}

/// Two replicas with links of their own and messages in full flow through both, while `fault` does its worst: no send
/// remains unknown, and both members get what was acked, each message once, in one order, without a gap.
async fn check(fault: impl AsyncFnOnce(&Redis, &[Link])) {
    let redis = Redis::start();
    let (mut links, mut replicas, mut members) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=2 {
        let link = Link::to(&redis).await;
        let broker =
            BrokerChoice::RedisStream(link.url(), History { messages: 100_000, ..History::default() });
        replicas.push(Replica::start(Config { broker, ..over(&redis, number) }).await);
        links.push(link);
    }
    for replica in &replicas {
        let mut member = Client::connect(replica).await;
        member.join("r").await;
        members.push(member);
    }
    let fault = async {
        sleep(OUTAGE / 10).await;
        fault(&redis, &links).await;
        sleep(OUTAGE / 10).await;
    };
    let [one, two] = &mut members[..] else { unreachable!("two were made") };
    let over = Cell::new(false);
    let (one_acked, two_acked, ()) =
        tokio::join!(send_until(one, "one", &over), send_until(two, "two", &over), async {
            fault.await;
            over.set(true);
        });
    for replica in &replicas {
        replica.until_ready(true).await;
    }
    members[0].send("r", "end").await;
    let mut heard = Vec::new();
    for member in &mut members {
        heard.push(member.data_until("end").await);
        assert!(!member.has_seen("gap"));
    }
    assert_eq!(heard[0], heard[1], "one order");
    for (name, acked) in [("one", one_acked), ("two", two_acked)] {
        let of_one: Vec<_> = heard[0].iter().filter(|data| data.starts_with(name)).collect();
        assert_eq!(of_one, acked.iter().collect::<Vec<_>>(), "what was acked, once, in its order");
    }
}

/// Sends, a few at a time, until `over`; returns what was acked. Nothing may remain unknown.
async fn send_until(member: &mut Client, name: &str, over: &Cell<bool>) -> Vec<String> {
    let mut acked = Vec::new();
    let mut number = 0;
    while !over.get() {
        let mut asked = Vec::new();
        for _ in 0..20 {
            let data = format!("{name} {number:06}");
            number += 1;
            asked.push((member.request(json!({"op": "send", "room": "r", "data": data})).await, data));
        }
        for (reference, data) in asked {
            let answer: Value = member.answer(reference).await;
            match answer["code"].as_str() {
                None => acked.push(data),
                code => assert_eq!(code, Some("broker_unavailable")),
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    acked
}
