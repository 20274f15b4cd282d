//! What is owed to whom under which contract: connections that end, come back, resume, and are told of gaps.

use ws_analysis::{
    contract::{Contract, Rules},
    judge::Findings,
    ledger::Absence,
    property::Property,
    timeline::{Timeline, Window},
};

use crate::world::{DEADLINE_US, Ev, World, broken};

fn under(contract: Contract, history: &[Ev]) -> Findings {
    let findings = World::under(Rules { contract, ..Rules::default() }, 3).play(history);
    assert!(findings.sums_agree, "{contract} {history:?}: {:?}", findings.counts);
    findings
}

/// What `history` breaks under exactly-once, no-silent-loss and at-most-once.
fn check(history: &[Ev], expected: [&[(Property, u64)]; 3]) {
    let contracts = [Contract::ExactlyOnce, Contract::NoSilentLoss, Contract::AtMostOnce];
    for (contract, expected) in contracts.into_iter().zip(expected) {
        let findings = under(contract, history);
        assert_eq!(broken(&findings), expected.iter().copied().collect(), "{contract} {history:?}");
    }
}

/// Session 0 sends `message`, which is acked, and the members in `to` get it.
fn sent(message: usize, to: &[u32]) -> Vec<Ev> {
    let mut events = vec![Ev::Send(0), Ev::Ack(message)];
    events.extend(to.iter().map(|&member| Ev::Deliver(member, message)));
    events
}

const LOST: &[(Property, u64)] = &[(Property::Loss, 1)];
const RESUME: &[(Property, u64)] = &[(Property::Resume, 1)];
const TWICE: &[(Property, u64)] = &[(Property::Duplication, 1)];

#[test]
fn a_silent_gap_is_legal_only_under_at_most_once() {
    check(&sent(0, &[0, 1]), [LOST, LOST, &[]]);
    check(&sent(0, &[0, 1, 2]), [&[], &[], &[]]);
}

#[test]
fn a_gap_that_was_told_is_legal_under_no_silent_loss() {
    let told = [sent(0, &[0, 1]), vec![Ev::Gap(2)]].concat();
    check(&told, [LOST, &[], &[]]);
    assert_eq!(under(Contract::NoSilentLoss, &told).causes[0].absence, Absence::Told);
    // Told to another, or before it was sent, or long after what came since.
    check(&[sent(0, &[0, 1]), vec![Ev::Gap(1)]].concat(), [LOST, LOST, &[]]);
    check(&[vec![Ev::Gap(2)], sent(0, &[0, 1])].concat(), [LOST, LOST, &[]]);
    let later = [sent(0, &[0, 1]), vec![Ev::Wait(DEADLINE_US * 2)], sent(1, &[0, 1, 2]), vec![Ev::Gap(2)]];
    check(&later.concat(), [LOST, LOST, &[]]);
}

#[test]
fn who_was_cut_off_and_came_back_is_owed_what_it_missed_under_exactly_once() {
    let missed = |recovered| [vec![Ev::End(2)], sent(0, &[0, 1]), vec![Ev::Back(2, recovered)]].concat();
    check(&missed(None), [LOST, &[], &[]]);
    check(&missed(Some(false)), [LOST, &[], &[]]);
    assert_eq!(under(Contract::ExactlyOnce, &missed(None)).causes[0].absence, Absence::Away);
    let made_up = [missed(Some(true)), vec![Ev::Deliver(2, 0)]].concat();
    check(&made_up, [&[], &[], &[]]);
    assert_eq!(under(Contract::ExactlyOnce, &made_up).counts.resumed, 1);
}

#[test]
fn a_promise_to_resume_binds_under_every_contract() {
    let broken_promise = [vec![Ev::End(2)], sent(0, &[0, 1]), vec![Ev::Back(2, Some(true))]].concat();
    check(&broken_promise, [RESUME, RESUME, RESUME]);
}

#[test]
fn who_never_came_back_is_owed_nothing_of_what_followed() {
    check(&[vec![Ev::End(2)], sent(0, &[0, 1])].concat(), [&[], &[], &[]]);
    // What was due long before the end is a loss all the same.
    let before = [sent(0, &[0, 1]), vec![Ev::Wait(DEADLINE_US * 2), Ev::End(2)]].concat();
    check(&before, [LOST, LOST, &[]]);
}

#[test]
fn what_was_sent_between_the_join_and_its_ack_may_come() {
    let history = [
        vec![Ev::End(2), Ev::AskBack(2)],
        sent(0, &[0, 1, 2]),
        sent(1, &[0, 1]),
        vec![Ev::AckBack(2, None)],
        sent(2, &[0, 1, 2]),
    ];
    // Under exactly-once it is the session that is owed.
    check(&history.concat(), [LOST, &[], &[]]);
}

#[test]
fn a_copy_on_a_new_connection_is_a_second_one_only_in_a_session_that_resumed() {
    let twice =
        |recovered| [sent(0, &[0, 1, 2]), vec![Ev::End(2), Ev::Back(2, recovered), Ev::Deliver(2, 0)]];
    check(&twice(None).concat(), [TWICE, &[], &[]]);
    check(&twice(Some(true)).concat(), [TWICE, TWICE, TWICE]);
    assert_eq!(under(Contract::AtMostOnce, &twice(None).concat()).counts.repeated, 1);
    // What is sent after the rejoin can come twice only on the new connection.
    let new = [vec![Ev::End(2), Ev::Back(2, None)], sent(0, &[0, 1, 2]), vec![Ev::Deliver(2, 0)]].concat();
    check(&new, [TWICE, TWICE, TWICE]);
}

/// What a sender never got an answer to may still be on its way when its next connection sends.
#[test]
fn an_unanswered_send_is_in_no_order_with_what_follows_a_reconnect() {
    let behind = |answered: &[Ev]| {
        let mut history = vec![Ev::Send(0)];
        history.extend(answered);
        history.extend([Ev::End(0), Ev::Back(0, Some(true)), Ev::Send(0), Ev::Ack(1)]);
        history.extend((0..3).flat_map(|member| [Ev::Deliver(member, 1), Ev::Deliver(member, 0)]));
        history
    };
    check(&behind(&[]), [&[], &[], &[]]);
    let fifo: &[(Property, u64)] = &[(Property::Fifo, 3)];
    check(&behind(&[Ev::Ack(0)]), [fifo, fifo, fifo]);
}

#[test]
fn who_left_and_came_back_is_owed_nothing_of_between() {
    let history =
        [vec![Ev::Leave(2), Ev::Left(2)], sent(0, &[0, 1]), vec![Ev::Back(2, None)], sent(1, &[0, 1, 2])]
            .concat();
    check(&history, [&[], &[], &[]]);
    check(&[history, sent(2, &[0, 1])].concat(), [LOST, LOST, &[]]);
}

#[test]
fn who_leaves_is_owed_what_was_due_before_it_asked() {
    let leave = |wait| [sent(0, &[0, 1]), vec![Ev::Wait(wait), Ev::Leave(2), Ev::Left(2)]].concat();
    // On its way when the leave was asked for.
    check(&leave(0), [&[], &[], &[]]);
    check(&leave(DEADLINE_US * 2), [LOST, LOST, &[]]);
}

fn orders(history: &[Ev]) -> Vec<(Property, u64)> {
    let rules = Rules { total_order: true, causal_order: true, ..Rules::default() };
    broken(&World::under(rules, 3).play(history)).into_iter().collect()
}

#[test]
fn one_order_for_all_members() {
    let two = vec![Ev::Send(0), Ev::Ack(0), Ev::Send(1), Ev::Ack(1)];
    let seen = |last: [(usize, u64); 2]| {
        let mut history = two.clone();
        history
            .extend([0, 1].map(|member| [Ev::DeliverAt(member, 0, 1), Ev::DeliverAt(member, 1, 2)]).concat());
        history.extend(last.map(|(message, offset)| Ev::DeliverAt(2, message, offset)));
        history
    };
    assert_eq!(orders(&seen([(0, 1), (1, 2)])), []);
    assert_eq!(orders(&seen([(1, 2), (0, 1)])), [(Property::TotalOrder, 1)]);
    assert_eq!(orders(&seen([(0, 1), (1, 3)])), [(Property::TotalOrder, 1)]);
    // Nobody asked.
    assert!(broken(&World::new(3).play(&seen([(1, 2), (0, 1)]))).is_empty());
}

#[test]
fn no_answer_before_what_it_answers() {
    let answered = |last: [usize; 2]| {
        let mut history = vec![Ev::Send(0), Ev::Ack(0), Ev::Deliver(0, 0), Ev::Deliver(1, 0)];
        history.extend([Ev::Send(1), Ev::Ack(1), Ev::Deliver(0, 1), Ev::Deliver(1, 1)]);
        history.extend(last.map(|message| Ev::Deliver(2, message)));
        history
    };
    assert_eq!(orders(&answered([0, 1])), []);
    assert_eq!(orders(&answered([1, 0])), [(Property::CausalOrder, 1)]);
    assert!(broken(&World::new(3).play(&answered([1, 0]))).is_empty());
}

fn fault(start_us: u64, end_us: u64) -> Timeline {
    Timeline { faults: vec![Window { start_us, end_us }], settle_us: 10 }
}

#[test]
fn late_without_a_fault_is_a_violation() {
    let rules = Rules { timeliness: true, ..Rules::default() };
    let late = [sent(0, &[0, 1]), vec![Ev::Wait(DEADLINE_US * 2), Ev::Deliver(2, 0)]].concat();
    let judged = |timeline| broken(&World::under(rules, 3).with(timeline).play(&late));
    assert_eq!(judged(Timeline::default()).into_iter().collect::<Vec<_>>(), [(Property::Timeliness, 1)]);
    assert!(!judged(fault(DEADLINE_US, DEADLINE_US + 1)).contains_key(&Property::Timeliness));
    assert!(judged(fault(DEADLINE_US * 9, DEADLINE_US * 9)).contains_key(&Property::Timeliness));
    assert!(broken(&World::new(3).play(&late)).is_empty());
}

#[test]
fn after_the_last_heal_every_pair_of_replicas_is_probed() {
    let fenced = |missing: Option<(u32, usize)>, end: &[Ev]| {
        // 0 and 2 are on app-1, 1 is on app-2; the other room's members are 3 (app-2), 4 and 5.
        let mut history = vec![Ev::Fence(0), Ev::Fence(1), Ev::Fence(3), Ev::Fence(4)];
        history.extend((0..4).map(Ev::Ack));
        let all = [(0..3, [0, 1]), (3..6, [2, 3])];
        for (members, fences) in all {
            for (member, fence) in members.flat_map(|member| fences.map(|fence| (member, fence))) {
                history.extend((missing != Some((member, fence))).then_some(Ev::Deliver(member, fence)));
            }
        }
        history.extend(end);
        broken(&World::new(3).with(fault(1, 2)).play(&history))
    };
    assert!(fenced(None, &[]).is_empty());
    // A probe that did not arrive is also an acked message that did not.
    let missing = fenced(Some((2, 1)), &[]);
    assert_eq!(missing.get(&Property::Recovery), Some(&1), "{missing:?}");
    // Who is cut off at the end did not recover.
    let gone = fenced(None, &[Ev::End(2)]);
    assert_eq!(gone.get(&Property::Recovery), Some(&1), "{gone:?}");
}

#[test]
fn losses_are_grouped_by_the_fault_that_was_on() {
    let history = [sent(0, &[0, 1]), sent(1, &[0, 1]), vec![Ev::Wait(20_000_000)], sent(2, &[0, 1])].concat();
    let findings = World::new(3).with(fault(1, 1000)).play(&history);
    let causes: Vec<_> = findings.causes.iter().map(|cause| (cause.fault, cause.lost, cause.to)).collect();
    assert_eq!(causes, [(Some(0), 2, Some(0)), (None, 1, Some(0))]);
    assert_eq!((findings.lost_by_fault, findings.counts.silent), (vec![2], 3));
}

#[test]
fn phases_count_what_was_due_in_them() {
    let history = [sent(0, &[0, 1, 2]), vec![Ev::Wait(1000), Ev::Skip], sent(1, &[0, 1, 2])].concat();
    let findings = World::new(3).with(fault(500, 5000)).play(&history);
    let flows: Vec<_> = findings.phases.iter().map(|flow| (flow.sent, flow.acked, flow.skipped)).collect();
    assert_eq!(flows, [(1, 1, 0), (1, 1, 1), (0, 0, 0)]);
    assert_eq!(findings.phases[1].expected, [2, 1, 0, 0]);
}
