//! Latencies by percentile: as far to the right as there were times enough to tell.

use std::fmt::{self, Write as _};

use super::{
    super::{super::Report, markup::section},
    Chart, Log,
};
use crate::stats::Times;

/// Points of a line for each nine.
const POINTS: u32 = 24;

/// A latency by its name in a report, what people call it, and its class.
type Line = (&'static str, &'static str, &'static str);

/// At most three, that they are told apart: by their dashes too.
const LINES: [Line; 3] =
    [("delivery", "delivery", "p99"), ("ack", "ack", "p50"), ("connect", "connect", "connect")];

/// The percentiles of deliveries, acks and connects.
pub(in super::super) fn percentiles(report: &Report, out: &mut String) -> fmt::Result {
    let Some(histograms) = &report.histograms else { return Ok(()) };
    let named = histograms.latencies.named();
    let times = |(name, ..): &Line| named.iter().find(|(it, _)| it == name).map(|(_, times)| *times);
    let lines: Vec<(&Line, &Times)> = LINES
        .iter()
        .filter_map(|line| Some((line, times(line)?)))
        .filter(|(_, times)| times.count() > 0)
        .collect();
    let Some(most) = lines.iter().map(|(_, times)| times.count()).max() else { return Ok(()) };
    let axis = Axis { nines: nines(most) };
    let least = lines.iter().map(|(_, times)| times.quantile(0.0)).min().unwrap_or(1);
    let highest = lines.iter().map(|(_, times)| times.max()).max().unwrap_or(1);
    let scale = Log::new(least, highest);
    let (mut paths, mut key) = (String::new(), String::new());
    for ((_, said, class), times) in &lines {
        write!(paths, "<path class=\"line {class}\" d=\"{}\"/>", axis.path(times, &scale))?;
        write!(key, "<span class=\"key {class}\">{said}</span>")?;
    }
    let chart = Chart {
        id: "percentiles",
        title: "Latency by percentile",
        said: "The same percentiles as in the table of latencies, and all between them.".into(),
        key: key + "<small>both scales logarithmic</small>",
        ticks: scale.ticks(),
        lines: paths,
        lost: false,
    };
    let lead = "What part of the times was no longer than that. A flat line is a steady server; a step near the right \
                edge is what few had to wait for.";
    section(out, "Percentiles", lead, |out| chart.write(None, &axis.ticks(), out))
}

/// How many nines so many times can tell.
fn nines(count: u64) -> u32 {
    count.ilog10().clamp(1, 6)
}

/// From the shortest time at the left edge to so many nines at the right one.
struct Axis {
    nines: u32,
}

impl Axis {
    /// A line in steps would suggest more than is known between two points.
    fn path(&self, times: &Times, scale: &Log) -> String {
        let own = self.nines.min(nines(times.count()));
        let mut path = String::new();
        for point in 0..=own * POINTS {
            let part = f64::from(point) / f64::from(POINTS);
            let share = 1.0 - 10_f64.powf(-part);
            let x = part * 1000.0 / f64::from(self.nines);
            let start = if point == 0 { "M" } else { "L" };
            write!(path, "{start}{x:.1} {:.1}", scale.y(times.quantile(share)))
                .expect("a string takes everything");
        }
        path
    }

    /// Half, and each nine, in percent of the width.
    fn ticks(&self) -> Vec<(f64, String)> {
        let x = |nines: f64| nines * 100.0 / f64::from(self.nines);
        let nine = |nines: u32| {
            let decimals = nines.saturating_sub(2) as usize;
            (x(nines.into()), format!("{:.decimals$}%", 100.0 - 100.0 / 10_f64.powi(nines as i32)))
        };
        let mut ticks = vec![(x(2_f64.log10()), "50%".into())];
        ticks.extend((1..=self.nines).map(nine));
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_nines_as_times_can_tell() {
        assert_eq!([1, 9, 100, 99_999, u64::MAX].map(nines), [1, 1, 2, 4, 6]);
        let names: Vec<String> = Axis { nines: 4 }.ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["50%", "90%", "99%", "99.9%", "99.99%"]);
    }

    #[test]
    fn a_line_ends_where_its_times_do() {
        let mut times = Times::fine();
        (1..=100).for_each(|us| times.record(us * 100));
        let path = Axis { nines: 4 }.path(&times, &Log::new(100, 10_000));
        assert!(path.starts_with("M0.0 100.0L"), "the shortest, at the bottom: {path}");
        assert!(path.contains("L500.0 0.2"), "the 99th of a hundred at two nines of four: {path}");
        assert_eq!(path.matches('L').count(), 2 * POINTS as usize);
    }
}
