//! What breaks the cluster on purpose: one module a fault, each with its injection, the proof that it took hold, and its heal.
//!
//! Faults may overlap, also on one object. Then the newest counts: a link has the mode of its newest fault, and the one
//! before again when that is healed; a paused process goes on when its last pause is healed. What a fault has down already can't
//! be killed again, and that is a [`FaultFailure`]. A heal takes back its own fault alone: where another one still holds
//! the target, it doesn't wait until that is back, and says so.

mod commands;
mod containers;
mod drop_backend;
mod kill_pubsub;
mod kill_replica;
mod pause_redis;
mod pause_replica;
mod redis_link;
mod restart_redis;
mod rolling_restart;
mod target;

use std::{pin::Pin, sync::Arc};

use ws_workload::fault::{Fault, Kind, Site};

use crate::backend::{compose::Project, local::LocalCluster};
pub use commands::{CommandFault, Commands};

/// Who breaks things.
#[derive(Clone, Debug)]
pub enum Nemesis {
    /// Our own cluster.
    Local(Arc<LocalCluster>),
    /// The containers of a Compose project; where there is a command for a fault, that.
    Compose(Arc<Project>, Commands),
    /// The user's commands, for any deployment.
    Commands(Commands),
}

/// A fault that holds. Its drop heals it as far as that goes without waiting: what is stopped goes on, links pass, what
/// is down is started.
#[must_use = "its drop heals it"]
pub struct Injected {
    /// Whom it hit: replicas by name, or `redis`.
    pub on: Vec<String>,
    fault: Fault,
    held: Box<dyn Held>,
}

/// Why a fault was not injected or not healed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}: {why}")]
pub struct FaultFailure {
    /// As planned.
    pub fault: String,
    /// What went wrong.
    pub why: String,
}

/// What each fault knows to do once it is injected. The drop heals without waiting.
trait Held: Send {
    /// Resolves with the evidence; never, if there is none.
    fn effective(&mut self) -> Boxed<'_, String>;

    /// Returns with what was seen when the target was back.
    fn heal(self: Box<Self>) -> Boxed<'static, Result<String, String>>;
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an injection gives, or why there is none.
type Injection = Result<(Vec<String>, Box<dyn Held>), String>;

impl Nemesis {
    /// Whether `fault` can be done here; says why not and what to do. What the clients do to themselves
    /// ([`Site::Clients`]) is somebody else's, and fine here.
    ///
    /// # Errors
    /// It can't.
    pub fn supports(&self, fault: &Fault) -> Result<(), String> {
        match self {
            _ if fault.kind.site() == Site::Clients => Ok(()),
            Self::Local(cluster) => cluster.supports(fault),
            Self::Compose(project, commands) if !commands.0.contains_key(&fault.kind) => {
                project.supports(fault)
            }
            Self::Compose(_, commands) | Self::Commands(commands) => commands.supports(fault),
        }
    }

    /// Injects `fault`; `seed` chooses the replica where it may be any. Returns as soon as it is done. Cancelled, it
    /// leaves nothing.
    ///
    /// # Errors
    /// It can't be done, or there is nothing to break: it is down already.
    pub async fn inject(&self, fault: &Fault, seed: u64) -> Result<Injected, FaultFailure> {
        let injection = match self.supports(fault) {
            Err(why) => Err(why),
            Ok(()) => self.try_inject(fault, seed).await,
        };
        let (on, held) = injection.map_err(|why| failure(fault, why))?;
        Ok(Injected { on, fault: fault.clone(), held })
    }

    async fn try_inject(&self, fault: &Fault, seed: u64) -> Injection {
        let cluster = match self {
            _ if fault.kind.site() == Site::Clients => return Err("the clients do this themselves".into()),
            Self::Local(cluster) => cluster,
            Self::Compose(project, commands) if !commands.0.contains_key(&fault.kind) => {
                return containers::inject(project, fault, seed).await;
            }
            Self::Compose(_, commands) | Self::Commands(commands) => return commands.inject(fault).await,
        };
        match fault.kind {
            Kind::KillReplica => kill_replica::inject(cluster, fault, seed),
            Kind::PauseReplica => pause_replica::inject(cluster, fault, seed),
            Kind::RollingRestart => rolling_restart::inject(cluster, fault, seed),
            Kind::CutRedis | Kind::StallRedis | Kind::RefuseRedis | Kind::SlowRedis => {
                redis_link::inject(cluster, fault, seed)
            }
            Kind::KillPubsub => kill_pubsub::inject(cluster).await,
            Kind::RestartRedis | Kind::WipeRedis => restart_redis::inject(cluster, fault, seed).await,
            Kind::PauseRedis => pause_redis::inject(cluster),
            Kind::DropBackend => drop_backend::inject(cluster, fault, seed),
            Kind::ResetClients | Kind::HalfOpen | Kind::SlowConsumer | Kind::Storm => {
                unreachable!("the clients' are handled above")
            }
        }
    }
}

impl Injected {
    /// Resolves with the evidence once the fault is seen to have taken hold; never, if it never does. May be called
    /// again, and cancelled.
    pub async fn effective(&mut self) -> String {
        self.held.effective().await
    }

    /// Undoes it, and returns when the target is back, with what was seen then. Bounded in time. Cancelled, it is
    /// dropped.
    ///
    /// # Errors
    /// The target is not back in time, or not as it should be.
    pub async fn heal(self) -> Result<String, FaultFailure> {
        let Self { fault, held, .. } = self;
        held.heal().await.map_err(|why| failure(&fault, why))
    }
}

impl std::fmt::Debug for Injected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Injected").field("on", &self.on).field("fault", &self.fault).finish_non_exhaustive()
    }
}

fn failure(fault: &Fault, why: String) -> FaultFailure {
    FaultFailure { fault: fault.to_string(), why }
}
