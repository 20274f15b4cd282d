//! `pause-redis`: SIGSTOP to Redis; SIGCONT at the heal.

use std::sync::Arc;

use super::{
    Boxed, Held, Injection,
    target::{Targets, redis, redis_back, until},
};
use crate::{backend::local::LocalCluster, process::state_of};

/// Redis goes on when this is dropped.
struct PauseRedis {
    cluster: Arc<LocalCluster>,
    pid: u32,
}

pub(super) fn inject(cluster: &Arc<LocalCluster>) -> Injection {
    let pid = redis(cluster)?.service().pause().map_err(|error| error.to_string())?;
    Ok((vec!["redis".into()], Box::new(PauseRedis { cluster: cluster.clone(), pid })))
}

impl Held for PauseRedis {
    fn effective(&mut self) -> Boxed<'_, String> {
        Box::pin(async {
            until(|| state_of(self.pid) == Some('T')).await;
            format!("redis: process {} is stopped", self.pid)
        })
    }

    fn heal(self: Box<Self>) -> Boxed<'static, Result<String, String>> {
        Box::pin(async move {
            let cluster = self.cluster.clone();
            drop(self);
            let seen = if redis_back(redis(&cluster)?).await? {
                "redis answers"
            } else {
                "redis is still held by another fault"
            };
            let replicas = Targets::all(&cluster).back().await?;
            Ok(format!("{seen}; {replicas}"))
        })
    }
}

impl Drop for PauseRedis {
    fn drop(&mut self) {
        if let Some(redis) = self.cluster.own_redis() {
            redis.service().resume(self.pid);
        }
    }
}
