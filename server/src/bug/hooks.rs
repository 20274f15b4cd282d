//! Where the rest of the server asks what the switches do. None of it is called while no switch is on.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{Bug, held::Holding};
use crate::{
    broker::{Link, Publication},
    outbox::Outbox,
    rooms,
};

/// One delivery in so many is damaged.
const EVERY: u64 = 997;

/// One send in so many is answered wrongly.
const SENDS: u64 = 97;

/// How long a room is not heard after its first join.
const EARLY: Duration = Duration::from_millis(300);

/// Bytes that make a client a slow one.
const SLOW: usize = 64 * 1024;

/// Messages of a channel that come again.
const AGAIN: usize = 3;

/// The most that JSON writes between an escape's backslash, inclusive, and its last character: `\u004`.
const ESCAPE: usize = 5;

/// The switches that are on.
pub(crate) struct Bugs {
    on: Vec<Bug>,
    /// Those of them that are done to single deliveries.
    rare: Vec<Bug>,
    deliveries: AtomicU64,
    sends: AtomicU64,
    holding: Holding,
    /// The log is being read after a reconnect.
    catching_up: AtomicBool,
    /// The link was lost, once.
    lost: AtomicBool,
    /// By channel: since when there are members.
    opened: Mutex<HashMap<String, Instant>>,
    /// By channel: the newest messages of others.
    newest: Mutex<HashMap<String, VecDeque<Delivered>>>,
}

/// A message and who got it.
struct Delivered {
    frame: Vec<u8>,
    to: Vec<Arc<Outbox>>,
}

/// What becomes of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is published, and then answered.
    Usual,
    AckedEarly,
    AckedAndLost,
    RefusedAndSent,
}

impl Bugs {
    /// None if no switch is on.
    pub(crate) fn new(on: &[Bug]) -> Option<Self> {
        (!on.is_empty()).then(|| Self {
            on: on.to_vec(),
            rare: on.iter().copied().filter(|bug| bug.is_rare()).collect(),
            deliveries: AtomicU64::new(0),
            sends: AtomicU64::new(0),
            holding: Holding::default(),
            catching_up: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            opened: Mutex::default(),
            newest: Mutex::default(),
        })
    }

    pub(crate) fn is_on(&self, bug: Bug) -> bool {
        self.on.contains(&bug)
    }

    /// Delivers one publication's `frame` to `to`, or does worse; `outsider` finds somebody who is not in the room.
    pub(crate) fn deliver<'a>(
        &self,
        publication: &Publication,
        frame: &[u8],
        to: &Arc<Outbox>,
        outsider: impl FnOnce() -> Option<&'a Arc<Outbox>>,
    ) {
        let own = sender(&publication.text) == Some(&to.name);
        if !own && self.loses(&publication.channel, to) {
            return;
        }
        if !own && self.is_on(Bug::TwiceOnReconnect) {
            self.remember(&publication.channel, frame, to);
        }
        if !self.holding.takes(publication, frame, to) {
            self.damage(publication, frame, to, own, outsider);
        }
    }

    /// Does every now and then what a switch says to a delivery.
    fn damage<'a>(
        &self,
        publication: &Publication,
        frame: &[u8],
        to: &Arc<Outbox>,
        own: bool,
        outsider: impl FnOnce() -> Option<&'a Arc<Outbox>>,
    ) {
        let count = self.deliveries.fetch_add(1, Relaxed);
        let turn = usize::try_from(count / EVERY).unwrap_or(0) % self.rare.len().max(1);
        let Some(bug) = self.rare.get(turn).filter(|_| count % EVERY == EVERY / 2) else {
            to.push(frame);
            return;
        };
        let from = sender(&publication.text);
        match (bug, from) {
            (bug, _) if !bug.fits(own) => {
                // The next one it is, then.
                to.push(frame);
                self.deliveries.store(count, Relaxed);
            }
            (Bug::Drop | Bug::NoEcho, _) => {}
            (Bug::Duplicate, _) => {
                to.push(frame);
                to.push(frame);
            }
            (Bug::Swap | Bug::WrongOrder | Bug::Late, Some(from)) => {
                self.holding.hold(*bug, publication, frame, to, from);
            }
            (Bug::Corrupt, _) => to.push(&corrupted(frame)),
            _ => {
                to.push(frame);
                outsider().into_iter().for_each(|outsider| outsider.push(frame));
            }
        }
    }

    /// Whether what another sent on `channel` is lost to `to`.
    fn loses(&self, channel: &str, to: &Outbox) -> bool {
        let early = || {
            let opened = lock(&self.opened);
            opened.get(channel).is_some_and(|opened| opened.elapsed() < EARLY)
        };
        (self.is_on(Bug::LostOnReconnect) && self.catching_up.load(Relaxed))
            || (self.is_on(Bug::DeadSubscription) && channel != rooms::ALL)
            || (self.is_on(Bug::SlowDrop) && to.waiting() > SLOW)
            || (self.is_on(Bug::JoinEarly) && early())
    }

    fn remember(&self, channel: &str, frame: &[u8], to: &Arc<Outbox>) {
        let mut newest = lock(&self.newest);
        let newest = newest.entry(channel.to_owned()).or_default();
        if newest.back().is_none_or(|delivered| delivered.frame != frame) {
            newest.push_back(Delivered { frame: frame.to_vec(), to: Vec::new() });
            if newest.len() > AGAIN {
                newest.pop_front();
            }
        }
        newest.back_mut().expect("just pushed").to.push(to.clone());
    }

    /// What has become of the link to the broker; `is_member` knows who is still where.
    pub(crate) fn link(&self, link: Link, is_member: impl Fn(&str, u64) -> bool) {
        self.catching_up.store(link == Link::Back, Relaxed);
        match link {
            Link::Lost => self.lost.store(true, Relaxed),
            Link::Back => {}
            Link::CaughtUp => {
                for (channel, delivered) in lock(&self.newest).drain() {
                    for Delivered { frame, to } in delivered {
                        to.iter().filter(|to| is_member(&channel, to.number)).for_each(|to| to.push(&frame));
                    }
                }
            }
        }
    }

    /// Whether all clients are to go, for good.
    pub(crate) fn refuses_all(&self) -> bool {
        self.is_on(Bug::NeverBack) && self.lost.load(Relaxed)
    }

    /// The first member of a room is about to come in.
    pub(crate) fn opened(&self, channel: &str) {
        if self.is_on(Bug::JoinEarly) {
            lock(&self.opened).insert(channel.to_owned(), Instant::now());
        }
    }

    /// Whether `member` stays in the room that it leaves.
    pub(crate) fn keeps(&self, member: u64, channel: &str) -> bool {
        self.holding.release(member, channel);
        self.is_on(Bug::AfterLeave)
    }

    pub(crate) fn fate(&self) -> Fate {
        let unlucky = self.sends.fetch_add(1, Relaxed) % SENDS == SENDS / 2;
        match unlucky {
            true if self.is_on(Bug::AckEarly) => Fate::AckedAndLost,
            true if self.is_on(Bug::RefusedButSent) => Fate::RefusedAndSent,
            false if self.is_on(Bug::AckEarly) => Fate::AckedEarly,
            _ => Fate::Usual,
        }
    }

    /// Lets go of what was held too long.
    pub(crate) fn sweep(&self) {
        self.holding.sweep();
        lock(&self.opened).retain(|_, opened| opened.elapsed() < EARLY);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it is held")
}

/// The `from` of a delivery's text.
pub(super) fn sender(text: &str) -> Option<&str> {
    text.split_once(r#""from":""#)?.1.split_once('"').map(|(from, _)| from)
}

/// Another last character in `"data":"..."}` (and what Socket.IO has around it), if it is a plain one: the frame stays
/// JSON.
fn corrupted(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let [before @ .., last, b'"', b'}'] | [before @ .., last, b'"', b'}', b']'] = &mut frame[..]
        && last.is_ascii_alphanumeric()
        && !before.iter().rev().take(ESCAPE).any(|byte| *byte == b'\\')
    {
        *last = if *last == b'x' { b'y' } else { b'x' };
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_corrupted_stays_json() {
        let check = |frame: &str, expected: &str| {
            assert_eq!(String::from_utf8(corrupted(frame.as_bytes())).as_deref(), Ok(expected));
        };
        check(r#"{"data":"ab"}"#, r#"{"data":"ax"}"#);
        check(r#"42["message",{"message":"ax"}]"#, r#"42["message",{"message":"ay"}]"#);
        check(r#"{"data":"\u00e4"}"#, r#"{"data":"\u00e4"}"#);
        check(r#"{"data":1}"#, r#"{"data":1}"#);
    }
}
