//! One run of the search: its numbers, and whose failure it was if it did not hold.

use serde::{Deserialize, Serialize};

use super::Quantity;
use crate::{
    report::{Report, Verdict},
    threshold::Threshold,
};

/// One run of the search.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Probe {
    /// What was asked for: messages a second, or sockets.
    pub value: u32,
    /// What there was of it.
    pub achieved: f64,
    /// Deliveries a second.
    pub delivered_rate: f64,
    /// Half of the deliveries came within so many microseconds of the intended time.
    pub p50_us: u64,
    /// 99 in 100.
    pub p99_us: u64,
    /// How late the generator was to send: 99 in 100, in microseconds.
    pub lag_p99_us: u64,
    /// Deliveries that never came.
    pub lost: u64,
    /// What was found broken, of all properties.
    pub violations: u64,
    /// Who used the processors.
    pub busy: Busy,
    /// What it shows.
    pub outcome: Outcome,
    /// Why it did not hold.
    pub reasons: Vec<String>,
}

/// How many processors were busy while messages were sent, on average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Busy {
    /// With the replicas; none where they are not processes of ours.
    pub server: Option<f64>,
    /// With Redis.
    pub redis: Option<f64>,
    /// With this tool.
    pub generator: f64,
    /// With interrupts, which belong to no process.
    pub interrupts: Option<f64>,
    /// With anything, on this machine; none where it can't be read.
    pub machine: Option<f64>,
}

/// What a probe shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All that was demanded was kept.
    Held,
    /// The target did not keep it.
    Missed,
    /// It was not kept, and the generator may be why.
    Behind,
    /// It could not be tried: this machine has no more files or ports.
    Barred,
}

/// What a probe is judged by besides its report.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// What is searched for.
    pub max: Quantity,
    /// What was asked for.
    pub value: u32,
    /// What has to hold.
    pub slo: &'a [Threshold],
    /// Threads that drive sockets.
    pub workers: u32,
    /// Processors of this machine.
    pub cpus: u32,
    /// Who used them.
    pub busy: Busy,
    /// Sockets that did not open for want of something on this machine, and what.
    pub barred: Option<String>,
}

/// This part of what there is counts as all of it.
pub const FULL: f64 = 0.9;

impl Probe {
    /// What `report`, which was held against the demands already, shows.
    #[must_use]
    pub fn new(report: &Report, scene: &Scene<'_>) -> Self {
        let seconds = report.phases.send_s.max(f64::MIN_POSITIVE);
        let opened = report.target.replicas.iter().map(|replica| replica.connections).sum::<u32>();
        Self {
            value: scene.value,
            achieved: match scene.max {
                Quantity::Rate => float(report.counts.sent) / seconds,
                Quantity::Connections => opened.into(),
            },
            delivered_rate: float(report.counts.delivered) / seconds,
            p50_us: report.latency_us.delivery.p50,
            p99_us: report.latency_us.delivery.p99,
            lag_p99_us: report.generator.schedule_lag_us.p99,
            lost: report.counts.lost,
            violations: report.properties.iter().map(|property| property.violations).sum(),
            busy: scene.busy,
            outcome: scene.outcome(report),
            reasons: report.reasons.iter().chain(&scene.barred).cloned().collect(),
        }
    }

    /// One that this machine has too little for; `why` says of what.
    #[must_use]
    pub fn barred(value: u32, why: String) -> Self {
        Self {
            value,
            achieved: 0.0,
            delivered_rate: 0.0,
            p50_us: 0,
            p99_us: 0,
            lag_p99_us: 0,
            lost: 0,
            violations: 0,
            busy: Busy::default(),
            outcome: Outcome::Barred,
            reasons: vec![why],
        }
    }
}

impl Scene<'_> {
    /// Whatever the generator may have caused is not held against the target.
    fn outcome(&self, report: &Report) -> Outcome {
        match report.verdict {
            Verdict::Pass => Outcome::Held,
            _ if self.barred.is_some() => Outcome::Barred,
            _ if report.members.iter().any(|member| member.lost.is_some()) => Outcome::Behind,
            _ if report.generator.saturated || self.has_full_workers() || self.is_alone_and_full() => {
                Outcome::Behind
            }
            _ if self.slo.iter().any(|demand| demand.is_met_without_lag(report)) => Outcome::Behind,
            _ => Outcome::Missed,
        }
    }

    fn has_full_workers(&self) -> bool {
        self.busy.generator >= FULL * f64::from(self.workers)
    }

    /// A target elsewhere has nothing to do with the processors of this machine.
    fn is_alone_and_full(&self) -> bool {
        self.busy.server.is_none() && self.busy.fills(self.cpus)
    }
}

impl Busy {
    /// Whether no processor was idle.
    #[must_use]
    pub fn fills(&self, cpus: u32) -> bool {
        self.total() >= FULL * f64::from(cpus)
    }

    /// With anything; at least with what is known.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.machine.unwrap_or(0.0).max(self.known())
    }

    /// With what has nothing to do with the search. Interrupts are not among it: most are messages that arrive.
    #[must_use]
    pub fn others(&self) -> f64 {
        (self.total() - self.known() - self.interrupts.unwrap_or(0.0)).max(0.0)
    }

    fn known(&self) -> f64 {
        self.generator + self.server.unwrap_or(0.0) + self.redis.unwrap_or(0.0)
    }
}

impl Outcome {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Missed => "missed",
            Self::Behind => "behind",
            Self::Barred => "barred",
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}
