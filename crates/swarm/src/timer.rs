//! A timer to the microsecond: tokio's own rounds up to the next millisecond, which would be most of the latency of an
//! idle cluster.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// One timer of the kernel.
pub(crate) struct PreciseTimer(AsyncFd<OwnedFd>);

impl PreciseTimer {
    /// Must be called inside a runtime.
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for descriptors less well-behaved than an owned one"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        AsyncFd::with_interest(timer, Interest::READABLE).map(Self)
    }

    /// Waits for `time`, or less where a wait before was given up.
    pub(crate) async fn sleep(&self, time: Duration) -> io::Result<()> {
        // A zero would disarm it.
        let time = time.max(Duration::from_nanos(1));
        let it_value = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        // Setting it anew takes back what was not read.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
