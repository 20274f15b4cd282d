//! What a worker says of itself once a second, for whoever watches the run: plain data, sums since the run began.
//!
//! Sums rather than differences: who misses a pulse loses nothing, pulses of many workers add up, and what happened between
//! two of them is their difference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ledger::Ledger, property::Property, report::Counts, series::Buckets, stats::Times};

/// Where one worker stands, or all of them together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pulse {
    /// When it was taken, in microseconds of the run.
    pub at_us: u64,
    /// Sockets that got their hello.
    pub connected: u64,
    /// Joins that were answered.
    pub joined: u64,
    /// Rooms whose end is fenced.
    pub fenced_rooms: u64,
    /// Sockets that are gone.
    pub ended: u64,
    /// Violations seen so far; losses show at the end.
    pub violations: u64,
    /// What can be counted before the end; the rest is zero.
    pub counts: Counts,
    /// The times so far, in coarse steps.
    pub times: PulseTimes,
    /// By the name of the replica.
    pub replicas: BTreeMap<String, ReplicaPulse>,
    /// What went wrong besides messages: the most frequent descriptions, with how often.
    pub incidents: BTreeMap<String, u32>,
    /// Processor time that the worker's thread has used.
    pub cpu_us: u64,
    /// What lay unread in the sockets that were looked at last.
    pub unread: Unread,
}

/// The distributions of a [`Pulse`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as those of stats::Latencies")]
pub struct PulseTimes {
    pub connect: Buckets,
    pub ack: Buckets,
    pub delivery: Buckets,
    pub fanout_first: Buckets,
    pub fanout_last: Buckets,
    pub lag: Buckets,
}

/// One replica, as a worker sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaPulse {
    /// Connections that are open.
    pub open: u32,
    /// Deliveries that came through it.
    pub delivered: u64,
}

/// A sample of sockets, and the bytes that had arrived there and were not read when the worker came to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unread {
    /// Sockets that were looked at.
    pub sockets: u32,
    /// Bytes in all of them.
    pub bytes: u64,
}

impl Unread {
    /// Bytes a socket.
    #[must_use]
    pub fn each(self) -> u64 {
        self.bytes.checked_div(self.sockets.into()).unwrap_or(0)
    }
}

/// How many descriptions of incidents a pulse carries.
const INCIDENTS: usize = 5;

impl Pulse {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.at_us = self.at_us.max(other.at_us);
        self.connected += other.connected;
        self.joined += other.joined;
        self.fenced_rooms += other.fenced_rooms;
        self.ended += other.ended;
        self.violations += other.violations;
        self.cpu_us += other.cpu_us;
        self.unread.sockets += other.unread.sockets;
        self.unread.bytes += other.unread.bytes;
        add_counts(&mut self.counts, &other.counts);
        for (one, other) in self.times.all_mut().into_iter().zip(other.times.all()) {
            one.merge(other);
        }
        for (name, replica) in &other.replicas {
            let all = self.replicas.entry(name.clone()).or_default();
            all.open += replica.open;
            all.delivered += replica.delivered;
        }
        other.incidents.iter().for_each(|(what, n)| *self.incidents.entry(what.clone()).or_default() += n);
    }

    /// All workers' together.
    #[must_use]
    pub fn sum(pulses: &[Self]) -> Self {
        let mut sum = Self::default();
        pulses.iter().for_each(|pulse| sum.add(pulse));
        sum
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.replicas.values().map(|replica| replica.open).sum()
    }

    /// Takes the most frequent of these.
    pub fn set_incidents(&mut self, incidents: BTreeMap<String, u32>) {
        let mut most: Vec<_> = incidents.into_iter().collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        most.truncate(INCIDENTS);
        self.incidents = most.into_iter().collect();
    }
}

impl PulseTimes {
    fn all(&self) -> [&Buckets; 6] {
        [&self.connect, &self.ack, &self.delivery, &self.fanout_first, &self.fanout_last, &self.lag]
    }

    fn all_mut(&mut self) -> [&mut Buckets; 6] {
        let Self { connect, ack, delivery, fanout_first, fanout_last, lag } = self;
        [connect, ack, delivery, fanout_first, fanout_last, lag]
    }
}

impl Ledger {
    /// What it knows of a pulse.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        let buckets = |times: &Times| times.buckets();
        let latencies = &self.latencies;
        Pulse {
            violations: self.violations(),
            counts: self.counts_so_far(),
            times: PulseTimes {
                connect: buckets(&latencies.connect),
                ack: buckets(&latencies.ack),
                delivery: buckets(&latencies.delivery),
                fanout_first: buckets(&latencies.fanout_first),
                fanout_last: buckets(&latencies.fanout_last),
                lag: buckets(&latencies.schedule_lag),
            },
            replicas: self.replicas_so_far(),
            ..Pulse::default()
        }
    }

    fn counts_so_far(&self) -> Counts {
        let violations = |property| self.tallies.get(property).violations;
        let counters = &self.counters;
        Counts {
            connections: u32::try_from(self.sessions.len()).expect("connections are counted in 32 bits"),
            rooms: u32::try_from(self.rooms.len()).expect("fewer than connections"),
            sent: self.latencies.schedule_lag.count(),
            acked: self.latencies.ack.count(),
            refused: counters.refused,
            delivered: counters.delivered,
            duplicated: counters.duplicated,
            reordered: violations(Property::Fifo),
            corrupted: violations(Property::Integrity),
            leaked: violations(Property::Isolation) + violations(Property::Membership),
            created: violations(Property::Creation),
            late: counters.late,
            skipped: self.skipped.len() as u64,
            ..Counts::default()
        }
    }

    fn replicas_so_far(&self) -> BTreeMap<String, ReplicaPulse> {
        let nodes = &self.setup.nodes;
        let mut replicas = vec![ReplicaPulse::default(); nodes.len()];
        for session in self.sessions.iter().filter(|session| session.connected) {
            if let Some(replica) = replicas.get_mut(usize::from(session.replica)) {
                replica.open += 1;
            }
        }
        for (pair, times) in self.pairs.iter().enumerate() {
            replicas[pair % nodes.len()].delivered += times.count();
        }
        nodes.iter().cloned().zip(replicas).collect()
    }
}

/// Adds those that a pulse has.
fn add_counts(all: &mut Counts, one: &Counts) {
    all.connections += one.connections;
    all.ended_early += one.ended_early;
    all.rooms += one.rooms;
    all.sent += one.sent;
    all.acked += one.acked;
    all.refused += one.refused;
    all.delivered += one.delivered;
    all.duplicated += one.duplicated;
    all.reordered += one.reordered;
    all.corrupted += one.corrupted;
    all.leaked += one.leaked;
    all.created += one.created;
    all.late += one.late;
    all.skipped += one.skipped;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(delivered: u64, replica: &str, us: u64) -> Pulse {
        let mut pulse = Pulse { counts: Counts { delivered, ..Counts::default() }, ..Pulse::default() };
        pulse.replicas.insert(replica.into(), ReplicaPulse { open: 2, delivered });
        pulse.times.delivery.record(us);
        pulse.incidents.insert("refused".into(), 1);
        pulse
    }

    #[test]
    fn pulses_of_workers_add_up_and_survive_a_line() {
        let all = Pulse::sum(&[sample(3, "app-1", 100), sample(4, "app-1", 9_000), sample(5, "app-2", 100)]);
        assert_eq!((all.counts.delivered, all.open(), all.incidents["refused"]), (12, 6, 3));
        assert_eq!(all.replicas["app-1"], ReplicaPulse { open: 4, delivered: 7 });
        assert!(all.times.delivery.quantile(1.0) >= 9_000 && all.times.delivery.quantile(0.5) < 120);
        let line = serde_json::to_string(&all).expect("JSON");
        assert_eq!(serde_json::from_str::<Pulse>(&line).expect("a pulse"), all);
    }

    #[test]
    fn the_most_frequent_incidents_are_kept() {
        let mut pulse = Pulse::default();
        pulse.set_incidents((0..20).map(|n| (format!("no {n}"), n)).collect());
        assert_eq!(pulse.incidents.len(), INCIDENTS);
        assert!(pulse.incidents.contains_key("no 19") && !pulse.incidents.contains_key("no 3"));
    }

    #[test]
    fn unread_bytes_are_of_the_sockets_that_were_looked_at() {
        assert_eq!(Unread { sockets: 4, bytes: 10 }.each(), 2);
        assert_eq!(Unread::default().each(), 0);
    }
}
