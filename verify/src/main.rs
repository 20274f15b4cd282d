//! `ws-verify`: proves that a WebSocket cluster delivers every room message to every member exactly once.

mod self_test;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ws_cluster::child::{self, ChildCommand};
use ws_harness::{
    CheckArgs, MemberCommand, Purpose, ReplayArgs, Tool,
    args::{RunArgs, proof::ProofArgs},
};

use self_test::SelfTestArgs;

const TOOL: Tool = Tool {
    name: "ws-verify",
    version: env!("CARGO_PKG_VERSION"),
    purpose: Purpose::Prove,
    connections: 300,
    rate: 1000.0,
};

/// Proves that a WebSocket cluster delivers every room message to every member exactly once; or says which did not
/// arrive, where, and when.
#[derive(Parser)]
#[command(version, after_help = ws_analysis::exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Open sockets, send stamped messages into rooms, and judge every delivery
    #[command(after_help = RUN_HELP)]
    Run(Box<VerifyArgs>),
    /// Judge the history of a run again
    Check(CheckArgs),
    /// Run again what a report tells of: the same load, seed and faults
    Replay(Box<ReplayArgs>),
    /// See this program catch servers that are broken on purpose, each by its own property
    #[command(after_help = SELF_TEST_HELP)]
    SelfTest(SelfTestArgs),
    #[command(flatten)]
    Member(MemberCommand),
    #[command(flatten)]
    Child(ChildCommand),
}

#[derive(Args)]
struct VerifyArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    proof: ProofArgs,
}

const RUN_HELP: &str = "\
Without more, 300 sockets in rooms of 10 send 1000 messages a second for 10 s.

Examples:
  ws-verify run --local 3                          a cluster of its own, with a private Redis
  ws-verify run --local 3 --fault 'kill-replica@5s for 3s on app-2' --fault kill-pubsub@12s
  ws-verify run --local 3 --chaos 7                a schedule of faults drawn from a seed
  ws-verify run --scenario scenarios/everything.toml --report-dir out
  ws-verify run --local 3 --broker redis-pubsub --contract no-silent-loss --fault cut-redis@3s
  ws-verify run --local 3 --serve 'node app.js' --protocol socketio --fault restart-redis@4s
  ws-verify run ws://10.0.0.1:8080 ws://10.0.0.2:8080
  ws-verify run --compose chat ws://localhost:3000 ws://localhost:3001 --fault cut-redis@5s
  ws-verify run --local 3 -c 10k --room-size 10 -r 1000 -d 20s
  ws-verify run --local 3 --bug drop               must fail: one delivery in a thousand is left out
  ws-verify run --protocol socketio http://lb --replicas 3 --source-ip 10.1.1.1 --source-ip 10.1.2.1
  ws-verify run --local 3 --output-format json | jq .verdict

Exit codes: 0 pass, 1 violation, 2 usage, 3 inconclusive, 4 not reachable, 70 bug, 130 interrupted.";

const SELF_TEST_HELP: &str = "\
X: broken, and rightly found. ?: broken, and not found. !: found, and not broken.
It needs a redis-server or valkey-server, and takes about two minutes.";

fn main() -> ExitCode {
    ws_harness::guard(|| match Cli::parse().command {
        Command::Run(args) => ws_harness::run(&TOOL, args.run, args.proof),
        Command::Check(args) => ws_harness::check(&args),
        Command::SelfTest(args) => self_test::run(&args),
        Command::Replay(args) => ws_harness::replay(&TOOL, *args),
        Command::Member(command) => ws_harness::member(command),
        Command::Child(command) => child::run(command),
    })
}
