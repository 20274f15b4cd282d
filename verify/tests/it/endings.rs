//! The exit codes that are no pass and no violation, and what is said with them.

use std::{
    io::{BufRead as _, BufReader},
    process::Child,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::tool::{Ended, command, run};

fn check(args: &str, exit: i32, said: &str) {
    let ended = run(args);
    assert_eq!(ended.exit, Some(exit), "{args}: {}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains(said), "{args}: {}", ended.stderr);
}

#[test]
fn wrong_usage_is_2_and_names_the_option() {
    check("run", 2, "<URL>");
    check("run --local 3 --fault unplug@1s", 2, "there are kill-replica, pause-replica");
    check("run --local 3 --fault kill-replica", 2, "kill-replica@5s for 3s on app-2");
    check("run --local 3 --fault kill-replica@9s -d 10s", 2, "make --duration at least 17 s");
    check("run ws://127.0.0.1:1 --fault kill-replica@1s", 2, "not ours to break");
    check("run --local 3 --redis embedded --fault kill-replica@1s", 2, "kill-replica");
    check("run --local 3 --contract maybe", 2, "exactly-once, no-silent-loss and at-most-once");
    check("run --local 3 --scenario /nowhere.toml", 2, "/nowhere.toml");
    check("run --local 3 --history", 2, "--report-dir");
    check("run --local 3 --chaos 1 --fault storm@1s", 2, "--chaos");
    check("run --local 3 --chaos 1 -d 5s", 2, "too short for --chaos");
    check("run --local 3 --frobnicate", 2, "--frobnicate");
    check("run --local 0", 2, "--local");
    check("run --local 3 ws://127.0.0.1:1", 2, "--local");
    check("run --local 3 -c ten", 2, "no count like 500 or 10k");
    check("run --local 3 -c 0", 2, "--connections");
    check("run --local 3 --room-size 5 --rooms 5", 2, "--rooms");
    check("run --local 3 --size 10", 2, "--size must be 98");
    check("run --local 3 --bug ant", 2, "there are drop");
    check("run --local 3 --bug drop@4", 2, "only 3 replicas");
    check("run --local 3 --redis maybe", 2, "auto, embedded");
    check("run --local 3 --broker memory", 2, "--redis embedded");
    check("run --local 3 --compose ws", 2, "--compose");
    check("run --compose ws", 2, "<URL>");
    check("run ws://127.0.0.1:1 --compose-redis redis", 2, "--compose");
    check("run ws://127.0.0.1:1 --compose ws --fault slow-redis@1s", 2, "it can't be done with --compose");
    check("run --serve true", 2, "with --local N");
    check("run ws://127.0.0.1:1 --serve true", 2, "with --local N");
    check("run --local 3 --ready /", 2, "--serve CMD");
    check("run --local 3 --serve true --redis embedded", 2, "gives them a Redis");
    check("run --local 3 --serve true --broker redis-stream", 2, "--broker is for our own server");
    check("run --local 3 --serve true --bug drop", 2, "--bug breaks our own server");
    check("run --local 3 -H nonsense", 2, "Name: value");
    check("run ftp://127.0.0.1:1", 2, "ws://host:port/ws");
    check("run --local 3 -o /nowhere/report.json", 2, "/nowhere/report.json");
}

#[test]
fn an_unreachable_target_is_4() {
    check("run ws://127.0.0.1:1", 4, "ws://127.0.0.1:1/ws can't be reached: Connection refused");
    check("run ws://nowhere.invalid", 4, "no address for nowhere.invalid");
    check("run --local 3 --redis redis://127.0.0.1:1", 4, "no Redis answers at redis://127.0.0.1:1");
    check("run --local 3 --serve false", 4, "replica app-1 did not start: app-1 said nothing");
}

#[test]
fn a_missing_engine_is_4() {
    let mut command = command("run ws://127.0.0.1:1 --compose ws --fault kill-replica@1s");
    let ended: Ended = command.env("DOCKER_HOST", "unix:///nowhere.sock").output().expect("starts").into();
    assert_eq!(ended.exit, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("no Docker engine answers at /nowhere.sock"), "{}", ended.stderr);
}

#[test]
fn a_redis_that_can_not_start_is_4_and_not_passed_over() {
    let mut command = command("run --local 3");
    let ended: Ended = command.env("REDIS_SERVER", "/nowhere/redis").output().expect("starts").into();
    assert_eq!(ended.exit, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("/nowhere/redis can't be started"), "{}", ended.stderr);
}

#[test]
fn more_sockets_than_fit_are_refused_with_what_would_fit() {
    let ended = run("run --local 3 -c 4000m");
    assert_eq!(ended.exit, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("sockets fit") && ended.stderr.contains("ulimit -Hn"), "{}", ended.stderr);
}

#[test]
fn what_proves_nothing_is_3() {
    let ended = run("run --local 2 --redis embedded -c 10 -r 0 -d 1s --output-format json");
    assert_eq!((ended.exit, &ended.document()["verdict"]), (Some(3), &"inconclusive".into()));
    assert!(ended.stdout.contains("nothing was sent"), "{}", ended.stdout);
    // Rooms of one member never cross from one replica to another.
    let ended = run("run --local 2 --redis embedded -c 10 --rooms 10 -r 100 -d 1s --output-format json");
    assert_eq!(ended.exit, Some(3), "{}", ended.stdout);
    assert!(ended.stdout.contains("app-1 > app-2"), "{}", ended.stdout);
}

#[test]
fn a_full_disk_is_4_and_the_report_is_still_shown() {
    let ended = run("run --local 2 --redis embedded -c 20 -r 100 -d 1s -o /dev/full");
    assert_eq!(ended.exit, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("can't be written to /dev/full"), "{}", ended.stderr);
    assert!(ended.stdout.contains("PASS"), "{}", ended.stdout);
}

#[test]
fn the_file_holds_the_same_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let args = format!(
        "run --local 2 --redis embedded -c 20 -r 100 -d 1s --output-format json -o {}",
        file.display()
    );
    let ended = run(&args);
    assert_eq!(std::fs::read_to_string(file).expect("written"), ended.stdout);
    assert_eq!(ended.document()["schema"], "ws-report/1");
}

#[test]
fn ctrl_c_ends_the_run_early_with_what_there_is() {
    let mut child =
        command("run --local 3 -c 30 -r 100 -d 60s --output-format json").spawn().expect("starts");
    wait_for(&mut child, "sending");
    signal(&child, Signal::INT);
    let ended: Ended = child.wait_with_output().expect("it ends").into();
    let document = ended.document();
    assert_eq!(ended.exit, Some(130), "{document:#}");
    assert_eq!(document["reasons"][0], "interrupted: what was sent until then was judged");
    assert_eq!(document["counts"]["lost"], 0, "{document:#}");
}

/// Reads the progress up to the line that starts with `word`.
pub(crate) fn wait_for(child: &mut Child, word: &str) {
    let stderr = child.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(stderr).lines();
    let found = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with(word));
    assert!(found, "it ended before {word}");
    // The rest must be read, or the program waits for it.
    std::thread::spawn(move || lines.count());
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("not 0");
    kill_process(pid, signal).expect("it runs");
}
