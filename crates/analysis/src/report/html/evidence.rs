//! What happened, line by line: the timeline of the run and the witnesses of what was violated.

use std::fmt::{self, Write as _};

use super::{
    super::{
        Example, Moment, PropertyResult, Report,
        words::{count, grouped, seconds},
    },
    markup::{esc, section},
};

/// More than this is folded away.
const FIRST_MOMENTS: usize = 30;

/// Steps, faults and heals in their order.
pub(super) fn timeline(report: &Report, out: &mut String) -> fmt::Result {
    if report.timeline.is_empty() {
        return Ok(());
    }
    let (first, more) = report.timeline.split_at(report.timeline.len().min(FIRST_MOMENTS));
    section(out, "Timeline", "", |out| {
        moments(first, out)?;
        if !more.is_empty() {
            writeln!(out, "<details><summary>{} more</summary>", grouped(more.len()))?;
            moments(more, out)?;
            out.write_str("</details>\n")?;
        }
        Ok(())
    })
}

fn moments(moments: &[Moment], out: &mut String) -> fmt::Result {
    out.write_str("<ol class=\"moments\">\n")?;
    for moment in moments {
        writeln!(
            out,
            "<li><span class=\"n\">{}</span><span>{}</span></li>",
            seconds(moment.at_us),
            esc(&moment.what)
        )?;
    }
    out.write_str("</ol>\n")
}

/// A few violations of each property, with what happened around them.
pub(super) fn witnesses(report: &Report, out: &mut String) -> fmt::Result {
    let broken: Vec<_> = report.properties.iter().filter(|property| !property.examples.is_empty()).collect();
    if broken.is_empty() {
        return Ok(());
    }
    let lead = "The first few violations of each property, and what their receiver saw around them.";
    section(out, "Witnesses", lead, |out| broken.iter().try_for_each(|property| witness(property, out)))
}

fn witness(property: &PropertyResult, out: &mut String) -> fmt::Result {
    let PropertyResult { id, name, examples, violations, .. } = property;
    writeln!(
        out,
        "<h3>{} {} <small>{} of {}</small></h3>",
        esc(id),
        esc(name),
        examples.len(),
        count(*violations, "violation")
    )?;
    examples.iter().enumerate().try_for_each(|(i, it)| example(it, i == 0, out))
}

/// Only the first is open.
fn example(example: &Example, is_open: bool, out: &mut String) -> fmt::Result {
    let open = if is_open { " open" } else { "" };
    let message = example.message.as_deref().unwrap_or("a message");
    let during = example.fault.as_ref().map(|fault| format!(", during {fault}")).unwrap_or_default();
    writeln!(
        out,
        "<details class=\"witness\"{open}><summary><b>{}</b> {}<small>to {}, at {}{}</small></summary>",
        esc(message),
        esc(&example.detail),
        esc(&example.to),
        seconds(example.at_us),
        esc(&during)
    )?;
    let from = match (&example.sender, &example.from) {
        (Some(sender), Some(from)) => format!("from session {sender} on {from} "),
        _ => String::new(),
    };
    writeln!(
        out,
        "<p>{}to session {} on {}, in {}</p>",
        esc(&from),
        example.receiver,
        esc(&example.to),
        esc(&example.room)
    )?;
    if !example.witness.is_empty() {
        // "room 7 #1392" is named in full or by its number alone.
        let number = message.rsplit(' ').find(|word| word.starts_with('#'));
        out.write_str("<pre>")?;
        for line in &example.witness {
            match number.filter(|number| names(line, number)) {
                Some(_) => writeln!(out, "<b>{}</b>", esc(line))?,
                None => writeln!(out, "{}", esc(line))?,
            }
        }
        out.write_str("</pre>\n")?;
    }
    out.write_str("</details>\n")
}

/// Whether `line` holds `number` itself, and not one that begins with it.
fn names(line: &str, number: &str) -> bool {
    line.match_indices(number)
        .any(|(at, found)| !line[at + found.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_number_is_another_message() {
        assert!(names("got #13, then", "#13") && names("#139 #13", "#13"));
        assert!(!names("got #139", "#13"));
    }
}
