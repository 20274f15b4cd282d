//! Latencies in microseconds.

use data_encoding::BASE64;
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer as _, V2DeflateSerializer, V2Serializer},
};

use crate::series::Buckets;

/// The longest time told apart: an hour.
const HIGHEST_US: u64 = 3_600_000_000;

/// A distribution of times in microseconds.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(into = "Vec<u8>", try_from = "Vec<u8>")]
pub struct Times(Histogram<u64>);

/// HdrHistogram's V2 encoding.
impl From<Times> for Vec<u8> {
    fn from(Times(histogram): Times) -> Self {
        let mut bytes = Self::new();
        V2Serializer::new().serialize(&histogram, &mut bytes).expect("a vector takes all bytes");
        bytes
    }
}

/// Why bytes are no distribution.
#[derive(Debug, thiserror::Error)]
#[error("no histogram of times up to an hour in HdrHistogram's V2 encoding")]
pub struct NotTimes;

impl TryFrom<Vec<u8>> for Times {
    type Error = NotTimes;

    fn try_from(bytes: Vec<u8>) -> Result<Self, NotTimes> {
        let histogram: Histogram<u64> =
            Deserializer::new().deserialize(&mut &bytes[..]).map_err(|_| NotTimes)?;
        if (histogram.low(), histogram.high()) == (1, HIGHEST_US) {
            Ok(Self(histogram))
        } else {
            Err(NotTimes)
        }
    }
}

impl Times {
    /// To three significant digits.
    #[must_use]
    pub fn fine() -> Self {
        Self::with_digits(3)
    }

    /// To two significant digits: for the many of a matrix.
    #[must_use]
    pub fn coarse() -> Self {
        Self::with_digits(2)
    }

    /// To one significant digit: for what was counted in [`crate::series::Buckets`].
    pub(crate) fn rough() -> Self {
        Self::with_digits(1)
    }

    fn with_digits(digits: u8) -> Self {
        Self(Histogram::new_with_bounds(1, HIGHEST_US, digits).expect("the bounds are constants"))
    }

    /// Adds one time; longer than an hour counts as an hour.
    pub fn record(&mut self, us: u64) {
        self.0.saturating_record(us.max(1));
    }

    /// Adds one time `count` times.
    pub(crate) fn record_many(&mut self, us: u64, count: u64) {
        self.0.saturating_record_n(us.max(1), count);
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the bounds are the same");
    }

    /// Times counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that `share` (0 to 1) of the counted ones do not exceed; 0 when there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share).min(self.0.max())
    }

    /// The shortest; 0 when there are none.
    #[must_use]
    pub fn min(&self) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.min() }
    }

    /// The same in coarse steps, rounded down.
    #[must_use]
    pub fn buckets(&self) -> Buckets {
        let mut buckets = Buckets::default();
        for times in self.0.iter_recorded() {
            let us = self.0.lowest_equivalent(times.value_iterated_to());
            buckets.record_many(us, times.count_at_value());
        }
        buckets
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// The histogram itself.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// Whole, as text: HdrHistogram's V2 encoding, deflated, in base64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).expect("a vector takes all bytes");
        BASE64.encode(&bytes)
    }

    /// What [`Times::to_base64`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_base64(text: &str) -> Result<Self, NotTimes> {
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| NotTimes)?;
        Self::try_from(bytes)
    }
}

/// What is timed of a run, each from the *intended* time.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Latencies {
    /// From the intended start of a connection to its hello.
    pub connect: Times,
    /// From the intended time of a send to its ack.
    pub ack: Times,
    /// From the intended time of a send to each delivery.
    pub delivery: Times,
    /// To the first member of the room.
    pub fanout_first: Times,
    /// To the last member of the room; only of messages that reached all.
    pub fanout_last: Times,
    /// How late the generator itself was to send.
    pub schedule_lag: Times,
}

impl Default for Latencies {
    fn default() -> Self {
        let [connect, ack, delivery, fanout_first, fanout_last, schedule_lag] =
            std::array::from_fn(|_| Times::fine());
        Self { connect, ack, delivery, fanout_first, fanout_last, schedule_lag }
    }
}

impl Latencies {
    /// Each by its name, as reports have it.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &Times); 6] {
        [
            ("connect", &self.connect),
            ("ack", &self.ack),
            ("delivery", &self.delivery),
            ("fanout_first", &self.fanout_first),
            ("fanout_last", &self.fanout_last),
            ("schedule_lag", &self.schedule_lag),
        ]
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &Self) {
        self.connect.merge(&other.connect);
        self.ack.merge(&other.ack);
        self.delivery.merge(&other.delivery);
        self.fanout_first.merge(&other.fanout_first);
        self.fanout_last.merge(&other.fanout_last);
        self.schedule_lag.merge(&other.schedule_lag);
    }
}
