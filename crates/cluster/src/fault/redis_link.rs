//! `cut-redis`, `stall-redis`, `refuse-redis` and `slow-redis`: the link between a replica and Redis, by its proxy.

use std::sync::Arc;

use tokio::time::timeout;
use ws_workload::fault::{Fault, Kind};

use super::{
    Boxed, Held, Injection,
    target::{Targets, refuses, until},
};
use crate::{
    backend::local::{LocalCluster, READY_TIMEOUT, Replica},
    proxy::{Counts, Hold, Mode, Proxy, Ways},
};

struct BrokenLinks {
    targets: Targets,
    kind: Kind,
    links: Vec<Link>,
}

/// A link that passes again when this is dropped.
struct Link {
    replica: Arc<Replica>,
    before: Counts,
    _hold: Hold,
}

pub(super) fn inject(cluster: &Arc<LocalCluster>, fault: &Fault, seed: u64) -> Injection {
    let targets = Targets::of(cluster, fault, seed);
    let mode = mode(fault);
    let links = targets.replicas.iter().map(|replica| Link::hold(replica, mode)).collect::<Result<_, _>>()?;
    Ok((targets.names(), Box::new(BrokenLinks { targets, kind: fault.kind, links })))
}

fn mode(fault: &Fault) -> Mode {
    match fault.kind {
        Kind::CutRedis => Mode::Cut,
        Kind::StallRedis => Mode::Stall(Ways::Both),
        Kind::RefuseRedis => Mode::Refuse,
        _ => Mode::Slow { delay: fault.delay, bytes_per_second: fault.bytes_per_second },
    }
}

impl Held for BrokenLinks {
    fn effective(&mut self) -> Boxed<'_, String> {
        Box::pin(async {
            let mut seen = Vec::new();
            for link in &self.links {
                seen.push(link.proof(self.kind).await);
            }
            seen.join("; ")
        })
    }

    fn heal(mut self: Box<Self>) -> Boxed<'static, Result<String, String>> {
        Box::pin(async move {
            self.links.clear();
            for replica in &self.targets.replicas {
                passes_again(&self.targets, replica).await?;
            }
            self.targets.back().await
        })
    }
}

impl Link {
    fn hold(replica: &Arc<Replica>, mode: Mode) -> Result<Self, String> {
        let proxy = proxy(replica)?;
        let before = proxy.counts();
        Ok(Self { replica: replica.clone(), before, _hold: proxy.hold(mode) })
    }

    async fn proof(&self, kind: Kind) -> String {
        let node = &self.replica.node;
        let Ok(proxy) = proxy(&self.replica) else { return std::future::pending().await };
        let (count, what): (fn(Counts) -> u64, _) = match kind {
            Kind::CutRedis => (|counts| counts.cut, "connections to Redis were reset"),
            Kind::StallRedis => (|counts| counts.held, "bytes from or to Redis were held"),
            Kind::SlowRedis => (|counts| counts.delayed, "bytes from or to Redis came late"),
            _ => {
                refuses(proxy.address()).await;
                return format!("{node}: a connection to Redis at {} was refused", proxy.address());
            }
        };
        let since = || count(proxy.counts()) - count(self.before);
        until(|| since() > 0).await;
        format!("{node}: {} {what}", since())
    }
}

/// A replica calls itself ready for some time after its link broke: bytes have to pass as well.
async fn passes_again(targets: &Targets, replica: &Replica) -> Result<(), String> {
    let link = proxy(replica)?;
    let before = link.counts().passed;
    let passes = until(|| link.counts().passed > before || targets.is_held(replica));
    let in_time = timeout(READY_TIMEOUT, passes).await;
    in_time.map_err(|_| format!("{}: nothing passes between it and Redis", replica.node))
}

fn proxy(replica: &Replica) -> Result<&Proxy, String> {
    replica.link().ok_or_else(|| format!("{} has no link that can be broken", replica.node))
}
