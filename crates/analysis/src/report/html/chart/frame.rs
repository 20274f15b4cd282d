//! What all charts of a run share: its points, its faults, and where they lie between 0 and 1000 across.

use std::fmt::Write as _;

use super::super::super::{FaultResult, Second, words::grouped};

/// More points than this are not seen on any screen.
const POINTS_MAX: usize = 400;

/// The time axis.
pub(super) struct Frame<'a> {
    from_us: u64,
    to_us: u64,
    /// How many seconds a point stands for.
    pub seconds_each: usize,
    pub points: Vec<Point>,
    pub bands: Vec<Band<'a>>,
    /// Rows of letters that keep them apart.
    pub lanes: usize,
}

/// Some seconds as one: sums, and of the rest the worst.
pub(super) struct Point {
    pub at_s: u32,
    /// Left edge.
    pub from: f64,
    /// Right edge.
    pub to: f64,
    pub sent: u64,
    pub acked: u64,
    pub lost: u64,
    pub delivered_sum: u64,
    /// In its best second.
    pub delivered: u64,
    /// In its worst.
    pub delivered_min: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub open: u32,
}

/// A fault on the time axis.
pub(super) struct Band<'a> {
    pub fault: &'a FaultResult,
    pub index: usize,
    pub from: f64,
    pub to: f64,
    pub effective: Option<f64>,
    pub lane: usize,
    /// Whether its name fits beside its letter, on a wide screen.
    pub named: bool,
}

impl<'a> Frame<'a> {
    /// Of a series that is not empty.
    pub(super) fn new(series: &[Second], faults: &'a [FaultResult]) -> Self {
        let edge = |at_s: u32| u64::from(at_s) * 1_000_000;
        let (first, last) = (series.first().map_or(0, |s| s.at_s), series.last().map_or(0, |s| s.at_s));
        let ends = faults.iter().map(|fault| fault.healed_us.unwrap_or(fault.start_us));
        let mut frame = Self {
            from_us: edge(first),
            to_us: ends.max().unwrap_or(0).max(edge(last + 1)),
            seconds_each: series.len().div_ceil(POINTS_MAX).max(1),
            points: Vec::new(),
            bands: Vec::new(),
            lanes: 0,
        };
        frame.points = series.chunks(frame.seconds_each).map(|seconds| frame.point(seconds)).collect();
        frame.place(faults);
        frame
    }

    fn point(&self, seconds: &[Second]) -> Point {
        let at_s = seconds.first().map_or(0, |second| second.at_s);
        let end_s = seconds.last().map_or(0, |second| second.at_s) + 1;
        let sum = |value: fn(&Second) -> u64| seconds.iter().map(value).sum();
        let most = |value: fn(&Second) -> u64| seconds.iter().map(value).max().unwrap_or(0);
        Point {
            at_s,
            from: self.x(u64::from(at_s) * 1_000_000),
            to: self.x(u64::from(end_s) * 1_000_000),
            sent: sum(|second| second.sent),
            acked: sum(|second| second.acked),
            lost: sum(|second| second.lost),
            delivered_sum: sum(|second| second.delivered),
            delivered: most(|second| second.delivered),
            delivered_min: seconds.iter().map(|second| second.delivered).min().unwrap_or(0),
            p50_us: most(|second| second.p50_us),
            p99_us: most(|second| second.p99_us),
            open: seconds.iter().map(|second| second.open).min().unwrap_or(0),
        }
    }

    /// Between 0 and 1000.
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    fn x(&self, us: u64) -> f64 {
        let since = us.clamp(self.from_us, self.to_us) - self.from_us;
        since as f64 * 1000.0 / (self.to_us - self.from_us).max(1) as f64
    }

    /// Letters that would touch on a phone go into another row, names that would touch on a wide screen are left out.
    fn place(&mut self, faults: &'a [FaultResult]) {
        const LETTER: f64 = 75.0;
        const LANES_MAX: usize = 4;
        let mut ends = [f64::MIN; LANES_MAX];
        for (index, fault) in faults.iter().enumerate() {
            let from = self.x(fault.start_us);
            let lane = ends.iter().position(|end| *end <= from).unwrap_or(index % LANES_MAX);
            ends[lane] = from + LETTER;
            self.lanes = self.lanes.max(lane + 1);
            self.bands.push(Band {
                fault,
                index,
                from,
                to: self.x(fault.healed_us.unwrap_or(self.to_us)).max(from),
                effective: fault.effective_us.map(|us| self.x(us)),
                lane,
                named: false,
            });
        }
        for i in 0..self.bands.len() {
            let next = self.bands[i + 1..].iter().find(|band| band.lane == self.bands[i].lane);
            let room = next.map_or(1000.0, |band| band.from) - self.bands[i].from;
            self.bands[i].named = room >= 35.0 + 8.0 * self.bands[i].fault.name.chars().count() as f64;
        }
    }

    pub(super) fn most(&self, value: impl Fn(&Point) -> u64) -> u64 {
        self.points.iter().map(value).max().unwrap_or(0)
    }

    /// A line in steps, since each value holds for its seconds; none is a gap.
    pub(super) fn steps(&self, y: impl Fn(&Point) -> Option<f64>) -> String {
        let mut path = String::new();
        let mut is_open = false;
        for point in &self.points {
            let Some(y) = y(point) else {
                is_open = false;
                continue;
            };
            let drawn = match is_open {
                true => write!(path, "V{y:.1}H{:.1}", point.to),
                false => write!(path, "M{:.1} {y:.1}H{:.1}", point.from, point.to),
            };
            drawn.expect("a string takes everything");
            is_open = true;
        }
        path
    }

    /// What lies below such a line without gaps.
    pub(super) fn area(&self, y: impl Fn(&Point) -> Option<f64>) -> String {
        let (first, last) = (self.points.first(), self.points.last());
        let (from, to) = (first.map_or(0.0, |point| point.from), last.map_or(0.0, |point| point.to));
        format!("{}L{to:.1} 100L{from:.1} 100Z", self.steps(y))
    }

    /// Round seconds of the run, in percent of the width.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let (from_s, to_s) = (self.from_us / 1_000_000, self.to_us / 1_000_000);
        let step = nice((to_s - from_s).div_ceil(8));
        let first = from_s.div_ceil(step);
        let name = |s: u64| format!("{} s", grouped(s));
        (first..=to_s / step).map(|i| (self.x(i * step * 1_000_000) / 10.0, name(i * step))).collect()
    }
}

/// The next of 1, 2, 5, 10, 20, ...
pub(super) fn nice(least: u64) -> u64 {
    let decade = 10_u64.pow(least.max(1).ilog10());
    [1, 2, 5, 10].map(|n| n * decade).into_iter().find(|step| *step >= least).unwrap_or(decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(seconds: u32) -> Vec<Second> {
        (0..seconds).map(|at_s| Second { at_s, delivered: 10, lost: 1, ..Second::default() }).collect()
    }

    #[test]
    fn a_long_run_is_few_points_and_loses_nothing() {
        let mut series = series(7_201);
        series[5_000] = Second { delivered: 0, lost: 9, p99_us: 7, ..series[5_000] };
        let frame = Frame::new(&series, &[]);
        assert!(frame.points.len() <= POINTS_MAX, "{}", frame.points.len());
        assert_eq!(frame.points.iter().map(|point| point.lost).sum::<u64>(), 7_209);
        let dip = frame.points.iter().find(|point| point.delivered_min == 0).expect("the dip");
        assert_eq!((dip.delivered, dip.p99_us), (10, 7));
        assert!(frame.points.last().is_some_and(|point| point.to <= 1000.0));
    }

    #[test]
    fn ticks_are_few_and_round() {
        let names = |seconds| {
            let ticks = Frame::new(&series(seconds), &[]).ticks();
            ticks.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(1), "0 s 1 s");
        assert_eq!(names(61), "0 s 10 s 20 s 30 s 40 s 50 s 60 s");
        assert_eq!(names(7_200), "0 s 1,000 s 2,000 s 3,000 s 4,000 s 5,000 s 6,000 s 7,000 s");
    }

    #[test]
    fn faults_at_once_stand_in_rows() {
        let fault = |start_us| FaultResult { name: "storm 1".into(), start_us, ..FaultResult::default() };
        let faults = [fault(0), fault(1_000_000), fault(30_000_000), fault(90_000_000)];
        let frame = Frame::new(&series(60), &faults);
        assert_eq!(frame.bands.iter().map(|band| band.lane).collect::<Vec<_>>(), [0, 1, 0, 0]);
        assert!((frame.bands[3].from - 1000.0).abs() < 1e-9, "a fault after the last second is on the axis");
    }
}
