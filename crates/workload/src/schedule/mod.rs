//! When each message is due, who sends it and to whom: one module a load shape.
//!
//! The schedule is open: arrivals do not wait for replies, so a slow server can't slow down its own test
//! ("coordinated omission"). Each worker has its part of the whole.

mod poisson;
mod uniform;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::{
    profile::Profile,
    scenario::{Arrivals, Scenario},
};
use poisson::Poisson;
use uniform::Uniform;

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

#[derive(Debug)]
enum Shape {
    Uniform(Uniform),
    Poisson(Poisson),
    /// Nobody sends.
    Silence,
}

/// One worker's arrivals, in order; the same seed gives the same ones.
#[derive(Debug)]
pub struct Schedule {
    profile: Profile,
    shape: Shape,
    /// The worker's senders, put in order once and then taken in turn, so that all send equally often.
    senders: Vec<u32>,
    turn: usize,
    share_all: f64,
    random: StdRng,
}

impl Schedule {
    /// The part of `scenario` that falls to `worker` of `workers`; `rooms` are its sessions that send, by room.
    #[must_use]
    pub fn new(scenario: &Scenario, worker: u32, workers: u32, rooms: Vec<Vec<u32>>) -> Self {
        let mut random = StdRng::seed_from_u64(scenario.seed ^ (u64::from(worker) << 32));
        let senders = in_turn(rooms, &mut random);
        let shape = match scenario.arrivals {
            _ if senders.is_empty() => Shape::Silence,
            Arrivals::Uniform => Shape::Uniform(Uniform::new(worker, workers)),
            Arrivals::Poisson => Shape::Poisson(Poisson::new(workers)),
        };
        Self { profile: scenario.profile(), shape, senders, turn: 0, share_all: scenario.share_all, random }
    }
}

/// A random order in which no room has to wait for long: each room's senders, shuffled, are spread evenly over the turn.
#[expect(clippy::cast_precision_loss, reason = "rooms are small")]
fn in_turn(rooms: Vec<Vec<u32>>, random: &mut StdRng) -> Vec<u32> {
    let mut places = Vec::new();
    for mut room in rooms {
        room.shuffle(random);
        let first: f64 = random.random();
        let size = room.len() as f64;
        places.extend(
            room.into_iter().enumerate().map(|(turn, sender)| ((turn as f64 + first) / size, sender)),
        );
    }
    places.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    places.into_iter().map(|(_, sender)| sender).collect()
}

impl Iterator for Schedule {
    type Item = Arrival;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and a run is short"
    )]
    fn next(&mut self) -> Option<Arrival> {
        let due = match &mut self.shape {
            Shape::Uniform(uniform) => uniform.next(&self.profile),
            Shape::Poisson(poisson) => poisson.next(&self.profile, &mut self.random),
            Shape::Silence => None,
        }?;
        let due_us = (due * 1e6).round() as u64;
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
        let part = |worker| Schedule::new(&scenario, worker, 3, vec![(0..10).collect()]).collect::<Vec<_>>();
        let mut all: Vec<u64> = (0..3).flat_map(part).map(|arrival| arrival.due_us).collect();
        all.sort_unstable();
        assert_eq!(all, (0..200).map(|i| i * 10_000).collect::<Vec<_>>());
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals() {
        for arrivals in Arrivals::ALL {
            let schedule = |seed| {
                let scenario = Scenario { share_all: 0.3, arrivals, seed, ..sample() };
                Schedule::new(&scenario, 1, 2, vec![(0..10).collect()]).collect::<Vec<_>>()
            };
            assert_eq!(schedule(1), schedule(1));
            assert_ne!(schedule(1), schedule(2));
        }
    }

    #[test]
    fn a_poisson_process_has_its_mean_and_its_variance() {
        let duration = std::time::Duration::from_secs(1000);
        let scenario = Scenario { arrivals: Arrivals::Poisson, duration, ..sample() };
        let mut seconds = vec![0.0_f64; 1000];
        for worker in 0..3 {
            let arrivals: Vec<u64> =
                Schedule::new(&scenario, worker, 3, vec![vec![0]]).map(|arrival| arrival.due_us).collect();
            assert!(arrivals.is_sorted());
            arrivals.iter().for_each(|due_us| seconds[(due_us / 1_000_000) as usize] += 1.0);
        }
        // Both are the rate, 100; even arrivals would have no variance at all.
        let mean = seconds.iter().sum::<f64>() / 1000.0;
        let variance = seconds.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 1000.0;
        assert!((98.0..102.0).contains(&mean) && (85.0..115.0).contains(&variance), "{mean} {variance}");
    }

    #[test]
    fn a_ramp_sends_more_and_more() {
        let stages = vec!["10s:100".parse().expect("a stage")];
        let duration = std::time::Duration::from_secs(10);
        let scenario = Scenario { rate: 0.0, stages, duration, ..sample() };
        let in_second = |second: u64| {
            let arrivals = Schedule::new(&scenario, 0, 1, vec![vec![0]]);
            arrivals.filter(|arrival| arrival.due_us / 1_000_000 == second).count()
        };
        assert_eq!((scenario.messages(), in_second(0), in_second(4), in_second(9)), (500, 5, 45, 95));
    }

    #[test]
    fn all_senders_take_their_turn() {
        let mut turns = [0; 10];
        for arrival in Schedule::new(&sample(), 0, 2, vec![(0..10).collect()]) {
            turns[arrival.sender as usize] += 1;
        }
        assert_eq!(turns, [10; 10]);
    }

    #[test]
    fn every_room_is_sent_into_before_one_has_its_second_turn_by_far() {
        let rooms: Vec<Vec<u32>> = (0..100).map(|room| (room * 10..(room + 1) * 10).collect()).collect();
        let mut turns = [0; 100];
        // Of a turn of 1000 the fifth part: each room of ten has two of them, wherever it begins.
        for arrival in Schedule::new(&sample(), 0, 1, rooms).take(200) {
            turns[arrival.sender as usize / 10] += 1;
        }
        assert!(turns.iter().all(|&turns| turns == 2), "{turns:?}");
    }

    #[test]
    fn nobody_to_send_is_no_arrival() {
        assert_eq!(Schedule::new(&sample(), 0, 1, vec![]).count(), 0);
    }
}
