//! What ws-loadgen and ws-verify share, from the command line to the exit code.
//!
//! - [`args`]: what was typed. [`config`]: what it means.
//! - [`run()`]: the one path of a run; `progress` shows it, `verdict` says what its outcome proves, and which gates it did
//!   not meet; `limits` says how many sockets fit.

pub mod args;
pub mod config;
mod limits;
mod progress;
mod run;
mod verdict;

use std::{panic, process::ExitCode};

use ws_analysis::exit::Exit;

pub use run::run;

/// Which of the two tools runs, and what it takes when nothing is said.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What its verdict is about.
    pub purpose: Purpose,
    /// Sockets.
    pub connections: u32,
    /// Messages a second.
    pub rate: f64,
}

/// What a verdict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A run that sent nothing, or not over every pair of replicas, proved nothing.
    Prove,
    /// A run that carried its load has passed.
    Load,
}

/// Runs a tool's `main`: a panic is our bug, and has an exit code of its own.
pub fn guard(main: impl FnOnce() -> ExitCode + panic::UnwindSafe) -> ExitCode {
    panic::catch_unwind(main).unwrap_or_else(|_| {
        eprintln!(
            "this is a bug in this program, not in what it tests; please report it with the lines above"
        );
        Exit::Internal.into()
    })
}
