//! `ws-loadgen`: says how many sockets and messages a WebSocket cluster carries.

use std::process::ExitCode;

use clap::{Arg, CommandFactory as _, Parser, Subcommand};
use ws_cluster::child::{self, ChildCommand};
use ws_harness::{
    CompareArgs, DoctorArgs, InitArgs, ManualCommand, MemberCommand, Purpose, ReportArgs, Tool,
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
#[command(version, max_term_width = 80, after_help = HELP)]
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
    #[command(
        after_help = CAPACITY_HELP,
        mut_arg("thresholds", refused),
        mut_arg("stages", refused),
        mut_arg("duration", refused),
        mut_arg("agents", refused),
        mut_arg("coordinator", refused),
        mut_arg("job", refused),
        mut_arg("agents_wait", refused)
    )]
    Capacity(Box<CapacityArgs>),
    /// Show a report again, in any form, or merge several into one
    #[command(after_help = REPORT_HELP)]
    Report(ReportArgs),
    /// Hold a report against an earlier one: what is worse by more than tolerance and noise ends in exit code 99
    #[command(after_help = COMPARE_HELP)]
    Compare(CompareArgs),
    /// See whether this machine can hold so many sockets, and what to do where it can't
    #[command(after_help = DOCTOR_HELP)]
    Doctor(DoctorArgs),
    #[command(flatten)]
    Manual(ManualCommand),
    /// Write a scenario file with comments, to begin with
    Init(InitArgs),
    /// Print the JSON schema of scenario files, for editors to complete and check them by
    Schema,
    #[command(flatten)]
    Member(MemberCommand),
    #[command(flatten)]
    Child(ChildCommand),
}

const HELP: &str = "\
First steps:
  ws-loadgen run --local 3                 a cluster of its own, on this machine
  ws-loadgen run ws://10.0.0.1:8080 -c 10k -r 5k -d 1m          your own servers
  ws-loadgen doctor -c 100k                   what this machine lacks for a load
  ws-loadgen run --help                              all options, with examples

The exit codes of a run are at the end of: ws-loadgen run --help";

const RUN_HELP: &str = "\
Without more, 1000 sockets in rooms of 10 send 1000 messages a second for 10 s.
The schedule is open: messages go out when they are due, and times count from
then, so a slow server can't hide by slowing its test down.

Examples:
  A cluster of its own, with a private Redis:
    ws-loadgen run --local 3
  Your program, three times, speaking Socket.IO:
    ws-loadgen run --local 3 --serve 'node app.js' --protocol socketio
  Servers that run already, 10,000 sockets, 5000 messages a second, a minute:
    ws-loadgen run ws://10.0.0.1:8080 ws://10.0.0.2:8080 -c 10k -r 5k -d 1m
  Only hold the sockets:
    ws-loadgen run --local 3 -c 15k -r 0 -d 10s
  A ramp that is held, and users that come by chance:
    ws-loadgen run --local 3 --stage 20s:5k --stage 10s:5k
    ws-loadgen run --local 3 -r 2k --arrivals poisson
  A few large rooms and many small ones; users that send, leave and come back:
    ws-loadgen run --local 3 --rooms 100 --zipf 1.1 --size 128..4k
    ws-loadgen run --local 3 --rate-per-client 0.5 --lifetime 30s
  How long it takes until all are back:
    ws-loadgen run --local 3 --fault 'reset-clients@5s share 0.5'
  All of it from a file, which ws-loadgen init writes:
    ws-loadgen run --scenario scenario.toml
  Demands; the second stops the run as soon as it is broken:
    ws-loadgen run --local 3 --threshold lost==0
    ws-loadgen run --local 3 --threshold 'delivery.p99<100ms,abort'
  Past the ports of one address (see: ws-loadgen doctor -c 50k):
    ws-loadgen run ws://lb:80 -c 50k --source-ip 10.0.1.1 --source-ip 10.0.2.1
  For a machine:
    ws-loadgen run --local 3 -q -o report.json -o report.html -o times.hlog
  Watched by Prometheus:
    ws-loadgen run --local 3 -d 10m --metrics 127.0.0.1:9464

A --threshold is of a time: connect, ack, delivery, fanout_first, fanout_last,
lag, each with .p50, .p90, .p99, .p999 or .max; of a rate: connect.rate,
sent.rate, acked.rate, delivery.rate; or of a count of the report, such as lost
or late. ,abort goes with times and counts that have an upper bound.

Exit codes: 0 pass, 1 violation, 2 usage, 3 inconclusive, 4 not reachable,
70 bug, 99 threshold not met, 130 interrupted.";

const DOCTOR_HELP: &str = "\
Looks at open files, ports, source addresses, connection tracking, the queue of
new connections and memory. Each line is ok, warn (it works, and tells on the
numbers) or fail, with the command that mends it.

Examples:
  ws-loadgen doctor -c 100k
  ws-loadgen doctor -c 50k ws://10.0.0.1:8080 --source-ip 10.0.1.1
  ws-loadgen doctor -c 100k --output-format json | jq .ok

Exit codes: 0 nothing fails, 1 something does, 2 usage.";

const CAPACITY_HELP: &str = "\
One probe after another, each a short run with rooms of its own on one standing
cluster: doubled while they hold, then halved in between. A value that did not
hold is probed again, and so is the answer; most of its probes decide. What the
generator may have caused is never held against the target: then the answer is
a least one, with exit code 3. docs/capacity.md has the method, and what it
can't tell.

Examples:
  ws-loadgen capacity --local 3 --max rate
  ws-loadgen capacity --local 3 --max connections -r 500 \\
    --slo 'connect.p99<1s,lost==0'
  ws-loadgen capacity ws://10.0.0.1:8080 --max rate -c 5k \\
    --slo 'delivery.p99<50ms' --probe 20s -o capacity.json

Exit codes: 0 found, 2 usage, 3 at least (the generator or this machine was the
limit), 4 not reachable, 70 bug, 99 no value holds, 130 interrupted.";

const REPORT_HELP: &str = "\
Counts are summed, histograms merged, the series added second by second.
Percentiles come from the merged histogram: they are never averaged. Thresholds
are held against the sums again.

Examples:
  ws-loadgen report a.json b.json -o both.html
  ws-loadgen report run.json -o run.csv -o run.hlog";

const COMPARE_HELP: &str = "\
The noise is half of the interval of 95% around a difference: of rates and
deliveries from the spread of the seconds, of other times from the ranks in
their histograms. CPU time and memory are measured once a run and decide nothing
until there are several base runs: the noise is at least what lies between them.
A new run that is a fail by itself ends in its own exit code.

Examples:
  ws-loadgen compare base.json new.json
  ws-loadgen compare base1.json base2.json base3.json new.json --tolerance 5%

Exit codes: 0 nothing is worse, 1 violation in the new run, 2 usage, 3 a run is
inconclusive, 99 something is worse, or a threshold of the new run not met.";

/// An option of a run that this subcommand does not take.
fn refused(arg: Arg) -> Arg {
    arg.hide(true)
}

fn main() -> ExitCode {
    ws_harness::guard(|| match Cli::parse().command {
        Command::Run(args) => ws_harness::run(&TOOL, *args, ProofArgs::default()),
        Command::Capacity(args) => ws_harness::capacity(&TOOL, *args),
        Command::Report(args) => ws_harness::report(&args),
        Command::Compare(args) => ws_harness::compare(&args),
        Command::Manual(what) => ws_harness::manual(&TOOL, &what, &Cli::command()),
        Command::Doctor(args) => ws_harness::doctor(&TOOL, &args),
        Command::Init(args) => ws_harness::init(&args),
        Command::Schema => ws_harness::schema(),
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
