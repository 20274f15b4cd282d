//! The report for GitHub Actions: annotations on the run, and the summary page of the job.

use std::fmt::{self, Display, Write as _};

use super::{
    Cause, FaultResult, PropertyResult, Report, Verdict,
    words::{count, duration, grouped, one_line, percent, seconds, violation, visible},
};
use crate::property::Property;

/// A step shows ten annotations of a kind; the verdict is one of them.
const ANNOTATIONS_MAX: usize = 9;

/// Workflow commands, one a line, to be printed to stdout: `::error title=...::...`, `::warning`, `::notice`.
#[must_use]
pub fn annotations(report: &Report) -> String {
    let mut text = String::new();
    let tool = &report.tool;
    let mut say = |level: &str, title: &str, lines: &[String]| {
        let message = lines.iter().map(|line| one_line(line)).collect::<Vec<_>>().join("\n");
        let (title, message) = (property(title), data(&message));
        writeln!(text, "::{level} title={title}::{message}").expect("a string takes everything");
    };
    match report.verdict {
        Verdict::Pass => say("notice", &format!("{tool}: pass"), &[sums(report)]),
        Verdict::Fail => say("error", &format!("{tool}: fail"), &report.reasons),
        Verdict::Inconclusive => say("warning", &format!("{tool}: inconclusive"), &report.reasons),
    }
    let broken = report.properties.iter().filter(|property| property.verdict == Verdict::Fail);
    for property in broken.take(ANNOTATIONS_MAX) {
        say("error", &format!("{} {}", property.id, property.name), &violated(report, property));
    }
    let unseen = report.faults.iter().filter(|fault| fault.error.is_some() || fault.effective_us.is_none());
    for fault in unseen.take(ANNOTATIONS_MAX) {
        let why = fault.error.clone().unwrap_or_else(|| "it was not seen to take effect".into());
        say("warning", &format!("{}: no proof of the fault", fault.name), &[why]);
    }
    let allowed: Vec<_> = report.causes.iter().filter(|cause| cause.allowed).map(said).collect();
    if !allowed.is_empty() {
        say("notice", &format!("missing, and allowed by {}", report.contract), &allowed);
    }
    text
}

fn violated(report: &Report, property: &PropertyResult) -> Vec<String> {
    let PropertyResult { checked, unit, violations, .. } = property;
    let mut lines = vec![format!("{} in {} {unit}", count(*violations, "violation"), grouped(*checked))];
    if property.id == Property::Loss.id() {
        lines.extend(report.causes.iter().filter(|cause| !cause.allowed).take(3).map(said));
    }
    lines.extend(property.examples.first().map(violation));
    lines
}

fn said(cause: &Cause) -> String {
    cause.said.clone()
}

fn sums(report: &Report) -> String {
    let counts = &report.counts;
    let [sent, expected, delivered, lost, twice] =
        [counts.sent, counts.expected, counts.delivered, counts.lost, counts.duplicated].map(grouped);
    format!(
        "{sent} sent, {expected} expected, {delivered} delivered, {lost} lost, {twice} twice; {}",
        report.contract
    )
}

/// What [`data`] escapes, and `:` and `,`, which end a property of a command.
fn property(text: &str) -> String {
    data(&one_line(text)).replace(':', "%3A").replace(',', "%2C")
}

/// As `toolkit/packages/core/src/command.ts` of GitHub Actions has it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Markdown, to be appended to the file that `$GITHUB_STEP_SUMMARY` names.
#[must_use]
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    page(report, &mut text).expect("a string takes everything");
    text
}

fn page(report: &Report, out: &mut String) -> fmt::Result {
    let word = match report.verdict {
        Verdict::Pass => "\u{2705} pass",
        Verdict::Fail => "\u{274c} fail",
        Verdict::Inconclusive => "\u{26a0}\u{fe0f} inconclusive",
    };
    writeln!(out, "## {}: {word}\n", md(&report.tool))?;
    for reason in &report.reasons {
        writeln!(out, "- {}", md(reason))?;
    }
    if !report.reasons.is_empty() {
        writeln!(out)?;
    }
    writeln!(
        out,
        "{}, p99 {}, seed {}\n",
        md(&sums(report)),
        duration(report.latency_us.delivery.p99),
        report.seed
    )?;
    causes(&report.causes, out)?;
    properties(&report.properties, out)?;
    pairs(report, out)?;
    faults(&report.faults, out)
}

fn causes(causes: &[Cause], out: &mut String) -> fmt::Result {
    if causes.is_empty() {
        return Ok(());
    }
    writeln!(out, "### What was missing, by cause\n\n| lost | cause | |\n|---:|---|---|")?;
    for cause in causes {
        let allowed = if cause.allowed { "allowed" } else { "**violation**" };
        writeln!(out, "| {} | {} | {allowed} |", grouped(cause.lost), md(&cause.said))?;
    }
    writeln!(out)
}

fn properties(properties: &[PropertyResult], out: &mut String) -> fmt::Result {
    if properties.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "### Properties\n\n| | | property | violations | checked | |\n|---|---|---|---:|---:|---|"
    )?;
    for property in properties {
        let mark = match property.verdict {
            Verdict::Pass => "\u{2705} ok",
            Verdict::Fail => "\u{274c} **broken**",
            Verdict::Inconclusive => "\u{2796} not checked",
        };
        let PropertyResult { id, name, unit, checked, violations, .. } = property;
        let (checked, violations) = (grouped(*checked), grouped(*violations));
        writeln!(out, "| {mark} | {} | {} | {violations} | {checked} | {} |", md(id), md(name), md(unit))?;
    }
    writeln!(out)
}

/// Only those that are not whole.
fn pairs(report: &Report, out: &mut String) -> fmt::Result {
    let is_short = |cell: &&super::MatrixCell| cell.delivered < cell.expected;
    let mut short = report.replica_matrix.iter().filter(is_short).peekable();
    if short.peek().is_none() {
        return Ok(());
    }
    writeln!(
        out,
        "### Not whole, from replica to replica\n\n| from | to | delivered | missing |\n|---|---|---:|---:|"
    )?;
    for cell in short.take(20) {
        let missing = grouped(cell.expected - cell.delivered);
        let part = percent(cell.delivered, cell.expected);
        writeln!(out, "| {} | {} | {part} | {missing} |", md(&cell.from), md(&cell.to))?;
    }
    writeln!(out)
}

fn faults(faults: &[FaultResult], out: &mut String) -> fmt::Result {
    if faults.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "### Faults\n\n| fault | on | at | effective after | healed after | lost | proof |\n|---|---|---:|---:|---:|---:|---|"
    )?;
    for fault in faults {
        let since = |us: u64| duration(us.saturating_sub(fault.start_us));
        let effective = fault.effective_us.map_or_else(|| "\u{26a0}\u{fe0f} not seen".into(), since);
        let healed = fault.healed_us.map_or_else(|| "still on at the end".into(), since);
        let proof = fault.error.as_ref().or(fault.proof.as_ref()).map(String::as_str).unwrap_or_default();
        writeln!(
            out,
            "| {} | {} | {} | {effective} | {healed} | {} | {} |",
            md(&fault.name),
            md(&fault.on.join(", ")),
            seconds(fault.start_us),
            grouped(fault.lost),
            md(proof)
        )?;
    }
    writeln!(out)
}

/// Text that Markdown takes for nothing else, also inside of a table.
fn md(text: &str) -> Markdown<'_> {
    Markdown(text)
}

struct Markdown<'a>(&'a str);

impl Display for Markdown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().map(visible).try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            // An entity, since a mention is one behind a backslash too.
            '@' => f.write_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' | '!' => write!(f, "\\{c}"),
            c => f.write_char(c),
        })
    }
}
