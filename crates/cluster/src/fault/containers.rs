//! Faults of a Compose project: containers that are killed, paused or taken off the network on which Redis is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use ws_workload::fault::{Fault, Kind, Site};

use super::{Boxed, Held, Injection, kill_pubsub, rolling_restart};
use crate::backend::compose::{Container, ContainerError, Network, Project, Seen};

/// How often the engine is asked what it sees.
const POLL: Duration = Duration::from_millis(100);

/// How long a container has to be back: one with a health check has to pass it.
const BACK_TIMEOUT: Duration = Duration::from_secs(60);

/// What tells whether Redis still has its data.
const MARKER: &str = "ws-verify:marker";

/// What is done to a container.
#[derive(Clone, Debug)]
pub(super) enum How {
    Kill,
    Stop,
    Pause,
    Cut(Vec<Network>),
}

/// A container that is broken, and put to rights when this is dropped: by a blocking call, for who drops it may end.
pub(super) struct Hold {
    pub(super) container: Arc<Container>,
    how: How,
    /// Of a pause.
    incarnation: u64,
    is_over: AtomicBool,
}

struct Broken {
    project: Arc<Project>,
    holds: Vec<Arc<Hold>>,
    /// The value of a key that was written to a Redis before it was killed.
    marker: Option<String>,
}

pub(super) async fn inject(project: &Arc<Project>, fault: &Fault, seed: u64) -> Injection {
    match fault.kind {
        Kind::KillPubsub => return kill_pubsub::in_container(project).await,
        Kind::RollingRestart => return rolling_restart::of_containers(project, fault, seed).await,
        _ => {}
    }
    let redis = project.redis().cloned();
    let targets = if fault.kind.site() == Site::Redis { vec![redis?] } else { project.targets(fault, seed) };
    let on = targets.iter().map(|target| target.node.clone()).collect();
    let marker = (fault.kind == Kind::RestartRedis).then(|| format!("{}-{seed}", targets[0].short_id()));
    let (all, kind, value) = (project.clone(), fault.kind, marker.clone());
    let broken = blocking(move || -> Result<_, String> {
        // None or all: a fault that failed has broken nothing.
        // One that is down can still be cut off.
        for target in targets.iter().filter(|_| kind != Kind::CutRedis) {
            target.check().map_err(|error| error.to_string())?;
        }
        if let Some(value) = value {
            redis_cli(&targets[0], &["SET", MARKER, &value, "EX", "600"])?;
        }
        let take = |target: &Arc<Container>| Hold::take(target, how(&all, kind, target)).map(Arc::new);
        targets.iter().map(take).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
    });
    let holds = broken.await?;
    Ok((on, Box::new(Broken { project: project.clone(), holds, marker })))
}

fn how(project: &Project, kind: Kind, target: &Container) -> How {
    match kind {
        Kind::PauseReplica | Kind::PauseRedis => How::Pause,
        Kind::CutRedis => How::Cut(project.link(target)),
        _ => How::Kill,
    }
}

impl Held for Broken {
    fn effective(&mut self) -> Boxed<'_, String> {
        Box::pin(async {
            let mut seen = Vec::new();
            for hold in &self.holds {
                seen.push(evidence(hold).await);
            }
            seen.join("; ")
        })
    }

    fn heal(self: Box<Self>) -> Boxed<'static, Result<String, String>> {
        Box::pin(async move {
            for hold in self.holds.clone() {
                blocking(move || hold.release()).await.map_err(|error| error.to_string())?;
            }
            let mut seen = Vec::new();
            for hold in &self.holds {
                seen.push(back(&hold.container).await?);
            }
            let redis =
                self.project.redis().ok().filter(|redis| Arc::ptr_eq(redis, &self.holds[0].container));
            if let Some(redis) = redis {
                if let (Some(marker), false) = (&self.marker, redis.is_held()) {
                    seen.push(keeps(redis, marker).await?);
                }
                seen.push(all_back(&self.project).await?);
            }
            Ok(seen.join("; "))
        })
    }
}

impl Hold {
    /// Blocks.
    pub(super) fn take(container: &Arc<Container>, how: How) -> Result<Self, ContainerError> {
        let incarnation = match &how {
            How::Kill => container.kill().map(|()| 0),
            How::Stop => container.stop().map(|()| 0),
            How::Pause => container.pause(),
            How::Cut(networks) => container.cut(networks).map(|()| 0),
        };
        Ok(Self {
            container: container.clone(),
            how,
            incarnation: incarnation?,
            is_over: AtomicBool::new(false),
        })
    }

    /// Once, so that it does not undo somebody else's fault. Blocks.
    pub(super) fn release(&self) -> Result<(), ContainerError> {
        let released = match &self.how {
            _ if self.is_over.swap(true, SeqCst) => Ok(()),
            How::Kill | How::Stop => self.container.start(),
            How::Pause => self.container.resume(self.incarnation),
            How::Cut(_) => self.container.mend(),
        };
        // The drop tries again.
        self.is_over.store(released.is_ok(), SeqCst);
        released
    }

    /// What the engine sees of it, if that proves it.
    fn evidence(&self) -> Option<String> {
        let (node, id) = (&self.container.node, self.container.short_id());
        let seen = self.container.seen().ok()?;
        match &self.how {
            How::Kill if !seen.is_running && seen.exit_code == 137 => {
                Some(format!("{node}: container {id} has exited with 137, by signal 9"))
            }
            How::Pause if seen.is_paused => Some(format!("{node}: container {id} is paused")),
            How::Cut(networks) if !networks.iter().any(|network| seen.networks.contains(&network.name)) => {
                let names: Vec<_> = networks.iter().map(|network| network.name.as_str()).collect();
                Some(format!("{node}: container {id} is off the network {}", names.join(" and ")))
            }
            _ => None,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // It can't be said to anybody any more.
        let _ = self.release();
    }
}

async fn evidence(hold: &Arc<Hold>) -> String {
    loop {
        let hold = hold.clone();
        if let Some(evidence) = blocking(move || hold.evidence()).await {
            return evidence;
        }
        sleep(POLL).await;
    }
}

/// Waits until a container runs and passes its health check, or is seen to be held by another fault.
pub(super) async fn back(container: &Arc<Container>) -> Result<String, String> {
    let deadline = Instant::now() + BACK_TIMEOUT;
    let node = &container.node;
    loop {
        if container.is_held() {
            return Ok(format!("{node} is still held by another fault"));
        }
        let asked = container.clone();
        let why = match blocking(move || asked.seen()).await {
            Ok(Seen { is_running: true, is_paused: false, health, .. }) => match health.as_deref() {
                None => return Ok(format!("{node} runs")),
                Some("healthy") => return Ok(format!("{node} is healthy")),
                Some(health) => format!("its health check says {health}"),
            },
            Ok(Seen { exit_code, .. }) => format!("it does not run (exit code {exit_code})"),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(format!("{node} is not back within {} s: {why}", BACK_TIMEOUT.as_secs()));
        }
        sleep(POLL).await;
    }
}

/// The same for all replicas.
pub(super) async fn all_back(project: &Project) -> Result<String, String> {
    let mut seen = Vec::new();
    for replica in project.replicas() {
        seen.push(back(replica).await?);
    }
    Ok(seen.join("; "))
}

/// Waits until Redis has loaded what it has: whether that is what it had.
async fn keeps(redis: &Arc<Container>, marker: &str) -> Result<String, String> {
    let deadline = Instant::now() + BACK_TIMEOUT;
    loop {
        let asked = redis.clone();
        let why = match blocking(move || redis_cli(&asked, &["GET", MARKER])).await {
            Ok(value) if value == marker => return Ok("the key written before is there".into()),
            Ok(value) if value.is_empty() => {
                return Err(
                    "redis is back without the key written before: it keeps no data (appendonly)".into()
                );
            }
            Ok(other) | Err(other) => other,
        };
        if Instant::now() >= deadline {
            return Err(format!("redis does not answer: {why}"));
        }
        sleep(POLL).await;
    }
}

/// What Redis answers; an error is an answer too.
pub(super) fn redis_cli(redis: &Container, question: &[&str]) -> Result<String, String> {
    let command: Vec<&str> = ["redis-cli"].iter().chain(question).copied().collect();
    redis.exec(&command).map_err(|error| error.to_string())
}

/// A call to the engine, which others need not wait for. It is carried out even if nobody waits for it; then a [`Hold`] that
/// it made is dropped.
pub(super) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(call).await.expect("it does not panic")
}
