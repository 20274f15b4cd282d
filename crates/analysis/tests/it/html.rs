//! The page: safe, whole, and without what the run did not have.

use ws_analysis::report::{Counts, FaultResult, Report, Second, Verdict, html};

use crate::{markup, sample};

fn page(report: &Report) -> (String, Vec<String>) {
    let page = html::render(report);
    let tags = markup::check(&page, &["meta", "link"]);
    (page, tags)
}

#[test]
fn what_servers_say_is_text_and_nothing_more() {
    let (page, tags) = page(&sample::failing());
    assert!(page.contains("app-3&lt;script&gt;alert(&#39;3&#39;)&lt;/script&gt;&quot;&amp;|`]]&gt;"));
    assert!(!page.to_lowercase().contains("<script"), "there is no script at all");
    assert!(page.contains("default-src 'none'"), "and none may run");
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!page.contains(steers), "nothing that turns the text or steers a terminal");
    assert!(!tags.iter().any(|tag| tag.contains(" on")), "no handlers");
}

#[test]
fn hostile_words_everywhere_change_no_tag() {
    let names = |report: &Report| -> Vec<String> {
        let tags = page(report).1.into_iter();
        tags.map(|tag| tag.split(' ').next().unwrap_or_default().to_owned()).collect()
    };
    let mut report = sample::failing();
    let harmless = serde_json::to_string(&report)
        .expect("JSON")
        .replace(serde_json::to_string(sample::HOSTILE).expect("JSON").trim_matches('"'), "app-3");
    assert_eq!(names(&report), names(&serde_json::from_str(&harmless).expect("a report")));
    report.tool = sample::HOSTILE.into();
    report.version = sample::HOSTILE.into();
    report.contract = sample::HOSTILE.into();
    report.target.broker = sample::HOSTILE.into();
    report.environment.os = sample::HOSTILE.into();
    report.config = serde_json::json!({ sample::HOSTILE: sample::HOSTILE });
    report.causes[0].said = sample::HOSTILE.into();
    report.faults[0].name = sample::HOSTILE.into();
    report.faults[0].planned = sample::HOSTILE.into();
    report.properties[2].name = sample::HOSTILE.into();
    report.properties[2].examples[0].message = Some(sample::HOSTILE.into());
    page(&report);
}

#[test]
fn nothing_is_fetched() {
    for report in [sample::failing(), sample::passing()] {
        let (page, tags) = page(&report);
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("url("));
        assert!(!page.contains("@import"));
        for tag in tags {
            assert!(!tag.contains(" src="), "{tag}");
            let link = tag.split_once("href=\"").map(|(_, link)| link);
            assert!(link.is_none_or(|link| link.starts_with('#') || link.starts_with("data:,")), "{tag}");
        }
    }
}

#[test]
fn the_verdict_is_a_word_a_shape_and_a_colour() {
    let inconclusive = Report {
        verdict: Verdict::Inconclusive,
        reasons: vec!["nothing was sent, so nothing is proved".into()],
        ..sample::passing()
    };
    for (report, word, class) in [
        (sample::passing(), "Pass", "pass"),
        (sample::failing(), "Fail", "fail"),
        (inconclusive, "Inconclusive", "open"),
    ] {
        let page = page(&report).0;
        assert!(page.contains(&format!("<h1>{word}</h1>")));
        assert!(page.contains(&format!("<header class=\"banner {class}\">")));
        assert!(page.contains(&format!("class=\"shape\" aria-hidden=\"true\"><use href=\"#{class}\"/>")));
        assert!(page.contains(&format!("<title>{word}: ws-verify, seed 3821864112</title>")));
    }
    let allowed = Report {
        contract: "at-most-once".into(),
        counts: Counts { missed: 1_241, lost: 0, ..sample::failing().counts },
        ..sample::passing()
    };
    let page = page(&allowed).0;
    assert!(page.contains("at-most-once was kept: of 479,988 deliveries 1,241 are missing, as it allows"));
    assert!(!page.contains("exactly once"), "which it was not");
}

#[test]
fn sections_come_in_order_and_only_with_something_in_them() {
    let headings = |report: &Report| -> Vec<String> {
        let page = page(report).0;
        let parts = page.split("<h2>").skip(1);
        parts.filter_map(|part| part.split_once("</h2>")).map(|(heading, _)| heading.to_owned()).collect()
    };
    let all = [
        "Thresholds",
        "What was missing, by cause",
        "Properties",
        "From replica to replica",
        "Over time",
        "Percentiles",
        "Faults",
        "Timeline",
        "Witnesses",
        "Latency",
        "Cost",
        "Configuration",
        "Environment",
        "To repeat it",
    ];
    assert_eq!(headings(&sample::failing()), all);
    let bare = Report {
        config: serde_json::Value::Null,
        series: Vec::new(),
        properties: Vec::new(),
        replica_matrix: Vec::new(),
        latency_us: ws_analysis::report::Latency::default(),
        generator: ws_analysis::report::Generator::default(),
        histograms: None,
        ..sample::passing()
    };
    assert_eq!(headings(&bare), ["Cost", "Environment", "To repeat it"]);
}

#[test]
fn a_day_with_a_hundred_faults_is_a_page_of_bounded_size() {
    let second =
        |at_s| Second { at_s, delivered: 1_000, lost: 1, p50_us: 900, p99_us: 9_000, ..Second::default() };
    let fault = |i: u64| FaultResult {
        name: format!("cut-redis {i}"),
        start_us: i * 864_000_000,
        healed_us: Some(i * 864_000_000 + 3_000_000),
        ..FaultResult::default()
    };
    let report = Report {
        series: (0..86_400).map(second).collect(),
        faults: (0..100).map(fault).collect(),
        ..sample::failing()
    };
    let page = page(&report).0;
    assert!(page.len() < 600_000, "{} bytes", page.len());
    assert!(page.contains("a point stands for 216 s"));
}

#[test]
fn only_what_is_whole_is_100_percent() {
    let mut report = sample::passing();
    for cell in &mut report.replica_matrix {
        cell.expected = 1_000_000_000;
        cell.delivered = 1_000_000_000;
    }
    report.replica_matrix[1].delivered -= 1;
    // Too much elsewhere makes up for nothing.
    report.replica_matrix[2].delivered += 1;
    let page = page(&report).0;
    assert_eq!(
        page.matches("99.99%<small>1 missing").count(),
        4,
        "the pair, its row, its column and the sum"
    );
}

#[test]
fn demands_are_a_table() {
    let page = page(&sample::failing()).0;
    let table = page.split_once("aria-label=\"Thresholds\"").expect("a table").1;
    let (met, not_met) = table.split_once("</tr>\n").expect("two rows");
    assert!(met.contains("met</span>") && met.contains("delivery.p99&lt;100ms"), "{met}");
    assert!(not_met.contains("not met</span>") && not_met.contains("bad\">1241</td>"), "{not_met}");
}

#[test]
fn percentiles_are_a_chart_of_what_was_timed() {
    let page = page(&sample::passing()).0;
    let chart = page.split_once("id=\"percentiles-title\"").expect("a chart").1;
    assert_eq!(chart.split_once("</figure>").expect("its end").0.matches("<path class=\"line").count(), 3);
    assert!(chart.contains(">99.99%</text>"));
}
