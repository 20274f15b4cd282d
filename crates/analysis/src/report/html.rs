//! The report as one page of HTML that needs nothing else: what is attached to a pull request, and read on a phone.
//!
//! There is no script in it, and its own content security policy allows none: what servers said is escaped, and could not
//! run if it were not.

mod chart;
mod evidence;
mod faults;
mod markup;
mod tables;

use std::fmt::{self, Write as _};

use self::markup::{SHAPES, class, esc, section};
use super::{
    Report, Verdict,
    words::{count, duration, grouped},
};

/// The page.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut page = String::new();
    write(report, &mut page).expect("a string takes everything");
    page
}

fn write(report: &Report, out: &mut String) -> fmt::Result {
    head(report, out)?;
    banner(report, out)?;
    key_numbers(report, out)?;
    notes(report, out)?;
    tables::thresholds(report, out)?;
    tables::causes(report, out)?;
    tables::properties(report, out)?;
    tables::matrix(report, out)?;
    chart::charts(report, out)?;
    chart::percentiles(report, out)?;
    faults::table(report, out)?;
    evidence::timeline(report, out)?;
    evidence::witnesses(report, out)?;
    tables::latency(report, out)?;
    tables::cost(report, out)?;
    configuration(report, out)?;
    tables::environment(report, out)?;
    repeat(report, out)?;
    out.write_str("</main>\n</body>\n</html>\n")
}

fn head(report: &Report, out: &mut String) -> fmt::Result {
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{}: {}, seed {}</title>\n<style>\n{}</style>\n</head>\n<body>\n{SHAPES}<main>\n",
        word(report.verdict),
        esc(&report.tool),
        report.seed,
        include_str!("html/style.css")
    )
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "Pass",
        Verdict::Fail => "Fail",
        Verdict::Inconclusive => "Inconclusive",
    }
}

/// How many reasons are read before the numbers.
const FIRST_REASONS: usize = 4;

fn banner(report: &Report, out: &mut String) -> fmt::Result {
    let (class, word) = (class(report.verdict), word(report.verdict));
    write!(
        out,
        "<header class=\"banner {class}\">\n<svg class=\"shape\" aria-hidden=\"true\"><use href=\"#{class}\"/></svg>\n\
         <div>\n<h1>{word}</h1>\n"
    )?;
    let (first, more) = report.reasons.split_at(report.reasons.len().min(FIRST_REASONS));
    match first {
        [] => writeln!(out, "<p class=\"first\">{}</p>", esc(&achieved(report)))?,
        first => list(first, "reasons", out)?,
    }
    if !more.is_empty() {
        writeln!(out, "<details><summary>{}</summary>", count(more.len() as u64, "more reason"))?;
        list(more, "reasons", out)?;
        out.write_str("</details>\n")?;
    }
    let target = &report.target;
    writeln!(
        out,
        "<p class=\"what\">{} {} &middot; {} &middot; seed {}</p>",
        esc(&report.tool),
        esc(&report.version),
        esc(&target.summary()),
        report.seed
    )?;
    out.write_str("</div>\n</header>\n")
}

/// What a pass says.
fn achieved(report: &Report) -> String {
    let counts = &report.counts;
    let deliveries = |n: u64| format!("{} deliver{}", grouped(n), if n == 1 { "y" } else { "ies" });
    match (counts.expected, counts.missed) {
        (0, _) => "Nothing was asked of the cluster but to be there.".into(),
        (expected, 0) => format!(
            "Each of {} reached each of its members exactly once: {} in all.",
            count(counts.sent, "message"),
            deliveries(expected)
        ),
        (expected, missed) => format!(
            "The contract {} was kept: of {} {} are missing, as it allows.",
            report.contract,
            deliveries(expected),
            grouped(missed)
        ),
    }
}

fn list(lines: &[String], class: &str, out: &mut String) -> fmt::Result {
    writeln!(out, "<ul class=\"{class}\">")?;
    lines.iter().try_for_each(|line| writeln!(out, "<li>{}</li>", esc(line)))?;
    out.write_str("</ul>\n")
}

fn key_numbers(report: &Report, out: &mut String) -> fmt::Result {
    let counts = &report.counts;
    out.write_str("<dl class=\"tiles\">\n")?;
    let mut tile = |name: &str, value: &str, class: &str| {
        writeln!(out, "<div{class}><dt>{}</dt><dd>{}</dd></div>", esc(name), esc(value))
    };
    let bad = |n: u64| if n > 0 && report.verdict == Verdict::Fail { " class=\"bad\"" } else { "" };
    tile("sent", &grouped(counts.sent), "")?;
    tile("expected", &grouped(counts.expected), "")?;
    tile("delivered", &grouped(counts.delivered), "")?;
    tile("lost", &grouped(counts.lost), bad(counts.lost))?;
    tile("duplicated", &grouped(counts.duplicated), bad(counts.duplicated))?;
    tile("contract", &report.contract, " class=\"word\"")?;
    if report.latency_us.delivery.count > 0 {
        tile("delivery p99", &duration(report.latency_us.delivery.p99), "")?;
    }
    tile("sockets", &grouped(counts.connections), "")?;
    tile("replicas", &grouped(report.target.replicas.len()), "")?;
    tile("seed", &report.seed.to_string(), "")?;
    out.write_str("</dl>\n")
}

fn notes(report: &Report, out: &mut String) -> fmt::Result {
    let mut notes = report.notes.clone();
    if !report.target.bugs.is_empty() {
        notes.insert(0, format!("broken on purpose: {}", report.target.bugs.join(", ")));
    }
    if report.generator.saturated {
        notes.insert(
            0,
            "the generator fell behind its schedule: the times tell about it, not the target".into(),
        );
    }
    if notes.is_empty() { Ok(()) } else { list(&notes, "notes", out) }
}

fn configuration(report: &Report, out: &mut String) -> fmt::Result {
    let json = match report.runs.as_slice() {
        [] if report.config.is_null() => return Ok(()),
        [] => serde_json::to_string_pretty(&report.config),
        runs => serde_json::to_string_pretty(runs),
    };
    section(out, "Configuration", "", |out| {
        let json = json.expect("a value is JSON");
        out.write_str("<details><summary>As it was resolved, with all defaults</summary>\n<pre>")?;
        json.lines().try_for_each(|line| writeln!(out, "{}", esc(line)))?;
        out.write_str("</pre></details>\n")
    })
}

fn repeat(report: &Report, out: &mut String) -> fmt::Result {
    // What was merged was never one run.
    if !report.runs.is_empty() {
        return Ok(());
    }
    section(out, "To repeat it", "", |out| {
        writeln!(
            out,
            "<pre class=\"command\">ws-verify replay report.json</pre>\n<p class=\"lead\">report.json is this run as JSON \
             (<code>-o report.json</code>): it holds the seed, the resolved configuration and the faults as they really \
             happened.</p>"
        )
    })
}
