use ratatui::{Terminal, backend::TestBackend};

use super::*;

fn scene() -> Scene {
    let moment = |ms: u64| Moment {
        opened: 0.0,
        sent: 998.0,
        acked: 997.0,
        delivered: 9_970.0,
        replicas: (1..=3).map(|n| (format!("app-{n}"), (334, 3_330.0))).collect(),
        times: Some([ms * 500, ms * 900, ms * 1000, ms * 2000]),
        fault: ms == 3,
    };
    Scene {
        title: "ws-loadgen 0.1.0".into(),
        seed: 7,
        step: "sending",
        done: 7000,
        of: 30_000,
        sending_s: Some(7.2),
        duration_s: 90.0,
        connections: 1000,
        connect_rate: 2000.0,
        asked: 1000.0,
        standing: Some((Verdict::Pass, "nothing is wrong".into())),
        moments: (1..40).map(|n| moment(1 + n % 7)).collect(),
        lag_us: 210,
        cpu_share: 0.31,
        workers: 1,
        unread: 1234,
        counts: Counts::default(),
        open: 1000,
        incidents: BTreeMap::new(),
        faults: Bouts::default(),
        faults_planned: 0,
        said: None,
    }
}

fn drawn(scene: &Scene, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a test backend");
    terminal.draw(|frame| draw(frame, scene)).expect("a test backend");
    terminal.backend().to_string()
}

/// Every one of these is to be read in the picture.
fn check(scene: &Scene, parts: &[&str]) {
    let picture = drawn(scene, 80, 24);
    for part in parts {
        assert!(picture.contains(part), "{part} is missing:\n{picture}");
    }
}

#[test]
fn at_80_columns_all_is_there() {
    check(
        &scene(),
        &[
            "sending 0:07 of 1:30",
            "PASS so far  nothing is wrong ",
            "asked      1,000 messages",
            "sent       998 messages",
            "delivered  9,970 deliveries",
            "lag        210 us",
            "31% of a CPU, 1 worker",
            "1,234 bytes a socket",
            "1,000 of 1,000 open",
            "p50 2.5 ms   p90 4.5 ms   p99 5.0 ms   max 10 ms",
            "app-2            334 open    3,330/s",
            "q or Ctrl-C: stop and judge",
        ],
    );
}

#[test]
fn trouble_is_named() {
    let mut scene = scene();
    scene.standing = Some((Verdict::Fail, "12 violations".into()));
    scene.faults = Bouts { on: vec!["kill-replica 1".into()], over: vec!["reset-clients 1".into()] };
    scene.faults_planned = 3;
    scene.moments.last_mut().expect("some").replicas.insert("app-2".into(), (0, 0.0));
    scene.counts.duplicated = 12;
    scene.incidents.insert("ended: app-1: closed\u{1b}[2J with 1013".into(), 1500);
    scene.said = Some("interrupted: ending the run".into());
    check(
        &scene,
        &[
            "FAIL  12 violations",
            "on: kill-replica 1",
            "over: 1 of 3, last reset-clients 1",
            "app-2         nobody is connected",
            "\u{2588} a fault",
            "12 duplicated",
            "1,500 ended: app-1: closed\u{fffd}[2J",
            "interrupted: ending the run",
        ],
    );
}

#[test]
fn before_anything_is_known_and_in_a_small_terminal_it_is_drawn_all_the_same() {
    let empty = Scene { moments: vec![], standing: None, step: "connecting", sending_s: None, ..scene() };
    check(
        &empty,
        &[
            "nothing was delivered yet",
            "connecting 7,000 of 30,000",
            "asked      2,000 sockets",
            "not known yet",
        ],
    );
    let many = (1..=9).map(|n| (format!("app-{n}"), (1, 1.0))).collect();
    let mut crowd = scene();
    crowd.moments.push(Moment { replicas: many, ..Moment::default() });
    check(&crowd, &["app-4", "and 5 more"]);
    for (width, height) in [(1, 1), (20, 5), (40, 12), (200, 60)] {
        drawn(&crowd, width, height);
        drawn(&empty, width, height);
    }
}
