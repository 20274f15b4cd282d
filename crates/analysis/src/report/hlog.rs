//! The histograms as an HdrHistogram log, which `HistogramLogProcessor`, `HistogramLogAnalyzer` and the like read.
//!
//! Values are microseconds. Lines without a tag are the deliveries of a second each; a line with a tag is what was timed
//! over the whole run, to three digits.

use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::{
    V2DeflateSerializer,
    interval_log::{IntervalLogWriterBuilder, Tag},
};

use super::Report;

/// The largest value of a line is told in milliseconds.
const MAX_DIVISOR: f64 = 1e3;

/// The log; without histograms it has no lines.
#[must_use]
pub fn render(report: &Report) -> String {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(report.environment.started_unix);
    let about = format!(
        "[{} {}, seed {}, {}, {} processors; values in microseconds]",
        report.tool,
        report.version,
        report.seed,
        super::words::one_line(&report.environment.os),
        report.environment.cpus
    );
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&about)
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(MAX_DIVISOR)
        .begin_log_with(&mut bytes, &mut serializer)
        .expect("a vector takes all bytes");
    let Some(histograms) = &report.histograms else { return text(bytes) };
    let whole = Duration::from_secs(report.series.len() as u64);
    let latencies = &histograms.latencies;
    for (name, times) in latencies.named().into_iter().filter(|(_, times)| times.count() > 0) {
        let tag = Tag::new(name).expect("names have no commas");
        log.write_histogram(times.histogram(), Duration::ZERO, whole, Some(tag))
            .expect("a vector takes all bytes");
    }
    for (second, times) in report.series.iter().zip(&histograms.seconds) {
        let start = Duration::from_secs(second.at_s.into());
        log.write_histogram(times.times().histogram(), start, Duration::from_secs(1), None)
            .expect("a vector takes all bytes");
    }
    text(bytes)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("a log is text")
}
