//! `pause-replica`: SIGSTOP; SIGCONT at the heal.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use tokio::time::sleep;
use ws_workload::fault::Fault;

use super::{
    Boxed, Held, Injection,
    target::{POLL, Targets, service, until},
};
use crate::{
    backend::local::{LocalCluster, Replica},
    process::state_of,
};

/// A replica that runs answers within.
const SILENCE: Duration = Duration::from_millis(300);

struct PauseReplica {
    targets: Targets,
    paused: Vec<Paused>,
}

/// A replica that goes on when this is dropped.
struct Paused {
    replica: Arc<Replica>,
    pid: u32,
}

pub(super) fn inject(cluster: &Arc<LocalCluster>, fault: &Fault, seed: u64) -> Injection {
    let targets = Targets::of(cluster, fault, seed);
    let paused = targets.replicas.iter().map(Paused::pause).collect::<Result<_, _>>()?;
    Ok((targets.names(), Box::new(PauseReplica { targets, paused })))
}

impl Held for PauseReplica {
    fn effective(&mut self) -> Boxed<'_, String> {
        Box::pin(async {
            let mut seen = Vec::new();
            for paused in &self.paused {
                seen.push(paused.proof().await);
            }
            seen.join("; ")
        })
    }

    fn heal(mut self: Box<Self>) -> Boxed<'static, Result<String, String>> {
        Box::pin(async move {
            self.paused.clear();
            self.targets.back().await
        })
    }
}

impl Paused {
    fn pause(replica: &Arc<Replica>) -> Result<Self, String> {
        let pid = service(replica)?.pause().map_err(|error| error.to_string())?;
        Ok(Self { replica: replica.clone(), pid })
    }

    async fn proof(&self) -> String {
        until(|| state_of(self.pid) == Some('T')).await;
        // Refused is not silent.
        let is_silent = async || {
            let answer = self.replica.readyz(SILENCE).await;
            answer.is_err_and(|error| error.kind() == ErrorKind::TimedOut)
        };
        while !is_silent().await {
            sleep(POLL).await;
        }
        let (node, pid) = (&self.replica.node, self.pid);
        format!(
            "{node}: process {pid} is stopped, and {} did not answer within {} ms",
            self.replica.ready_path(),
            SILENCE.as_millis()
        )
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if let Some(service) = self.replica.service() {
            service.resume(self.pid);
        }
    }
}
