//! Shapes of the load: rooms, payloads, connections that come and go.

use serde_json::Value;

use crate::{document, run};

/// A short run on two replicas in this process.
fn shaped(args: &str) -> Value {
    let output = run(&format!("run --local 2 --redis embedded --output-format json -q {args}"));
    let report = document(&output);
    assert_eq!(report["verdict"], "pass", "{report:#}");
    report
}

fn refused(args: &str, why: &str) {
    let output = run(&format!("run --local 2 --redis embedded -q {args}"));
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(why), "{error}");
}

#[test]
fn rooms_follow_a_zipf_law() {
    let report = shaped("-c 110 --rooms 4 --zipf 1 -r 200 -d 1s --workers 3 --senders 1");
    // Four senders in turn, in rooms of 53, 27, 17 and 13 members: 50 messages into each.
    assert_eq!(report["counts"]["sent"], 200, "{report:#}");
    assert_eq!(report["counts"]["delivered"], 50 * 110, "{report:#}");
    assert_eq!(report["config"]["zipf"], 1.0);
    refused("-c 10 --rooms 6 --zipf 1", "at least 2 members");
}

#[test]
fn payloads_are_drawn_from_a_range() {
    let report = shaped("-c 20 -r 200 -d 1s --size 100..4k --seed 7");
    assert_eq!(report["config"]["size"], "100..4000");
    assert_eq!((&report["counts"]["sent"], &report["counts"]["corrupted"]), (&200.into(), &0.into()));
    // Damage to such a payload is seen as well.
    let output = run(
        "run --local 2 --redis embedded -c 20 -r 1k -d 2s --size 100..4k --bug corrupt --output-format json -q",
    );
    assert!(document(&output)["counts"]["corrupted"].as_u64() > Some(0));
    refused("--size 64..1024", "--size must be 98 (the stamp) to");
    refused("--size 4k..1k", "128..1024");
}

#[test]
fn each_client_has_a_rate() {
    let report = shaped("-c 40 --rate-per-client 2.5 -d 1s");
    assert_eq!((&report["counts"]["sent"], &report["config"]["rate"]), (&100.into(), &100.0.into()));
    // Only those count that send.
    let report = shaped("-c 40 --senders 1 --rate-per-client 5 -d 1s");
    assert_eq!(report["counts"]["sent"], 20);
    refused("-r 5 --rate-per-client 1", "cannot be used with");
}

#[test]
fn connections_are_opened_in_stages() {
    let report = shaped("-c 60 --connect-rate 20 --connect-stage 1s:20 --connect-stage 0s:1k -r 0 -d 1s");
    // 20 in the first second, the others at once after it.
    let seconds = report["phases"]["connect_s"].as_f64().expect("a time");
    assert!(seconds >= 1.0, "{seconds}");
    assert_eq!(report["config"]["connect_stages"], serde_json::json!(["1s:20", "0s:1000"]));
    refused("--connect-stage 5s:0", "--connect-stage");
}

#[test]
fn connections_end_and_new_ones_take_their_place() {
    let report = shaped("-c 60 -r 300 -d 3s --lifetime 1s --seed 7");
    // About three lives each; a leave is one end of a membership.
    let membership = report["properties"].as_array().expect("properties").iter().find(|p| p["id"] == "P10");
    let leaves = membership.and_then(|p| p["checked"].as_u64()).expect("P10");
    assert!(leaves > 60, "{report:#}");
    assert_eq!((&report["counts"]["lost"], &report["counts"]["ended_early"]), (&0.into(), &0.into()));
    refused("--lifetime 10ms", "--lifetime must be");
    refused("--lifetime 10s --share-all 0.1", "--share-all");
}

#[test]
fn clients_are_cut_off_and_counted_until_they_are_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("storm.toml");
    let text = "fault = ['storm@1s for 1s', 'slow-consumer@3s for 1s share 0.1']\n[cluster]\nlocal = 2\n\
        [load]\nconnections = 60\nrate = 300\nduration = '6s'\nsize = '100..200'";
    std::fs::write(&file, text).expect("it can be written");
    let report =
        document(&run(&format!("run --scenario {} --output-format json -q --settle 9s", file.display())));
    let storm = &report["faults"][0];
    assert_eq!((&storm["back"]["cut"], &storm["back"]["never"]), (&60.into(), &0.into()), "{report:#}");
    assert_eq!((&storm["back"]["from"], &storm["planned"]), (&"heal".into(), &"storm@1s for 1s".into()));
    let all_us = storm["back"]["p100_us"].as_u64().expect("all were back");
    assert!(storm["back"]["p50_us"].as_u64() <= Some(all_us));
    assert_eq!(report["faults"][1]["back"], Value::Null, "who reads slowly was not cut off: {report:#}");
    assert_eq!((&report["config"]["settle_s"], &report["config"]["size"]), (&9.0.into(), &"100..200".into()));
}

#[test]
fn a_scenario_is_written_once_and_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.toml");
    let init = |more: &str| run(&format!("init {} {more}", file.display()));
    assert_eq!(init("").status.code(), Some(0));
    let again = init("");
    let error = String::from_utf8(again.stderr).expect("text");
    assert_eq!(again.status.code(), Some(2), "{error}");
    assert!(error.contains("--force"), "{error}");
    std::fs::write(&file, "[lode]").expect("it can be written");
    assert_eq!(init("--force").status.code(), Some(0));
    let report = document(&run(&format!(
        "run --scenario {} -c 30 -r 50 -d 1s --output-format json -q",
        file.display()
    )));
    assert_eq!((&report["counts"]["sent"], &report["counts"]["lost"]), (&50.into(), &0.into()), "{report:#}");
    assert_eq!(run("init /nowhere/mine.toml").status.code(), Some(4));
}

#[test]
fn the_schema_is_printed_as_it_is_published() {
    let output = run("schema");
    let published = include_str!("../../../docs/scenario.schema.json");
    assert!(
        String::from_utf8(output.stdout).expect("text") == published,
        "make docs/scenario.schema.json anew"
    );
}

#[test]
fn an_error_in_a_list_names_the_entry() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.toml");
    let check = |text: &str, place: &str| {
        std::fs::write(&file, text).expect("it can be written");
        refused(&format!("--scenario {}", file.display()), &format!("wrong.toml:{place}: "));
    };
    check("[load]\nstages = [\n  '5s:100',\n  '5s',\n]", "4:3");
    check("fault = [\n  'storm@5s',\n  'unplug@6s',\n]", "3:3");
}
