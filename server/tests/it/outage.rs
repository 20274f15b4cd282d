//! Redis goes away and comes back, with clients connected.

use std::{cell::Cell, time::Duration};

use serde_json::json;
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

/// The data is gone with it: what was on its way may be lost, and then is said to be, but nothing comes twice.
#[tokio::test]
async fn a_redis_that_comes_back_empty_repeats_nothing() {
    let outcome = flow(async |redis, _| {
        for _ in 0..3 {
            redis.stop();
            redis.start_again();
            sleep(OUTAGE / 5).await;
        }
    })
    .await;
    assert_eq!(outcome.gaps, [true, true]);
    for heard in &outcome.heard {
        for name in NAMES {
            let of_one: Vec<_> = heard.iter().filter(|data| data.starts_with(name)).collect();
            assert!(of_one.is_sorted_by(|one, next| one < next), "in its order, and once: {of_one:?}");
        }
    }
}

/// No send remains unknown during `fault`, and both members get what was acked, each message once, in one order,
/// without a gap.
async fn check(fault: impl AsyncFnOnce(&mut Redis, &[Link])) {
    let Outcome { answered, heard, gaps } = flow(fault).await;
    assert_eq!(gaps, [false, false]);
    assert_eq!(heard[0], heard[1], "one order");
    for (name, Answered { acked, unknown }) in NAMES.iter().zip(answered) {
        let of_one: Vec<_> = heard[0].iter().filter(|data| data.starts_with(name)).collect();
        assert_eq!(of_one, acked.iter().collect::<Vec<_>>(), "what was acked, once, in its order");
        assert_eq!(unknown, 0);
    }
}

/// The members that [`flow`] has.
const NAMES: [&str; 2] = ["one", "two"];

/// What came of a [`flow`], for each member.
struct Outcome {
    answered: [Answered; 2],
    heard: Vec<Vec<String>>,
    /// Whether it was told of one.
    gaps: [bool; 2],
}

#[derive(Default)]
struct Answered {
    acked: Vec<String>,
    unknown: usize,
}

/// Two replicas with links of their own and messages in full flow through both, while `fault` does its worst.
async fn flow(fault: impl AsyncFnOnce(&mut Redis, &[Link])) -> Outcome {
    let mut redis = Redis::start();
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
    let [one, two] = &mut members[..] else { unreachable!("two were made") };
    let over = Cell::new(false);
    let faulting = async {
        sleep(OUTAGE / 10).await;
        fault(&mut redis, &links).await;
        sleep(OUTAGE / 10).await;
        over.set(true);
    };
    let (one, two, ()) =
        tokio::join!(send_until(one, NAMES[0], &over), send_until(two, NAMES[1], &over), faulting);
    for replica in &replicas {
        replica.until_ready(true).await;
    }
    while members[0].ask(json!({"op": "send", "room": "r", "data": "end"})).await["op"] != "ack" {}
    let mut heard = Vec::new();
    for member in &mut members {
        heard.push(member.data_until("end").await);
    }
    let gaps = [0, 1].map(|member| members[member].has_seen("gap"));
    Outcome { answered: [one, two], heard, gaps }
}

/// Sends, a few at a time, until `over`.
async fn send_until(member: &mut Client, name: &str, over: &Cell<bool>) -> Answered {
    let mut answered = Answered::default();
    let mut number = 0;
    while !over.get() {
        let mut asked = Vec::new();
        for _ in 0..20 {
            let data = format!("{name} {number:06}");
            number += 1;
            asked.push((member.request(json!({"op": "send", "room": "r", "data": data})).await, data));
        }
        for (reference, data) in asked {
            match member.answer(reference).await["code"].as_str() {
                None => answered.acked.push(data),
                Some("outcome_unknown") => answered.unknown += 1,
                code => assert_eq!(code, Some("broker_unavailable")),
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    answered
}
