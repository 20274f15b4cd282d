//! The result of a run as a document, `ws-report/1` in docs/results.md; one module for each other form of it.

pub mod csv;
pub mod github;
mod histograms;
pub mod hlog;
pub mod html;
mod judged;
pub mod junit;
mod merge;
pub mod text;
pub(crate) mod words;

use serde::{Deserialize, Serialize};

pub use histograms::Histograms;
pub use judged::{matrix, properties};
pub use merge::{MergeError, merge};
pub use words::grouped;

use crate::{strain::WorkerUse, threshold::ThresholdResult};

/// The schema that [`Report::schema`] names.
pub const SCHEMA: &str = "ws-report/1";

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// The one word.
    pub verdict: Verdict,
    /// Why it is not a pass; empty for one.
    pub reasons: Vec<String>,
    /// What a reader has to know to read the numbers rightly.
    pub notes: Vec<String>,
    /// Decides every order that was not given.
    pub seed: u64,
    /// The resolved options.
    pub config: serde_json::Value,
    /// The machine.
    pub environment: Environment,
    /// What was tested.
    pub target: Target,
    /// What a gap is taken for: `exactly-once`, `no-silent-loss` or `at-most-once`.
    pub contract: String,
    /// How long each part took, in seconds.
    pub phases: Phases,
    /// What was broken on purpose, as it really happened.
    pub faults: Vec<FaultResult>,
    /// What was missing, by cause; the largest first.
    pub causes: Vec<Cause>,
    /// Sums.
    pub counts: Counts,
    /// What was proved.
    pub properties: Vec<PropertyResult>,
    /// What the user demanded of the numbers.
    #[serde(default)]
    pub thresholds: Vec<ThresholdResult>,
    /// Times in microseconds.
    pub latency_us: Latency,
    /// Deliveries by sender's and receiver's replica.
    pub replica_matrix: Vec<MatrixCell>,
    /// The run second by second, from its first connection on; a second without anything is there too.
    pub series: Vec<Second>,
    /// What happened when: steps, faults, heals.
    pub timeline: Vec<Moment>,
    /// What the run cost the tested processes, where they were ours.
    pub cluster: ClusterUse,
    /// What the run cost the tool, and whether it kept up.
    pub generator: Generator,
    /// What its sockets cost.
    #[serde(default)]
    pub memory: Memory,
    /// The processes that shared the sockets, where it was not one alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// The distributions behind the percentiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histograms: Option<Histograms>,
    /// Of which runs it is, if it was merged from several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<MergedRun>,
}

/// One of the runs that a report was merged from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MergedRun {
    /// Its verdict.
    pub verdict: Verdict,
    /// Its seed.
    pub seed: u64,
    /// Its machine.
    pub environment: Environment,
    /// Its resolved options.
    pub config: serde_json::Value,
}

/// A run's result in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All that was asked is shown.
    Pass,
    /// A violation.
    Fail,
    /// Neither.
    Inconclusive,
}

/// The machine that ran the tool.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Environment {
    /// Operating system and its version.
    pub os: String,
    /// Logical processors.
    pub cpus: usize,
    /// Open files allowed to the process.
    pub open_files: u64,
    /// When the run started, seconds since 1970.
    pub started_unix: u64,
}

/// What was tested.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    /// The drivers' protocol.
    pub protocol: String,
    /// As the servers' hello says.
    pub broker: String,
    /// The contract that the servers' hello claims.
    pub guarantee: String,
    /// Redis where we started it: program and version.
    pub redis: Option<String>,
    /// The command of somebody else's servers, where we started them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<String>,
    /// Bug switches that the servers admit to.
    pub bugs: Vec<String>,
    /// In the order of the matrix.
    pub replicas: Vec<ReplicaResult>,
}

/// One replica.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicaResult {
    /// As its hello says.
    pub node: String,
    /// Where connections to it went; through a balancer many replicas share one.
    pub url: String,
    /// How many it took.
    pub connections: u32,
}

/// Seconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Phases {
    /// Opening the sockets.
    pub connect_s: f64,
    /// Joining the rooms.
    pub join_s: f64,
    /// Sending on schedule.
    pub send_s: f64,
    /// Fences, farewells and closing.
    pub drain_s: f64,
}

/// Sums over the run; [`crate::judge::Counts`] says what each is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented where they are counted")]
pub struct Counts {
    pub connections: u32,
    pub ended_early: u32,
    pub rooms: u32,
    /// Rooms into which no load was sent: nothing is proved of them.
    #[serde(default)]
    pub quiet_rooms: u64,
    pub sent: u64,
    pub acked: u64,
    pub refused: u64,
    pub unanswered: u64,
    pub expected: u64,
    pub delivered: u64,
    pub lost: u64,
    pub missed: u64,
    pub silent: u64,
    pub duplicated: u64,
    pub repeated: u64,
    pub reordered: u64,
    pub corrupted: u64,
    pub leaked: u64,
    pub created: u64,
    pub late: u64,
    pub fences: u64,
    pub foreign: u64,
    pub skipped: u64,
    pub resumed: u64,
    pub not_resumed: u64,
    pub gap_notices: u64,
}

/// One fault as it happened. Times are microseconds of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultResult {
    /// Kind and count: `kill-replica 1`.
    pub name: String,
    /// As planned: `kill-replica@5s for 3s on app-2`.
    pub planned: String,
    /// Whom it hit: replicas by name, `redis`, or so many `clients`.
    pub on: Vec<String>,
    /// When it was injected.
    pub start_us: u64,
    /// When it was seen to take effect; none if it was not.
    pub effective_us: Option<u64>,
    /// When it was over; none if it was still on at the end.
    pub healed_us: Option<u64>,
    /// What was seen: the evidence.
    pub proof: Option<String>,
    /// What went wrong with it.
    pub error: Option<String>,
    /// Deliveries that were owed while it was on or shortly after, and never came.
    pub lost: u64,
    /// How those came back whom it had cut off; none if nobody was.
    #[serde(default)]
    pub back: Option<Back>,
}

/// The returns of those whom a fault cut off. Times are microseconds until so many of them were back in their rooms;
/// none if they never were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// Members that were cut off.
    pub cut: u64,
    /// Of these the ones that never returned.
    pub never: u64,
    /// What times count from: `heal` if nobody was back before, else `injection`.
    pub from: BackFrom,
    /// Half of them.
    pub p50_us: Option<u64>,
    /// 95 in 100.
    pub p95_us: Option<u64>,
    /// All.
    pub p100_us: Option<u64>,
}

/// See [`Back::from`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are words")]
pub enum BackFrom {
    #[default]
    Injection,
    Heal,
}

/// One explanation for many missing deliveries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// For a person: `37 of 50 missing, all to app-2, all during cut-redis 1, nobody was told`.
    pub said: String,
    /// The name of the fault that was on, if one was.
    pub fault: Option<String>,
    /// The sender's replica, where it was one alone.
    pub from: Option<String>,
    /// The receiver's replica, where it was one alone.
    pub to: Option<String>,
    /// `connected` (nobody was told), `told` (by a gap notice), `away` (between two connections).
    pub how: String,
    /// Missing deliveries.
    pub lost: u64,
    /// Whether the contract allows it.
    pub allowed: bool,
    /// When the first and the last were due, in microseconds of the run.
    pub between_us: (u64, u64),
}

/// One second of the run, by intended time; `delivered` and its latencies by time of arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Seconds of the run.
    pub at_s: u32,
    /// Messages due in it and sent.
    pub sent: u64,
    /// Of these acknowledged.
    pub acked: u64,
    /// Of the deliveries owed for these the ones that never came.
    pub lost: u64,
    /// Deliveries that came in it.
    pub delivered: u64,
    /// Half of these came within so many microseconds of the intended time.
    pub p50_us: u64,
    /// 99 in 100.
    pub p99_us: u64,
    /// Open connections at its end.
    pub open: u32,
}

/// One line of the timeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Microseconds of the run.
    pub at_us: u64,
    /// What happened.
    pub what: String,
}

/// One property's result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PropertyResult {
    /// `P1`, ...
    pub id: String,
    /// In words.
    pub name: String,
    /// Inconclusive when nothing was checked.
    pub verdict: Verdict,
    /// How often it was checked.
    pub checked: u64,
    /// What is counted in `checked`.
    pub unit: String,
    /// How often it was broken.
    pub violations: u64,
    /// The first few.
    pub examples: Vec<Example>,
}

/// One violation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Example {
    /// The message by its place in the run; none if its stamp could not be read.
    pub message: Option<String>,
    /// Session number of the sender.
    pub sender: Option<u32>,
    /// The sender's replica.
    pub from: Option<String>,
    /// Session number of the receiver.
    pub receiver: u32,
    /// The receiver's replica.
    pub to: String,
    /// The receiver's room.
    pub room: String,
    /// Microseconds of the run: when it was seen, or for a loss when it was due.
    pub at_us: u64,
    /// What was wrong.
    pub detail: String,
    /// The fault that was on, if one was.
    #[serde(default)]
    pub fault: Option<String>,
    /// What happened to the receiver around it, in order: a line an event.
    #[serde(default)]
    pub witness: Vec<String>,
}

/// Times in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented where they are measured")]
pub struct Latency {
    pub connect: Summary,
    pub ack: Summary,
    pub delivery: Summary,
    pub fanout_first: Summary,
    pub fanout_last: Summary,
}

/// A distribution in a few numbers.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the usual names")]
pub struct Summary {
    pub count: u64,
    #[serde(default)]
    pub min: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// Deliveries from one replica's members to another's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MatrixCell {
    /// The sender's replica.
    pub from: String,
    /// The receiver's.
    pub to: String,
    /// Deliveries owed.
    pub expected: u64,
    /// Deliveries made.
    pub delivered: u64,
    /// Time of 99 in 100.
    pub p99_us: u64,
}

/// CPU time and memory of the tested processes while messages were sent; null where they were not ours to watch.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ClusterUse {
    /// All replicas.
    pub server: Option<ProcessUse>,
    /// Redis.
    pub redis: Option<ProcessUse>,
}

/// CPU time and memory.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ProcessUse {
    /// User and system, seconds.
    pub cpu_seconds: f64,
    /// Resident at the end of sending, bytes.
    pub rss_bytes: u64,
}

/// The tool itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Generator {
    /// User and system while messages were sent, seconds.
    pub cpu_seconds: f64,
    /// Resident at the end of sending, bytes.
    pub rss_bytes: u64,
    /// How late it was to send.
    pub schedule_lag_us: Summary,
    /// What each of its workers took.
    #[serde(default)]
    pub workers: Vec<WorkerUse>,
    /// Whether it fell behind its schedule, so that the times tell about it and not about the target.
    pub saturated: bool,
}

/// Bytes a socket: what grew from before the first was opened until all were in their rooms. Null where nobody can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Of the replicas, where they were ours.
    pub server: Option<f64>,
    /// Of the tool.
    pub generator: Option<f64>,
    /// Of this machine's kernel: where the replicas were ours, for both ends.
    pub kernel: Option<f64>,
}

/// A process that ran a part of the sockets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Process or agent.
    pub name: String,
    /// Its sockets, as planned.
    pub connections: u32,
    /// How wrong its clock may be against that of whoever led, in microseconds.
    pub clock_error_us: u64,
    /// How it was lost, if it was: then nothing of its sockets was judged.
    pub lost: Option<String>,
}

impl Target {
    /// What was spoken with what, in a line: `native, redis-stream (redis-server 7.0.15)`.
    #[must_use]
    pub fn summary(&self) -> String {
        let broker = if self.broker.is_empty() { String::new() } else { format!(", {}", self.broker) };
        let redis = self.redis.as_ref().map(|redis| format!(" ({redis})")).unwrap_or_default();
        let serve = self.serve.as_ref().map(|serve| format!(", served by '{serve}'")).unwrap_or_default();
        format!("{}{broker}{redis}{serve}", self.protocol)
    }
}

impl Report {
    /// How wrong a time between two members' clocks may be, in microseconds; none where no time is. Rooms are on one
    /// member each, so only messages to all are timed from one clock to another.
    #[must_use]
    pub fn clock_error_us(&self) -> Option<u64> {
        let mut errors: Vec<u64> = self.members.iter().map(|member| member.clock_error_us).collect();
        errors.sort_unstable();
        let [.., second, first] = errors[..] else { return None };
        let is_timed = self.config["share_all"].as_f64().is_some_and(|share| share > 0.0);
        is_timed.then_some(first + second)
    }
}
