//! What a user demands of a run's numbers: `delivery.p99<100ms`, `lost==0`, `connect.rate>2000`.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    pulse::Pulse,
    report::{Counts, Report, Summary},
};

/// One demand.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    metric: String,
    relation: Relation,
    bound: f64,
    /// It stops the run as soon as it is broken.
    aborts: bool,
    /// As it was typed, without spaces.
    text: String,
}

/// What became of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// As it was typed.
    pub threshold: String,
    /// What was measured: microseconds, messages or events a second; none if there was nothing to measure.
    pub value: Option<f64>,
    /// Whether it was met; what was not measured was not.
    pub met: bool,
    /// When it stopped the run, in microseconds of it; the value is then what was known at that time, rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted_us: Option<u64>,
}

/// Why a threshold makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ThresholdError(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
    Not,
}

/// Times, each with a statistic behind a dot.
const TIMES: [&str; 6] = ["connect", "ack", "delivery", "fanout_first", "fanout_last", "lag"];

/// What is known of a time.
const STATISTICS: [&str; 5] = ["p50", "p90", "p99", "p999", "max"];

/// Events a second.
const RATES: [&str; 4] = ["connect.rate", "sent.rate", "acked.rate", "delivery.rate"];

/// A sum over the run, by its name.
type Count = (&'static str, fn(&Counts) -> u64);

/// All that can be demanded of.
const COUNTS: [Count; 14] = [
    ("lost", |counts| counts.lost),
    ("missed", |counts| counts.missed),
    ("silent", |counts| counts.silent),
    ("duplicated", |counts| counts.duplicated),
    ("reordered", |counts| counts.reordered),
    ("corrupted", |counts| counts.corrupted),
    ("leaked", |counts| counts.leaked),
    ("created", |counts| counts.created),
    ("late", |counts| counts.late),
    ("refused", |counts| counts.refused),
    ("unanswered", |counts| counts.unanswered),
    ("skipped", |counts| counts.skipped),
    ("ended_early", |counts| counts.ended_early.into()),
    ("delivered", |counts| counts.delivered),
];

impl Relation {
    /// Longer signs first: `<` begins `<=`.
    const ALL: [(&'static str, Self); 6] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("!=", Self::Not),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    /// Whether what is too much stays too much.
    fn is_ceiling(self) -> bool {
        matches!(self, Self::Less | Self::AtMost | Self::Equal)
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::Equal => order.is_eq(),
            Self::Not => order.is_ne(),
        }
    }
}

impl Threshold {
    /// Holds it against the numbers of a run.
    #[must_use]
    pub fn check(&self, report: &Report) -> ThresholdResult {
        let value = measured(&self.metric, report);
        let order = value.and_then(|value| value.partial_cmp(&self.bound));
        let met = order.is_some_and(|order| self.relation.holds(order));
        ThresholdResult { threshold: self.text.clone(), value, met, aborted_us: None }
    }

    /// Whether it stops the run as soon as it is broken.
    #[must_use]
    pub fn aborts(&self) -> bool {
        self.aborts
    }

    /// What became of it, if it is broken as the run stands: by a count that only grows, or by a time of which enough are
    /// known, and even the shortest that it may be is too long.
    #[must_use]
    pub fn broken(&self, pulse: &Pulse) -> Option<ThresholdResult> {
        if !is_known_early(&self.metric) || !self.relation.is_ceiling() {
            return None;
        }
        let value = so_far(&self.metric, pulse)?;
        let is_broken = match self.relation {
            Relation::Less => value >= self.bound,
            _ => value > self.bound,
        };
        is_broken.then(|| ThresholdResult {
            threshold: self.text.clone(),
            value: Some(value),
            met: false,
            aborted_us: self.aborts.then_some(pulse.at_us),
        })
    }

    /// Whether it is about the time of messages, which count from when they were due.
    #[must_use]
    pub fn times_messages(&self) -> bool {
        is_time(&self.metric) && !self.metric.starts_with("connect.")
    }

    /// Whether it is a time that was missed, and would not have been if the generator had sent on time; a lag
    /// below a tenth of it is no reason.
    #[must_use]
    pub fn is_met_without_lag(&self, report: &Report) -> bool {
        let meets =
            |value: f64| value.partial_cmp(&self.bound).is_some_and(|order| self.relation.holds(order));
        let lag = float(report.generator.schedule_lag_us.p99);
        let value = measured(&self.metric, report);
        let is_why = |value: f64| !meets(value) && meets((value - lag).max(0.0)) && lag * 10.0 >= value;
        self.times_messages() && value.is_some_and(is_why)
    }
}

impl ThresholdResult {
    /// For a person: `threshold delivery.p99<100ms: it was 132 ms`.
    #[must_use]
    pub fn said(&self) -> String {
        let was = if self.value.is_some() { "it was " } else { "" };
        let stopped =
            self.aborted_us.map(|us| format!(" and more after {} s, and stopped the run", us / 1_000_000));
        format!("threshold {}: {was}{}{}", self.threshold, self.measured(), stopped.unwrap_or_default())
    }

    /// The value with its unit: `132.071 ms`.
    #[must_use]
    pub fn measured(&self) -> String {
        match self.value {
            None => "nothing was measured".into(),
            Some(value) if is_time(metric_of(&self.threshold)) => format!("{:.3} ms", value / 1e3),
            Some(value) => ((value * 10.0).round() / 10.0).to_string(),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let text: String = text.split_whitespace().collect();
        let error = |why: String| ThresholdError(format!("{text:?}: {why}"));
        let metric = metric_of(&text);
        let rest = &text[metric.len()..];
        let (sign, relation) =
            *Relation::ALL.iter().find(|(sign, _)| rest.starts_with(sign)).ok_or_else(|| {
                error("a threshold looks like 'delivery.p99<100ms', 'lost==0' or 'connect.rate>2000'".into())
            })?;
        let (bound, aborts) = match rest[sign.len()..].split_once(',') {
            None => (&rest[sign.len()..], false),
            Some((bound, "abort")) => (bound, true),
            Some((_, other)) => {
                return Err(error(format!("there is no {other:?}; behind a comma stands abort")));
            }
        };
        if !is_time(metric) && !RATES.contains(&metric) && !COUNTS.iter().any(|(count, _)| *count == metric) {
            return Err(error(format!(
                "there is no {metric:?}; there are {} (with {}), {} and {}",
                TIMES.join(", "),
                STATISTICS.map(|statistic| format!(".{statistic}")).join(", "),
                RATES.join(", "),
                COUNTS.map(|(count, _)| count).join(", ")
            )));
        }
        let bound = if is_time(metric) { microseconds(bound) } else { number(bound) };
        let bound = bound.map_err(&error)?;
        if aborts && !is_known_early(metric) {
            return Err(error(format!(
                "{metric} is known at the end alone, so it can't stop a run: leave ,abort out"
            )));
        }
        if aborts && !relation.is_ceiling() {
            return Err(error(format!(
                "{sign} may come true to the end, so it can't stop a run: leave ,abort out"
            )));
        }
        Ok(Self { metric: metric.to_owned(), relation, bound, aborts, text: text.clone() })
    }
}

/// All before the relation.
fn metric_of(text: &str) -> &str {
    text.split(['<', '>', '=', '!']).next().unwrap_or_default()
}

fn is_time(metric: &str) -> bool {
    metric
        .split_once('.')
        .is_some_and(|(time, statistic)| TIMES.contains(&time) && STATISTICS.contains(&statistic))
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(format!("{text:?} is no number")),
    }
}

fn microseconds(text: &str) -> Result<f64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return Err(format!("{text:?} is no time like 800us, 100ms or 2s")),
    };
    number(digits).map(|number| number * unit)
}

/// What the report says of a metric; none where nothing was counted.
fn measured(metric: &str, report: &Report) -> Option<f64> {
    if let Some((time, statistic)) = metric.split_once('.').filter(|_| is_time(metric)) {
        let latency = &report.latency_us;
        let summary = match time {
            "connect" => latency.connect,
            "ack" => latency.ack,
            "delivery" => latency.delivery,
            "fanout_first" => latency.fanout_first,
            "fanout_last" => latency.fanout_last,
            _ => report.generator.schedule_lag_us,
        };
        return of_summary(&summary, statistic);
    }
    let counts = &report.counts;
    let phases = &report.phases;
    let rate = |count: f64, seconds: f64| (seconds > 0.0).then(|| count / seconds);
    match metric {
        "connect.rate" => rate(counts.connections.into(), phases.connect_s),
        "sent.rate" => rate(float(counts.sent), phases.send_s),
        "acked.rate" => rate(float(counts.acked), phases.send_s),
        "delivery.rate" => rate(float(counts.delivered), phases.send_s),
        _ => {
            let (_, count) = COUNTS.iter().find(|(count, _)| *count == metric)?;
            Some(float(count(counts)))
        }
    }
}

/// What grows while a run goes on, and is counted then.
const KNOWN_EARLY: [&str; 9] = [
    "duplicated",
    "reordered",
    "corrupted",
    "leaked",
    "created",
    "late",
    "refused",
    "skipped",
    "ended_early",
];

fn is_known_early(metric: &str) -> bool {
    is_time(metric) || KNOWN_EARLY.contains(&metric)
}

/// So many times have to lie beyond a quantile before it means something.
const BEYOND: f64 = 10.0;

/// What is known of a metric while the run goes on: of a time the least that it may be.
fn so_far(metric: &str, pulse: &Pulse) -> Option<f64> {
    let Some((time, statistic)) = metric.split_once('.') else {
        let (_, count) = COUNTS.iter().find(|(count, _)| *count == metric)?;
        return Some(float(count(&pulse.counts)));
    };
    let times = &pulse.times;
    let buckets = match time {
        "connect" => &times.connect,
        "ack" => &times.ack,
        "delivery" => &times.delivery,
        "fanout_first" => &times.fanout_first,
        "fanout_last" => &times.fanout_last,
        _ => &times.lag,
    };
    let share = match statistic {
        "p50" => 0.5,
        "p90" => 0.9,
        "p99" => 0.99,
        "p999" => 0.999,
        _ => 1.0,
    };
    let count = float(buckets.count());
    let is_enough = if share < 1.0 { count * (1.0 - share) >= BEYOND } else { count > 0.0 };
    is_enough.then(|| float(buckets.quantile_between(share).0))
}

fn of_summary(summary: &Summary, statistic: &str) -> Option<f64> {
    let value = match statistic {
        "p50" => summary.p50,
        "p90" => summary.p90,
        "p99" => summary.p99,
        "p999" => summary.p999,
        _ => summary.max,
    };
    (summary.count > 0).then(|| float(value))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_told_with_what_would() {
        let error = |text: &str| text.parse::<Threshold>().expect_err(text).to_string();
        assert!(error("delivery.p99").contains("looks like"));
        assert!(error("").contains("looks like"));
        assert!(error("delivery.p98<1ms").contains("there are connect, ack, delivery"));
        assert!(error("lots==0").contains("lost"));
        assert!(error("delivery.p99<100").contains("100ms"));
        assert!(error("delivery.p99<ms").contains("no number"));
        assert!(error("lost==x").contains("no number"));
        assert!(error("lost==-1").contains("no number"));
        assert!(error("lost=0").contains("looks like"));
    }

    #[test]
    fn only_what_can_be_known_early_stops_a_run() {
        let error = |text: &str| text.parse::<Threshold>().expect_err(text).to_string();
        assert!(error("lost==0,abort").contains("at the end alone"));
        assert!(error("sent.rate>5,abort").contains("at the end alone"));
        assert!(error("delivery.p99>1ms,abort").contains("to the end"));
        assert!(error("late==0,stop").contains("stands abort"));
        assert_eq!("late == 0, abort".parse::<Threshold>().expect("one").to_string(), "late==0,abort");
    }

    #[test]
    fn what_is_broken_is_known_before_the_end() {
        let check = |threshold: &str, us: u64, times: u64, late: u64| {
            let mut pulse = Pulse { at_us: 3_000_000, ..Pulse::default() };
            pulse.times.delivery.record_many(us, times);
            pulse.counts.late = late;
            threshold.parse::<Threshold>().expect("a threshold").broken(&pulse).map(|result| result.said())
        };
        let said = check("delivery.p99<100ms", 500_000, 5000, 0).expect("broken");
        assert!(!said.contains("stopped"), "it was not asked to: {said}");
        assert_eq!(check("late>1", 1, 1, 0), None, "it may come true");
        assert_eq!(check("lost==0", 1, 1, 1), None, "nobody knows");
        assert_eq!(check("delivery.p99<100ms,abort", 500_000, 900, 0), None, "too few to say");
        let said = check("delivery.p99<100ms,abort", 500_000, 1000, 0).expect("broken");
        assert!(said.contains("and more after 3 s, and stopped the run"), "{said}");
        // 105 ms lie in a bucket that begins below 100.
        assert_eq!(check("delivery.p99<100ms,abort", 105_000, 5000, 0), None, "it may have been less");
        assert!(check("delivery.max<=100ms,abort", 120_000, 1, 0).is_some());
        assert_eq!(check("late==0,abort", 1, 1, 0), None);
        assert!(check("late==0,abort", 1, 1, 1).is_some());
        assert_eq!((check("late<=2,abort", 1, 1, 2), check("late<2,abort", 1, 1, 2).is_some()), (None, true));
    }

    #[test]
    fn every_relation_holds_on_its_side_alone() {
        for (sign, holds) in [
            ("<", [true, false, false]),
            ("<=", [true, true, false]),
            (">", [false, false, true]),
            (">=", [false, true, true]),
            ("==", [false, true, false]),
            ("!=", [true, false, true]),
        ] {
            let threshold: Threshold = format!("lost {sign} 2").parse().expect(sign);
            let held = [1.0_f64, 2.0, 3.0]
                .map(|value| threshold.relation.holds(value.partial_cmp(&threshold.bound).expect("numbers")));
            assert_eq!(held, holds, "{sign}");
        }
    }

    #[test]
    fn times_have_units_and_spaces_do_not_count() {
        let threshold: Threshold = "delivery.p99 < 1.5s".parse().expect("a threshold");
        assert_eq!((threshold.bound, threshold.to_string().as_str()), (1_500_000.0, "delivery.p99<1.5s"));
        assert_eq!("ack.max<=800us".parse::<Threshold>().expect("a threshold").bound, 800.0);
    }
}
