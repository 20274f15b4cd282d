//! The report for a person at a terminal of 80 columns.

use std::fmt::{self, Write as _};

use super::{
    Counts, MatrixCell, PropertyResult, Report, Summary, Verdict,
    words::{duration, grouped, percent, seconds},
};

/// The text, with colours if asked for.
#[must_use]
pub fn render(report: &Report, color: bool) -> String {
    let mut text = String::new();
    write(report, &Style { color }, &mut text).expect("a string takes everything");
    text
}

fn write(report: &Report, style: &Style, out: &mut String) -> fmt::Result {
    target(report, out)?;
    if report.counts.sent > 0 {
        properties(&report.properties, style, out)?;
    }
    examples(&report.properties, out)?;
    latency(report, out)?;
    matrix(&report.replica_matrix, style, out)?;
    cost(report, out)?;
    for note in &report.notes {
        paragraph(out, "  note: ", note)?;
    }
    verdict(report, style, out)
}

fn target(report: &Report, out: &mut String) -> fmt::Result {
    let target = &report.target;
    let counts = &report.counts;
    let redis = target.redis.as_ref().map(|redis| format!(" ({redis})")).unwrap_or_default();
    writeln!(out, "{} {}  seed {}", report.tool, report.version, report.seed)?;
    writeln!(out)?;
    writeln!(out, "  target       {}, {}{redis}", target.protocol, target.broker)?;
    let replicas = target.replicas.iter().map(|r| format!("{} {}", r.node, r.connections));
    paragraph(out, "  replicas     ", &replicas.collect::<Vec<_>>().join(", "))?;
    if !target.bugs.is_empty() {
        paragraph(out, "  bugs         ", &format!("{} (broken on purpose)", target.bugs.join(", ")))?;
    }
    let (connections, rooms) = (grouped(counts.connections), grouped(counts.rooms));
    writeln!(out, "  sockets      {connections} in {rooms} rooms, open in {:.1} s", report.phases.connect_s)?;
    let Counts { sent, acked, expected, delivered, lost, duplicated, .. } = *counts;
    if sent == 0 {
        writeln!(out, "  messages     none sent")?;
        return writeln!(out);
    }
    let unacked = match (counts.refused, counts.unanswered) {
        (0, 0) => String::new(),
        (refused, unanswered) => {
            format!(", {} refused, {} unanswered", grouped(refused), grouped(unanswered))
        }
    };
    writeln!(out, "  messages     {} sent, {} acked{unacked}", grouped(sent), grouped(acked))?;
    let [expected, delivered, lost, duplicated] = [expected, delivered, lost, duplicated].map(grouped);
    writeln!(
        out,
        "  deliveries   {expected} expected, {delivered} delivered, {lost} lost, {duplicated} twice"
    )?;
    writeln!(out)
}

fn properties(properties: &[PropertyResult], style: &Style, out: &mut String) -> fmt::Result {
    for property in properties {
        let PropertyResult { id, name, unit, .. } = property;
        let (checked, violations) = (grouped(property.checked), grouped(property.violations));
        let said = match property.verdict {
            Verdict::Pass => format!("{checked} {unit}"),
            Verdict::Fail => format!("{violations} violations in {checked} {unit}"),
            Verdict::Inconclusive => "nothing to check".into(),
        };
        writeln!(out, "  {} {id:<4} {name:<18} {said}", style.mark(property.verdict))?;
    }
    writeln!(out)
}

fn examples(properties: &[PropertyResult], out: &mut String) -> fmt::Result {
    for property in properties.iter().filter(|property| !property.examples.is_empty()) {
        writeln!(out, "  {} {}, for example:", property.id, property.name)?;
        for example in property.examples.iter().take(3) {
            let message = example.message.as_deref().unwrap_or("a message");
            let sent = match (&example.sender, &example.from) {
                (Some(sender), Some(from)) => format!(" from session {sender} on {from}"),
                _ => String::new(),
            };
            let at = seconds(example.at_us);
            let said = format!(
                "{message}{sent} to session {} on {}, at {at}: {}",
                example.receiver, example.to, example.detail
            );
            paragraph(out, "    - ", &said)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn latency(report: &Report, out: &mut String) -> fmt::Result {
    let latency = &report.latency_us;
    let rows = [
        ("connect", &latency.connect),
        ("ack", &latency.ack),
        ("delivery", &latency.delivery),
        ("first member", &latency.fanout_first),
        ("last member", &latency.fanout_last),
        ("schedule lag", &report.generator.schedule_lag_us),
    ];
    let rows: Vec<_> = rows.into_iter().filter(|(_, summary)| summary.count > 0).collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {:<13}{:>9}{:>9}{:>9}{:>9}{:>9}", "latency", "p50", "p90", "p99", "p99.9", "max")?;
    for (name, summary) in rows {
        let Summary { p50, p90, p99, p999, max, .. } = *summary;
        let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(duration);
        writeln!(out, "  {name:<13}{p50:>9}{p90:>9}{p99:>9}{p999:>9}{max:>9}")?;
    }
    writeln!(out)
}

/// As a table while it fits into 80 columns, else only its incomplete cells.
fn matrix(cells: &[MatrixCell], style: &Style, out: &mut String) -> fmt::Result {
    let mut nodes: Vec<&str> = cells.iter().map(|cell| cell.from.as_str()).collect();
    nodes.dedup();
    let expected: u64 = cells.iter().map(|cell| cell.expected).sum();
    if nodes.len() < 2 || expected == 0 {
        return Ok(());
    }
    let short = |node: &str| node.chars().take(12).collect::<String>();
    if nodes.len() <= 5 {
        write!(out, "  {:<14}", "delivered")?;
        nodes.iter().try_for_each(|node| write!(out, "{:>12}", format!("> {}", short(node))))?;
        writeln!(out)?;
        for row in cells.chunks(nodes.len()) {
            write!(out, "  {:<14}", short(&row[0].from))?;
            for cell in row {
                let part =
                    if cell.expected == 0 { "-".into() } else { percent(cell.delivered, cell.expected) };
                write!(out, "{}", style.cell(&format!("{part:>12}"), cell.delivered == cell.expected))?;
            }
            writeln!(out)?;
        }
    } else {
        let whole = cells.iter().filter(|cell| cell.delivered == cell.expected).count();
        writeln!(out, "  {whole} of {} replica pairs complete", cells.len())?;
        for cell in cells.iter().filter(|cell| cell.delivered != cell.expected) {
            let part = percent(cell.delivered, cell.expected);
            writeln!(out, "    {} > {}  {part} of {}", cell.from, cell.to, grouped(cell.expected))?;
        }
    }
    writeln!(out)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn cost(report: &Report, out: &mut String) -> fmt::Result {
    let delivered = report.counts.delivered;
    let connections = u64::from(report.counts.connections).max(1);
    let generator = super::ProcessUse {
        cpu_seconds: report.generator.cpu_seconds,
        rss_bytes: report.generator.rss_bytes,
    };
    let parts =
        [("server", report.cluster.server), ("redis", report.cluster.redis), ("generator", Some(generator))];
    for (name, part) in parts {
        let Some(part) = part else { continue };
        write!(out, "  {name:<13}{:.2} s CPU", part.cpu_seconds)?;
        if delivered > 0 {
            write!(out, ", {:.1} us a delivery", part.cpu_seconds * 1e6 / delivered as f64)?;
        }
        let mebibytes = part.rss_bytes as f64 / 1048576.0;
        write!(out, ", {mebibytes:.0} MiB")?;
        if name != "redis" {
            write!(out, " ({:.1} KiB a socket)", part.rss_bytes as f64 / 1024.0 / connections as f64)?;
        }
        writeln!(out)?;
    }
    if delivered > 0 && report.phases.send_s > 0.0 {
        writeln!(
            out,
            "  {:<13}{} a second",
            "deliveries",
            grouped((delivered as f64 / report.phases.send_s) as u64)
        )?;
    }
    writeln!(out)
}

fn verdict(report: &Report, style: &Style, out: &mut String) -> fmt::Result {
    if !report.notes.is_empty() {
        writeln!(out)?;
    }
    let word = match report.verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
    };
    let word = style.paint(report.verdict, word);
    match report.reasons.as_slice() {
        [] if report.counts.expected == 0 => writeln!(out, "{word}"),
        [] => {
            let counts = &report.counts;
            let (sent, owed) = (grouped(counts.sent), grouped(counts.expected));
            writeln!(out, "{word}  each of {sent} messages reached each of its members exactly once,")?;
            writeln!(out, "      {owed} deliveries in all")
        }
        reasons => {
            writeln!(out, "{word}")?;
            reasons.iter().try_for_each(|reason| paragraph(out, "  - ", reason))
        }
    }
}

/// Wraps at 80 columns, under a hanging indent as wide as `prefix`.
fn paragraph(out: &mut String, prefix: &str, text: &str) -> fmt::Result {
    let indent = " ".repeat(prefix.len());
    let mut column = prefix.len();
    out.push_str(prefix);
    for (i, word) in text.split(' ').enumerate() {
        if i > 0 && column + 1 + word.len() > 80 {
            write!(out, "\n{indent}")?;
            column = indent.len();
        } else if i > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    writeln!(out)
}

struct Style {
    color: bool,
}

impl Style {
    fn mark(&self, verdict: Verdict) -> String {
        let mark = match verdict {
            Verdict::Pass => "ok  ",
            Verdict::Fail => "FAIL",
            Verdict::Inconclusive => "-   ",
        };
        self.paint(verdict, mark)
    }

    fn cell(&self, text: &str, whole: bool) -> String {
        if whole { text.to_owned() } else { self.paint(Verdict::Fail, text) }
    }

    fn paint(&self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            Verdict::Pass => "32",
            Verdict::Fail => "31;1",
            Verdict::Inconclusive => "33",
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
