//! `ws-loadgen`: says how many sockets and messages a WebSocket cluster carries.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ws_cluster::child::{self, ChildCommand};
use ws_harness::{
    MemberCommand, Purpose, Tool,
    args::{RunArgs, capacity::CapacityArgs, proof::ProofArgs},
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
    /// Find the greatest rate or number of sockets that holds, and what stopped it
    #[command(after_help = CAPACITY_HELP)]
    Capacity(Box<CapacityArgs>),
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
  ws-loadgen run --local 3 --threshold 'delivery.p99<100ms' --threshold lost==0
  ws-loadgen run ws://lb:80 -c 50k --source-ip 10.0.1.1 --source-ip 10.0.2.1
  ws-loadgen run --local 3 -o report.json

Times for --threshold: connect, ack, delivery, fanout_first, fanout_last, lag, each with .p50, .p90, .p99, .p999 or
.max; rates: connect.rate, sent.rate, acked.rate, delivery.rate; and the counts of the report, such as lost or late.

Exit codes: 0 pass, 1 violation, 2 usage, 3 inconclusive, 4 not reachable, 70 bug, 99 threshold not met,
130 interrupted.";

const CAPACITY_HELP: &str = "\
One probe after another, each a short run with rooms of its own on one standing cluster: doubled while they hold, then
halved in between. A value that did not hold is probed again, and so is the answer; most of its probes decide. What the
generator may have caused is never held against the target: then the answer is a least one, with exit code 3.
docs/capacity.md has the method, and what it can't tell.

Examples:
  ws-loadgen capacity --local 3 --max rate
  ws-loadgen capacity --local 3 --max connections -r 500 --slo 'connect.p99<1s,lost==0'
  ws-loadgen capacity ws://10.0.0.1:8080 --max rate -c 5k --slo 'delivery.p99<50ms' --probe 20s -o capacity.json

Exit codes: 0 found, 2 usage, 3 at least (the generator or this machine was the limit), 4 not reachable, 70 bug,
99 no value holds, 130 interrupted.";

fn main() -> ExitCode {
    ws_harness::guard(|| match Cli::parse().command {
        Command::Run(args) => ws_harness::run(&TOOL, *args, ProofArgs::default()),
        Command::Capacity(args) => ws_harness::capacity(&TOOL, *args),
        Command::Member(command) => ws_harness::member(command),
        Command::Child(command) => child::run(command),
    })
}
