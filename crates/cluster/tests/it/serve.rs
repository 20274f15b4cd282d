//! Somebody else's program as the replicas: our own server, started as if it were not ours.

use std::{fs, path::Path};

use ws_cluster::{
    BugSwitch, RedisChoice,
    backend::local::{LocalCluster, LocalOptions, Serve, StartError},
    process::state_of,
};
use ws_server::args::BrokerName;

use crate::{
    until,
    world::{TOOL, World, options},
};

fn serving(command: &str, faults: &[&str]) -> LocalOptions {
    let serve = Serve { command: command.into(), ready_path: "/readyz".into() };
    LocalOptions { serve: Some(serve), ..options(faults) }
}

/// A program that starts another one, whose process id goes into a file, and a server that finds all in its environment.
fn program(folder: &Path) -> String {
    format!(
        "sleep 1000 & echo $! > {}/$NODE_ID; exec {TOOL} replica --parent $PPID --threads 1",
        folder.display()
    )
}

fn helper(folder: &Path, node: &str) -> u32 {
    fs::read_to_string(folder.join(node)).expect("written").trim().parse().expect("a process id")
}

fn runs(pid: u32) -> bool {
    !matches!(state_of(pid), None | Some('Z' | 'X'))
}

#[tokio::test]
async fn every_fault_works_on_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let faults = [
        ("kill-replica@1s", "was ended by signal 9"),
        ("pause-replica@1s", "is stopped, and /readyz did not"),
        ("rolling-restart@1s", "ended at SIGTERM (exit status: 0)"),
        ("cut-redis@1s on app-2", "connections to Redis were reset"),
        ("stall-redis@1s", "were held"),
        ("kill-pubsub@1s", "pub/sub connections"),
        ("restart-redis@1s", "was ended by signal 9"),
        ("pause-redis@1s", "is stopped"),
        ("drop-backend@1s", "/readyz says 200"),
    ];
    let world = World::of(serving(&program(folder.path()), &faults.map(|(fault, _)| fault))).await;
    assert!(world.cluster.replicas()[0].url.ends_with(char::is_numeric), "without a path");
    for (fault, evidence) in faults {
        let (injected, seen) = world.effective(fault).await;
        assert!(seen.contains(evidence), "{fault}: {seen}");
        injected.heal().await.expect(fault);
        world.works().await;
    }
}

#[tokio::test]
async fn what_it_started_is_stopped_counted_and_killed_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::of(serving(&program(folder.path()), &[])).await;
    let other = helper(folder.path(), "app-1");
    let alone = fs::read_to_string(format!("/proc/{}/statm", world.service(0).pid().expect("it runs")));
    let pages: u64 = alone.expect("it runs").split(' ').nth(1).expect("a number").parse().expect("a number");
    assert!(world.service(0).usage().rss_bytes > pages * 4096, "both count");
    let pause = world.inject("pause-replica@1s").await;
    until(|| state_of(other) == Some('T')).await;
    pause.heal().await.expect("it goes on");
    until(|| state_of(other) == Some('S')).await;
    let kill = world.inject("kill-replica@1s").await;
    until(|| !runs(other)).await;
    kill.heal().await.expect("back");
    let [first, second] = ["app-1", "app-2"].map(|node| helper(folder.path(), node));
    assert!(first != other && runs(first) && runs(second));
    // The one that the leader's own end leaves alone: nobody signals its group.
    let pid = world.service(1).pid().expect("it runs").to_string();
    std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("killed");
    until(|| !runs(second)).await;
    world.cluster.stop();
    until(|| !runs(first)).await;
}

#[tokio::test]
async fn a_program_that_does_not_come_up_is_an_error_with_its_last_words() {
    let check = async |command: &str, why: &[&str]| {
        let error =
            LocalCluster::start(serving(command, &[])).await.map(drop).expect_err(command).to_string();
        assert!(why.iter().all(|why| error.contains(why)), "{error}");
    };
    check("echo on stdout; echo on stderr >&2; exit 3", &["replica app-1", "on stdout", "on stderr"]).await;
    check("no-such-program --port $PORT", &["no-such-program"]).await;
}

#[tokio::test]
async fn what_does_not_go_with_it_is_refused() {
    let check = async |options: LocalOptions, why: &str| {
        let error = LocalCluster::start(options).await.map(drop).expect_err(why);
        assert!(matches!(error, StartError::Usage(_)) && error.to_string().contains(why), "{error}");
    };
    let ours = || serving("true", &[]);
    check(LocalOptions { redis: RedisChoice::Embedded, ..ours() }, "--redis embedded").await;
    check(LocalOptions { broker: Some(BrokerName::RedisPubsub), ..ours() }, "--broker").await;
    let bugs: Vec<BugSwitch> = vec!["drop".parse().expect("a bug")];
    check(LocalOptions { bugs, ..ours() }, "--bug").await;
    check(serving(" ", &[]), "no command").await;
    let serve = Some(Serve { command: "true".into(), ready_path: "readyz".into() });
    check(LocalOptions { serve, ..ours() }, "--ready is a path").await;
}
