//! The search for a person at a terminal of 80 columns: a head, a line for each probe as it ends, and the answer.

use std::fmt::Write as _;

use super::{
    Answer, Capacity, Quantity,
    probe::{Outcome, Probe},
};
use crate::report::{
    text::paragraph,
    words::{duration, grouped},
};

/// What is searched for, and the names of the columns.
#[must_use]
pub fn head(max: Quantity, slo: &[String], cpus: usize) -> String {
    let mut out = String::new();
    let searched = format!("the most {} with {}", max.unit(), slo.join(" and "));
    paragraph(&mut out, "  searched  ", &searched).expect("a string takes everything");
    let processors = format!("-- busy of {cpus} processors --");
    let (value, achieved) = match max {
        Quantity::Rate => ("rate", "sent/s"),
        Quantity::Connections => ("sockets", "open"),
    };
    let _ = writeln!(out, "\n{:44}{processors:>25}", "");
    let _ = writeln!(
        out,
        "{value:>9}{achieved:>10}{:>9}{:>9}{:>7}{:>7}{:>6}{:>6}{:>6}",
        "p50", "p99", "lost", "server", "redis", "gen.", "all"
    );
    out
}

/// One probe.
#[must_use]
pub fn row(probe: &Probe) -> String {
    let Probe { value, achieved, p50_us, p99_us, lost, busy, outcome, .. } = probe;
    let part = |used: Option<f64>| used.map_or_else(|| "-".into(), |used| format!("{used:.2}"));
    format!(
        "{:>9}{:>10}{:>9}{:>9}{:>7}{:>7}{:>6}{:>6}{:>6}  {}\n",
        grouped(value),
        grouped(format!("{achieved:.0}")),
        duration(*p50_us),
        duration(*p99_us),
        grouped(lost),
        part(busy.server),
        part(busy.redis),
        part(Some(busy.generator)),
        part(busy.machine),
        outcome.word(),
    )
}

/// The answer.
#[must_use]
pub fn foot(capacity: &Capacity) -> String {
    let mut out = "\n".to_owned();
    let mut say =
        |prefix: &str, text: &str| paragraph(&mut out, prefix, text).expect("a string takes everything");
    capacity.notes.iter().for_each(|note| say("  note: ", note));
    let behind = capacity.probes.iter().filter(|probe| probe.outcome == Outcome::Behind).count();
    if behind > 0 {
        say(
            "  note: ",
            &format!(
                "in {behind} probes the generator may be why it did not hold; they say nothing about the target"
            ),
        );
    }
    let word = match capacity.answer {
        Answer::Found => "FOUND  ",
        Answer::AtLeast => "AT LEAST  ",
        Answer::None => "NONE  ",
        Answer::Interrupted => "INTERRUPTED  ",
    };
    say(word, &capacity.said);
    out
}

/// The answer in a sentence or two.
#[must_use]
pub(super) fn said(capacity: &Capacity) -> String {
    let unit = capacity.max.unit();
    let why = capacity.limit.as_ref().map(|limit| format!(": {}", limit.said)).unwrap_or_default();
    let (value, failed) = (capacity.value.map(grouped), capacity.failed.map(grouped));
    match (capacity.answer, value, failed) {
        (Answer::Interrupted, None, _) => "no value held so far".into(),
        (Answer::Interrupted, Some(value), None) => format!("{value} {unit} held so far"),
        (Answer::Interrupted, Some(value), Some(failed)) => {
            format!("{value} {unit} held so far, {failed} did not")
        }
        (Answer::None, _, Some(failed)) => format!("not even {failed} {unit} hold{why}"),
        (_, Some(value), Some(failed)) => format!("{value} {unit} hold, {failed} do not{why}"),
        (_, Some(value), None) => format!("{value} {unit} hold{why}"),
        (_, None, _) => format!("nothing was tried{why}"),
    }
}
