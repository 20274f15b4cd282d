//! Sockets that are shared out over processes of this machine, and over agents.

use std::{
    path::Path,
    process::{Child, Command},
};

use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;
use ws_cluster::redis::{Redis, program};

use crate::{
    endings::{signal, wait_for},
    tool::{Ended, command, command_with, passed, run, run_with},
};

const LOAD: &str = "--local 3 --redis embedded -c 90 -r 300 --output-format json";

/// A Redis, and agents that wait for their part.
struct Agents {
    url: String,
    job: String,
    agents: Vec<Child>,
    _redis: Redis,
    _runtime: Runtime,
}

impl Agents {
    fn new(count: usize, more: &[&str]) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let program = program().expect("./test installs one");
        let tool = Path::new(env!("CARGO_BIN_EXE_ws-verify"));
        let redis = runtime.block_on(Redis::start(tool, &program, false)).expect("a Redis");
        let (url, job) = (redis.url.clone(), format!("test-{count}"));
        let agent = |number: usize| {
            let name = format!("agent-{number}");
            let args = [&["agent", "--coordinator", &url, "--job", &job, "--name", &name], more].concat();
            let mut agent = command_with(&args).spawn().expect("starts");
            wait_for(&mut agent, &format!("{name}: waiting"));
            agent
        };
        let agents = (1..=count).map(agent).collect();
        Self { url, job, agents, _redis: redis, _runtime: runtime }
    }

    /// The command that leads them.
    fn lead(&self, args: &str) -> Command {
        let count = self.agents.len();
        command(&format!("run {LOAD} --agents {count} --coordinator {} --job {} {args}", self.url, self.job))
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

fn is_whole(ended: &Ended) -> Value {
    let document = passed(ended);
    let counts = &document["counts"];
    assert_eq!((&counts["connections"], &counts["sent"]), (&90.into(), &900.into()), "{document:#}");
    assert!(counts["expected"] == counts["delivered"] && counts["lost"] == 0, "{document:#}");
    document
}

fn members(document: &Value) -> &Vec<Value> {
    document["members"].as_array().expect("a list")
}

#[test]
fn processes_share_the_sockets_and_miss_nothing() {
    // Members of one room are on one process, and messages to all on every one.
    let document = is_whole(&run(&format!("run {LOAD} -d 3s --processes 3 --share-all 0.05")));
    let shares: Vec<_> = members(&document).iter().map(|member| member["connections"].clone()).collect();
    assert_eq!(shares, [30, 30, 30], "{document:#}");
    assert!(document["members"][0]["clock_error_us"].as_u64() < Some(10), "one machine has one clock");
    assert_eq!(document["config"]["workers"], 3);
    assert!(document["counts"]["expected"].as_u64() > Some(9000), "some went to all: {document:#}");
}

#[test]
fn what_is_broken_is_found_over_all_processes() {
    let ended = run(&format!("run {LOAD} -d 3s --processes 3 --bug drop@2"));
    let document = ended.document();
    assert_eq!((ended.exit, crate::tool::failed(&document)), (Some(1), vec!["P3"]), "{document:#}");
}

#[test]
fn faults_of_the_clients_reach_all_processes_and_the_history_comes_home() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().display().to_string();
    let load: Vec<&str> = LOAD.split_whitespace().collect();
    let fault = ["--processes", "2", "--fault", "reset-clients@1s share 1", "-d", "5s"];
    let args = [&["run"], &load[..], &fault, &["--report-dir", &out, "--history"]].concat();
    let ended = run_with(&args);
    let document = ended.document();
    assert_eq!(
        (ended.exit, &document["faults"][0]["on"]),
        (Some(0), &serde_json::json!(["90 clients"])),
        "{document:#}"
    );
    let checked = run(&format!("check {out} --output-format json"));
    assert_eq!(checked.document()["counts"], document["counts"], "{}", checked.stderr);
}

#[test]
fn agents_share_the_sockets_and_miss_nothing() {
    let mut agents = Agents::new(3, &["--once"]);
    let ended: Ended = agents.lead("-d 3s --share-all 0.05").output().expect("it starts").into();
    let document = is_whole(&ended);
    let mut names: Vec<_> = members(&document).iter().filter_map(|member| member["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["agent-1", "agent-2", "agent-3"]);
    for agent in &mut agents.agents {
        assert_eq!(agent.wait().expect("it ends").code(), Some(0), "its part is done");
    }
}

#[test]
fn an_agent_that_dies_leaves_a_gap_and_no_verdict() {
    for (how, why) in [(Signal::KILL, "said nothing for"), (Signal::TERM, "told to end")] {
        let agents = Agents::new(2, &[]);
        // Faults ask every member, and one that is lost does not answer.
        let mut leader = agents.lead("-d 6s --fault reset-clients@2s").spawn().expect("it starts");
        wait_for(&mut leader, "sending");
        signal(&agents.agents[1], how);
        let ended: Ended = leader.wait_with_output().expect("it ends").into();
        let document = ended.document();
        assert_eq!((ended.exit, &document["verdict"]), (Some(3), &"inconclusive".into()), "{document:#}");
        let reasons = document["reasons"].to_string();
        assert!(reasons.contains("agent-2 was lost with its") && reasons.contains(why), "{reasons}");
        // What the other one saw was judged.
        assert!(document["counts"]["delivered"].as_u64() > Some(0), "{document:#}");
        assert_eq!(document["counts"]["lost"], 0);
    }
}

#[test]
fn whoever_leads_may_die_and_agents_wait_for_the_next() {
    let agents = Agents::new(2, &[]);
    let mut leader = agents.lead("-d 30s").spawn().expect("it starts");
    wait_for(&mut leader, "sending");
    signal(&leader, Signal::KILL);
    leader.wait().expect("it ends");
    // They notice after a while, and not before.
    is_whole(&agents.lead("-d 3s --agents-wait 40s").output().expect("it starts").into());
}

#[test]
fn too_few_agents_end_in_a_clear_error() {
    let agents = Agents::new(1, &[]);
    let (url, job) = (&agents.url, &agents.job);
    let ended = run(&format!("run {LOAD} --agents 2 --coordinator {url} --job {job} --agents-wait 1s"));
    assert_eq!(ended.exit, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("1 of 2 agents came within 1 s"), "{}", ended.stderr);
    // The one that came is free again.
    is_whole(&agents.lead("-d 3s").output().expect("it starts").into());
    let ended = run(&format!("run {LOAD} --agents 2 --coordinator redis://127.0.0.1:1"));
    assert!(
        ended.exit == Some(4) && ended.stderr.contains("no Redis answers at 127.0.0.1:1"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_can_not_be_shared_out_is_refused() {
    let ended = run("run --local 3 --redis embedded -c 90 --rooms 2 --processes 3");
    assert_eq!(ended.exit, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains("2 rooms can't be shared out over 3 processes"), "{}", ended.stderr);
}
