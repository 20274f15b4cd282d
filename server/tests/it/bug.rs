//! Every bug switch does its damage, and says so.

use std::collections::HashSet;

use serde_json::{Value, json};
use ws_server::bug::Bug;

use crate::{client::Client, replica::Replica};

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
