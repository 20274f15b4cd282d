//! The report's two forms.

use ws_analysis::report::{self, Counts, Member, Report, Summary, Verdict, text};

use crate::{
    sample as runs,
    world::{Ev, World},
};

fn sample() -> Report {
    let history = [Ev::Send(0), Ev::Ack(0), Ev::Deliver(0, 0), Ev::Deliver(1, 0)];
    let findings = World::new(3).play(&history);
    let nodes = ["app-1".to_owned(), "app-2".to_owned()];
    Report {
        schema: report::SCHEMA.into(),
        tool: "ws-verify".into(),
        version: "1.2.3".into(),
        verdict: Verdict::Fail,
        reasons: vec!["P3 no loss: 1 violations in 2 deliveries owed".into()],
        notes: vec!["word ".repeat(40).trim().into()],
        seed: 1,
        config: serde_json::Value::Null,
        environment: report::Environment::default(),
        target: report::Target::default(),
        contract: "exactly-once".into(),
        phases: report::Phases::default(),
        faults: Vec::new(),
        causes: Vec::new(),
        series: Vec::new(),
        timeline: Vec::new(),
        counts: Counts::new(&findings, 6, 2, 0),
        properties: report::properties(&findings, &nodes, |_, _| None),
        thresholds: Vec::new(),
        latency_us: report::Latency::default(),
        replica_matrix: report::matrix(&findings, &nodes),
        cluster: report::ClusterUse::default(),
        generator: report::Generator::default(),
        histograms: None,
        runs: Vec::new(),
        memory: report::Memory::default(),
        members: Vec::new(),
    }
}

#[test]
fn the_document_is_read_back_as_it_was_written() {
    let report = sample();
    let document = serde_json::to_string(&report).expect("JSON");
    let read: Report = serde_json::from_str(&document).expect("the same");
    assert_eq!(serde_json::to_string(&read).expect("JSON"), document);
    assert!(
        document
            .starts_with(r#"{"schema":"ws-report/1","tool":"ws-verify","version":"1.2.3","verdict":"fail""#)
    );
}

#[test]
fn the_text_fits_a_terminal_and_names_the_loss() {
    let text = text::render(&sample(), false);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(text.contains("FAIL P3   no loss            1 violations in 2 deliveries owed"), "{text}");
    assert!(text.contains("to session 2 on app-1"), "{text}");
    assert!(!text.contains('\x1b'), "no colours unless asked for");
    assert!(text::render(&sample(), true).contains("\x1b[31;1mFAIL\x1b[0m"));
}

#[test]
fn what_was_not_sent_is_told() {
    let mut report = runs::passing();
    assert!(!text::render(&report, false).contains("not sent"));
    report.counts.skipped = 1_200;
    assert!(text::render(&report, false).contains(" acked, 1,200 not sent\n"));
}

#[test]
fn times_below_the_error_of_the_clocks_are_marked() {
    let member =
        |name: &str, clock_error_us| Member { name: name.into(), connections: 3, clock_error_us, lost: None };
    let mut report = Report { members: vec![member("a", 300), member("b", 200)], ..runs::passing() };
    report.latency_us.delivery =
        Summary { count: 10, min: 400, p50: 450, p90: 499, p99: 500, p999: 800, max: 900 };
    let text = text::render(&report, false);
    assert!(!text.contains('~') && text.contains("  shared by    a 3, b 3\n"), "one clock a room: {text}");
    report.config = serde_json::json!({ "share_all": 0.1 });
    let text = text::render(&report, false);
    assert!(text.contains("delivery      ~0.45 ms ~0.50 ms  0.50 ms  0.80 ms  0.90 ms"), "{text}");
    assert!(text.contains("a 3, b 3; clocks within 0.50 ms"), "{text}");
    report.members[1].lost = Some("its connection ended".into());
    assert!(text::render(&report, false).contains("a 3, b 3 (lost)"));
}

#[test]
fn the_faults_and_causes_come_before_the_properties_of_a_failing_run() {
    let text = text::render(&runs::failing(), false);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "servers do not steer the terminal");
    let middle = text.split_once("deliveries   ").and_then(|(_, rest)| rest.split_once("  ok   P1"));
    assert_eq!(middle.expect("both").0, FAULTS_AND_CAUSES);
    let examples = text.split_once("for example:\n").expect("examples").1;
    assert!(examples.starts_with(EXAMPLE), "{examples}");
}

#[test]
fn a_passing_run_without_faults_is_as_short_as_before() {
    let text = text::render(&runs::passing(), false);
    assert!(!text.contains("faults") && !text.contains("cause"));
    assert!(text.contains("  contract     exactly-once\n"));
    assert!(text.ends_with("exactly once,\n      479,988 deliveries in all\n"), "{text}");
}

#[test]
fn a_pass_with_gaps_does_not_say_exactly_once() {
    let report = Report {
        contract: "at-most-once".into(),
        causes: runs::failing().causes,
        counts: Counts { missed: 1_241, lost: 0, ..runs::failing().counts },
        ..runs::passing()
    };
    let text = text::render(&report, false);
    assert!(text.ends_with(
        "PASS  the contract at-most-once was kept: of 479,988 deliveries\n      1,241 are missing, as it allows\n"
    ));
    let (properties, causes) = (text.find("  ok   P1"), text.find("  missing, by cause"));
    assert!(properties < causes, "nobody is to blame");
}

const FAULTS_AND_CAUSES: &str = "\
479,988 expected, 478,747 delivered, 1,241 lost, 0 twice

  faults            on                  from-to    lost  seen
  kill-replica 1    app-1             5.0-8.4 s       0  pid 4312 gone, its 10..
  cut-redis 1       app-2           14.0-18.0 s   1,204  2 connections reset, ..
  slow-redis 1      3 of them       24.0-29.0 s       0  PING took 51.2 ms, 0...
  storm 1           300 clients     34.0-36.0 s       0  300 of 300 connection..
  half-open 1       60 clients      43.0-49.0 s      37  60 connections hold 1..
  pause-redis 1     redis            56.0 s-end       0  SIGSTOP to pid 4300: ..

  back in room         cut off       50%       95%      100%   never  after
  storm 1                  300     48 ms    112 ms    1.31 s       0  heal
  half-open 1               60    5.10 s         -         -       4  injection

  missing, by cause:
    - 1,204 of 1,241 missing, all to app-2, all during cut-redis 1, nobody was
      told
    - 29 of 1,241 missing, all from app-1 to app-2, all during half-open 1,
      nobody was told
    - 8 of 1,241 missing, all to app-2, all during half-open 1, told by a gap
      notice (allowed by the contract)

";

const EXAMPLE: &str = r"    - room 7 #1392 from session 4 on app-1 to session 11 on app-2, at 14.02 s,
      during cut-redis 1: acked, never delivered to this member
        13.98 s  got room 7 #1391 from session 31
        14.00 s  fault cut-redis 1 on app-2
        14.02 s  room 7 #1392 sent by session 4 on app-1, acked 14.02 s
        14.03 s  room 7 #1392 reached 9 of 10 members, the first after 0.8 ms
";

#[test]
fn a_demand_makes_a_fail_of_a_pass_and_nothing_of_what_proves_nothing() {
    let demanded = |mut report: Report, demand: &str| {
        report.demand(&[demand.parse().expect(demand)], None);
        (report.verdict, report.thresholds[0].met, report.reasons.last().cloned())
    };
    let passing = crate::sample::passing;
    assert_eq!(demanded(passing(), "lost==0"), (Verdict::Pass, true, None));
    let missed = Some("threshold lost>0: it was 0".to_owned());
    assert_eq!(demanded(passing(), "lost>0"), (Verdict::Fail, false, missed.clone()));
    let inconclusive = Report { verdict: Verdict::Inconclusive, ..passing() };
    assert_eq!(demanded(inconclusive, "lost>0"), (Verdict::Inconclusive, false, missed));
    let mut report = passing();
    report.demand(&["lost>0".parse().expect("a demand")], None);
    let text = text::render(&report, false);
    assert!(text.contains("  FAIL threshold lost>0: it was 0\n"), "{text}");
}
