//! What became of connections: what no fault explains, who was late, and whether everything recovered (P12, P13).

use ws_wire::stamp::Stamp;

use super::Judge;
use crate::{
    ledger::{Example, Ledger, Setup},
    property::Property,
};

/// An answer to a send, or the end of what a fault did to a connection, is that close.
const NEAR_US: u64 = 1_000_000;

impl Judge<'_> {
    /// What became of connections, and of what their absence kept from being sent.
    pub(super) fn connections(&mut self, ledgers: &[Ledger]) {
        for &due_us in ledgers.iter().flat_map(|ledger| &ledger.skipped) {
            let phase = self.phase(due_us);
            self.phases[phase].skipped += 1;
            self.counts.calm.skipped += u64::from(self.is_calm(due_us));
        }
        for session in ledgers.iter().flat_map(|ledger| &ledger.sessions) {
            let cuts = session.cuts().filter(|&heard_us| self.is_calm(heard_us)).count();
            self.counts.calm.cuts += cuts as u64;
            self.counts.leaves_unanswered += u64::from(session.waits_to_leave());
        }
    }

    pub(super) fn is_calm(&self, us: u64) -> bool {
        !self.timeline.is_disturbed(us, us.saturating_add(NEAR_US))
    }

    /// P13: after each heal everybody is back in time, and after the last the fences go from every replica to every one.
    pub(super) fn recovery(&mut self, ledgers: &[Ledger]) {
        if self.timeline.faults.is_empty() || self.timeline.stopped_us.is_some() {
            return;
        }
        for session in ledgers.iter().flat_map(|ledger| &ledger.sessions) {
            let late = session
                .returns()
                .find(|&(heard_us, back_us)| back_us > self.timeline.due_back_us(heard_us, back_us));
            let detail = match late {
                _ if session.is_cut_off() => "it was cut off, and is not back in its room".to_owned(),
                Some((heard_us, back_us)) => {
                    let after_ms = (back_us - heard_us) / 1000;
                    format!("it was cut off, and back in its room only {after_ms} ms later")
                }
                None => continue,
            };
            let example = pair_example(session.replica, session.replica, detail);
            self.tallies.violate(Property::Recovery, Example { receiver: session.number, ..example });
        }
        let fenced = self.counts.fences > 0;
        for pair in (0..self.missing.len()).filter(|_| fenced) {
            let of_pair = ledgers.iter().filter_map(|ledger| ledger.probes.get(pair));
            let (sent, missing) =
                of_pair.fold((0, 0), |sum, probes| (sum.0 + probes.sent, sum.1 + probes.missing));
            self.probe(pair, sent, missing, &ledgers[0].setup);
        }
    }

    /// The fences of one pair of replicas. Where nobody was there to send or hear one, the pair has not recovered if
    /// messages went over it before and everybody knows the way back; else nothing is proved, and a gate says so.
    fn probe(&mut self, pair: usize, sent: u64, missing: u64, setup: &Setup) {
        let worked = self.phases[0].expected[pair] > 0;
        let detail = match sent {
            0 if worked && setup.has_ways_back => {
                "nobody was back there to send or to hear a probe".to_owned()
            }
            0 => return,
            _ => format!("{missing} of {sent} probes did not arrive in time after the last heal"),
        };
        self.probed += 1;
        if sent == 0 || missing > 0 {
            let replica = |number: usize| u16::try_from(number).expect("fewer replicas");
            let replicas = usize::from(self.replicas);
            let example = pair_example(replica(pair / replicas), replica(pair % replicas), detail);
            self.tallies.violate(Property::Recovery, example);
        }
    }

    /// P12: late, and no fault was on that could have held it. Not judged where we were late ourselves.
    pub(super) fn lateness(&mut self, ledger: &mut Ledger) {
        let own_us = ledger.latencies.schedule_lag.max();
        if !self.rules.timeliness || own_us.saturating_mul(2) >= self.deadline_us {
            return;
        }
        self.timed += ledger.counters.delivered;
        for (second, late) in std::mem::take(&mut ledger.late) {
            if !self.timeline.is_disturbed(second * 1_000_000, late.came_us) {
                self.tallies.violate_many(Property::Timeliness, late.count, late.example);
            }
        }
    }
}

fn pair_example(from: u16, to: u16, detail: String) -> Example {
    Example {
        message: None,
        place: None,
        sender: None,
        from: Some(from),
        receiver: Stamp::NONE,
        to,
        room: String::new(),
        at_us: 0,
        alive_us: 0,
        detail,
        witness: Vec::new(),
    }
}
