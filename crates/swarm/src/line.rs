//! The line between whoever leads a run and a member that runs a part of its workers in another process: what is said on
//! it, by which clock, and how long silence may last. What carries it is the caller's: a pair of channels of bytes.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use ws_analysis::{pulse::Pulse, report::ProcessUse};
use ws_wire::message::Hello;

use crate::{
    hands::What,
    monitor::Seen,
    plan::Plan,
    worker::{Harvest, Order},
};

/// A member says where it stands this often, and whoever leads says that it lives.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// Who has said nothing for so long is lost.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);

/// One end of a line. It is broken when `from` ends.
#[derive(Debug)]
pub struct Line {
    /// The clock that both ends read; the last estimate, where one has to be made.
    pub clock: watch::Receiver<Clock>,
    /// To the other end.
    pub to: mpsc::Sender<Vec<u8>>,
    /// From there; an empty message says that a long one is on its way.
    pub from: mpsc::Receiver<Vec<u8>>,
}

/// A clock that other processes can read as well, by one reading of it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When it was read,
    pub at: Instant,
    /// what it said, in microseconds,
    pub reads_us: i64,
    /// and how wrong that may be.
    pub error_us: u64,
}

impl Clock {
    /// The one of this machine that all its processes share.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Self { at: Instant::now(), reads_us: now.tv_sec * 1_000_000 + now.tv_nsec / 1000, error_us: 1 }
    }

    /// What it says at a time.
    fn reading(&self, at: Instant) -> i64 {
        let micros = |span: Duration| i64::try_from(span.as_micros()).expect("runs are short");
        match at.checked_duration_since(self.at) {
            Some(later) => self.reads_us + micros(later),
            None => self.reads_us - micros(self.at - at),
        }
    }

    /// When it says so.
    fn when(&self, reads_us: i64) -> Instant {
        let span = Duration::from_micros((reads_us - self.reads_us).unsigned_abs());
        if reads_us >= self.reads_us { self.at + span } else { self.at - span }
    }

    /// How far two estimates of it are apart, in microseconds.
    pub(crate) fn drift_us(&self, later: &Self) -> u64 {
        (self.reading(later.at) - later.reads_us).unsigned_abs()
    }
}

/// A member's part of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) plan: Plan,
    /// The workers that it runs.
    pub(crate) workers: Range<u32>,
    /// Time zero of the run, by the clock of the line.
    epoch_us: i64,
    /// Whether everything is written down.
    pub(crate) history: bool,
}

impl Job {
    pub(crate) fn new(plan: &Plan, workers: Range<u32>, clock: &Clock, history: bool) -> Self {
        Self { plan: plan.clone(), workers, epoch_us: clock.reading(plan.epoch), history }
    }

    /// The plan, by our own clock.
    pub(crate) fn plan(self, clock: &Clock) -> Plan {
        Plan { epoch: clock.when(self.epoch_us), ..self.plan }
    }
}

/// What a member is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToMember {
    Begin(Box<Job>),
    Order(Order),
    /// To be answered under its number.
    Hand {
        number: u64,
        worker: u32,
        what: What,
    },
    /// End the run early.
    Stop,
    /// Whoever leads is there.
    Alive,
}

/// What it says.
#[derive(Serialize, Deserialize)]
pub(crate) enum FromMember {
    /// It can begin.
    Ready(Facts),
    /// All its workers have done what was ordered.
    Report {
        replicas: u64,
        nodes: Vec<(Hello, String)>,
    },
    Tick {
        seen: Vec<(u32, Seen)>,
        pulses: Vec<(u32, Pulse)>,
        used: ProcessUse,
    },
    Answer {
        number: u64,
        count: u64,
    },
    /// Lines of the history.
    Journal(Vec<u8>),
    Harvest(Box<Harvest>),
    /// Everything is told.
    Done {
        drift_us: u64,
    },
    Failed(String),
}

/// What has to be known of a member before it begins.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Who it is, for whoever reads a report.
    pub(crate) name: String,
    /// Files that it may have open.
    pub(crate) open_files: u64,
    /// How wrong its idea of the line's clock may be, in microseconds.
    pub(crate) clock_error_us: u64,
}

impl Line {
    /// Says something; whether anybody is there to hear it shows in [`Line::from`].
    pub(crate) async fn say(to: &mpsc::Sender<Vec<u8>>, what: &impl Serialize) {
        let bytes = postcard::to_stdvec(what).expect("everything that is said can be written down");
        let _ = to.send(bytes).await;
    }

    /// What is said next.
    ///
    /// # Errors
    /// Why nothing will be said any more.
    pub(crate) async fn hear<T: DeserializeOwned>(from: &mut mpsc::Receiver<Vec<u8>>) -> Result<T, String> {
        loop {
            match timeout(SILENCE, from.recv()).await {
                // Of something long a part has come.
                Ok(Some(bytes)) if bytes.is_empty() => {}
                Ok(bytes) => return Self::read(bytes),
                Err(_) => return Err(format!("it said nothing for {} s", SILENCE.as_secs())),
            }
        }
    }

    /// The same, however long it takes.
    pub(crate) async fn hear_whenever<T: DeserializeOwned>(
        from: &mut mpsc::Receiver<Vec<u8>>,
    ) -> Result<T, String> {
        loop {
            match from.recv().await {
                Some(bytes) if bytes.is_empty() => {}
                bytes => return Self::read(bytes),
            }
        }
    }

    fn read<T: DeserializeOwned>(bytes: Option<Vec<u8>>) -> Result<T, String> {
        postcard::from_bytes(&bytes.ok_or("its connection ended")?).map_err(|error| {
            format!(
                "it says what this version does not understand ({error}): run the same version everywhere"
            )
        })
    }
}
