//! A container that is killed, paused, cut off and put to rights again.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::engine::{Engine, EngineError};

/// How long a container has from its stop signal to its end, in seconds.
pub(crate) const STOP_SECONDS: u32 = 8;

/// A container of the project. All operations block until the engine has done them; one after another, for they hold its
/// state.
pub struct Container {
    engine: Arc<Engine>,
    id: String,
    /// Its name among the replicas: that of its service, with its number where it has several.
    pub node: String,
    /// Names and ids of its networks as the run began.
    pub(super) networks: Vec<Network>,
    state: Mutex<State>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) id: String,
}

#[derive(Debug, Default)]
struct State {
    /// A fault has it down.
    is_down: bool,
    /// Counts its ends: a pause is over with the incarnation that was paused.
    incarnation: u64,
    /// How many faults have this incarnation paused.
    pauses: u32,
    /// How many faults have it cut off.
    cuts: u32,
    /// What it is cut off from, and how it was on it.
    off: Vec<(Network, Value)>,
    /// The run ends: nothing is broken any more.
    is_closed: bool,
}

/// What a container does at the moment, as far as faults care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) is_running: bool,
    pub(crate) is_paused: bool,
    pub(crate) exit_code: i64,
    /// What its health check says; none without one.
    pub(crate) health: Option<String>,
    /// Names of the networks that it is on.
    pub(crate) networks: Vec<String>,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerError {
    #[error("{0} is down already")]
    Down(String),
    #[error("the run ends")]
    Closed,
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Container {
    pub(super) fn new(engine: Arc<Engine>, id: &str, node: String, networks: Vec<Network>) -> Self {
        Self { engine, id: id.to_owned(), node, networks, state: Mutex::default() }
    }

    /// Its id, as short as Docker shows it.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Whether it can be killed, stopped and paused.
    pub(crate) fn check(&self) -> Result<(), ContainerError> {
        self.open(&self.state())
    }

    /// SIGKILL. Down until [`Container::start`].
    pub(crate) fn kill(&self) -> Result<(), ContainerError> {
        self.end("kill?signal=SIGKILL")
    }

    /// Its stop signal, and SIGKILL after [`STOP_SECONDS`]. Down until [`Container::start`].
    pub(crate) fn stop(&self) -> Result<(), ContainerError> {
        self.end(&format!("stop?t={STOP_SECONDS}"))
    }

    fn end(&self, how: &str) -> Result<(), ContainerError> {
        let mut state = self.state();
        self.open(&state)?;
        let done = self.post(how);
        self.undo_unless_refused(&done, "start");
        done?;
        state.is_down = true;
        state.incarnation += 1;
        state.pauses = 0;
        Ok(())
    }

    /// Starts it where it is down.
    pub(crate) fn start(&self) -> Result<(), ContainerError> {
        let mut state = self.state();
        if state.is_down {
            self.post("start")?;
            state.is_down = false;
        }
        Ok(())
    }

    /// Pauses it: the incarnation that is paused.
    pub(crate) fn pause(&self) -> Result<u64, ContainerError> {
        let mut state = self.state();
        self.open(&state)?;
        if state.pauses == 0 {
            let done = self.post("pause");
            self.undo_unless_refused(&done, "unpause");
            done?;
        }
        state.pauses += 1;
        Ok(state.incarnation)
    }

    /// Takes back one pause of an incarnation; it goes on with the last.
    pub(crate) fn resume(&self, incarnation: u64) -> Result<(), ContainerError> {
        let mut state = self.state();
        if state.incarnation != incarnation || state.pauses == 0 {
            return Ok(());
        }
        if state.pauses == 1 {
            self.post("unpause")?;
        }
        state.pauses -= 1;
        Ok(())
    }

    /// Takes it off `networks`.
    pub(crate) fn cut(&self, networks: &[Network]) -> Result<(), ContainerError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(ContainerError::Closed);
        }
        if state.cuts == 0 {
            let endpoints = self.inspect()?["NetworkSettings"]["Networks"].take();
            for network in networks {
                let endpoint = endpoint(&endpoints[&network.name]);
                // First: an engine that does not answer may do it all the same.
                state.off.push((network.clone(), endpoint));
                let cut = self.engine.post(
                    &format!("/networks/{}/disconnect", network.id),
                    Some(&json!({ "Container": self.id, "Force": false })),
                );
                if let Err(error) = cut {
                    // The last one may not be off; then it can't be put on, and that is no matter.
                    let _ = self.join(&mut state);
                    state.off.clear();
                    return Err(error.into());
                }
            }
        }
        state.cuts += 1;
        Ok(())
    }

    /// Takes back one cut; it is on its networks again with the last.
    pub(crate) fn mend(&self) -> Result<(), ContainerError> {
        let mut state = self.state();
        if state.cuts == 1 {
            self.join(&mut state)?;
        }
        state.cuts = state.cuts.saturating_sub(1);
        Ok(())
    }

    /// Puts everything to rights, and lets nothing be broken any more.
    pub(super) fn close(&self) -> Result<(), ContainerError> {
        let mut state = self.state();
        state.is_closed = true;
        let joined = self.join(&mut state);
        let resumed = if std::mem::take(&mut state.pauses) > 0 { self.post("unpause") } else { Ok(()) };
        let started = if std::mem::take(&mut state.is_down) { self.post("start") } else { Ok(()) };
        Ok(joined.and(resumed).and(started)?)
    }

    /// Whether a fault has it down, paused or cut off.
    pub(crate) fn is_held(&self) -> bool {
        let state = self.state();
        state.is_down || state.pauses > 0 || state.cuts > 0
    }

    /// What the engine sees of it.
    pub(crate) fn seen(&self) -> Result<Seen, EngineError> {
        let inspected = self.inspect()?;
        let state = &inspected["State"];
        let networks = inspected["NetworkSettings"]["Networks"].as_object();
        Ok(Seen {
            is_running: state["Running"] == true && state["Restarting"] != true,
            is_paused: state["Paused"] == true,
            exit_code: state["ExitCode"].as_i64().unwrap_or_default(),
            health: state["Health"]["Status"].as_str().filter(|health| *health != "none").map(str::to_owned),
            networks: networks.into_iter().flatten().map(|(name, _)| name.clone()).collect(),
        })
    }

    /// Runs a program in it: what it said.
    pub(crate) fn exec(&self, command: &[&str]) -> Result<String, EngineError> {
        self.engine.exec(&self.id, command)
    }

    fn join(&self, state: &mut State) -> Result<(), EngineError> {
        // The one that fails is tried again by whoever heals next.
        while let Some((network, endpoint)) = state.off.last() {
            self.engine.post(
                &format!("/networks/{}/connect", network.id),
                Some(&json!({ "Container": self.id, "EndpointConfig": endpoint })),
            )?;
            state.off.pop();
        }
        Ok(())
    }

    /// An engine that gave no answer may have done it all the same.
    fn undo_unless_refused(&self, done: &Result<(), EngineError>, undo: &str) {
        if !matches!(done, Ok(()) | Err(EngineError::Refused { .. })) {
            let _ = self.post(undo);
        }
    }

    fn inspect(&self) -> Result<Value, EngineError> {
        self.engine.get(&format!("/containers/{}/json", self.id))
    }

    fn post(&self, what: &str) -> Result<(), EngineError> {
        self.engine.post(&format!("/containers/{}/{what}", self.id), None).map(drop)
    }

    fn open(&self, state: &State) -> Result<(), ContainerError> {
        match state {
            State { is_closed: true, .. } => Err(ContainerError::Closed),
            State { is_down: true, .. } => Err(ContainerError::Down(self.node.clone())),
            _ => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }
}

/// What makes an endpoint on a network the same again: its names there, and addresses that were asked for.
fn endpoint(inspected: &Value) -> Value {
    let keep = ["Aliases", "IPAMConfig", "Links", "DriverOpts", "GwPriority"];
    let kept = keep.into_iter().filter(|key| !inspected[key].is_null());
    kept.map(|key| (key.to_owned(), inspected[key].clone())).collect::<serde_json::Map<_, _>>().into()
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("node", &self.node).field("id", &self.id).finish_non_exhaustive()
    }
}
