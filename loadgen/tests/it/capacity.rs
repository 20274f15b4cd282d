//! The search for the greatest load that holds, on real replicas and a real Redis. Which value that is, and what is full
//! then, is the machine's affair; `ws-analysis` tests the rules.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{document, latency::replica, run};

/// Small enough for any machine, and demands that any machine keeps.
const EASY: &str = "--probe 1s --slo delivery.p99<30s,lost==0 --output-format json -q";

/// That the search took these steps and ended at the last; unless other programs held a probe up, which it then says.
fn check_steps(capacity: &Value, steps: &[u32]) {
    let probes = capacity["probes"].as_array().expect("probes");
    assert!(probes.iter().all(|probe| probe["busy"]["redis"].as_f64().is_some()), "{capacity:#}");
    if probes.iter().any(|probe| probe["outcome"] != "held") {
        let by = capacity["limit"]["by"].as_str();
        assert!(["ceiling", "generator", "others"].map(Some).contains(&by), "{capacity:#}");
        return;
    }
    let probed: Vec<_> = probes.iter().map(|probe| probe["value"].as_u64()).collect();
    assert_eq!(probed, steps.iter().map(|&value| Some(value.into())).collect::<Vec<_>>(), "{capacity:#}");
    assert_eq!(capacity["value"].as_u64(), steps.last().map(|&value| value.into()), "{capacity:#}");
    assert_eq!((&capacity["limit"]["by"], &capacity["failed"]), (&"ceiling".into(), &Value::Null));
}

#[test]
fn a_rate_is_doubled_and_what_ended_the_search_is_no_limit_of_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("capacity.json");
    let output =
        run(&format!("capacity --local 2 --max rate -c 20 -r 50 --up-to 150 -o {} {EASY}", file.display()));
    let capacity = document(&output);
    assert_eq!(output.status.code(), Some(3), "{capacity:#}");
    assert_eq!(fs::read(file).expect("the document"), output.stdout);
    assert_eq!(capacity["schema"], "ws-capacity/1");
    assert_eq!(capacity["answer"], "at-least", "{capacity:#}");
    // The answer is confirmed by a second probe of three.
    check_steps(&capacity, &[50, 100, 150, 150]);
}

#[test]
fn sockets_are_searched_for_as_well() {
    let output =
        run(&format!("capacity --local 2 --max connections -c 10 -r 20 --up-to 40 --repeats 1 {EASY}"));
    let capacity = document(&output);
    assert_eq!(capacity["max"], "connections", "{capacity:#}");
    check_steps(&capacity, &[10, 20, 40]);
    let probes = capacity["probes"].as_array().expect("probes");
    assert!(probes.iter().all(|probe| probe["achieved"].as_f64() == probe["value"].as_f64()), "{capacity:#}");
}

#[test]
fn every_probe_finds_a_cluster_that_was_started_for_it() {
    let tool = env!("CARGO_BIN_EXE_ws-loadgen");
    let folder = tempfile::tempdir().expect("a folder");
    let starts = folder.path().join("starts");
    let serve = format!("echo $NODE_ID >> {}; exec {tool} replica --parent $PPID", starts.display());
    let search = format!("capacity --local 2 --max rate -c 20 -r 50 --up-to 100 --repeats 1 {EASY}");
    let output = Command::new(tool)
        .args(search.split_whitespace())
        .args(["--serve", &serve])
        .output()
        .expect("the program starts");
    let probes = document(&output)["probes"].as_array().expect("probes").len();
    assert!(probes >= 2, "{}", String::from_utf8_lossy(&output.stdout));
    let starts = fs::read_to_string(starts).expect("they were started");
    // And one for the run that warms everything up.
    assert_eq!(starts.lines().filter(|node| *node == "app-1").count(), probes + 1, "{starts}");
}

#[test]
fn where_nothing_holds_the_exit_code_says_whether_the_target_is_why() {
    let demand = "--probe 1s --repeats 1 --output-format json -q --slo duplicated==1";
    let output = run(&format!("capacity --local 2 --max rate -c 20 -r 4 {demand}"));
    let capacity = document(&output);
    assert_eq!((&capacity["answer"], &capacity["value"]), (&"none".into(), &Value::Null), "{capacity:#}");
    // On a busy machine the generator or others may be why, and then nothing is said of the target.
    let by = capacity["limit"]["by"].as_str().expect("a limit");
    let exit = if ["generator", "others"].contains(&by) { 3 } else { 99 };
    assert_eq!(output.status.code(), Some(exit), "{capacity:#}");
    let reason = capacity["probes"][0]["reasons"][0].as_str().expect("a reason");
    assert!(reason.starts_with("threshold duplicated==1: it was 0"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_target_elsewhere_no_more_is_said_than_can_be_seen() {
    let cluster = replica().await;
    let url = cluster.replicas()[0].url.clone();
    let search = move || run(&format!("capacity {url} --replicas 1 --max rate -c 4 -r 40 --up-to 40 {EASY}"));
    let capacity = document(&tokio::task::spawn_blocking(search).await.expect("no panic"));
    let busy = &capacity["probes"][0]["busy"];
    assert_eq!((&busy["server"], &busy["redis"]), (&Value::Null, &Value::Null));
    assert!(busy["generator"].as_f64() > Some(0.0), "{capacity:#}");
}

#[test]
fn what_is_known_is_told_when_somebody_stops_it() {
    let args = "capacity --local 2 --max rate -c 20 -r 50 --probe 1s --slo delivery.p99<30s";
    let mut search = Command::new(env!("CARGO_BIN_EXE_ws-loadgen"))
        .args(args.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut stdout = BufReader::new(search.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.ends_with("held\n") {
        line.clear();
        assert!(stdout.read_line(&mut line).expect("text") > 0, "it ended before a probe did");
    }
    kill_process(Pid::from_child(&search), Signal::INT).expect("it runs");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    let ended = search.wait().expect("it ends");
    assert!(rest.contains("\nINTERRUPTED  ") && rest.contains(" messages a second held so far"), "{rest}");
    assert_eq!(ended.code(), Some(130));
}

#[test]
fn what_a_search_decides_itself_is_not_for_the_user() {
    let check = |args: &str, said: &str| {
        let output = run(&format!("capacity --local 2 {args}"));
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{args}: {stderr}");
        assert!(stderr.contains(said), "{args}: {stderr}");
    };
    check("", "--max");
    check("--max sockets", "there are rate and connections");
    check("--max rate --threshold lost==0", "is its --slo");
    check("--max rate -d 10s", "is --probe");
    check("--max rate --stage 1s:100", "--stage: a search");
    check("--max rate -r 0", "0 is silence");
    check("--max connections -r 0", "--slo delivery.p99<100ms: with --rate 0");
    check("--max rate --precision 0", "1% to 50%");
    check("--max rate --slo lots==0", "there is no \"lots\"");
    check("--max rate --probe 100ms", "at least 1s");
    check("--max rate --up-to 0", "--up-to");
}
