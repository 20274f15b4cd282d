//! `drop-backend`: the front of a replica resets its clients and refuses new ones; the replica itself is well.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use ws_workload::fault::Fault;

use super::{
    Boxed, Held, Injection,
    target::{POLL, Targets, refuses},
};
use crate::{
    backend::local::{LocalCluster, READY_TIMEOUT, Replica, is_ready, status},
    proxy::{Hold, Mode, Proxy},
};

/// A replica that is well answers within.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

struct DropBackend {
    targets: Targets,
    holds: Vec<Hold>,
}

pub(super) fn inject(cluster: &Arc<LocalCluster>, fault: &Fault, seed: u64) -> Injection {
    let targets = Targets::of(cluster, fault, seed);
    let hold = |replica: &Arc<Replica>| front(replica).map(|front| front.hold(Mode::Refuse));
    let holds = targets.replicas.iter().map(hold).collect::<Result<_, _>>()?;
    Ok((targets.names(), Box::new(DropBackend { targets, holds })))
}

impl Held for DropBackend {
    fn effective(&mut self) -> Boxed<'_, String> {
        Box::pin(async {
            let mut seen = Vec::new();
            for replica in &self.targets.replicas {
                seen.push(proof(replica).await);
            }
            seen.join("; ")
        })
    }

    fn heal(mut self: Box<Self>) -> Boxed<'static, Result<String, String>> {
        Box::pin(async move {
            self.holds.clear();
            let mut seen = Vec::new();
            for replica in &self.targets.replicas {
                seen.push(listens(replica).await?);
            }
            Ok(seen.join("; "))
        })
    }
}

async fn proof(replica: &Replica) -> String {
    let Ok(front) = front(replica) else { return std::future::pending().await };
    refuses(front.address()).await;
    let answer = loop {
        match replica.readyz(ANSWER_TIMEOUT).await {
            Ok(answer) if is_ready(&answer) => break answer,
            _ => sleep(POLL).await,
        }
    };
    let (node, own, path) = (&replica.node, replica.address(), replica.ready_path());
    let status = status(&answer).unwrap_or_default();
    format!("{node}: its front {} refuses, and {own}{path} says {status}", front.address())
}

async fn listens(replica: &Replica) -> Result<String, String> {
    let front = front(replica)?;
    let node = &replica.node;
    if front.is_held() {
        return Ok(format!("{node} is still held by another fault"));
    }
    match timeout(READY_TIMEOUT, front.listens(true)).await {
        Ok(()) => Ok(format!("the front of {node} listens")),
        Err(_) => Err(format!("the front of {node} does not listen again")),
    }
}

fn front(replica: &Replica) -> Result<&Proxy, String> {
    replica.front().ok_or_else(|| format!("{} has no front that can be broken", replica.node))
}
