//! The run second by second as CSV (RFC 4180): one line a second, for spreadsheets and plots.

use std::fmt::{self, Write as _};

use super::{Report, Second};
use crate::series::Buckets;

/// The names of the columns; the last four are the same in every line, so that the lines of many runs can stand in one
/// table.
const HEAD: &str =
    "second,sent,acked,delivered,lost,open,p50_us,p90_us,p99_us,p999_us,max_us,seed,started_unix,cpus,os";

/// The document.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = format!("{HEAD}\r\n");
    let none = Buckets::default();
    let seconds = report.histograms.as_ref().map_or(&[][..], |histograms| &histograms.seconds);
    for (place, second) in report.series.iter().enumerate() {
        let times = seconds.get(place).unwrap_or(&none);
        line(report, second, times, &mut text).expect("a string takes everything");
    }
    text
}

fn line(report: &Report, second: &Second, times: &Buckets, out: &mut String) -> fmt::Result {
    let Second { at_s, sent, acked, lost, delivered, p50_us, p99_us, open } = second;
    write!(out, "{at_s},{sent},{acked},{delivered},{lost},{open},")?;
    // Without a delivery there is no time; without a histogram the document's own two are all that is known.
    match (*delivered, times.count()) {
        (0, _) => write!(out, ",,,,")?,
        (_, 0) => write!(out, "{p50_us},,{p99_us},,")?,
        _ => {
            let [p50, p90, p99, p999, max] = [0.5, 0.9, 0.99, 0.999, 1.0].map(|share| times.quantile(share));
            write!(out, "{p50},{p90},{p99},{p999},{max}")?;
        }
    }
    let environment = &report.environment;
    write!(out, ",{},{},{},", report.seed, environment.started_unix, environment.cpus)?;
    write!(out, "\"{}\"\r\n", environment.os.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::HEAD;

    #[test]
    fn every_line_has_as_many_fields() {
        assert_eq!(HEAD.split(',').count(), 15);
    }
}
