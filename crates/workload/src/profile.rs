//! A rate that changes in time: straight lines from one rate to the next.

use std::{fmt, str::FromStr, time::Duration};

/// `30s:5000`: within 30 s the rate goes in a straight line to 5000 a second. `0s:5000` is a jump.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Stage {
    /// How long it lasts.
    pub lasts: Duration,
    /// The rate at its end.
    pub to: f64,
}

/// The whole course, and how much of it is over by when.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile(Vec<Segment>);

/// A straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Segment {
    /// Seconds.
    start: f64,
    lasts: f64,
    /// A second, at its start and its end.
    from: f64,
    to: f64,
    /// Arrivals before it.
    before: f64,
}

/// Why a text is no stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no stage like '30s:5000' (a time, and the rate at its end) or '0s:10k' (a jump)")]
pub struct StageError(String);

impl FromStr for Stage {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        let error = || StageError(text.to_owned());
        let (lasts, to) = text.split_once(':').ok_or_else(error)?;
        let lasts = humantime::parse_duration(lasts.trim()).map_err(|_| error())?;
        let to = to.trim();
        let (digits, unit) = match to.strip_suffix(['k', 'K']) {
            Some(thousands) => (thousands, 1e3),
            None => (to, 1.0),
        };
        match digits.parse::<f64>() {
            Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(Self { lasts, to: rate * unit }),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasts = humantime::format_duration(self.lasts).to_string().replace(' ', "");
        write!(f, "{lasts}:{}", self.to)
    }
}

impl Profile {
    /// Begins at `rate`, goes through `stages` and keeps its last rate until `duration` is over; what lies behind that is
    /// left out.
    #[must_use]
    pub fn new(rate: f64, stages: &[Stage], duration: Duration) -> Self {
        let end = duration.as_secs_f64();
        let mut segments = Vec::new();
        let mut here = Segment { start: 0.0, lasts: 0.0, from: rate, to: rate, before: 0.0 };
        for stage in stages {
            here = here.then(stage.lasts.as_secs_f64(), stage.to);
            segments.push(here);
        }
        here = here.then(f64::INFINITY, here.to);
        segments.push(here);
        segments.retain(|segment| segment.start < end && segment.lasts > 0.0);
        if let Some(last) = segments.last_mut() {
            *last = last.cut(end - last.start);
        }
        Self(segments)
    }

    /// Arrivals in all; the last one may be begun and not full.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.0.last().map_or(0.0, |last| last.before + last.arrivals())
    }

    /// The highest rate.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.0.iter().map(|segment| segment.from.max(segment.to)).fold(0.0, f64::max)
    }

    /// The rate at a time in seconds; zero when it is over.
    #[must_use]
    pub fn rate_at(&self, seconds: f64) -> f64 {
        let here = |segment: &&Segment| (0.0..segment.lasts).contains(&(seconds - segment.start));
        self.0.iter().find(here).map_or(0.0, |here| here.from + here.slope() * (seconds - here.start))
    }

    /// When `count` arrivals are over, in seconds: where more than that come, and none if no more do.
    #[must_use]
    pub fn time_of(&self, count: f64) -> Option<f64> {
        let segment = self.0.iter().find(|segment| segment.before + segment.arrivals() > count)?;
        Some(segment.start + segment.after((count - segment.before).max(0.0)))
    }
}

impl Segment {
    fn then(self, lasts: f64, to: f64) -> Self {
        let before = self.before + self.arrivals();
        // A stage of no time is a jump: what follows begins where it ends.
        let from = if lasts > 0.0 { self.to } else { to };
        Self { start: self.start + self.lasts, lasts, from, to, before }
    }

    fn cut(self, lasts: f64) -> Self {
        let to = if self.lasts.is_finite() { self.from + self.slope() * lasts } else { self.to };
        Self { lasts, to, ..self }
    }

    fn slope(&self) -> f64 {
        (self.to - self.from) / self.lasts
    }

    fn arrivals(&self) -> f64 {
        if self.lasts > 0.0 { (self.from + self.to) / 2.0 * self.lasts } else { 0.0 }
    }

    /// Seconds from its start until `count` of its arrivals are over: the root of from * t + slope * t^2 / 2 = count, in
    /// the form that does not divide by a slope that may be zero.
    fn after(&self, count: f64) -> f64 {
        if count == 0.0 {
            return 0.0;
        }
        let root = (self.from * self.from + 2.0 * self.slope() * count).max(0.0).sqrt();
        (2.0 * count / (self.from + root)).min(self.lasts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stages(text: &str) -> Vec<Stage> {
        text.split_whitespace().map(|stage| stage.parse().expect(stage)).collect()
    }

    fn profile(rate: f64, text: &str, seconds: u64) -> Profile {
        Profile::new(rate, &stages(text), Duration::from_secs(seconds))
    }

    #[test]
    fn a_stage_is_read_as_it_is_written() {
        for text in ["30s:5000", "1m30s:0.5", "0s:10000"] {
            assert_eq!(text.parse::<Stage>().expect(text).to_string(), text);
        }
        assert_eq!("5s:10k".parse::<Stage>().expect("a stage").to_string(), "5s:10000");
        for wrong in ["", "30s", "5000", "30:5000", "30s:", "30s:-1", "30s:NaN", "30s:5x", ":5"] {
            let error = wrong.parse::<Stage>().expect_err(wrong).to_string();
            assert!(error.contains("'30s:5000'"), "{error}");
        }
    }

    #[test]
    fn totals_are_the_area_under_the_line() {
        assert_eq!(profile(100.0, "", 3).total(), 300.0);
        assert_eq!(profile(0.0, "10s:100", 10).total(), 500.0);
        // Held after the last stage, and cut within it.
        assert_eq!(profile(0.0, "10s:100", 15).total(), 1000.0);
        assert_eq!(profile(0.0, "10s:100", 5).total(), 125.0);
        // A spike.
        assert_eq!(profile(10.0, "2s:10 0s:1000 1s:1000 0s:10", 5).total(), 20.0 + 1000.0 + 20.0);
        assert_eq!(profile(0.0, "", 5).total(), 0.0);
        assert_eq!(
            (profile(10.0, "2s:10 0s:1000 1s:0", 9).peak(), profile(5.0, "", 0).peak()),
            (1000.0, 0.0)
        );
    }

    #[test]
    fn the_rate_follows_the_line() {
        let spike = profile(10.0, "2s:20 0s:1000 1s:1000", 5);
        assert_eq!([0.0, 1.0, 2.0, 4.9, 5.0].map(|s| spike.rate_at(s)), [10.0, 15.0, 1000.0, 1000.0, 0.0]);
    }

    #[test]
    fn arrivals_lie_where_the_line_has_them() {
        let constant = profile(100.0, "", 1);
        assert_eq!(
            (constant.time_of(0.0), constant.time_of(99.0), constant.time_of(100.0)),
            (Some(0.0), Some(0.99), None)
        );
        let ramp = profile(0.0, "10s:100", 10);
        assert_eq!((ramp.time_of(125.0), ramp.time_of(500.0)), (Some(5.0), None));
        let falling = profile(100.0, "10s:0", 20);
        assert_eq!((falling.time_of(375.0), falling.time_of(500.0)), (Some(5.0), None));
        // Nothing comes in silence, not even the first.
        let late = profile(0.0, "5s:0 0s:10", 6);
        assert_eq!((late.time_of(0.0), late.time_of(5.0), late.time_of(10.0)), (Some(5.0), Some(5.5), None));
    }

    proptest! {
        #[test]
        fn time_never_runs_back(
            rate in 0.0..1000.0_f64,
            stages in prop::collection::vec((0_u64..5, 0.0..1000.0_f64), 0..5),
            seconds in 0_u64..20,
        ) {
            let stages: Vec<Stage> =
                stages.into_iter().map(|(lasts, to)| Stage { lasts: Duration::from_secs(lasts), to }).collect();
            let profile = Profile::new(rate, &stages, Duration::from_secs(seconds));
            let total = profile.total();
            let times: Vec<f64> =
                (0..50).map_while(|part| profile.time_of(total * f64::from(part) / 50.0)).collect();
            prop_assert!(times.is_sorted(), "{times:?}");
            prop_assert!(times.iter().all(|time| (0.0..=seconds as f64).contains(time)), "{times:?}");
            prop_assert_eq!(profile.time_of(total), None);
        }
    }
}
