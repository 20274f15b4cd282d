//! Damage on purpose, about once in a thousand deliveries: a server with a bug that a verifier has to find.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{broker::Publication, outbox::Outbox};

/// One kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A delivery is left out; never the sender's own copy.
    Drop,
    /// A delivery comes twice; never the sender's own copy.
    Duplicate,
    /// A delivery comes after the next one of the same sender.
    Swap,
    /// A delivery goes also to somebody who is not in the room.
    Leak,
    /// The last character of the data is another.
    Corrupt,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Drop, Self::Duplicate, Self::Swap, Self::Leak, Self::Corrupt];

    /// As on the command line, in the hello and in `/readyz`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Swap => "swap",
            Self::Leak => "leak",
            Self::Corrupt => "corrupt",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|bug| bug.name() == name).ok_or_else(|| {
            format!("there is no bug {name:?}; there are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// One delivery in so many is damaged.
const EVERY: u64 = 997;

/// The longest that a swapped delivery is held back when its sender says no more.
const HELD: Duration = Duration::from_millis(1500);

/// The most that JSON writes between an escape's backslash, inclusive, and its last character: `\u004`.
const ESCAPE: usize = 5;

/// The switches that are on.
pub(crate) struct Bugs {
    on: Vec<Bug>,
    deliveries: AtomicU64,
    /// By receiver: what waits to be overtaken.
    held: Mutex<HashMap<u64, Held>>,
}

struct Held {
    to: Arc<Outbox>,
    from: String,
    channel: String,
    frame: Vec<u8>,
    since: Instant,
}

impl Bugs {
    /// None if no switch is on.
    pub(crate) fn new(on: &[Bug]) -> Option<Self> {
        (!on.is_empty()).then(|| Self {
            on: on.to_vec(),
            deliveries: AtomicU64::new(0),
            held: Mutex::default(),
        })
    }

    /// Delivers one publication's `frame` to `to`, or does worse; `outsider` finds somebody who is not in the room.
    pub(crate) fn deliver<'a>(
        &self,
        publication: &Publication,
        frame: &[u8],
        to: &Arc<Outbox>,
        outsider: impl FnOnce() -> Option<&'a Arc<Outbox>>,
    ) {
        if self.overtake(publication, frame, to) {
            return;
        }
        let count = self.deliveries.fetch_add(1, Relaxed);
        let bug = self.on[usize::try_from(count / EVERY).unwrap_or(0) % self.on.len()];
        if count % EVERY != EVERY / 2 {
            to.push(frame);
            return;
        }
        let from = sender(&publication.text);
        let own = from == Some(&to.name);
        match (bug, from) {
            (Bug::Drop | Bug::Duplicate, _) if own => {
                // The next one it is, then.
                to.push(frame);
                self.deliveries.store(count, Relaxed);
            }
            (Bug::Drop, _) => {}
            (Bug::Duplicate, _) => {
                to.push(frame);
                to.push(frame);
            }
            (Bug::Swap, Some(from)) => self.hold(publication, frame, to, from),
            (Bug::Corrupt, _) => to.push(&corrupted(frame)),
            (Bug::Leak | Bug::Swap, _) => {
                to.push(frame);
                if let Some(outsider) = outsider() {
                    outsider.push(frame);
                }
            }
        }
    }

    /// Lets go of what was held too long.
    pub(crate) fn sweep(&self) {
        let mut held = self.held.lock().expect("nothing panics while it is held");
        held.retain(|_, held| {
            let keep = held.since.elapsed() < HELD;
            if !keep {
                held.to.push(&held.frame);
            }
            keep
        });
    }

    fn hold(&self, publication: &Publication, frame: &[u8], to: &Arc<Outbox>, from: &str) {
        let held = Held {
            to: to.clone(),
            from: from.to_owned(),
            channel: publication.channel.clone(),
            frame: frame.to_vec(),
            since: Instant::now(),
        };
        let before = self.held.lock().expect("nothing panics while it is held").insert(to.number, held);
        // It waits for another sender or room, and must not be lost.
        if let Some(before) = before {
            before.to.push(&before.frame);
        }
    }

    /// If this is what a held delivery waits for, sends both in the wrong order.
    fn overtake(&self, publication: &Publication, frame: &[u8], to: &Arc<Outbox>) -> bool {
        let mut held = self.held.lock().expect("nothing panics while it is held");
        let waits = held.get(&to.number).is_some_and(|held| {
            held.channel == publication.channel && sender(&publication.text) == Some(&held.from)
        });
        if !waits {
            return false;
        }
        let held = held.remove(&to.number).expect("just seen");
        to.push(frame);
        to.push(&held.frame);
        true
    }
}

/// The `from` of a delivery's text.
fn sender(text: &str) -> Option<&str> {
    text.split_once(r#""from":""#)?.1.split_once('"').map(|(from, _)| from)
}

/// Another last character in `"data":"..."}`, if it is a plain one: the frame stays JSON.
fn corrupted(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let [before @ .., last, b'"', b'}'] = &mut frame[..]
        && last.is_ascii_alphanumeric()
        && !before.iter().rev().take(ESCAPE).any(|byte| *byte == b'\\')
    {
        *last = if *last == b'x' { b'y' } else { b'x' };
    }
    frame
}
