//! Other processes that run a part of the sockets: children of this one, or agents on other machines.

mod agent;
mod broker;
mod pipe;

use std::{
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use clap::Subcommand;
use tokio::task::JoinHandle;
use ws_analysis::{exit::Exit, report::ProcessUse};
use ws_cluster::{
    child,
    process::{Process, Usage, own_usage},
};
use ws_swarm::{Clock, Line, Member};

pub use agent::AgentArgs;
pub(crate) use agent::JOB;
pub use broker::Coordinator;
pub(crate) use broker::call;

use crate::{limits, run::failed};

/// How long the word of a failure may take to get out.
const FLUSH: Duration = Duration::from_secs(5);

/// How long a child waits for its run.
const CHILD_PATIENCE: Duration = Duration::from_secs(60);

/// The subcommands by which this program takes part in a run that another leads.
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// Take part in runs that another machine leads: run --agents N --coordinator URL
    #[command(after_help = agent::HELP)]
    Agent(Box<AgentArgs>),
    /// A part of the sockets, led over standard input
    #[command(hide = true)]
    Member {
        /// The process to end with
        #[arg(long)]
        parent: u32,
    },
}

/// Takes part in a run.
#[must_use]
pub fn member(command: MemberCommand) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(Exit::Unreachable, &error.into()),
    };
    let exit = match command {
        MemberCommand::Agent(args) => runtime.block_on(agent::run(&args)),
        MemberCommand::Member { parent } => match child::end_with(parent) {
            Ok(()) => runtime.block_on(child_member()),
            Err(error) => failed(Exit::Unreachable, &error),
        },
    };
    // Threads that are still at it have nobody left to work for.
    runtime.shutdown_background();
    exit
}

/// The member at the other end of our standard input.
async fn child_member() -> ExitCode {
    let (line, writer) = match pipe::to_parent() {
        Ok(line) => line,
        Err(error) => return failed(Exit::Unreachable, &error.into()),
    };
    let name = format!("process {}", std::process::id());
    let served = serve(line, writer, (name, CHILD_PATIENCE), std::future::pending()).await;
    served.map_or_else(|why| failed(Exit::Unreachable, &anyhow::Error::msg(why)), |()| ExitCode::SUCCESS)
}

/// Serves one run under a name, if it begins within that time, and sees to it that everything that was said gets out.
async fn serve(
    line: Line,
    writer: JoinHandle<()>,
    (name, patience): (String, Duration),
    told_to_end: impl Future<Output = ()>,
) -> Result<(), String> {
    let member = Member { name, open_files: limits::raise_open_files(), patience };
    let ends = async {
        tokio::select! {
            () = told_to_end => "it was told to end".into(),
            // What it has seen is not to be trusted any more.
            () = crate::panicked() => "a part of it panicked".into(),
        }
    };
    let served = ws_swarm::serve(line, member, || own_usage().into_use(), ends).await;
    match served {
        // A child ends with its parent, and what waits for an agent in Redis expires: neither is for ever.
        Ok(()) => drop(writer.await),
        Err(_) => drop(tokio::time::timeout(FLUSH, writer).await),
    }
    served
}

/// Children that run a part of the sockets each; their drop ends them.
pub(crate) struct Children {
    processes: Vec<Process>,
}

impl Children {
    /// Starts so many.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn start(count: usize) -> anyhow::Result<(Self, Vec<Line>)> {
        let tool = std::env::current_exe().context("this program can't be found, to start more of it")?;
        let (mut processes, mut lines) = (Vec::new(), Vec::new());
        for number in 1..=count {
            let mut command = Command::new(&tool);
            command.args(["member", "--parent", &std::process::id().to_string()]).stdout(Stdio::null());
            let (process, stream) = Process::start_with_line(&format!("member {number}"), command)
                .context("a process for a part of the sockets can't be started")?;
            lines.push(pipe::to_child(stream)?);
            processes.push(process);
        }
        Ok((Self { processes }, lines))
    }

    /// What those said that have ended.
    pub(crate) fn last_words(&self) -> String {
        let ended = self.processes.iter().filter(|process| !process.is_running());
        ended.map(|process| format!("\n{}", process.last_lines())).collect()
    }
}

/// The clock that all processes of this machine read.
fn own_clock() -> tokio::sync::watch::Receiver<Clock> {
    tokio::sync::watch::channel(Clock::of_this_machine()).1
}

/// As a report has it.
trait IntoUse {
    fn into_use(self) -> ProcessUse;
}

impl IntoUse for Usage {
    fn into_use(self) -> ProcessUse {
        ProcessUse { cpu_seconds: self.cpu_seconds, rss_bytes: self.rss_bytes }
    }
}
