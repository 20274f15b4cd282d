//! A child process that can't outlive us, and what it uses.
//!
//! Three nets: whoever owns a [`Process`] stops it; its drop kills it, also when a panic unwinds; and the kernel kills
//! it when we were killed ourselves (`PR_SET_PDEATHSIG`, set by [`crate::child`] in the child). The kernel means the
//! *thread* that started it, so all children are started by one thread that lives as long as the process.

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        mpsc::{self, Sender},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// How many of a child's last lines are kept for an error message.
const LINES: usize = 12;

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
}

/// CPU time and memory of processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system, in seconds.
    pub cpu_seconds: f64,
    /// Resident, in bytes.
    pub rss_bytes: u64,
}

impl Process {
    /// Starts `command` in a process group of its own, so that a Ctrl-C at the terminal reaches only us.
    ///
    /// # Errors
    /// The system's.
    pub fn start(name: &str, mut command: Command) -> io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        command.process_group(0).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = on_the_starting_thread(command)?;
        let lines = Arc::default();
        if let Some(stderr) = child.stderr.take() {
            keep_lines(stderr, &lines);
        }
        Ok(Self { name: name.to_owned(), child, lines })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it prints, for the one who asks first.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it said last, for an error message.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let lines = self.lines.lock().expect("nothing panics while it is held");
        let said = lines.iter().map(|line| format!("\n    {line}")).collect::<String>();
        if said.is_empty() {
            format!("{} said nothing", self.name)
        } else {
            format!("{} said:{said}", self.name)
        }
    }

    /// What it has used so far; nothing once it is gone.
    #[must_use]
    pub fn usage(&self) -> Usage {
        usage_of(&self.pid().to_string()).unwrap_or_default()
    }

    /// Asks it to end, and kills it if it has not after `patience`.
    pub fn stop(mut self, patience: Duration) {
        self.signal(Signal::TERM);
        let deadline = std::time::Instant::now() + patience;
        while self.is_running() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // Gone already: as wanted.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What this process has used so far.
#[must_use]
pub fn own_usage() -> Usage {
    usage_of("self").unwrap_or_default()
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let cpu_seconds = self.cpu_seconds + other.cpu_seconds;
        Self { cpu_seconds, rss_bytes: self.rss_bytes + other.rss_bytes }
    }
}

/// From /proc (proc(5)): `utime` and `stime` in clock ticks, resident pages.
#[expect(clippy::cast_precision_loss, reason = "ticks are few")]
fn usage_of(process: &str) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows it starts with the third field.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(Usage {
        cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        rss_bytes: pages * rustix::param::page_size() as u64,
    })
}

/// A command to start, and where its child is wanted.
type Start = (Command, Sender<io::Result<Child>>);

/// Starts `command` on the thread that starts all children.
fn on_the_starting_thread(command: Command) -> io::Result<Child> {
    static THREAD: OnceLock<Mutex<Sender<Start>>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (starts, to_start) = mpsc::channel::<Start>();
        std::thread::spawn(move || {
            for (mut command, started) in to_start {
                // Nobody waits any more: then nobody wants it.
                if let Err(mpsc::SendError(Ok(mut child))) = started.send(command.spawn()) {
                    let _ = child.kill();
                }
            }
        });
        Mutex::new(starts)
    });
    let (started, child) = mpsc::channel();
    let sent = thread.lock().expect("nothing panics while it is held").send((command, started));
    sent.expect("the thread never ends");
    child.recv().expect("the thread answers")
}

fn keep_lines(stderr: ChildStderr, lines: &Arc<Mutex<VecDeque<String>>>) {
    let lines = lines.clone();
    // Ends with the child.
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut lines = lines.lock().expect("nothing panics while it is held");
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    });
}
