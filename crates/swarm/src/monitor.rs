//! What is seen of a run from outside while the workers run.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Serialize};
use ws_analysis::{pulse::Pulse, report::ProcessUse};

/// Counters and the last pulse of each worker, written by it alone.
#[derive(Debug)]
pub struct Monitor {
    workers: Vec<Watched>,
    /// By member: what other processes have used for their part of the run.
    members: Mutex<BTreeMap<usize, ProcessUse>>,
}

/// One worker's.
#[derive(Debug, Default)]
struct Watched {
    counters: Counters,
    pulse: Mutex<Pulse>,
}

/// On cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) connected: AtomicU64,
    pub(crate) joined: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) fenced_rooms: AtomicU64,
    pub(crate) ended: AtomicU64,
    pub(crate) violations: AtomicU64,
}

/// Sums over the workers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Sockets that got their hello.
    pub connected: u64,
    /// Sockets that are in their room.
    pub joined: u64,
    /// Messages sent.
    pub sent: u64,
    /// Deliveries of them.
    pub delivered: u64,
    /// Rooms whose end is fenced.
    pub fenced_rooms: u64,
    /// Sockets that ended before the run did.
    pub ended: u64,
    /// Violations seen so far; losses show at the end.
    pub violations: u64,
}

impl Monitor {
    /// For so many workers.
    #[must_use]
    pub fn new(workers: u32) -> Self {
        Self { workers: (0..workers).map(|_| Watched::default()).collect(), members: Mutex::default() }
    }

    pub(crate) fn worker(&self, index: u32) -> &Counters {
        &self.workers[index as usize].counters
    }

    /// The last pulse of a worker; with `Monitor::pulses` all that there is to know before the end.
    ///
    /// # Panics
    /// There is no such worker.
    pub fn publish(&self, worker: u32, pulse: Pulse) {
        *self.workers[worker as usize].pulse.lock().expect("nothing panics while it is held") = pulse;
    }

    /// The last pulse of each worker; a worker that has not had one yet has an empty one.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn pulses(&self) -> Vec<Pulse> {
        (0..).zip(&self.workers).map(|(worker, _)| self.pulse(worker)).collect()
    }

    /// The last of one worker.
    pub(crate) fn pulse(&self, worker: u32) -> Pulse {
        self.workers[worker as usize].pulse.lock().expect("nothing panics while it is held").clone()
    }

    /// Where the run stands.
    #[must_use]
    pub fn read(&self) -> Seen {
        Self::sum(&self.workers)
    }

    /// Where one worker stands.
    pub(crate) fn read_one(&self, index: u32) -> Seen {
        Self::sum(std::slice::from_ref(&self.workers[index as usize]))
    }

    /// Where a worker of another process stands, as that has told.
    pub(crate) fn write_one(&self, index: u32, seen: &Seen) {
        let worker = self.worker(index);
        worker.connected.store(seen.connected, Relaxed);
        worker.joined.store(seen.joined, Relaxed);
        worker.sent.store(seen.sent, Relaxed);
        worker.delivered.store(seen.delivered, Relaxed);
        worker.fenced_rooms.store(seen.fenced_rooms, Relaxed);
        worker.ended.store(seen.ended, Relaxed);
        worker.violations.store(seen.violations, Relaxed);
    }

    /// What the members in other processes have used, together.
    #[must_use]
    pub fn members_used(&self) -> ProcessUse {
        let members = self.members.lock().expect("nothing panics while it is held");
        members.values().fold(ProcessUse::default(), |sum, used| ProcessUse {
            cpu_seconds: sum.cpu_seconds + used.cpu_seconds,
            rss_bytes: sum.rss_bytes + used.rss_bytes,
        })
    }

    pub(crate) fn member_used(&self, member: usize, used: ProcessUse) {
        self.members.lock().expect("nothing panics while it is held").insert(member, used);
    }

    fn sum(workers: &[Watched]) -> Seen {
        let sum = |counter: fn(&Counters) -> &AtomicU64| {
            workers.iter().map(|watched| counter(&watched.counters).load(Relaxed)).sum()
        };
        Seen {
            connected: sum(|w| &w.connected),
            joined: sum(|w| &w.joined),
            sent: sum(|w| &w.sent),
            delivered: sum(|w| &w.delivered),
            fenced_rooms: sum(|w| &w.fenced_rooms),
            ended: sum(|w| &w.ended),
            violations: sum(|w| &w.violations),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pulse_of_each_worker_counts() {
        let monitor = Monitor::new(2);
        (1..4).for_each(|joined| monitor.publish(1, Pulse { joined, ..Pulse::default() }));
        monitor.publish(0, Pulse { joined: 10, ..Pulse::default() });
        assert_eq!(Pulse::sum(&monitor.pulses()).joined, 13);
    }
}
