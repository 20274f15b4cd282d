//! What ws-loadgen and ws-verify share, from the command line to the exit code.
//!
//! - [`args`]: what was typed. [`config`]: what it means.
//! - [`run()`]: the one path of a run; `nemesis` breaks things meanwhile, `live` and `metrics` watch and show it, `assemble`
//!   makes the report, `output` and `history` write it; `limits` says how many sockets fit.
//! - [`capacity()`]: the search for the greatest load that holds, by one run after another.
//! - [`doctor()`]: whether this machine can hold so many sockets. [`manual()`]: completions and manual pages.
//! - [`check()`], [`replay()`]: a run of the past, judged or run again. [`report()`]: several of them as
//!   one. [`compare()`]: one beside another.
//! - [`init()`], [`schema()`]: a scenario file to begin with, and the schema of them all.

pub mod args;
mod assemble;
mod capacity;
pub mod config;
mod doctor;
mod history;
mod init;
mod limits;
mod live;
mod manual;
mod members;
mod metrics;
mod nemesis;
mod output;
mod past;
mod reports;
mod run;

use std::{
    panic,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use ws_analysis::exit::Exit;

pub use capacity::capacity;
pub use doctor::{DoctorArgs, doctor};
pub use init::{InitArgs, init, schema};
pub use manual::{ManualCommand, manual, too_wide};
pub use members::{AgentArgs, Coordinator, MemberCommand, member};
pub use past::{CheckArgs, ReplayArgs, check, replay};
pub use reports::{CompareArgs, ReportArgs, compare, report};
pub use run::run;
pub use ws_analysis::verdict::Purpose;

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

/// Runs a tool's `main`: a panic is our bug, and has an exit code of its own.
pub fn guard(main: impl FnOnce() -> ExitCode + panic::UnwindSafe) -> ExitCode {
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        live::terminal::leave();
        show(panic);
        // Wherever it was: a task that panics takes nobody else along.
        PANICKED.store(true, Relaxed);
    }));
    let ended = panic::catch_unwind(main);
    match ended {
        Ok(exit) if !PANICKED.load(Relaxed) => exit,
        _ => {
            run::say(
                "this is a bug in this program, not in what it tests; please report it with the lines above",
            );
            Exit::Internal.into()
        }
    }
}

/// Set by whatever part of the program panics.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Returns once some part of the program has panicked.
async fn panicked() {
    while !PANICKED.load(Relaxed) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
