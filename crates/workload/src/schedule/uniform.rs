//! Arrivals as even as the rate allows.

use crate::profile::Profile;

/// Arrival i is due when i of them are over; this worker has every `step`-th.
#[derive(Debug)]
pub(super) struct Uniform {
    next: u32,
    step: u32,
}

impl Uniform {
    pub(super) fn new(worker: u32, workers: u32) -> Self {
        Self { next: worker, step: workers }
    }

    /// Seconds from the start. Computed from the count, so that rounding never adds up.
    pub(super) fn next(&mut self, profile: &Profile) -> Option<f64> {
        let due = profile.time_of(self.next.into());
        self.next = self.next.saturating_add(self.step);
        due
    }
}
