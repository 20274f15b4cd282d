//! Another server of Socket.IO: python-socketio, with its Redis manager, as tests/others/python/app.py uses it.

use serde_json::Value;

use crate::{
    cluster::{assert_whole, checked, count, path, serve},
    tool::{Ended, failed},
};

/// The application, with what stands before it in the environment.
fn app(environment: &str) -> String {
    let (python, app) = (path("target/others/python/bin/python"), path("verify/tests/others/python/app.py"));
    format!("{environment} exec {python} {app}")
}

/// It says who it is by an event, and before it answers the CONNECT.
const LOAD: [&str; 8] =
    ["-c", "30", "-r", "200", "-d", "3s", "--socketio", r#"node=welcome {"node":"{data}"}"#];

#[test]
#[ignore = "needs Python's venv and pip: ./test installs the rest"]
fn at_peace_it_delivers_everything() {
    let document = assert_whole(&serve(&app("HANDLERS=one"), &[&LOAD[..], &["--share-all", "0.1"]].concat()));
    let replicas = document["target"]["replicas"].as_array().expect("a list");
    assert_eq!(replicas.iter().filter(|replica| replica["node"] == "app-2").count(), 1, "{document:#}");
}

/// By default each event is handled by a task of its own, and redis-py takes a connection out of its pool for each that
/// publishes: what one client sent comes in another order on the other replicas. How often is a race; that nothing else is
/// wrong is none.
#[test]
#[ignore = "needs Python's venv and pip: ./test installs the rest"]
fn by_default_it_confuses_what_one_client_sent() {
    let document = assert_nothing_but(&serve(&app(""), &[&LOAD[..], &["--senders", "1"]].concat()), "P6");
    assert!(checked(&document, "P6") > 0, "{document:#}");
}

/// Its servers ack whatever asks for it: so here nothing does.
#[test]
#[ignore = "needs Python's venv and pip: ./test installs the rest"]
fn without_acks_its_joins_are_probed() {
    let document =
        assert_whole(&serve(&app("HANDLERS=one"), &[&LOAD[..], &["--socketio", "acks=no"]].concat()));
    assert!(document["notes"].to_string().contains("30 joins were not acked"), "{document:#}");
}

/// It makes a task for each member that a message goes to, so the ack of a leave may overtake a message. How often is a
/// race; that nothing else is wrong is none.
#[test]
#[ignore = "needs Python's venv and pip: ./test installs the rest"]
fn a_member_that_has_left_may_hear_one_more_message() {
    let churn = ["--socketio", r#"leave=leaveRoom {"room":"{room}"}"#, "--churn", "20"];
    let document = assert_nothing_but(&serve(&app("HANDLERS=one"), &[&LOAD[..], &churn[..]].concat()), "P10");
    assert!(checked(&document, "P10") > 10, "{document:#}");
}

/// Every message came once, and no other property than this one is violated.
fn assert_nothing_but(ended: &Ended, id: &str) -> Value {
    let document = ended.document();
    let failed = failed(&document);
    assert!(failed.is_empty() || failed == [id], "{document:#}\n{}", ended.stderr);
    assert!(matches!(ended.exit, Some(0 | 1)), "{document:#}\n{}", ended.stderr);
    assert!(count(&document, "sent") > 0, "{document:#}");
    assert_eq!((count(&document, "lost"), count(&document, "duplicated")), (0, 0), "{document:#}");
    document
}
