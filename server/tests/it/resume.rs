//! Members that were away, on the broker with a log: they get all that they missed, or are told that they can't.

use serde_json::{Value, json};
use ws_server::{BrokerChoice, broker::redis::History};

use crate::{
    client::Client,
    redis::Redis,
    replica::{Replica, over},
};

#[tokio::test]
async fn who_comes_back_gets_what_came_meanwhile() {
    let redis = Redis::start();
    let replicas = cluster(&redis, History::default()).await;
    let mut one = Client::connect(&replicas[0]).await;
    let mut two = Client::connect(&replicas[1]).await;
    let joined = one.ask(join("r", None)).await;
    assert_eq!(joined["position"]["offset"], 0);
    two.join("r").await;
    let sent = two.ask(json!({"op": "send", "room": "r", "data": "before"})).await;
    let before = one.delivery().await;
    assert_eq!(before["position"], sent["position"]);
    assert_eq!(before["position"]["epoch"], joined["position"]["epoch"]);
    drop(one);
    for data in ["while", "away"] {
        two.send("r", data).await;
    }
    // On another replica than before.
    let mut back = Client::connect(&replicas[1]).await;
    let ack = back.ask(join("r", Some(&before["position"]))).await;
    assert_eq!((&ack["recovered"], &ack["position"]), (&json!(true), &before["position"]));
    two.send("r", "after").await;
    let mut offsets = Vec::new();
    for data in ["while", "away", "after"] {
        let delivery = back.delivery().await;
        assert_eq!(delivery["data"], data);
        offsets.push(delivery["position"]["offset"].clone());
    }
    assert_eq!(offsets, [2, 3, 4]);
}

/// The hard case: messages flow all the time, over both replicas, while members come and go.
#[tokio::test]
async fn nothing_is_missed_and_nothing_comes_twice_in_full_flow() {
    const MESSAGES: u64 = 2000;
    let redis = Redis::start();
    let replicas = cluster(&redis, History { messages: 10_000, ..History::default() }).await;
    let mut senders = [Client::connect(&replicas[0]).await, Client::connect(&replicas[1]).await];
    for sender in &mut senders {
        sender.join("r").await;
    }
    let mut member = Client::connect(&replicas[0]).await;
    let mut last = member.ask(join("r", None)).await["position"].clone();
    let sending = async {
        for number in 0..MESSAGES {
            let sender = &mut senders[usize::from(number % 2 == 1)];
            sender.send("r", &number.to_string()).await;
        }
    };
    let coming_and_going = async {
        let mut offset = 0;
        for round in 0.. {
            for _ in 0..50 {
                let delivery = member.delivery().await;
                offset += 1;
                assert_eq!(delivery["position"]["offset"], offset, "round {round}");
                last = delivery["position"].clone();
                if offset == MESSAGES {
                    return;
                }
            }
            member = Client::connect(&replicas[round % 2]).await;
            let ack = member.ask(join("r", Some(&last))).await;
            assert_eq!(ack["recovered"], true, "round {round}");
        }
    };
    tokio::join!(sending, coming_and_going);
}

#[tokio::test]
async fn who_was_away_too_long_is_told() {
    let redis = Redis::start();
    let replicas = cluster(&redis, History { messages: 100, ..History::default() }).await;
    let mut sender = Client::connect(&replicas[0]).await;
    let first = sender.ask(join("r", None)).await["position"].clone();
    for number in 0..400 {
        sender.send("r", &number.to_string()).await;
    }
    let mut back = Client::connect(&replicas[1]).await;
    let check = async |back: &mut Client, since: &Value| {
        let ack = back.ask(join("r", Some(since))).await;
        assert_eq!((&ack["op"], &ack["recovered"]), (&json!("ack"), &json!(false)), "{since}");
        assert_eq!(ack["position"]["offset"], 400, "{since}");
        back.expect_ack(json!({"op": "leave", "room": "r"})).await;
    };
    check(&mut back, &first).await;
    check(&mut back, &json!({"epoch": "another", "offset": 399})).await;
    check(&mut back, &json!({"epoch": first["epoch"], "offset": 401})).await;
    // Whoever comes back in vain is a member all the same.
    back.ask(join("r", Some(&first))).await;
    sender.send("r", "new").await;
    assert_eq!(back.data_until("new").await, ["new"]);
}

#[tokio::test]
async fn members_are_told_of_lost_data() {
    let redis = Redis::start();
    let replicas = cluster(&redis, History::default()).await;
    let mut member = Client::connect(&replicas[0]).await;
    member.join("r").await;
    member.send("r", "before").await;
    let before = member.delivery().await;
    redis.command(&["FLUSHALL"]);
    // Nobody sends: it is noticed all the same.
    let gap = member.gap("r").await;
    assert_ne!(gap["position"]["epoch"], before["position"]["epoch"]);
    assert_eq!(member.gap_to_all().await["all"], true);
    let ack = member.ask(json!({"op": "send", "room": "r", "data": "after"})).await;
    assert_eq!(ack["position"]["epoch"], gap["position"]["epoch"]);
}

#[tokio::test]
async fn what_was_sent_to_all_is_made_up_for() {
    let redis = Redis::start();
    let replicas = cluster(&redis, History::default()).await;
    let mut one = Client::connect(&replicas[0]).await;
    let mut two = Client::connect(&replicas[1]).await;
    assert_eq!((&one.hello["position"]["offset"], one.hello.get("recovered")), (&json!(0), None));
    to_all(&mut two, "before").await;
    let before = one.delivery().await["position"].clone();
    drop(one);
    for data in ["while", "away"] {
        to_all(&mut two, data).await;
    }
    let mut back = Client::resume(&replicas[1], &before).await;
    assert_eq!((&back.hello["recovered"], &back.hello["position"]), (&json!(true), &before));
    to_all(&mut two, "after").await;
    assert_eq!(back.data_until("after").await, ["while", "away", "after"]);
    // Who comes with a position of another order is told, and let in.
    let mut lost = Client::resume(&replicas[0], &json!({"epoch": "other", "offset": 1})).await;
    assert_eq!((&lost.hello["recovered"], &lost.hello["position"]["offset"]), (&json!(false), &json!(4)));
    to_all(&mut two, "new").await;
    assert_eq!(lost.data_until("new").await, ["new"]);
}

/// While Redis is away nobody knows what was missed: no answer would be right.
#[tokio::test]
async fn who_asks_for_what_was_sent_to_all_in_vain_keeps_the_question() {
    let mut redis = Redis::start();
    let replicas = cluster(&redis, History::default()).await;
    let client = Client::connect(&replicas[0]).await;
    redis.stop();
    replicas[0].until_ready(false).await;
    let position = &client.hello["position"];
    let query = format!("/ws?since={}:{}", position["epoch"].as_str().expect("an epoch"), position["offset"]);
    assert_eq!(Client::refused(&replicas[0], &query).await, 1013);
}

/// Clients of a replica that was killed knock at its door before it is ready.
#[tokio::test]
async fn a_replica_that_just_started_recovers_what_was_sent_to_all() {
    let redis = Redis::start();
    let replicas = cluster(&redis, History::default()).await;
    let mut sender = Client::connect(&replicas[0]).await;
    let since = sender.hello["position"].clone();
    to_all(&mut sender, "missed").await;
    for number in 3..8 {
        let mut config = over(&redis, number);
        config.broker = BrokerChoice::RedisStream(redis.url(), History::default());
        let replica = Replica::start_unready(config).await;
        let mut back = Client::resume(&replica, &since).await;
        assert_eq!(back.hello["recovered"], true);
        assert_eq!(back.data_until("missed").await, ["missed"]);
    }
}

/// Who was there before the replica was subscribed must not miss anything in silence.
#[tokio::test]
async fn who_was_there_before_redis_is_told_where_the_order_begins() {
    let mut redis = Redis::stopped();
    let mut config = over(&redis, 1);
    config.broker = BrokerChoice::RedisStream(redis.url(), History::default());
    let replica = Replica::start_unready(config).await;
    let mut early = Client::connect(&replica).await;
    assert_eq!(early.hello.get("position"), None);
    redis.start_again();
    assert_eq!(early.gap_to_all().await["position"]["offset"], 0);
}

/// More than a client's queue holds can't be given to it at once.
#[tokio::test]
async fn who_missed_too_many_bytes_is_told() {
    let redis = Redis::start();
    let mut config = over(&redis, 1);
    config.broker = BrokerChoice::RedisStream(redis.url(), History::default());
    config.limits.queue_bytes = 100_000;
    let replica = Replica::start(config).await;
    let mut sender = Client::connect(&replica).await;
    let first = sender.ask(join("r", None)).await["position"].clone();
    for _ in 0..10 {
        sender.send("r", &"x".repeat(10_000)).await;
        sender.delivery().await;
    }
    let mut back = Client::connect(&replica).await;
    assert_eq!(back.ask(join("r", Some(&first))).await["recovered"], false);
    sender.send("r", "new").await;
    assert_eq!(back.data_until("new").await, ["new"]);
}

/// A restart of a Redis that has on disk what it has answered is no loss: nobody is told of one, and resumes go on.
#[tokio::test]
async fn an_order_outlives_the_restart_of_a_durable_redis() {
    let mut redis = Redis::durable();
    let replicas = cluster(&redis, History::default()).await;
    let mut member = Client::connect(&replicas[0]).await;
    member.join("r").await;
    let mut away = Client::connect(&replicas[1]).await;
    away.join("r").await;
    member.send("r", "before").await;
    let before = away.delivery().await;
    drop(away);
    member.send("r", "while away").await;
    redis.stop();
    redis.start_again();
    let mut back = Client::connect(&replicas[1]).await;
    let ack = back.ask(join("r", Some(&before["position"]))).await;
    assert_eq!((&ack["recovered"], &ack["position"]), (&json!(true), &before["position"]), "{ack}");
    back.send("r", "after").await;
    assert_eq!(back.data_until("after").await, ["while away", "after"]);
    // In the same order as before.
    for offset in 1..=3 {
        let next = member.delivery().await;
        assert_eq!(
            next["position"],
            json!({"epoch": before["position"]["epoch"], "offset": offset}),
            "{next}"
        );
    }
}

/// The retry of a client that got no answer, on whatever replica.
#[tokio::test]
async fn a_key_counts_once() {
    let redis = Redis::start();
    let replicas = cluster(&redis, History::default()).await;
    let mut one = Client::connect(&replicas[0]).await;
    let mut two = Client::connect(&replicas[1]).await;
    one.join("r").await;
    two.join("r").await;
    let send = json!({"op": "send", "room": "r", "key": "k-1", "data": "once"});
    let first = one.ask(send.clone()).await;
    let again = two.ask(send).await;
    assert_eq!(first["position"], again["position"]);
    one.send("r", "end").await;
    assert_eq!(two.data_until("end").await, ["once", "end"]);
}

#[tokio::test]
async fn without_a_log_nothing_is_recovered() {
    let redis = Redis::start();
    let replicas = Replica::cluster(&redis, 1).await;
    let mut client = Client::connect(&replicas[0]).await;
    let ack = client.ask(join("r", Some(&json!({"epoch": "e", "offset": 0})))).await;
    assert_eq!(ack["recovered"], false);
    assert_eq!(ack.get("position"), None);
}

async fn cluster(redis: &Redis, history: History) -> Vec<Replica> {
    let mut replicas = Vec::new();
    for number in 1..=2 {
        let mut config = over(redis, number);
        config.broker = BrokerChoice::RedisStream(redis.url(), history);
        replicas.push(Replica::start(config).await);
    }
    replicas
}

async fn to_all(client: &mut Client, data: &str) {
    client.expect_ack(json!({"op": "send", "all": true, "data": data})).await;
}

fn join(room: &str, since: Option<&Value>) -> Value {
    match since {
        None => json!({"op": "join", "room": room}),
        Some(since) => json!({"op": "join", "room": room, "since": since}),
    }
}
