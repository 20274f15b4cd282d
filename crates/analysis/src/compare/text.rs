//! The comparison for a person at a terminal of 80 columns.

use std::fmt::{self, Write as _};

use super::{Change, Comparison, Row, Unit};
use crate::report::words::one_line;

/// The table, with colours if asked for.
#[must_use]
pub fn render(comparison: &Comparison, color: bool) -> String {
    let mut text = String::new();
    write(comparison, color, &mut text).expect("a string takes everything");
    text
}

fn write(comparison: &Comparison, color: bool, out: &mut String) -> fmt::Result {
    let Comparison { tolerance, bases, rows, notes, inconclusive, failed } = comparison;
    writeln!(out, "  {:<23}{:>11}{:>11}{:>10}{:>10}", "", "base", "new", "change", "noise")?;
    rows.iter()
        .filter(|row| row.base.is_some() || row.new.is_some())
        .try_for_each(|it| row(it, color, out))?;
    writeln!(out)?;
    let of = match bases {
        1 => "of 95%, from seconds and histograms; what has none (-) decides nothing".into(),
        n => format!("of 95%, at least what lies between the {n} base runs, whose median is shown"),
    };
    writeln!(out, "  noise: {of}")?;
    notes.iter().try_for_each(|note| writeln!(out, "  note: {note}"))?;
    let worse: Vec<&str> =
        rows.iter().filter(|row| row.change == Change::Worse).map(|row| row.metric).collect();
    let paint = |code: &str, word: &str| match color {
        true => format!("\x1b[{code}m{word}\x1b[0m"),
        false => word.to_owned(),
    };
    inconclusive.iter().try_for_each(|why| writeln!(out, "  note: {}", one_line(why)))?;
    let limit = format!("{}% and noise", (tolerance * 1000.0).round() / 10.0);
    if let Some(why) = failed {
        writeln!(out, "\n{}  the new run is a fail by itself: {}", paint("31;1", "FAIL"), one_line(why))?;
        return match worse.as_slice() {
            [] => Ok(()),
            worse => writeln!(out, "      worse by more than {limit}: {}", worse.join(", ")),
        };
    }
    if !inconclusive.is_empty() {
        return writeln!(out, "\n{}  an inconclusive run can't be compared", paint("33;1", "INCONCLUSIVE"));
    }
    match worse.as_slice() {
        [] => writeln!(out, "\n{}  nothing is worse by more than {limit}", paint("32;1", "PASS")),
        worse => {
            writeln!(out, "\n{}  worse by more than {limit}: {}", paint("31;1", "FAIL"), worse.join(", "))
        }
    }
}

fn row(row: &Row, color: bool, out: &mut String) -> fmt::Result {
    let value = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| said(value, row.unit));
    let part = |part: Option<f64>| match (part, row.base) {
        (Some(part), Some(base)) if base > 0.0 => format!("{:.1}%", part * 100.0 / base),
        (Some(0.0), _) => "0.0%".into(),
        _ => "-".into(),
    };
    let change = row.new.zip(row.base).map(|(new, base)| new - base);
    let sign = if change > Some(0.0) && row.base > Some(0.0) { "+" } else { "" };
    let word = match row.change {
        Change::Same => "",
        Change::Unknown => "unknown",
        Change::Better => "better",
        Change::Worse => "worse",
    };
    let code = match row.change {
        Change::Better => "32",
        Change::Unknown => "33",
        _ => "31;1",
    };
    let word = if color && !word.is_empty() { format!("\x1b[{code}m{word}\x1b[0m") } else { word.into() };
    let line = format!(
        "  {:<23}{:>11}{:>11}{:>10}{:>10}  {word}",
        row.metric,
        value(row.base),
        value(row.new),
        sign.to_owned() + &part(change),
        part(row.noise)
    );
    writeln!(out, "{}", line.trim_end())
}

fn said(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Us if value >= 1e6 => format!("{:.2} s", value / 1e6),
        Unit::Us if value >= 1e4 => format!("{:.1} ms", value / 1e3),
        Unit::Us if value >= 1e3 => format!("{:.2} ms", value / 1e3),
        Unit::Us => format!("{value:.1} us"),
        Unit::PerSecond => format!("{value:.0}/s"),
        Unit::Count => format!("{value:.0}"),
        Unit::Bytes if value < 1e6 => format!("{:.1} KiB", value / 1024.0),
        Unit::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
    }
}
