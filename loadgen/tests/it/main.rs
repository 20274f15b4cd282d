//! ws-loadgen from outside. What it shares with ws-verify is tested there.

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
