//! The report for a person at a terminal of 80 columns.

use std::fmt::{self, Write as _};

use crate::threshold::ThresholdResult;

use super::{
    Back, BackFrom, Cause, Counts, FaultResult, MatrixCell, Memory, PropertyResult, Report, Summary, Verdict,
    words::{duration, grouped, one_line, percent, violation},
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
    faults(&report.faults, style, out)?;
    returns(&report.faults, style, out)?;
    // Who is to blame comes first.
    let is_fail = report.verdict == Verdict::Fail;
    if is_fail {
        causes(&report.causes, out)?;
    }
    if report.counts.sent > 0 {
        properties(&report.properties, style, out)?;
    }
    if !is_fail {
        causes(&report.causes, out)?;
    }
    examples(&report.properties, out)?;
    latency(report, out)?;
    matrix(&report.replica_matrix, style, out)?;
    cost(report, out)?;
    thresholds(&report.thresholds, style, out)?;
    for note in &report.notes {
        paragraph(out, "  note: ", note)?;
    }
    verdict(report, style, out)
}

fn target(report: &Report, out: &mut String) -> fmt::Result {
    let target = &report.target;
    let counts = &report.counts;
    writeln!(out, "{} {}  seed {}", report.tool, report.version, report.seed)?;
    writeln!(out)?;
    // Before all numbers: whoever reads no further knows what is wrong, and which replica is to blame.
    if let Some(reason) = report.reasons.first() {
        paragraph(out, "  verdict      ", &format!("{}: {reason}", word(report.verdict)))?;
    }
    paragraph(out, "  target       ", &target.summary())?;
    if !report.contract.is_empty() {
        paragraph(out, "  contract     ", &report.contract)?;
    }
    let replicas = target.replicas.iter().map(|r| format!("{} {}", r.node, r.connections));
    paragraph(out, "  replicas     ", &replicas.collect::<Vec<_>>().join(", "))?;
    if !target.bugs.is_empty() {
        paragraph(out, "  bugs         ", &format!("{} (broken on purpose)", target.bugs.join(", ")))?;
    }
    let (connections, rooms) = (grouped(counts.connections), grouped(counts.rooms));
    writeln!(out, "  sockets      {connections} in {rooms} rooms, open in {:.1} s", report.phases.connect_s)?;
    if !report.members.is_empty() {
        paragraph(out, "  shared by    ", &members(report))?;
    }
    let Counts { sent, acked, expected, delivered, lost, missed, duplicated, .. } = *counts;
    let unsent = match counts.skipped {
        0 => String::new(),
        skipped => format!(", {} not sent", grouped(skipped)),
    };
    if sent == 0 {
        writeln!(out, "  messages     none sent{unsent}")?;
        return writeln!(out);
    }
    let unacked = match (counts.refused, counts.unanswered) {
        (0, 0) => String::new(),
        (refused, unanswered) => {
            format!(", {} refused, {} unanswered", grouped(refused), grouped(unanswered))
        }
    };
    let acked = format!("{} sent, {} acked{unacked}{unsent}", grouped(sent), grouped(acked));
    paragraph(out, "  messages     ", &acked)?;
    let missed = if missed > 0 { format!(", {} missed", grouped(missed)) } else { String::new() };
    let [expected, delivered, lost, duplicated] = [expected, delivered, lost, duplicated].map(grouped);
    let deliveries =
        format!("{expected} expected, {delivered} delivered, {lost} lost{missed}, {duplicated} twice");
    paragraph(out, "  deliveries   ", &deliveries)?;
    writeln!(out)
}

/// How many at most are told by name.
const MEMBERS_MAX: usize = 8;

fn members(report: &Report) -> String {
    let members = &report.members;
    let mut said = match members.len() {
        many if many > MEMBERS_MAX => format!("{many} processes"),
        _ => {
            let lost = |lost: &Option<String>| if lost.is_some() { " (lost)" } else { "" };
            let each =
                members.iter().map(|one| format!("{} {}{}", one.name, one.connections, lost(&one.lost)));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    if let Some(error) = report.clock_error_us() {
        said += &format!("; clocks within {}", duration(error));
    }
    said
}

/// One line a fault; what does not fit into it is in the other forms.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn faults(faults: &[FaultResult], style: &Style, out: &mut String) -> fmt::Result {
    if faults.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {:<18}{:<12}{:>15}{:>8}  seen", "faults", "on", "from-to", "lost")?;
    for fault in faults {
        let on = match fault.on.as_slice() {
            [on] => short(on, 11),
            all => format!("{} of them", all.len()),
        };
        let span = match (fault.start_us, fault.healed_us) {
            (from, Some(to)) => format!("{:.1}-{:.1} s", from as f64 / 1e6, to as f64 / 1e6),
            (from, None) => format!("{:.1} s-end", from as f64 / 1e6),
        };
        let lost = format!("{:>8}", grouped(fault.lost));
        let seen = match (&fault.error, &fault.proof) {
            (Some(error), _) => short(error, 23),
            (None, Some(proof)) if fault.effective_us.is_some() => short(proof, 23),
            (None, _) if fault.effective_us.is_some() => "it took effect".into(),
            _ => "no effect".into(),
        };
        writeln!(
            out,
            "  {:<18}{on:<12}{span:>15}{}  {}",
            short(&fault.name, 17),
            style.cell(&lost, fault.lost == 0),
            style.cell(&seen, fault.effective_us.is_some() && fault.error.is_none())
        )?;
    }
    writeln!(out)
}

/// How those came back whom a fault had cut off.
fn returns(faults: &[FaultResult], style: &Style, out: &mut String) -> fmt::Result {
    let cut: Vec<(&FaultResult, &Back)> =
        faults.iter().filter_map(|fault| Some((fault, fault.back.as_ref()?))).collect();
    if cut.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "  {:<18}{:>10}{:>10}{:>10}{:>10}{:>8}  after",
        "back in room", "cut off", "50%", "95%", "100%", "never"
    )?;
    for (fault, back) in cut {
        let time = |us: Option<u64>| us.map_or_else(|| "-".into(), duration);
        let [half, most, all] = [back.p50_us, back.p95_us, back.p100_us].map(time);
        let never = format!("{:>8}", grouped(back.never));
        let from = match back.from {
            BackFrom::Injection => "injection",
            BackFrom::Heal => "heal",
        };
        writeln!(
            out,
            "  {:<18}{:>10}{half:>10}{most:>10}{all:>10}{}  {from}",
            short(&fault.name, 17),
            grouped(back.cut),
            style.cell(&never, back.never == 0)
        )?;
    }
    writeln!(out)
}

/// How many causes are worth a line.
const CAUSES_MAX: usize = 5;

fn causes(causes: &[Cause], out: &mut String) -> fmt::Result {
    if causes.is_empty() {
        return Ok(());
    }
    writeln!(out, "  missing, by cause:")?;
    for cause in causes.iter().take(CAUSES_MAX) {
        let allowed = if cause.allowed { " (allowed by the contract)" } else { "" };
        paragraph(out, "    - ", &format!("{}{allowed}", cause.said))?;
    }
    if causes.len() > CAUSES_MAX {
        writeln!(out, "    - and {} more", causes.len() - CAUSES_MAX)?;
    }
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

/// How much of a witness is shown.
const WITNESS_MAX: usize = 4;

fn examples(properties: &[PropertyResult], out: &mut String) -> fmt::Result {
    for property in properties.iter().filter(|property| !property.examples.is_empty()) {
        writeln!(out, "  {} {}, for example:", property.id, property.name)?;
        for example in property.examples.iter().take(3) {
            paragraph(out, "    - ", &violation(example))?;
            for line in example.witness.iter().take(WITNESS_MAX) {
                writeln!(out, "        {}", short(line, 72))?;
            }
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
    let error = report.clock_error_us().unwrap_or(0);
    let mut is_marked = false;
    for (name, summary) in rows {
        let Summary { p50, p90, p99, p999, max, .. } = *summary;
        write!(out, "  {name:<13}")?;
        for us in [p50, p90, p99, p999, max] {
            let is_vague = name == "delivery" && us < error;
            is_marked |= is_vague;
            write!(out, "{:>9}", format!("{}{}", if is_vague { "~" } else { "" }, duration(us)))?;
        }
        writeln!(out)?;
    }
    if is_marked {
        let error = duration(error);
        paragraph(out, "  ~ ", &format!("less than the clocks of two members may be apart ({error})"))?;
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
    if nodes.len() <= 5 {
        write!(out, "  {:<14}", "delivered")?;
        nodes.iter().try_for_each(|node| write!(out, "{:>12}", format!("> {}", short(node, 9))))?;
        writeln!(out)?;
        for row in cells.chunks(nodes.len()) {
            write!(out, "  {:<14}", short(&row[0].from, 13))?;
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
            let (from, to) = (short(&cell.from, 20), short(&cell.to, 20));
            writeln!(out, "    {from} > {to}  {part} of {}", grouped(cell.expected))?;
        }
    }
    writeln!(out)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn cost(report: &Report, out: &mut String) -> fmt::Result {
    let delivered = report.counts.delivered;
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
        writeln!(out, ", {mebibytes:.0} MiB")?;
    }
    let Memory { server, generator, kernel } = report.memory;
    let memory: Vec<String> = [("server", server), ("generator", generator), ("kernel", kernel)]
        .into_iter()
        .filter_map(|(name, bytes)| Some(format!("{name} {:.1} KiB", bytes? / 1024.0)))
        .collect();
    if !memory.is_empty() {
        writeln!(out, "  {:<13}{}", "a socket", memory.join(", "))?;
    }
    if let Some(share) = report
        .generator
        .workers
        .iter()
        .map(|worker| worker.cpu_share_max)
        .max_by(f64::total_cmp)
        .filter(|share| *share > 0.0)
    {
        writeln!(out, "  {:<13}{:.0}% of a processor in its busiest second", "a worker", share * 100.0)?;
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

fn thresholds(thresholds: &[ThresholdResult], style: &Style, out: &mut String) -> fmt::Result {
    for result in thresholds {
        let verdict = if result.met { Verdict::Pass } else { Verdict::Fail };
        writeln!(out, "  {} {}", style.mark(verdict), result.said())?;
    }
    if thresholds.is_empty() { Ok(()) } else { writeln!(out) }
}

fn verdict(report: &Report, style: &Style, out: &mut String) -> fmt::Result {
    if !report.notes.is_empty() {
        writeln!(out)?;
    }
    let word = style.paint(report.verdict, word(report.verdict));
    match report.reasons.as_slice() {
        [] if report.counts.expected == 0 => writeln!(out, "{word}"),
        [] if report.counts.missed > 0 => {
            let (owed, lost) = (grouped(report.counts.expected), grouped(report.counts.missed));
            writeln!(
                out,
                "{word}  the contract {} was kept: of {owed} deliveries",
                one_line(&report.contract)
            )?;
            writeln!(out, "      {lost} are missing, as it allows")
        }
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

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
    }
}

/// Wraps at 80 columns, under a hanging indent as wide as `prefix`. A word that is wider than a line is cut in pieces.
pub(crate) fn paragraph(out: &mut String, prefix: &str, text: &str) -> fmt::Result {
    let indent = " ".repeat(prefix.len());
    let width = 80 - prefix.len();
    let mut column = 0;
    out.push_str(prefix);
    for word in one_line(text).split(' ') {
        let letters: Vec<char> = word.chars().collect();
        for (i, piece) in letters.chunks(width).enumerate() {
            if column > 0 && (i > 0 || column + 1 + piece.len() > width) {
                write!(out, "\n{indent}")?;
                column = 0;
            } else if column > 0 {
                out.push(' ');
                column += 1;
            }
            out.extend(piece);
            column += piece.len();
        }
    }
    writeln!(out)
}

/// The first of `text`, on one line of so many columns.
fn short(text: &str, columns: usize) -> String {
    let line = one_line(text);
    match line.chars().count() {
        count if count > columns => line.chars().take(columns - 2).chain("..".chars()).collect(),
        _ => line,
    }
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
