//! What stopped a search, from the probes of the least value that failed.
//!
//! The rule, in its order: what the generator may have caused is the generator's; then what could not be tried; then
//! the target, when it broke a property; then
//! Redis, when it filled the one processor that it can use; then the machine, when no processor was idle: if programs
//! that have nothing to do with the search used a noteworthy part of it, it was they, and if nobody but the replicas did,
//! it was the replicas; then the replicas, when each filled a processor. Else it can't be seen from outside.

use serde::{Deserialize, Serialize};

use super::{
    Quantity,
    probe::{Busy, FULL, Outcome, Probe},
};

/// What kept a search from a greater value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Which.
    pub by: By,
    /// In a sentence.
    pub said: String,
}

/// Whose limit it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// This tool's, or what the machine left for it.
    Generator,
    /// Files or ports of this machine.
    System,
    /// That of `--up-to`.
    Ceiling,
    /// Redis's one processor.
    Redis,
    /// The replicas' processors.
    Server,
    /// The processors of a machine that all share.
    Machine,
    /// What other programs of this machine did meanwhile.
    Others,
    /// The target's, in a way that can't be seen from outside.
    Target,
}

/// Whoever uses a smaller part of a full machine is not why it is full.
const NOTEWORTHY: f64 = 0.1;

impl Limit {
    /// What stopped a search at `failing`, the probes of its least value that failed; `replicas` are the processes of
    /// the target, `cpus` the processors of this machine.
    #[must_use]
    pub fn of(failing: &[&Probe], max: Quantity, replicas: usize, cpus: u32) -> Option<Self> {
        let failed = |outcome: Outcome| failing.iter().rev().find(|probe| probe.outcome == outcome);
        if let Some(probe) = failed(Outcome::Behind) {
            return Some(Self::generator(probe, max, cpus));
        }
        if let Some(probe) = failed(Outcome::Barred) {
            let why = probe.reasons.last().cloned().unwrap_or_default();
            return Some(Self {
                by: By::System,
                said: format!("this machine has no more to try it with: {why}"),
            });
        }
        let probe = failed(Outcome::Missed)?;
        let (by, why) = match probe.violations {
            0 => full(&probe.busy, replicas, cpus.into()),
            _ => (By::Target, "the target was the limit: it did not deliver as it promises"),
        };
        let used = probe.busy.said(cpus.into());
        let first = probe.reasons.first().map(|reason| format!("; {reason}")).unwrap_or_default();
        Some(Self { by, said: format!("{why} ({used}){first}") })
    }

    /// Whether it says nothing about the target.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self.by, By::Generator | By::System | By::Ceiling | By::Others)
    }

    fn generator(probe: &Probe, max: Quantity, cpus: u32) -> Self {
        let used = probe.busy.said(cpus.into());
        let full = if probe.busy.fills(cpus) { ", for the machine was full" } else { "" };
        let more = match max {
            Quantity::Rate => "; more --workers, or a machine of its own, can say more",
            Quantity::Connections => "; a machine of its own can say more",
        };
        let late = probe.lag_p99_us / 1000;
        let said = format!(
            "the generator was the limit{full} (its sends were up to {late} ms late, p99; {used}){more}"
        );
        Self { by: By::Generator, said }
    }
}

/// What of the target, or of the machine that it shares, was full.
#[expect(clippy::cast_precision_loss, reason = "replicas are few")]
fn full(busy: &Busy, replicas: usize, cpus: f64) -> (By, &'static str) {
    let is_noteworthy = |used: f64| used > NOTEWORTHY * cpus;
    let is_full = busy.total() >= FULL * cpus;
    let fills_one_each = busy.server.is_some_and(|server| server >= FULL * replicas as f64);
    if busy.redis.is_some_and(|redis| redis >= FULL) {
        (By::Redis, "Redis was the limit: it can use one processor, and did")
    } else if is_full && is_noteworthy(busy.others()) {
        (
            By::Others,
            "the machine was full, and other programs had a part in it: try again when they are quiet",
        )
    } else if is_full && (is_noteworthy(busy.generator) || is_noteworthy(busy.redis.unwrap_or(0.0))) {
        (
            By::Machine,
            "the machine was full, and all share it: on machines of their own the replicas may carry more",
        )
    } else if is_full || fills_one_each {
        (By::Server, "the replicas were the limit: they filled the processors that they can use")
    } else if busy.server.is_none() {
        (By::Target, "the target was the limit; what of it can't be seen from here")
    } else {
        (By::Target, "the target was the limit, though processors were idle: it waited for something else")
    }
}

impl Busy {
    /// Who used how much: `server 1.10, redis 0.32, generator 0.45 of 2 processors`.
    #[must_use]
    pub fn said(&self, cpus: f64) -> String {
        let part = |name: &str, used: f64| format!("{name} {used:.2}");
        let known = [
            ("server", self.server),
            ("redis", self.redis),
            ("generator", Some(self.generator)),
            ("interrupts", self.interrupts.filter(|&used| used >= 0.01)),
        ];
        let mut parts: Vec<String> =
            known.into_iter().filter_map(|(name, used)| used.map(|used| part(name, used))).collect();
        if self.others() > NOTEWORTHY {
            parts.push(part("others", self.others()));
        }
        format!("{} of {cpus} processors", parts.join(", "))
    }
}
