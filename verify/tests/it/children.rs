//! Nothing that a run started outlives it, however it ends.

use std::{
    collections::HashSet,
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    endings::{signal, wait_for},
    tool::{Ended, command, command_with},
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

/// SIGKILL in the middle of a fault: a stopped process would live on, a killed one would be started again.
#[test]
fn killed_in_the_middle_of_a_fault_the_run_leaves_nothing_behind() {
    let faults =
        ["pause-replica@0s for 50s on app-1", "pause-redis@0s for 50s", "stall-redis@0s for 50s on app-2"];
    let args = ["run", "--local", "3", "-c", "30", "-r", "100", "-d", "60s"];
    let faults = faults.into_iter().flat_map(|fault| ["--fault", fault]);
    let mut child =
        command_with(&args.into_iter().chain(faults).collect::<Vec<_>>()).spawn().expect("starts");
    wait_for(&mut child, "sending");
    let children = descendants(child.id());
    assert_eq!(children.len(), 4, "three replicas and a Redis");
    let deadline = Instant::now() + Duration::from_secs(10);
    while children.iter().filter(|pid| state(**pid) == Some('T')).count() < 2 {
        assert!(Instant::now() < deadline, "nothing was stopped");
        std::thread::yield_now();
    }
    signal(&child, Signal::KILL);
    child.wait().expect("it ends");
    gone(children);
}

/// Ctrl-C in the middle of a fault: it is healed, and what was sent is judged.
#[test]
fn interrupted_in_the_middle_of_a_fault_the_run_heals_it() {
    let args = ["run", "--local", "3", "-c", "30", "-r", "100", "-d", "60s", "--output-format", "json"];
    let fault =
        ["--fault", "pause-replica@0s for 50s on app-1", "--fault", "kill-replica@55s for 1s on app-2"];
    let mut child = command_with(&[&args[..], &fault[..]].concat()).spawn().expect("starts");
    wait_for(&mut child, "sending");
    let children = descendants(child.id());
    let deadline = Instant::now() + Duration::from_secs(10);
    while !children.iter().any(|pid| state(*pid) == Some('T')) {
        assert!(Instant::now() < deadline, "nothing was stopped");
        std::thread::yield_now();
    }
    signal(&child, Signal::INT);
    let ended: Ended = child.wait_with_output().expect("it ends").into();
    assert_eq!(ended.exit, Some(130), "{}", ended.stdout);
    let document = ended.document();
    assert!(document["faults"][0]["healed_us"].is_u64(), "{document:#}");
    // The one whose time never came was on for no time.
    assert_eq!(document["faults"][1]["start_us"], document["faults"][1]["healed_us"]);
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

/// Its state, by the third field.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Waits until none of these runs; what nobody has reaped yet (state Z) does not run.
pub(crate) fn gone(pids: HashSet<u32>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let runs = |pid: &&u32| !matches!(state(**pid), None | Some('Z' | 'X'));
    while pids.iter().any(|pid| runs(&pid)) {
        assert!(Instant::now() < deadline, "still there: {:?}", pids.iter().filter(runs).collect::<Vec<_>>());
        std::thread::yield_now();
    }
}
