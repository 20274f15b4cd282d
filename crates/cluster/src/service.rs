//! A child that is killed, paused and started again: one incarnation after another.

use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitStatus},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::process::{Process, Usage};

/// How often it is asked whether it has ended.
const POLL: Duration = Duration::from_millis(2);

/// One child by name, whichever incarnation of it runs. All operations are short; none is held across a wait.
pub struct Service {
    name: String,
    command: Box<dyn Fn() -> Command + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// None while a fault has it down.
    process: Option<Process>,
    /// What dead incarnations used.
    past: Usage,
    /// How many faults have this incarnation paused.
    pauses: u32,
    /// This incarnation was asked to end.
    is_ending: bool,
    /// For good.
    is_closed: bool,
}

/// Why a service did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A fault has it down.
    #[error("{0} is down already")]
    Down(String),
    /// Nobody asked it to.
    #[error("{name} had ended by itself: {said}")]
    Ended {
        /// Which.
        name: String,
        /// What it said last.
        said: String,
    },
    /// It can't be started.
    #[error("{name} can't be started: {why}")]
    Start {
        /// Which.
        name: String,
        /// The system's word.
        why: io::Error,
    },
    /// The cluster ends.
    #[error("{0} was ended for good")]
    Closed(String),
}

/// An incarnation that is gone.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    /// Its process id.
    pub pid: u32,
    /// How it ended, as far as known.
    pub status: Option<ExitStatus>,
}

impl Gone {
    /// The signal that ended it.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.status?.signal()
    }
}

impl Service {
    /// One that is not started yet.
    pub fn new(name: &str, command: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        Self { name: name.to_owned(), command: Box::new(command), state: Mutex::default() }
    }

    /// Starts it where it is down.
    ///
    /// # Errors
    /// The system's, or it was closed.
    pub fn start(&self) -> Result<(), ServiceError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(ServiceError::Closed(self.name.clone()));
        }
        if state.process.is_none() {
            let started = Process::start(&self.name, (self.command)());
            state.process =
                Some(started.map_err(|why| ServiceError::Start { name: self.name.clone(), why })?);
        }
        Ok(())
    }

    /// Whether it can be killed, paused or asked to end.
    ///
    /// # Errors
    /// It is down already.
    pub fn check(&self) -> Result<(), ServiceError> {
        self.running(&self.state()).map(drop)
    }

    /// SIGKILL; returns when it is reaped.
    ///
    /// # Errors
    /// It is down already.
    pub fn kill(&self) -> Result<Gone, ServiceError> {
        let mut state = self.state();
        self.running(&state)?;
        Ok(state.take().expect("it runs"))
    }

    /// SIGTERM. It is not down before [`Service::ended`].
    ///
    /// # Errors
    /// It is down already.
    pub fn terminate(&self) -> Result<u32, ServiceError> {
        let mut state = self.state();
        let process = self.running(&state)?;
        process.signal(Signal::TERM);
        let pid = process.pid();
        state.is_ending = true;
        Ok(pid)
    }

    /// Returns when the incarnation `pid` has ended, or after `patience` has killed it; none if somebody else did.
    pub async fn ended(&self, pid: u32, patience: Duration) -> Option<Gone> {
        let deadline = Instant::now() + patience;
        loop {
            {
                let mut state = self.state();
                let process = state.process.as_ref().filter(|process| process.pid() == pid)?;
                if !process.is_running() || Instant::now() >= deadline {
                    return state.take();
                }
            }
            sleep(POLL).await;
        }
    }

    /// SIGSTOP. Returns the incarnation that is paused.
    ///
    /// # Errors
    /// It is down.
    pub fn pause(&self) -> Result<u32, ServiceError> {
        let mut state = self.state();
        let process = self.running(&state)?;
        process.signal(Signal::STOP);
        let pid = process.pid();
        state.pauses += 1;
        Ok(pid)
    }

    /// Takes back one pause of the incarnation `pid`; SIGCONT with the last one.
    pub fn resume(&self, pid: u32) {
        let mut state = self.state();
        let is_it = state.process.as_ref().is_some_and(|process| process.pid() == pid);
        if !is_it || state.pauses == 0 {
            return;
        }
        state.pauses -= 1;
        if let (0, Some(process)) = (state.pauses, &state.process) {
            process.signal(Signal::CONT);
        }
    }

    /// The incarnation that is there; none while it is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.state().process.as_ref().map(Process::pid)
    }

    /// Whether a fault has it down, ending or paused.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let state = self.state();
        state.process.is_none() || state.pauses > 0 || state.is_ending
    }

    /// What it has used so far, all incarnations together.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.state();
        state.past + state.process.as_ref().map(Process::usage).unwrap_or_default()
    }

    /// If it ended though nobody asked it to: what it said last.
    #[must_use]
    pub fn death(&self) -> Option<String> {
        match self.running(&self.state()) {
            Err(ServiceError::Ended { said, .. }) => Some(said),
            _ => None,
        }
    }

    /// What it said last, for an error message.
    #[must_use]
    pub fn last_lines(&self) -> String {
        self.state().process.as_ref().map(Process::last_lines).unwrap_or_default()
    }

    /// Ends it for good: asks it to, and kills it if it has not after `patience`.
    pub fn stop(&self, patience: Duration) {
        let process = {
            let mut state = self.state();
            state.is_closed = true;
            state.process.take()
        };
        if let Some(process) = process {
            process.stop(patience);
        }
    }

    fn running<'a>(&self, state: &'a State) -> Result<&'a Process, ServiceError> {
        match &state.process {
            None => Err(ServiceError::Down(self.name.clone())),
            Some(process) if !process.is_running() && !state.is_ending => {
                Err(ServiceError::Ended { name: self.name.clone(), said: process.last_lines() })
            }
            Some(process) => Ok(process),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }
}

impl State {
    /// Kills what is there, and keeps what it used.
    fn take(&mut self) -> Option<Gone> {
        let process = self.process.take()?;
        let pid = process.pid();
        let (status, used) = process.kill();
        self.past = self.past + Usage { rss_bytes: 0, ..used };
        self.pauses = 0;
        self.is_ending = false;
        Some(Gone { pid, status })
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
