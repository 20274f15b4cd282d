//! Prints a made-up report, to look at: `cargo run -p ws-analysis --example sample_report -- html failing > x.html`.
//!
//! Forms: html, junit, annotations, summary, text. Runs: failing, passing.

#[path = "../tests/it/sample.rs"]
mod sample;

use ws_analysis::report::{github, html, junit, text};

fn main() {
    let mut words = std::env::args().skip(1);
    let form = words.next().unwrap_or_else(|| "html".into());
    let report = match words.next().as_deref() {
        Some("passing") => sample::passing(),
        _ => sample::failing(),
    };
    match form.as_str() {
        "junit" => print!("{}", junit::render(&report)),
        "annotations" => print!("{}", github::annotations(&report)),
        "summary" => print!("{}", github::summary(&report)),
        "text" => print!("{}", text::render(&report, true)),
        _ => print!("{}", html::render(&report)),
    }
}
