//! Every fault on a real cluster: it takes hold and says so, it heals, and the cluster works again.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use ws_cluster::{
    RedisChoice,
    backend::local::{LocalCluster, LocalOptions, StartError},
    process::state_of,
};
use ws_workload::fault::Kind;

use crate::{
    until,
    world::{TOOL, World, fault, options},
};

/// Injects it, sees it, heals it, and does it again to drop it.
async fn check(text: &str, on: &[&str], evidence: &str, healed: &str) {
    let world = World::new(&[text]).await;
    let (injected, seen) = world.effective(text).await;
    assert_eq!(injected.on, on, "{text}");
    assert!(seen.contains(evidence), "{text}: {seen}");
    let back = injected.heal().await.expect(text);
    assert!(back.contains(healed), "{text}: {back}");
    world.works().await;
    let (injected, _) = world.effective(text).await;
    drop(injected);
    world.works().await;
}

#[tokio::test]
async fn kill_replica() {
    check("kill-replica@1s", &["app-1"], "was ended by signal 9, and 127.0.0.1:", "app-1 is ready").await;
}

#[tokio::test]
async fn pause_replica() {
    check(
        "pause-replica@1s on all",
        &["app-1", "app-2"],
        "is stopped, and /readyz did not",
        "app-2 is ready",
    )
    .await;
}

#[tokio::test]
async fn rolling_restart() {
    check("rolling-restart@1s", &["app-1", "app-2"], "ended at SIGTERM", "app-2 is ready as process").await;
}

#[tokio::test]
async fn cut_redis() {
    check("cut-redis@1s on app-2", &["app-2"], "connections to Redis were reset", "app-2 is ready").await;
}

#[tokio::test]
async fn stall_redis() {
    check("stall-redis@1s", &["app-1"], "bytes from or to Redis were held", "app-1 is ready").await;
}

#[tokio::test]
async fn refuse_redis() {
    check("refuse-redis@1s on all", &["app-1", "app-2"], "was refused", "app-1 is ready").await;
}

#[tokio::test]
async fn slow_redis() {
    check("slow-redis@1s delay 20ms", &["app-1"], "bytes from or to Redis came late", "app-1 is ready").await;
}

#[tokio::test]
async fn kill_pubsub() {
    check("kill-pubsub@1s", &["redis"], "pub/sub connections", "app-1 is ready").await;
}

#[tokio::test]
async fn restart_redis() {
    check("restart-redis@1s", &["redis"], "was ended by signal 9", "the key written before is there").await;
}

#[tokio::test]
async fn wipe_redis() {
    check("wipe-redis@1s", &["redis"], "was ended by signal 9", "the key written before is gone").await;
}

#[tokio::test]
async fn pause_redis() {
    check("pause-redis@1s", &["redis"], "is stopped", "redis answers").await;
}

#[tokio::test]
async fn drop_backend() {
    check("drop-backend@1s", &["app-1"], "refuses, and 127.0.0.1:", "the front of app-1 listens").await;
}

#[tokio::test]
async fn a_task_that_is_aborted_heals() {
    let world = World::new(&["stall-redis@1s"]).await;
    let nemesis = world.nemesis.clone();
    let task = tokio::spawn(async move {
        let mut held = Vec::new();
        for text in
            ["kill-replica@1s", "pause-replica@1s on app-2", "pause-redis@1s", "stall-redis@1s on all"]
        {
            held.push(nemesis.inject(&fault(text), 0).await.expect(text));
        }
        std::future::pending::<()>().await;
    });
    until(|| world.cluster.replicas().iter().all(|replica| replica.is_held())).await;
    until(|| world.cluster.replicas()[1].link().is_some_and(|link| link.is_held())).await;
    task.abort();
    assert!(task.await.expect_err("aborted").is_cancelled());
    world.works().await;
}

#[tokio::test]
async fn a_task_that_panics_heals() {
    let world = World::new(&[]).await;
    let nemesis = world.nemesis.clone();
    let task = tokio::spawn(async move {
        let _kill = nemesis.inject(&fault("kill-replica@1s"), 0).await.expect("injected");
        let _pause = nemesis.inject(&fault("pause-redis@1s"), 0).await.expect("injected");
        panic!("on purpose");
    });
    assert!(task.await.expect_err("it panics").is_panic());
    world.works().await;
}

#[tokio::test]
async fn a_restart_that_is_aborted_leaves_every_replica_running() {
    let world = World::new(&[]).await;
    let injected = world.inject("rolling-restart@1s").await;
    drop(injected);
    world.works().await;
}

#[tokio::test]
async fn faults_on_one_object_overlap() {
    let texts =
        ["kill-replica@1s", "cut-redis@1s", "slow-redis@1s on all", "pause-replica@1s", "pause-redis@1s"];
    let world = World::new(&texts).await;
    let slow = world.inject(texts[2]).await;
    let cut = world.inject(texts[1]).await;
    let pauses = [world.inject(texts[3]).await, world.inject(texts[3]).await];
    let kill = world.inject("kill-replica@1s on all").await;
    assert!(world.refusal("kill-replica@1s on all").await.ends_with("app-1 is down already"));
    assert!(world.refusal(texts[3]).await.ends_with("app-1 is down already"));
    assert!(world.refusal("rolling-restart@1s").await.ends_with("is down already"));
    let held = cut.heal().await.expect("it does not wait");
    assert_eq!(held, "app-1 is still held by another fault");
    for pause in pauses {
        pause.heal().await.expect("it does not wait");
    }
    kill.heal().await.expect("the replicas start");
    slow.heal().await.expect("the replicas are ready");
    world.works().await;
    // Redis goes on with its last pause.
    let [first, second] = [world.inject(texts[4]).await, world.inject(texts[4]).await];
    assert!(first.heal().await.expect("it does not wait").contains("redis is still held"));
    second.heal().await.expect("redis answers");
    world.works().await;
}

#[tokio::test]
async fn what_dead_replicas_used_counts_and_they_are_not_reported_dead() {
    let world = World::new(&[]).await;
    let before = world.service(0).usage();
    let (kill, _) = world.effective("kill-replica@1s").await;
    assert_eq!(world.cluster.dead(), Vec::<String>::new());
    let dead = world.service(0).usage();
    assert!(dead.cpu_seconds >= before.cpu_seconds && dead.rss_bytes == 0, "{before:?} {dead:?}");
    let address = world.cluster.replicas()[0].address();
    kill.heal().await.expect("back");
    assert_eq!(world.cluster.replicas()[0].address(), address);
    assert!(world.service(0).usage().cpu_seconds >= dead.cpu_seconds);
}

#[tokio::test]
async fn a_replica_that_died_by_itself_is_reported_and_not_killed_again() {
    let world = World::new(&[]).await;
    let pid = world.service(1).pid().expect("it runs");
    let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("runs");
    assert!(killed.success());
    until(|| !world.cluster.dead().is_empty()).await;
    assert!(world.cluster.dead()[0].starts_with("replica app-2 ended: "));
    let refusal = world.refusal("kill-replica@1s on app-2").await;
    assert!(refusal.contains("app-2 had ended by itself"), "{refusal}");
}

#[tokio::test]
async fn a_stopped_cluster_is_not_started_by_a_heal() {
    let world = World::new(&["restart-redis@1s"]).await;
    let (kill, _) = world.effective("kill-replica@1s on all").await;
    let (redis, _) = world.effective("restart-redis@1s").await;
    world.cluster.stop();
    let error = kill.heal().await.expect_err("it ended").to_string();
    assert!(error.contains("app-1 was ended for good"), "{error}");
    drop(redis);
    assert_eq!((world.service(0).pid(), world.redis().service().pid()), (None, None));
}

#[tokio::test]
async fn only_acknowledged_data_is_there_after_a_restart() {
    let world = World::new(&["restart-redis@1s", "wipe-redis@1s"]).await;
    world.redis().set_marker("mine").await.expect("taken");
    for (text, kept) in [("restart-redis@1s", true), ("wipe-redis@1s", false), ("restart-redis@1s", true)] {
        let injected = world.inject(text).await;
        injected.heal().await.expect(text);
        assert_eq!(world.redis().marker().await.expect("it answers").is_some(), kept, "{text}");
    }
}

#[tokio::test]
async fn what_can_not_be_done_is_refused_at_start() {
    let check = async |fault: &str, redis: RedisChoice, why: &str| {
        let error = LocalCluster::start(LocalOptions { redis, ..options(&[fault]) })
            .await
            .map(drop)
            .expect_err(fault);
        assert!(matches!(error, StartError::Usage(_)), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    };
    check("kill-replica@1s", RedisChoice::Embedded, "--fault kill-replica: the replicas share this process")
        .await;
    check("cut-redis@1s", RedisChoice::Embedded, "there is no Redis").await;
    let url = RedisChoice::Url("redis://127.0.0.1:1".into());
    check("wipe-redis@1s", url, "leave out --redis URL").await;
    check("kill-replica@1s on app-3", RedisChoice::Auto, "there are app-1 to app-2").await;
}

#[tokio::test]
async fn a_redis_of_somebody_elses_has_links_that_can_be_cut() {
    let theirs = World::new(&[]).await;
    let url = RedisChoice::Url(format!("{}/1", theirs.cluster.redis().expect("it has one").url));
    let texts = ["cut-redis@1s", "kill-replica@1s"];
    let ours = LocalOptions { redis: url, ..options(&texts) };
    let world = World::of(ours).await;
    for text in texts {
        let (injected, _) = world.effective(text).await;
        injected.heal().await.expect("back");
        world.works().await;
    }
}

#[tokio::test]
async fn replicas_in_this_process_have_fronts() {
    let embedded = LocalOptions { redis: RedisChoice::Embedded, ..options(&["drop-backend@1s"]) };
    let world = World::of(embedded).await;
    let (injected, _) = world.effective("drop-backend@1s").await;
    injected.heal().await.expect("back");
    world.works().await;
}

#[tokio::test]
async fn what_was_not_planned_or_is_the_clients_is_no_injection() {
    let world = World::new(&[]).await;
    let refusal = world.refusal("cut-redis@1s").await;
    assert!(refusal.contains("started without what it needs"), "{refusal}");
    assert_eq!(world.nemesis.supports(&fault("storm@1s")), Ok(()));
    assert!(world.refusal("storm@1s").await.contains("the clients do this themselves"));
}

/// The kernel's SIGKILL at the end of the parent reaches stopped processes as well.
#[tokio::test]
async fn killed_the_tool_leaves_nothing_stopped_and_nothing_running() {
    let faults = ["stall-redis@1s", "pause-replica@1s on all", "pause-redis@1s"];
    let mut tool =
        Command::new(TOOL).arg("break").args(faults).stdout(Stdio::piped()).spawn().expect("the tool starts");
    let stdout = tool.stdout.take().expect("piped");
    let read = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().next());
    let line = tokio::time::timeout(Duration::from_secs(30), read).await.expect("in time").expect("no panic");
    let line = line.expect("a line").expect("text");
    let pids: Vec<u32> = line.split(' ').map(|pid| pid.parse().expect("a process")).collect();
    assert_eq!(pids.len(), 3, "two replicas and a Redis");
    assert!(pids.iter().all(|pid| state_of(*pid) == Some('T')), "all are stopped");
    tool.kill().expect("killed");
    tool.wait().expect("reaped");
    // What nobody has reaped yet does not run.
    until(|| pids.iter().all(|pid| matches!(state_of(*pid), None | Some('Z' | 'X')))).await;
}

#[test]
fn every_fault_of_a_cluster_has_its_test() {
    let tested = include_str!("faults.rs");
    for kind in Kind::ALL.iter().filter(|kind| kind.site() != ws_workload::fault::Site::Clients) {
        assert!(tested.contains(&format!("fn {}()", kind.name().replace('-', "_"))), "{kind}");
    }
}
