//! Several reports as one, as if their runs had begun side by side at one time zero.

use std::{collections::BTreeSet, ops::AddAssign};

use super::{
    ClusterUse, Counts, Generator, Histograms, Latency, MatrixCell, Memory, MergedRun, Moment, Phases,
    ProcessUse, PropertyResult, Report, Second, Summary, Verdict,
};
use crate::threshold::Threshold;

/// How many examples of one property are kept.
const EXAMPLES_MAX: usize = 5;

/// Why reports can't be merged; `place` counts them from zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct MergeError {
    /// Which of them it is.
    pub place: usize,
    why: String,
}

/// One report over all of them: counts and resources are summed, percentiles come from the merged histograms.
///
/// # Errors
/// There are none, or they are of different kinds, or of one something is missing that can't be made up.
pub fn merge(mut reports: Vec<Report>) -> Result<Report, MergeError> {
    check(&reports)?;
    if reports.len() == 1 {
        return Ok(reports.remove(0));
    }
    let (first, others) = reports.split_at(1);
    let is_common = |note: &&String| others.iter().all(|other| other.notes.contains(note));
    let common: Vec<String> = first[0].notes.iter().filter(is_common).cloned().collect();
    let mut runs = Vec::new();
    let mut merged: Option<Report> = None;
    for (place, report) in reports.into_iter().enumerate() {
        runs.extend(runs_of(&report));
        let report = told_apart(report, place + 1, &common);
        match &mut merged {
            None => merged = Some(report),
            Some(merged) => add(merged, report),
        }
    }
    let mut merged = merged.expect("there is one");
    finish(&mut merged, runs);
    Ok(merged)
}

fn check(reports: &[Report]) -> Result<(), MergeError> {
    let error = |place, why| Err(MergeError { place, why });
    let Some(first) = reports.first() else { return error(0, "there is no report to merge".into()) };
    for (place, report) in reports.iter().enumerate() {
        for (what, one, other) in [
            ("schema", &first.schema, &report.schema),
            ("tool", &first.tool, &report.tool),
            ("version", &first.version, &report.version),
            ("protocol", &first.target.protocol, &report.target.protocol),
            ("contract", &first.contract, &report.contract),
        ] {
            if one != other {
                return error(place, format!("its {what} is {other:?} and that of the first is {one:?}"));
            }
        }
        if reports.len() > 1 && report.histograms.is_none() {
            let why =
                "it has no histograms, and percentiles alone can't be merged: run it again with this version";
            return error(place, why.into());
        }
        if reports.len() > 1 && !report.faults.is_empty() {
            return error(place, "it has faults, which are on in one run and not in the others".into());
        }
        let stopped = report.thresholds.iter().find(|result| result.aborted_us.is_some());
        if let Some(stopped) = stopped.filter(|_| reports.len() > 1) {
            let why = format!("its threshold {} stopped it, and the sums would hide that", stopped.threshold);
            return error(place, why);
        }
    }
    check_distinct(reports)
}

/// No run may be counted twice; merged reports bring several.
fn check_distinct(reports: &[Report]) -> Result<(), MergeError> {
    let mut known = BTreeSet::new();
    for (place, report) in reports.iter().enumerate() {
        for MergedRun { seed, environment, .. } in runs_of(report) {
            if !known.insert((seed, environment.started_unix)) {
                let why = format!("its run with seed {seed} is in an earlier one already");
                return Err(MergeError { place, why });
            }
        }
    }
    Ok(())
}

fn runs_of(report: &Report) -> Vec<MergedRun> {
    if !report.runs.is_empty() {
        return report.runs.clone();
    }
    let Report { verdict, seed, environment, config, .. } = report;
    vec![MergedRun {
        verdict: *verdict,
        seed: *seed,
        environment: environment.clone(),
        config: config.clone(),
    }]
}

/// What people read, with the number of the run; but for the notes that all of them have.
fn told_apart(mut report: Report, number: usize, common: &[String]) -> Report {
    let named = |text: &mut String| *text = format!("run {number}: {text}");
    // Demands are made of the sums again.
    report.reasons.retain(|reason| !report.thresholds.iter().any(|result| result.said() == *reason));
    report.reasons.iter_mut().for_each(named);
    report.notes.iter_mut().filter(|note| !common.contains(note)).for_each(named);
    report.timeline.iter_mut().for_each(|Moment { what, .. }| named(what));
    report.causes.iter_mut().for_each(|cause| named(&mut cause.said));
    report.members.iter_mut().for_each(|member| named(&mut member.name));
    for example in report.properties.iter_mut().flat_map(|property| &mut property.examples) {
        named(&mut example.detail);
    }
    report
}

fn add(merged: &mut Report, other: Report) {
    merged.memory = mean(merged, &other);
    merged.reasons.extend(other.reasons);
    for note in other.notes {
        if !merged.notes.contains(&note) {
            merged.notes.push(note);
        }
    }
    merged.timeline.extend(other.timeline);
    merged.causes.extend(other.causes);
    let new = other
        .thresholds
        .into_iter()
        .filter(|new| !merged.thresholds.iter().any(|result| result.threshold == new.threshold));
    let new: Vec<_> = new.collect();
    merged.thresholds.extend(new);
    merged.members.extend(other.members);
    merged.counts += other.counts;
    merged.phases = longest(&merged.phases, &other.phases);
    other.properties.into_iter().for_each(|property| add_property(&mut merged.properties, property));
    other.replica_matrix.into_iter().for_each(|cell| add_cell(&mut merged.replica_matrix, cell));
    for replica in other.target.replicas {
        match merged.target.replicas.iter_mut().find(|it| it.node == replica.node) {
            Some(it) => it.connections += replica.connections,
            None => merged.target.replicas.push(replica),
        }
    }
    merged.target.bugs.extend(other.target.bugs);
    if let (Some(one), Some(other)) = (&mut merged.histograms, &other.histograms) {
        add_histograms(one, other);
    }
    add_series(&mut merged.series, &other.series);
    merged.cluster = ClusterUse {
        server: both(merged.cluster.server, other.cluster.server),
        redis: both(merged.cluster.redis, other.cluster.redis),
    };
    let Generator { cpu_seconds, rss_bytes, saturated, workers, .. } = other.generator;
    merged.generator.cpu_seconds += cpu_seconds;
    merged.generator.rss_bytes += rss_bytes;
    merged.generator.saturated |= saturated;
    merged.generator.workers.extend(workers);
}

/// What follows from the sums.
fn finish(merged: &mut Report, runs: Vec<MergedRun>) {
    let histograms = merged.histograms.clone().unwrap_or_default();
    merged.latency_us = Latency::from(&histograms.latencies);
    merged.generator.schedule_lag_us = Summary::from(&histograms.latencies.schedule_lag);
    for (second, times) in merged.series.iter_mut().zip(&histograms.seconds) {
        (second.p50_us, second.p99_us) = (times.quantile(0.5), times.quantile(0.99));
    }
    merged.timeline.sort_by_key(|moment| moment.at_us);
    merged.causes.sort_by_key(|cause| std::cmp::Reverse(cause.lost));
    merged.target.bugs.sort();
    merged.target.bugs.dedup();
    merged.verdict = if merged.properties.iter().any(|property| property.violations > 0) {
        Verdict::Fail
    } else if runs.iter().any(|run| run.verdict == Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    };
    let demands: Vec<Threshold> =
        merged.thresholds.iter().filter_map(|result| result.threshold.parse().ok()).collect();
    merged.demand(&demands, None);
    let seeds: Vec<String> = runs.iter().map(|run| run.seed.to_string()).collect();
    merged.notes.insert(
        0,
        format!(
            "merged from {} runs, as if they had run side by side; seeds {}",
            runs.len(),
            seeds.join(", ")
        ),
    );
    // Each run has its own.
    merged.config = serde_json::Value::Null;
    merged.runs = runs;
}

fn longest(one: &Phases, other: &Phases) -> Phases {
    Phases {
        connect_s: one.connect_s.max(other.connect_s),
        join_s: one.join_s.max(other.join_s),
        send_s: one.send_s.max(other.send_s),
        drain_s: one.drain_s.max(other.drain_s),
    }
}

fn add_property(properties: &mut Vec<PropertyResult>, other: PropertyResult) {
    let Some(property) = properties.iter_mut().find(|property| property.id == other.id) else {
        properties.push(other);
        return;
    };
    property.checked += other.checked;
    property.violations += other.violations;
    property.examples.extend(other.examples);
    property.examples.truncate(EXAMPLES_MAX);
    property.verdict = match (property.violations, property.checked) {
        (1.., _) => Verdict::Fail,
        (0, 0) => Verdict::Inconclusive,
        (0, _) => Verdict::Pass,
    };
}

/// Cells have no histograms: the greater p99 is a bound for that of both.
fn add_cell(cells: &mut Vec<MatrixCell>, other: MatrixCell) {
    match cells.iter_mut().find(|cell| (&cell.from, &cell.to) == (&other.from, &other.to)) {
        None => cells.push(other),
        Some(cell) => {
            cell.expected += other.expected;
            cell.delivered += other.delivered;
            cell.p99_us = cell.p99_us.max(other.p99_us);
        }
    }
}

fn add_histograms(one: &mut Histograms, other: &Histograms) {
    one.latencies.merge(&other.latencies);
    let longest = one.seconds.len().max(other.seconds.len());
    one.seconds.resize_with(longest, Default::default);
    one.seconds.iter_mut().zip(&other.seconds).for_each(|(one, other)| one.merge(other));
}

fn add_series(one: &mut Vec<Second>, other: &[Second]) {
    for second in other {
        let Some(it) = one.get_mut(second.at_s as usize) else {
            one.push(*second);
            continue;
        };
        it.sent += second.sent;
        it.acked += second.acked;
        it.lost += second.lost;
        it.delivered += second.delivered;
        it.open += second.open;
    }
}

/// Bytes a socket over the sockets of both.
fn mean(one: &Report, other: &Report) -> Memory {
    let [here, there] = [one, other].map(|report| f64::from(report.counts.connections));
    let mean = |one: Option<f64>, other: Option<f64>| Some((one? * here + other? * there) / (here + there));
    Memory {
        server: mean(one.memory.server, other.memory.server),
        generator: mean(one.memory.generator, other.memory.generator),
        kernel: mean(one.memory.kernel, other.memory.kernel),
    }
}

/// Unknown if one of them is.
fn both(one: Option<ProcessUse>, other: Option<ProcessUse>) -> Option<ProcessUse> {
    let (one, other) = (one?, other?);
    Some(ProcessUse {
        cpu_seconds: one.cpu_seconds + other.cpu_seconds,
        rss_bytes: one.rss_bytes + other.rss_bytes,
    })
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = Self {
            connections: self.connections + other.connections,
            ended_early: self.ended_early + other.ended_early,
            rooms: self.rooms + other.rooms,
            quiet_rooms: self.quiet_rooms + other.quiet_rooms,
            sent: self.sent + other.sent,
            acked: self.acked + other.acked,
            refused: self.refused + other.refused,
            unanswered: self.unanswered + other.unanswered,
            expected: self.expected + other.expected,
            delivered: self.delivered + other.delivered,
            lost: self.lost + other.lost,
            missed: self.missed + other.missed,
            silent: self.silent + other.silent,
            duplicated: self.duplicated + other.duplicated,
            repeated: self.repeated + other.repeated,
            reordered: self.reordered + other.reordered,
            corrupted: self.corrupted + other.corrupted,
            leaked: self.leaked + other.leaked,
            created: self.created + other.created,
            late: self.late + other.late,
            fences: self.fences + other.fences,
            foreign: self.foreign + other.foreign,
            skipped: self.skipped + other.skipped,
            resumed: self.resumed + other.resumed,
            not_resumed: self.not_resumed + other.not_resumed,
            gap_notices: self.gap_notices + other.gap_notices,
        };
    }
}
