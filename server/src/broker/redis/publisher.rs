//! Publishes what comes, in order, as many at once as are waiting.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use redis::{RedisError, aio::MultiplexedConnection};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use ws_wire::message::Position;

use super::{
    Backoff, connect,
    fence::{Fence, Pass, random_id},
    log::{self, History, Log},
};
use crate::broker::{BrokerError, Publication, Reply};

/// Publications in one pipeline: beyond this Redis gains nothing more.
const PIPELINE: usize = 128;

/// How long a batch is tried again whose first try had no answer: the log takes each publication once.
const RETRY: Duration = Duration::from_secs(20);

/// Between the tries.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How long a shutdown waits for what was taken to be published.
const FINISH: Duration = Duration::from_secs(2);

/// What is to be published.
pub(super) struct Publish {
    pub(super) publication: Publication,
    /// The same for every try of one message.
    pub(super) key: Option<String>,
    pub(super) reply: Reply,
}

/// Publishes until `shutdown`, and then what was taken before, for a bounded time. All of it is answered.
pub(super) async fn run(
    url: String,
    history: Option<History>,
    mut publications: mpsc::Receiver<Publish>,
    shutdown: CancellationToken,
) {
    let mut link = Link { url, history, fence: Fence::new(), open: None, backoff: Backoff::default() };
    let mut batch = Vec::with_capacity(PIPELINE);
    let mut too_late = pin!(async {
        shutdown.cancelled().await;
        sleep(FINISH).await;
    });
    while next_batch(&mut publications, &mut batch, &shutdown).await {
        if history.is_some() {
            for publish in &mut batch {
                publish.key.get_or_insert_with(random_id);
            }
        }
        tokio::select! {
            () = link.publish_batch(&mut batch) => {}
            () = &mut too_late => break,
        }
    }
    refuse(&mut batch, BrokerError::Unknown);
    publications.close();
    while publications.recv_many(&mut batch, PIPELINE).await > 0 {
        refuse(&mut batch, BrokerError::Unavailable);
    }
}

/// Takes what waits; false if nothing will come any more.
async fn next_batch(
    publications: &mut mpsc::Receiver<Publish>,
    batch: &mut Vec<Publish>,
    shutdown: &CancellationToken,
) -> bool {
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled(), if !publications.is_closed() => publications.close(),
            count = publications.recv_many(batch, PIPELINE) => return count > 0,
        }
    }
}

fn refuse(batch: &mut Vec<Publish>, error: BrokerError) {
    batch.drain(..).for_each(|publish| (publish.reply)(Err(error)));
}

/// The publishing connection, or the wait for one.
struct Link {
    url: String,
    history: Option<History>,
    fence: Fence,
    open: Option<Open>,
    backoff: Backoff,
}

/// A connection, and what it publishes with where there is a log.
struct Open {
    connection: MultiplexedConnection,
    log: Option<(Log, Pass)>,
}

impl Link {
    /// Answers all of `batch`. With a log, tries again while it is not known what became of it.
    async fn publish_batch(&mut self, batch: &mut Vec<Publish>) {
        let start = Instant::now();
        // Set by a try that had no answer: the lineage in which the next one is safe.
        let mut tried: Option<String> = None;
        while !batch.is_empty() {
            match self.open().await {
                Some(open) if tried.as_ref().is_some_and(|lineage| Some(lineage) != open.lineage()) => {
                    warn!("Redis has lost data; it is not known whether the last messages went out");
                    break;
                }
                Some(open) => match open.publish(batch).await {
                    Ok(()) if batch.is_empty() => return,
                    // Fenced off: what is left was not published, now, by this connection.
                    Ok(()) => self.open = None,
                    Err(error) => {
                        warn!(%error, "publishing failed; it is not known whether the messages went out");
                        tried = self.open.take().map(|open| open.lineage().cloned().unwrap_or_default());
                    }
                },
                None if tried.is_none() => break,
                None => {}
            }
            if self.history.is_none() || start.elapsed() > RETRY {
                break;
            }
            sleep(RETRY_PAUSE).await;
        }
        refuse(batch, if tried.is_some() { BrokerError::Unknown } else { BrokerError::Unavailable });
    }

    /// The connection; none while Redis is away, and then at once.
    async fn open(&mut self) -> Option<&mut Open> {
        if self.open.is_none() && self.backoff.is_over() {
            match self.connect().await {
                Ok(open) => {
                    self.open = Some(open);
                    self.backoff = Backoff::default();
                }
                Err(_) => self.backoff.extend(),
            }
        }
        self.open.as_mut()
    }

    async fn connect(&mut self) -> Result<Open, RedisError> {
        let mut connection = connect(&self.url).await?;
        let Some(history) = self.history else { return Ok(Open { connection, log: None }) };
        let log = Log::load(history, &mut connection).await?;
        let pass = self.fence.take(&mut connection, &log.run).await?;
        Ok(Open { connection, log: Some((log, pass)) })
    }
}

impl Open {
    fn lineage(&self) -> Option<&String> {
        self.log.as_ref().map(|(_, pass)| &pass.lineage)
    }

    /// Publishes and answers a batch, up to the first message that was fenced off. An error: nothing is known.
    async fn publish(&mut self, batch: &mut Vec<Publish>) -> Result<(), RedisError> {
        let mut pipeline = redis::pipe();
        let Some((log, pass)) = &self.log else {
            for Publish { publication: Publication { channel, text }, .. } in &*batch {
                pipeline.publish(channel, text).ignore();
            }
            pipeline.query_async::<()>(&mut self.connection).await?;
            answer(batch, std::iter::repeat(None));
            return Ok(());
        };
        batch.iter().for_each(|publish| log.publish(&mut pipeline, publish, pass));
        let answers: Vec<String> = pipeline.query_async(&mut self.connection).await?;
        let positions = log::parse_positions(&answers)
            .ok_or_else(|| RedisError::from((redis::ErrorKind::UnexpectedReturnType, "not a position")))?;
        answer(batch, positions.into_iter().map(Some));
        Ok(())
    }
}

/// Answers as many as there are positions.
fn answer(batch: &mut Vec<Publish>, positions: impl Iterator<Item = Option<Position>>) {
    let count = positions.size_hint().0.min(batch.len());
    for (publish, position) in batch.drain(..count).zip(positions) {
        (publish.reply)(Ok(position));
    }
}
