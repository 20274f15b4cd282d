//! When each message is due, who sends it and to whom: one module a load shape.
//!
//! The schedule is open: arrivals do not wait for replies, so a slow server can't slow down its own test
//! ("coordinated omission"). Each worker takes every so many-th arrival of the whole.

mod constant;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::scenario::Scenario;
use constant::Constant;

/// One message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Microseconds from the start of sending to when it is due.
    pub due_us: u64,
    /// Which of the worker's senders.
    pub sender: u32,
    /// To everyone instead of the sender's room.
    pub to_all: bool,
}

/// One worker's arrivals, in order; the same seed gives the same ones.
#[derive(Debug)]
pub struct Schedule {
    shape: Constant,
    /// The worker's senders, shuffled once and then taken in turn, so that all send equally often.
    senders: Vec<u32>,
    turn: usize,
    share_all: f64,
    random: StdRng,
}

impl Schedule {
    /// The part of `scenario` that falls to `worker` of `workers`; `senders` are its sessions that send.
    #[must_use]
    pub fn new(scenario: &Scenario, worker: u32, workers: u32, mut senders: Vec<u32>) -> Self {
        let mut random = StdRng::seed_from_u64(scenario.seed ^ (u64::from(worker) << 32));
        senders.shuffle(&mut random);
        let messages = if senders.is_empty() { 0 } else { scenario.messages() };
        let shape = Constant::new(scenario.rate, messages, worker, workers);
        Self { shape, senders, turn: 0, share_all: scenario.share_all, random }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let due_us = self.shape.next()?;
        let sender = self.senders[self.turn];
        self.turn = (self.turn + 1) % self.senders.len();
        Some(Arrival { due_us, sender, to_all: self.random.random_bool(self.share_all) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::sample;

    #[test]
    fn the_workers_parts_make_the_whole() {
        let scenario = Scenario { share_all: 0.3, ..sample() };
        let part = |worker| Schedule::new(&scenario, worker, 3, (0..10).collect()).collect::<Vec<_>>();
        let mut all: Vec<u64> = (0..3).flat_map(part).map(|arrival| arrival.due_us).collect();
        all.sort_unstable();
        assert_eq!(all, (0..200).map(|i| i * 10_000).collect::<Vec<_>>());
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals() {
        let arrivals = |seed| {
            let scenario = Scenario { share_all: 0.3, seed, ..sample() };
            Schedule::new(&scenario, 1, 2, (0..10).collect()).collect::<Vec<_>>()
        };
        assert_eq!(arrivals(1), arrivals(1));
        assert_ne!(arrivals(1), arrivals(2));
    }

    #[test]
    fn all_senders_take_their_turn() {
        let mut turns = [0; 10];
        for arrival in Schedule::new(&sample(), 0, 2, (0..10).collect()) {
            turns[arrival.sender as usize] += 1;
        }
        assert_eq!(turns, [10; 10]);
    }

    #[test]
    fn nobody_to_send_is_no_arrival() {
        assert_eq!(Schedule::new(&sample(), 0, 1, vec![]).count(), 0);
    }
}
