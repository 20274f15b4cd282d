//! `kill-replica`: SIGKILL; started again on its port at the heal.

use std::{future::pending, sync::Arc};

use rustix::process::Signal;
use ws_workload::fault::Fault;

use super::{
    Boxed, Held, Injection,
    target::{Targets, refuses, service},
};
use crate::{
    backend::local::{LocalCluster, Replica},
    service::{Gone, ServiceError},
};

struct KillReplica {
    targets: Targets,
    killed: Vec<Killed>,
}

/// A replica that is down, and is started when this is dropped.
struct Killed {
    replica: Arc<Replica>,
    gone: Gone,
    is_healed: bool,
}

pub(super) fn inject(cluster: &Arc<LocalCluster>, fault: &Fault, seed: u64) -> Injection {
    let targets = Targets::of(cluster, fault, seed);
    // None or all: a fault that failed has broken nothing.
    for replica in &targets.replicas {
        service(replica)?.check().map_err(|error| error.to_string())?;
    }
    let killed = targets.replicas.iter().map(Killed::kill).collect::<Result<_, _>>()?;
    Ok((targets.names(), Box::new(KillReplica { targets, killed })))
}

impl Held for KillReplica {
    fn effective(&mut self) -> Boxed<'_, String> {
        Box::pin(async {
            let mut seen = Vec::new();
            for killed in &self.killed {
                seen.push(killed.proof().await);
            }
            seen.join("; ")
        })
    }

    fn heal(mut self: Box<Self>) -> Boxed<'static, Result<String, String>> {
        Box::pin(async move {
            for killed in &mut self.killed {
                killed.start().map_err(|error| error.to_string())?;
            }
            self.targets.back().await
        })
    }
}

impl Killed {
    fn kill(replica: &Arc<Replica>) -> Result<Self, String> {
        let gone = service(replica)?.kill().map_err(|error| error.to_string())?;
        Ok(Self { replica: replica.clone(), gone, is_healed: false })
    }

    async fn proof(&self) -> String {
        if self.gone.signal() != Some(Signal::KILL.as_raw()) {
            return pending().await;
        }
        let (node, address) = (&self.replica.node, self.replica.address());
        refuses(address).await;
        format!("{node}: process {} was ended by signal 9, and {address} refuses", self.gone.pid)
    }

    /// Once, so that it does not undo somebody else's kill.
    fn start(&mut self) -> Result<(), ServiceError> {
        if std::mem::replace(&mut self.is_healed, true) {
            return Ok(());
        }
        self.replica.service().map_or(Ok(()), |service| service.start())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It fails where the cluster has ended, and nothing is to be started.
        let _ = self.start();
    }
}
