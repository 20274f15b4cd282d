//! The last minutes of a run, second by second, for a chart.

use std::collections::{BTreeMap, VecDeque};

use ws_analysis::pulse::Pulse;

/// Seconds that are kept.
const KEPT: usize = 120;

/// What became of the pulses, one moment a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    last: Pulse,
    moments: VecDeque<Moment>,
    /// Since the last moment.
    fault: bool,
}

/// About a second. Rates are events a second, times microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Moment {
    pub(super) opened: f64,
    pub(super) sent: f64,
    pub(super) acked: f64,
    pub(super) delivered: f64,
    /// By replica: connections that are open, and deliveries a second.
    pub(super) replicas: BTreeMap<String, (u32, f64)>,
    /// Deliveries in it: median, 90 and 99 in 100, longest; none if nothing came.
    pub(super) times: Option<[u64; 4]>,
    /// Whether a fault was on.
    pub(super) fault: bool,
}

impl Course {
    /// Takes note of all workers' pulses, unless they are less than a second newer than those before, and of whether a
    /// `fault` is on.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn note(&mut self, pulse: &Pulse, fault: bool) {
        self.fault |= fault;
        let took_us = pulse.at_us.saturating_sub(self.last.at_us);
        if took_us < 900_000 {
            return;
        }
        let last = std::mem::replace(&mut self.last, pulse.clone());
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 * 1e6 / took_us as f64;
        let replica = |(name, replica): (&String, &ws_analysis::pulse::ReplicaPulse)| {
            let before = last.replicas.get(name).map_or(0, |before| before.delivered);
            (name.clone(), (replica.open, rate(replica.delivered, before)))
        };
        let times = pulse.times.delivery.since(&last.times.delivery);
        self.moments.push_back(Moment {
            opened: rate(pulse.connected, last.connected),
            sent: rate(pulse.counts.sent, last.counts.sent),
            acked: rate(pulse.counts.acked, last.counts.acked),
            delivered: rate(pulse.counts.delivered, last.counts.delivered),
            replicas: pulse.replicas.iter().map(replica).collect(),
            times: (times.count() > 0).then(|| [0.5, 0.9, 0.99, 1.0].map(|share| times.quantile(share))),
            fault: std::mem::replace(&mut self.fault, fault),
        });
        if self.moments.len() > KEPT {
            self.moments.pop_front();
        }
    }

    /// From the oldest to the newest.
    pub(super) fn moments(&self) -> impl DoubleEndedIterator<Item = &Moment> + ExactSizeIterator {
        self.moments.iter()
    }
}

#[cfg(test)]
mod tests {
    use ws_analysis::pulse::ReplicaPulse;

    use super::*;

    #[test]
    fn a_moment_is_the_difference_of_two_pulses() {
        let mut course = Course::default();
        let mut pulse = Pulse { at_us: 1_000_000, ..Pulse::default() };
        course.note(&pulse, false);
        course.note(&pulse, true);
        pulse.at_us = 3_000_000;
        pulse.counts.sent = 200;
        pulse.times.delivery.record(1000);
        pulse.replicas.insert("app-1".into(), ReplicaPulse { open: 3, delivered: 100 });
        course.note(&pulse, false);
        let moments: Vec<&Moment> = course.moments().collect();
        assert_eq!(moments.len(), 2, "the same pulse is no moment");
        assert_eq!((moments[0].times, moments[1].sent), (None, 100.0));
        assert_eq!(moments[1].replicas["app-1"], (3, 50.0));
        assert_eq!((moments[0].fault, moments[1].fault), (false, true), "a fault that is over by now shows");
        assert!(moments[1].times.is_some_and(|[p50, ..]| (1000..1125).contains(&p50)));
        for second in 4..500 {
            course.note(&Pulse { at_us: second * 1_000_000, ..Pulse::default() }, false);
        }
        assert_eq!(course.moments().len(), KEPT);
    }
}
