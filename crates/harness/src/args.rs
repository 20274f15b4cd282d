//! What was typed.

pub mod capacity;
mod output_file;
pub mod proof;
mod share;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::{Args, ValueEnum};
pub use output_file::{Form, OutputFile};
pub use share::ShareArgs;
use ws_analysis::threshold::Threshold;
use ws_cluster::{BugSwitch, RedisChoice};
use ws_server::args::BrokerName;
use ws_workload::{
    fault::Fault,
    profile::Stage,
    scenario::{Arrivals, CONNECT_RATE_MAX, Senders},
    size::Size,
};

use crate::metrics::collector;

/// The options of `run`.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Where the replicas are; connections go to them in turn
    #[arg(value_name = "URL", conflicts_with = "local")]
    pub urls: Vec<String>,

    /// Start a cluster of N replicas on this machine and test that
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32), help_heading = "Cluster")]
    pub local: Option<u8>,
    /// What to start N times instead of ws-server, for the shell: 'node app.js'. It is told PORT, HOST, LISTEN (both),
    /// NODE_ID and REDIS_URL
    #[arg(long, value_name = "CMD", help_heading = "Cluster")]
    pub serve: Option<String>,
    /// Where that program says by HTTP that it is ready; 404 means it is [default: /readyz]
    #[arg(long, value_name = "PATH", help_heading = "Cluster")]
    pub ready: Option<String>,
    /// Redis of the local cluster: auto (a private one), embedded (none) or a URL
    #[arg(long, value_name = "REDIS", requires = "local", help_heading = "Cluster")]
    pub redis: Option<RedisChoice>,
    /// Broker of the local replicas [default: redis-stream]
    #[arg(long, help_heading = "Cluster")]
    pub broker: Option<BrokerName>,
    /// Break the local replicas on purpose, to see it caught (drop, duplicate, ...); NAME@2 only the second
    #[arg(long = "bug", value_name = "NAME[@N]", requires = "local", help_heading = "Cluster")]
    pub bugs: Vec<BugSwitch>,

    /// Sockets in all; 10k is ten thousand
    #[arg(short, long, value_name = "N", value_parser = count, help_heading = "Load")]
    pub connections: Option<u32>,
    /// Sockets opened a second, or max: as fast as it goes [default: 2000]
    #[arg(long, value_name = "N|max", value_parser = connect_rate, help_heading = "Load")]
    pub connect_rate: Option<f64>,
    /// From --connect-rate (then 0 by default) go to this rate within this time, as --stage does for messages; the last
    /// rate goes on until all are open
    #[arg(long = "connect-stage", value_name = "TIME:RATE", help_heading = "Load")]
    pub connect_stages: Vec<Stage>,
    /// Members of a room [default: 10]
    #[arg(long, value_name = "N", value_parser = count, conflicts_with = "rooms", help_heading = "Load")]
    pub room_size: Option<u32>,
    /// Rooms in all, instead of their size
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Load")]
    pub rooms: Option<u32>,
    /// Sizes of rooms by a Zipf law with this exponent: the second largest has 1/2^S of the members of the largest, the
    /// third 1/3^S, and each at least 2
    #[arg(long, value_name = "S", value_parser = number, help_heading = "Load")]
    pub zipf: Option<f64>,
    /// Messages sent a second, in all; 0 only holds the sockets
    #[arg(short, long, value_name = "N", value_parser = number, help_heading = "Load")]
    pub rate: Option<f64>,
    /// Messages a second of each connection that sends, instead of the sum of them all
    #[arg(long, value_name = "N", value_parser = number, conflicts_with_all = ["rate", "stages"], help_heading = "Load")]
    pub rate_per_client: Option<f64>,
    /// From --rate (then 0 by default) go to this rate within this time, in a straight line; repeat it for a course.
    /// '0s:10k' is a jump, so a spike is --stage 5s:100 --stage 0s:10k --stage 2s:10k --stage 0s:100
    #[arg(long = "stage", value_name = "TIME:RATE", help_heading = "Load")]
    pub stages: Vec<Stage>,
    /// How messages are spread over time: uniform, or poisson, in bursts as users come [default: uniform]
    #[arg(long, value_name = "LAW", help_heading = "Load")]
    pub arrivals: Option<Arrivals>,
    /// How long messages are sent [default: as long as the stages, or 10s]
    #[arg(short, long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Load")]
    pub duration: Option<Duration>,
    /// Bytes of payload a message, or a range to draw them from: 128..4k [default: 128]
    #[arg(long, value_name = "BYTES", help_heading = "Load")]
    pub size: Option<Size>,
    /// Part of the messages that goes to everyone, 0 to 1 [default: 0]
    #[arg(long, value_name = "PART", value_parser = number, help_heading = "Load")]
    pub share_all: Option<f64>,
    /// Who sends: all members, or so many a room [default: all]
    #[arg(long, value_name = "all|N", value_parser = senders, help_heading = "Load")]
    pub senders: Option<Senders>,
    /// Members a second that leave their room, and come back after a while [default: 0]
    #[arg(long, value_name = "N", value_parser = number, help_heading = "Load")]
    pub churn: Option<f64>,
    /// How long a connection lasts in the mean: it leaves its room, closes, and a new client takes its place [default: the
    /// whole run]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Load")]
    pub lifetime: Option<Duration>,
    /// Decides every order that is not given [default: a random one, shown in the report]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub seed: Option<u64>,
    /// Threads that drive sockets, in all [default: half the processors, or one a process]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), help_heading = "Load")]
    pub workers: Option<u32>,

    /// Over which processes the sockets are shared out
    #[command(flatten)]
    pub share: ShareArgs,

    /// Language of the servers [default: native, which is ws-server's]
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    pub protocol: Option<ProtocolName>,
    /// How the application speaks Socket.IO, as NAME=VALUE; repeat it. docs/protocols.md has them all
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Connection")]
    pub socketio: Vec<String>,
    /// The file that describes the servers' protocol (docs/protocols.md)
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub template: Option<PathBuf>,
    /// Header of the handshake's answer that names the replica [default: x-node-id]
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    pub node_header: Option<String>,
    /// Replicas that are behind the URLs [default: one each; behind a single URL at least two]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64), conflicts_with = "local", help_heading = "Connection")]
    pub replicas: Option<u8>,
    /// Connect from this address; repeat it to take turns
    #[arg(long, value_name = "IP", help_heading = "Connection")]
    pub source_ip: Vec<IpAddr>,
    /// Send this header with every handshake
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header, help_heading = "Connection")]
    pub headers: Vec<(String, String)>,
    /// Take any TLS certificate
    #[arg(long, help_heading = "Connection")]
    pub insecure: bool,

    /// Break this: 'reset-clients@5s share 0.5', 'kill-replica@5s for 3s on app-2'; repeat it for more. docs/scenarios.md has
    /// them all
    #[arg(long = "fault", value_name = "FAULT", help_heading = "Faults")]
    pub faults: Vec<Fault>,
    /// Take load, faults and checks from a file in TOML; what is typed besides wins
    #[arg(long, value_name = "FILE", help_heading = "Faults")]
    pub scenario: Option<PathBuf>,
    /// How long after the last heal everything must work again [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Faults")]
    pub settle: Option<Duration>,

    /// Demand this of the numbers: 'delivery.p99<100ms', 'lost==0', 'connect.rate>2000'; repeat it for more. One that is
    /// not met ends in exit code 99; with ',abort' behind it the run stops as soon as it is broken
    #[arg(long = "threshold", value_name = "DEMAND", help_heading = "Thresholds")]
    pub thresholds: Vec<Threshold>,

    /// Also write the report to FILE, in the form that its extension says: .json (all of it), .csv (the series), .html,
    /// .hlog (the histograms, for HdrHistogram's tools), .xml (JUnit), .md or .txt; repeat it for more
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub output: Vec<OutputFile>,
    /// Format of the report on standard output
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Output")]
    pub output_format: OutputFormat,
    /// Serve the run's counters to Prometheus at http://ADDR:PORT/metrics
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Output")]
    pub metrics: Option<SocketAddr>,
    /// Push the run's counters, and its results at the end, to an OpenTelemetry collector over OTLP/HTTP
    #[arg(long, value_name = "URL", value_parser = collector, help_heading = "Output")]
    pub otlp: Option<String>,
    /// What is shown meanwhile on standard error: a dashboard on a terminal, else plain progress [default: auto]
    #[arg(long, value_name = "HOW", help_heading = "Output")]
    pub ui: Option<Ui>,
    /// Show no progress
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Use no colours (also NO_COLOR)
    #[arg(long, help_heading = "Output")]
    pub no_color: bool,
}

/// The languages of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    /// ws-server's own
    Native,
    /// Socket.IO
    Socketio,
    /// What --template describes
    Template,
}

/// What is shown while a run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ui {
    /// A dashboard on a terminal, else plain progress
    #[default]
    Auto,
    /// The whole terminal
    Dashboard,
    /// A bar, or a line now and then
    Plain,
    /// Nothing
    Off,
}

/// How the report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For a person
    #[default]
    Text,
    /// One document, ws-report/1
    Json,
}

/// A count, with k for thousands and m for millions.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'm' | 'M')) => (&text[..at], 1e6),
        _ => (text, 1.0),
    };
    let number = f64::from_str(digits).map_err(|_| format!("{text:?} is no count like 500 or 10k"))? * unit;
    if number < 0.0 || number > f64::from(u32::MAX) || number.fract() != 0.0 {
        return Err(format!("{text:?} is no count like 500 or 10k"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(number as u32)
}

/// A number that need not be whole, with k and m.
fn number(text: &str) -> Result<f64, String> {
    match f64::from_str(text) {
        Ok(number) if number.is_finite() => Ok(number),
        _ => count(text).map(f64::from).map_err(|_| format!("{text:?} is no number like 0.5, 500 or 10k")),
    }
}

/// A number of connections a second.
fn connect_rate(text: &str) -> Result<f64, String> {
    if text == "max" { Ok(CONNECT_RATE_MAX) } else { number(text) }
}

fn senders(text: &str) -> Result<Senders, String> {
    match text {
        "all" => Ok(Senders::All),
        _ => count(text).map(Senders::PerRoom).map_err(|_| "it is all, or how many of each room send".into()),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header looks like 'Name: value'")?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) || value.contains(['\r', '\n']) {
        return Err("a header looks like 'Name: value'".into());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_units() {
        assert_eq!(count("10k"), Ok(10_000));
        assert_eq!(count("1.5k"), Ok(1500));
        assert_eq!(count("2m"), Ok(2_000_000));
        assert_eq!(number("0.5"), Ok(0.5));
        assert_eq!(number("2k"), Ok(2000.0));
        assert_eq!(connect_rate("2k"), Ok(2000.0));
        assert_eq!(connect_rate("max"), Ok(CONNECT_RATE_MAX));
        for wrong in ["", "k", "-1", "1.5", "10x", "1e20", "NaN", "é"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_and_senders() {
        assert_eq!(header("A: b: c"), Ok(("A".into(), "b: c".into())));
        assert!(header("A").is_err() && header(": b").is_err() && header("A b: c").is_err());
        assert_eq!(senders("all"), Ok(Senders::All));
        assert_eq!(senders("2"), Ok(Senders::PerRoom(2)));
        assert!(senders("some").is_err());
    }
}
