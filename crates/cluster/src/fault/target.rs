//! Whom a fault hits on our own cluster, and when they are back.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::sleep};
use ws_workload::fault::Fault;

use crate::{
    backend::local::{LocalCluster, Replica},
    redis::OwnRedis,
    service::Service,
};

/// How often evidence is looked for.
pub(super) const POLL: Duration = Duration::from_millis(10);

/// Some replicas.
#[derive(Clone)]
pub(super) struct Targets {
    cluster: Arc<LocalCluster>,
    pub(super) replicas: Vec<Arc<Replica>>,
}

impl Targets {
    /// Those that `fault` hits.
    pub(super) fn of(cluster: &Arc<LocalCluster>, fault: &Fault, seed: u64) -> Self {
        Self { cluster: cluster.clone(), replicas: cluster.targets(fault, seed) }
    }

    /// All of them.
    pub(super) fn all(cluster: &Arc<LocalCluster>) -> Self {
        Self { cluster: cluster.clone(), replicas: cluster.replicas().to_vec() }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| replica.node.clone()).collect()
    }

    /// Waits until each is ready, or is seen to be held by another fault.
    pub(super) async fn back(&self) -> Result<String, String> {
        let mut seen = Vec::new();
        for replica in &self.replicas {
            seen.push(self.one_back(replica).await?);
        }
        Ok(seen.join("; "))
    }

    /// Whether a fault keeps it from getting ready: its own, or one of Redis.
    pub(super) fn is_held(&self, replica: &Replica) -> bool {
        replica.is_held() || self.cluster.own_redis().is_some_and(|redis| redis.service().is_held())
    }

    pub(super) async fn one_back(&self, replica: &Replica) -> Result<String, String> {
        let node = &replica.node;
        tokio::select! {
            biased;
            () = until(|| self.is_held(replica)) => Ok(format!("{node} is still held by another fault")),
            ready = replica.ready() => {
                ready.map(|()| format!("{node} is ready")).map_err(|why| format!("{node} is not back: {why}"))
            }
        }
    }
}

/// The process of a replica.
pub(super) fn service(replica: &Replica) -> Result<&Service, String> {
    replica.service().ok_or_else(|| format!("{} is no process of its own", replica.node))
}

/// The cluster's Redis.
pub(super) fn redis(cluster: &LocalCluster) -> Result<&OwnRedis, String> {
    cluster.own_redis().ok_or_else(|| "there is no Redis of ours".into())
}

/// Waits until our Redis answers, or is seen to be held by another fault: whether it answers.
pub(super) async fn redis_back(redis: &OwnRedis) -> Result<bool, String> {
    tokio::select! {
        biased;
        () = until(|| redis.service().is_held()) => Ok(false),
        answers = redis.answers() => answers.map(|_| true).map_err(|why| format!("redis is not back: {why}")),
    }
}

/// Waits until nobody listens there.
pub(super) async fn refuses(address: SocketAddr) {
    let is_refused = async || {
        let connected = TcpStream::connect(address).await;
        connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    while !is_refused().await {
        sleep(POLL).await;
    }
}

/// Waits until it is so.
pub(super) async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        sleep(POLL).await;
    }
}
