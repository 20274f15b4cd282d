//! Two reports beside each other: what became worse, and whether that is more than noise.
//!
//! The noise of a number is half of the interval of 95% around its difference. Rates and the deliveries' latencies have
//! theirs from the spread of the seconds in which messages were sent; the other latencies from the ranks of their
//! histogram, and the rate of connects from their number, which is less than the truth where times depend on each other. With several base runs it is at least what
//! lies between these. Nobody knows that of what was measured once, which decides nothing.

mod text;

use serde::Serialize;

use crate::{
    report::{Report, Second, Summary, Verdict},
    series::Buckets,
    stats::Times,
};

pub use text::render;

/// Two-sided, of a normal distribution.
const Z_95: f64 = 1.96;

/// A new run beside its base.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What part of a base value may be lost.
    pub tolerance: f64,
    /// Base runs.
    pub bases: usize,
    /// Number by number.
    pub rows: Vec<Row>,
    /// What makes the runs hard to compare.
    pub notes: Vec<String>,
    /// Why they can't be compared: a run proves nothing.
    pub inconclusive: Vec<String>,
    /// Why the new run is a fail by itself, whatever the base was.
    pub failed: Option<String>,
}

/// One number.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name, as thresholds have it where they do.
    pub metric: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Of the base: the median, if there are several.
    pub base: Option<f64>,
    /// Of the new run.
    pub new: Option<f64>,
    /// By how much they differ when nothing has changed; none if nobody knows.
    pub noise: Option<f64>,
    /// What became of it.
    pub change: Change,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Microseconds.
    Us,
    /// Events a second.
    PerSecond,
    /// Messages.
    Count,
    /// Bytes.
    Bytes,
}

/// What became of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Within tolerance or noise.
    Same,
    /// Better by more than both.
    Better,
    /// Worse by more than both; or a rate of the base that the new run lacks.
    Worse,
    /// One of the runs did not measure it, or it differs by more than tolerance and its noise is not known.
    Unknown,
}

/// A number, how to read it from a report, and what is good.
struct Metric {
    name: &'static str,
    unit: Unit,
    more_is_better: bool,
    read: fn(&Report) -> Option<Measured>,
}

/// A value, and half of the interval of 95% around it.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    value: f64,
    half: Option<f64>,
}

const METRICS: [Metric; 22] = [
    more("connect.rate", connect_rate),
    more("sent.rate", |it| seconds_rate(it, |second| second.sent)),
    more("delivery.rate", |it| seconds_rate(it, |second| second.delivered)),
    less("connect.p50", Unit::Us, |it| time(it, it.latency_us.connect, "connect", 0.5)),
    less("connect.p99", Unit::Us, |it| time(it, it.latency_us.connect, "connect", 0.99)),
    less("ack.p50", Unit::Us, |it| time(it, it.latency_us.ack, "ack", 0.5)),
    less("ack.p99", Unit::Us, |it| time(it, it.latency_us.ack, "ack", 0.99)),
    less("delivery.p50", Unit::Us, |it| delivery(it, 0.5)),
    less("delivery.p99", Unit::Us, |it| delivery(it, 0.99)),
    less("delivery.p999", Unit::Us, |it| delivery(it, 0.999)),
    less("fanout_last.p99", Unit::Us, |it| time(it, it.latency_us.fanout_last, "fanout_last", 0.99)),
    less("server CPU a delivery", Unit::Us, |it| cpu(it, it.cluster.server?.cpu_seconds)),
    less("redis CPU a delivery", Unit::Us, |it| cpu(it, it.cluster.redis?.cpu_seconds)),
    less("own CPU a delivery", Unit::Us, |it| cpu(it, it.generator.cpu_seconds)),
    less("server memory", Unit::Bytes, |it| Some(Measured::once(float(it.cluster.server?.rss_bytes)))),
    less("redis memory", Unit::Bytes, |it| Some(Measured::once(float(it.cluster.redis?.rss_bytes)))),
    less("own memory", Unit::Bytes, |it| Some(Measured::once(float(it.generator.rss_bytes)))),
    less("server bytes a socket", Unit::Bytes, |it| it.memory.server.map(Measured::once)),
    less("own bytes a socket", Unit::Bytes, |it| it.memory.generator.map(Measured::once)),
    less("kernel bytes a socket", Unit::Bytes, |it| it.memory.kernel.map(Measured::once)),
    less("lost", Unit::Count, |it| Some(Measured { value: float(it.counts.lost), half: Some(0.0) })),
    less("missed", Unit::Count, |it| Some(missed(it))),
];

const fn more(name: &'static str, read: fn(&Report) -> Option<Measured>) -> Metric {
    Metric { name, unit: Unit::PerSecond, more_is_better: true, read }
}

const fn less(name: &'static str, unit: Unit, read: fn(&Report) -> Option<Measured>) -> Metric {
    Metric { name, unit, more_is_better: false, read }
}

impl Measured {
    fn once(value: f64) -> Self {
        Self { value, half: None }
    }
}

impl Comparison {
    /// Holds `new` against its bases; `tolerance` is the part of a base value that may be lost.
    #[must_use]
    pub fn new(bases: &[Report], new: &Report, tolerance: f64) -> Self {
        let row = |metric: &Metric| row(metric, bases, new, tolerance);
        let inconclusive = bases.iter().chain([new]).filter(|report| report.verdict == Verdict::Inconclusive);
        let why = |report: &Report| {
            let reason = report.reasons.first().map_or("it is inconclusive", String::as_str);
            format!("the run with seed {} proves nothing: {reason}", report.seed)
        };
        Self {
            tolerance,
            bases: bases.len(),
            rows: METRICS.iter().map(row).collect(),
            notes: bases.first().map(|base| differences(base, new)).unwrap_or_default(),
            inconclusive: inconclusive.map(why).collect(),
            failed: (new.verdict == Verdict::Fail)
                .then(|| new.reasons.first().map_or("its verdict is fail", String::as_str).to_owned()),
        }
    }

    /// Whether something became worse.
    #[must_use]
    pub fn has_regressed(&self) -> bool {
        self.rows.iter().any(|row| row.change == Change::Worse)
    }
}

fn row(metric: &Metric, bases: &[Report], new: &Report, tolerance: f64) -> Row {
    let measured: Vec<Measured> = bases.iter().filter_map(metric.read).collect();
    let new = (metric.read)(new);
    let base = base(&measured);
    let Metric { name, unit, more_is_better, .. } = *metric;
    let mut row = Row {
        metric: name,
        unit,
        base: base.map(|base| base.value),
        new: new.map(|new| new.value),
        noise: None,
        change: Change::Unknown,
    };
    let (Some(base), Some(new)) = (base, new) else {
        if base.is_some() && unit == Unit::PerSecond {
            row.change = Change::Worse;
        }
        return row;
    };
    row.noise = match (base.half, new.half) {
        (Some(one), Some(other)) => Some(one.hypot(other)),
        (one, other) => one.or(other),
    };
    let worse_by = if more_is_better { base.value - new.value } else { new.value - base.value };
    row.change = match row.noise {
        _ if worse_by.abs() <= tolerance * base.value => Change::Same,
        None => Change::Unknown,
        Some(noise) if worse_by.abs() <= noise => Change::Same,
        Some(_) if worse_by > 0.0 => Change::Worse,
        Some(_) => Change::Better,
    };
    row
}

/// The median of the base runs; its noise is at least what lies between them.
fn base(measured: &[Measured]) -> Option<Measured> {
    let mut values: Vec<f64> = measured.iter().map(|it| it.value).collect();
    values.sort_by(f64::total_cmp);
    let (least, most) = (values.first()?, values.last()?);
    let value = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
    let half = measured.iter().filter_map(|it| it.half).reduce(f64::max);
    let between = (measured.len() > 1).then_some(most - least);
    Some(Measured { value, half: half.into_iter().chain(between).reduce(f64::max) })
}

/// What was asked of the two runs differently.
fn differences(base: &Report, new: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |what: &str, base: &str, new: &str| {
        if base != new {
            notes.push(format!("{what}: {base} in the base, {new} in the new run"));
        }
    };
    note("version", &base.version, &new.version);
    note("target", &base.target.summary(), &new.target.summary());
    note("processors", &base.environment.cpus.to_string(), &new.environment.cpus.to_string());
    note("system", &base.environment.os, &new.environment.os);
    note("runs", &base.runs.len().max(1).to_string(), &new.runs.len().max(1).to_string());
    // The seed decides an order, not a load; demands measure nothing.
    for (name, value) in base.config.as_object().into_iter().flatten() {
        if !["seed", "target", "thresholds"].contains(&name.as_str()) {
            note(name, &value.to_string(), &new.config[name].to_string());
        }
    }
    notes
}

fn rate(count: f64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| count / seconds)
}

/// Its noise is that of so many independent events.
fn connect_rate(report: &Report) -> Option<Measured> {
    let count = f64::from(report.counts.connections);
    let value = rate(count, report.phases.connect_s).filter(|_| count > 0.0)?;
    Some(Measured { value, half: Some(Z_95 * value / count.sqrt()) })
}

/// Over the phase of sending; its noise from the seconds.
fn seconds_rate(report: &Report, count: fn(&Second) -> u64) -> Option<Measured> {
    let total: u64 = report.series.iter().map(count).sum();
    let value = rate(float(total), report.phases.send_s).filter(|_| total > 0)?;
    let each: Vec<f64> = sending(report).iter().map(|second| float(count(second))).collect();
    Some(Measured { value, half: half_of_mean(&each) })
}

/// The seconds in which messages were sent, without the first and the last, which are parts of one.
fn sending(report: &Report) -> &[Second] {
    let is_sending = |second: &Second| second.sent > 0;
    let first = report.series.iter().position(is_sending).unwrap_or(0);
    let last = report.series.iter().rposition(is_sending).unwrap_or(0);
    report.series.get(first + 1..last).unwrap_or(&[])
}

/// Half of the interval of 95% around the mean of what was measured again and again.
fn half_of_mean(values: &[f64]) -> Option<f64> {
    if values.len() < 4 {
        return None;
    }
    let n = float(values.len() as u64);
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    // Student's distribution is wider where there are few; this is close to it from three degrees of freedom on.
    let degrees = n - 1.0;
    let student = Z_95 + (2.4 + 3.0 / degrees) / degrees;
    Some(student * (variance / n).sqrt())
}

/// A quantile of all deliveries; its noise from the quantiles of the seconds, or from its rank if that is more.
fn delivery(report: &Report, share: f64) -> Option<Measured> {
    let measured = time(report, report.latency_us.delivery, "delivery", share)?;
    let Some(histograms) = &report.histograms else { return Some(measured) };
    let times = sending(report).iter().filter_map(|second| histograms.seconds.get(second.at_s as usize));
    let each: Vec<f64> = times
        .filter(|times: &&Buckets| times.count() > 0)
        .map(|times| float(times.quantile(share)))
        .collect();
    let half = [measured.half, half_of_mean(&each)].into_iter().flatten().reduce(f64::max);
    Some(Measured { half, ..measured })
}

/// A quantile; its noise from the ranks in its histogram.
fn time(report: &Report, summary: Summary, name: &str, share: f64) -> Option<Measured> {
    let value = match share {
        0.5 => summary.p50,
        0.99 => summary.p99,
        _ => summary.p999,
    };
    let histograms = report.histograms.as_ref();
    let named = histograms.and_then(|it| it.latencies.named().into_iter().find(|(it, _)| *it == name));
    let half = named.map(|(_, times)| half_of_rank(times, share));
    (summary.count > 0).then(|| Measured { value: float(value), half })
}

/// How far a quantile is from those whose ranks may be its own by chance.
fn half_of_rank(times: &Times, share: f64) -> f64 {
    let spread = Z_95 * (share * (1.0 - share) / float(times.count().max(1))).sqrt();
    let [low, high] =
        [share - spread, share + spread].map(|share| float(times.quantile(share.clamp(0.0, 1.0))));
    (high - low) / 2.0
}

/// Its noise is that of so many independent events; of what is lost each counts.
fn missed(report: &Report) -> Measured {
    let value = float(report.counts.missed);
    Measured { value, half: Some(Z_95 * value.sqrt()) }
}

/// Microseconds for each delivery.
fn cpu(report: &Report, seconds: f64) -> Option<Measured> {
    let delivered = float(report.counts.delivered);
    (delivered > 0.0).then(|| Measured::once(seconds * 1e6 / delivered))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}
