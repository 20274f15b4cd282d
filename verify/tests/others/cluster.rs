//! Runs, and what their reports say.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use crate::tool::{Ended, passed, run_with};

/// One run at a time: each has half a dozen processes, and what is late on a crowded machine proves nothing.
static TURN: Mutex<()> = Mutex::new(());

/// A run to its end, with a report as JSON.
pub(crate) fn run(args: &[&str]) -> Ended {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // Late is not what these tests are about, and what was lost is not waited for long.
    run_with(&[&["run", "--output-format", "json", "--deadline", "20s", "--settle", "6s"], args].concat())
}

/// The same against a program in place of ws-server, as three replicas that speak Socket.IO.
pub(crate) fn serve(program: &str, args: &[&str]) -> Ended {
    run(&[&["--local", "3", "--protocol", "socketio", "--serve", program], args].concat())
}

/// Each of the messages reached each of its members exactly once.
pub(crate) fn assert_whole(ended: &Ended) -> Value {
    let document = passed(ended);
    assert!(count(&document, "sent") > 0 && count(&document, "lost") == 0, "{document:#}");
    document
}

/// It lost something and nothing else is wrong with it; and what it lost is put down to the fault of this name.
pub(crate) fn assert_lost_by(ended: &Ended, fault: &str, how: &[&str]) -> Value {
    let document = document(ended);
    let failed = crate::tool::failed(&document);
    assert_eq!((ended.exit, &failed[..]), (Some(1), &["P3"][..]), "{document:#}\n{}", ended.stderr);
    for cause in causes(&document) {
        assert_eq!(cause["fault"], fault, "{document:#}");
        assert!(how.iter().any(|how| cause["how"] == *how), "{document:#}");
    }
    assert_eq!(document["faults"][0]["lost"], document["counts"]["lost"], "{document:#}");
    document
}

/// What was missing, grouped.
pub(crate) fn causes(document: &Value) -> &[Value] {
    document["causes"].as_array().expect("a list")
}

pub(crate) fn count(document: &Value, name: &str) -> u64 {
    document["counts"][name].as_u64().expect("a count")
}

/// How much there was to check of a property.
pub(crate) fn checked(document: &Value, id: &str) -> u64 {
    let properties = document["properties"].as_array().expect("a list");
    let property = properties.iter().find(|property| property["id"] == id).expect("it is there");
    property["checked"].as_u64().expect("a count")
}

/// A file of the repository, for the shell.
pub(crate) fn path(file: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    format!("'{}'", root.join(file).display())
}

fn document(ended: &Ended) -> Value {
    assert!(!ended.stdout.is_empty(), "exit {:?}: {}", ended.exit, ended.stderr);
    ended.document()
}
