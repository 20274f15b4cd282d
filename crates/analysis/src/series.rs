//! The run second by second, in bounded memory.

/// A distribution of times in microseconds, to one part in eight: small enough to have one for every second.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "Vec<u32>", from = "Vec<u32>")]
pub struct Buckets([u32; BUCKETS]);

/// Eight for each power of two, up to 2^31 us.
const BUCKETS: usize = 8 * 30;

impl Default for Buckets {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

/// As far as something is in them.
impl From<Buckets> for Vec<u32> {
    fn from(Buckets(counts): Buckets) -> Self {
        let used = counts.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        counts[..used].to_vec()
    }
}

impl From<Vec<u32>> for Buckets {
    fn from(counts: Vec<u32>) -> Self {
        let mut buckets = Self::default();
        buckets.0.iter_mut().zip(counts).for_each(|(bucket, count)| *bucket = count);
        buckets
    }
}

impl Buckets {
    /// Adds one time.
    pub fn record(&mut self, us: u64) {
        let bucket = bucket(us);
        self.0[bucket] = self.0[bucket].saturating_add(1);
    }

    /// Adds `count` equal ones.
    pub fn record_many(&mut self, us: u64, count: u64) {
        let bucket = &mut self.0[bucket(us)];
        *bucket = bucket.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|&count| u64::from(count)).sum()
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut later = self.clone();
        later.0.iter_mut().zip(&earlier.0).for_each(|(one, earlier)| *one = one.saturating_sub(*earlier));
        later
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(one, other)| *one = one.saturating_add(*other));
    }

    /// The time that `share` (0 to 1) of the counted ones do not exceed; 0 when there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        self.quantile_between(share).1
    }

    /// The shortest and the longest that this time may be.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are far below 2^52"
    )]
    pub fn quantile_between(&self, share: f64) -> (u64, u64) {
        let rank = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, &count) in self.0.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                return (lowest(bucket), highest(bucket));
            }
        }
        (0, 0)
    }
}

fn bucket(us: u64) -> usize {
    let Some(power) = us.checked_ilog2().and_then(|power| power.checked_sub(3)) else {
        return usize::try_from(us).expect("below eight");
    };
    let eighth = usize::try_from(us >> power & 7).expect("three bits");
    ((power as usize + 1) * 8 + eighth).min(BUCKETS - 1)
}

/// The shortest time in a bucket.
fn lowest(bucket: usize) -> u64 {
    bucket.checked_sub(1).map_or(0, |before| highest(before) + 1)
}

/// The longest time in a bucket.
fn highest(bucket: usize) -> u64 {
    match (bucket / 8, bucket as u64 % 8) {
        (0, us) => us,
        (power, eighth) => ((9 + eighth) << (power - 1)) - 1,
    }
}

/// One second.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Second {
    /// Messages due in it and sent.
    pub sent: u64,
    /// Of these acknowledged.
    pub acked: u64,
    /// Deliveries that came in it.
    pub delivered: u64,
    /// Their times.
    pub times: Buckets,
    /// Connections that were open.
    pub open: u32,
}

/// Seconds from the start of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Series(Vec<Second>);

/// A run that is longer is summed up in its last second: a day.
const LONGEST: usize = 86_400;

impl Series {
    /// The second that `us` is in.
    pub fn at(&mut self, us: u64) -> &mut Second {
        let second = usize::try_from(us / 1_000_000).unwrap_or(LONGEST).min(LONGEST);
        if self.0.len() <= second {
            self.0.resize_with(second + 1, Second::default);
        }
        &mut self.0[second]
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize_with(other.0.len(), Second::default);
        }
        for (one, other) in self.0.iter_mut().zip(&other.0) {
            one.sent += other.sent;
            one.acked += other.acked;
            one.delivered += other.delivered;
            one.times.merge(&other.times);
            one.open += other.open;
        }
    }

    /// In order.
    #[must_use]
    pub fn seconds(&self) -> &[Second] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_told_to_one_part_in_eight(us in 0..1_u64 << 31) {
            let mut buckets = Buckets::default();
            buckets.record(us);
            let told = buckets.quantile(0.5);
            prop_assert!(us <= told && told <= us + us / 8, "{us} {told}");
            let (least, most) = buckets.quantile_between(0.5);
            prop_assert!(least <= us && us <= most, "{us} {least} {most}");
        }
    }

    #[test]
    fn quantiles_are_of_all_that_was_counted() {
        let mut buckets = Buckets::default();
        assert_eq!(buckets.quantile(0.5), 0);
        (1..=5).for_each(|us| buckets.record(us));
        let mut other = Buckets::default();
        other.record(7);
        buckets.merge(&other);
        assert_eq!((buckets.quantile(0.5), buckets.quantile(0.99), buckets.quantile(1.0)), (3, 7, 7));
        assert_eq!(buckets.since(&other).quantile(1.0), 5);
        other.record(u64::MAX);
        assert!(other.quantile(1.0) > 1 << 31);
    }
}
