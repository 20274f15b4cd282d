//! `kill-pubsub`: Redis ends the pub/sub connections of all replicas, and only those. It is over at once.

use std::{future::pending, sync::Arc};

use super::{
    Boxed, Held, Injection,
    target::{Targets, redis},
};
use crate::backend::local::LocalCluster;

struct KillPubsub {
    all: Targets,
    ended: u64,
}

pub(super) async fn inject(cluster: &Arc<LocalCluster>) -> Injection {
    let ended = redis(cluster)?.kill_pubsub().await.map_err(|why| format!("redis did not do it: {why}"))?;
    Ok((vec!["redis".into()], Box::new(KillPubsub { all: Targets::all(cluster), ended })))
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
        Box::pin(async move { self.all.back().await })
    }
}
