//! What a switch holds back: for each member at most one message of one room, and what must not overtake it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use super::{Bug, hooks::sender};
use crate::{broker::Publication, outbox::Outbox};

/// The longest that a delivery waits to be overtaken.
const OVERTAKEN: Duration = Duration::from_millis(1500);

/// How long a late one is late.
const LATE: Duration = Duration::from_secs(3);

/// By receiver's number.
#[derive(Default)]
pub(super) struct Holding(Mutex<HashMap<u64, Held>>);

struct Held {
    why: Bug,
    to: Arc<Outbox>,
    from: String,
    channel: String,
    frames: Vec<Vec<u8>>,
    since: Instant,
}

impl Holding {
    /// Holds a delivery back.
    pub(super) fn hold(
        &self,
        why: Bug,
        publication: &Publication,
        frame: &[u8],
        to: &Arc<Outbox>,
        from: &str,
    ) {
        let held = Held {
            why,
            to: to.clone(),
            from: from.to_owned(),
            channel: publication.channel.clone(),
            frames: vec![frame.to_vec()],
            since: Instant::now(),
        };
        // What waited already must not be lost.
        self.lock().insert(to.number, held).iter().for_each(Held::release);
    }

    /// Whether a delivery was taken care of here: it waits too, or was what another one waited for.
    pub(super) fn takes(&self, publication: &Publication, frame: &[u8], to: &Arc<Outbox>) -> bool {
        let mut all = self.lock();
        let Some(held) = all.get_mut(&to.number).filter(|held| held.channel == publication.channel) else {
            return false;
        };
        let same_sender = sender(&publication.text) == Some(&held.from);
        let overtakes = match held.why {
            Bug::Swap => same_sender,
            Bug::WrongOrder => !same_sender,
            _ => false,
        };
        if overtakes {
            to.push(frame);
            held.release();
            all.remove(&to.number);
        } else if held.why == Bug::Swap {
            return false;
        } else {
            held.frames.push(frame.to_vec());
        }
        true
    }

    /// Lets go of what was held too long.
    pub(super) fn sweep(&self) {
        self.lock().retain(|_, held| {
            let keep = held.since.elapsed() < if held.why == Bug::Late { LATE } else { OVERTAKEN };
            if !keep {
                held.release();
            }
            keep
        });
    }

    /// Lets go of what `member` has to get before it leaves.
    pub(super) fn release(&self, member: u64, channel: &str) {
        let mut all = self.lock();
        if all.get(&member).is_some_and(|held| held.channel == channel) {
            all.remove(&member).iter().for_each(Held::release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Held>> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

impl Held {
    fn release(&self) {
        self.frames.iter().for_each(|frame| self.to.push(frame));
    }
}
