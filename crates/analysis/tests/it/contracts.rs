//! What is owed to whom under which contract: connections that end, come back, resume, and are told of gaps.

use ws_analysis::{
    contract::{Contract, Rules},
    judge::{Calm, Findings},
    ledger::Absence,
    property::Property,
    timeline::{Timeline, Window},
};

use crate::world::{DEADLINE_US, Ev, World, broken};

#[test]
fn contracts_go_by_their_names() {
    for contract in [Contract::ExactlyOnce, Contract::NoSilentLoss, Contract::AtMostOnce] {
        assert_eq!(contract.to_string().parse(), Ok(contract));
    }
    assert_eq!("no-silent-loss".parse(), Ok(Contract::NoSilentLoss));
    assert!("at-least-once".parse::<Contract>().is_err());
}

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

/// It counted as a missing echo once, so that a kill broke P9 beside P3 whenever the last sender was among the killed.
#[test]
fn a_sender_that_was_cut_off_before_its_own_copy_came_has_lost_it_like_any_other() {
    let cut = [sent(0, &[1, 2]), vec![Ev::End(0), Ev::Back(0, None)]].concat();
    check(&cut, [LOST, &[], &[]]);
    let connected = sent(0, &[1, 2]);
    check(&connected, [&[(Property::Echo, 1)], &[(Property::Echo, 1)], &[]]);
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
    // It was committed 4 us before the wait began.
    let cut = |wait| [sent(0, &[0, 1]), vec![Ev::Wait(wait), Ev::End(2)]].concat();
    check(&cut(DEADLINE_US - 4), [&[], &[], &[]]);
    check(&cut(DEADLINE_US - 3), [LOST, LOST, &[]]);
}

#[test]
fn each_gap_is_judged_by_the_resume_that_follows_it() {
    let gaps = |first, second, third: &[Ev]| {
        [
            vec![Ev::End(2)],
            sent(0, &[0, 1]),
            vec![Ev::Back(2, first)],
            sent(1, &[0, 1, 2]),
            vec![Ev::Wait(DEADLINE_US * 2), Ev::End(2)],
            sent(2, &[0, 1]),
            vec![Ev::Back(2, second)],
            third.to_vec(),
            vec![Ev::Wait(DEADLINE_US * 2), Ev::End(2)],
            sent(3, &[0, 1]),
        ]
        .concat()
    };
    let lost: &[(Property, u64)] = &[(Property::Loss, 2)];
    check(&gaps(None, None, &[]), [lost, &[], &[]]);
    let both: &[(Property, u64)] = &[(Property::Loss, 1), (Property::Resume, 1)];
    check(&gaps(Some(true), None, &[]), [both, RESUME, RESUME]);
    check(&gaps(None, Some(true), &[]), [both, RESUME, RESUME]);
    check(&gaps(None, Some(true), &[Ev::Deliver(2, 2)]), [LOST, &[], &[]]);
}

/// A promise whose connection ended before it had to be kept is left to the next one.
#[test]
fn a_promise_binds_as_long_as_its_connection() {
    let promised = |wait, next| {
        let again = vec![Ev::Back(2, Some(true)), Ev::Wait(wait), Ev::End(2), Ev::Back(2, next)];
        [vec![Ev::End(2)], sent(0, &[0, 1]), again].concat()
    };
    check(&promised(0, Some(false)), [LOST, &[], &[]]);
    check(&promised(0, Some(true)), [RESUME, RESUME, RESUME]);
    check(&promised(DEADLINE_US * 2, Some(false)), [RESUME, RESUME, RESUME]);
    // A gap that was told afterwards takes the promise back.
    let told = [vec![Ev::End(2)], sent(0, &[0, 1]), vec![Ev::Back(2, Some(true)), Ev::Gap(2)]].concat();
    check(&told, [LOST, &[], &[]]);
}

/// A leave behind a fence forgives nothing.
#[test]
fn who_leaves_behind_the_fence_is_owed_everything() {
    let farewell = [Ev::LeaveFenced(2), Ev::Left(2)];
    check(&[sent(0, &[0, 1]), farewell.to_vec()].concat(), [LOST, LOST, &[]]);
    check(&[farewell.to_vec(), sent(0, &[0, 1])].concat(), [&[], &[], &[]]);
}

/// Its connection was dead when it asked: what was due after the last proof of life is not owed.
#[test]
fn a_leave_on_a_dead_connection_counts_from_the_last_proof_of_life() {
    let dead = |heard_us| {
        let leave = vec![Ev::Wait(DEADLINE_US * 3), Ev::Leave(2), Ev::EndHeard(2, heard_us)];
        [sent(0, &[0, 1]), leave].concat()
    };
    check(&dead(DEADLINE_US), [&[], &[], &[]]);
    check(&dead(DEADLINE_US * 2), [LOST, LOST, &[]]);
}

#[test]
fn a_run_that_was_stopped_owes_what_was_due_before() {
    let history = [sent(0, &[0, 1]), vec![Ev::Wait(DEADLINE_US * 2)], sent(1, &[0, 1])].concat();
    let stopped = Timeline { stopped_us: Some(DEADLINE_US * 2), ..fault(1, 2) };
    let findings = World::new(3).with(stopped).play(&history);
    assert_eq!(broken(&findings).into_iter().collect::<Vec<_>>(), LOST);
    assert!(findings.sums_agree);
}

#[test]
fn an_ack_can_not_be_taken_back() {
    let history = [sent(0, &[0, 1]), vec![Ev::Refuse(0)]].concat();
    check(&history, [LOST, LOST, &[]]);
    assert_eq!(under(Contract::ExactlyOnce, &history).counts.contradicted, 1);
}

/// Whoever leaves and joins on one connection has had what it has had.
#[test]
fn a_copy_after_a_leave_and_a_join_on_one_connection_is_a_second_one() {
    let again = vec![Ev::Leave(2), Ev::Left(2), Ev::JoinAgain(2), Ev::Deliver(2, 0)];
    check(&[sent(0, &[0, 1, 2]), again].concat(), [TWICE, TWICE, TWICE]);
}

#[test]
fn an_old_message_on_a_new_connection_is_behind_only_in_a_session_that_resumed() {
    let fifo: &[(Property, u64)] = &[(Property::Fifo, 1)];
    let behind = |recovered| {
        [
            vec![Ev::End(2)],
            sent(0, &[0, 1]),
            vec![Ev::Back(2, recovered)],
            sent(1, &[0, 1, 2]),
            vec![Ev::Deliver(2, 0)],
        ]
        .concat()
    };
    check(&behind(Some(false)), [fifo, &[], &[]]);
    check(&behind(Some(true)), [fifo, fifo, fifo]);
    // Sent when the join was asked for, it is the new connection's.
    let new = [
        vec![Ev::End(2), Ev::AskBack(2), Ev::Send(0), Ev::AckBack(2, None)],
        vec![Ev::Ack(0)],
        sent(1, &[0, 1, 2]),
    ];
    check(
        &[new.concat(), [0, 1, 2].map(|member| Ev::Deliver(member, 0)).to_vec()].concat(),
        [&[(Property::Fifo, 3)]; 3],
    );
}

/// Session 0 sends `message` to all, which is acked, and all but those in `without` get it.
fn sent_to_all(message: usize, without: &[u32]) -> Vec<Ev> {
    let mut events = vec![Ev::SendAll(0), Ev::Ack(message)];
    events.extend(
        (0..6).filter(|session| !without.contains(session)).map(|session| Ev::Deliver(session, message)),
    );
    events
}

#[test]
fn messages_to_all_are_owed_by_time() {
    let long = vec![Ev::Wait(DEADLINE_US * 2)];
    check(&sent_to_all(0, &[2]), [LOST, LOST, &[]]);
    // On its way when the connection ended, or long there.
    check(&[sent_to_all(0, &[2]), vec![Ev::End(2)]].concat(), [&[], &[], &[]]);
    check(&[sent_to_all(0, &[2]), long.clone(), vec![Ev::End(2)]].concat(), [LOST, LOST, &[]]);
    let missed = |recovered| {
        [
            vec![Ev::End(2)],
            sent_to_all(0, &[2]),
            long.clone(),
            vec![Ev::Back(2, recovered)],
            sent_to_all(1, &[]),
        ]
        .concat()
    };
    check(&missed(None), [LOST, &[], &[]]);
    check(&missed(Some(false)), [LOST, &[], &[]]);
    check(&missed(Some(true)), [RESUME, RESUME, RESUME]);
    let later = [long.clone(), vec![Ev::End(2)], sent_to_all(2, &[2])].concat();
    check(&[missed(Some(true)), later].concat(), [RESUME, RESUME, RESUME]);
    check(&[missed(None), sent_to_all(2, &[2])].concat(), [&[(Property::Loss, 2)], LOST, &[]]);
}

#[test]
fn a_gap_in_the_messages_to_all_that_was_told_is_legal_under_no_silent_loss() {
    let long = vec![Ev::Wait(DEADLINE_US * 2)];
    check(&[sent_to_all(0, &[2]), vec![Ev::GapAll(2)]].concat(), [LOST, &[], &[]]);
    check(&[sent_to_all(0, &[2]), vec![Ev::GapAll(1)]].concat(), [LOST, LOST, &[]]);
    // A notice of the room says nothing of them, nor theirs of the room.
    check(&[sent_to_all(0, &[2]), vec![Ev::Gap(2)]].concat(), [LOST, LOST, &[]]);
    check(&[sent(0, &[0, 1]), vec![Ev::GapAll(2)]].concat(), [LOST, LOST, &[]]);
    check(&[vec![Ev::GapAll(2)], sent_to_all(0, &[2])].concat(), [LOST, LOST, &[]]);
    let later = [sent_to_all(0, &[2]), long, sent_to_all(1, &[]), vec![Ev::GapAll(2)]];
    check(&later.concat(), [LOST, LOST, &[]]);
}

/// Who had left its room was owed messages to all for ever, also when its connection was over.
#[test]
fn who_left_its_room_is_owed_messages_to_all_as_long_as_it_is_connected() {
    let left = [Ev::Leave(2), Ev::Left(2)];
    check(&[left.to_vec(), sent_to_all(0, &[2])].concat(), [LOST, LOST, &[]]);
    for leave in [&left[..], &left[..1]] {
        let gone = [leave, &[Ev::End(2)], &sent_to_all(0, &[2])].concat();
        check(&gone, [&[], &[], &[]]);
        check(&[gone, vec![Ev::Back(2, None)]].concat(), [LOST, &[], &[]]);
    }
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

#[test]
fn a_leave_counts_from_when_it_was_asked_for() {
    let asked = [vec![Ev::Leave(2)], sent(0, &[0, 1])].concat();
    check(&asked, [&[], &[], &[]]);
    // Cut off before the ack of the leave, it had left all the same.
    check(&[asked, vec![Ev::End(2), Ev::Back(2, Some(true))]].concat(), [&[], &[], &[]]);
    let before = [sent(0, &[0, 1]), vec![Ev::Wait(DEADLINE_US * 2), Ev::Leave(2)]].concat();
    check(&before, [LOST, LOST, &[]]);
    check(&[before, vec![Ev::End(2)]].concat(), [LOST, LOST, &[]]);
}

#[test]
fn resumes_and_notices_are_counted() {
    let back =
        [Some(true), Some(false), Some(true), None].map(|recovered| [Ev::End(2), Ev::Back(2, recovered)]);
    let history = [&back.concat()[..], &[Ev::Gap(1), Ev::GapAll(1), Ev::Gap(0)]].concat();
    let counts = under(Contract::ExactlyOnce, &history).counts;
    assert_eq!((counts.resumed, counts.not_resumed, counts.gap_notices), (2, 1, 3));
}

#[test]
fn nothing_may_come_between_a_cut_and_the_next_join() {
    let trespass: &[(Property, u64)] = &[(Property::Membership, 1)];
    let early = [sent(0, &[0, 1]), vec![Ev::End(2), Ev::Deliver(2, 0)]].concat();
    check(&early, [trespass; 3]);
    let after = [sent(0, &[0, 1]), vec![Ev::End(2), Ev::AskBack(2), Ev::Deliver(2, 0), Ev::AckBack(2, None)]]
        .concat();
    check(&after, [&[]; 3]);
    // An ack that nobody asked for makes no member.
    check(&[vec![Ev::End(2), Ev::AckBack(2, None)], sent(0, &[0, 1])].concat(), [&[]; 3]);
}

#[test]
fn what_was_owed_and_missed_is_counted_by_pair_of_replicas() {
    let from_1 = |message, to: &[u32]| {
        let mut events = vec![Ev::Send(1), Ev::Ack(message)];
        events.extend(to.iter().map(|&member| Ev::Deliver(member, message)));
        events
    };
    // 2 goes from app-1 to app-2, and away.
    let moved = |first: &[u32], second: &[u32]| {
        [
            from_1(0, first),
            vec![Ev::Wait(DEADLINE_US * 2), Ev::End(2), Ev::Back(2, Some(true))],
            from_1(1, second),
            vec![Ev::End(2)],
            from_1(2, &[0, 1]),
        ]
        .concat()
    };
    let check = |history: &[Ev], expected: [(u64, u64); 4]| {
        let findings = under(Contract::ExactlyOnce, history);
        let pairs: Vec<_> =
            findings.pairs.iter().map(|pair| (pair.from, pair.to, pair.expected, pair.missing)).collect();
        let ends = [(0, 0), (0, 1), (1, 0), (1, 1)];
        let expected: Vec<_> = ends
            .into_iter()
            .zip(expected)
            .map(|((from, to), (owed, missing))| (from, to, owed, missing))
            .collect();
        assert_eq!(pairs, expected);
    };
    check(&moved(&[0, 1, 2], &[0, 1, 2]), [(0, 0), (0, 0), (4, 0), (4, 0)]);
    check(&moved(&[0, 1], &[0, 1, 2]), [(0, 0), (0, 0), (4, 1), (4, 0)]);
    check(&from_1(0, &[0, 2]), [(0, 0), (0, 0), (2, 0), (1, 1)]);
    // Neither fences nor what nobody answered or got.
    let more = [moved(&[0, 1, 2], &[0, 1, 2]), vec![Ev::Send(1), Ev::Fence(1), Ev::Ack(4)]].concat();
    let more = [more, [0, 1].map(|member| Ev::Deliver(member, 4)).to_vec()].concat();
    check(&more, [(0, 0), (0, 0), (4, 0), (4, 0)]);
    // It is told where it was lost, and not where its receiver is now.
    let findings = under(Contract::ExactlyOnce, &moved(&[0, 1], &[0, 1, 2]));
    let (_, _, losses) = &findings.properties[Property::Loss as usize];
    assert_eq!((losses.examples[0].from, losses.examples[0].to), (Some(1), 0));
    // The same for messages to all; 3 and 5 are on app-2, 4 is on app-1.
    let all = [vec![Ev::End(2), Ev::Back(2, None), Ev::Wait(1)], sent_to_all(0, &[2, 4])].concat();
    check(&all, [(2, 1), (4, 1), (0, 0), (0, 0)]);
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
    assert_eq!(orders(&seen([(0, 1), (1, 1)])), [(Property::TotalOrder, 1)]);
    // Two at one place, for all.
    let one_place =
        [0, 1, 2].map(|member| [Ev::DeliverAt(member, 0, 1), Ev::DeliverAt(member, 1, 1)]).concat();
    assert_eq!(orders(&[two.clone(), one_place].concat()), [(Property::TotalOrder, 3)]);
    // A second copy is that, and in no order.
    assert_eq!(
        orders(&[seen([(0, 1), (1, 2)]), vec![Ev::DeliverAt(2, 0, 1)]].concat()),
        [(Property::Duplication, 1)]
    );
    // Another epoch counts anew, but is another place.
    let epochs = |last| {
        let mut history = two.clone();
        for (member, epoch) in [(0, "f"), (1, "f"), (2, last)] {
            history.extend([Ev::DeliverIn(member, 0, "e", 7), Ev::DeliverIn(member, 1, epoch, 1)]);
        }
        history
    };
    assert_eq!(orders(&epochs("f")), []);
    assert_eq!(orders(&epochs("g")), [(Property::TotalOrder, 1)]);
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
    // It answers the last one, not the first.
    let third = [answered([0, 1]), vec![Ev::Send(0), Ev::Ack(2)]].concat();
    let third_to = |members: &[u32]| members.iter().map(|&member| Ev::Deliver(member, 2)).collect();
    assert_eq!(orders(&[third.clone(), third_to(&[0, 1, 2])].concat()), []);
    // Two answers to one message.
    let two = [answered([0, 1]), vec![Ev::Send(2), Ev::Ack(2), Ev::Send(0), Ev::Ack(3)]].concat();
    let two_to = |last: &[usize]| {
        let early = [0, 2].map(|member| [Ev::Deliver(member, 2), Ev::Deliver(member, 3)]).concat();
        [two.clone(), early, last.iter().map(|&message| Ev::Deliver(1, message)).collect()].concat()
    };
    assert_eq!(orders(&two_to(&[3, 2])), []);
    // Before its last join it was not owed the cause, and it may be lost.
    let mut late = vec![Ev::End(2), Ev::Send(0), Ev::Ack(0), Ev::Deliver(0, 0), Ev::Deliver(1, 0)];
    late.extend([Ev::Back(2, Some(true)), Ev::Send(1), Ev::Ack(1)]);
    late.extend((0..3).map(|member| Ev::Deliver(member, 1)));
    assert_eq!(orders(&[late, vec![Ev::Deliver(2, 0)]].concat()), []);
}

fn fault(start_us: u64, end_us: u64) -> Timeline {
    Timeline { faults: vec![Window { start_us, end_us }], settle_us: 20, ..Timeline::default() }
}

#[test]
fn late_without_a_fault_is_a_violation() {
    let rules = Rules { timeliness: true, ..Rules::default() };
    let late = [sent(0, &[0, 1]), vec![Ev::Wait(DEADLINE_US * 2), Ev::Deliver(2, 0)]].concat();
    let judged = |timeline| broken(&World::under(rules, 3).with(timeline).play(&late));
    assert_eq!(judged(Timeline::default()).into_iter().collect::<Vec<_>>(), [(Property::Timeliness, 1)]);
    assert!(!judged(fault(DEADLINE_US, DEADLINE_US * 2)).contains_key(&Property::Timeliness));
    // R after the heal a backlog has no excuse any more.
    assert!(judged(fault(DEADLINE_US, DEADLINE_US + 1)).contains_key(&Property::Timeliness));
    assert!(judged(fault(DEADLINE_US * 9, DEADLINE_US * 9)).contains_key(&Property::Timeliness));
    assert!(broken(&World::new(3).play(&late)).is_empty());
    // The deadline itself is in time.
    let after = |us| {
        let history = [sent(0, &[0, 1]), vec![Ev::Wait(us - 5), Ev::Deliver(2, 0)]].concat();
        let findings = World::under(rules, 3).play(&history);
        (findings.counts.late, broken(&findings).contains_key(&Property::Timeliness))
    };
    assert_eq!((after(DEADLINE_US), after(DEADLINE_US + 1)), ((0, false), (1, true)));
}

#[test]
fn after_the_last_heal_every_pair_of_replicas_is_probed() {
    // 0 and 2 are on app-1, 1 is on app-2; the other room's members are 3 (app-2), 4 and 5.
    let fenced = |missing: Option<(u32, usize)>, before: &[Ev], after: &[Ev]| {
        let mut history: Vec<Ev> = [0, 1].map(Ev::Send).to_vec();
        history.extend((0..3).flat_map(|member| [0, 1].map(|message| Ev::Deliver(member, message))));
        history.push(Ev::Wait(1000));
        history.extend([0, 1, 3, 4].map(Ev::Fence));
        history.extend((2..6).map(Ev::Ack));
        for (members, fences) in [(0..3, [2, 3]), (3..6, [4, 5])] {
            for (member, fence) in members.flat_map(|member| fences.map(|fence| (member, fence))) {
                history.extend((missing != Some((member, fence))).then_some(Ev::Deliver(member, fence)));
            }
        }
        history.extend([before, &[Ev::Fenced], after].concat());
        let findings = World::new(3).with(fault(500, 501)).play(&history);
        let (_, probed, tally) = findings.properties.last().expect("P13 is the last").clone();
        (probed, tally.violations)
    };
    assert_eq!(fenced(None, &[], &[]), (4, 0));
    assert_eq!(fenced(Some((2, 3)), &[], &[]), (4, 1));
    // The farewell comes behind the fences, and takes nobody away from them.
    assert_eq!(fenced(None, &[], &[Ev::LeaveFenced(1), Ev::Left(1)]), (4, 0));
    // Who is cut off at the end did not recover; who came back in time did.
    assert_eq!(fenced(None, &[Ev::End(2)], &[]), (4, 1));
    assert_eq!(fenced(None, &[Ev::End(2), Ev::Back(2, None)], &[]), (4, 0));
    assert_eq!(fenced(None, &[Ev::End(2), Ev::Wait(100), Ev::Back(2, None)], &[]), (4, 1));
    // Nobody is left on app-2: three that did not come back, and three pairs that worked before.
    assert_eq!(fenced(None, &[1, 3, 5].map(Ev::End), &[]), (4, 6));
    // Without a fault, or without fences, there is nothing to recover from or to tell it by.
    let recovery = |world: World, history: &[Ev]| {
        let findings = world.play(history);
        findings.properties.last().map(|(_, probed, tally)| (*probed, tally.violations))
    };
    assert_eq!(recovery(World::new(3), &[Ev::Fence(0), Ev::Fenced]), Some((0, 0)));
    assert_eq!(recovery(World::new(3).with(fault(1, 2)), &sent(0, &[0, 1, 2])), Some((0, 0)));
}

#[test]
fn who_was_cut_off_is_counted_until_it_is_back() {
    let returns = |history: &[Ev]| World::new(3).with(fault(5, 8)).play(history).returns.remove(0);
    let back = |after_us| [Ev::End(2), Ev::Wait(after_us), Ev::Back(2, None)];
    let cut = returns(&back(3)).expect("one was cut off");
    assert_eq!((cut.cut, cut.never, cut.from_heal, cut.all_us), (1, 0, false, Some(1)));
    let cut = returns(&back(10)).expect("one was cut off");
    assert_eq!((cut.from_heal, cut.all_us), (true, Some(5)));
    let gone = returns(&[&back(10)[..], &[Ev::End(1)]].concat()).expect("one was cut off");
    assert_eq!((gone.cut, gone.never), (1, 0), "session 1 was there after the heal");
    let gone = returns(&[&[Ev::EndHeard(1, 4)], &back(10)[..]].concat()).expect("two were cut off");
    assert_eq!((gone.cut, gone.never, gone.half_us, gone.all_us), (2, 1, Some(6), None));
    // A second cut in one fault does not count again, and who leaves by itself is not cut off.
    let twice = returns(&[back(3), back(1)].concat()).expect("one was cut off");
    assert_eq!((twice.cut, twice.all_us), (1, Some(1)));
    assert_eq!(returns(&[Ev::Leave(2), Ev::Left(2), Ev::End(2), Ev::Back(2, None)]), None);
}

/// What went wrong at a time that no fault explains is told apart.
#[test]
fn what_no_fault_explains_is_counted() {
    let wrong = [Ev::Send(0), Ev::Send(1), Ev::Refuse(1), Ev::Skip, Ev::End(2), Ev::Back(2, Some(true))];
    let offset = |message: usize, event: Ev| match event {
        Ev::Refuse(_) => Ev::Refuse(message + 1),
        other => other,
    };
    let again = wrong.map(|event| offset(2, event));
    let history = [&wrong[..], &[Ev::Wait(30_000_000)], &again[..]].concat();
    let calm = |timeline| World::new(3).with(timeline).play(&history).counts.calm;
    let all = Calm { refused: 2, unanswered: 2, skipped: 2, cuts: 2 };
    assert_eq!(calm(Timeline::default()), all);
    let fault = Timeline { settle_us: 10_000_000, ..fault(1, 10) };
    assert_eq!(calm(fault), Calm { refused: 1, unanswered: 1, skipped: 1, cuts: 1 });
}

/// Without a fence P13 was not judged at all, and where everybody was gone nobody had sent one: that was a pass.
#[test]
fn a_cluster_that_is_gone_after_the_last_heal_did_not_recover() {
    let gone = [&sent(0, &[0, 1, 2])[..], &[0, 1, 2, 3, 4, 5].map(Ev::End)].concat();
    let recovery =
        |timeline| broken(&World::new(3).with(timeline).play(&gone)).into_iter().collect::<Vec<_>>();
    assert_eq!(recovery(fault(1, 2)), [(Property::Recovery, 6)]);
    assert_eq!(recovery(Timeline::default()), []);
}

#[test]
fn pairs_are_told_apart_on_any_number_of_replicas() {
    let all = |event: fn(u32) -> Ev, missing: Option<(u32, usize)>| {
        let mut history: Vec<_> = (0..6).map(event).collect();
        for message in 0..6 {
            let room = message as u32 / 3 * 3;
            history.push(Ev::Ack(message));
            let members = (room..room + 3).filter(|&member| Some((member, message)) != missing);
            history.extend(members.map(|member| Ev::Deliver(member, message)));
        }
        history
    };
    for (replicas, missing, from, to) in
        [(3, (1, 2), 2, 1), (3, (2, 0), 0, 2), (2, (1, 0), 0, 1), (1, (1, 2), 0, 0)]
    {
        let pairs = usize::from(replicas) * usize::from(replicas);
        let played = |history: &[Ev]| {
            let history = [history, &[Ev::Fenced]].concat();
            World::on(replicas, Rules::default(), 3).with(fault(100, 200)).play(&history)
        };
        let recovery = |findings: &Findings| {
            findings.properties.last().map(|(_, probed, tally)| (*probed, tally.violations))
        };
        assert_eq!(recovery(&played(&all(Ev::Fence, None))), Some((pairs as u64, 0)));
        let findings = played(&all(Ev::Fence, Some(missing)));
        // On fewer, another's fence came over the same pair.
        assert_eq!(recovery(&findings), Some((pairs as u64, u64::from(replicas == 3))));
        let examples = &findings.properties.last().expect("P13 is the last").2.examples;
        assert!(examples.iter().all(|example| (example.from, example.to) == (Some(from), to)));
        let findings = played(&[vec![Ev::Wait(100)], all(Ev::Send, Some(missing))].concat());
        let lost: Vec<_> =
            findings.pairs.iter().filter(|pair| pair.missing > 0).map(|pair| (pair.from, pair.to)).collect();
        assert_eq!((findings.pairs.len(), lost), (pairs, vec![(from, to)]));
        let expected = |phase: usize| findings.phases[phase].expected.iter().sum::<u64>();
        assert_eq!((expected(0), expected(1), expected(2)), (0, 18, 0));
        assert_eq!(findings.phases[1].expected.len(), pairs);
        assert!(findings.pairs.iter().all(|pair| pair.expected == 18 / pairs as u64 || pairs == 4));
    }
}

#[test]
fn losses_are_grouped_by_the_fault_that_was_on() {
    let history = [sent(0, &[0, 1]), sent(1, &[0, 1]), vec![Ev::Wait(20_000_000)], sent(2, &[0, 1])].concat();
    let findings = World::new(3).with(fault(1, 1000)).play(&history);
    let causes: Vec<_> = findings.causes.iter().map(|cause| (cause.fault, cause.lost, cause.to)).collect();
    assert_eq!(causes, [(Some(0), 2, Some(0)), (None, 1, Some(0))]);
    assert_eq!((findings.lost_by_fault, findings.counts.silent), (vec![2], 3));
    assert_eq!(findings.lost_between_us, Some((1, 20_000_010)));
    let seconds: Vec<_> = (0..).zip(&findings.lost_by_second).filter(|(_, lost)| **lost > 0).collect();
    assert_eq!(seconds, [(0, &2), (20, &1)]);
}

#[test]
fn phases_count_what_was_due_in_them() {
    let history = [sent(0, &[0, 1, 2]), vec![Ev::Wait(1000), Ev::Skip], sent(1, &[0, 1, 2])].concat();
    let findings = World::new(3).with(fault(500, 5000)).play(&history);
    let flows: Vec<_> = findings.phases.iter().map(|flow| (flow.sent, flow.acked, flow.skipped)).collect();
    assert_eq!(flows, [(1, 1, 0), (1, 1, 1), (0, 0, 0)]);
    assert_eq!(findings.phases[1].expected, [2, 1, 0, 0]);
}
