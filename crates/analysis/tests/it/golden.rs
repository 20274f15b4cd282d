//! One valid history and, for each property, one change to it that breaks exactly that.

use ws_analysis::{contract::Rules, property::Property};

use crate::world::{DEADLINE_US, Ev, Field, World, broken};

/// Three members (0, 1, 2); 0 sends two messages and 1 sends one, all acked and delivered, then 2 leaves.
const GOOD: &[Ev] = &[
    Ev::Send(0),
    Ev::Ack(0),
    Ev::Deliver(0, 0),
    Ev::Deliver(1, 0),
    Ev::Deliver(2, 0),
    Ev::Send(0),
    Ev::Send(1),
    Ev::Deliver(0, 1),
    Ev::Deliver(1, 1),
    Ev::Deliver(2, 1),
    Ev::Ack(1),
    Ev::Deliver(0, 2),
    Ev::Deliver(1, 2),
    Ev::Deliver(2, 2),
    Ev::Ack(2),
    Ev::Leave(2),
    Ev::Left(2),
    Ev::Send(0),
    Ev::Ack(3),
    Ev::Deliver(0, 3),
    Ev::Deliver(1, 3),
];

fn check(history: &[Ev], expected: &[(Property, u64)]) {
    let findings = World::new(3).play(history);
    assert_eq!(broken(&findings), expected.iter().copied().collect(), "{history:?}");
    assert!(findings.sums_agree, "{history:?}: {:?}", findings.counts);
}

/// The good history with `event` in the place of `old`.
fn instead(old: Ev, event: &[Ev]) -> Vec<Ev> {
    let at = GOOD.iter().position(|&one| one == old).expect("part of the good history");
    [&GOOD[..at], event, &GOOD[at + 1..]].concat()
}

/// The good history and more.
fn and(more: &[Ev]) -> Vec<Ev> {
    [GOOD, more].concat()
}

#[test]
fn nothing_is_found_where_nothing_is() {
    check(&[], &[]);
    check(GOOD, &[]);
    let findings = World::new(3).play(GOOD);
    assert_eq!((findings.counts.expected, findings.counts.delivered, findings.counts.lost), (11, 11, 0));
    // The one that left is owed what was sent before it asked to, and watched after it.
    let checked =
        |property| findings.properties.iter().find(|(p, ..)| *p == property).map(|(_, checked, _)| *checked);
    assert_eq!(checked(Property::Membership), Some(1));
}

#[test]
fn creation() {
    check(&and(&[Ev::Invent(1)]), &[(Property::Creation, 1)]);
    check(&instead(Ev::Ack(2), &[Ev::Refuse(2)]), &[(Property::Creation, 3)]);
    check(&and(&[Ev::Send(0), Ev::Refuse(4)]), &[]);
    check(&and(&[Ev::Fence(0), Ev::Refuse(4), Ev::Deliver(1, 4)]), &[(Property::Creation, 1)]);
}

/// A stamp has to be the one that was sent, in its sender and kind too.
#[test]
fn a_forged_stamp_is_a_creation() {
    for field in [Field::Sender, Field::Kind, Field::Index(4)] {
        check(&and(&[Ev::Forge(1, 0, field)]), &[(Property::Creation, 1)]);
    }
    let all = and(&[Ev::SendAll(0), Ev::Ack(4)]);
    let all = [all, (0..6).map(|session| Ev::Deliver(session, 4)).collect()].concat();
    check(&all, &[]);
    for field in [Field::Sender, Field::Kind, Field::Worker, Field::Index(1)] {
        check(&[&all[..], &[Ev::Forge(5, 4, field)]].concat(), &[(Property::Creation, 1)]);
    }
}

#[test]
fn messages_of_others_have_no_business_in_our_rooms() {
    let history = and(&[Ev::Forge(1, 0, Field::Run), Ev::DeliverText(1, "hello")]);
    check(&history, &[(Property::Isolation, 2)]);
    assert_eq!(World::new(3).play(&history).counts.foreign, 2);
}

/// The counts of a run are of what is wrong with it, each in its place.
#[test]
fn what_is_wrong_is_counted() {
    let wrong = and(&[
        Ev::Deliver(1, 0),
        Ev::DeliverText(1, "ws1"),
        Ev::DeliverAs(3, 0, "room-0"),
        Ev::Deliver(2, 3),
        Ev::Invent(1),
        Ev::Send(0),
        Ev::Refuse(4),
        Ev::Send(0),
        Ev::Send(0),
        Ev::Ack(6),
        Ev::Wait(DEADLINE_US),
        Ev::Deliver(0, 6),
        Ev::Fence(0),
        Ev::Skip,
    ]);
    let counts = World::new(3).play(&wrong).counts;
    assert_eq!((counts.sent, counts.acked, counts.refused, counts.unanswered), (7, 5, 1, 1));
    assert_eq!((counts.expected, counts.delivered, counts.lost, counts.missed), (13, 12, 1, 0));
    assert_eq!((counts.silent, counts.duplicated, counts.repeated, counts.reordered), (1, 1, 0, 0));
    assert_eq!((counts.corrupted, counts.leaked, counts.created, counts.late), (1, 2, 1, 1));
    assert_eq!((counts.fences, counts.foreign, counts.skipped), (1, 0, 1));
}

#[test]
fn an_example_names_its_message() {
    let check = |history: &[Ev], property: Property, message: &str, place: Option<(u32, u32)>| {
        let findings = World::new(3).play(history);
        let example = &findings.properties[property as usize].2.examples[0];
        assert_eq!((example.message.as_deref(), example.place), (Some(message), place));
    };
    check(&and(&[Ev::Deliver(1, 1)]), Property::Duplication, "room 0 #1", Some((0, 1)));
    check(&instead(Ev::Deliver(1, 1), &[]), Property::Loss, "room 0 #1", Some((0, 1)));
    check(&[Ev::Send(4), Ev::Ack(0), Ev::Deliver(4, 0)], Property::Loss, "room 1 #0", Some((1, 0)));
    let all = [Ev::SendAll(0), Ev::Ack(0), Ev::Deliver(1, 0), Ev::Deliver(1, 0)];
    check(&all, Property::Duplication, "all/0 #0", None);
    check(&all, Property::Loss, "all/0 #0", None);
}

#[test]
fn what_came_is_timed() {
    // From app-2 on: the first of three after 1 us, the last after 5; to all, which has no last.
    let findings = World::new(3).play(&[
        Ev::Send(1),
        Ev::Deliver(0, 0),
        Ev::Wait(1),
        Ev::Deliver(1, 0),
        Ev::Deliver(2, 0),
        Ev::SendAll(1),
        Ev::Deliver(0, 1),
        Ev::Send(1),
        Ev::Wait(2_000_000),
        Ev::Deliver(2, 2),
    ]);
    let pairs: Vec<_> = findings.pairs.iter().map(|pair| pair.times.count()).collect();
    assert_eq!(pairs, [0, 0, 4, 1]);
    let times = &findings.latencies;
    let (first, last) = (&times.fanout_first, &times.fanout_last);
    assert_eq!((times.delivery.count(), first.count(), last.count(), last.max()), (5, 2, 1, 5));
    assert_eq!(first.quantile(0.5), 1);
    let delivered: Vec<_> = findings.series.seconds().iter().map(|second| second.delivered).collect();
    assert_eq!(delivered, [4, 0, 1]);
}

/// A property of which nothing was checked is not shown.
#[test]
fn what_was_checked_is_counted() {
    let checked = |rules, history: &[Ev]| {
        let findings = World::under(rules, 3).play(history);
        assert!(broken(&findings).is_empty(), "{:?}", broken(&findings));
        findings.properties.iter().map(|(_, checked, _)| *checked).collect::<Vec<_>>()
    };
    assert_eq!(checked(Rules::default(), &[]), [0; 13]);
    assert_eq!(checked(Rules::default(), GOOD), [11, 11, 7, 11, 11, 5, 0, 0, 4, 1, 0, 0, 0]);
    let all = Rules { total_order: true, causal_order: true, timeliness: true, ..Rules::default() };
    let more = and(&[Ev::Send(1), Ev::Ack(4), Ev::DeliverAt(0, 4, 1), Ev::DeliverAt(1, 4, 1)]);
    let more = [more, vec![Ev::End(1), Ev::Back(1, Some(true))]].concat();
    assert_eq!(checked(all, &more), [13, 13, 8, 13, 13, 7, 2, 10, 5, 1, 1, 13, 0]);
}

#[test]
fn duplication() {
    check(&and(&[Ev::Deliver(1, 0)]), &[(Property::Duplication, 1)]);
    check(&and(&[Ev::Deliver(1, 0), Ev::Deliver(1, 0)]), &[(Property::Duplication, 2)]);
}

#[test]
fn loss() {
    check(&instead(Ev::Deliver(1, 1), &[]), &[(Property::Loss, 1)]);
    let nobody = and(&[Ev::Send(0), Ev::Ack(4)]);
    check(&nobody, &[(Property::Loss, 2)]);
    // All are counted, however few are shown.
    let many = (4..8)
        .flat_map(|message| [Ev::Send(0), Ev::Ack(message), Ev::Deliver(0, message)])
        .collect::<Vec<_>>();
    check(&and(&many), &[(Property::Loss, 4)]);
    let more = (8..11)
        .flat_map(|message| [Ev::Send(0), Ev::Ack(message), Ev::Deliver(0, message)])
        .collect::<Vec<_>>();
    check(&and(&[many, more].concat()), &[(Property::Loss, 7)]);
    // A loss and a duplicate do not make up for each other.
    check(
        &instead(Ev::Deliver(1, 1), &[Ev::Deliver(1, 0)]),
        &[(Property::Duplication, 1), (Property::Loss, 1)],
    );
}

#[test]
fn an_unanswered_send_binds_once_somebody_has_it() {
    check(&and(&[Ev::Send(0)]), &[]);
    check(&and(&[Ev::Send(0), Ev::Deliver(0, 4)]), &[(Property::Loss, 1)]);
    check(&and(&[Ev::Send(0), Ev::Deliver(1, 4)]), &[(Property::Echo, 1)]);
}

#[test]
fn integrity() {
    check(&instead(Ev::Deliver(2, 1), &[Ev::DeliverDamaged(2, 1)]), &[(Property::Integrity, 1)]);
    // Which message it was can't be told.
    check(
        &instead(Ev::Deliver(1, 1), &[Ev::DeliverText(1, "ws1")]),
        &[(Property::Integrity, 1), (Property::Loss, 1)],
    );
}

#[test]
fn isolation() {
    // Session 3 is in the other room.
    check(&and(&[Ev::DeliverAs(3, 0, "room-0")]), &[(Property::Isolation, 1)]);
    check(&and(&[Ev::DeliverAs(3, 0, "room-1")]), &[(Property::Isolation, 1)]);
    check(&and(&[Ev::DeliverAs(1, 0, "room-1")]), &[(Property::Isolation, 1)]);
}

#[test]
fn fifo() {
    let swapped = instead(Ev::Deliver(2, 0), &[]);
    let at = swapped.iter().position(|&one| one == Ev::Deliver(2, 1)).expect("there");
    let swapped = [&swapped[..=at], &[Ev::Deliver(2, 0)], &swapped[at + 1..]].concat();
    check(&swapped, &[(Property::Fifo, 1)]);
    assert_eq!(World::new(3).play(&swapped).counts.reordered, 1);
    // Two senders' messages may come in any order.
    let crossed = instead(Ev::Deliver(2, 1), &[]);
    let at = crossed.iter().position(|&one| one == Ev::Deliver(2, 2)).expect("there");
    check(&[&crossed[..=at], &[Ev::Deliver(2, 1)], &crossed[at + 1..]].concat(), &[]);
}

#[test]
fn echo() {
    check(&instead(Ev::Deliver(0, 1), &[]), &[(Property::Echo, 1)]);
    check(&and(&[Ev::Deliver(0, 0)]), &[(Property::Echo, 1)]);
}

#[test]
fn membership() {
    check(&and(&[Ev::Deliver(2, 3)]), &[(Property::Membership, 1)]);
    // Between the request and its ack it may still come.
    check(&instead(Ev::Left(2), &[Ev::Deliver(2, 2)]), &[(Property::Duplication, 1)]);
}

#[test]
fn a_cut_connection_is_owed_what_was_committed_a_deadline_before() {
    let cut = |wait| {
        [
            &GOOD[..8],
            &[
                Ev::Ack(1),
                Ev::Wait(wait),
                Ev::End(1),
                Ev::Deliver(2, 1),
                Ev::Deliver(0, 2),
                Ev::Deliver(2, 2),
            ],
        ]
        .concat()
    };
    check(&cut(0), &[]);
    check(&cut(DEADLINE_US * 2), &[(Property::Loss, 1)]);
}

#[test]
fn messages_to_all() {
    let all = |missing: Option<u32>| {
        let mut history = vec![Ev::SendAll(0), Ev::Ack(0)];
        history.extend(
            (0..6).filter(|&session| Some(session) != missing).map(|session| Ev::Deliver(session, 0)),
        );
        history
    };
    check(&all(None), &[]);
    check(&all(Some(5)), &[(Property::Loss, 1)]);
    check(&all(Some(0)), &[(Property::Echo, 1)]);
    check(&[all(None), vec![Ev::Deliver(5, 0)]].concat(), &[(Property::Duplication, 1)]);
    check(&[all(None), vec![Ev::DeliverAs(5, 0, "room-1")]].concat(), &[(Property::Isolation, 1)]);
    let refused = |event: Ev| if event == Ev::Ack(0) { Ev::Refuse(0) } else { event };
    check(&all(None).into_iter().map(refused).collect::<Vec<_>>(), &[(Property::Creation, 6)]);
    let two = |first, second| {
        let mut history = vec![Ev::SendAll(0), Ev::SendAll(0), Ev::Ack(0), Ev::Ack(1)];
        history.extend((0..5).flat_map(|session| [Ev::Deliver(session, 0), Ev::Deliver(session, 1)]));
        history.extend([Ev::Deliver(5, first), Ev::Deliver(5, second)]);
        history
    };
    check(&two(0, 1), &[]);
    check(&two(1, 0), &[(Property::Fifo, 1)]);
}
