//! What passes, and what is caught.

use tokio_util::sync::CancellationToken;
use ws_server::{BrokerChoice, Config};

use crate::tool::{Ended, command, failed, run};

/// A short run over three replicas that still covers every pair.
const SHORT: &str = "--local 3 -c 30 --room-size 10 -r 200 -d 1s --output-format json";

/// The seed's demonstration: members of one room on three replicas, a message sent on each reaches all exactly once;
/// and what is sent to all reaches everybody.
#[test]
fn rooms_span_replicas_and_all_is_everybody() {
    let ended = run(&format!("run {SHORT} --share-all 0.2"));
    let document = ended.document();
    assert_eq!((ended.exit, &document["verdict"]), (Some(0), &"pass".into()), "{document:#}");
    assert_eq!(document["target"]["broker"], "redis-stream");
    assert!(document["target"]["redis"].as_str().is_some_and(|redis| !redis.is_empty()));
    let count = |name: &str| document["counts"][name].as_u64().expect("a count");
    assert_eq!((count("sent"), count("acked"), count("lost"), count("duplicated")), (200, 200, 0, 0));
    assert_eq!(count("expected"), count("delivered"));
    // Two in ten go to 30 sockets instead of 10.
    assert!(count("expected") > 2000, "{document:#}");
    let matrix = document["replica_matrix"].as_array().expect("a list");
    assert_eq!(matrix.len(), 9);
    assert!(
        matrix
            .iter()
            .all(|cell| cell["expected"] == cell["delivered"] && cell["expected"].as_u64() > Some(0))
    );
}

#[test]
fn without_redis_the_report_says_so() {
    let ended = run(&format!("run {SHORT} --redis embedded"));
    let document = ended.document();
    assert_eq!((ended.exit, &document["target"]["broker"]), (Some(0), &"memory".into()), "{document:#}");
    assert!(document["notes"][0].as_str().is_some_and(|note| note.contains("says nothing about Redis")));
}

#[test]
fn a_redis_that_was_not_found_is_no_error_but_a_note() {
    let mut command = command(&format!("run {SHORT}"));
    let ended: Ended =
        command.env("PATH", "/nowhere").env_remove("REDIS_SERVER").output().expect("starts").into();
    let document = ended.document();
    assert_eq!((ended.exit, &document["target"]["broker"]), (Some(0), &"memory".into()), "{document:#}");
    assert!(
        document["notes"][0].as_str().is_some_and(|note| note.contains("no redis-server or valkey-server"))
    );
}

/// Who asks for one by its broker gets no other.
#[test]
fn a_broker_without_its_redis_is_an_error() {
    let mut command = command(&format!("run {SHORT} --broker redis-stream"));
    let ended: Ended =
        command.env("PATH", "/nowhere").env_remove("REDIS_SERVER").output().expect("starts").into();
    assert_eq!(ended.exit, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("--broker needs a Redis"), "{}", ended.stderr);
}

#[test]
fn every_bug_is_caught_by_its_own_property() {
    for (bug, property) in
        [("drop", "P3"), ("duplicate", "P2"), ("swap", "P6"), ("leak", "P5"), ("corrupt", "P4")]
    {
        let ended = run(&format!("run --local 3 -c 60 -r 1000 -d 1s --bug {bug} --output-format json"));
        let document = ended.document();
        assert_eq!((ended.exit, failed(&document)), (Some(1), vec![property]), "{bug}: {document:#}");
        assert_eq!(document["target"]["bugs"][0], bug);
        let reasons = document["reasons"][0].as_str().expect("a reason");
        assert!(reasons.starts_with(property), "{reasons}");
    }
}

#[test]
fn a_bug_in_one_replica_is_traced_to_it() {
    let ended = run("run --local 3 -c 60 -r 1000 -d 2s --bug drop@2 --output-format json");
    let document = ended.document();
    assert_eq!((ended.exit, failed(&document)), (Some(1), vec!["P3"]), "{document:#}");
    let reasons = document["reasons"].to_string();
    assert!(reasons.contains("all of it on its way to app-2"), "{reasons}");
}

#[tokio::test]
async fn servers_of_ones_own_are_tested_by_url() {
    let hub = std::sync::Arc::default();
    let shutdown = CancellationToken::new();
    let mut urls = String::new();
    let mut servers = tokio::task::JoinSet::new();
    for number in 1..=3 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        urls += &format!(" ws://{}", listener.local_addr().expect("bound"));
        let config = Config::new(format!("mine-{number}"), BrokerChoice::Memory(std::sync::Arc::clone(&hub)));
        servers.spawn(ws_server::run(listener, config, shutdown.clone()));
    }
    let args = format!("run{urls} -c 30 -r 200 -d 1s --output-format json");
    let ended = tokio::task::spawn_blocking(move || run(&args)).await.expect("no panic");
    assert_eq!((ended.exit, &ended.document()["verdict"]), (Some(0), &"pass".into()), "{}", ended.stdout);
    shutdown.cancel();
    servers.join_all().await;
}
