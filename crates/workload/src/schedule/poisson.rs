//! Arrivals that know nothing of one another, as those of many independent users.

use rand::{Rng as _, rngs::StdRng};

use super::Part;
use crate::profile::Profile;

/// A Poisson process, by the inverse of its mean: between two arrivals lies a mean of one, exponentially distributed.
/// Workers at a part of the rate each make one process at the whole of it.
#[derive(Debug)]
pub(super) struct Poisson {
    /// How many should be over, of all workers together.
    mean: f64,
    /// Of so many arrivals one is this worker's.
    step: f64,
}

impl Poisson {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
    pub(super) fn new(part: Part) -> Self {
        Self { mean: 0.0, step: part.of as f64 / part.own as f64 }
    }

    /// Seconds from the start.
    pub(super) fn next(&mut self, profile: &Profile, random: &mut StdRng) -> Option<f64> {
        let chance: f64 = random.random();
        self.mean -= (1.0 - chance).ln() * self.step;
        profile.time_of(self.mean)
    }
}
