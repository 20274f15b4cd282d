//! `ws-verify`: proves that a WebSocket cluster delivers every room message to every member exactly once.

mod self_test;

use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use ws_cluster::child::{self, ChildCommand};
use ws_harness::{
    CheckArgs, ManualCommand, MemberCommand, Purpose, ReplayArgs, Tool,
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
#[command(version, max_term_width = 80, after_help = ws_analysis::exit::HELP)]
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
    Manual(ManualCommand),
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
  A cluster of its own, with a private Redis, left in peace and then broken:
    ws-verify run --local 3
    ws-verify run --local 3 --fault 'kill-replica@5s for 3s on app-2'
  Faults drawn from a seed, or from a file, with all that is known written down:
    ws-verify run --local 3 --chaos 7
    ws-verify run --scenario scenarios/everything.toml --report-dir out
  The design that most clusters have, held to what it can promise:
    ws-verify run --local 3 --broker redis-pubsub --contract no-silent-loss \\
      --fault cut-redis@3s
  Your program, three times, speaking Socket.IO:
    ws-verify run --local 3 --serve 'node app.js' --protocol socketio \\
      --fault restart-redis@4s
  Servers that run already, and containers, which can be broken as well:
    ws-verify run ws://10.0.0.1:8080 ws://10.0.0.2:8080
    ws-verify run --compose chat ws://localhost:3000 ws://localhost:3001 \\
      --fault cut-redis@5s
  Behind a balancer that looks at addresses:
    ws-verify run --protocol socketio http://lb --replicas 3 \\
      --source-ip 10.1.1.1 --source-ip 10.1.2.1
  Must fail: one delivery in a thousand is left out:
    ws-verify run --local 3 --bug drop
  For a machine:
    ws-verify run --local 3 -q --output-format json | jq .verdict

Exit codes: 0 pass, 1 violation, 2 usage, 3 inconclusive, 4 not reachable,
70 bug, 99 threshold not met, 130 interrupted.";

const SELF_TEST_HELP: &str = "\
X: broken, and rightly found. ?: broken, and not found.
!: found, and not broken.
It needs a redis-server or valkey-server, and takes about two minutes.";

fn main() -> ExitCode {
    ws_harness::guard(|| match Cli::parse().command {
        Command::Run(args) => ws_harness::run(&TOOL, args.run, args.proof),
        Command::Manual(what) => ws_harness::manual(&TOOL, &what, &Cli::command()),
        Command::Check(args) => ws_harness::check(&args),
        Command::SelfTest(args) => self_test::run(&args),
        Command::Replay(args) => ws_harness::replay(&TOOL, *args),
        Command::Member(command) => ws_harness::member(command),
        Command::Child(command) => child::run(command),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_80_columns_as_it_is_written() {
        assert_eq!(ws_harness::too_wide(Cli::command()), Vec::<String>::new());
    }
}
