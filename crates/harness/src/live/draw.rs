//! The dashboard's picture: made for 80 columns and 24 lines, and larger where there is room.

use std::collections::BTreeMap;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    symbols::Marker,
    text::{Line, Span},
    widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph},
};
use ws_analysis::report::{Counts, Verdict, grouped};

use super::course::Moment;
use crate::nemesis::Bouts;

/// Everything that is to be seen at one moment.
pub(super) struct Scene {
    pub(super) title: String,
    pub(super) seed: u64,
    pub(super) step: &'static str,
    /// How far the step is.
    pub(super) done: u64,
    pub(super) of: u64,
    /// Since messages are due.
    pub(super) sending_s: Option<f64>,
    pub(super) duration_s: f64,
    pub(super) connections: u32,
    pub(super) connect_rate: f64,
    /// Messages a second at this moment.
    pub(super) asked: f64,
    pub(super) standing: Option<(Verdict, String)>,
    pub(super) moments: Vec<Moment>,
    pub(super) lag_us: u64,
    pub(super) cpu_share: f64,
    pub(super) workers: u32,
    /// Bytes a socket.
    pub(super) unread: u64,
    pub(super) counts: Counts,
    pub(super) open: u64,
    pub(super) incidents: BTreeMap<String, u32>,
    pub(super) faults: Bouts,
    pub(super) faults_planned: usize,
    /// What standard error would have said.
    pub(super) said: Option<String>,
}

/// The colors of the chart.
const P50: Color = Color::Cyan;
const P99: Color = Color::Yellow;
const FAULT: Color = Color::Magenta;

/// Lines of the boxes that do not grow.
const RATES_HEIGHT: u16 = 6;

/// Lines of the replicas and of what goes wrong, at least.
const LISTS_HEIGHT: u16 = 7;

/// Draws `scene`.
pub(super) fn draw(frame: &mut Frame, scene: &Scene) {
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(RATES_HEIGHT),
        Constraint::Fill(2),
        Constraint::Min(LISTS_HEIGHT),
        Constraint::Length(1),
    ]);
    let [head, verdict, numbers, chart, lists, foot] = rows.areas(frame.area());
    let halves = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]);
    let [rates, generator] = halves.areas(numbers);
    let [replicas, trouble] = halves.areas(lists);
    frame.render_widget(Paragraph::new(heading(scene)), head);
    frame.render_widget(Paragraph::new(standing(scene)), verdict);
    frame.render_widget(boxed("a second", rates_of(scene)), rates);
    frame.render_widget(boxed("generator", generator_of(scene)), generator);
    latency(frame, scene, chart);
    frame.render_widget(boxed("replicas", replicas_of(scene, replicas.height)), replicas);
    frame.render_widget(boxed("faults and errors", trouble_of(scene)), trouble);
    frame.render_widget(Paragraph::new(footing(scene)), foot);
}

fn boxed<'a>(title: &'a str, lines: Vec<Line<'a>>) -> Paragraph<'a> {
    Paragraph::new(lines).block(Block::bordered().border_style(Style::new().dark_gray()).title(title))
}

fn heading(scene: &Scene) -> Line<'_> {
    let done = match scene.sending_s {
        Some(s) if matches!(scene.step, "sending" | "holding") => {
            format!("{} of {}", clock(s.min(scene.duration_s)), clock(scene.duration_s))
        }
        _ => format!("{} of {}", grouped(scene.done.min(scene.of)), grouped(scene.of)),
    };
    Line::from(vec![
        Span::styled(format!(" {}", scene.title), Modifier::BOLD),
        Span::raw(format!("   {} {done}", scene.step)),
        Span::styled(format!("   seed {}", scene.seed), Style::new().dark_gray()),
    ])
}

fn standing(scene: &Scene) -> Line<'_> {
    let Some((verdict, why)) = &scene.standing else { return Line::raw(" nothing was delivered yet") };
    let (word, color) = match verdict {
        Verdict::Pass => (" PASS so far ", Color::Green),
        Verdict::Fail => (" FAIL ", Color::Red),
        Verdict::Inconclusive => (" INCONCLUSIVE ", Color::Yellow),
    };
    let word = Span::styled(word, Style::new().fg(Color::Black).bg(color));
    Line::from(vec![Span::raw(" "), word, Span::raw(format!(" {why}"))])
}

fn rates_of(scene: &Scene) -> Vec<Line<'_>> {
    let last = scene.moments.last().cloned().unwrap_or_default();
    if scene.step == "connecting" {
        return vec![
            row("asked", format!("{} sockets", rate(scene.connect_rate))),
            row("opened", format!("{} sockets", rate(last.opened))),
        ];
    }
    let short = scene.asked > 0.0 && last.sent < scene.asked * 0.9 && scene.sending_s > Some(3.0);
    let sent = Style::new().fg(if short { Color::Yellow } else { Color::Reset });
    vec![
        row("asked", format!("{} messages", rate(scene.asked))),
        row("sent", format!("{} messages", rate(last.sent))).style(sent),
        row("acked", format!("{} messages", rate(last.acked))),
        row("delivered", format!("{} deliveries", rate(last.delivered))),
    ]
}

fn generator_of(scene: &Scene) -> Vec<Line<'_>> {
    let warned = |line: Line<'static>, bad: bool| {
        line.style(Style::new().fg(if bad { Color::Yellow } else { Color::Reset }))
    };
    let threads = if scene.workers == 1 { "worker" } else { "workers" };
    vec![
        warned(row("lag", format!("{} (99 in 100)", time(scene.lag_us))), scene.lag_us > 100_000),
        warned(
            row("busiest", format!("{:.0}% of a CPU, {} {threads}", scene.cpu_share * 100.0, scene.workers)),
            scene.cpu_share > 0.9,
        ),
        row("unread", format!("{} bytes a socket", grouped(scene.unread))),
        row("sockets", format!("{} of {} open", grouped(scene.open), grouped(scene.connections))),
    ]
}

/// The course of latencies; their last values in the title, in the colors of the lines.
#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn latency(frame: &mut Frame, scene: &Scene, area: Rect) {
    let most = usize::from(area.width.saturating_sub(12)).max(20);
    let seconds = scene.moments.len().clamp(20, most);
    let moments = &scene.moments[scene.moments.len().saturating_sub(seconds)..];
    let first = seconds - moments.len();
    let points = |place: usize| -> Vec<(f64, f64)> {
        let at = |(x, moment): (usize, &Moment)| Some((x as f64, moment.times?[place] as f64 / 1e3));
        (first..).zip(moments).filter_map(at).collect()
    };
    let (p50, p99) = (points(0), points(2));
    let highest = p99.iter().map(|(_, ms)| *ms).fold(0.0, f64::max).max(1.0) * 1.1;
    let line = |data, color| {
        Dataset::default()
            .data(data)
            .graph_type(GraphType::Line)
            .marker(Marker::Braille)
            .style(Style::new().fg(color))
    };
    let on = |(x, moment): (usize, &Moment)| moment.fault.then_some((x as f64, 0.0));
    let faults: Vec<_> = (first..).zip(moments).filter_map(on).collect();
    let lines = vec![
        line(&p99, P99),
        line(&p50, P50),
        line(&faults, FAULT).marker(Marker::Block).graph_type(GraphType::Scatter),
    ];
    let mut title = vec![Span::raw("delivery")];
    if let Some(last) = moments.iter().rev().find_map(|moment| moment.times) {
        let [p50, p90, p99, max] = last.map(time);
        let plain = Color::Reset;
        let parts = [("p50", p50, P50), ("p90", p90, plain), ("p99", p99, P99), ("max", max, plain)];
        title.extend(parts.map(|(name, value, color)| Span::styled(format!("   {name} {value}"), color)));
    }
    if !faults.is_empty() {
        title.push(Span::styled("   \u{2588} a fault", FAULT));
    }
    let label = |ms: f64| time((ms * 1e3) as u64);
    let chart = Chart::new(lines)
        .block(Block::bordered().border_style(Style::new().dark_gray()).title(Line::from(title)))
        .x_axis(
            Axis::default()
                .bounds([0.0, seconds as f64 - 1.0])
                .labels([format!("{seconds} s ago"), "now".into()]),
        )
        .y_axis(Axis::default().bounds([0.0, highest]).labels(["0".to_owned(), label(highest)]));
    frame.render_widget(chart, area);
}

fn replicas_of(scene: &Scene, height: u16) -> Vec<Line<'_>> {
    let Some(last) = scene.moments.last().filter(|last| !last.replicas.is_empty()) else {
        return vec![Line::styled("not known yet", Style::new().dark_gray())];
    };
    let fit = usize::from(height.saturating_sub(2)).max(1);
    let all = last.replicas.len();
    let shown = if all > fit { fit - 1 } else { all };
    let line = |(name, (open, delivered)): (&String, &(u32, f64))| {
        if *open == 0 {
            return Line::styled(format!("{:<13.13} nobody is connected", clean(name)), Color::Red);
        }
        Line::raw(format!("{:<13.13}{:>7} open{:>9}/s", clean(name), grouped(*open), rate(*delivered)))
    };
    // The order of names with numbers.
    let mut replicas: Vec<_> = last.replicas.iter().collect();
    replicas.sort_by_key(|(name, _)| (name.len(), (*name).clone()));
    let mut lines: Vec<Line> = replicas.into_iter().take(shown).map(line).collect();
    if all > shown {
        lines.push(Line::raw(format!("and {} more", all - shown)));
    }
    lines
}

fn trouble_of(scene: &Scene) -> Vec<Line<'_>> {
    let counts = &scene.counts;
    let (Bouts { on, over }, planned) = (&scene.faults, scene.faults_planned);
    let mut lines: Vec<Line> = on.iter().map(|name| Line::styled(format!("on: {name}"), FAULT)).collect();
    match over.last() {
        Some(last) => lines.push(Line::raw(format!("over: {} of {planned}, last {last}", over.len()))),
        None if lines.is_empty() && planned > 0 => {
            lines.push(Line::raw(format!("no fault was on yet, of {planned} planned")));
        }
        None => {}
    }
    let bad = [
        ("duplicated", counts.duplicated),
        ("reordered", counts.reordered),
        ("corrupted", counts.corrupted),
        ("in a wrong room", counts.leaked),
        ("sent by nobody", counts.created),
        ("late", counts.late),
        ("refused", counts.refused),
        ("not sent, its socket gone", counts.skipped),
    ];
    let seen = bad.into_iter().filter(|(_, count)| *count > 0);
    lines.extend(seen.map(|(what, count)| Line::styled(format!("{} {what}", grouped(count)), Color::Red)));
    let mut incidents: Vec<_> = scene.incidents.iter().collect();
    incidents.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    lines.extend(
        incidents.into_iter().map(|(what, count)| Line::raw(format!("{} {}", grouped(*count), clean(what)))),
    );
    if lines.is_empty() {
        lines.push(Line::styled("none", Style::new().dark_gray()));
    }
    lines
}

fn footing(scene: &Scene) -> Line<'_> {
    match &scene.said {
        Some(said) => Line::styled(format!(" {}", clean(said)), Modifier::REVERSED),
        None => {
            Line::styled(" q or Ctrl-C: stop and judge; once more: stop at once", Style::new().dark_gray())
        }
    }
}

fn row(name: &str, value: String) -> Line<'static> {
    Line::raw(format!("{name:<10} {value}"))
}

/// What servers say may hold what moves a terminal's cursor.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
fn rate(a_second: f64) -> String {
    if a_second > 0.0 && a_second < 10.0 {
        format!("{a_second:.1}")
    } else {
        grouped(a_second.round() as u64)
    }
}

/// Microseconds.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1000),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests;
