//! What a worker says of itself, once a second.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use rustix::time::{ClockId, clock_gettime};
use ws_analysis::pulse::Pulse;

use super::Worker;

/// Sockets whose unread bytes are looked at.
const SAMPLE: usize = 64;

impl Worker {
    /// Publishes where it stands, and asks for the next sample of unread bytes.
    pub(super) fn publish_pulse(&self) {
        let ledger = self.ledger.borrow();
        let mut pulse = match ledger.as_ref() {
            Some(ledger) => ledger.pulse(),
            None => Pulse::default(),
        };
        if ledger.is_none() {
            pulse.times.connect = self.connect_times.borrow().buckets();
            pulse.counts.connections = u32::try_from(self.sockets.len()).expect("counted in 32 bits");
        }
        let counters = self.counters();
        pulse.at_us = self.now_us();
        pulse.connected = counters.connected.load(Relaxed);
        pulse.joined = counters.joined.load(Relaxed);
        pulse.fenced_rooms = counters.fenced_rooms.load(Relaxed);
        pulse.ended = counters.ended.load(Relaxed);
        let incidents = self.incidents.borrow();
        pulse.counts.ended_early = incidents.ended_early.values().sum();
        let mut all = BTreeMap::new();
        for (kind, incidents) in [
            ("not opened", &incidents.not_opened),
            ("ended", &incidents.ended_early),
            ("refused", &incidents.refusals),
            ("wrong", &incidents.problems),
        ] {
            all.extend(incidents.iter().map(|(what, count)| (format!("{kind}: {what}"), *count)));
        }
        pulse.set_incidents(all);
        pulse.cpu_us = thread_cpu_us();
        pulse.unread = self.unread.take();
        self.monitor.publish(self.index, pulse);
        self.ask_for_unread();
    }

    /// Has another few sockets look what lies unread when their turn comes: the later that is, the more.
    fn ask_for_unread(&self) {
        let count = self.sockets.len();
        let first = self.looked_at.get();
        for place in (first..first + SAMPLE.min(count)).map(|place| place % count) {
            self.sockets[place].look_at_unread();
        }
        self.looked_at.set((first + SAMPLE) % count.max(1));
    }

    /// So many bytes lay unread in one of the sample.
    pub(crate) fn saw_unread(&self, bytes: u64) {
        let mut unread = self.unread.get();
        unread.sockets += 1;
        unread.bytes += bytes;
        self.unread.set(unread);
    }
}

/// Processor time of this thread.
fn thread_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}
