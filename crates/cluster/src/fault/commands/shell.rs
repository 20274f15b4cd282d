//! One command of the user's.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::time::sleep;

/// How long a command may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How long it has to end when it is asked to.
const GRACE: Duration = Duration::from_secs(1);

/// How often it is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// How much of what it says is read.
const SAID: u64 = 4096;

/// How many of its last lines are told.
const LINES: usize = 5;

/// What becomes of a command whose end nobody awaits any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// It is ended with all it started.
    End,
    /// It goes on: a heal has to.
    Leave,
}

/// A command that runs, in a process group of its own.
pub(super) struct Running {
    child: Child,
    /// Files and not pipes: a command may leave something in the background that holds them, and never ends.
    stdout: File,
    stderr: File,
    cancelled: Cancelled,
    has_ended: bool,
}

impl Running {
    pub(super) fn start(
        command: &str,
        env: &[(&'static str, String)],
        cancelled: Cancelled,
    ) -> Result<Self, String> {
        let start = || -> io::Result<Self> {
            let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
            let child = Command::new("sh")
                .args(["-c", command])
                .envs(env.iter().map(|(name, value)| (name, value)))
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(stdout.try_clone()?)
                .stderr(stderr.try_clone()?)
                .spawn()?;
            Ok(Self { child, stdout, stderr, cancelled, has_ended: false })
        };
        start().map_err(|why| format!("sh -c {command:?} can't be started: {why}"))
    }

    /// Waits for its end: its first line if that is a success, else its last ones.
    pub(super) async fn succeeds(&mut self, what: &str) -> Result<Option<String>, String> {
        let deadline = Instant::now() + TIMEOUT;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Err(error) => return Err(format!("the {what} command is lost: {error}")),
                Ok(None) if Instant::now() >= deadline => {
                    self.cancelled = Cancelled::End;
                    return Err(format!("the {what} command did not end within {} s", TIMEOUT.as_secs()));
                }
                Ok(None) => sleep(POLL).await,
            }
        };
        self.has_ended = true;
        self.result(what, status)
    }

    fn result(&mut self, what: &str, status: ExitStatus) -> Result<Option<String>, String> {
        if status.success() {
            let said = read(&mut self.stdout, SeekFrom::Start(0));
            return Ok(said.lines().next().filter(|line| !line.trim().is_empty()).map(str::to_owned));
        }
        let length = self.stderr.metadata().map_or(0, |metadata| metadata.len());
        let said = read(&mut self.stderr, SeekFrom::Start(length.saturating_sub(SAID)));
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n    ");
        let said = if last.is_empty() { "it said nothing".into() } else { format!("it said:\n    {last}") };
        Err(format!("the {what} command failed ({status}); {said}"))
    }

    fn signal_group(&self, signal: Signal) {
        // Nobody is left in it: as wanted.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }

    /// Waits on this thread: what was broken half-way must be at rest before it is healed.
    fn end(&mut self) {
        self.signal_group(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        // Unreaped, so that the group's id stays its own.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let pid = Pid::from_child(&self.child);
        while matches!(waitid(WaitId::Pid(pid), options), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        self.signal_group(Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        match self.cancelled {
            _ if self.has_ended => {}
            Cancelled::End => self.end(),
            Cancelled::Leave => {
                let pid = Pid::from_child(&self.child);
                std::thread::spawn(move || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED));
            }
        }
    }
}

fn read(file: &mut File, from: SeekFrom) -> String {
    let mut said = Vec::new();
    // What can't be read is missing from a message, and nothing else.
    let _ = file.seek(from).and_then(|_| file.take(SAID).read_to_end(&mut said));
    String::from_utf8_lossy(&said).into_owned()
}
