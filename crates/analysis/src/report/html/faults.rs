//! What was broken on purpose, and whether it really was.

use std::fmt::{self, Write as _};

use super::{
    super::{
        Back, BackFrom, FaultResult, Report,
        words::{duration, grouped, seconds},
    },
    markup::{Mark, esc, section, table as html_table},
};

/// A fault's letter in charts and table: A to Z, then AA.
pub(super) fn letter(index: usize) -> String {
    let last = char::from(b'A' + u8::try_from(index % 26).expect("below 26"));
    match index / 26 {
        0 => last.to_string(),
        more => letter(more - 1) + &last.to_string(),
    }
}

/// Each fault as planned and as it happened.
pub(super) fn table(report: &Report, out: &mut String) -> fmt::Result {
    if report.faults.is_empty() {
        return Ok(());
    }
    let lead = "A fault that was not seen to take effect proves nothing about the cluster. Back: of those whom it cut off, \
        when half, 95 and 100 % were in their rooms again.";
    let columns = ["", "fault", "on", ">at", ">effective after", ">healed after", ">lost", ">back", "proof"];
    section(out, "Faults", lead, |out| {
        html_table(out, "Faults", &columns, |out| {
            report.faults.iter().enumerate().try_for_each(|(i, fault)| row(i, fault, out))
        })
    })
}

fn row(index: usize, fault: &FaultResult, out: &mut String) -> fmt::Result {
    let since = |us: u64| duration(us.saturating_sub(fault.start_us));
    let effective = match fault.effective_us {
        Some(us) => since(us),
        None => Mark("open", "not seen").to_string(),
    };
    let healed = fault.healed_us.map_or_else(|| "still on at the end".into(), since);
    write!(
        out,
        "<tr><td><b class=\"badge\">{}</b></td><th scope=\"row\" class=\"fault\">{}<small>{}</small></th><td class=\"on\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{effective}</td><td class=\"n\">{healed}</td>\
         <td class=\"n{}\">{}</td><td class=\"n\">{}</td><td class=\"proof\">",
        letter(index),
        esc(&fault.name),
        esc(&fault.planned),
        esc(&fault.on.join(", ")),
        seconds(fault.start_us),
        if fault.lost > 0 { " bad" } else { "" },
        grouped(fault.lost),
        fault.back.as_ref().map(back).unwrap_or_default()
    )?;
    if let Some(proof) = &fault.proof {
        write!(out, "{}", esc(proof))?;
    }
    if let Some(error) = &fault.error {
        write!(out, "<small class=\"warn\">{}</small>", esc(error))?;
    }
    out.write_str("</td></tr>\n")
}

fn back(back: &Back) -> String {
    let time = |us: Option<u64>| us.map_or_else(|| "-".into(), duration);
    let times = [back.p50_us, back.p95_us, back.p100_us].map(time).join(", ");
    let from = match back.from {
        BackFrom::Injection => "",
        BackFrom::Heal => " after the heal",
    };
    let never = match back.never {
        0 => String::new(),
        never => format!("<small class=\"warn\">{} never returned</small>", grouped(never)),
    };
    format!("{times}{from}<small>of {} cut off</small>{never}", grouped(back.cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_letter_for_every_fault() {
        for (index, text) in [(0, "A"), (25, "Z"), (26, "AA"), (52, "BA"), (701, "ZZ"), (702, "AAA")] {
            assert_eq!(letter(index), text);
        }
    }
}
