//! Redis pub/sub: one connection that publishes in pipelines, one that listens.
//!
//! Both reconnect for ever, by themselves: the client library's own resubscription was seen to give up after 20 s.
//! What is published while a replica's listener is away is lost to that replica, and nobody is told: this is what the
//! guarantee `at-most-once` means.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use rand::Rng as _;
use redis::{AsyncConnectionConfig, Client, Msg, RedisError, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{BrokerError, Deliver, Publication, Reply};

/// Publications in one pipeline: beyond this Redis gains nothing more.
const PIPELINE: usize = 128;

/// Publications that wait; beyond this a sender's connection is not read.
const PUBLISH_QUEUE: usize = 4096;

/// Subscriptions that wait, and how many go in one command.
const COMMANDS: usize = 4096;

/// How long Redis has to confirm or answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a join waits for a subscription, a reconnect included.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A listener that hears nothing for so long is dead: the heartbeat alone comes every second.
const SILENCE: Duration = Duration::from_secs(5);

/// Publications handed on together.
const BATCH: usize = 256;

/// One replica's end.
pub struct PubSub {
    publications: mpsc::Sender<(Publication, Reply)>,
    commands: mpsc::Sender<Command>,
    /// Whether every subscription that was confirmed still stands.
    listening: watch::Receiver<bool>,
}

enum Command {
    Subscribe(String, oneshot::Sender<()>),
    Unsubscribe(String),
}

impl PubSub {
    pub(super) fn start(
        url: &str,
        to: Arc<dyn Deliver>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let (publications, to_publish) = mpsc::channel(PUBLISH_QUEUE);
        let (commands, to_do) = mpsc::channel(COMMANDS);
        let publisher = publish_all(url.to_owned(), to_publish);
        let (says_listening, listening) = watch::channel(false);
        let listener = Listener {
            url: url.to_owned(),
            wanted: HashSet::new(),
            waiting: Vec::new(),
            commands: to_do,
            listening: says_listening,
            to,
        };
        let stop = shutdown.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = publisher => {}
                () = stop.cancelled() => {}
            }
        });
        let stop = shutdown.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = listener.run() => {}
                () = stop.cancelled() => {}
            }
        });
        Self { publications, commands, listening }
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

    pub(super) async fn publish(&self, publication: Publication, reply: Reply) {
        if let Err(refused) = self.publications.send((publication, reply)).await {
            refused.0.1(Err(BrokerError::Unavailable));
        }
    }
}

/// Publishes what comes, in order, as many at once as are waiting.
async fn publish_all(url: String, mut publications: mpsc::Receiver<(Publication, Reply)>) {
    let mut link = Link { url, connection: None, backoff: Backoff::default() };
    let mut batch = Vec::with_capacity(PIPELINE);
    while publications.recv_many(&mut batch, PIPELINE).await > 0 {
        let result = match link.connection().await {
            None => Err(BrokerError::Unavailable),
            Some(connection) => {
                let mut pipeline = redis::pipe();
                for (publication, _) in &batch {
                    pipeline.publish(&publication.channel, &publication.text).ignore();
                }
                let answer = pipeline.query_async::<()>(connection).await;
                answer.map_err(|error| link.lost(&error))
            }
        };
        for (_, reply) in batch.drain(..) {
            reply(result);
        }
    }
}

/// The publishing connection, or the wait for one.
struct Link {
    url: String,
    connection: Option<MultiplexedConnection>,
    backoff: Backoff,
}

impl Link {
    /// The connection; none while Redis is away, and then at once.
    async fn connection(&mut self) -> Option<&mut MultiplexedConnection> {
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

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        Client::open(self.url.as_str())?.get_multiplexed_async_connection_with_config(&config).await
    }

    fn lost(&mut self, error: &RedisError) -> BrokerError {
        warn!(%error, "publishing failed; it is not known whether the messages went out");
        self.connection = None;
        BrokerError::Unknown
    }
}

/// The listening connection: knows what is wanted, and gets it back after every loss.
struct Listener {
    url: String,
    wanted: HashSet<String>,
    /// To be told when all that is wanted is confirmed.
    waiting: Vec<oneshot::Sender<()>>,
    commands: mpsc::Receiver<Command>,
    listening: watch::Sender<bool>,
    to: Arc<dyn Deliver>,
}

impl Listener {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut said = None;
        loop {
            let end = self.listen(&mut backoff).await;
            self.listening.send_replace(false);
            match end {
                Ok(()) => return,
                Err(error) => {
                    // Said at once and then now and again, not with every try.
                    if said.is_none_or(|said: Instant| said.elapsed() > Duration::from_secs(10)) {
                        warn!(%error, "Redis can't be listened to; trying again");
                        said = Some(Instant::now());
                    }
                }
            }
            backoff.extend();
            self.wait(backoff.left()).await;
        }
    }

    /// Listens until the connection is lost (an error) or nobody needs it any more.
    async fn listen(&mut self, backoff: &mut Backoff) -> Result<(), RedisError> {
        let client = Client::open(self.url.as_str())?;
        let connected = timeout(ANSWER_TIMEOUT, client.get_async_pubsub()).await;
        let (mut sink, stream) = connected.map_err(|_| too_slow("connecting"))??.split();
        let wanted: Vec<_> = self.wanted.iter().cloned().collect();
        for channels in wanted.chunks(COMMANDS) {
            confirmed(sink.subscribe(channels)).await?;
        }
        info!(channels = wanted.len(), "listening to Redis");
        self.listening.send_replace(true);
        self.confirm();
        *backoff = Backoff::default();
        let mut messages = stream.ready_chunks(BATCH);
        let mut commands = Vec::new();
        loop {
            tokio::select! {
                batch = timeout(SILENCE, messages.next()) => match batch {
                    Ok(Some(batch)) => self.deliver(&batch),
                    Ok(None) => return Err(too_slow("the connection was closed")),
                    Err(_) => return Err(too_slow("not even the heartbeat came")),
                },
                count = self.commands.recv_many(&mut commands, COMMANDS) => {
                    if count == 0 {
                        return Ok(());
                    }
                    let (gone, new) = self.sort(commands.drain(..));
                    // In this order: who leaves and comes back at once is subscribed in the end.
                    if !gone.is_empty() {
                        confirmed(sink.unsubscribe(gone)).await?;
                    }
                    if !new.is_empty() {
                        confirmed(sink.subscribe(new)).await?;
                    }
                    self.confirm();
                }
            }
        }
    }

    fn deliver(&self, batch: &[Msg]) {
        let publication = |message: &Msg| {
            let text = message.get_payload().ok()?;
            Some(Publication { channel: message.get_channel_name().to_owned(), text })
        };
        self.to.deliver(&batch.iter().filter_map(publication).collect::<Vec<_>>());
    }

    /// What to unsubscribe and what to subscribe.
    fn sort(&mut self, commands: impl Iterator<Item = Command>) -> (HashSet<String>, HashSet<String>) {
        let (mut gone, mut new) = (HashSet::new(), HashSet::new());
        // Who took too long to be answered has gone.
        self.waiting.retain(|done| !done.is_closed());
        for command in commands {
            match command {
                Command::Subscribe(channel, done) => {
                    self.wanted.insert(channel.clone());
                    new.insert(channel);
                    self.waiting.push(done);
                }
                Command::Unsubscribe(channel) => {
                    self.wanted.remove(&channel);
                    new.remove(&channel);
                    gone.insert(channel);
                }
            }
        }
        (gone, new)
    }

    /// Tells all who wait: what is wanted is subscribed.
    fn confirm(&mut self) {
        for done in self.waiting.drain(..) {
            // An error: it took too long, nobody waits any more.
            let _ = done.send(());
        }
    }

    /// Lets time pass while Redis is away. Who asks now waits for the next connection.
    async fn wait(&mut self, time: Duration) {
        let mut commands = Vec::new();
        let collect = async { while self.commands.recv_many(&mut commands, COMMANDS).await > 0 {} };
        let _ = timeout(time, collect).await;
        self.sort(commands.into_iter());
    }
}

async fn confirmed(answer: impl Future<Output = Result<(), RedisError>>) -> Result<(), RedisError> {
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| Err(too_slow("a subscription is not confirmed")))
}

fn too_slow(what: &'static str) -> RedisError {
    RedisError::from((redis::ErrorKind::Io, what))
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
