//! Runs beside each other.

use ws_analysis::{
    compare::{Change, Comparison, render},
    report::{Counts, Histograms, Latency, Phases, Report, Second, Verdict},
    series::Buckets,
    stats::Latencies,
};

use crate::sample;

/// Ten seconds of deliveries, whose times in a second are these in microseconds.
fn seconds(us: [u64; 10]) -> Report {
    let mut latencies = Latencies::default();
    let mut times = Vec::new();
    let mut series = Vec::new();
    for (at_s, us) in (0..).zip(us) {
        let mut second = Buckets::default();
        for time in (0..100).map(|i| us + i) {
            latencies.delivery.record(time);
            latencies.ack.record(time);
            second.record(time);
        }
        series.push(Second { at_s, sent: 10, delivered: 100, ..Second::default() });
        times.push(second);
    }
    Report {
        latency_us: Latency::from(&latencies),
        counts: Counts { connections: 1000, sent: 100, delivered: 1000, ..Counts::default() },
        phases: Phases { connect_s: 1.0, send_s: 10.0, ..Phases::default() },
        series,
        histograms: Some(Histograms { latencies, seconds: times }),
        ..sample::passing()
    }
}

fn held(base: &Report, new: &Report, tolerance: f64) -> Comparison {
    Comparison::new(std::slice::from_ref(base), new, tolerance)
}

fn change(comparison: &Comparison, metric: &str) -> Change {
    comparison.rows.iter().find(|row| row.metric == metric).expect(metric).change
}

#[test]
fn a_run_is_as_good_as_itself() {
    let run = seconds([1000; 10]);
    let comparison = held(&run, &run, 0.0);
    assert!(!comparison.has_regressed() && comparison.notes.is_empty(), "{comparison:#?}");
    assert!(render(&comparison, false).contains("PASS  nothing is worse by more than 0% and noise"));
}

#[test]
fn worse_is_beyond_tolerance_and_noise() {
    let (calm, slow) = (seconds([1000; 10]), seconds([1400; 10]));
    let comparison = held(&calm, &slow, 0.1);
    assert_eq!(change(&comparison, "delivery.p50"), Change::Worse);
    assert!(comparison.has_regressed());
    let text = render(&comparison, false);
    assert!(text.contains("FAIL  worse by more than 10% and noise: ack.p50, "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80 || line.starts_with("FAIL")), "{text}");
    assert_eq!(change(&held(&calm, &slow, 0.5), "delivery.p50"), Change::Same);
    assert_eq!(change(&held(&slow, &calm, 0.1), "delivery.p50"), Change::Better);
    // The same step is nothing where the seconds differ by as much.
    let restless = seconds([600, 2400, 700, 1900, 1300, 1300, 2600, 800, 1300, 1250]);
    let comparison = held(&calm, &restless, 0.0);
    assert_eq!(change(&comparison, "delivery.p50"), Change::Same, "{comparison:#?}");
    assert_eq!(change(&comparison, "ack.p50"), Change::Worse, "whose noise is not of the seconds");
}

#[test]
fn several_base_runs_tell_the_noise() {
    let (calm, slow) = (seconds([1000; 10]), seconds([1400; 10]));
    let mut busy = calm.clone();
    busy.generator.cpu_seconds *= 1.3;
    let mut busier = calm.clone();
    busier.generator.cpu_seconds *= 1.35;
    let own = "own CPU a delivery";
    let once = held(&calm, &busier, 0.1);
    assert_eq!(change(&once, own), Change::Unknown, "it was measured once");
    assert!(!once.has_regressed() && render(&once, false).contains("-  unknown"), "{once:#?}");
    assert_eq!(change(&Comparison::new(&[calm.clone(), busy], &busier, 0.1), own), Change::Same);
    assert_eq!(change(&Comparison::new(&[calm.clone(), calm.clone()], &busier, 0.1), own), Change::Worse);
    let comparison = Comparison::new(&[calm.clone(), slow, calm], &seconds([1500; 10]), 0.1);
    let row = comparison.rows.iter().find(|row| row.metric == "delivery.p50").expect("a row");
    assert!(row.base.is_some_and(|base| base < 1100.0), "the median: {row:?}");
    assert!(row.noise.is_some_and(|noise| noise > 300.0), "{row:?}");
}

#[test]
fn a_loss_where_there_was_none_is_worse() {
    let base = seconds([1000; 10]);
    let mut new = base.clone();
    new.counts.lost = 1;
    let comparison = held(&base, &new, 0.1);
    assert_eq!(change(&comparison, "lost"), Change::Worse);
}

#[test]
fn what_proves_nothing_is_not_compared() {
    let base = seconds([1000; 10]);
    let unsure = Report {
        verdict: Verdict::Inconclusive,
        reasons: vec!["the generator was late".into()],
        ..base.clone()
    };
    let comparison = held(&base, &unsure, 0.1);
    assert!(comparison.inconclusive[0].ends_with("proves nothing: the generator was late"));
    assert!(render(&comparison, false).contains("INCONCLUSIVE"));
}

#[test]
fn what_was_asked_differently_is_told() {
    let base = Report { config: serde_json::json!({"rate": 100.0, "seed": 1}), ..seconds([1000; 10]) };
    let new = Report { config: serde_json::json!({"rate": 50.0, "seed": 2}), ..seconds([1000; 10]) };
    let comparison = held(&base, &new, 0.1);
    assert_eq!(comparison.notes, ["rate: 100.0 in the base, 50.0 in the new run"]);
}

#[test]
fn what_was_not_measured_is_unknown() {
    let base = seconds([1000; 10]);
    let mut new = base.clone();
    new.cluster.server = None;
    let comparison = held(&base, &new, 0.1);
    assert_eq!(change(&comparison, "server memory"), Change::Unknown);
    assert!(!comparison.has_regressed());
}

#[test]
fn a_rate_that_is_gone_is_worse() {
    let base = seconds([1000; 10]);
    let mut new = base.clone();
    new.series.iter_mut().for_each(|second| second.delivered = 0);
    assert_eq!(change(&held(&base, &new, 0.1), "delivery.rate"), Change::Worse);
    assert_eq!(change(&held(&new, &base, 0.1), "delivery.rate"), Change::Unknown);
}

#[test]
fn a_new_run_that_failed_is_told() {
    let base = seconds([1000; 10]);
    let failed =
        Report { verdict: Verdict::Fail, reasons: vec!["P3 no loss: 1 violation".into()], ..base.clone() };
    let text = render(&held(&base, &failed, 0.1), false);
    assert!(text.contains("FAIL  the new run is a fail by itself: P3 no loss: 1 violation"), "{text}");
    assert!(held(&failed, &base, 0.1).failed.is_none(), "the base is no matter");
}
