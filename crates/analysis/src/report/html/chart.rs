//! The run over time: three charts on one time axis, with the faults as bands behind them; and its latencies by percentile.
//!
//! A chart is as wide as its reader's screen, and its text is not stretched: positions are parts of the width in an SVG
//! without a view box, and only the lines lie in an inner one that is stretched.

use std::fmt::{self, Write as _};

use super::{
    super::{
        FaultResult, Report,
        words::{count, duration, grouped, seconds},
    },
    faults::letter,
    markup::{esc, section, table},
};

mod curve;
mod frame;

pub(super) use curve::percentiles;
use frame::{Frame, Point};

/// Height of the plot itself.
const PLOT: usize = 150;
/// Height of what hangs below the zero line for losses.
const LOST: usize = 26;
/// Height of a row of fault letters.
const LANE: usize = 20;

/// Deliveries, latency and connections over time.
pub(super) fn charts(report: &Report, out: &mut String) -> fmt::Result {
    if report.series.is_empty() {
        return Ok(());
    }
    let frame = Frame::new(&report.series, &report.faults);
    let mut lead = match frame.seconds_each {
        1 => "By second of the run.".into(),
        n => format!("By second of the run; a point stands for {n} s and shows the worst of them."),
    };
    if !frame.bands.is_empty() {
        lead += " Shaded is a fault, from injection to heal; \u{25be} is where it was seen to take effect.";
    }
    section(out, "Over time", &lead, |out| {
        legend(&frame, out)?;
        deliveries(&frame, out)?;
        latency(&frame, out)?;
        connections(&frame, out)?;
        numbers(&frame, out)
    })
}

/// The faults by letter: on a narrow screen there is no room for more than the letters inside of the charts.
fn legend(frame: &Frame, out: &mut String) -> fmt::Result {
    if frame.bands.is_empty() {
        return Ok(());
    }
    let narrow = if frame.bands.iter().all(|band| band.named) { " narrow" } else { "" };
    let many = if frame.bands.len() > 8 { " many" } else { "" };
    writeln!(out, "<ul class=\"legend{narrow}{many}\">")?;
    for band in &frame.bands {
        let FaultResult { name, on, .. } = band.fault;
        writeln!(
            out,
            "<li><b class=\"badge\">{}</b> {} <small>on {}</small></li>",
            letter(band.index),
            esc(name),
            esc(&on.join(", "))
        )?;
    }
    out.write_str("</ul>\n")
}

fn deliveries(frame: &Frame, out: &mut String) -> fmt::Result {
    let scale = Linear::new(frame.most(|point| point.delivered));
    let lost: u64 = frame.points.iter().map(|point| point.lost).sum();
    let y = |value: u64| Some(scale.y(value));
    let area = frame.area(|point| y(point.delivered_min));
    let line = frame.steps(|point| y(point.delivered_min));
    let mut lines = format!("<path class=\"area\" d=\"{area}\"/><path class=\"line\" d=\"{line}\"/>");
    if frame.seconds_each > 1 {
        let most = frame.area(|point| y(point.delivered));
        write!(lines, "<path class=\"area\" d=\"{most}\"/>")?;
    }
    let key = match (lost, frame.seconds_each) {
        (0, 1) => String::new(),
        (0, _) => "<span class=\"key\">least</span><span class=\"key most\">most</span>".into(),
        (lost, _) => format!("<span class=\"key lost\">{} lost, by when they were due</span>", grouped(lost)),
    };
    let chart = Chart {
        id: "deliveries",
        title: "Deliveries a second",
        said: format!(
            "At most {} a second; {} lost.",
            grouped(frame.most(|point| point.delivered)),
            grouped(lost)
        ),
        key,
        ticks: scale.ticks(),
        lines,
        lost: lost > 0,
    };
    chart.write(Some(frame), &frame.ticks(), out)
}

fn latency(frame: &Frame, out: &mut String) -> fmt::Result {
    let came = || frame.points.iter().filter(|point| point.delivered > 0);
    let Some(least) = came().map(|point| point.p50_us).min() else { return Ok(()) };
    let most = came().map(|point| point.p99_us).max().unwrap_or(least);
    let scale = Log::new(least, most);
    let y = |point: &Point, us: u64| (point.delivered > 0).then(|| scale.y(us));
    let p99 = frame.steps(|point| y(point, point.p99_us));
    let p50 = frame.steps(|point| y(point, point.p50_us));
    let chart = Chart {
        id: "latency",
        title: "Latency of deliveries",
        said: format!("p50 from {}, p99 up to {}; a logarithmic scale.", duration(least), duration(most)),
        key: "<span class=\"key p99\">p99</span><span class=\"key p50\">p50</span><small>logarithmic</small>"
            .into(),
        ticks: scale.ticks(),
        lines: format!("<path class=\"line p50\" d=\"{p50}\"/><path class=\"line p99\" d=\"{p99}\"/>"),
        lost: false,
    };
    chart.write(Some(frame), &frame.ticks(), out)
}

fn connections(frame: &Frame, out: &mut String) -> fmt::Result {
    let scale = Linear::new(frame.most(|point| point.open.into()));
    let y = |point: &Point| Some(scale.y(point.open.into()));
    let (area, line) = (frame.area(y), frame.steps(y));
    let least = frame.points.iter().map(|point| point.open).min().unwrap_or(0);
    let chart = Chart {
        id: "connections",
        title: "Open connections",
        said: format!("Between {} and {}.", grouped(least), grouped(frame.most(|point| point.open.into()))),
        key: String::new(),
        ticks: scale.ticks(),
        lines: format!("<path class=\"area open\" d=\"{area}\"/><path class=\"line open\" d=\"{line}\"/>"),
        lost: false,
    };
    chart.write(Some(frame), &frame.ticks(), out)
}

/// The same as numbers, for those who do not see charts or want them exactly.
fn numbers(frame: &Frame, out: &mut String) -> fmt::Result {
    let columns = [">second", ">sent", ">acked", ">delivered", ">lost", ">p50", ">p99", ">open"];
    out.write_str("<details class=\"numbers\"><summary>As numbers</summary>\n")?;
    table(out, "The run by second", &columns, |out| {
        for point in &frame.points {
            let time = |us: u64| if point.delivered > 0 { duration(us) } else { String::new() };
            let lost = if point.lost > 0 { " bad" } else { "" };
            write!(out, "<tr><th scope=\"row\" class=\"n\">{}</th>", grouped(point.at_s))?;
            for sum in [point.sent, point.acked, point.delivered_sum] {
                write!(out, "<td class=\"n\">{}</td>", grouped(sum))?;
            }
            writeln!(
                out,
                "<td class=\"n{lost}\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                grouped(point.lost),
                time(point.p50_us),
                time(point.p99_us),
                grouped(point.open)
            )?;
        }
        Ok(())
    })?;
    out.write_str("</details>\n")
}

/// One chart; `ticks` and `lines` lie between 0 at the top and 100 at the bottom.
struct Chart {
    id: &'static str,
    title: &'static str,
    /// What somebody has to know who does not see it.
    said: String,
    key: String,
    ticks: Vec<(f64, String)>,
    lines: String,
    lost: bool,
}

impl Chart {
    /// On the time axis of `frame`, or on another that `across` tells, in percent of the width.
    fn write(&self, frame: Option<&Frame>, across: &[(f64, String)], out: &mut String) -> fmt::Result {
        let Self { id, title, said, key, lines, .. } = self;
        let bands = || frame.into_iter().flat_map(|frame| &frame.bands);
        let top = frame.map_or(0, |frame| frame.lanes) * LANE + 6;
        let bottom = top + PLOT + if self.lost { LOST } else { 0 };
        write!(
            out,
            "<figure class=\"chart\"><figcaption><b>{title}</b>{key}</figcaption>\n\
             <svg role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" width=\"100%\" height=\"{}\">\
             <title id=\"{id}-title\">{title}</title><desc id=\"{id}-desc\">{}</desc>\n",
            bottom + 22,
            esc(said)
        )?;
        bands().try_for_each(|band| band.shade(top, bottom - top, out))?;
        self.grid(top, out)?;
        writeln!(
            out,
            "<svg y=\"{top}\" width=\"100%\" height=\"{PLOT}\" viewBox=\"0 0 1000 100\" preserveAspectRatio=\"none\">\
             {lines}</svg>"
        )?;
        if let Some(frame) = frame.filter(|_| self.lost) {
            lost(frame, top + PLOT, out)?;
        }
        for (i, (x, text)) in across.iter().enumerate() {
            let (minor, anchor) = (if i % 2 == 1 { " minor" } else { "" }, anchor(*x));
            writeln!(
                out,
                "<text class=\"tick{minor}\" x=\"{x:.2}%\" y=\"{}\" text-anchor=\"{anchor}\">{text}</text>",
                bottom + 17
            )?;
        }
        bands().try_for_each(|band| band.label(out))?;
        out.write_str("</svg></figure>\n")
    }

    fn grid(&self, top: usize, out: &mut String) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let y = |part: f64| top as f64 + part * PLOT as f64 / 100.0;
        for (part, text) in &self.ticks {
            let y = y(*part);
            let axis = if *part >= 100.0 { " axis" } else { "" };
            writeln!(
                out,
                "<line class=\"grid{axis}\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                y + 4.0,
                esc(text)
            )?;
        }
        Ok(())
    }
}

/// Losses hang below the zero line, on a scale of their own: the root, so that one beside a thousand is still seen.
#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn lost(frame: &Frame, zero: usize, out: &mut String) -> fmt::Result {
    let most = frame.most(|point| point.lost).max(1) as f64;
    writeln!(out, "<text class=\"tick lost\" x=\"-8\" y=\"{}\" text-anchor=\"end\">lost</text>", zero + 18)?;
    for point in frame.points.iter().filter(|point| point.lost > 0) {
        let height = 5.0 + (LOST as f64 - 8.0) * (point.lost as f64 / most).sqrt();
        writeln!(
            out,
            "<rect class=\"lost\" x=\"{:.2}%\" width=\"{:.2}%\" y=\"{}\" height=\"{height:.1}\"><title>{} s: {}</title></rect>",
            point.from / 10.0,
            ((point.to - point.from) / 10.0).max(0.25),
            zero + 1,
            grouped(point.at_s),
            esc(&format!("{} lost", grouped(point.lost)))
        )?;
    }
    Ok(())
}

/// Text at the edges ends there.
fn anchor(x: f64) -> &'static str {
    match x {
        x if x < 0.5 => "start",
        x if x > 99.0 => "end",
        _ => "middle",
    }
}

impl frame::Band<'_> {
    /// From the injection to the heal; darker from when it was seen to take effect, and marked there.
    fn shade(&self, top: usize, height: usize, out: &mut String) -> fmt::Result {
        let FaultResult { name, start_us, effective_us, healed_us, .. } = self.fault;
        let effect =
            effective_us.map_or_else(|| "no effect seen".into(), |us| format!("effective {}", seconds(us)));
        let healed =
            healed_us.map_or_else(|| "still on at the end".into(), |us| format!("healed {}", seconds(us)));
        let class = if effective_us.is_some() { "band" } else { "band unseen" };
        let (from, to) = (self.from / 10.0, self.to / 10.0);
        write!(
            out,
            "<g><title>{} {}: on {}, {effect}, {healed}</title>\
             <rect class=\"{class}\" x=\"{from:.2}%\" width=\"{:.2}%\" y=\"{top}\" height=\"{height}\"/>\
             <line class=\"edge\" x1=\"{from:.2}%\" x2=\"{from:.2}%\" y1=\"{}\" y2=\"{}\"/>",
            letter(self.index),
            esc(name),
            seconds(*start_us),
            (to - from).max(0.2),
            self.lane * LANE + 16,
            top + height
        )?;
        if let Some(effective) = self.effective {
            let x = effective / 10.0;
            write!(
                out,
                "<rect class=\"band\" x=\"{x:.2}%\" width=\"{:.2}%\" y=\"{top}\" height=\"{height}\"/>\
                 <svg x=\"{x:.2}%\" y=\"{top}\" overflow=\"visible\"><path class=\"effective\" d=\"M-4 0h8l-4 6z\"/></svg>",
                (to - x).max(0.2)
            )?;
        }
        out.write_str("</g>\n")
    }

    fn label(&self, out: &mut String) -> fmt::Result {
        let text = letter(self.index);
        let width = 10 + 8 * text.len();
        // At the right edge the letter stands before its line.
        let left = if self.from > 955.0 { -f64::from(u32::try_from(width).unwrap_or(0)) } else { 0.0 };
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let middle = left + width as f64 / 2.0;
        write!(
            out,
            "<svg x=\"{:.2}%\" y=\"{}\" overflow=\"visible\"><rect class=\"badge\" x=\"{left}\" width=\"{width}\" height=\"16\" rx=\"3\"/>\
             <text class=\"badge\" x=\"{middle}\" y=\"12\" text-anchor=\"middle\">{text}</text>",
            self.from / 10.0,
            self.lane * LANE
        )?;
        if self.named {
            write!(
                out,
                "<text class=\"name\" x=\"{}\" y=\"12\">{}</text>",
                width + 5,
                esc(&self.fault.name)
            )?;
        }
        out.write_str("</svg>\n")
    }
}

/// From zero up, in steps of 1, 2 or 5.
struct Linear {
    step: u64,
    steps: u64,
}

impl Linear {
    fn new(most: u64) -> Self {
        let step = frame::nice(most.div_ceil(4));
        Self { step, steps: most.div_ceil(step).max(1) }
    }

    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    fn y(&self, value: u64) -> f64 {
        100.0 - value as f64 * 100.0 / (self.step * self.steps) as f64
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let short = |value: u64| match value {
            1_000_000.. if value.is_multiple_of(100_000) => tenths(value / 100_000, "M"),
            10_000.. if value.is_multiple_of(100) => tenths(value / 100, "k"),
            value => grouped(value),
        };
        (0..=self.steps).map(|i| (self.y(i * self.step), short(i * self.step))).collect()
    }
}

fn tenths(tenths: u64, unit: &str) -> String {
    match tenths % 10 {
        0 => format!("{}{unit}", tenths / 10),
        rest => format!("{}.{rest}{unit}", tenths / 10),
    }
}

/// Whole decades of microseconds.
struct Log {
    first: u32,
    last: u32,
}

impl Log {
    fn new(least: u64, most: u64) -> Self {
        let first = least.max(1).ilog10();
        let last = most.max(1).ilog10() + u32::from(most > 10_u64.pow(most.max(1).ilog10()));
        Self { first, last: last.max(first + 1) }
    }

    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    fn y(&self, us: u64) -> f64 {
        let part = ((us.max(1) as f64).log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        100.0 - 100.0 * part.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let name = |power: u32| match (power / 3, 10_u64.pow(power % 3)) {
            (0, n) => format!("{n} \u{b5}s"),
            (1, n) => format!("{n} ms"),
            (2, n) => format!("{n} s"),
            _ => count(10_u64.pow(power - 6), "s").replace("ss", "s"),
        };
        (self.first..=self.last).map(|power| (self.y(10_u64.pow(power)), name(power))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_have_few_round_ticks() {
        let names =
            |ticks: Vec<(f64, String)>| ticks.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ");
        assert_eq!(names(Linear::new(0).ticks()), "0 1");
        assert_eq!(names(Linear::new(300).ticks()), "0 100 200 300");
        assert_eq!(names(Linear::new(15_800).ticks()), "0 5,000 10k 15k 20k");
        assert_eq!(names(Log::new(800, 3_300_000).ticks()), "100 µs 1 ms 10 ms 100 ms 1 s 10 s");
        assert_eq!(names(Log::new(1_000, 1_000).ticks()), "1 ms 10 ms");
        assert!((Log::new(100, 10_000).y(1_000) - 50.0).abs() < 1e-9);
    }
}
