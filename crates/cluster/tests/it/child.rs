//! A tool with nothing but the hidden subcommands, and one that breaks a cluster of its own and waits to be killed.

use std::{process::ExitCode, sync::Arc};

use clap::Parser as _;
use ws_cluster::{
    RedisChoice,
    backend::local::{LocalCluster, LocalOptions},
    child::{self, ChildCommand},
    fault::Nemesis,
};

#[derive(clap::Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Starts a cluster, injects faults, prints the evidence and its children, and waits
    Break { faults: Vec<String> },
    #[command(flatten)]
    Child(ChildCommand),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Break { faults } => break_a_cluster(&faults),
        Command::Child(command) => child::run(command),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn break_a_cluster(faults: &[String]) -> ExitCode {
    let faults: Vec<_> = faults.iter().map(|fault| fault.parse().expect("a fault")).collect();
    let options = LocalOptions {
        replicas: 2,
        redis: RedisChoice::Auto,
        serve: None,
        broker: None,
        bugs: Vec::new(),
        faults: faults.clone(),
        tool: std::env::current_exe().expect("this program"),
        sends_per_second: 1000,
    };
    let cluster = Arc::new(LocalCluster::start(options).await.expect("starts"));
    let nemesis = Nemesis::Local(cluster.clone());
    let mut held = Vec::new();
    for fault in &faults {
        let mut injected = nemesis.inject(fault, 0).await.expect("injected");
        injected.effective().await;
        held.push(injected);
    }
    let replicas = cluster.replicas().iter().filter_map(|replica| replica.service()?.pid());
    let redis = cluster.redis().and_then(|redis| redis.own()?.service().pid());
    let pids: Vec<String> = replicas.chain(redis).map(|pid| pid.to_string()).collect();
    println!("{}", pids.join(" "));
    std::future::pending().await
}
