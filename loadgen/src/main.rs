//! `ws-loadgen`: says how many sockets and messages a WebSocket cluster carries.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ws_cluster::child::{self, ChildCommand};
use ws_harness::{
    InitArgs, MemberCommand, Purpose, Tool,
    args::{RunArgs, proof::ProofArgs},
};

const TOOL: Tool = Tool {
    name: "ws-loadgen",
    version: env!("CARGO_PKG_VERSION"),
    purpose: Purpose::Load,
    connections: 1000,
    rate: 1000.0,
};

/// Says how many sockets and messages a WebSocket cluster carries, and follows every delivery while it does.
#[derive(Parser)]
#[command(version, after_help = ws_analysis::exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Open sockets and send messages into rooms at a given rate
    #[command(after_help = RUN_HELP)]
    Run(Box<RunArgs>),
    /// Write a scenario file with comments, to begin with
    Init(InitArgs),
    /// Print the JSON schema of scenario files, for editors to complete and check them by
    Schema,
    #[command(flatten)]
    Member(MemberCommand),
    #[command(flatten)]
    Child(ChildCommand),
}

const RUN_HELP: &str = "\
Without more, 1000 sockets in rooms of 10 send 1000 messages a second for 10 s. The schedule is open: messages go out
when they are due, and times count from then, so a slow server can't hide by slowing its test down.

Examples:
  ws-loadgen run --local 3                         a cluster of its own, with a private Redis
  ws-loadgen run --local 3 --serve 'node app.js' --protocol socketio
  ws-loadgen run ws://10.0.0.1:8080 -c 10k -r 5k -d 1m
  ws-loadgen run --local 3 -c 15k -r 0 -d 10s      only hold the sockets
  ws-loadgen run --local 3 --stage 20s:5k --stage 10s:5k        a ramp, held
  ws-loadgen run --local 3 -r 2k --arrivals poisson             in bursts, as users come
  ws-loadgen run --local 3 --rooms 100 --zipf 1.1 --size 128..4k   few large rooms, many small ones
  ws-loadgen run --local 3 --rate-per-client 0.5 --lifetime 30s    each sends now and then, and leaves
  ws-loadgen run --local 3 --fault 'reset-clients@5s share 0.5'    how long until they are back
  ws-loadgen run --scenario scenario.toml          all of it from a file; ws-loadgen init writes one
  ws-loadgen run --local 3 --threshold 'delivery.p99<100ms' --threshold lost==0
  ws-loadgen run ws://lb:80 -c 50k --source-ip 10.0.1.1 --source-ip 10.0.2.1
  ws-loadgen run --local 3 -o report.json

Times for --threshold: connect, ack, delivery, fanout_first, fanout_last, lag, each with .p50, .p90, .p99, .p999 or
.max; rates: connect.rate, sent.rate, acked.rate, delivery.rate; and the counts of the report, such as lost or late.

Exit codes: 0 pass, 1 violation, 2 usage, 3 inconclusive, 4 not reachable, 70 bug, 99 threshold not met,
130 interrupted.";

fn main() -> ExitCode {
    ws_harness::guard(|| match Cli::parse().command {
        Command::Run(args) => ws_harness::run(&TOOL, *args, ProofArgs::default()),
        Command::Init(args) => ws_harness::init(&args),
        Command::Schema => ws_harness::schema(),
        Command::Member(command) => ws_harness::member(command),
        Command::Child(command) => child::run(command),
    })
}
