//! The connection that all resumes of a replica read the logs on: pipelined, and opened again after an error.

use std::sync::Arc;

use redis::{RedisError, aio::MultiplexedConnection};
use tokio::{
    sync::{Mutex, Semaphore},
    time::timeout,
};
use ws_wire::message::Position;

use super::{
    SUBSCRIBE_TIMEOUT, connect,
    log::{History, Log, Missed},
};
use crate::broker::BrokerError;

/// Resumes that read at once: a storm of them must neither fill the memory nor make each other too late.
const READING: usize = 64;

/// See the module.
pub(super) struct Reader {
    url: String,
    history: History,
    /// Held while it is opened, so that a storm opens it once; never while it is used.
    slot: Mutex<Option<Arc<Open>>>,
    places: Semaphore,
}

struct Open {
    connection: MultiplexedConnection,
    log: Log,
}

impl Reader {
    pub(super) fn new(url: String, history: History) -> Self {
        Self { url, history, slot: Mutex::default(), places: Semaphore::new(READING) }
    }

    /// All messages of `channel` after `since`, if they are kept and have no more than `bytes`.
    pub(super) async fn since(
        &self,
        channel: &str,
        since: &Position,
        bytes: usize,
    ) -> Result<Missed, BrokerError> {
        let reading = async {
            let _place = self.places.acquire().await.expect("it is never closed");
            match self.read(channel, since, bytes).await {
                // The connection may have died of old age: the next one is new.
                Err(_) => self.read(channel, since, bytes).await,
                read => read,
            }
        };
        match timeout(SUBSCRIBE_TIMEOUT, reading).await {
            Ok(Ok(missed)) => Ok(missed),
            _ => Err(BrokerError::Unavailable),
        }
    }

    async fn read(&self, channel: &str, since: &Position, bytes: usize) -> Result<Missed, RedisError> {
        let open = self.open().await?;
        let read = open.log.since(&mut open.connection.clone(), channel, since, bytes).await;
        if read.is_err() {
            let mut slot = self.slot.lock().await;
            if slot.as_ref().is_some_and(|newest| Arc::ptr_eq(newest, &open)) {
                *slot = None;
            }
        }
        read
    }

    async fn open(&self) -> Result<Arc<Open>, RedisError> {
        let mut slot = self.slot.lock().await;
        if let Some(open) = &*slot {
            return Ok(open.clone());
        }
        let mut connection = connect(&self.url).await?;
        let log = Log::load(self.history, &mut connection).await?;
        Ok(slot.insert(Arc::new(Open { connection, log })).clone())
    }
}
