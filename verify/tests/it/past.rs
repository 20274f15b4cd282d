//! Results that are kept: all forms of a report, a history that is judged again, a run that is run again.

use std::path::Path;

use crate::tool::{Ended, failed, run_with};

fn recorded(folder: &Path, args: &str) -> Ended {
    let folder = folder.display().to_string();
    let mut all: Vec<&str> = args.split(' ').collect();
    all.extend(["--output-format", "json", "--history", "--report-dir", &folder]);
    run_with(&all)
}

#[test]
fn a_history_is_judged_as_its_run_was() {
    let check = |args: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let ended = recorded(folder.path(), args);
        let path = folder.path().display().to_string();
        let again = run_with(&["check", &path, "--output-format", "json"]);
        let (document, judged) = (ended.document(), again.document());
        assert_eq!((again.exit, &judged["verdict"]), (ended.exit, &document["verdict"]), "{judged:#}");
        for field in ["reasons", "counts", "properties", "causes", "replica_matrix", "faults"] {
            assert_eq!(judged[field], document[field], "{args}: {field}");
        }
        // The same in the file of its own, without compression.
        let packed = std::fs::read(folder.path().join("history.jsonl.zst")).expect("it was written");
        let plain = folder.path().join("plain.jsonl");
        std::fs::write(&plain, zstd::decode_all(&*packed).expect("it is whole")).expect("it can be written");
        let plain = run_with(&["check", &plain.display().to_string(), "--output-format", "json"]);
        assert_eq!(plain.stdout, again.stdout);
        for form in ["report.json", "report.html", "junit.xml", "schedule.toml"] {
            assert!(folder.path().join(form).exists(), "{form}");
        }
        document
    };
    let lossy = check("run --local 3 -c 60 -r 1000 -d 1s --bug drop --churn 5");
    assert_eq!(failed(&lossy), ["P3"], "{lossy:#}");
    let whole =
        check("run --local 3 -c 30 -r 200 -d 4s --fault reset-clients@1s --workers 2 --share-all 0.1");
    assert_eq!(whole["verdict"], "pass", "{whole:#}");
    check("run --local 2 --redis embedded -c 10 -r 0 -d 1s");
}

#[test]
fn a_broken_off_or_foreign_history_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |content: &[u8], name: &str, why: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("it can be written");
        let ended = run_with(&["check", &path.display().to_string()]);
        assert_eq!(ended.exit, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    };
    check(b"", "empty.jsonl", "it is empty");
    check(b"nonsense", "x.jsonl", "line 1 is no header");
    check(b"not zstd", "x.jsonl.zst", "can't be judged");
    let header = r#"{"history":"ws-history/1","setups":[{"run":1,"worker":0,"topology":{"connections":1,"rooms":1,
        "workers":1},"room_prefix":"r","follow_all":false,"nodes":["a"],"deadline_us":1,"rules":{"contract":
        "exactly-once","total_order":false,"causal_order":false,"timeliness":false},"has_ways_back":true}]}"#;
    check(header.replace('\n', "").as_bytes(), "cut.jsonl", "was broken off");
    let ended = run_with(&["check", "/nowhere"]);
    assert_eq!(ended.exit, Some(2), "{}", ended.stderr);
}

#[test]
fn a_run_is_run_again_from_its_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = "run --local 2 -c 20 --rate-per-client 5 -d 3s --rooms 4 --zipf 1 --size 100..200 --connect-stage 0s:1k \
         --churn 1 --lifetime 9s --settle 7s --fault kill-pubsub@500ms";
    let document = recorded(folder.path(), args).document();
    let report = folder.path().join("report.json").display().to_string();
    let again = run_with(&["replay", &report, "--output-format", "json"]);
    assert_eq!(again.exit, Some(0), "{}{}", again.stdout, again.stderr);
    let replayed = again.document();
    assert_eq!(replayed["config"], document["config"]);
    assert_eq!(replayed["seed"], document["seed"]);
    let other = run_with(&["replay", &report, "--output-format", "json", "-c", "10", "-d", "4s"]);
    assert_eq!(other.document()["config"]["connections"], 10);
    let ended = run_with(&["replay", "/nowhere/report.json"]);
    assert_eq!(ended.exit, Some(2), "{}", ended.stderr);
}
