//! Every bug switch does its damage, and says so.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use ws_server::{
    BrokerChoice, Config,
    broker::{memory::Hub, redis::History},
    bug::Bug,
};

use crate::{
    client::Client,
    redis::Redis,
    replica::{Replica, over},
};

const MESSAGES: usize = 3000;

/// What came of [`MESSAGES`] numbered messages.
struct Outcome {
    /// Heard by the sender itself.
    own: Vec<String>,
    /// Heard by another member.
    other: Vec<String>,
    /// Heard by a member of another room.
    outside: Vec<String>,
}

/// Sends through a replica with `bugs`.
async fn run(bugs: &[Bug]) -> Outcome {
    let replica = Replica::alone(|config| {
        config.bugs = bugs.to_vec();
        config.limits.sends_per_second = 1_000_000;
    })
    .await;
    let mut clients = Vec::new();
    for room in ["r", "r", "elsewhere"] {
        let mut client = Client::connect(&replica).await;
        client.join(room).await;
        clients.push(client);
    }
    let names: Vec<_> = bugs.iter().map(|bug| bug.name()).collect();
    let ready: Value = serde_json::from_str(&replica.get("/readyz").await.body).expect("JSON");
    assert_eq!(ready["bugs"], json!(names));
    assert_eq!(clients[0].hello["bugs"], if names.is_empty() { Value::Null } else { json!(names) });
    for number in 0..MESSAGES {
        clients[0].request(json!({"op": "send", "room": "r", "data": data(number)})).await;
    }
    clients[0].request(json!({"op": "send", "all": true, "data": "end"})).await;
    let [sender, other, outsider] = &mut clients[..] else { unreachable!("three were connected") };
    let (own, other, outside) =
        tokio::join!(sender.data_until("end"), other.data_until("end"), outsider.data_until("end"));
    Outcome { own, other, outside }
}

fn data(number: usize) -> String {
    format!("{number:05} padding")
}

fn sent() -> Vec<String> {
    (0..MESSAGES).map(data).chain(["end".to_owned()]).collect()
}

fn distinct(data: &[String]) -> usize {
    data.iter().collect::<HashSet<_>>().len()
}

#[tokio::test]
async fn none() {
    let outcome = run(&[]).await;
    assert_eq!(outcome.own, sent());
    assert_eq!(outcome.other, sent());
    assert_eq!(outcome.outside, ["end"]);
}

#[tokio::test]
async fn drop() {
    let outcome = run(&[Bug::Drop]).await;
    assert_eq!(outcome.own, sent(), "never the sender's own copy");
    assert!(outcome.other.len() <= MESSAGES - 2, "{} arrived", outcome.other.len());
    assert!(outcome.other.is_sorted());
}

#[tokio::test]
async fn duplicate() {
    let outcome = run(&[Bug::Duplicate]).await;
    assert_eq!(outcome.own, sent(), "never the sender's own copy");
    assert!(outcome.other.len() >= MESSAGES + 3, "{} arrived", outcome.other.len());
    assert_eq!(distinct(&outcome.other), MESSAGES + 1);
}

#[tokio::test]
async fn swap() {
    let Outcome { own, other, .. } = run(&[Bug::Swap]).await;
    assert!(own != sent() || other != sent());
    for mut received in [own, other] {
        received.sort();
        assert_eq!(received, sent(), "everything arrives, once");
    }
}

#[tokio::test]
async fn leak() {
    let outcome = run(&[Bug::Leak]).await;
    assert_eq!(outcome.own, sent());
    assert_eq!(outcome.other, sent());
    assert!(outcome.outside.len() >= 3, "{:?}", outcome.outside);
}

#[tokio::test]
async fn corrupt() {
    let Outcome { own, other, .. } = run(&[Bug::Corrupt]).await;
    let sent = sent();
    let damaged: Vec<_> =
        own.iter().zip(&sent).chain(other.iter().zip(&sent)).filter(|(a, b)| a != b).collect();
    assert!(damaged.len() >= 2, "{damaged:?}");
    for (damaged, sent) in damaged {
        assert_eq!(damaged[..damaged.len() - 1], sent[..sent.len() - 1], "only the last character");
    }
}

#[tokio::test]
async fn no_echo() {
    let outcome = run(&[Bug::NoEcho]).await;
    assert!(outcome.own.len() <= MESSAGES - 2, "{} arrived", outcome.own.len());
    assert_eq!(outcome.other, sent(), "never another's copy");
}

/// What two members of one replica with `bug` hear when both send at once.
async fn both_send(bug: Bug) -> [Vec<String>; 2] {
    let replica = Replica::alone(|config| {
        config.bugs = vec![bug];
        config.limits.sends_per_second = 1_000_000;
    })
    .await;
    let mut clients = pair(&replica, &replica).await;
    for number in 0..MESSAGES {
        let request = json!({"op": "send", "room": "r", "data": data(number)});
        clients[number % 2].request(request).await;
    }
    let mut heard = [Vec::new(), Vec::new()];
    for (client, heard) in clients.iter_mut().zip(&mut heard) {
        while heard.len() < MESSAGES {
            heard.push(client.delivery().await["data"].as_str().expect("a string").to_owned());
        }
    }
    heard
}

/// Everything arrived once, and each sender's own order was kept.
fn assert_fifo(heard: &[String]) {
    assert_eq!(distinct(heard), MESSAGES);
    for sender in 0..2 {
        let of_one = |data: &&String| data[..5].parse::<usize>().expect("a number") % 2 == sender;
        assert!(heard.iter().filter(of_one).is_sorted(), "sender {sender}");
    }
}

#[tokio::test]
async fn wrong_order() {
    let [one, two] = both_send(Bug::WrongOrder).await;
    assert_ne!(one, two);
    assert_fifo(&one);
    assert_fifo(&two);
}

#[tokio::test]
async fn late() {
    let start = Instant::now();
    let [one, two] = both_send(Bug::Late).await;
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(one, two);
    assert_fifo(&one);
}

#[tokio::test]
async fn after_leave() {
    let replica = with_bug(Bug::AfterLeave).await;
    let [mut one, mut two] = pair(&replica, &replica).await;
    two.expect_ack(json!({"op": "leave", "room": "r"})).await;
    one.send("r", "late").await;
    assert_eq!(two.delivery().await["data"], "late");
    let answer = two.ask(json!({"op": "send", "room": "r", "data": "x"})).await;
    assert_eq!(answer["code"], "not_in_room", "as far as its requests go, it has left");
}

#[tokio::test]
async fn join_early() {
    let replica = with_bug(Bug::JoinEarly).await;
    let [mut one, mut two] = pair(&replica, &replica).await;
    let until_heard = async {
        for number in 0.. {
            one.send("r", &number.to_string()).await;
            assert_eq!(one.delivery().await["data"], number.to_string(), "the sender's own copy");
        }
    };
    tokio::select! {
        () = until_heard => unreachable!("it never ends"),
        first = two.delivery() => assert_ne!(first["data"], "0"),
    }
}

#[tokio::test]
async fn dead_subscription() {
    let hub = Arc::new(Hub::default());
    let mut replicas = Vec::new();
    for (node, bugs) in [("dead", vec![Bug::DeadSubscription]), ("alive", Vec::new())] {
        let config = Config::new(node.into(), BrokerChoice::Memory(hub.clone()));
        replicas.push(Replica::start(Config { bugs, ..config }).await);
    }
    let [mut dead, mut alive] = pair(&replicas[0], &replicas[1]).await;
    alive.send("r", "unheard").await;
    dead.send("r", "own").await;
    assert_eq!(dead.delivery().await["data"], "own");
    assert_eq!(alive.data_until("own").await, ["unheard", "own"]);
    replicas[0].until_ready(true).await;
}

#[tokio::test]
async fn slow_drop() {
    let replica = with_bug(Bug::SlowDrop).await;
    let [mut quick, mut slow] = pair(&replica, &replica).await;
    let padding = "x".repeat(40_000);
    let mut number = 0;
    // More than the kernel buffers.
    while number < 400 {
        quick.send("r", &format!("{number:05} {padding}")).await;
        assert!(
            quick.delivery().await["data"].as_str().expect("a string").starts_with(&format!("{number:05}"))
        );
        number += 1;
    }
    let sending = async {
        loop {
            quick.send("r", &format!("{number:05} {padding}")).await;
            quick.delivery().await;
            number += 1;
        }
    };
    let until_one_is_missing = async {
        for expected in 0.. {
            if !slow.delivery().await["data"]
                .as_str()
                .expect("a string")
                .starts_with(&format!("{expected:05}"))
            {
                return;
            }
        }
    };
    tokio::select! {
        () = sending => unreachable!("it never ends"),
        () = until_one_is_missing => {}
    }
}

/// The answers to 200 sends through a replica with `bug`, and what came of them.
async fn answers(bug: Bug) -> (Vec<Value>, Vec<String>) {
    let replica = with_bug(bug).await;
    let [mut one, mut two] = pair(&replica, &replica).await;
    let mut answers = Vec::new();
    for number in 0..200 {
        answers.push(one.ask(json!({"op": "send", "room": "r", "data": data(number)})).await);
    }
    one.send("r", "end").await;
    let heard = two.data_until("end").await;
    assert_eq!(one.data_until("end").await, heard, "the same for all");
    (answers, heard)
}

#[tokio::test]
async fn ack_early() {
    let (answers, heard) = answers(Bug::AckEarly).await;
    assert!(answers.iter().all(|answer| answer["op"] == "ack"));
    assert_eq!(heard.len(), 199, "two are missing");
}

#[tokio::test]
async fn refused_but_sent() {
    let (answers, heard) = answers(Bug::RefusedButSent).await;
    let refused = answers.iter().filter(|answer| answer["code"] == "broker_unavailable").count();
    assert_eq!((refused, heard.len()), (2, 201));
}

#[tokio::test]
async fn lost_on_reconnect() {
    let redis = Redis::start();
    let replicas = stream(&redis, Bug::LostOnReconnect).await;
    let [mut broken, mut whole] = pair(&replicas[0], &replicas[1]).await;
    let mut sent = Vec::new();
    for number in 0..10 {
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        whole.send("r", &data(number)).await;
        sent.push(data(number));
        // The listener of this one is back, then.
        assert_eq!(whole.delivery().await["data"], data(number));
    }
    broken.send("r", "end").await;
    sent.push("end".into());
    assert_eq!(whole.data_until("end").await, ["end"]);
    let heard = broken.data_until("end").await;
    assert!(heard.len() < sent.len() && heard.is_sorted(), "{heard:?}");
    assert!(!broken.has_seen("gap"), "and nobody said so");
}

#[tokio::test]
async fn twice_on_reconnect() {
    let redis = Redis::start();
    let replicas = stream(&redis, Bug::TwiceOnReconnect).await;
    let [mut broken, mut whole] = pair(&replicas[0], &replicas[1]).await;
    for number in 0..5 {
        whole.send("r", &data(number)).await;
    }
    broken.data_until(&data(4)).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(broken.data_until(&data(4)).await, [data(2), data(3), data(4)]);
    broken.send("r", "own").await;
    assert_eq!(broken.delivery().await["data"], "own");
}

#[tokio::test]
async fn false_recovered() {
    let redis = Redis::start();
    let replicas = stream(&redis, Bug::FalseRecovered).await;
    let [mut broken, mut whole] = pair(&replicas[0], &replicas[1]).await;
    whole.send("r", "last").await;
    let last = broken.delivery().await["position"].clone();
    std::mem::drop(broken);
    whole.send("r", "first missed").await;
    whole.send("r", "second missed").await;
    let mut back = Client::connect(&replicas[0]).await;
    let ack = back.ask(json!({"op": "join", "room": "r", "since": last})).await;
    assert_eq!(ack["recovered"], true);
    assert_eq!(back.delivery().await["data"], "second missed");
}

#[tokio::test]
async fn never_back() {
    let redis = Redis::start();
    let replicas = stream(&redis, Bug::NeverBack).await;
    let [broken, mut whole] = pair(&replicas[0], &replicas[1]).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(broken.closed().await.0, 1012);
    let mut new = Client::connect(&replicas[0]).await;
    let refused = new.ask(json!({"op": "join", "room": "r"})).await;
    assert_eq!(refused["code"], "broker_unavailable");
    whole.send("r", "the other goes on").await;
    whole.data_until("the other goes on").await;
}

/// A replica with `bug`; its other limits are not what is tested.
async fn with_bug(bug: Bug) -> Replica {
    Replica::alone(|config| {
        config.bugs = vec![bug];
        config.limits.sends_per_second = 1_000_000;
    })
    .await
}

/// Two replicas over a log, the first with `bug`.
async fn stream(redis: &Redis, bug: Bug) -> Vec<Replica> {
    let mut replicas = Vec::new();
    for (number, bugs) in [(1, vec![bug]), (2, Vec::new())] {
        let broker = BrokerChoice::RedisStream(redis.url(), History::default());
        replicas.push(Replica::start(Config { broker, bugs, ..over(redis, number) }).await);
    }
    replicas
}

/// A member of room `r` on each.
async fn pair(one: &Replica, two: &Replica) -> [Client; 2] {
    let mut clients = [Client::connect(one).await, Client::connect(two).await];
    for client in &mut clients {
        client.join("r").await;
    }
    clients
}
