//! ws-loadgen from outside. What it shares with ws-verify is tested there.

mod capacity;
mod latency;

use std::process::{Command, Output};

use serde_json::Value;

fn run(args: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ws-loadgen"))
        .args(args.split_whitespace())
        .output()
        .expect("the program starts")
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one document")
}

#[test]
fn a_load_is_carried_and_every_delivery_followed() {
    let output = run("run --local 3 -c 60 --room-size 20 -r 500 -d 1s --senders 2 --output-format json -q");
    let report = document(&output);
    assert_eq!((output.status.code(), &report["verdict"]), (Some(0), &"pass".into()), "{report:#}");
    assert_eq!((&report["counts"]["expected"], &report["counts"]["lost"]), (&10_000.into(), &0.into()));
    for part in ["server", "redis"] {
        assert!(report["cluster"][part]["rss_bytes"].as_u64() > Some(0), "{report:#}");
    }
    assert_eq!(report["latency_us"]["fanout_last"]["count"], 500);
    assert!(output.stderr.is_empty(), "quiet is quiet");
}

#[test]
fn a_course_of_stages_is_followed() {
    let stages = "--stage 1s:200 --stage 0s:1000 --stage 1s:1000 --stage 0s:0 --stage 1s:0";
    let output = run(&format!("run --local 2 --redis embedded -c 20 {stages} --output-format json -q"));
    let report = document(&output);
    assert_eq!((output.status.code(), &report["counts"]["sent"]), (Some(0), &1100.into()), "{report:#}");
    assert_eq!(report["config"]["duration_s"], 3.0);
    // The spike is in the series: most of what was sent lies within two neighbouring seconds.
    let sent: Vec<u64> =
        report["series"].as_array().expect("a series").iter().filter_map(|s| s["sent"].as_u64()).collect();
    let most = sent.windows(2).map(|pair| pair[0] + pair[1]).max();
    assert!(most >= Some(1000), "{sent:?}");
}

#[test]
fn arrivals_by_chance_are_about_as_many() {
    let output = run(
        "run --local 2 --redis embedded -c 20 -r 1k -d 2s --arrivals poisson --seed 7 --output-format json -q",
    );
    let report = document(&output);
    let sent = report["counts"]["sent"].as_u64().expect("a count");
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert!((1800..2200).contains(&sent) && sent != 2000, "{sent}");
}

#[test]
fn a_threshold_that_is_not_met_is_named_and_has_its_own_exit_code() {
    let load = "run --local 2 --redis embedded -c 20 -r 100 -d 1s --output-format json -q";
    let output = run(&format!("{load} --threshold lost==0 --threshold delivery.p99<1us"));
    let report = document(&output);
    assert_eq!((output.status.code(), &report["verdict"]), (Some(99), &"fail".into()), "{report:#}");
    let reason = report["reasons"][0].as_str().expect("a reason");
    assert!(reason.starts_with("threshold delivery.p99<1us: it was "), "{reason}");
    let met = |place: usize| report["thresholds"][place]["met"].as_bool();
    assert_eq!((met(0), met(1)), (Some(true), Some(false)), "{report:#}");
    let output = run(&format!("{load} --threshold delivery.p99<1m"));
    assert_eq!(output.status.code(), Some(2), "a minute is no unit: it could be a million");
    // A violation weighs more.
    let output = run(&format!("{load} --bug drop --threshold lost==0"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_was_not_measured_was_not_met() {
    let output = run(
        "run --local 2 --redis embedded -c 20 -r 0 -d 1s --output-format json -q --threshold delivery.p99<1s",
    );
    let report = document(&output);
    assert_eq!(
        (output.status.code(), &report["thresholds"][0]["value"]),
        (Some(99), &Value::Null),
        "{report:#}"
    );
}

#[test]
fn sockets_are_held_in_silence() {
    let output = run("run --local 2 --redis embedded -c 100 -r 0 -d 1s --output-format json");
    let report = document(&output);
    assert_eq!((output.status.code(), &report["counts"]["sent"]), (Some(0), &0.into()), "{report:#}");
    let progress = String::from_utf8(output.stderr).expect("text");
    assert!(progress.contains("holding"), "{progress}");
}

#[test]
fn rooms_are_named_by_count_or_size() {
    let output = run("run --local 2 --redis embedded -c 30 --rooms 4 -r 100 -d 1s --output-format json -q");
    assert_eq!(document(&output)["counts"]["rooms"], 4);
}
