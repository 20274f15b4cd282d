//! The exit codes of ws-loadgen and ws-verify: the one table.

/// How a run ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was shown.
    Pass = 0,
    /// A property was violated.
    Violation = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The run proved nothing: a gate was not met, or the generator was the bottleneck.
    Inconclusive = 3,
    /// The target or something on this machine that the run needs can't be had.
    Unreachable = 4,
    /// A bug in the tool itself.
    Internal = 70,
    /// A threshold failed.
    Threshold = 99,
    /// Stopped by the user; the partial report was written.
    Interrupted = 130,
}

/// The table as `--help` shows it.
pub const HELP: &str = "\
Exit codes:
    0  pass
    1  a property was violated
    2  wrong usage
    3  inconclusive: a gate was not met, or the generator was the bottleneck
    4  the target, or something the run needs on this machine, can't be reached
   70  a bug in this tool
   99  a threshold failed
  130  interrupted; the partial report was written";

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
