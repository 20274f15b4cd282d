//! The distributions behind a report's percentiles: with them reports are merged without loss.

use serde::{Deserialize, Serialize};

use crate::{
    series::Buckets,
    stats::{Latencies, NotTimes, Times},
};

/// All that was timed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(into = "Document", try_from = "Document")]
pub struct Histograms {
    /// Over the whole run.
    pub latencies: Latencies,
    /// Of deliveries, one for each second of the series.
    pub seconds: Vec<Buckets>,
}

/// Each as [`Times::to_base64`] writes it; a second without a delivery is empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Document {
    connect: String,
    ack: String,
    delivery: String,
    fanout_first: String,
    fanout_last: String,
    schedule_lag: String,
    seconds: Vec<String>,
}

impl From<Histograms> for Document {
    fn from(Histograms { latencies, seconds }: Histograms) -> Self {
        let second = |second: &Buckets| match second.count() {
            0 => String::new(),
            _ => second.times().to_base64(),
        };
        Self {
            connect: latencies.connect.to_base64(),
            ack: latencies.ack.to_base64(),
            delivery: latencies.delivery.to_base64(),
            fanout_first: latencies.fanout_first.to_base64(),
            fanout_last: latencies.fanout_last.to_base64(),
            schedule_lag: latencies.schedule_lag.to_base64(),
            seconds: seconds.iter().map(second).collect(),
        }
    }
}

impl TryFrom<Document> for Histograms {
    type Error = NotTimes;

    fn try_from(document: Document) -> Result<Self, NotTimes> {
        let second = |text: &String| match text.as_str() {
            "" => Ok(Buckets::default()),
            text => Ok(Buckets::from(&Times::from_base64(text)?)),
        };
        Ok(Self {
            latencies: Latencies {
                connect: Times::from_base64(&document.connect)?,
                ack: Times::from_base64(&document.ack)?,
                delivery: Times::from_base64(&document.delivery)?,
                fanout_first: Times::from_base64(&document.fanout_first)?,
                fanout_last: Times::from_base64(&document.fanout_last)?,
                schedule_lag: Times::from_base64(&document.schedule_lag)?,
            },
            seconds: document.seconds.iter().map(second).collect::<Result<_, _>>()?,
        })
    }
}
