//! Redis: one connection that publishes in pipelines, one that listens, and (with a log) two that read it: the
//! listener's, and one for all who resume.
//!
//! Without a log this is plain pub/sub: what is published while a replica's listener is away is lost to that replica,
//! and nobody is told, which is what the guarantee `at-most-once` means. With one, the listener reads what it missed.

mod fence;
mod listener;
mod log;
mod publisher;
mod reader;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::Rng as _;
use redis::{AsyncConnectionConfig, Client, RedisError, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ws_wire::message::Position;

pub use self::log::{History, Missed};
use self::{
    listener::{Command, Listener},
    publisher::Publish,
    reader::Reader,
};
use super::{BrokerError, Deliver, Publication, Reply};

/// Publications that wait; beyond this a sender's connection is not read.
const PUBLISH_QUEUE: usize = 4096;

/// Subscriptions that wait, and how many go in one command.
const COMMANDS: usize = 4096;

/// How long Redis has to confirm or answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a join waits for a subscription, a reconnect included.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// One replica's end.
pub struct Redis {
    /// Where there is a log.
    reader: Option<Reader>,
    publications: mpsc::Sender<Publish>,
    commands: mpsc::Sender<Command>,
    /// Whether every subscription that was confirmed still stands.
    listening: watch::Receiver<bool>,
    /// After a shutdown: every publication was answered.
    finished: CancellationToken,
}

impl Redis {
    /// With `history` there is a log.
    pub(super) fn start(
        url: &str,
        history: Option<History>,
        to: Arc<dyn Deliver>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let (publications, to_publish) = mpsc::channel(PUBLISH_QUEUE);
        let (commands, to_do) = mpsc::channel(COMMANDS);
        let (says_listening, listening) = watch::channel(false);
        let listener = Listener::new(url.to_owned(), history, to_do, says_listening, to);
        let finished = CancellationToken::new();
        let (stop, published) = (shutdown.clone(), finished.clone());
        let url_to_publish = url.to_owned();
        tasks.spawn(async move {
            publisher::run(url_to_publish, history, to_publish, stop).await;
            published.cancel();
        });
        let stop = finished.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = listener.run() => {}
                () = stop.cancelled() => {}
            }
        });
        let reader = history.map(|history| Reader::new(url.to_owned(), history));
        Self { reader, publications, commands, listening, finished }
    }

    pub(super) async fn finished(&self) {
        self.finished.cancelled().await;
    }

    pub(super) fn has_log(&self) -> bool {
        self.reader.is_some()
    }

    pub(super) async fn listening(&self) -> Result<(), BrokerError> {
        let mut listening = self.listening.clone();
        match timeout(SUBSCRIBE_TIMEOUT, listening.wait_for(|listening| *listening)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(BrokerError::Unavailable),
        }
    }

    pub(super) async fn subscribe(&self, channel: &str) -> Result<(), BrokerError> {
        let (done, confirmed) = oneshot::channel();
        let asked = self.commands.send(Command::Subscribe(channel.to_owned(), done));
        asked.await.map_err(|_| BrokerError::Unavailable)?;
        match timeout(SUBSCRIBE_TIMEOUT, confirmed).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(BrokerError::Unavailable),
        }
    }

    pub(super) fn unsubscribe(&self, channel: &str) -> bool {
        self.commands.try_send(Command::Unsubscribe(channel.to_owned())).is_ok()
    }

    pub(super) async fn publish(&self, publication: Publication, key: Option<String>, reply: Reply) {
        if let Err(refused) = self.publications.send(Publish { publication, key, reply }).await {
            (refused.0.reply)(Err(BrokerError::Unavailable));
        }
    }

    pub(super) async fn since(
        &self,
        channel: &str,
        since: &Position,
        bytes: usize,
    ) -> Result<Missed, BrokerError> {
        match &self.reader {
            None => Ok(None),
            Some(reader) => reader.since(channel, since, bytes).await,
        }
    }
}

async fn connect(url: &str) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}

/// Growing pauses between tries, each shifted at random so that replicas do not come back as one.
#[derive(Default)]
struct Backoff {
    tries: u32,
    until: Option<Instant>,
}

impl Backoff {
    fn extend(&mut self) {
        let pause = Duration::from_millis(100) * 2_u32.pow(self.tries.min(4));
        self.tries += 1;
        self.until = Some(Instant::now() + pause.mul_f64(rand::rng().random_range(0.5..1.25)));
    }

    fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    fn left(&self) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}
