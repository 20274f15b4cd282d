//! `ws-loadgen`: says how many sockets and messages a WebSocket cluster carries.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ws_cluster::child::{self, ChildCommand};
use ws_harness::{
    CompareArgs, MemberCommand, Purpose, ReportArgs, Tool,
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
    /// Show a report again, in any form, or merge several into one
    #[command(after_help = REPORT_HELP)]
    Report(ReportArgs),
    /// Hold a report against an earlier one: what is worse by more than tolerance and noise ends in exit code 99
    #[command(after_help = COMPARE_HELP)]
    Compare(CompareArgs),
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
  ws-loadgen run --local 3 -o report.json -o report.html -o times.hlog
  ws-loadgen run --local 3 -d 10m --metrics 127.0.0.1:9464      watched by Prometheus

Times for --threshold: connect, ack, delivery, fanout_first, fanout_last, lag, each with .p50, .p90, .p99, .p999 or
.max; rates: connect.rate, sent.rate, acked.rate, delivery.rate; and the counts of the report, such as lost or late.

Exit codes: 0 pass, 1 violation, 2 usage, 3 inconclusive, 4 not reachable, 70 bug, 99 threshold not met,
130 interrupted.";

const REPORT_HELP: &str = "\
Counts are summed, histograms merged, the series added second by second. Percentiles come from the merged histogram:
they are never averaged. Thresholds are held against the sums again.

Examples:
  ws-loadgen report a.json b.json -o both.html
  ws-loadgen report run.json -o run.csv -o run.hlog";

const COMPARE_HELP: &str = "\
The noise is half of the interval of 95% around a difference: of rates and deliveries from the spread of the seconds, of
other times from the ranks in their histograms. CPU time and memory are measured once a run: give several base runs, and
the noise is at least what lies between them.

Examples:
  ws-loadgen compare base.json new.json
  ws-loadgen compare base1.json base2.json base3.json new.json --tolerance 5%

Exit codes: 0 nothing is worse, 2 usage, 3 a run is inconclusive, 99 something is worse.";

fn main() -> ExitCode {
    ws_harness::guard(|| match Cli::parse().command {
        Command::Run(args) => ws_harness::run(&TOOL, *args, ProofArgs::default()),
        Command::Report(args) => ws_harness::report(&args),
        Command::Compare(args) => ws_harness::compare(&args),
        Command::Member(command) => ws_harness::member(command),
        Command::Child(command) => child::run(command),
    })
}
