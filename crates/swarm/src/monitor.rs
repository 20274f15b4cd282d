//! What is seen of a run from outside while the workers run.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use ws_analysis::pulse::Pulse;

/// Counters and the last pulse of each worker, written by it alone.
#[derive(Debug)]
pub struct Monitor(Vec<Watched>);

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
        Self((0..workers).map(|_| Watched::default()).collect())
    }

    pub(crate) fn worker(&self, index: u32) -> &Counters {
        &self.0[index as usize].counters
    }

    /// The pulse of a worker in this process, which counts by itself.
    pub(crate) fn publish_own(&self, worker: u32, pulse: Pulse) {
        *self.0[worker as usize].pulse.lock().expect("nothing panics while it is held") = pulse;
    }

    /// The pulse of a worker elsewhere: what it counted stands in there.
    ///
    /// # Panics
    /// There is no such worker.
    pub fn publish(&self, worker: u32, pulse: Pulse) {
        let counters = self.worker(worker);
        for (counter, value) in [
            (&counters.connected, pulse.connected),
            (&counters.joined, pulse.joined),
            (&counters.sent, pulse.counts.sent),
            (&counters.delivered, pulse.counts.delivered),
            (&counters.fenced_rooms, pulse.fenced_rooms),
            (&counters.ended, pulse.ended),
            (&counters.violations, pulse.violations),
        ] {
            counter.store(value, Relaxed);
        }
        self.publish_own(worker, pulse);
    }

    /// The last pulse of each worker; a worker that has not had one yet has an empty one.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn pulses(&self) -> Vec<Pulse> {
        let pulse =
            |watched: &Watched| watched.pulse.lock().expect("nothing panics while it is held").clone();
        self.0.iter().map(pulse).collect()
    }

    /// Where the run stands.
    #[must_use]
    pub fn read(&self) -> Seen {
        let sum = |counter: fn(&Counters) -> &AtomicU64| {
            self.0.iter().map(|watched| counter(&watched.counters).load(Relaxed)).sum()
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
    use ws_analysis::report::Counts;

    use super::*;

    #[test]
    fn a_pulse_from_elsewhere_counts() {
        let monitor = Monitor::new(2);
        let counts = Counts { sent: 3, delivered: 30, ..Counts::default() };
        monitor.publish(1, Pulse { counts, connected: 7, ..Pulse::default() });
        assert_eq!(monitor.read(), Seen { connected: 7, sent: 3, delivered: 30, ..Seen::default() });
        assert_eq!(Pulse::sum(&monitor.pulses()).counts, counts);
    }
}
