//! From what was found to the report.

use super::{
    Back, BackFrom, Cause, Counts, Example, Histograms, Latency, MatrixCell, PropertyResult, Report, Second,
    Summary, Verdict,
};
use crate::{
    judge::{self, Findings},
    ledger,
    property::Property,
    stats::{Latencies, Times},
    threshold::{Threshold, ThresholdResult},
    timeline::Timeline,
    verdict::{self, Facts},
};

impl Report {
    /// Takes over the judgement of `findings`: verdict, reasons, counts, properties, causes, times.
    pub fn judge(&mut self, findings: &Findings, timeline: &Timeline, facts: &Facts) {
        let nodes: Vec<String> = facts.replicas.iter().map(|(node, _)| node.clone()).collect();
        let fault =
            |due_us, alive_us| timeline.fault_at(due_us, alive_us).and_then(|fault| facts.fault(fault));
        let ended_early = facts.ended_early.values().sum();
        self.properties = properties(findings, &nodes, fault);
        self.counts = Counts::new(findings, facts.connections, facts.rooms, ended_early);
        self.replica_matrix = matrix(findings, &nodes);
        self.causes = findings.causes.iter().map(|cause| Cause::new(cause, facts, findings)).collect();
        self.series = series(findings);
        self.histograms = Some(Histograms {
            latencies: findings.latencies.clone(),
            seconds: findings.series.seconds().iter().map(|second| second.times.clone()).collect(),
        });
        self.faults.clone_from(&facts.faults);
        for (fault, lost) in self.faults.iter_mut().zip(&findings.lost_by_fault) {
            fault.lost = *lost;
        }
        for (fault, returns) in self.faults.iter_mut().zip(&findings.returns) {
            fault.back = returns.as_ref().map(Back::from);
        }
        (self.verdict, self.reasons) = verdict::verdict(facts, findings, &self.properties);
        if !findings.sums_agree {
            if self.verdict == Verdict::Pass {
                self.verdict = Verdict::Inconclusive;
            }
            self.reasons.insert(0, "bug in this tool: expected, delivered and lost do not add up".into());
        }
    }

    /// Holds the numbers against what the user demands; what is not met makes a fail of a pass. The numbers of an
    /// inconclusive run prove nothing, so it stays one.
    pub fn demand(&mut self, thresholds: &[Threshold], aborted: Option<&ThresholdResult>) {
        let stopped = |threshold: &Threshold| {
            aborted.filter(|aborted| aborted.threshold == threshold.to_string()).cloned()
        };
        self.thresholds = thresholds
            .iter()
            .map(|threshold| stopped(threshold).unwrap_or_else(|| threshold.check(self)))
            .collect();
        let missed: Vec<String> =
            self.thresholds.iter().filter(|result| !result.met).map(ThresholdResult::said).collect();
        // What is left open by a run that was stopped for it does not save it; a generator that was the limit does.
        let is_stopped = aborted.is_some() && !self.generator.saturated;
        if !missed.is_empty() && (self.verdict == Verdict::Pass || is_stopped) {
            self.verdict = Verdict::Fail;
        }
        self.reasons.extend(missed);
    }
}

impl Cause {
    fn new(cause: &judge::Cause, facts: &Facts, findings: &Findings) -> Self {
        let node = |replica: u16| facts.replicas.get(usize::from(replica)).map(|(node, _)| node.clone());
        Self {
            said: verdict::explain(cause, facts, findings),
            fault: cause.fault.and_then(|fault| facts.fault(fault)),
            from: cause.from.and_then(node),
            to: cause.to.and_then(node),
            how: cause.absence.name().into(),
            lost: cause.lost,
            allowed: cause.allowed,
            between_us: cause.between_us,
        }
    }
}

fn series(findings: &Findings) -> Vec<Second> {
    let second = |(at_s, second): (u32, &crate::series::Second)| Second {
        at_s,
        sent: second.sent,
        acked: second.acked,
        lost: findings.lost_by_second.get(at_s as usize).copied().unwrap_or(0),
        delivered: second.delivered,
        p50_us: second.times.quantile(0.5),
        p99_us: second.times.quantile(0.99),
        open: second.open,
    };
    (0..).zip(findings.series.seconds()).map(second).collect()
}

impl From<&judge::Returns> for Back {
    fn from(returns: &judge::Returns) -> Self {
        Self {
            cut: returns.cut,
            never: returns.never,
            from: if returns.from_heal { BackFrom::Heal } else { BackFrom::Injection },
            p50_us: returns.half_us,
            p95_us: returns.most_us,
            p100_us: returns.all_us,
        }
    }
}

impl From<&Latencies> for Latency {
    fn from(latencies: &Latencies) -> Self {
        Self {
            connect: Summary::from(&latencies.connect),
            ack: Summary::from(&latencies.ack),
            delivery: Summary::from(&latencies.delivery),
            fanout_first: Summary::from(&latencies.fanout_first),
            fanout_last: Summary::from(&latencies.fanout_last),
        }
    }
}

impl From<&Times> for Summary {
    fn from(times: &Times) -> Self {
        Self {
            count: times.count(),
            min: times.min(),
            p50: times.quantile(0.5),
            p90: times.quantile(0.9),
            p99: times.quantile(0.99),
            p999: times.quantile(0.999),
            max: times.max(),
        }
    }
}

impl Counts {
    /// From the findings over `connections` in `rooms`, of which so many ended early.
    #[must_use]
    pub fn new(findings: &Findings, connections: u32, rooms: u32, ended_early: u32) -> Self {
        let judge::Counts {
            quiet_rooms,
            sent,
            acked,
            refused,
            unanswered,
            expected,
            delivered,
            lost,
            missed,
            silent,
            duplicated,
            repeated,
            reordered,
            corrupted,
            leaked,
            created,
            late,
            fences,
            foreign,
            skipped,
            resumed,
            not_resumed,
            gap_notices,
            // These are gates; what they count is in the reasons.
            calm: _,
            contradicted: _,
            leaves_unanswered: _,
        } = findings.counts;
        Self {
            connections,
            ended_early,
            rooms,
            quiet_rooms,
            sent,
            acked,
            refused,
            unanswered,
            expected,
            delivered,
            lost,
            missed,
            silent,
            duplicated,
            repeated,
            reordered,
            corrupted,
            leaked,
            created,
            late,
            fences,
            foreign,
            skipped,
            resumed,
            not_resumed,
            gap_notices,
        }
    }
}

/// The results of all properties; `nodes` names the replicas, `fault` what was on at a time.
#[must_use]
pub fn properties(
    findings: &Findings,
    nodes: &[String],
    fault: impl Fn(u64, u64) -> Option<String>,
) -> Vec<PropertyResult> {
    let result = |(property, checked, tally): &(Property, u64, ledger::Tally)| PropertyResult {
        id: property.id().into(),
        name: property.name().into(),
        verdict: match (tally.violations, checked) {
            (1.., _) => Verdict::Fail,
            (0, 0) => Verdict::Inconclusive,
            (0, _) => Verdict::Pass,
        },
        checked: *checked,
        unit: property.unit().into(),
        violations: tally.violations,
        examples: tally.examples.iter().map(|example| Example::new(example, nodes, &fault)).collect(),
    };
    findings.properties.iter().map(result).collect()
}

impl Example {
    fn new(example: &ledger::Example, nodes: &[String], fault: &impl Fn(u64, u64) -> Option<String>) -> Self {
        let node = |replica: u16| nodes.get(usize::from(replica)).cloned().unwrap_or_default();
        Self {
            message: example.message.clone(),
            sender: example.sender,
            from: example.from.map(node),
            receiver: example.receiver,
            to: node(example.to),
            room: example.room.clone(),
            at_us: example.at_us,
            detail: example.detail.clone(),
            fault: fault(example.at_us, example.alive_us),
            witness: example.witness.clone(),
        }
    }
}

/// The matrix; `nodes` names the replicas.
#[must_use]
pub fn matrix(findings: &Findings, nodes: &[String]) -> Vec<MatrixCell> {
    let node = |replica: u16| nodes.get(usize::from(replica)).cloned().unwrap_or_default();
    let cell = |pair: &judge::Pair| MatrixCell {
        from: node(pair.from),
        to: node(pair.to),
        expected: pair.expected,
        delivered: pair.expected - pair.missing,
        p99_us: pair.times.quantile(0.99),
    };
    findings.pairs.iter().map(cell).collect()
}
