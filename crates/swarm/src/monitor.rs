//! What a progress display reads while the workers run.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of all workers, each written by one thread alone.
#[derive(Debug)]
pub struct Monitor(Vec<Counters>);

/// One worker's, on cache lines of their own.
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
        Self((0..workers).map(|_| Counters::default()).collect())
    }

    pub(crate) fn worker(&self, index: u32) -> &Counters {
        &self.0[index as usize]
    }

    /// Where the run stands.
    #[must_use]
    pub fn read(&self) -> Seen {
        let sum =
            |counter: fn(&Counters) -> &AtomicU64| self.0.iter().map(|w| counter(w).load(Relaxed)).sum();
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
