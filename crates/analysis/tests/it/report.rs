//! The report's two forms.

use ws_analysis::report::{self, Counts, Report, Verdict, text};

use crate::world::{Ev, World};

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
        counts: Counts::new(&findings, 6, 2),
        properties: report::properties(&findings, &nodes),
        latency_us: report::Latency::default(),
        replica_matrix: report::matrix(&findings, &nodes),
        cluster: report::ClusterUse::default(),
        generator: report::Generator::default(),
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
