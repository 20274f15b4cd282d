//! What carries messages between replicas: one module a broker, and one contract that all keep (`tests/it/broker.rs`).
//!
//! - When [`Broker::subscribe`] has returned, every later publication on the channel is delivered here.
//! - Publications of one replica on one channel are delivered in the order of their [`Broker::publish`], everywhere.
//! - A replica hears its own publications like any other's: there is no local echo.
//! - With positions: they follow each other without a gap, or an [`Arrival::Gap`] says that they do not.
//! - A publish is answered once: accepted, [`BrokerError::Unavailable`] (nobody gets it) or [`BrokerError::Unknown`].

pub mod memory;
pub mod redis;

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::config::BrokerChoice;
use memory::Memory;
use redis::Redis;
use ws_wire::message::Position;

/// Where publications arrive. Never waits: whoever is slow is somebody else's care.
pub trait Deliver: Send + Sync + 'static {
    /// In their order.
    fn deliver(&self, batch: &[Arrival]);

    /// Told of what becomes of the link, in its order among the arrivals. Nothing has to be done.
    fn link(&self, _: Link) {}
}

/// What becomes of the link that brings arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is gone.
    Lost,
    /// It is there again; first comes what was missed.
    Back,
    /// What was missed has come.
    CaughtUp,
}

/// One message on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Where it was published.
    pub channel: String,
    /// The text of the delivery, ready for the clients.
    pub text: String,
}

/// What a broker brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A message, with its place in the channel's order where the broker keeps one.
    Message {
        /// As it was published.
        publication: Publication,
        /// The one after that of the arrival before.
        position: Option<Position>,
    },
    /// The order goes on behind `position`; what came before it may be missing. The first arrival of a subscription,
    /// and later only after a loss.
    Gap {
        /// Which order.
        channel: String,
        /// The position before the next message.
        position: Position,
    },
}

/// Called once with the answer to a publish, and the message's position where the broker gives one.
pub type Reply = Box<dyn FnOnce(Result<Option<Position>, BrokerError>) + Send + Sync>;

/// Why a broker did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// It certainly was not done.
    #[error("the broker can't be reached; nothing was sent, try again")]
    Unavailable,
    /// It may have been done.
    #[error("the broker did not answer; the message may have been sent or not")]
    Unknown,
}

/// One replica's end of a broker.
pub enum Broker {
    /// Replicas of one process.
    Memory(Memory),
    /// Redis, with or without a log.
    Redis(Redis),
}

impl Broker {
    /// Starts what `choice` needs; its tasks run until `shutdown`, and until what they took is answered.
    pub fn start(
        choice: &BrokerChoice,
        to: Arc<dyn Deliver>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        match choice {
            BrokerChoice::Memory(hub) => Self::Memory(Memory::new(hub.clone(), to)),
            BrokerChoice::RedisPubSub(url) => Self::Redis(Redis::start(url, None, to, tasks, shutdown)),
            BrokerChoice::RedisStream(url, history) => {
                Self::Redis(Redis::start(url, Some(*history), to, tasks, shutdown))
            }
        }
    }

    /// Whether messages have positions.
    #[must_use]
    pub fn has_log(&self) -> bool {
        matches!(self, Self::Redis(redis) if redis.has_log())
    }

    /// As in the hello.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Redis(redis) if redis.has_log() => "redis-stream",
            Self::Redis(_) => "redis-pubsub",
        }
    }

    /// The contract that it can keep.
    #[must_use]
    pub fn guarantee(&self) -> &'static str {
        match self {
            Self::Memory(_) => "no-silent-loss",
            Self::Redis(redis) if redis.has_log() => "exactly-once",
            Self::Redis(_) => "at-most-once",
        }
    }

    /// Waits until what was subscribed is subscribed: at once, unless the connection to the broker was lost.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] when it did not come back in time.
    pub async fn listening(&self) -> Result<(), BrokerError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => redis.listening().await,
        }
    }

    /// From the return on, what is published on `channel` is delivered here.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] when it could not be confirmed in time.
    pub async fn subscribe(&self, channel: &str) -> Result<(), BrokerError> {
        match self {
            Self::Memory(memory) => memory.subscribe(channel),
            Self::Redis(redis) => redis.subscribe(channel).await,
        }
    }

    /// Ends a subscription; a later subscribe of the same channel comes after it. False: not now, too much is going on.
    pub fn unsubscribe(&self, channel: &str) -> bool {
        match self {
            Self::Memory(memory) => memory.unsubscribe(channel),
            Self::Redis(redis) => redis.unsubscribe(channel),
        }
    }

    /// Publishes; waits only while too many publications wait for the broker. A broker with a log takes `key` once.
    pub async fn publish(&self, publication: Publication, key: Option<String>, reply: Reply) {
        match self {
            Self::Memory(memory) => memory.publish(publication, reply),
            Self::Redis(redis) => redis.publish(publication, key, reply).await,
        }
    }

    /// Waits after a shutdown, for a bounded time, until every publish is answered. New ones are refused.
    pub async fn finished(&self) {
        match self {
            Self::Memory(_) => {}
            Self::Redis(redis) => redis.finished().await,
        }
    }

    /// All messages of `channel` after `since`, with their offsets; none where that can't be told, or not any more, or
    /// they have more than `bytes`.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] when it can't be asked.
    pub async fn since(
        &self,
        channel: &str,
        since: &Position,
        bytes: usize,
    ) -> Result<redis::Missed, BrokerError> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::Redis(redis) => redis.since(channel, since, bytes).await,
        }
    }
}
