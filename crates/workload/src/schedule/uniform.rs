//! Arrivals as even as the rate allows.

use super::Part;
use crate::profile::Profile;

/// Arrival i is due when i of them are over; this worker has a part of them, as evenly spread as the whole.
#[derive(Debug)]
pub(super) struct Uniform {
    part: Part,
    /// How many of them are over.
    over: u64,
}

impl Uniform {
    pub(super) fn new(part: Part) -> Self {
        Self { part, over: 0 }
    }

    /// Seconds from the start. Computed from the count, so that rounding never adds up.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
    pub(super) fn next(&mut self, profile: &Profile) -> Option<f64> {
        let Part { before, own, of } = self.part;
        let due = profile.time_of((self.over * of + before) as f64 / own as f64);
        self.over += 1;
        due
    }
}
