//! What the checker costs: 10^8 deliveries to 10,000 receivers on one core, of which one is missing and must be found.
//!
//! `cargo bench -p ws-analysis --bench ledger`. First with stamps that are read already (the ledger alone), then, a
//! tenth as many, with the stamp read from each payload, as a socket does.

use std::time::Instant;

use ws_analysis::{
    contract::Rules,
    judge,
    ledger::{Arrival, Ledger, Setup, To},
    property::Property,
    timeline::Timeline,
};
use ws_wire::{message::Target, stamp::Kind};
use ws_workload::topology::Topology;

const RECEIVERS: u32 = 10_000;
const ROOMS: u32 = 100;
const DELIVERIES: u64 = 100_000_000;

/// The delivery that is left out: which message of all, and to which of its room's members.
const MISSING: (u64, u32) = (654_321, 42);

fn main() {
    run("ledger", DELIVERIES, false);
    run("stamp and ledger", DELIVERIES / 10, true);
}

fn run(name: &str, deliveries: u64, reads_payload: bool) {
    let members = RECEIVERS / ROOMS;
    let messages = deliveries / u64::from(members);
    let missing = (MISSING.0 % messages, MISSING.1);
    let mut ledger = ledger();
    let names: Vec<String> = ledger.rooms().iter().map(|room| room.name.clone()).collect();
    let mut payload = String::new();
    let start = Instant::now();
    for message in 0..messages {
        let room = u32::try_from(message % u64::from(ROOMS)).expect("rooms are few");
        let sender =
            room * members + u32::try_from(message / u64::from(ROOMS) % u64::from(members)).expect("few");
        let now_us = message * 100;
        let stamp = ledger.send(sender, To::Room, Kind::Work, now_us, now_us);
        ledger.acked(sender, To::Room, stamp.index, now_us + 500);
        let target = Target::Room(&names[room as usize]);
        if reads_payload {
            payload.clear();
            stamp.write(128, &mut payload);
        }
        for member in (0..members).filter(|&member| (message, member) != missing) {
            let arrival = match reads_payload {
                true => Arrival::read(target, &payload, None),
                false => Arrival { target, stamp: Ok(stamp), position: None },
            };
            ledger.delivered(room * members + member, arrival, now_us + 700);
        }
    }
    let fed = start.elapsed();
    let findings = judge::judge(vec![ledger], &Timeline::default());
    let judged = start.elapsed() - fed;
    let broken: Vec<_> = findings.properties.iter().filter(|(_, _, tally)| tally.violations > 0).collect();
    let [(Property::Loss, checked, tally)] = &broken[..] else { panic!("exactly one property: {broken:?}") };
    assert_eq!((tally.violations, findings.counts.lost), (1, 1));
    println!(
        "{name}: {deliveries} deliveries in {:.2} s, {:.1} million a second; judged in {:.2} s; {} MiB at most\n  found: \
         1 missing of {checked} owed, {} to session {}",
        fed.as_secs_f64(),
        deliveries as f64 / fed.as_secs_f64() / 1e6,
        judged.as_secs_f64(),
        peak_mebibytes(),
        tally.examples[0].message.as_deref().unwrap_or_default(),
        tally.examples[0].receiver,
    );
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::new(Setup {
        run: 1,
        worker: 0,
        topology: Topology::even(RECEIVERS, ROOMS, 1),
        room_prefix: "room-".into(),
        follow_all: false,
        nodes: vec!["app-1".into(), "app-2".into(), "app-3".into()],
        deadline_us: 5_000_000,
        has_ways_back: true,
        rules: Rules { timeliness: true, ..Rules::default() },
    });
    for session in 0..RECEIVERS {
        ledger.connected(session, u16::try_from(session % 3).expect("three"));
        ledger.join_invoked(session);
        ledger.joined(session, None, None, 0);
    }
    ledger
}

/// `VmHWM` of proc(5).
fn peak_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}
