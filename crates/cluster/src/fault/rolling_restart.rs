//! `rolling-restart`: SIGTERM and a new start, one replica after another. Without a name it goes through all of them, and
//! the seed chooses the first. It is over by itself; the heal awaits that.

use std::{future::pending, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::{sync::watch, task::JoinHandle};
use ws_workload::fault::{Fault, On};

use super::{
    Boxed, Held, Injection,
    containers::{Hold, How, back, blocking},
    target::{Targets, service},
};
use crate::backend::{
    compose::{Container, Project, STOP_SECONDS},
    local::{LocalCluster, Replica},
};

/// From SIGTERM to the end: the clients of a replica have 5 s to go.
const PATIENCE: Duration = Duration::from_secs(8);

struct RollingRestart {
    first_gone: watch::Receiver<Option<String>>,
    rolling: JoinHandle<Result<String, String>>,
}

/// A replica that was asked to end, and is started when this is dropped.
struct Restarting<'a> {
    replica: &'a Replica,
    old: u32,
    is_over: bool,
}

pub(super) fn inject(cluster: &Arc<LocalCluster>, fault: &Fault, seed: u64) -> Injection {
    let targets = match &fault.on {
        On::Node(_) => Targets::of(cluster, fault, seed),
        On::Any | On::All => {
            let mut all = Targets::all(cluster);
            rotate(&mut all.replicas, seed);
            all
        }
    };
    for replica in &targets.replicas {
        service(replica)?.check().map_err(|error| error.to_string())?;
    }
    let names = targets.names();
    Ok((names, RollingRestart::begin(move |first| async move { roll(&targets, first).await })))
}

/// The same with containers.
pub(super) async fn of_containers(project: &Arc<Project>, fault: &Fault, seed: u64) -> Injection {
    let targets = match &fault.on {
        On::Node(_) => project.targets(fault, seed),
        On::Any | On::All => {
            let mut all = project.replicas().to_vec();
            rotate(&mut all, seed);
            all
        }
    };
    for replica in &targets {
        let replica = replica.clone();
        blocking(move || replica.check()).await.map_err(|error| error.to_string())?;
    }
    let names = targets.iter().map(|replica| replica.node.clone()).collect();
    Ok((names, RollingRestart::begin(move |first| async move { roll_containers(&targets, first).await })))
}

/// Begins with the one that the seed chooses.
fn rotate<T>(all: &mut [T], seed: u64) {
    let first = seed.checked_rem(all.len() as u64).unwrap_or_default();
    all.rotate_left(usize::try_from(first).unwrap_or_default());
}

async fn roll_containers(targets: &[Arc<Container>], first: First) -> Result<String, String> {
    let mut seen = Vec::new();
    for replica in targets {
        let stopped = replica.clone();
        let hold =
            blocking(move || Hold::take(&stopped, How::Stop)).await.map_err(|error| error.to_string())?;
        let hold = Arc::new(hold);
        let (node, ended) = (&replica.node, replica.clone());
        let seen_now = blocking(move || ended.seen()).await.map_err(|error| error.to_string())?;
        if seen_now.is_running {
            return Err(format!("{node} still runs after its SIGTERM"));
        }
        let code = seen_now.exit_code;
        if code == 137 {
            return Err(format!("{node} did not end within {STOP_SECONDS} s of SIGTERM"));
        }
        first.tell(format!("{node}: container {} ended at SIGTERM (exit code {code})", replica.short_id()));
        let stopped = hold.clone();
        blocking(move || stopped.release()).await.map_err(|error| error.to_string())?;
        seen.push(format!("{} after its restart", back(replica).await?));
    }
    Ok(seen.join("; "))
}

async fn roll(targets: &Targets, first: First) -> Result<String, String> {
    let mut seen = Vec::new();
    for replica in &targets.replicas {
        let restarting = Restarting::terminate(replica)?;
        first.tell(restarting.gone().await?);
        let (old, new) = restarting.start()?;
        let back = targets.one_back(replica).await?;
        seen.push(format!("{back} as process {new} after {old}"));
    }
    Ok(seen.join("; "))
}

/// Where the first evidence is told.
struct First(watch::Sender<Option<String>>);

impl First {
    fn tell(&self, evidence: String) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(evidence);
            is_first
        });
    }
}

impl RollingRestart {
    fn begin<F: Future<Output = Result<String, String>> + Send + 'static>(
        roll: impl FnOnce(First) -> F,
    ) -> Box<dyn Held> {
        let (first, first_gone) = watch::channel(None);
        Box::new(Self { first_gone, rolling: tokio::spawn(roll(First(first))) })
    }
}

impl Held for RollingRestart {
    fn effective(&mut self) -> Boxed<'_, String> {
        Box::pin(async {
            let evidence =
                self.first_gone.wait_for(Option::is_some).await.ok().and_then(|first| first.clone());
            match evidence {
                Some(evidence) => evidence,
                // It failed before; the heal says why.
                None => pending().await,
            }
        })
    }

    fn heal(mut self: Box<Self>) -> Boxed<'static, Result<String, String>> {
        Box::pin(async move { (&mut self.rolling).await.map_err(|error| error.to_string())? })
    }
}

impl Drop for RollingRestart {
    fn drop(&mut self) {
        self.rolling.abort();
    }
}

impl<'a> Restarting<'a> {
    fn terminate(replica: &'a Replica) -> Result<Self, String> {
        let old = service(replica)?.terminate().map_err(|error| error.to_string())?;
        Ok(Self { replica, old, is_over: false })
    }

    async fn gone(&self) -> Result<String, String> {
        let (node, old) = (&self.replica.node, self.old);
        let gone = service(self.replica)?.ended(old, PATIENCE).await;
        match gone {
            None => Err(format!("{node} was killed while it was restarted")),
            Some(gone) if gone.signal() == Some(Signal::KILL.as_raw()) => {
                Err(format!("{node} did not end within {} s of SIGTERM", PATIENCE.as_secs()))
            }
            Some(gone) => {
                let status = gone.status.map(|status| format!(" ({status})")).unwrap_or_default();
                Ok(format!("{node}: process {old} ended at SIGTERM{status}"))
            }
        }
    }

    /// The old process id and the new one.
    fn start(mut self) -> Result<(u32, u32), String> {
        self.is_over = true;
        let service = service(self.replica)?;
        service.start().map_err(|error| error.to_string())?;
        match service.pid() {
            Some(new) if new != self.old => Ok((self.old, new)),
            _ => Err(format!("{} has no new process", self.replica.node)),
        }
    }
}

impl Drop for Restarting<'_> {
    fn drop(&mut self) {
        let Some(service) = self.replica.service().filter(|_| !self.is_over) else { return };
        // It may still drain its clients: nobody would start it once it has.
        if service.pid() == Some(self.old) {
            let _ = service.kill();
        }
        // It fails where the cluster has ended, and nothing is to be started.
        let _ = service.start();
    }
}
