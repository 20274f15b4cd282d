//! The fence of a publisher: a key in Redis that names its newest connection.
//!
//! A batch that an old connection left in the network finds another pass there, and is not published behind later
//! ones. And a fence that is gone tells of lost data: with it went the idempotency keys, so nothing may be tried again.

use std::time::Duration;

use redis::{RedisError, aio::MultiplexedConnection};

/// How long Redis keeps a fence. It is not refreshed: when it runs out the next batch is refused as a whole or from
/// some message on, and goes out on a new connection. What a publisher that crashed leaves behind goes by itself.
const KEPT: Duration = Duration::from_secs(3600);

/// One publisher's.
pub(super) struct Fence {
    key: String,
    lineage: String,
    /// Of the Redis that gave the lineage.
    run: String,
}

/// What a connection publishes with.
pub(super) struct Pass {
    /// Where the fence is.
    pub(super) fence: String,
    /// The same as long as Redis has not lost anything.
    pub(super) lineage: String,
    token: String,
}

impl Fence {
    pub(super) fn new() -> Self {
        Self { key: format!("ws:publisher:{}", random_id()), lineage: String::new(), run: String::new() }
    }

    /// Takes the fence for `connection`, which leads to `run` of Redis.
    pub(super) async fn take(
        &mut self,
        connection: &mut MultiplexedConnection,
        run: &str,
    ) -> Result<Pass, RedisError> {
        // One that was restarted may have its snapshot's fence and not its last keys.
        let known = if self.run == run { &self.lineage } else { "" };
        let token = random_id();
        let mut take = redis::cmd("EVAL");
        take.arg(include_str!("fence.lua")).arg(1).arg(&self.key);
        take.arg(known).arg(random_id()).arg(&token).arg(KEPT.as_millis().to_string());
        self.lineage = take.query_async(connection).await?;
        run.clone_into(&mut self.run);
        Ok(Pass { fence: self.key.clone(), lineage: self.lineage.clone(), token })
    }
}

impl std::fmt::Display for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.lineage, self.token)
    }
}

/// A name that nobody else has.
pub(super) fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
