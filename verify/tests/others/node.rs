//! Socket.IO as its users have it: three replicas of Node with a Redis adapter, compose/socketio/app.js.

use crate::cluster::{assert_lost_by, assert_whole, causes, checked, count, path, serve};

/// The application, with what stands before it in the environment.
fn app(environment: &str) -> String {
    format!("{environment} exec node {}", path("compose/socketio/app.js"))
}

/// Enough to see every pair of replicas: P13 has nine.
const LOAD: [&str; 6] = ["-c", "60", "-r", "200", "-d", "3s"];

/// The same, with a fault of a second from 2 s on and time to see what comes back.
const FAULTY: [&str; 6] = ["-c", "60", "-r", "300", "-d", "9s"];

#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn at_peace_it_delivers_everything() {
    let document = assert_whole(&serve(&app(""), &["-c", "300", "-r", "200", "-d", "3s"]));
    assert_eq!(document["target"]["protocol"], "socketio");
    assert_eq!(document["replica_matrix"].as_array().map(Vec::len), Some(9), "{document:#}");
    let notes = document["notes"].as_array().expect("a list");
    assert!(notes.is_empty(), "everything was acked: {notes:?}");
}

#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn whoever_was_on_a_killed_replica_misses_what_was_sent_meanwhile() {
    let ended = serve(&app(""), &[&FAULTY[..], &["--fault", "kill-replica@2s for 1s on app-2"]].concat());
    let document = assert_lost_by(&ended, "kill-replica 1", &["away", "connected"]);
    // Those on other replicas may miss the last that it had taken; most is missed by its own clients.
    assert_eq!(causes(&document)[0]["how"], "away", "{document:#}");
    assert!(count(&document, "ended_early") >= 20, "{document:#}");
}

/// Each of the three replicas has a publisher and a subscriber, and each of the six comes back after a delay of its own:
/// one time in twenty all subscribers are there before the first publisher, and nothing is lost.
#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn a_restart_of_redis_loses_without_a_word() {
    let restart = || serve(&app(""), &[&FAULTY[..], &["--fault", "restart-redis@2s for 1s"]].concat());
    let mut ended = restart();
    for _ in 1..3 {
        if ended.exit != Some(0) {
            break;
        }
        ended = restart();
    }
    let document = assert_lost_by(&ended, "restart-redis 1", &["connected"]);
    assert_eq!(document["counts"]["silent"], document["counts"]["lost"], "{document:#}");
}

#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn a_replica_without_redis_loses_without_a_word() {
    let ended = serve(&app(""), &[&FAULTY[..], &["--fault", "cut-redis@2s for 1s on app-3"]].concat());
    let document = assert_lost_by(&ended, "cut-redis 1", &["connected"]);
    assert_eq!(document["counts"]["silent"], document["counts"]["lost"], "{document:#}");
}

/// The adapter is back within a moment: whether something falls into it is a race.
#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn what_ended_subscriptions_lose_is_put_down_to_that() {
    let faults = ["kill-pubsub@1s", "kill-pubsub@1500ms", "kill-pubsub@2s"];
    let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    let ended = serve(&app(""), &[&["-c", "60", "-r", "600", "-d", "7s"], &faults[..]].concat());
    let document = ended.document();
    assert!(matches!(ended.exit, Some(0 | 1)), "{document:#}");
    for cause in causes(&document) {
        assert!(cause["fault"].as_str().is_none_or(|fault| fault.starts_with("kill-pubsub")), "{document:#}");
        assert!(!cause["said"].as_str().expect("text").contains("while no fault was on"), "{document:#}");
        assert_eq!(cause["how"], "connected", "{document:#}");
    }
    let by_fault = document["faults"].as_array().expect("a list").iter();
    let lost: u64 = by_fault.map(|fault| fault["lost"].as_u64().expect("a count")).sum();
    assert_eq!(lost, count(&document, "lost"), "{document:#}");
}

/// The proof is weaker then, and says so.
#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn a_server_without_acks_is_probed() {
    let document = assert_whole(&serve(&app("ACKS=0"), &LOAD));
    let notes = document["notes"].to_string();
    assert!(notes.contains("60 joins were not acked"), "{notes}");
    assert!(notes.contains("a sender's own copy counted as the ack"), "{notes}");
}

#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn replicas_that_do_not_know_each_other_are_found_out() {
    let ended = serve(&app("ADAPTER=none"), &LOAD);
    let document = ended.document();
    assert_eq!((ended.exit, &document["verdict"]), (Some(1), &"fail".into()), "{document:#}");
    for pair in document["replica_matrix"].as_array().expect("a list") {
        let is_own = pair["from"] == pair["to"];
        assert_eq!(pair["delivered"] == pair["expected"], is_own, "{pair}");
    }
}

#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn the_streams_adapter_delivers_everything_at_peace() {
    assert_whole(&serve(&app("ADAPTER=redis-streams"), &LOAD));
}

/// Whether a recovered session has everything is a race between its way back and what is on its way to it.
#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn a_recovered_session_is_held_to_its_word() {
    let fault = ["--fault", "reset-clients@2s share 0.5"];
    let ended = serve(&app("ADAPTER=redis-streams"), &[&FAULTY[..], &fault[..]].concat());
    let document = ended.document();
    assert!(matches!(ended.exit, Some(0 | 1)), "{document:#}\n{}", ended.stderr);
    assert!(count(&document, "resumed") > 0, "{document:#}");
    assert_eq!(checked(&document, "P11"), count(&document, "resumed"), "{document:#}");
    for property in document["properties"].as_array().expect("a list") {
        if property["verdict"] == "fail" {
            assert!(["P2", "P3", "P11"].contains(&property["id"].as_str().expect("an id")), "{document:#}");
            let examples = property["examples"].as_array().expect("a list");
            assert!(examples.iter().all(|example| example["fault"] == "reset-clients 1"), "{property:#}");
        }
    }
}

#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn payloads_may_be_binary() {
    assert_whole(&serve(&app(""), &[&LOAD[..], &["--socketio", "binary=yes"]].concat()));
}

#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn members_come_and_go_and_messages_go_to_all() {
    let more = ["--socketio", r#"leave=leaveRoom {"room":"{room}"}"#, "--churn", "10", "--share-all", "0.1"];
    let document = assert_whole(&serve(&app(""), &[&LOAD[..], &more[..]].concat()));
    assert!(checked(&document, "P10") > 10, "{document:#}");
}
