//! What makes a run pass, fail or prove nothing: every gate alone, beside the like that does not close it.

use ws_analysis::{
    judge::{Cause, Findings},
    ledger::Absence,
    report::{self, FaultResult, Report, Verdict},
    timeline::{Timeline, Window},
    verdict::{self, Facts, Purpose},
};

use crate::world::{Ev, World};

/// A member on each replica sends, from message `first` on, and all three members get it.
fn round(first: usize) -> Vec<Ev> {
    let mut events = vec![Ev::Send(0), Ev::Send(1), Ev::Ack(first), Ev::Ack(first + 1)];
    events.extend((0..3).flat_map(|member| [Ev::Deliver(member, first), Ev::Deliver(member, first + 1)]));
    events
}

/// Without faults.
fn calm() -> (Facts, Findings) {
    (facts(), World::new(3).play(&round(0)))
}

/// A second before a fault, a second with it, and what follows.
fn stormy() -> (Facts, Findings) {
    let rounds = [round(0), second(), round(2), second(), round(4)].concat();
    (Facts { faults: vec![fault("cut-redis 1")], ..facts() }, during(&[(SECOND, 2 * SECOND)], &rounds))
}

const SECOND: u64 = 1_000_000;

fn second() -> Vec<Ev> {
    vec![Ev::Wait(SECOND)]
}

fn during(faults: &[(u64, u64)], history: &[Ev]) -> Findings {
    let faults = faults.iter().map(|&(start_us, end_us)| Window { start_us, end_us }).collect();
    World::new(3).with(Timeline { faults, settle_us: 20, ..Timeline::default() }).play(history)
}

fn facts() -> Facts {
    Facts {
        connections: 6,
        rooms: 2,
        replicas: vec![("app-1".into(), 3), ("app-2".into(), 3)],
        replicas_planned: 2,
        ..Facts::default()
    }
}

fn fault(name: &str) -> FaultResult {
    FaultResult { name: name.into(), effective_us: Some(SECOND + 1), ..FaultResult::default() }
}

fn judged(facts: &Facts, findings: &Findings) -> (Verdict, Vec<String>) {
    verdict::verdict(facts, findings, &report::properties(findings, &[], |_, _| None))
}

/// The run is inconclusive for these reasons, or passes if there are none.
#[track_caller]
fn check(facts: &Facts, findings: &Findings, reasons: &[&str]) {
    let (verdict, said) = judged(facts, findings);
    let expected = if reasons.is_empty() { Verdict::Pass } else { Verdict::Inconclusive };
    assert_eq!((verdict, said.len()), (expected, reasons.len()), "{said:?}");
    for (said, reason) in said.iter().zip(reasons) {
        assert!(said.contains(reason), "{said:?}: {reason}");
    }
}

/// What `change` makes of a run without faults, and of one with a fault.
#[track_caller]
fn gate(change: impl Fn(&mut Facts, &mut Findings), reasons_calm: &[&str], reasons_stormy: &[&str]) {
    for ((mut facts, mut findings), reasons) in [(calm(), reasons_calm), (stormy(), reasons_stormy)] {
        change(&mut facts, &mut findings);
        check(&facts, &findings, reasons);
    }
}

/// One that must close whether there are faults or not.
#[track_caller]
fn always(reason: &str, change: impl Fn(&mut Facts, &mut Findings)) {
    gate(change, &[reason], &[reason]);
}

/// One that a fault explains.
#[track_caller]
fn in_calm(reason: &str, change: impl Fn(&mut Facts, &mut Findings)) {
    gate(change, &[reason], &[]);
}

#[test]
fn a_run_that_did_as_planned_passes() {
    gate(|_, _| (), &[], &[]);
}

#[test]
fn sockets_that_did_not_open_or_join() {
    always("2 sockets did not open: refused (2)", |facts, _| {
        facts.not_opened.insert("refused".into(), 2);
        // These two, and no others.
        facts.not_joined = 2;
    });
    always("1 sockets did not get into their room", |facts, _| facts.not_joined = 1);
    always("3 times the server did not keep to its protocol: odd (3)", |facts, _| {
        facts.problems.insert("odd".into(), 3);
    });
}

#[test]
fn what_only_a_fault_excuses() {
    in_calm("1 sockets ended before", |facts, _| {
        facts.ended_early.insert("app-1: reset".into(), 1);
    });
    in_calm("in 1 rooms the end could not be fenced", |facts, _| facts.unfenced_rooms = 1);
}

#[test]
fn what_no_fault_explains() {
    always("1 were refused and 0 never", |_, findings| findings.counts.calm.refused = 1);
    always("0 were refused and 1 never", |_, findings| findings.counts.calm.unanswered = 1);
    always("1 messages were due on sockets that were gone", |_, findings| findings.counts.calm.skipped = 1);
    always("1 sessions could not get back", |facts, _| facts.not_back = 1);
    always("1 messages were acked and then refused", |_, findings| findings.counts.contradicted = 1);
    always("1 leaves were never answered", |_, findings| findings.counts.leaves_unanswered = 1);
    always("P7 total order was to be proved", |facts, _| facts.orders = vec!["P7".into()]);
    // With faults on: the ends of connections that none explains.
    let (facts, mut findings) = stormy();
    findings.counts.calm.cuts = 1;
    check(&facts, &findings, &["1 sockets ended while no fault was on"]);
}

#[test]
fn the_generator_and_the_tool() {
    gate(|facts, _| facts.lag_p99_us = 100_000, &[], &[]);
    always("fell behind its schedule (p99 100 ms)", |facts, _| facts.lag_p99_us = 100_001);
    always("interrupted", |facts, _| facts.interrupted = true);
    always("app-1 ended: killed", |facts, _| facts.dead.push("app-1 ended: killed".into()));
    always("bug in this tool: planted", |facts, _| facts.canary = Some("no loss".into()));
}

#[test]
fn replicas_that_no_socket_reached() {
    always("all sockets reached one replica", |facts, _| facts.replicas[1].1 = 0);
    always("3 replicas were to be tested, and sockets reached 2", |facts, _| facts.replicas_planned = 3);
    // One socket can't reach more than one.
    gate(
        |facts, _| {
            (facts.connections, facts.replicas[1].1) = (1, 0);
        },
        &[],
        &[],
    );
}

#[test]
fn faults_that_were_not_seen_or_went_wrong() {
    let (mut facts, findings) = stormy();
    facts.faults[0].effective_us = None;
    check(&facts, &findings, &["cut-redis 1 was not seen to take effect"]);
    facts.faults[0].error = Some("no such process".into());
    check(&facts, &findings, &["cut-redis 1 went wrong: no such process"]);
    facts.purpose = Purpose::Load;
    check(&facts, &findings, &[]);
}

#[test]
fn nothing_sent_proves_nothing() {
    let findings = World::new(3).play(&[]);
    check(&facts(), &findings, &["nothing was sent"]);
    check(&Facts { purpose: Purpose::Load, ..facts() }, &findings, &[]);
}

#[test]
fn every_pair_of_replicas_carries_something_before_and_after_the_faults() {
    let alone = |sender| {
        let mut history = vec![Ev::Send(sender), Ev::Ack(0)];
        history.extend((0..3).map(|member| Ev::Deliver(member, 0)));
        history
    };
    let check_calm = |sender, reason: &str| check(&facts(), &World::new(3).play(&alone(sender)), &[reason]);
    check_calm(
        0,
        "in the whole run nothing was owed from 2 of 4 replicas to another (app-2 > app-1, app-2 > app-2)",
    );
    check_calm(1, "(app-1 > app-1, app-1 > app-2)");
    let facts = stormy().0;
    let phases = |rounds: [bool; 3]| {
        let mut first = 0;
        let mut history = Vec::new();
        for whole in rounds {
            history.extend(if whole { round(first) } else { Vec::new() });
            first += if whole { 2 } else { 0 };
            history.extend(second());
        }
        during(&[(SECOND, 2 * SECOND)], &history)
    };
    check(&facts, &phases([true, true, true]), &[]);
    check(&facts, &phases([false, true, true]), &["before the first fault nothing was owed from 4 of 4"]);
    check(&facts, &phases([true, true, false]), &["after the last fault nothing was owed from 4 of 4"]);
    check(&facts, &phases([true, false, true]), &["during cut-redis 1: nothing was due to be sent"]);
}

#[test]
fn a_phase_in_which_nothing_was_due_proves_nothing_unless_it_is_short() {
    let facts = Facts { faults: vec![fault("cut-redis 1"), fault("storm 1")], ..facts() };
    let with = |faults: [(u64, u64); 2], on: &[Ev], between: &[Ev], first: usize| {
        let history =
            [&round(0), &second()[..], on, &second(), between, &second(), on, &second(), &round(first)];
        during(&faults, &history.concat())
    };
    let long = [(SECOND, 2 * SECOND), (3 * SECOND, 4 * SECOND)];
    let during_both = [
        "during cut-redis 1: nothing was due",
        "after the last fault nothing was due",
        "during storm 1: nothing was due",
    ];
    check(&facts, &with(long, &[], &[], 2), &during_both);
    // Due, and its sender was cut off: that is what the fault was for.
    check(&facts, &with(long, &[Ev::Skip], &[Ev::Skip], 2), &[]);
    let short = |us| [(SECOND, SECOND + us), (SECOND + us, SECOND + 2 * us)];
    check(&facts, &with(short(499_999), &[], &[], 2), &[]);
    check(&facts, &with(short(500_000), &[], &[], 2), &[during_both[0], during_both[2]]);
}

#[test]
fn a_violation_wins_and_its_causes_are_told() {
    let mut history = round(0);
    history.retain(|event| *event != Ev::Deliver(1, 0));
    let findings = World::new(3).play(&history);
    let (verdict, said) = judged(&Facts { interrupted: true, ..facts() }, &findings);
    assert_eq!(verdict, Verdict::Fail);
    let expected = [
        "app-2 is to blame: 1 of 1 missing deliveries were on their way to its members, and nobody was told",
        "P3 no loss: 1 violations in 4 deliveries owed",
        "what was lost was due between 0.00 s and 0.00 s of the run",
        "1 of 1 missing, all of it on its way from app-1 to app-2; nobody was told",
        "interrupted: what was sent until then was judged",
    ];
    assert_eq!(said, expected);
    // A canary that was not found stands above all.
    let (verdict, said) = judged(&Facts { canary: Some("no loss".into()), ..facts() }, &findings);
    assert_eq!(verdict, Verdict::Fail);
    assert!(said[0].starts_with("bug in this tool"), "{said:?}");
}

/// The good run without faults, in which of what was owed over each pair of replicas so much is missing.
fn missing(pairs: [(u64, u64); 4]) -> Findings {
    let mut findings = calm().1;
    for (pair, (expected, missing)) in findings.pairs.iter_mut().zip(pairs) {
        (pair.expected, pair.missing) = (expected, missing);
        findings.counts.lost += missing;
    }
    findings
}

#[test]
fn blame() {
    let said = |facts: &Facts, findings: &Findings| {
        judged(facts, findings).1.into_iter().find(|reason| reason.contains(" is to blame"))
    };
    let check = |pairs, calm: Option<&str>, stormy: Option<&str>| {
        let findings = missing(pairs);
        let blamed = |facts: &Facts| said(facts, &findings).map(|said| said[..5].to_owned());
        assert_eq!(blamed(&facts()).as_deref(), calm, "{pairs:?}");
        assert_eq!(blamed(&self::stormy().0).as_deref(), stormy, "{pairs:?}");
    };
    let (one, two) = (Some("app-1"), Some("app-2"));
    // Half of what was on its way to one replica, and little of what was on its way to others.
    check([(50, 0), (50, 20), (50, 0), (50, 30)], two, two);
    check([(50, 20), (50, 0), (50, 30), (50, 0)], one, one);
    check([(50, 2), (50, 20), (50, 3), (50, 30)], two, two);
    check([(50, 3), (50, 20), (50, 3), (50, 30)], None, None);
    // Nearly all that is lost, without a fault.
    check([(50, 0), (50, 20), (50, 0), (50, 29)], two, None);
    check([(50, 1), (50, 4), (50, 0), (50, 5)], two, None);
    check([(50, 1), (50, 4), (50, 1), (50, 5)], None, None);
    check([(50, 5), (50, 5), (50, 5), (50, 5)], None, None);

    let mut findings = missing([(50, 0), (50, 20), (50, 0), (50, 30)]);
    let told = |silent, findings: &mut Findings| {
        findings.counts.silent = silent;
        said(&facts(), findings).expect("blamed").contains("nobody was told")
    };
    assert_eq!((told(45, &mut findings), told(44, &mut findings)), (true, false));
    let text = said(&facts(), &findings).expect("blamed");
    assert!(text.starts_with("app-2 is to blame: 50 of 50 missing"), "{text}");
    // All of it is allowed, or there is no other replica.
    findings.counts.lost = 0;
    assert_eq!(said(&facts(), &findings), None);
    let mut findings = missing([(50, 20), (0, 0), (0, 0), (0, 0)]);
    findings.pairs.truncate(1);
    assert_eq!(said(&Facts { replicas: vec![("app-1".into(), 6)], ..facts() }, &findings), None);
}

#[test]
fn a_cause_is_told_in_a_sentence() {
    let mut findings = calm().1;
    (findings.counts.lost, findings.counts.missed) = (3, 4);
    let cause = |from, to, fault, absence| Cause {
        fault,
        absence,
        allowed: false,
        lost: 2,
        from,
        to,
        between_us: (0, 0),
    };
    let (calm, stormy) = (facts(), stormy().0);
    let alone = Facts { replicas: vec![("app-1".into(), 6)], ..facts() };
    let check = |facts: &Facts, cause: Cause, expected: &str| {
        assert_eq!(verdict::explain(&cause, facts, &findings), format!("2 of 7 missing{expected}"));
    };
    check(&calm, cause(None, None, None, Absence::Silent), "; nobody was told");
    check(
        &calm,
        cause(Some(0), Some(1), None, Absence::Told),
        ", all of it on its way from app-1 to app-2; the members were told by a gap notice",
    );
    check(
        &calm,
        cause(None, Some(1), None, Absence::Promised),
        ", all of it on its way to app-2; the server said that it would follow",
    );
    check(
        &calm,
        cause(Some(0), None, None, Absence::Away),
        ", all of it sent through app-1; sent while the members were cut off, and not made up for when they came back",
    );
    check(&stormy, cause(None, None, Some(0), Absence::Silent), ", during cut-redis 1; nobody was told");
    check(&stormy, cause(None, None, None, Absence::Silent), ", while no fault was on; nobody was told");
    for (from, to) in [(Some(0), Some(0)), (None, Some(0)), (Some(0), None)] {
        check(&alone, cause(from, to, None, Absence::Silent), "; nobody was told");
    }
}

#[test]
fn only_causes_that_the_contract_does_not_allow_are_reasons() {
    let (facts, mut findings) = calm();
    findings.lost_between_us = Some((SECOND, 2 * SECOND));
    let cause = Cause {
        fault: None,
        absence: Absence::Away,
        allowed: true,
        lost: 1,
        from: None,
        to: None,
        between_us: (0, 0),
    };
    findings.causes = vec![cause.clone(), Cause { allowed: false, absence: Absence::Silent, ..cause }];
    check(&facts, &findings, &["due between 1.00 s and 2.00 s", "; nobody was told"]);
}

#[test]
fn sums_that_do_not_agree_never_pass() {
    let (facts, mut findings) = calm();
    let report = |findings: &Findings| {
        let mut report: Report = crate::sample::passing();
        report.judge(findings, &Timeline::default(), &facts);
        (report.verdict, report.reasons.len())
    };
    assert_eq!(report(&findings), (Verdict::Pass, 0));
    findings.sums_agree = false;
    assert_eq!(report(&findings), (Verdict::Inconclusive, 1));
}
