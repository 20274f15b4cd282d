//! Evenly spaced arrivals.

/// Arrival i is due at i / rate; this worker has every `workers`-th.
#[derive(Debug)]
pub(super) struct Constant {
    rate: f64,
    messages: u64,
    next: u64,
    step: u64,
}

impl Constant {
    pub(super) fn new(rate: f64, messages: u64, worker: u32, workers: u32) -> Self {
        Self { rate, messages, next: worker.into(), step: workers.into() }
    }
}

impl Iterator for Constant {
    type Item = u64;

    /// Microseconds from the start. Computed from the count, so that rounding never adds up.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are far below 2^52"
    )]
    fn next(&mut self) -> Option<u64> {
        let index = self.next;
        self.next += self.step;
        (index < self.messages).then(|| (index as f64 * 1e6 / self.rate) as u64)
    }
}
