//! Nothing that a run started outlives it, however it ends.

use std::{
    collections::HashSet,
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    endings::{signal, wait_for},
    tool::command,
};

#[test]
fn killed_the_run_leaves_nothing_behind() {
    check(Signal::KILL);
}

#[test]
fn interrupted_twice_the_run_leaves_nothing_behind() {
    let mut child = command("run --local 3 -c 30 -r 100 -d 60s").spawn().expect("starts");
    wait_for(&mut child, "sending");
    let children = descendants(child.id());
    signal(&child, Signal::INT);
    signal(&child, Signal::INT);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    gone(children);
}

fn check(how: Signal) {
    let mut child = command("run --local 3 -c 30 -r 100 -d 60s").spawn().expect("starts");
    wait_for(&mut child, "sending");
    let children = descendants(child.id());
    assert_eq!(children.len(), 4, "three replicas and a Redis");
    signal(&child, how);
    child.wait().expect("it ends");
    gone(children);
}

/// The children of `parent`, by the fourth field of /proc/PID/stat.
fn descendants(parent: u32) -> HashSet<u32> {
    let processes = fs::read_dir("/proc").expect("Linux").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Waits until none of these runs; what nobody has reaped yet (state Z) does not run.
fn gone(pids: HashSet<u32>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let runs = |pid: &&u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !matches!(
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next()),
            None | Some("Z" | "X")
        )
    };
    while pids.iter().any(|pid| runs(&pid)) {
        assert!(Instant::now() < deadline, "still there: {:?}", pids.iter().filter(runs).collect::<Vec<_>>());
        std::thread::yield_now();
    }
}
