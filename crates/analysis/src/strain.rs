//! Was it me: whether the generator itself was the limit, as the pulses of its workers tell.
//!
//! A worker that has no processor time left, or that reads slower than the servers send, measures itself. One bad second
//! is nothing; several in a row are a strain, and the numbers of such a run say nothing of the target.

use serde::{Deserialize, Serialize};

use crate::{
    pulse::Pulse,
    report::Verdict,
    threshold::Threshold,
    verdict::{LAG_LIMIT_US, Purpose},
};

/// Above this part of a processor a worker has nothing left for what comes in bursts.
const CPU_LIMIT: f64 = 0.9;

/// What lies unread may be as much as comes in this time.
const UNREAD_LIMIT_US: u64 = 250_000;

/// Less than this in each socket is what a moment brings.
const UNREAD_LEAST: u64 = 4096;

/// So many pulses in a row make a strain of it.
const IN_A_ROW: u32 = 3;

/// Follows the workers while messages are sent.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    workers: Vec<Watched>,
    lag_us: u64,
}

/// The verdict as it stands while the run goes on, and why; only the end knows of losses.
#[must_use]
pub fn standing(pulse: &Pulse, watch: &Watch, facts: &Standing<'_>) -> (Verdict, String) {
    let is_load = facts.purpose == Purpose::Load;
    let strain = watch.now().or_else(|| watch.lasting()).filter(|_| is_load);
    let broken = || facts.thresholds.iter().find_map(|threshold| threshold.broken(pulse));
    if pulse.violations > 0 {
        (Verdict::Fail, format!("{} violations", pulse.violations))
    } else if let Some(strain) = strain {
        (Verdict::Inconclusive, format!("the generator is the limit: {strain}"))
    } else if pulse.ended > 0 && facts.is_calm {
        (Verdict::Inconclusive, format!("{} sockets ended", pulse.ended))
    } else if let Some(broken) = broken() {
        (Verdict::Fail, broken.said())
    } else {
        (Verdict::Pass, "nothing is wrong".into())
    }
}

/// What the standing verdict is about.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Proof or load.
    pub purpose: Purpose,
    /// What is demanded.
    pub thresholds: &'a [Threshold],
    /// No faults are planned.
    pub is_calm: bool,
}

/// What one worker took. Bytes are of a socket, in the worst second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerUse {
    /// Processor time while messages were sent.
    pub cpu_seconds: f64,
    /// The part of a processor in its busiest second, 0 to 1.
    pub cpu_share_max: f64,
    /// What had arrived in a socket and waited to be read.
    pub unread_bytes_max: u64,
}

/// One worker.
#[derive(Clone, Debug, Default)]
struct Watched {
    last: Pulse,
    used: WorkerUse,
    share: f64,
    busy: Streak,
    behind: Streak,
}

/// Bad pulses in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Streak {
    now: u32,
    longest: u32,
    worst: f64,
}

impl Streak {
    fn note(&mut self, value: f64, limit: f64) {
        self.now = if value > limit { self.now + 1 } else { 0 };
        self.longest = self.longest.max(self.now);
        self.worst = self.worst.max(value);
    }
}

impl Watch {
    /// Takes note of the workers' last pulses, while messages of `size` bytes are sent; one that was seen before counts once.
    pub fn look(&mut self, pulses: &[Pulse], size: usize) {
        self.workers.resize_with(self.workers.len().max(pulses.len()), Watched::default);
        let mut lag = None;
        for (worker, pulse) in self.workers.iter_mut().zip(pulses) {
            if pulse.at_us > worker.last.at_us {
                let late = pulse.times.lag.since(&worker.last.times.lag);
                lag = lag.max((late.count() > 0).then(|| late.quantile_between(0.99).0));
                worker.look(pulse, size);
            }
        }
        self.lag_us = lag.unwrap_or(self.lag_us);
    }

    /// What is too much at this moment, for a person.
    #[must_use]
    pub fn now(&self) -> Option<String> {
        let lag = (self.lag_us > LAG_LIMIT_US).then(|| format!("it sends {} ms late", self.lag_us / 1000));
        lag.or_else(|| self.said(|streak| streak.now))
    }

    /// What was too much for several seconds in a row; the lag of the whole run is judged at its end.
    #[must_use]
    pub fn lasting(&self) -> Option<String> {
        self.said(|streak| streak.longest)
    }

    /// How late sends were in the last seconds: 99 in 100, rounded down.
    #[must_use]
    pub fn lag_us(&self) -> u64 {
        self.lag_us
    }

    /// The part of a processor that the busiest worker took in the last second, 0 to 1.
    #[must_use]
    pub fn cpu_share(&self) -> f64 {
        self.workers.iter().map(|worker| worker.share).fold(0.0, f64::max)
    }

    /// What each worker took.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerUse> {
        self.workers.iter().map(|worker| worker.used).collect()
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
    fn said(&self, length: impl Fn(&Streak) -> u32) -> Option<String> {
        let worst = |of: fn(&Watched) -> Streak| {
            let long = self.workers.iter().map(of).filter(|streak| length(streak) >= IN_A_ROW);
            long.map(|streak| streak.worst).max_by(f64::total_cmp)
        };
        if let Some(share) = worst(|worker| worker.busy) {
            let percent = (share * 100.0) as u64;
            return Some(format!("a worker used {percent}% of a processor for {IN_A_ROW} s and more"));
        }
        let us = worst(|worker| worker.behind)?;
        Some(format!("a worker read {} ms behind what the servers sent", (us / 1000.0) as u64))
    }
}

impl Watched {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn look(&mut self, pulse: &Pulse, size: usize) {
        let last = std::mem::replace(&mut self.last, pulse.clone());
        if last.at_us == 0 {
            return;
        }
        let took_us = (pulse.at_us - last.at_us) as f64;
        let cpu_us = pulse.cpu_us.saturating_sub(last.cpu_us) as f64;
        let share = cpu_us / took_us;
        self.used.cpu_seconds += cpu_us / 1e6;
        self.used.cpu_share_max = self.used.cpu_share_max.max(share);
        self.share = share;
        self.busy.note(share, CPU_LIMIT);

        let each = pulse.unread.each();
        self.used.unread_bytes_max = self.used.unread_bytes_max.max(each);
        let came = pulse.counts.delivered.saturating_sub(last.counts.delivered) as f64 * size as f64;
        let waits = each as f64 * f64::from(pulse.open());
        // Little's law: what waits over what comes in a time is how long it waits.
        let behind_us = if each >= UNREAD_LEAST && came > 0.0 { waits / came * took_us } else { 0.0 };
        self.behind.note(behind_us, UNREAD_LIMIT_US as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pulse::{ReplicaPulse, Unread},
        report::Counts,
    };

    /// A second of a worker: its share of a processor, bytes unread in each of ten sockets.
    fn seconds(shares: &[(f64, u64)]) -> Watch {
        let mut watch = Watch::default();
        let mut pulse = Pulse { at_us: 1, ..Pulse::default() };
        pulse.replicas.insert("app-1".into(), ReplicaPulse { open: 10, delivered: 0 });
        watch.look(&[pulse.clone()], 100);
        for &(share, unread) in shares {
            pulse.at_us += 1_000_000;
            pulse.cpu_us += (share * 1e6) as u64;
            pulse.unread = Unread { sockets: 10, bytes: unread * 10 };
            pulse.counts = Counts { delivered: pulse.counts.delivered + 1000, ..Counts::default() };
            pulse.times.lag.record(10);
            watch.look(&[pulse.clone()], 100);
            watch.look(&[pulse.clone()], 100);
        }
        watch
    }

    #[test]
    fn a_busy_second_is_nothing_and_three_are_a_strain() {
        let watch = seconds(&[(0.95, 0), (0.99, 0), (0.5, 0), (0.95, 0)]);
        assert_eq!((watch.now(), watch.lasting()), (None, None));
        let watch = seconds(&[(0.95, 0), (0.99, 0), (0.95, 0)]);
        assert!(watch.now().is_some_and(|said| said.contains("99% of a processor")), "{:?}", watch.now());
        let watch = seconds(&[(0.95, 0), (0.99, 0), (0.95, 0), (0.1, 0)]);
        assert_eq!(watch.now(), None);
        assert!(watch.lasting().is_some());
        let used = watch.workers()[0];
        assert!((used.cpu_seconds - 2.99).abs() < 0.01 && used.cpu_share_max > 0.98, "{used:?}");
    }

    #[test]
    fn what_lies_unread_counts_by_how_much_comes() {
        // 100,000 bytes a second come; 50,000 wait.
        let watch = seconds(&[(0.1, 5000); 3]);
        assert!(watch.lasting().is_some_and(|said| said.contains("500 ms behind")), "{:?}", watch.lasting());
        assert_eq!(watch.workers()[0].unread_bytes_max, 5000);
        assert_eq!(seconds(&[(0.1, 2000); 3]).lasting(), None, "a moment's worth");
        assert_eq!(seconds(&[(0.1, 5000), (0.1, 0), (0.1, 5000), (0.1, 5000)]).lasting(), None);
    }

    #[test]
    fn the_worst_comes_first_in_the_verdict_as_it_stands() {
        let thresholds = ["late==0".parse().expect("a threshold")];
        let facts = Standing { purpose: Purpose::Load, thresholds: &thresholds, is_calm: true };
        let check = |pulse: &Pulse, watch: &Watch, facts: &Standing<'_>| standing(pulse, watch, facts).0;
        let (calm, busy) = (seconds(&[(0.1, 0)]), seconds(&[(0.99, 0); 3]));
        let mut pulse = Pulse::default();
        assert_eq!(check(&pulse, &calm, &facts), Verdict::Pass);
        assert_eq!(check(&pulse, &busy, &facts), Verdict::Inconclusive);
        let proof = Standing { purpose: Purpose::Prove, ..facts };
        assert_eq!(check(&pulse, &busy, &proof), Verdict::Pass, "a proof needs no times");
        pulse.counts.late = 1;
        assert_eq!(check(&pulse, &calm, &facts), Verdict::Fail);
        assert_eq!(check(&pulse, &busy, &facts), Verdict::Inconclusive, "these numbers are the generator's");
        pulse.ended = 1;
        assert_eq!(check(&pulse, &calm, &facts), Verdict::Inconclusive);
        pulse.violations = 1;
        assert_eq!(check(&pulse, &busy, &facts), Verdict::Fail);
    }

    #[test]
    fn lag_shows_at_once_and_is_over_with_the_next_pulse() {
        let mut watch = seconds(&[(0.1, 0)]);
        let mut pulse = Pulse { at_us: 9_000_000, ..Pulse::default() };
        pulse.times.lag.record_many(300_000, 100);
        watch.look(&[pulse.clone()], 100);
        assert!(watch.now().is_some_and(|said| said.contains("ms late")), "{:?}", watch.now());
        pulse.at_us += 1_000_000;
        pulse.times.lag.record_many(10, 100);
        watch.look(&[pulse], 100);
        assert_eq!(watch.now(), None);
    }
}
