//! `kill-pubsub`: Redis ends the pub/sub connections of all replicas, and only those. It is over at once.

use std::{future::pending, sync::Arc};

use tokio::time::{Instant, sleep};

use super::{
    Boxed, Held, Injection,
    containers::{all_back, blocking, redis_cli},
    target::{Targets, redis},
};
use crate::{
    backend::{compose::Project, local::LocalCluster},
    redis::{PUBSUB_PATIENCE, PUBSUB_PAUSE},
};

struct KillPubsub {
    ended: u64,
    /// Waits until all replicas are back.
    back: Boxed<'static, Result<String, String>>,
}

pub(super) async fn inject(cluster: &Arc<LocalCluster>) -> Injection {
    let ended = redis(cluster)?.kill_pubsub().await.map_err(|why| format!("redis did not do it: {why}"))?;
    let all = Targets::all(cluster);
    let back = Box::pin(async move { all.back().await });
    Ok((vec!["redis".into()], Box::new(KillPubsub { ended, back })))
}

/// The same by way of the Redis container's own client.
pub(super) async fn in_container(project: &Arc<Project>) -> Injection {
    let redis = project.redis()?;
    let deadline = Instant::now() + PUBSUB_PATIENCE;
    let ended = loop {
        let asked = redis.clone();
        let said = blocking(move || redis_cli(&asked, &["CLIENT", "KILL", "TYPE", "pubsub"])).await?;
        let killed: u64 = said.parse().map_err(|_| format!("redis did not do it: {said}"))?;
        // None at all: they are just coming back from something else.
        if killed > 0 || Instant::now() >= deadline {
            break killed;
        }
        sleep(PUBSUB_PAUSE).await;
    };
    let all = project.clone();
    let back = Box::pin(async move { all_back(&all).await });
    Ok((vec![redis.node.clone()], Box::new(KillPubsub { ended, back })))
}

impl Held for KillPubsub {
    fn effective(&mut self) -> Boxed<'_, String> {
        Box::pin(async {
            match self.ended {
                0 => pending().await,
                ended => format!("redis ended {ended} pub/sub connections"),
            }
        })
    }

    fn heal(self: Box<Self>) -> Boxed<'static, Result<String, String>> {
        self.back
    }
}
