//! A child process that can't outlive us, and what it uses.
//!
//! Three nets: whoever owns a [`Process`] stops it; its drop kills it, also when a panic unwinds; and the kernel kills
//! it when we were killed ourselves (`PR_SET_PDEATHSIG`, set by [`crate::child`] in the child). The kernel means the
//! *thread* that started it, so all children are started by one thread that lives as long as the process.

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader, Read as _},
    ops::Range,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, OnceLock,
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// How many of a child's last lines are kept for an error message.
const LINES: usize = 12;

/// Where a line is cut, in bytes.
const LINE: u64 = 4096;

/// How long the last lines of one that has ended are waited for, where others may have its standard error.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Takes in what it says, until all of it is in.
    reader: Option<JoinHandle<()>>,
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
    pub fn start(name: &str, command: Command) -> io::Result<Self> {
        Self::start_reading(name, command, Stdio::null())
    }

    /// The same with a line to it: its standard input is the other end of it, and takes both directions.
    ///
    /// # Errors
    /// The system's.
    pub fn start_with_line(name: &str, command: Command) -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self::start_reading(name, command, OwnedFd::from(theirs).into())?, ours))
    }

    fn start_reading(name: &str, mut command: Command, stdin: Stdio) -> io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        command.process_group(0).stdin(stdin).stderr(Stdio::piped());
        let mut child = on_the_starting_thread(command)?;
        let lines = Arc::default();
        let reader = child.stderr.take().map(|stderr| keep_lines(stderr, &lines));
        Ok(Self { name: name.to_owned(), child, lines, reader })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs; stopped counts as running. Leaves it unreaped, so that its id stays its own and what it
    /// used can still be read.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.as_pid()), options), Ok(None))
    }

    /// What it said last, for an error message. Of one that has ended that may still be on its way, and is waited for.
    #[must_use]
    pub fn last_lines(&self) -> String {
        if !self.is_running() {
            let is_read = || self.reader.as_ref().is_none_or(JoinHandle::is_finished);
            wait_until(LAST_WORDS, is_read);
        }
        let lines = self.lines.lock().expect("nothing panics while it is held");
        let said = lines.iter().map(|line| format!("\n    {line}")).collect::<String>();
        if said.is_empty() {
            format!("{} said nothing", self.name)
        } else {
            format!("{} said:{said}", self.name)
        }
    }

    /// What it and the processes of its group have used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        usage_of_group(self.pid())
    }

    /// Kills it with its group, also where it is stopped or has ended, and reaps it: how it ended, and what it had used.
    #[must_use]
    pub fn kill(mut self) -> (Option<ExitStatus>, Usage) {
        let with_others = self.usage();
        self.signal(Signal::KILL);
        // Fails if it is no child of ours, which can't be.
        let _ = waitid(WaitId::Pid(self.as_pid()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let at_the_end = self.usage();
        let cpu_seconds = with_others.cpu_seconds.max(at_the_end.cpu_seconds);
        (self.child.wait().ok(), Usage { cpu_seconds, ..at_the_end })
    }

    /// Asks it to end, and kills it if it has not after `patience`.
    pub fn stop(self, patience: Duration) {
        self.signal(Signal::TERM);
        // Stopped, it would not hear that.
        self.signal(Signal::CONT);
        wait_until(patience, || !self.is_running());
    }

    /// Sends `signal` to it and its process group, for a program may have started others; those that have ended do not
    /// notice.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.as_pid(), signal);
    }

    fn as_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Reaped, its id may be another's.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(self.as_pid()), options).is_ok() {
            self.signal(Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The state of a process as proc(5) has it: `R`, `S`, `T` for stopped, `Z` for ended and not reaped; none if it is gone.
#[must_use]
pub fn state_of(pid: u32) -> Option<char> {
    fields_of(&pid.to_string())?.first()?.chars().next()
}

/// What this process has used so far.
#[must_use]
pub fn own_usage() -> Usage {
    usage_of("self", OWN).unwrap_or_default()
}

/// What the processors of a machine have done so far, in seconds, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineUse {
    /// Anything.
    pub busy_seconds: f64,
    /// Of this, interrupts, which belong to no process: loopback and network cards.
    pub interrupt_seconds: f64,
}

/// What the processors of this machine have done so far; none where that is told of other processors than those we may
/// use, as in a container with a share of them.
#[must_use]
pub fn machine_usage() -> Option<MachineUse> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let ours = std::thread::available_parallelism().ok()?.get();
    let all = stat.lines().filter(|line| line.starts_with("cpu")).count().checked_sub(1)?;
    (all == ours).then(|| machine_use(&stat)).flatten()
}

/// From the sum in /proc/stat (proc(5)): everything but `idle` and `iowait`; `guest` times are in `user` already.
#[expect(clippy::cast_precision_loss, reason = "ticks are few")]
fn machine_use(stat: &str) -> Option<MachineUse> {
    let times: Vec<u64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = times.try_into().ok()?;
    let seconds = |ticks: u64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    let interrupts = irq + softirq;
    Some(MachineUse {
        busy_seconds: seconds(user + nice + system + interrupts + steal),
        interrupt_seconds: seconds(interrupts),
    })
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let cpu_seconds = self.cpu_seconds + other.cpu_seconds;
        Self { cpu_seconds, rss_bytes: self.rss_bytes + other.rss_bytes }
    }
}

/// All that are in it now, and the children that they had and waited for.
fn usage_of_group(group: u32) -> Usage {
    let group = group.to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|name| fields_of(name).is_some_and(|fields| fields.get(2) == Some(&group)))
        .filter_map(|name| usage_of(&name, WITH_CHILDREN))
        .fold(Usage::default(), |sum, used| sum + used)
}

/// `utime` and `stime` among the fields of /proc/PID/stat.
const OWN: Range<usize> = 11..13;

/// The same, and `cutime` and `cstime`: of children that it waited for.
const WITH_CHILDREN: Range<usize> = 11..15;

/// From /proc (proc(5)): `times` in clock ticks, resident pages.
#[expect(clippy::cast_precision_loss, reason = "ticks are few")]
fn usage_of(process: &str, times: Range<usize>) -> Option<Usage> {
    let fields = fields_of(process)?;
    let ticks: u64 = fields.get(times)?.iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(Usage {
        cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        rss_bytes: pages * rustix::param::page_size() as u64,
    })
}

/// The fields of /proc/PID/stat behind the name: the state is the first. The name in parentheses may hold anything.
fn fields_of(process: &str) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// A command to start, and where its child is wanted.
type Start = (Command, Sender<io::Result<Child>>);

/// Starts `command` on the thread that starts all children.
fn on_the_starting_thread(command: Command) -> io::Result<Child> {
    static THREAD: OnceLock<Mutex<Sender<Start>>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (starts, to_start) = mpsc::channel::<Start>();
        thread::spawn(move || {
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

/// Waits until `done`, at most for `patience`.
fn wait_until(patience: Duration, done: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
}

fn keep_lines(stderr: ChildStderr, lines: &Arc<Mutex<VecDeque<String>>>) -> JoinHandle<()> {
    let lines = lines.clone();
    // Ends with the child, and with whoever has its standard error from it.
    thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        let mut line = Vec::new();
        // Somebody else's program may say anything, and would be stopped by a pipe that nobody reads.
        while (&mut stderr).take(LINE).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let said = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            let mut lines = lines.lock().expect("nothing panics while it is held");
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(said);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_that_are_still_on_their_way_are_waited_for() {
        let mut command = Command::new("sh");
        command.args(["-c", "(sleep 0.2; echo late >&2) & echo early >&2; exit 3"]);
        let process = Process::start("it", command).expect("there is a shell");
        wait_until(Duration::from_secs(10), || !process.is_running());
        assert_eq!(process.last_lines(), "it said:\n    early\n    late");
    }

    #[test]
    fn a_machine_is_busy_with_all_but_waiting() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!("cpu  {ticks} {ticks} {ticks} 999 999 {ticks} {ticks} {ticks} 7 7\ncpu0 1\n");
        assert_eq!(machine_use(&stat), Some(MachineUse { busy_seconds: 6.0, interrupt_seconds: 2.0 }));
        assert_eq!(machine_use("cpu 1 2"), None);
        assert_eq!(machine_use(""), None);
    }
}
