//! Publishes what comes, in order, as many at once as are waiting.

use std::time::{Duration, Instant};

use redis::{RedisError, aio::MultiplexedConnection};
use tokio::{sync::mpsc, time::sleep};
use tracing::warn;
use ws_wire::message::Position;

use super::{
    Backoff, connect,
    log::{self, History, Log},
};
use crate::broker::{BrokerError, Publication, Reply};

/// Publications in one pipeline: beyond this Redis gains nothing more.
const PIPELINE: usize = 128;

/// How long a batch is tried again whose first try had no answer: the log takes each publication once.
const RETRY: Duration = Duration::from_secs(5);

/// Between the tries.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What is to be published.
pub(super) struct Publish {
    pub(super) publication: Publication,
    /// The same for every try of one message.
    pub(super) key: Option<String>,
    pub(super) reply: Reply,
}

/// Publishes until nobody is left to send.
pub(super) async fn run(url: String, history: Option<History>, mut publications: mpsc::Receiver<Publish>) {
    let mut link = Link { url, history, connection: None, backoff: Backoff::default() };
    let mut batch = Vec::with_capacity(PIPELINE);
    while publications.recv_many(&mut batch, PIPELINE).await > 0 {
        if history.is_some() {
            for publish in &mut batch {
                publish.key.get_or_insert_with(|| format!("{:032x}", rand::random::<u128>()));
            }
        }
        match link.publish_batch(&batch).await {
            Ok(positions) => {
                let positions = positions.into_iter().map(Some).chain(std::iter::repeat(None));
                for (publish, position) in batch.drain(..).zip(positions) {
                    (publish.reply)(Ok(position));
                }
            }
            Err(error) => batch.drain(..).for_each(|publish| (publish.reply)(Err(error))),
        }
    }
}

/// The publishing connection, or the wait for one.
struct Link {
    url: String,
    history: Option<History>,
    connection: Option<(MultiplexedConnection, Option<Log>)>,
    backoff: Backoff,
}

impl Link {
    /// With a log, tries again while it is not known what became of the batch.
    async fn publish_batch(&mut self, batch: &[Publish]) -> Result<Vec<Position>, BrokerError> {
        let start = Instant::now();
        let mut outcome = BrokerError::Unavailable;
        loop {
            if let Some((connection, log)) = self.connection().await {
                match publish_once(connection, log.as_ref(), batch).await {
                    Ok(positions) => return Ok(positions),
                    Err(error) => {
                        warn!(%error, "publishing failed; it is not known whether the messages went out");
                        self.connection = None;
                        outcome = BrokerError::Unknown;
                    }
                }
            }
            let hopeless = outcome == BrokerError::Unavailable || self.history.is_none();
            if hopeless || start.elapsed() > RETRY {
                return Err(outcome);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// The connection; none while Redis is away, and then at once.
    async fn connection(&mut self) -> Option<&mut (MultiplexedConnection, Option<Log>)> {
        if self.connection.is_none() && self.backoff.is_over() {
            match self.connect().await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.backoff = Backoff::default();
                }
                Err(_) => self.backoff.extend(),
            }
        }
        self.connection.as_mut()
    }

    async fn connect(&self) -> Result<(MultiplexedConnection, Option<Log>), RedisError> {
        let mut connection = connect(&self.url).await?;
        let log = match self.history {
            None => None,
            Some(history) => Some(Log::load(history, &mut connection).await?),
        };
        Ok((connection, log))
    }
}

/// Positions where there is a log.
async fn publish_once(
    connection: &mut MultiplexedConnection,
    log: Option<&Log>,
    batch: &[Publish],
) -> Result<Vec<Position>, RedisError> {
    let mut pipeline = redis::pipe();
    for Publish { publication: Publication { channel, text }, key, .. } in batch {
        match log {
            None => pipeline.publish(channel, text).ignore(),
            Some(log) => {
                log.publish(&mut pipeline, channel, text, key.as_deref().unwrap_or_default());
                &mut pipeline
            }
        };
    }
    if log.is_none() {
        pipeline.query_async::<()>(connection).await?;
        return Ok(Vec::new());
    }
    let answers: Vec<String> = pipeline.query_async(connection).await?;
    let parsed: Option<Vec<_>> = answers.iter().map(|answer| log::parse_position(answer)).collect();
    parsed.ok_or_else(|| RedisError::from((redis::ErrorKind::UnexpectedReturnType, "not a position")))
}
