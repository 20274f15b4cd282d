//! Numbers as people read them, and what servers said in a form that no reader's screen can be led astray by.

use std::fmt::Display;

use super::Example;

/// A count with its thousands apart.
#[must_use]
pub fn grouped(count: impl Display) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits are enough, and only what is whole is 100 %.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn percent(part: u64, whole: u64) -> String {
    match part.cmp(&whole) {
        std::cmp::Ordering::Equal => "100%".into(),
        _ => format!("{:.2}%", (part as f64 * 1e4 / whole.max(1) as f64).floor() / 100.0),
    }
}

/// Microseconds, as milliseconds or seconds, rounded.
pub(crate) fn duration(us: u64) -> String {
    match us {
        0..9_995 => {
            let hundredths = (us + 5) / 10;
            format!("{}.{:02} ms", hundredths / 100, hundredths % 100)
        }
        9_995..999_500 => format!("{} ms", (us + 500) / 1000),
        _ => seconds(us),
    }
}

/// Microseconds, as seconds.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn seconds(us: u64) -> String {
    format!("{:.2} s", us as f64 / 1e6)
}

/// `text` on one line, without what steers a terminal or turns the direction of writing.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// `c`, or what stands for it where it would do something instead of being seen.
pub(super) fn visible(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' => ' ',
        // Marks, embeddings, overrides and isolates: "Trojan Source", CVE-2021-42574.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// `n thing` or `n things`.
pub(super) fn count(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// A violation in one sentence.
pub(super) fn violation(example: &Example) -> String {
    let message = example.message.as_deref().unwrap_or("a message");
    let from = match (&example.sender, &example.from) {
        (Some(sender), Some(from)) => format!(" from session {sender} on {from}"),
        _ => String::new(),
    };
    let during = example.fault.as_ref().map(|fault| format!(", during {fault}")).unwrap_or_default();
    let Example { receiver, to, detail, .. } = example;
    let at = seconds(example.at_us);
    format!("{message}{from} to session {receiver} on {to}, at {at}{during}: {detail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_whole_is_100_percent() {
        for (part, whole, text) in
            [(1, 1, "100%"), (0, 0, "100%"), (999_999_999, 1_000_000_000, "99.99%"), (0, 7, "0.00%")]
        {
            assert_eq!(percent(part, whole), text);
        }
    }

    #[test]
    fn times_are_rounded() {
        for (us, text) in [
            (0, "0.00 ms"),
            (5_794, "5.79 ms"),
            (5_795, "5.80 ms"),
            (9_994, "9.99 ms"),
            (9_995, "10 ms"),
            (13_751, "14 ms"),
            (999_499, "999 ms"),
            (999_500, "1.00 s"),
            (2_940_000, "2.94 s"),
        ] {
            assert_eq!(duration(us), text);
        }
    }

    #[test]
    fn what_would_act_is_shown_instead() {
        assert_eq!(one_line("a\x1b[31mb\r\nc\u{202e}d\0"), "a\u{fffd}[31mb  c\u{fffd}d\u{fffd}");
    }
}
