//! What the end of a run waits for: fences, and what is owed and acked.

use ws_analysis::{contract::Contract, contract::Rules, log::Outcome};

use crate::world::{Ev, World};

/// Bits of app-1 and app-2.
const BOTH: u64 = 0b11;

#[test]
fn a_room_waits_for_the_fence_of_each_replica_on_which_it_has_members() {
    let check = |history: &[Ev], missing: u64| {
        assert_eq!(World::new(3).then(history).ledger().fences_missing(0), missing, "{history:?}");
    };
    let mut history = vec![Ev::Fence(0), Ev::Fence(1), Ev::Fence(3)];
    check(&history, BOTH);
    for member in 0..3 {
        check(&history, BOTH);
        history.push(Ev::Deliver(member, 0));
    }
    check(&history, 0b10);
    // Work is no fence, and the other room's is not this one's.
    check(&[&history[..], &[Ev::Send(1), Ev::Deliver(0, 3), Ev::Deliver(3, 2)]].concat(), 0b10);
    // Who is away or left does not keep the others waiting, and sends nothing.
    check(&[&history[..], &[Ev::End(1)]].concat(), 0);
    check(&[&history[..], &[Ev::Leave(1), Ev::Left(1)]].concat(), 0);
    history.extend((0..3).map(|member| Ev::Deliver(member, 1)));
    check(&history, 0);
}

#[test]
fn every_session_waits_for_the_fences_to_all() {
    let has = |history: &[Ev], wanted| World::new(3).then(history).ledger().has_fences_to_all(wanted);
    let mut history = vec![Ev::FenceAll(0), Ev::FenceAll(1)];
    history.extend((0..6).map(|session| Ev::Deliver(session, 0)));
    assert!(has(&history, 0b01) && !has(&history, 0b10) && !has(&history, BOTH));
    history.extend((0..5).map(|session| Ev::Deliver(session, 1)));
    assert!(!has(&history, BOTH));
    assert!(has(&[&history[..], &[Ev::End(5)]].concat(), BOTH));
    history.push(Ev::Deliver(5, 1));
    assert!(has(&history, BOTH));
}

#[test]
fn a_room_is_complete_when_its_open_members_have_what_they_are_owed() {
    let complete = |contract, history: &[Ev], outcomes: &[Outcome]| {
        World::under(Rules { contract, ..Rules::default() }, 3)
            .then(history)
            .ledger()
            .is_complete(0, outcomes)
    };
    let check = |history: &[Ev], expected: bool| {
        assert_eq!(complete(Contract::ExactlyOnce, history, &[Outcome::Ok]), expected, "{history:?}");
    };
    let most = [Ev::Send(0), Ev::Ack(0), Ev::Deliver(0, 0), Ev::Deliver(1, 0)];
    check(&most, false);
    check(&[&most[..], &[Ev::Deliver(2, 0)]].concat(), true);
    check(&[&most[..], &[Ev::End(2)]].concat(), true);
    // It is owed what it missed, but not under every contract.
    check(&[&[Ev::End(2)], &most[..], &[Ev::Back(2, None)]].concat(), false);
    assert!(complete(Contract::AtMostOnce, &most, &[Outcome::Ok]));
    check(&[Ev::Send(0)], true);
    assert!(!complete(Contract::ExactlyOnce, &[Ev::Send(0)], &[Outcome::Ok, Outcome::Info]));
}

#[test]
fn what_happened_so_far_is_counted() {
    let world = World::new(3).then(&[Ev::Send(0), Ev::Fence(0), Ev::Deliver(0, 0), Ev::Deliver(0, 1)]);
    let world = world.then(&[Ev::Deliver(1, 0), Ev::Deliver(1, 0), Ev::DeliverText(1, "ws1")]);
    let ledger = world.ledger();
    assert_eq!((ledger.delivered_count(), ledger.judged_count(), ledger.violations()), (2, 5, 2));
    assert_eq!(ledger.open_members(0).count(), 3);
}
