//! Faults on a real cluster: what survives, what is lost and who is told, and what proves nothing.

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use ws_server::{BrokerChoice, Config};

use crate::tool::{Ended, failed, run_with};

fn faulty(args: &str, faults: &[&str]) -> Ended {
    let mut all: Vec<&str> = args.split(' ').collect();
    all.extend(["--output-format", "json"]);
    all.extend(faults.iter().flat_map(|fault| ["--fault", *fault]));
    run_with(&all)
}

fn checked(document: &Value, id: &str) -> u64 {
    let properties = document["properties"].as_array().expect("a list");
    let property = properties.iter().find(|property| property["id"] == id).expect("it is there");
    property["checked"].as_u64().expect("a count")
}

#[test]
fn a_killed_replica_costs_nothing_on_redis_stream() {
    let ended = faulty("run --local 3 -c 30 -r 200 -d 4s", &["kill-replica@1s for 1s on app-2"]);
    let document = ended.document();
    assert_eq!((ended.exit, &document["contract"]), (Some(0), &"exactly-once".into()), "{document:#}");
    let fault = &document["faults"][0];
    assert_eq!((&fault["name"], &fault["on"][0]), (&"kill-replica 1".into(), &"app-2".into()));
    assert!(fault["proof"].as_str().is_some_and(|proof| proof.contains("signal 9")), "{fault:#}");
    let time = |name: &str| fault[name].as_u64().expect("a time");
    assert!(time("start_us") <= time("effective_us") && time("effective_us") < time("healed_us"));
    // Its ten clients fled and resumed elsewhere, and came home again.
    assert_eq!(checked(&document, "P11"), 20, "{document:#}");
    assert_eq!(checked(&document, "P13"), 9, "{document:#}");
}

#[test]
fn on_redis_pubsub_the_same_is_a_loss_that_the_clients_were_told_of() {
    let args = "run --local 3 --broker redis-pubsub -c 60 -r 1000 -d 4s --contract";
    let kill = ["kill-replica@1s for 1s on app-2"];
    let ended = faulty(&format!("{args} exactly-once"), &kill);
    let document = ended.document();
    assert_eq!((ended.exit, failed(&document)), (Some(1), vec!["P3"]), "{document:#}");
    let cause = &document["causes"][0];
    assert_eq!((&cause["fault"], &cause["how"]), (&"kill-replica 1".into(), &"away".into()), "{document:#}");
    assert_eq!(cause["lost"], document["counts"]["lost"]);
    assert_eq!(document["faults"][0]["lost"], document["counts"]["lost"]);
    let ended = faulty(&format!("{args} no-silent-loss"), &kill);
    let document = ended.document();
    assert_eq!((ended.exit, &document["counts"]["lost"]), (Some(0), &0.into()), "{document:#}");
    assert!(document["counts"]["missed"].as_u64() > Some(0));
}

#[test]
fn what_redis_pubsub_loses_without_a_word_is_found_as_silent() {
    let args = "run --local 3 --broker redis-pubsub -c 60 -r 2000 -d 4s --contract no-silent-loss";
    let ended = faulty(args, &["cut-redis@1s for 500ms on app-3"]);
    let document = ended.document();
    assert_eq!((ended.exit, failed(&document)), (Some(1), vec!["P3"]), "{document:#}");
    let cause = &document["causes"][0];
    assert_eq!((&cause["how"], &cause["to"]), (&"connected".into(), &"app-3".into()), "{document:#}");
    assert_eq!(document["counts"]["silent"], document["counts"]["lost"]);
}

#[test]
fn lost_data_is_told_to_every_client() {
    let args = "run --local 3 -c 30 -r 200 -d 5s --contract no-silent-loss";
    let ended = faulty(args, &["wipe-redis@1s for 500ms"]);
    let document = ended.document();
    assert_eq!(ended.exit, Some(0), "{document:#}");
    assert!(document["counts"]["gap_notices"].as_u64() >= Some(30), "{document:#}");
}

#[test]
fn a_fault_without_effect_proves_nothing() {
    let ended = faulty("run --local 2 -c 10 -r 100 -d 3s", &["reset-clients@500ms share 0.000001"]);
    let document = ended.document();
    assert_eq!(ended.exit, Some(3), "{document:#}");
    let reasons = document["reasons"].to_string();
    assert!(reasons.contains("reset-clients 1 was not seen to take effect"), "{reasons}");
}

#[test]
fn client_side_faults_need_nothing_of_the_servers() {
    let faults = ["reset-clients@500ms share 0.5", "half-open@1s for 500ms share 0.5", "storm@2s for 300ms"];
    let ended = faulty("run --local 3 -c 30 -r 500 -d 5s", &faults);
    let document = ended.document();
    assert_eq!(ended.exit, Some(0), "{document:#}");
    assert!(document["faults"].as_array().expect("a list").iter().all(|fault| fault["proof"].is_string()));
}

#[test]
fn members_come_and_go() {
    let ended = faulty("run --local 3 -c 30 -r 500 -d 4s --churn 10 --order total --order causal", &[]);
    let document = ended.document();
    assert_eq!(ended.exit, Some(0), "{document:#}");
    // Beside the one of each room that leaves at the end.
    assert!(checked(&document, "P10") > 10, "{document:#}");
    assert!(checked(&document, "P7") > 1000 && checked(&document, "P8") > 1000, "{document:#}");
}

#[test]
fn what_goes_to_all_outlives_a_killed_replica_too() {
    let args = "run --local 3 -c 30 -r 200 -d 4s --share-all 0.2";
    let ended = faulty(args, &["kill-replica@1s for 1s on app-1"]);
    assert_eq!(ended.exit, Some(0), "{:#}", ended.document());
}

/// The farewell takes one member out of each room: of rooms with one member a replica, the only one there.
#[test]
fn a_room_with_one_member_a_replica_recovers_like_any_other() {
    let ended = faulty("run --local 3 -c 30 --room-size 3 -r 300 -d 4s", &["kill-pubsub@1s"]);
    let document = ended.document();
    assert_eq!((ended.exit, checked(&document, "P13")), (Some(0), 9), "{document:#}");
}

/// What could never be probed is not proved, and not broken.
#[test]
fn rooms_that_do_not_span_the_replicas_prove_nothing() {
    let ended = faulty("run --local 4 -c 40 --room-size 2 -r 300 -d 4s", &["kill-pubsub@1s"]);
    let document = ended.document();
    assert_eq!(ended.exit, Some(3), "{document:#}");
    assert!(document["reasons"].to_string().contains("rooms of 2 do not span them"), "{document:#}");
}

#[test]
fn an_order_that_can_not_be_seen_is_not_proved() {
    let ended = faulty("run --local 2 --broker redis-pubsub -c 10 -r 100 -d 1s --order total", &[]);
    assert_eq!(ended.exit, Some(3), "{}", ended.stdout);
    assert!(ended.document()["reasons"].to_string().contains("P7 total order was to be proved"));
}

/// One fault's heal is not another's: what has swallowed something never goes on.
#[test]
fn faults_of_one_connection_do_not_free_each_other() {
    let faults = [
        "slow-consumer@500ms for 1s share 1",
        "half-open@1s for 1500ms share 1",
        "half-open@1600ms for 1s share 1",
    ];
    let ended = faulty("run --local 3 -c 30 -r 500 -d 6s", &faults);
    let document = ended.document();
    assert_eq!(document["counts"]["lost"], 0, "{document:#}");
    assert!(failed(&document).is_empty(), "{document:#}");
}

/// Somebody else's cluster, broken by its owner's commands.
#[tokio::test]
async fn any_deployment_is_broken_by_commands() {
    let hub = std::sync::Arc::default();
    let shutdown = CancellationToken::new();
    let mut urls = String::new();
    let mut servers = tokio::task::JoinSet::new();
    for number in 1..=2 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        urls += &format!("ws://{} ", listener.local_addr().expect("bound"));
        let config = Config::new(format!("mine-{number}"), BrokerChoice::Memory(std::sync::Arc::clone(&hub)));
        servers.spawn(ws_server::run(listener, config, shutdown.clone()));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let scenario = format!(
        "fault = ['pause-replica@500ms for 500ms on mine-1']\n[load]\nconnections = 20\nrate = 200\nduration = '3s'\n\
         [command.pause-replica]\ninject = 'echo $WS_FAULT $WS_NODE > {0}'\nproof = 'grep mine-1 {0}'\nheal = 'touch {1}'\n",
        path("injected"),
        path("healed"),
    );
    std::fs::write(path("x.toml"), scenario).expect("it can be written");
    let args = format!("run {}--scenario {} --output-format json", urls, path("x.toml"));
    let words: Vec<String> = args.split(' ').map(str::to_owned).collect();
    let run = move || run_with(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let ended = tokio::task::spawn_blocking(run).await.expect("no panic");
    let document = ended.document();
    assert_eq!(ended.exit, Some(0), "{document:#}");
    assert!(document["faults"][0]["proof"].as_str().is_some_and(|proof| proof.contains("mine-1")));
    assert!(folder.path().join("healed").exists());
    shutdown.cancel();
    servers.join_all().await;
}
