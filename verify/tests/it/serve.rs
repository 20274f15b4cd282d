//! `--serve`: somebody else's program as the replicas. Here it is our own, which knows nothing of that.

use std::{fs, process::Child};

use rustix::process::Signal;

use crate::{
    children::gone,
    endings::{signal, wait_for},
    tool::{command_with, passed, run_with},
};

const TOOL: &str = env!("CARGO_BIN_EXE_ws-verify");

#[test]
fn its_replicas_are_killed_and_cut_off_and_the_run_can_be_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().display().to_string();
    let program = format!("{TOOL} replica --parent $PPID --threads 1");
    let scenario = folder.path().join("mine.toml");
    let file = format!(
        "[cluster]\nlocal = 3\nserve = {program:?}\n[load]\nconnections = 30\nrate = 200.0\nduration = \"6s\"\n"
    );
    fs::write(&scenario, file).expect("written");
    let scenario = scenario.display().to_string();
    let faults = ["--fault", "kill-replica@1s for 1s on app-2", "--fault", "cut-redis@3s for 500ms on app-3"];
    let args = ["run", "--scenario", &scenario, "--report-dir", &out, "--output-format", "json"];
    let ended = run_with(&[&args[..], &faults[..]].concat());
    let document = passed(&ended);
    assert_eq!(document["target"]["serve"], *program);
    assert_eq!(document["config"]["target"]["ready"], "/readyz");
    let proof = |fault: usize| document["faults"][fault]["proof"].as_str().expect("it was seen");
    assert!(proof(0).contains("ended by signal 9") && proof(1).contains("were reset"), "{document:#}");
    assert!(document["cluster"]["server"]["cpu_seconds"].as_f64() > Some(0.0), "{document:#}");
    // It was no replica of ours, and is none in the next run.
    let report = format!("{out}/report.json");
    let again = run_with(&["replay", &report, "-d", "6s", "--output-format", "json"]);
    assert_eq!((again.exit, &again.document()["target"]["serve"]), (Some(0), &document["target"]["serve"]));
    let other = run_with(&["replay", &report, "--serve", "exit 1"]);
    assert_eq!(other.exit, Some(4), "{}", other.stderr);
}

#[test]
fn killed_the_run_leaves_nothing_of_it_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let there = folder.path().display();
    // A program that starts another one, which nothing ties to anybody.
    let program = format!(
        "sleep 1000 & echo $! > {there}/$NODE_ID.other; echo $$ > {there}/$NODE_ID; exec {TOOL} replica --parent $PPID"
    );
    let args = ["run", "--local", "2", "--serve", &program, "-c", "20", "-r", "100", "-d", "60s"];
    let mut child = command_with(&[&args[..], &["--fault", "pause-replica@0s for 50s"]].concat())
        .spawn()
        .expect("starts");
    wait_for(&mut child, "sending");
    let files = fs::read_dir(folder.path()).expect("a folder").flatten();
    let pids = files
        .map(|file| fs::read_to_string(file.path()).expect("text").trim().parse().expect("a process id"));
    let pids: std::collections::HashSet<u32> = pids.collect();
    assert_eq!(pids.len(), 4);
    kill(&mut child);
    gone(pids);
}

fn kill(child: &mut Child) {
    signal(child, Signal::KILL);
    child.wait().expect("it ends");
}
