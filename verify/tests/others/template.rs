//! A protocol that a file describes, against its own server: SocketCluster's, one replica.

use std::fs;

use crate::cluster::{assert_whole, checked, path, run};

fn app() -> String {
    // It asks every half second whether its clients are there, and gives them a second and a half.
    format!("PING_MS=500 exec node {}", path("verify/tests/others/node/socketcluster.js"))
}

const TEMPLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/templates/socketcluster.toml");

#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn socketcluster_delivers_everything() {
    let load = ["-c", "30", "-r", "200", "-d", "4s", "--churn", "10"];
    let ended = run(&[&["--local", "1", "--serve", &app(), "--template", TEMPLATE], &load[..]].concat());
    let document = assert_whole(&ended);
    assert_eq!(document["target"]["protocol"], "socketcluster");
    assert_eq!(document["counts"]["acked"], document["counts"]["sent"], "{document:#}");
    assert!(checked(&document, "P10") > 10, "{document:#}");
}

/// So the answers to its heartbeats are what keeps the connections of the test above.
#[test]
#[ignore = "needs Node and npm: ./test installs the rest"]
fn who_does_not_answer_its_heartbeats_is_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("deaf.toml");
    let text = fs::read_to_string(TEMPLATE).expect("a template");
    let rule = "[[hear]]\nis = \"ping\"\ntext = \"\"\nreply = \"\"\n";
    assert!(text.contains(rule));
    fs::write(&file, text.replace(rule, "")).expect("written");
    // Nobody sends, for what is sent keeps a connection too.
    let load = ["-c", "10", "-r", "1", "--senders", "1", "-d", "4s"];
    let file = file.display().to_string();
    let ended = run(&[&["--local", "1", "--serve", &app(), "--template", &file], &load[..]].concat());
    assert_ne!(ended.exit, Some(0), "{}", ended.stdout);
    assert!(ended.document()["counts"]["ended_early"].as_u64() >= Some(1), "{}", ended.stdout);
}
