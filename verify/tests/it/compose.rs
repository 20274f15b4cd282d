//! `--compose`: containers are broken by way of the engine, and never left broken. The engine is one of the tests', so the
//! servers do not notice.

use std::{
    process::Child,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio_util::sync::CancellationToken;
use ws_server::{BrokerChoice, Config};

use crate::{
    endings::{signal, wait_for},
    engine::Engine,
    tool::{Ended, command_with},
};

/// Three replicas in this process.
struct Servers {
    urls: Vec<String>,
    stop: CancellationToken,
}

impl Servers {
    async fn start() -> Self {
        let (hub, stop) = (std::sync::Arc::default(), CancellationToken::new());
        let mut urls = Vec::new();
        for number in 1..=3 {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            urls.push(format!("ws://{}", listener.local_addr().expect("bound")));
            let broker = BrokerChoice::Memory(std::sync::Arc::clone(&hub));
            tokio::spawn(ws_server::run(
                listener,
                Config::new(format!("app-{number}"), broker),
                stop.clone(),
            ));
        }
        Self { urls, stop }
    }

    fn verify(&self, engine: &Engine, args: &str) -> Child {
        let mut all = vec!["run", "--compose", "ws", "-c", "30", "-r", "100", "--output-format", "json"];
        all.extend(args.split(' ').map(|arg| arg.trim_matches('_')));
        let all: Vec<String> =
            all.into_iter().map(|arg| arg.replace('_', " ")).chain(self.urls.clone()).collect();
        let host = engine.options().docker_host.expect("it has one");
        let mut command = command_with(&all.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("DOCKER_HOST", host).spawn().expect("the program starts")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_done_to_containers() {
    let (engine, servers) = (Engine::start(), Servers::start().await);
    let faults = "-d 5s --fault pause-replica@500ms_for_1s_on_app-2 --fault kill-pubsub@2s";
    let ended: Ended = servers.verify(&engine, faults).wait_with_output().expect("it ends").into();
    assert_eq!(ended.exit, Some(0), "{}{}", ended.stdout, ended.stderr);
    let document = ended.document();
    assert_eq!(document["config"]["compose"]["replicas"], "app-*");
    let proof = |fault: usize| document["faults"][fault]["proof"].as_str().expect("it was seen");
    assert!(proof(0).ends_with("is paused; healed: app-2 is healthy"), "{document:#}");
    assert!(proof(1).starts_with("redis ended 3 pub/sub connections"), "{document:#}");
    assert_eq!(engine.calls(), ["/containers/app-2-1/pause", "/containers/app-2-1/unpause"]);
}

/// Its time was over before it was injected, and nobody looked for its effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_a_slow_engine_injects_late_is_seen_all_the_same() {
    let (engine, servers) = (Engine::start(), Servers::start().await);
    let kills = engine.hold_kills().await;
    let mut child = servers.verify(&engine, "-d 5s --fault kill-replica@0s_for_500ms_on_app-2");
    wait_for(&mut child, "sending");
    // No wait for an event: that the fault's whole time goes by is the case.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(kills);
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("no panic");
    let document = Ended::from(ended.expect("it ends")).document();
    let proof = document["faults"][0]["proof"].as_str().unwrap_or_default();
    assert!(proof.contains("has exited with 137"), "{document:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_once_or_twice_all_containers_are_put_to_rights() {
    for times in 1..=2 {
        let (engine, servers) = (Engine::start(), Servers::start().await);
        let faults = "-d 60s --fault kill-replica@0s_for_50s_on_app-1 --fault cut-redis@0s_for_50s_on_app-2 --fault \
            pause-redis@0s_for_50s";
        let mut child = servers.verify(&engine, &faults.split_whitespace().collect::<Vec<_>>().join(" "));
        wait_for(&mut child, "sending");
        let mut done = 0;
        let deadline = Instant::now() + Duration::from_secs(10);
        while done < 3 {
            assert!(Instant::now() < deadline, "{done} of 3 faults");
            done += engine.calls().len();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..times {
            signal(&child, Signal::INT);
        }
        let ended =
            tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic").expect("it ends");
        assert_eq!(ended.code(), Some(130), "{times}");
        assert!(engine.is_whole(), "{times}");
    }
}
