//! Where results go, and what is made of them afterwards.

use std::path::Path;

use serde_json::Value;

use crate::{document, run};

/// A short run, and its report in `file`.
fn recorded(file: &Path, more: &str) -> Value {
    let load = "run --local 2 --redis embedded -c 20 -r 200 -d 2s --output-format json -q";
    let output = run(&format!("{load} -o {} {more}", file.display()));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    document(&output)
}

#[test]
fn the_extension_says_the_form_of_each_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let more = ["x.csv", "x.html", "x.hlog", "x.xml", "x.md", "x.txt"]
        .map(|name| format!(" -o {}", path(name).display()));
    let report = recorded(&path("x.json"), &more.concat());
    let text = |name: &str| std::fs::read_to_string(path(name)).expect(name);
    assert_eq!(serde_json::from_str::<Value>(&text("x.json")).expect("JSON"), report);
    let seconds = report["series"].as_array().expect("a series").len();
    assert_eq!(text("x.csv").lines().count(), 1 + seconds);
    assert!(text("x.html").starts_with("<!doctype html>"));
    assert!(text("x.hlog").contains("\nTag=delivery,0.000,"), "{}", text("x.hlog"));
    assert!(text("x.xml").starts_with("<?xml"));
    assert!(text("x.md").contains("p99"), "{}", text("x.md"));
    assert!(text("x.txt").contains("PASS"));
    let wrong = run("run --local 2 -o report.pdf");
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2), "{said}");
    assert!(said.contains(".json, .csv, .html, .hlog, .xml, .md, .txt"), "{said}");
}

#[test]
fn reports_are_merged() {
    let folder = tempfile::tempdir().expect("a folder");
    let [a, b, page] = ["a.json", "b.json", "both.html"].map(|name| folder.path().join(name));
    let (one, other) = (recorded(&a, "--seed 1"), recorded(&b, "--seed 2"));
    let files = format!("{} {}", a.display(), b.display());
    let output = run(&format!("report {files} --output-format json -o {}", page.display()));
    let merged = document(&output);
    assert_eq!((output.status.code(), &merged["verdict"]), (Some(0), &"pass".into()), "{merged:#}");
    for sum in ["sent", "delivered", "connections"] {
        let of = |report: &Value| report["counts"][sum].as_u64().expect("a count");
        assert_eq!(of(&merged), of(&one) + of(&other), "{sum}");
    }
    let count = |report: &Value| report["latency_us"]["delivery"]["count"].as_u64().expect("a count");
    assert_eq!(count(&merged), count(&one) + count(&other));
    let seeds: Vec<_> = merged["runs"].as_array().expect("two").iter().map(|run| &run["seed"]).collect();
    assert_eq!(seeds, [1, 2]);
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("merged from 2 runs") && !page.contains("To repeat it"));
    // What is of another kind is named.
    let text = std::fs::read_to_string(&b).expect("a report");
    let contract = one["contract"].as_str().expect("a contract");
    std::fs::write(&b, text.replace(&format!("{contract:?}"), "\"other\"")).expect("written");
    let output = run(&format!("report {files}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("b.json can't be merged: its contract is \"other\""), "{said}");
}

#[test]
fn a_report_is_held_against_an_earlier_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let [base, new] = ["base.json", "new.json"].map(|name| folder.path().join(name));
    let mut report = recorded(&base, "");
    let compare = |tolerance: &str| {
        run(&format!(
            "compare {} {} --tolerance {tolerance} --output-format json",
            base.display(),
            new.display()
        ))
    };
    std::fs::copy(&base, &new).expect("copied");
    assert_eq!(compare("0").status.code(), Some(0), "a run is as good as itself");
    report["counts"]["lost"] = 3.into();
    std::fs::write(&new, report.to_string()).expect("written");
    let output = compare("10%");
    let comparison = document(&output);
    assert_eq!(output.status.code(), Some(99), "{comparison:#}");
    let lost = comparison["rows"].as_array().expect("rows").iter().find(|row| row["metric"] == "lost");
    assert_eq!(lost.map(|row| (&row["base"], &row["change"])), Some((&0.0.into(), &"worse".into())));
    assert_eq!(compare("ten").status.code(), Some(2));
    report["verdict"] = "inconclusive".into();
    std::fs::write(&new, report.to_string()).expect("written");
    assert_eq!(compare("10%").status.code(), Some(3));
}
