//! Two workers, each with a ledger of its own: messages to all are sent by one and judged over both.

use ws_analysis::{
    contract::Rules,
    history::{self, Header},
    judge,
    ledger::{Arrival, Ledger, Setup, To},
    property::Property,
    timeline::Timeline,
};
use ws_wire::{
    message::Target,
    stamp::{Kind, Stamp},
};
use ws_workload::topology::Topology;

use crate::world::{DEADLINE_US, PREFIX, broken};

/// Two members each, the first on app-1 and the second on app-2.
fn ledgers() -> [Ledger; 2] {
    let setup = |worker| Setup {
        run: 7,
        worker,
        topology: Topology { connections: 4, rooms: 2, workers: 2 },
        room_prefix: PREFIX.into(),
        follow_all: true,
        nodes: vec!["app-1".into(), "app-2".into()],
        deadline_us: DEADLINE_US,
        rules: Rules::default(),
        has_ways_back: true,
    };
    [0, 1].map(|worker| {
        let mut ledger = Ledger::new(setup(worker));
        ledger.keep_journal();
        for session in 0..2 {
            ledger.connected(session, u16::from(session == 1));
            ledger.join_invoked(session);
            ledger.joined(session, None, None, 0);
        }
        ledger
    })
}

fn deliver(ledger: &mut Ledger, session: u32, stamp: Stamp) {
    let mut payload = String::new();
    stamp.write(120, &mut payload);
    ledger.delivered(session, Arrival::read(Target::All, &payload, None), 5);
}

fn check(ledgers: [Ledger; 2], expected: &[(Property, u64)]) {
    let findings = judge::judge(ledgers.into(), &Timeline::default());
    assert_eq!(broken(&findings), expected.iter().copied().collect());
    assert!(findings.sums_agree, "{:?}", findings.counts);
}

/// Worker 1 sends one message to all, which is acked unless `acked` says no, and reaches all but `missing`.
fn one(acked: bool, missing: &[(usize, u32)]) -> ([Ledger; 2], Stamp) {
    let mut ledgers = ledgers();
    let stamp = ledgers[1].send(1, To::All, Kind::Work, 1, 1);
    if acked {
        ledgers[1].acked(1, To::All, stamp.index, 2);
    }
    for (worker, session) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        if !missing.contains(&(worker, session)) {
            deliver(&mut ledgers[worker], session, stamp);
        }
    }
    (ledgers, stamp)
}

#[test]
fn what_one_worker_sends_is_owed_to_the_sessions_of_all() {
    check(one(true, &[]).0, &[]);
    check(one(true, &[(0, 1)]).0, &[(Property::Loss, 1)]);
    check(one(true, &[(1, 0)]).0, &[(Property::Loss, 1)]);
    check(one(true, &[(1, 1)]).0, &[(Property::Echo, 1)]);
    let findings = judge::judge(one(true, &[(0, 1)]).0.into(), &Timeline::default());
    let (_, _, losses) = &findings.properties[Property::Loss as usize];
    assert_eq!((losses.examples[0].message.as_deref(), losses.examples[0].place), (Some("all/1 #0"), None));
    // Somebody has it, though nobody answered: it binds.
    check(one(false, &[(1, 0)]).0, &[(Property::Loss, 1)]);
    check(one(false, &[(0, 0), (0, 1), (1, 0), (1, 1)]).0, &[]);
    let (mut ledgers, stamp) = one(true, &[]);
    deliver(&mut ledgers[0], 0, stamp);
    check(ledgers, &[(Property::Duplication, 1)]);
}

#[test]
fn what_another_worker_never_sent_is_a_creation() {
    let (mut ledgers, stamp) = one(true, &[]);
    deliver(&mut ledgers[0], 0, Stamp { index: 1, ..stamp });
    deliver(&mut ledgers[0], 1, Stamp { index: 3, ..stamp });
    check(ledgers, &[(Property::Creation, 2)]);
    // No run sends so much: it is not even remembered.
    let (mut ledgers, stamp) = one(true, &[]);
    deliver(&mut ledgers[0], 0, Stamp { index: 1 << 26, ..stamp });
    deliver(&mut ledgers[0], 0, Stamp { room: Stamp::ALL | 2, ..stamp });
    check(ledgers, &[(Property::Creation, 2)]);
}

#[test]
fn fences_to_all_are_told_apart_by_worker_and_replica() {
    let mut ledgers = ledgers();
    for (worker, session) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let stamp = ledgers[worker].send(session, To::All, Kind::Fence, 1, 1);
        let bit = 1 << (worker * 2 + session as usize);
        assert!(!ledgers[0].has_fences_to_all(bit));
        (0..2).for_each(|session| deliver(&mut ledgers[0], session, stamp));
        assert!(ledgers[0].has_fences_to_all(bit * 2 - 1));
    }
    assert!(!ledgers[1].has_fences_to_all(1));
}

#[test]
fn a_room_belongs_to_one_worker() {
    let mut ledgers = ledgers();
    let stamp = ledgers[1].send(0, To::Room, Kind::Work, 1, 1);
    assert_eq!((stamp.room, stamp.sender), (1, 2));
    ledgers[1].refused(0, To::Room, stamp.index);
    let mut payload = String::new();
    stamp.write(120, &mut payload);
    ledgers[0].delivered(0, Arrival::read(Target::Room("room-0"), &payload, None), 5);
    ledgers[1].delivered(1, Arrival::read(Target::Room("room-1"), &payload, None), 5);
    check(ledgers, &[(Property::Creation, 1), (Property::Isolation, 1)]);
}

#[test]
fn a_history_says_whose_each_line_is() {
    let mut ledgers = one(true, &[(0, 1)]).0;
    let setups = ledgers.each_ref().map(|ledger| ledger.setup().clone()).into();
    let header = Header { history: history::SCHEMA.into(), setups };
    let mut text = serde_json::to_string(&header).expect("JSON") + "\n";
    // Sends first: no ledger knows of another's.
    for ledger in ledgers.iter_mut().rev() {
        text += &String::from_utf8(ledger.take_journal()).expect("JSON");
    }
    let (replayed, _) = history::replay(text.lines()).expect("its own words");
    check(replayed.try_into().expect("two workers"), &[(Property::Loss, 1)]);
}

/// A worker that was lost leaves a gap: the others are judged, and what it sent to all binds nobody.
#[test]
fn a_lost_worker_leaves_a_gap() {
    let ([mut left, mut lost], stamp) = one(true, &[]);
    let own = left.send(0, To::All, Kind::Work, 2, 2);
    left.acked(0, To::All, own.index, 3);
    deliver(&mut left, 0, own);
    deliver(&mut lost, 0, own);
    assert_ne!(stamp.room, own.room);
    let findings = judge::judge(vec![left], &Timeline::default());
    // The second member of the first worker has not got it.
    assert_eq!(broken(&findings), [(Property::Loss, 1)].into_iter().collect());
    assert!(findings.sums_agree, "{:?}", findings.counts);
}

/// Between two processes.
#[test]
fn a_ledger_travels_whole() {
    let (ledgers, _) = one(true, &[(0, 1)]);
    let travelled = ledgers.map(|ledger| {
        let bytes = postcard::to_stdvec(&ledger).expect("it can be written down");
        postcard::from_bytes(&bytes).expect("and read again")
    });
    let (ledgers, _) = one(true, &[(0, 1)]);
    let [here, there] =
        [ledgers, travelled].map(|ledgers| judge::judge(ledgers.into(), &Timeline::default()));
    assert_eq!(format!("{here:?}"), format!("{there:?}"));
}
