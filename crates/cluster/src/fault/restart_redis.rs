//! `restart-redis` and `wipe-redis`: SIGKILL to Redis, which is back at the heal, with its data or without any. A marker
//! written before tells which.

use std::{future::pending, sync::Arc};

use rustix::process::Signal;
use ws_workload::fault::{Fault, Kind};

use super::{
    Boxed, Held, Injection,
    target::{Targets, redis, redis_back, refuses},
};
use crate::{backend::local::LocalCluster, service::Gone};

/// Redis is down, and is started when this is dropped.
struct RestartRedis {
    cluster: Arc<LocalCluster>,
    is_wiped: bool,
    marker: String,
    gone: Gone,
    is_healed: bool,
}

pub(super) async fn inject(cluster: &Arc<LocalCluster>, fault: &Fault, seed: u64) -> Injection {
    let redis = redis(cluster)?;
    let pid = redis.service().pid().ok_or("redis is down already")?;
    let marker = format!("{pid}-{seed}");
    redis.set_marker(&marker).await.map_err(|why| format!("redis takes no marker: {why}"))?;
    let gone = redis.service().kill().map_err(|error| error.to_string())?;
    let is_wiped = fault.kind == Kind::WipeRedis;
    let held = RestartRedis { cluster: cluster.clone(), is_wiped, marker, gone, is_healed: false };
    Ok((vec!["redis".into()], Box::new(held)))
}

impl Held for RestartRedis {
    fn effective(&mut self) -> Boxed<'_, String> {
        Box::pin(async {
            match redis(&self.cluster) {
                Ok(redis) if self.gone.signal() == Some(Signal::KILL.as_raw()) => {
                    let (pid, address) = (self.gone.pid, redis.address());
                    refuses(address).await;
                    format!("redis: process {pid} was ended by signal 9, and {address} refuses")
                }
                _ => pending().await,
            }
        })
    }

    fn heal(mut self: Box<Self>) -> Boxed<'static, Result<String, String>> {
        Box::pin(async move {
            self.start()?;
            let seen = self.data_is_as_it_should().await?;
            let replicas = Targets::all(&self.cluster).back().await?;
            Ok(format!("{seen}; {replicas}"))
        })
    }
}

impl RestartRedis {
    /// Once, so that it does not undo somebody else's kill.
    fn start(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.is_healed, true) {
            return Ok(());
        }
        let redis = redis(&self.cluster)?;
        let started = if self.is_wiped { redis.start_empty() } else { redis.start_with_data() };
        started.map_err(|error| error.to_string())
    }

    async fn data_is_as_it_should(&self) -> Result<String, String> {
        let redis = redis(&self.cluster)?;
        if !redis_back(redis).await? {
            return Ok("redis is still held by another fault".into());
        }
        let marker = redis.marker().await.map_err(|why| format!("redis does not answer: {why}"))?;
        let pid = redis.service().pid().unwrap_or_default();
        match (self.is_wiped, marker) {
            (true, None) => Ok(format!("redis is back as process {pid}, and the key written before is gone")),
            (true, Some(_)) => Err("redis is back, and still has the key written before".into()),
            (false, Some(marker)) if marker == self.marker => {
                Ok(format!("redis is back as process {pid}, and the key written before is there"))
            }
            (false, _) => Err("redis is back without the key written before".into()),
        }
    }
}

impl Drop for RestartRedis {
    fn drop(&mut self) {
        // It fails where the cluster has ended, and nothing is to be started.
        let _ = self.start();
    }
}
