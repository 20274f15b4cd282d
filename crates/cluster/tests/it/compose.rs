//! Faults on the containers of a Compose project, by an engine that writes down what it is asked.

use std::time::Duration;

use tokio::time::timeout;
use ws_cluster::{
    backend::compose::{ComposeError, ComposeOptions, Project},
    fault::{CommandFault, Commands, Injected, Nemesis},
};
use ws_workload::fault::{Kind, Site};

use crate::{engine::Engine, until, world::fault};

async fn nemesis(engine: &Engine) -> Nemesis {
    Nemesis::Compose(engine.project().await, Commands::default())
}

async fn effective(nemesis: &Nemesis, text: &str) -> (Injected, String) {
    let mut injected = nemesis.inject(&fault(text), 1).await.expect(text);
    let seen = timeout(Duration::from_secs(10), injected.effective()).await.expect(text);
    (injected, seen)
}

/// Injects it, sees it, heals it, and does it again to drop it; the calls of each are `done` and `undone`.
async fn check(text: &str, on: &[&str], evidence: &str, done: &[&str], undone: &[&str], healed: &str) {
    let engine = Engine::start();
    let nemesis = nemesis(&engine).await;
    let (injected, seen) = effective(&nemesis, text).await;
    assert_eq!(injected.on, on, "{text}");
    assert!(seen.contains(evidence), "{text}: {seen}");
    assert_eq!(engine.calls(), done, "{text}");
    let back = injected.heal().await.expect(text);
    assert!(back.contains(healed), "{text}: {back}");
    assert_eq!(engine.calls(), undone, "{text}");
    assert!(engine.is_whole(), "{text}");
    let (injected, _) = effective(&nemesis, text).await;
    drop(injected);
    // Not a moment later: whoever drops it may end.
    assert!(engine.is_whole(), "{text}");
    assert_eq!(engine.calls(), [done, undone].concat(), "{text}");
}

#[tokio::test]
async fn kill_replica() {
    let (kill, start) = ("/containers/app-2-1/kill?signal=SIGKILL", "/containers/app-2-1/start");
    check(
        "kill-replica@1s",
        &["app-2"],
        "app-2: container app-2-1 has exited with 137",
        &[kill],
        &[start],
        "app-2 is healthy",
    )
    .await;
}

#[tokio::test]
async fn pause_replica() {
    let pause = ["/containers/app-1-1/pause", "/containers/app-2-1/pause", "/containers/app-3-1/pause"];
    let unpause =
        ["/containers/app-1-1/unpause", "/containers/app-2-1/unpause", "/containers/app-3-1/unpause"];
    let on = ["app-1", "app-2", "app-3"];
    check(
        "pause-replica@1s on all",
        &on,
        "app-3: container app-3-1 is paused",
        &pause,
        &unpause,
        "app-3 is healthy",
    )
    .await;
}

#[tokio::test]
async fn cut_redis() {
    let cut = "/networks/id-back/disconnect app-3-1";
    let connect = r#"/networks/id-back/connect app-3-1 {"Aliases":["app-3"]}"#;
    check(
        "cut-redis@1s on app-3",
        &["app-3"],
        "app-3-1 is off the network back",
        &[cut],
        &[connect],
        "app-3 is healthy",
    )
    .await;
}

#[tokio::test]
async fn pause_redis() {
    let (pause, unpause) = ("/containers/redis-1/pause", "/containers/redis-1/unpause");
    check("pause-redis@1s", &["redis-1"], "is paused", &[pause], &[unpause], "app-1 is healthy").await;
}

#[tokio::test]
async fn restart_redis() {
    let (kill, start) = ("/containers/redis-1/kill?signal=SIGKILL", "/containers/redis-1/start");
    let healed = "the key written before is there; app-1 is healthy";
    check("restart-redis@1s", &["redis-1"], "exited with 137", &[kill], &[start], healed).await;
}

#[tokio::test]
async fn a_redis_that_forgot_everything_was_not_restarted_but_wiped() {
    let engine = Engine::start();
    let (injected, _) = effective(&nemesis(&engine).await, "restart-redis@1s").await;
    engine.forget();
    let error = injected.heal().await.expect_err("it forgot").to_string();
    assert!(error.contains("it keeps no data"), "{error}");
    assert!(engine.is_whole());
}

#[tokio::test]
async fn kill_pubsub() {
    check("kill-pubsub@1s", &["redis-1"], "redis ended 3 pub/sub connections", &[], &[], "app-3 is healthy")
        .await;
}

#[tokio::test]
async fn rolling_restart() {
    let engine = Engine::start();
    let nemesis = nemesis(&engine).await;
    let (injected, seen) = effective(&nemesis, "rolling-restart@1s").await;
    assert_eq!(injected.on, ["app-2", "app-3", "app-1"]);
    assert!(seen.contains("app-2: container app-2-1 ended at SIGTERM (exit code 0)"), "{seen}");
    let back = injected.heal().await.expect("all are back");
    assert!(back.ends_with("app-1 is healthy after its restart"), "{back}");
    let expected = ["app-2", "app-3", "app-1"]
        .map(|node| [format!("/containers/{node}-1/stop?t=8"), format!("/containers/{node}-1/start")]);
    assert_eq!(engine.calls(), expected.concat());
    let (injected, _) = effective(&nemesis, "rolling-restart@1s").await;
    drop(injected);
    until(|| engine.is_whole()).await;
}

#[tokio::test]
async fn cancelled_the_injection_leaves_nothing() {
    let engine = Engine::start();
    let nemesis = nemesis(&engine).await;
    let kills = engine.hold_kills().await;
    let fault = fault("kill-replica@1s");
    let injecting = nemesis.inject(&fault, 1);
    assert!(timeout(Duration::from_millis(50), injecting).await.is_err(), "it waits");
    drop(kills);
    until(|| engine.calls().iter().any(|call| call.ends_with("/start"))).await;
    until(|| engine.is_whole()).await;
}

#[tokio::test]
async fn faults_on_one_container_overlap() {
    let engine = Engine::start();
    let nemesis = nemesis(&engine).await;
    let [first, second] = [
        effective(&nemesis, "pause-replica@1s on app-1").await.0,
        effective(&nemesis, "pause-replica@1s on app-1").await.0,
    ];
    assert_eq!(first.heal().await.as_deref(), Ok("app-1 is still held by another fault"));
    let cuts = [
        effective(&nemesis, "cut-redis@1s on all").await.0,
        effective(&nemesis, "cut-redis@1s on app-1").await.0,
    ];
    let kill = effective(&nemesis, "kill-replica@1s on app-1").await.0;
    let refused =
        nemesis.inject(&fault("kill-replica@1s on all"), 0).await.expect_err("it is down").to_string();
    assert!(refused.ends_with("app-1 is down already"), "{refused}");
    // One that is down as well.
    effective(&nemesis, "cut-redis@1s on app-1").await.0.heal().await.expect("it does not wait");
    for cut in cuts {
        cut.heal().await.expect("it does not wait");
    }
    kill.heal().await.expect("it is back");
    assert!(engine.is_whole());
    engine.calls();
    // That incarnation is gone.
    second.heal().await.expect("nothing to do");
    assert_eq!(engine.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn closed_all_is_put_to_rights_and_nothing_is_broken_any_more() {
    let engine = Engine::start();
    let project = engine.project().await;
    let nemesis = Nemesis::Compose(project.clone(), Commands::default());
    let mut held = Vec::new();
    for text in ["kill-replica@1s on app-1", "cut-redis@1s on app-2", "pause-redis@1s"] {
        held.push(effective(&nemesis, text).await.0);
    }
    assert_eq!(project.close(), Vec::<String>::new());
    assert!(engine.is_whole());
    let error = nemesis.inject(&fault("kill-replica@1s"), 0).await.expect_err("it ends").to_string();
    assert!(error.ends_with("the run ends"), "{error}");
    engine.calls();
    drop(held);
    assert_eq!(engine.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn what_can_not_be_done_is_refused_with_what_to_do() {
    let engine = Engine::start();
    let project = engine.project().await;
    let command = CommandFault { inject: "true".into(), proof: Some("true".into()), heal: None };
    let nemesis = Nemesis::Compose(project, Commands([(Kind::WipeRedis, command)].into()));
    let refusal = |text: &str| nemesis.supports(&fault(text)).expect_err(text);
    assert!(
        refusal("slow-redis@1s").contains("it can't be done with --compose, which can do kill-replica, ")
    );
    assert!(refusal("drop-backend@1s").contains("[command.drop-backend]"));
    assert!(refusal("kill-replica@1s on app-9").contains("there are app-1, app-2, app-3"));
    assert!(refusal("pause-redis@1s on app-1").contains("leave out 'on app-1'"));
    // The command is the way.
    assert_eq!(nemesis.supports(&fault("wipe-redis@1s")), Ok(()));
    let is_refused = |kind: &&Kind| nemesis.supports(&fault(&format!("{kind}@1s"))).is_err();
    let refused: Vec<Kind> = Kind::ALL.iter().filter(is_refused).copied().collect();
    assert_eq!(refused, [Kind::StallRedis, Kind::RefuseRedis, Kind::SlowRedis, Kind::DropBackend]);
    assert!(refused.iter().all(|kind| kind.site() != Site::Clients));
}

#[tokio::test]
async fn a_replica_on_redis_network_alone_can_not_be_cut_off() {
    let engine = Engine::start();
    engine.add("app-4", 1, &["back"]);
    let refusal = nemesis(&engine).await.supports(&fault("cut-redis@1s")).expect_err("one network");
    assert!(refusal.contains("app-4 would lose its clients with Redis"), "{refusal}");
    let engine = Engine::start();
    engine.add("app-4", 1, &["front"]);
    let refusal = nemesis(&engine).await.supports(&fault("cut-redis@1s")).expect_err("no network");
    assert!(refusal.contains("app-4 and redis-1 have no network in common"), "{refusal}");
}

#[tokio::test]
async fn the_containers_are_found_by_service_and_number() {
    let engine = Engine::start();
    engine.add("web", 1, &["front", "back"]);
    engine.add("web", 2, &["front", "back"]);
    let nodes = async |replicas: &str| {
        let options = ComposeOptions { replicas: replicas.into(), ..engine.options() };
        Project::find(options).await.map(|project| project.nodes())
    };
    assert_eq!(nodes("app-*").await.expect("services"), ["app-1", "app-2", "app-3"]);
    assert_eq!(nodes("web-*").await.expect("one service"), ["web-1", "web-2"]);
    // Redis is none.
    assert_eq!(
        nodes("redis*").await.map_err(|error| error.to_string()).expect_err("none").split(';').next(),
        Some("--compose-replicas redis*: no container is called so")
    );
    let find = async |options: ComposeOptions| Project::find(options).await.map(drop).expect_err("not there");
    let other = find(ComposeOptions { project: "other".into(), ..engine.options() }).await;
    assert!(matches!(&other, ComposeError::Usage(why) if why.contains("there are ws")), "{other}");
    let nobody =
        find(ComposeOptions { docker_host: Some("unix:///nowhere.sock".into()), ..engine.options() }).await;
    assert!(
        matches!(nobody, ComposeError::Engine(_)) && nobody.to_string().contains("/nowhere.sock"),
        "{nobody}"
    );
    engine.sicken("web-2");
    let sick = find(ComposeOptions { replicas: "web-*".into(), ..engine.options() }).await.to_string();
    assert!(sick.starts_with("web-2 fails its health check before anything is broken"), "{sick}");
    let options = ComposeOptions { redis: "valkey".into(), ..engine.options() };
    let project = std::sync::Arc::new(Project::find(options).await.expect("it is there"));
    let nemesis = Nemesis::Compose(project, Commands::default());
    let refusal = nemesis.supports(&fault("kill-pubsub@1s")).expect_err("none");
    assert!(refusal.contains("no container valkey runs") && refusal.contains("--compose-redis"), "{refusal}");
}
