//! One way of one connection.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    net::Shutdown,
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Counters, Mode, Order, Ways};

/// Read at once.
const CHUNK: usize = 16 << 10;

/// Bytes that wait in us before we stop reading, and the sender's kernel makes it wait.
const QUEUE: usize = 1 << 20;

/// A throttled way moves pieces of this duration, so that it flows and does not jerk.
const PIECE: Duration = Duration::from_millis(20);

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Moves bytes one way.
pub(super) struct Pump<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    way: Ways,
    counters: &'a Counters,
    queue: VecDeque<Chunk>,
    queued: usize,
    /// How the sender ended.
    ended: Option<io::Result<()>>,
    /// When the throttled line has sent what it took.
    line_free: Instant,
}

/// Bytes that were read and not yet written.
struct Chunk {
    bytes: Vec<u8>,
    written: usize,
    due: Instant,
    is_delayed: bool,
}

/// A [`Mode`], seen from one way.
#[derive(Clone, Copy, PartialEq)]
enum Policy {
    Pass,
    Hold,
    Slow { delay: Duration, bytes_per_second: Option<u64> },
}

impl<'a> Pump<'a> {
    pub(super) fn new(from: &'a TcpStream, to: &'a TcpStream, way: Ways, counters: &'a Counters) -> Self {
        let (queue, line_free) = (VecDeque::new(), Instant::now());
        Self { from, to, way, counters, queue, queued: 0, ended: None, line_free }
    }

    /// Until the sender has ended and everything it sent is passed on. Each step can be cancelled without a loss, so a
    /// new mode takes hold at once.
    pub(super) async fn run(mut self, mut orders: watch::Receiver<Order>) -> io::Result<()> {
        loop {
            let policy = Policy::new(orders.borrow_and_update().mode, self.way);
            if policy != Policy::Hold && self.queue.is_empty() && self.ended.is_some() {
                return self.end();
            }
            let due = self.due(policy);
            let reads = self.reads(policy);
            tokio::select! {
                biased;
                _ = orders.changed() => {}
                written = self.write(due), if due.is_some() => self.wrote(written?),
                read = read(self.from, policy.piece()), if reads => self.took(read, policy),
            }
        }
    }

    /// Passes the end on.
    fn end(self) -> io::Result<()> {
        self.ended.unwrap_or(Ok(()))?;
        match SockRef::from(self.to).shutdown(Shutdown::Write) {
            // It went first.
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
            ended => ended,
        }
    }

    /// When the first chunk may go; none if it may not, or there is none.
    fn due(&self, policy: Policy) -> Option<Instant> {
        let first = self.queue.front()?;
        match policy {
            Policy::Pass => Some(first.due.min(Instant::now())),
            Policy::Hold => None,
            Policy::Slow { .. } => Some(first.due),
        }
    }

    fn reads(&self, policy: Policy) -> bool {
        let limit = if policy == Policy::Pass { 1 } else { QUEUE };
        self.ended.is_none() && self.queued < limit
    }

    async fn write(&self, due: Option<Instant>) -> io::Result<usize> {
        let (Some(first), Some(due)) = (self.queue.front(), due) else { return Ok(0) };
        if due > Instant::now() {
            sleep_until(due).await;
        }
        loop {
            match self.to.try_write(&first.bytes[first.written..]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.to.writable().await?,
                written => return written,
            }
        }
    }

    fn wrote(&mut self, written: usize) {
        let Some(first) = self.queue.front_mut() else { return };
        first.written += written;
        self.queued -= written;
        let written = written as u64;
        self.counters.passed.fetch_add(written, Relaxed);
        if first.is_delayed {
            self.counters.delayed.fetch_add(written, Relaxed);
        }
        if first.written == first.bytes.len() {
            self.queue.pop_front();
        }
    }

    fn took(&mut self, read: io::Result<Vec<u8>>, policy: Policy) {
        let bytes = match read {
            Ok(bytes) if bytes.is_empty() => return self.ended = Some(Ok(())),
            Ok(bytes) => bytes,
            Err(error) => return self.ended = Some(Err(error)),
        };
        if policy == Policy::Hold {
            self.counters.held.fetch_add(bytes.len() as u64, Relaxed);
        }
        self.queued += bytes.len();
        let now = Instant::now();
        let due = self.arrival(policy, now, bytes.len());
        self.queue.push_back(Chunk { bytes, written: 0, due, is_delayed: due > now });
    }

    /// When `bytes` that were sent `now` have arrived: the line sends them one after another, and all travel equally long.
    fn arrival(&mut self, policy: Policy, now: Instant, bytes: usize) -> Instant {
        let Policy::Slow { delay, bytes_per_second } = policy else { return now };
        if let Some(rate) = bytes_per_second {
            let nanoseconds = bytes as u64 * 1_000_000_000 / rate.max(1);
            self.line_free = self.line_free.max(now) + Duration::from_nanos(nanoseconds);
        } else {
            self.line_free = now;
        }
        // Nobody waits for what the clock can't hold.
        self.line_free.checked_add(delay).unwrap_or(self.line_free + NEVER)
    }
}

impl Policy {
    fn new(mode: Mode, way: Ways) -> Self {
        match mode {
            Mode::Stall(ways) if ways == Ways::Both || ways == way => Self::Hold,
            Mode::Slow { delay, bytes_per_second } => Self::Slow { delay, bytes_per_second },
            // The others end the connection from outside.
            _ => Self::Pass,
        }
    }

    /// How much is read at once.
    fn piece(self) -> usize {
        match self {
            Self::Slow { bytes_per_second: Some(rate), .. } => {
                let piece = rate.saturating_mul(PIECE.as_millis() as u64) / 1000;
                usize::try_from(piece).unwrap_or(CHUNK).clamp(1, CHUNK)
            }
            _ => CHUNK,
        }
    }
}

/// Up to `most` bytes; none at the end. An idle connection holds no buffer.
async fn read(from: &TcpStream, most: usize) -> io::Result<Vec<u8>> {
    loop {
        from.readable().await?;
        let mut bytes = vec![0; most];
        match from.try_read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
            Ok(read) => {
                bytes.truncate(read);
                // What waits long should not take a whole buffer for a few bytes.
                bytes.shrink_to_fit();
                return Ok(bytes);
            }
        }
    }
}
