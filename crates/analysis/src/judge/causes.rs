//! Many missing deliveries, one explanation: grouped by the fault that was on and by how the absence shows.

use std::collections::BTreeMap;

use crate::{ledger::Absence, log::Sent};

/// One explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The fault, as its place in the timeline.
    pub fault: Option<usize>,
    /// How the absence shows.
    pub absence: Absence,
    /// Whether the contract lets it be.
    pub allowed: bool,
    /// Missing deliveries.
    pub lost: u64,
    /// The sender's replica, where it was one alone.
    pub from: Option<u16>,
    /// The receiver's replica, where it was one alone.
    pub to: Option<u16>,
    /// When the first and the last were due, in microseconds of the run.
    pub between_us: (u64, u64),
}

/// What deliveries of one group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) fault: Option<usize>,
    pub(super) absence: Absence,
    pub(super) allowed: bool,
}

/// The groups as they grow.
#[derive(Debug, Default)]
pub(super) struct Causes(BTreeMap<Key, Cause>);

impl Causes {
    pub(super) fn add(&mut self, key: Key, sent: &Sent, to: u16) {
        let due = sent.intended_us;
        let Key { fault, absence, allowed } = key;
        let cause = self.0.entry(key).or_insert(Cause {
            fault,
            absence,
            allowed,
            lost: 0,
            from: Some(sent.replica),
            to: Some(to),
            between_us: (due, due),
        });
        cause.lost += 1;
        cause.from = cause.from.filter(|from| *from == sent.replica);
        cause.to = cause.to.filter(|one| *one == to);
        cause.between_us = (cause.between_us.0.min(due), cause.between_us.1.max(due));
    }

    /// What is not allowed first, then the greatest first.
    pub(super) fn explain(self) -> Vec<Cause> {
        let mut causes: Vec<_> = self.0.into_values().collect();
        causes.sort_by_key(|cause| (cause.allowed, std::cmp::Reverse(cause.lost)));
        causes
    }
}
