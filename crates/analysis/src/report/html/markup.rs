//! The pieces that every part of the page is made of. All text from outside passes [`esc`].

use std::fmt::{self, Display, Write as _};

use super::super::{Verdict, words::visible};

/// `text` where HTML allows text, and inside of a quoted attribute.
pub(super) fn esc(text: &str) -> Escaped<'_> {
    Escaped(text)
}

pub(super) struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().map(visible).try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c => f.write_char(c),
        })
    }
}

/// A section under a heading; `lead` says how to read it.
pub(super) fn section(
    out: &mut String,
    title: &str,
    lead: &str,
    body: impl FnOnce(&mut String) -> fmt::Result,
) -> fmt::Result {
    write!(out, "\n<section>\n<h2>{}</h2>\n", esc(title))?;
    if !lead.is_empty() {
        writeln!(out, "<p class=\"lead\">{}</p>", esc(lead))?;
    }
    body(out)?;
    out.write_str("</section>\n")
}

/// A table in a box that scrolls by itself; `name` is for those who do not see it. `body` writes its rows.
pub(super) fn table(
    out: &mut String,
    name: &str,
    columns: &[&str],
    body: impl FnOnce(&mut String) -> fmt::Result,
) -> fmt::Result {
    let name = esc(name);
    write!(
        out,
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{name}\"><table>\n<thead><tr>"
    )?;
    for column in columns {
        // A leading > stands for a column of numbers.
        match column.strip_prefix('>') {
            Some(column) => write!(out, "<th scope=\"col\" class=\"n\">{}</th>", esc(column))?,
            None => write!(out, "<th scope=\"col\">{}</th>", esc(column))?,
        }
    }
    out.write_str("</tr></thead>\n<tbody>\n")?;
    body(out)?;
    out.write_str("</tbody></table></div>\n")
}

/// A shape of [`SHAPES`] and a word, in the colour of both: none of the three is needed to understand the others.
pub(super) struct Mark(pub &'static str, pub &'static str);

impl Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(shape, word) = self;
        write!(
            f,
            "<span class=\"mark {shape}\"><svg aria-hidden=\"true\"><use href=\"#{shape}\"/></svg>{word}</span>"
        )
    }
}

/// The name of a verdict's colour and of its shape.
pub(super) fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Inconclusive => "open",
    }
}

/// The shapes: a disc, an octagon, a triangle and a ring, told apart without colour.
pub(super) const SHAPES: &str = r##"<svg class="shapes" aria-hidden="true" width="0" height="0">
<symbol id="pass" viewBox="0 0 24 24"><circle cx="12" cy="12" r="11" fill="currentColor"/><path d="M6.8 12.4l3.6 3.6 7-7.6" class="cut"/></symbol>
<symbol id="fail" viewBox="0 0 24 24"><path d="M7.6 1h8.8L23 7.6v8.8L16.4 23H7.6L1 16.4V7.6z" fill="currentColor"/><path d="M8 8l8 8M16 8l-8 8" class="cut"/></symbol>
<symbol id="open" viewBox="0 0 24 24"><path d="M12 1.6L23.4 22H.6z" fill="currentColor" stroke="currentColor" stroke-linejoin="round"/><path d="M12 9v6M12 18.4v.4" class="cut"/></symbol>
<symbol id="none" viewBox="0 0 24 24"><circle cx="12" cy="12" r="10" fill="none" stroke="currentColor" stroke-width="2"/><path d="M8 12h8" stroke="currentColor" stroke-width="2"/></symbol>
</svg>
"##;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text() {
        assert_eq!(
            esc("<b a='1' c=\"2\">&amp;\n\0").to_string(),
            "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;amp; \u{fffd}"
        );
    }
}
