//! What was proved, what was missing and where, and what it cost.

use std::fmt::{self, Write as _};

use super::{
    super::{
        Cause, MatrixCell, Memory, ProcessUse, PropertyResult, Report, Summary, Verdict,
        words::{count, duration, grouped, percent, seconds},
    },
    faults::letter,
    markup::{Mark, esc, section, table},
};

/// What was demanded of the numbers.
pub(super) fn thresholds(report: &Report, out: &mut String) -> fmt::Result {
    if report.thresholds.is_empty() {
        return Ok(());
    }
    section(out, "Thresholds", "", |out| {
        table(out, "Thresholds", &["result", "demanded", ">measured"], |out| {
            report.thresholds.iter().try_for_each(|result| {
                let (mark, bad) =
                    if result.met { (Mark("pass", "met"), "") } else { (Mark("fail", "not met"), " bad") };
                writeln!(
                    out,
                    "<tr><td>{mark}</td><th scope=\"row\">{}</th><td class=\"n{bad}\">{}</td></tr>",
                    esc(&result.threshold),
                    esc(&result.measured())
                )
            })
        })
    })
}

/// Missing deliveries by what explains them.
pub(super) fn causes(report: &Report, out: &mut String) -> fmt::Result {
    if report.causes.is_empty() {
        return Ok(());
    }
    let most = report.causes.iter().map(|cause| cause.lost).max().unwrap_or(1).max(1);
    section(out, "What was missing, by cause", "", |out| {
        out.write_str("<ol class=\"causes\">\n")?;
        report.causes.iter().try_for_each(|it| cause(report, it, most, out))?;
        out.write_str("</ol>\n")
    })
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn cause(report: &Report, cause: &Cause, most: u64, out: &mut String) -> fmt::Result {
    let (class, tag) = if cause.allowed {
        ("allowed", "<span class=\"tag\">allowed by the contract</span>")
    } else {
        ("", "<span class=\"tag bad\">violation</span>")
    };
    let share = cause.lost as f64 * 100.0 / most as f64;
    write!(
        out,
        "<li class=\"{class}\"><b class=\"n\">{}</b><div><p>{} {tag}</p>\
         <div class=\"bar\" aria-hidden=\"true\"><i style=\"width:{share:.1}%\"></i></div><p class=\"small\">",
        grouped(cause.lost),
        esc(&cause.said)
    )?;
    // The fault by the letter that it has in the charts.
    let index = |fault: &String| report.faults.iter().position(|it| it.name == *fault);
    if let Some(index) = cause.fault.as_ref().and_then(index) {
        write!(out, "<b class=\"badge\">{}</b> ", letter(index))?;
    }
    let (first, last) = cause.between_us;
    write!(out, "due {} to {}", seconds(first), seconds(last))?;
    match (&cause.from, &cause.to) {
        (Some(from), Some(to)) => write!(out, " &middot; {} &rarr; {}", esc(from), esc(to))?,
        (Some(from), None) => write!(out, " &middot; from {}", esc(from))?,
        (None, Some(to)) => write!(out, " &middot; to {}", esc(to))?,
        (None, None) => {}
    }
    out.write_str("</p></div></li>\n")
}

/// What was proved.
pub(super) fn properties(report: &Report, out: &mut String) -> fmt::Result {
    if report.properties.is_empty() {
        return Ok(());
    }
    section(out, "Properties", "", |out| {
        table(out, "Properties", &["result", "property", ">violations", ">checked", ""], |out| {
            report.properties.iter().try_for_each(|it| property(it, out))
        })
    })
}

fn property(property: &PropertyResult, out: &mut String) -> fmt::Result {
    let (mark, bad) = match property.verdict {
        Verdict::Pass => (Mark("pass", "ok"), ""),
        Verdict::Fail => (Mark("fail", "broken"), " bad"),
        Verdict::Inconclusive => (Mark("none", "not checked"), ""),
    };
    writeln!(
        out,
        "<tr><td>{mark}</td><th scope=\"row\" class=\"property\"><span class=\"id\">{}</span> {}</th><td class=\"n{bad}\">{}</td>\
         <td class=\"n\">{}</td><td class=\"small unit\">{}</td></tr>",
        esc(&property.id),
        esc(&property.name),
        grouped(property.violations),
        grouped(property.checked),
        esc(&property.unit)
    )
}

/// Who got what from whom, with sums at the right and at the bottom: one bad replica is one red row or column.
pub(super) fn matrix(report: &Report, out: &mut String) -> fmt::Result {
    let cells = &report.replica_matrix;
    let nodes = nodes(cells);
    if nodes.len() < 2 || cells.iter().all(|cell| cell.expected == 0) {
        return Ok(());
    }
    let sum = |from: Option<&str>, to: Option<&str>| Sum::of(cells, from, to);
    let lead = "Sender's replica at the left, receiver's at the top. Only what is whole is 100%.";
    section(out, "From replica to replica", lead, |out| {
        out.write_str(
            "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Deliveries from replica to replica\">\
             <table class=\"heat\">\n<thead><tr><td></td>",
        )?;
        nodes.iter().try_for_each(|to| write!(out, "<th scope=\"col\">&rarr; {}</th>", esc(to)))?;
        out.write_str("<th scope=\"col\" class=\"sum\">to all</th></tr></thead>\n<tbody>\n")?;
        for from in &nodes {
            write!(out, "<tr><th scope=\"row\">{}</th>", esc(from))?;
            nodes.iter().try_for_each(|to| sum(Some(from), Some(to)).write("", out))?;
            sum(Some(from), None).write("sum", out)?;
            out.write_str("</tr>\n")?;
        }
        out.write_str("<tr class=\"sum\"><th scope=\"row\">from all</th>")?;
        nodes.iter().try_for_each(|to| sum(None, Some(to)).write("sum", out))?;
        sum(None, None).write("sum", out)?;
        out.write_str("</tr>\n</tbody></table></div>\n")
    })
}

/// In the order in which they are met.
fn nodes(cells: &[MatrixCell]) -> Vec<&str> {
    let mut nodes: Vec<&str> = Vec::new();
    for cell in cells {
        if !nodes.contains(&cell.from.as_str()) {
            nodes.push(&cell.from);
        }
    }
    nodes
}

/// Some cells together.
#[derive(Default)]
struct Sum {
    expected: u64,
    delivered: u64,
    /// Kept apart, so that too much in one cell can't hide too little in another.
    missing: u64,
    /// Of the slowest cell.
    p99_us: u64,
}

impl Sum {
    fn of(cells: &[MatrixCell], from: Option<&str>, to: Option<&str>) -> Self {
        let is = |name: &str, wanted: Option<&str>| wanted.is_none_or(|wanted| wanted == name);
        cells.iter().filter(|cell| is(&cell.from, from) && is(&cell.to, to)).fold(
            Self::default(),
            |sum, cell| Self {
                expected: sum.expected + cell.expected,
                delivered: sum.delivered + cell.delivered,
                missing: sum.missing + cell.expected.saturating_sub(cell.delivered),
                p99_us: sum.p99_us.max(cell.p99_us),
            },
        )
    }

    fn write(&self, class: &str, out: &mut String) -> fmt::Result {
        let Self { expected, delivered, missing, p99_us } = *self;
        if expected == 0 {
            return write!(out, "<td class=\"{class} none\">&ndash;<small>nothing owed</small></td>");
        }
        let below = match missing {
            0 => format!("p99 {}", duration(p99_us)),
            missing => format!("{} missing", grouped(missing)),
        };
        write!(
            out,
            "<td class=\"{class} {}\" title=\"{} of {} delivered, p99 {}\">{}<small>{below}</small></td>",
            self.heat(),
            grouped(delivered),
            grouped(expected),
            duration(p99_us),
            percent(expected - missing, expected)
        )
    }

    /// Steps of ten, since one in a thousand has to be seen as well as one in two.
    fn heat(&self) -> &'static str {
        match self.missing.saturating_mul(1_000) / self.expected.max(1) {
            _ if self.missing == 0 => "whole",
            0 => "h1",
            1..10 => "h2",
            10..100 => "h3",
            _ => "h4",
        }
    }
}

/// Times of the whole run.
pub(super) fn latency(report: &Report, out: &mut String) -> fmt::Result {
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
    let lead = "From the time when a message was meant to be sent, so a stalled server can't hide.";
    let columns = ["", ">p50", ">p90", ">p99", ">p99.9", ">max", ">count"];
    section(out, "Latency", lead, |out| {
        table(out, "Latency", &columns, |out| {
            rows.iter().try_for_each(|(name, summary)| {
                let Summary { count, p50, p90, p99, p999, max, .. } = **summary;
                write!(out, "<tr><th scope=\"row\">{name}</th>")?;
                for us in [p50, p90, p99, p999, max] {
                    write!(out, "<td class=\"n\">{}</td>", duration(us))?;
                }
                writeln!(out, "<td class=\"n small\">{}</td></tr>", grouped(count))
            })
        })
    })
}

/// CPU time and memory while messages were sent.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn cost(report: &Report, out: &mut String) -> fmt::Result {
    let delivered = report.counts.delivered;
    let Memory { server, generator: own, kernel } = report.memory;
    let each_socket =
        |bytes: Option<f64>| bytes.map_or("&ndash;".into(), |bytes| format!("{:.1} KiB", bytes / 1024.0));
    let generator =
        ProcessUse { cpu_seconds: report.generator.cpu_seconds, rss_bytes: report.generator.rss_bytes };
    let rows =
        [("servers", report.cluster.server), ("redis", report.cluster.redis), ("generator", Some(generator))];
    let columns = ["", ">CPU", ">CPU a delivery", ">memory", ">memory a socket"];
    section(out, "Cost", "While messages were sent.", |out| {
        table(out, "Cost", &columns, |out| {
            for (name, part) in rows {
                let Some(part) = part else { continue };
                let each = match delivered {
                    0 => "&ndash;".into(),
                    delivered => format!("{:.1} &micro;s", part.cpu_seconds * 1e6 / delivered as f64),
                };
                let kibibytes = part.rss_bytes as f64 / 1024.0;
                let socket = match name {
                    "servers" => each_socket(server),
                    "generator" => each_socket(own),
                    _ => each_socket(None),
                };
                writeln!(
                    out,
                    "<tr><th scope=\"row\">{name}</th><td class=\"n\">{:.2} s</td><td class=\"n\">{each}</td>\
                     <td class=\"n\">{:.0} MiB</td><td class=\"n\">{socket}</td></tr>",
                    part.cpu_seconds,
                    kibibytes / 1024.0
                )?;
            }
            if kernel.is_some() {
                let socket = each_socket(kernel);
                let none = "<td class=\"n\">&ndash;</td>".repeat(3);
                writeln!(out, "<tr><th scope=\"row\">kernel</th>{none}<td class=\"n\">{socket}</td></tr>")?;
            }
            Ok(())
        })
    })
}

/// The machine, the replicas and how long it took.
pub(super) fn environment(report: &Report, out: &mut String) -> fmt::Result {
    let (environment, phases) = (&report.environment, &report.phases);
    section(out, "Environment", "", |out| {
        out.write_str("<dl class=\"facts\">\n")?;
        let mut fact = |name: &str, value: &str| {
            writeln!(out, "<div><dt>{}</dt><dd>{}</dd></div>", esc(name), esc(value))
        };
        if environment.started_unix > 0 {
            fact("started", &utc(environment.started_unix))?;
        }
        fact("took", &took(phases))?;
        if !environment.os.is_empty() {
            let machine = (environment.cpus as u64, grouped(environment.open_files));
            fact(
                "machine",
                &format!("{}, {}, {} open files", environment.os, count(machine.0, "CPU"), machine.1),
            )?;
        }
        if !report.target.guarantee.is_empty() {
            fact("the servers claim", &report.target.guarantee)?;
        }
        for replica in &report.target.replicas {
            let sockets = count(replica.connections.into(), "socket");
            fact(&replica.node, &format!("{sockets} at {}", replica.url))?;
        }
        out.write_str("</dl>\n")
    })
}

fn took(phases: &super::super::Phases) -> String {
    let super::super::Phases { connect_s, join_s, send_s, drain_s } = phases;
    format!("connect {connect_s:.1} s, join {join_s:.1} s, send {send_s:.1} s, drain {drain_s:.1} s")
}

/// `2025-10-09 08:53:20 UTC`; the civil date as in Howard Hinnant's `civil_from_days`.
fn utc(unix: u64) -> String {
    let (days, second) = (unix / 86_400 + 719_468, unix % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    // Years begin in March here, so that the leap day is their last.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    let (hours, minutes, seconds) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_200, "2024-03-01 00:00:00 UTC"),
            (1_760_000_000, "2025-10-09 08:53:20 UTC"),
        ] {
            assert_eq!(utc(unix), text);
        }
    }
}
