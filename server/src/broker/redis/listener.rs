//! The listening connection: knows what is wanted, and gets it back after every loss.
//!
//! It reconnects for ever, by itself: the client library's own resubscription was seen to give up after 20 s.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use redis::{Client, Msg, RedisError, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{interval, timeout, timeout_at},
};
use tracing::{info, warn};
use ws_wire::message::Position;

use super::{
    ANSWER_TIMEOUT, Backoff, COMMANDS, connect,
    log::{self, History, Log, Read, Trust},
};
use crate::broker::{Arrival, Deliver, Link, Publication};

/// A listener that hears nothing for so long is dead: the heartbeat alone comes every second.
const SILENCE: Duration = Duration::from_secs(5);

/// How often the logs of quiet channels are looked at: a wake-up may be lost without a word.
const LOOK: Duration = Duration::from_secs(2);

/// Publications handed on together.
const BATCH: usize = 256;

/// Logs read in one pipeline.
const READS: usize = 64;

/// What the rooms ask for.
pub(super) enum Command {
    Subscribe(String, oneshot::Sender<()>),
    Unsubscribe(String),
}

/// See the module.
pub(super) struct Listener {
    url: String,
    history: Option<History>,
    wanted: HashMap<String, Place>,
    /// To be told when all that is wanted is confirmed.
    waiting: Vec<oneshot::Sender<()>>,
    commands: mpsc::Receiver<Command>,
    listening: watch::Sender<bool>,
    to: Arc<dyn Deliver>,
}

/// How far a channel has come here; only with a log.
#[derive(Default)]
struct Place {
    /// None until the log was read for the first time.
    position: Option<Position>,
    /// Since the last look at the log.
    heard: bool,
}

/// The connection that reads the log, with the scripts it has loaded.
type Reader = Option<(MultiplexedConnection, Log)>;

impl Listener {
    pub(super) fn new(
        url: String,
        history: Option<History>,
        commands: mpsc::Receiver<Command>,
        listening: watch::Sender<bool>,
        to: Arc<dyn Deliver>,
    ) -> Self {
        Self { url, history, wanted: HashMap::new(), waiting: Vec::new(), commands, listening, to }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut said = None;
        loop {
            let end = self.listen(&mut backoff).await;
            if self.listening.send_replace(false) {
                self.to.link(Link::Lost);
            }
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
        let mut reader = self.reader().await?;
        let wanted: Vec<_> = self.wanted.keys().cloned().collect();
        for channels in wanted.chunks(COMMANDS) {
            confirmed(sink.subscribe(channels)).await?;
        }
        // What came meanwhile was not heard: every channel is suspect until its log was read.
        self.to.link(Link::Back);
        self.catch_up(&mut reader, wanted.clone()).await?;
        self.to.link(Link::CaughtUp);
        info!(channels = wanted.len(), "listening to Redis");
        self.listening.send_replace(true);
        self.confirm();
        *backoff = Backoff::default();
        let mut messages = stream.ready_chunks(BATCH);
        let mut commands = Vec::new();
        let mut look = interval(LOOK);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                batch = timeout_at((heard + SILENCE).into(), messages.next()) => match batch {
                    Ok(Some(batch)) => {
                        heard = Instant::now();
                        let behind = self.deliver(&batch);
                        self.catch_up(&mut reader, behind).await?;
                    }
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
                        confirmed(sink.subscribe(&new)).await?;
                        self.catch_up(&mut reader, new.into_iter().collect()).await?;
                    }
                    self.confirm();
                }
                _ = look.tick() => {
                    let quiet = self.quiet();
                    self.catch_up(&mut reader, quiet).await?;
                }
            }
        }
    }

    async fn reader(&self) -> Result<Reader, RedisError> {
        let Some(history) = self.history else { return Ok(None) };
        let mut connection = connect(&self.url).await?;
        let log = Log::load(history, &mut connection).await?;
        Ok(Some((connection, log)))
    }

    /// Hands on what comes in its turn; returns the channels that are behind.
    fn deliver(&mut self, batch: &[Msg]) -> Vec<String> {
        let mut behind = Vec::new();
        let mut arrivals = Vec::with_capacity(batch.len());
        for message in batch {
            let Ok(payload) = message.get_payload::<String>() else { continue };
            let channel = message.get_channel_name();
            if self.history.is_none() {
                arrivals.push(arrival(channel, payload, None));
                continue;
            }
            let (Some(place), Some((position, text))) = (self.wanted.get_mut(channel), log::parse(&payload))
            else {
                continue;
            };
            place.heard = true;
            match &mut place.position {
                Some(known) if known.epoch == position.epoch && position.offset <= known.offset => {}
                Some(known) if known.epoch == position.epoch && position.offset == known.offset + 1 => {
                    known.offset = position.offset;
                    arrivals.push(arrival(channel, text.to_owned(), Some(position)));
                }
                _ => behind.push(channel.to_owned()),
            }
        }
        self.to.deliver(&arrivals);
        behind.sort_unstable();
        behind.dedup();
        behind
    }

    /// Reads the logs of `channels` to their ends. What is heard later lies behind that.
    async fn catch_up(&mut self, reader: &mut Reader, mut channels: Vec<String>) -> Result<(), RedisError> {
        let Some((connection, log)) = reader else { return Ok(()) };
        while !channels.is_empty() {
            let mut more = Vec::new();
            for some in channels.chunks(READS) {
                let known = some.iter().map(|channel| {
                    (&**channel, self.wanted.get(channel).and_then(|place| place.position.as_ref()))
                });
                let reads = log.read(connection, known, Trust::Replica).await?;
                for (channel, read) in some.iter().zip(reads) {
                    if read.has_more() {
                        more.push(channel.clone());
                    }
                    self.follow(channel, read);
                }
            }
            channels = more;
        }
        Ok(())
    }

    fn follow(&mut self, channel: &str, read: Read) {
        let Some(place) = self.wanted.get_mut(channel) else { return };
        let (gap, messages) = read.follow(&mut place.position);
        let Some(place) = &place.position else { return };
        let gap = gap.map(|position| Arrival::Gap { channel: channel.to_owned(), position });
        let messages = messages.into_iter().map(|(offset, text)| {
            arrival(channel, text, Some(Position { epoch: place.epoch.clone(), offset }))
        });
        self.to.deliver(&gap.into_iter().chain(messages).collect::<Vec<_>>());
    }

    /// The channels on which nothing was heard for a while: it may be that nothing was said.
    fn quiet(&mut self) -> Vec<String> {
        if self.history.is_none() {
            return Vec::new();
        }
        let places = self.wanted.iter_mut();
        places
            .filter_map(|(channel, place)| (!std::mem::take(&mut place.heard)).then(|| channel.clone()))
            .collect()
    }

    /// What to unsubscribe and what to subscribe.
    fn sort(&mut self, commands: impl Iterator<Item = Command>) -> (HashSet<String>, HashSet<String>) {
        let (mut gone, mut new) = (HashSet::new(), HashSet::new());
        // Who took too long to be answered has gone.
        self.waiting.retain(|done| !done.is_closed());
        for command in commands {
            match command {
                Command::Subscribe(channel, done) => {
                    // From the start: who asks anew knows nothing of what came before.
                    self.wanted.insert(channel.clone(), Place::default());
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

fn arrival(channel: &str, text: String, position: Option<Position>) -> Arrival {
    Arrival::Message { publication: Publication { channel: channel.to_owned(), text }, position }
}

async fn confirmed(answer: impl Future<Output = Result<(), RedisError>>) -> Result<(), RedisError> {
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| Err(too_slow("a subscription is not confirmed")))
}

fn too_slow(what: &'static str) -> RedisError {
    RedisError::from((redis::ErrorKind::Io, what))
}
