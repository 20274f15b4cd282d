//! The hidden subcommands by which a tool's own binary becomes a replica, or a Redis that dies with its parent.

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, getppid, kill_process_group, pidfd_open, set_parent_process_death_signal,
    },
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use ws_server::args::ServerArgs;

/// For the tools' own use.
#[derive(Debug, Subcommand)]
pub enum ChildCommand {
    /// A replica that ends with its parent, and prints its address on standard output
    #[command(hide = true)]
    Replica {
        /// The process to end with
        #[arg(long)]
        parent: u32,
        /// As for ws-server
        #[command(flatten)]
        server: Box<ServerArgs>,
    },
    /// Becomes another program that ends with its parent
    #[command(hide = true)]
    Guard {
        /// The process to end with
        #[arg(long)]
        parent: u32,
        /// Whatever else is in its process group ends with it
        #[arg(long)]
        group: bool,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Kills the process group of its parent once that has ended
    #[command(hide = true)]
    Reap {
        /// Its parent, who leads the group
        #[arg(long)]
        leader: u32,
    },
}

/// The command line that makes `tool` a replica with `args`.
pub(crate) fn replica(tool: &Path, args: &[String]) -> Command {
    let mut command = Command::new(tool);
    command.arg("replica").args(["--parent", &std::process::id().to_string()]).args(args);
    // We know where it listens.
    command.stdout(Stdio::null());
    // What configures our user's own servers must not configure ours.
    command.env_clear();
    for keep in ["PATH", "RUST_LOG", "RUST_BACKTRACE"] {
        if let Some(value) = std::env::var_os(keep) {
            command.env(keep, value);
        }
    }
    command
}

/// The command line that makes `tool` become `program`.
pub(crate) fn guarded(tool: &Path, program: &OsStr, args: &[String]) -> Command {
    let mut command = Command::new(tool);
    command.arg("guard").args(["--parent", &std::process::id().to_string(), "--"]).arg(program).args(args);
    command
}

/// The command line that makes `tool` become a shell with `script`. What that starts ends with it: PR_SET_PDEATHSIG does
/// not come down to children.
pub(crate) fn guarded_shell(tool: &Path, script: &str) -> Command {
    let mut command = Command::new(tool);
    command.arg("guard").args([
        "--parent",
        &std::process::id().to_string(),
        "--group",
        "--",
        "sh",
        "-c",
        script,
    ]);
    command
}

/// Carries out a hidden subcommand.
#[must_use]
pub fn run(command: ChildCommand) -> ExitCode {
    let result = match command {
        ChildCommand::Replica { parent, server } => end_with(parent).and_then(|()| serve(&server)),
        ChildCommand::Guard { parent, group, command } => end_with(parent)
            .and_then(|()| if group { start_reaper() } else { Ok(()) })
            .and_then(|()| become_program(&command)),
        ChildCommand::Reap { leader } => reap(leader),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// From now on the kernel kills us when `parent` is gone.
///
/// # Errors
/// It is gone already.
pub fn end_with(parent: u32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("can't be tied to the parent")?;
    let parent_now = getppid().map(Pid::as_raw_nonzero).map(i32::from);
    if parent_now != i32::try_from(parent).ok() {
        bail!("the parent is gone already");
    }
    Ok(())
}

/// It has a process group of its own, so that it is neither stopped nor killed with ours.
fn start_reaper() -> anyhow::Result<()> {
    let tool = std::env::current_exe().context("this program can't be found")?;
    let mut reaper = Command::new(tool);
    reaper.args(["reap", "--leader", &std::process::id().to_string()]).process_group(0);
    reaper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    reaper.spawn().context("no watch can be set over the process group")?;
    Ok(())
}

fn reap(leader: u32) -> anyhow::Result<()> {
    let leader = i32::try_from(leader).ok().and_then(Pid::from_raw).context("no process has that id")?;
    let ended = pidfd_open(leader, PidfdFlags::empty());
    // Gone before it was opened, its id might be another's by now.
    if let (Ok(ended), true) = (&ended, getppid() == Some(leader)) {
        while poll(&mut [PollFd::new(ended, PollFlags::IN)], None) == Err(Errno::INTR) {}
    }
    // Nobody is left in it: as wanted.
    let _ = kill_process_group(leader, Signal::KILL);
    Ok(())
}

fn become_program(command: &[OsString]) -> anyhow::Result<()> {
    let [program, args @ ..] = command else { bail!("no program") };
    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("can't start {}", program.display()))
}

fn serve(args: &ServerArgs) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    ws_server::raise_file_limit();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(args.threads()).enable_all().build()?;
    runtime.block_on(async {
        let listener =
            ws_server::listen(args.listen).with_context(|| format!("can't listen on {}", args.listen))?;
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = shutdown.clone();
        tokio::spawn(async move {
            terminate.recv().await;
            stop.cancel();
        });
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        ws_server::run(listener, args.config(), shutdown).await.context("the server failed")
    })
}
