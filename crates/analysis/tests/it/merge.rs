//! Reports merged: nothing is lost on the way, and what does not fit together is told.

use ws_analysis::{
    report::{Counts, Histograms, Latency, Report, Second, Verdict, csv, hlog, merge},
    series::Buckets,
    stats::Latencies,
};

use crate::sample;

/// A run that timed these, all in its first second.
fn timed(times: impl Iterator<Item = u64> + Clone) -> Report {
    let mut latencies = Latencies::default();
    let mut second = Buckets::default();
    for us in times.clone() {
        latencies.delivery.record(us);
        latencies.schedule_lag.record(us / 3);
        second.record(us);
    }
    let delivered = times.count() as u64;
    Report {
        latency_us: Latency::from(&latencies),
        counts: Counts { connections: 10, rooms: 1, sent: delivered, delivered, ..Counts::default() },
        series: vec![Second {
            delivered,
            p50_us: second.quantile(0.5),
            p99_us: second.quantile(0.99),
            ..Second::default()
        }],
        histograms: Some(Histograms { latencies, seconds: vec![second] }),
        ..sample::passing()
    }
}

/// The same numbers, of another run.
fn other(report: &Report) -> Report {
    Report { seed: report.seed + 1, ..report.clone() }
}

/// As it is written, without what differs between any two runs.
fn numbers(report: &Report) -> String {
    let text = |value: serde_json::Value| value.to_string();
    let Report { histograms, latency_us, series, .. } = report;
    text(serde_json::json!([histograms, latency_us, series, report.counts.delivered]))
}

#[test]
fn two_halves_make_the_whole() {
    let all = (1..20_000_u64).map(|i| i * i % 7_000_003);
    let whole = timed(all.clone());
    let mut halves = [0, 1].map(|half| timed(all.clone().filter(move |us| us % 2 == half)));
    halves[1].seed = 2;
    assert_ne!(halves[0].latency_us.delivery.p99, halves[1].latency_us.delivery.p99);
    let merged = merge(halves.to_vec()).expect("they fit");
    assert_eq!(numbers(&merged), numbers(&whole));
    assert_eq!((merged.counts.connections, merged.counts.rooms, merged.runs.len()), (20, 2, 2));
    assert!(merged.notes[0].starts_with("merged from 2 runs"), "{:?}", merged.notes);
    // Read back from their documents they still do.
    let read = |report: &Report| -> Report {
        serde_json::from_str(&serde_json::to_string(report).expect("JSON")).expect("a report")
    };
    let again = merge(halves.iter().map(read).collect()).expect("they fit");
    assert_eq!(numbers(&again), numbers(&whole));
    // And merged once more.
    let thrice = merge(vec![merged, Report { seed: 3, ..halves[0].clone() }]).expect("they fit");
    assert_eq!(thrice.runs.len(), 3);
}

#[test]
fn a_note_of_all_is_told_once() {
    let noted = |notes: [&str; 2]| Report { notes: notes.map(str::to_owned).into(), ..timed(1..9) };
    let merged = merge(vec![noted(["all", "one"]), other(&noted(["two", "all"]))]).expect("they fit");
    assert_eq!(merged.notes[1..], ["all", "run 1: one", "run 2: two"]);
}

#[test]
fn a_longer_run_adds_its_seconds() {
    let mut short = timed(1..100);
    short.series[0].sent = 5;
    let mut long = timed(1..50);
    long.series.push(Second { at_s: 1, sent: 7, open: 3, ..Second::default() });
    let merged = merge(vec![short, other(&long)]).expect("they fit");
    let sent: Vec<u64> = merged.series.iter().map(|second| second.sent).collect();
    assert_eq!((sent, merged.series[1].open, merged.series[0].delivered), (vec![5, 7], 3, 148));
}

#[test]
fn what_does_not_fit_is_told() {
    let error = |other: Report| {
        let error = merge(vec![timed(1..9), other]).expect_err("they do not fit");
        assert_eq!(error.place, 1);
        error.to_string()
    };
    assert!(error(Report { version: "9.9.9".into(), ..timed(1..9) }).contains("its version is \"9.9.9\""));
    assert!(error(Report { schema: "ws-report/2".into(), ..timed(1..9) }).contains("its schema"));
    assert!(error(Report { contract: "at-most-once".into(), ..timed(1..9) }).contains("its contract"));
    assert!(error(Report { histograms: None, ..timed(1..9) }).contains("no histograms"));
    assert!(error(Report { faults: sample::failing().faults, ..timed(1..9) }).contains("faults"));
    let mut stopped = other(&timed(1..9));
    stopped.demand(&["duplicated==0,abort".parse().expect("a demand")], None);
    stopped.thresholds[0].aborted_us = Some(1_000_000);
    assert!(error(stopped).contains("stopped it"));
    assert!(error(timed(1..9)).contains("its run with seed 3821864112 is in an earlier one already"));
    let both = merge(vec![timed(1..9), other(&timed(1..9))]).expect("they fit");
    assert!(error(both).contains("in an earlier one already"));
    assert!(merge(Vec::new()).is_err());
}

#[test]
fn demands_are_made_of_the_sums() {
    let mut half = timed(1..100);
    half.demand(&["delivered>=100".parse().expect("a demand")], None);
    assert_eq!(half.verdict, Verdict::Fail);
    let merged = merge(vec![half.clone(), other(&half)]).expect("they fit");
    assert_eq!((merged.verdict, merged.reasons.len(), merged.thresholds.len()), (Verdict::Pass, 0, 1));
    let unsure = Report { verdict: Verdict::Inconclusive, reasons: vec!["late".into()], ..timed(1..9) };
    let merged = merge(vec![half, other(&unsure)]).expect("they fit");
    assert_eq!((merged.verdict, merged.reasons[0].as_str()), (Verdict::Inconclusive, "run 2: late"));
    let mut broken = timed(1..9);
    broken.verdict = Verdict::Fail;
    broken.properties[2].violations = 1;
    let merged = merge(vec![timed(1..9), other(&broken)]).expect("they fit");
    assert_eq!((merged.verdict, merged.properties[2].violations), (Verdict::Fail, 1));
}

#[test]
fn the_series_is_a_table() {
    let mut report = timed(1..100);
    report.environment.os = "linux \"x\", 6".into();
    report.series.push(Second { at_s: 1, open: 3, ..Second::default() });
    let table = csv::render(&report);
    let lines: Vec<&str> = table.split("\r\n").collect();
    assert!(lines[0].starts_with("second,sent,acked,delivered,lost,open,p50_us"), "{table}");
    assert!(lines[1].starts_with("0,0,0,99,0,0,51,95,103,103,103,3821864112,"), "{table}");
    assert!(lines[1].ends_with(",\"linux \"\"x\"\", 6\""), "{table}");
    assert!(lines[2].starts_with("1,0,0,0,0,3,,,,,,3821864112,"), "no delivery, no time: {table}");
}

#[test]
fn the_log_is_read_by_the_library_that_defines_it() {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let report = timed((1..5_000).map(|i| i * 3));
    let log = hlog::render(&report);
    let entries = IntervalLogIterator::new(log.as_bytes());
    let entries: Vec<_> = entries.map(|entry| entry.expect("an entry")).collect();
    let intervals: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            LogEntry::Interval(interval) => Some(interval),
            _ => None,
        })
        .collect();
    let tags: Vec<_> = intervals.iter().map(|interval| interval.tag().map(|tag| tag.as_str())).collect();
    assert_eq!(tags, [Some("delivery"), Some("schedule_lag"), None], "{log}");
    let histogram = |place: usize| -> hdrhistogram::Histogram<u64> {
        let bytes = data_encoding::BASE64.decode(intervals[place].encoded_histogram().as_bytes());
        let mut reader = hdrhistogram::serialization::Deserializer::new();
        reader.deserialize(&mut &bytes.expect("base64")[..]).expect("a histogram")
    };
    assert_eq!(histogram(0).value_at_quantile(0.99), report.latency_us.delivery.p99);
    assert_eq!((histogram(2).len(), histogram(2).value_at_quantile(0.99)), (4_999, report.series[0].p99_us));
    assert!(log.contains("#[BaseTime: ") && log.contains("seed 3821864112"), "{log}");
}
