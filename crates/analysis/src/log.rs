//! What was sent into one room (or by one worker to all), in the order of sending.

use ws_wire::stamp::{Kind, Stamp};

use crate::ledger::Place;

/// The sends of one room; the position in it is the stamp's `index`.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Log {
    sent: Vec<Sent>,
    /// For each index that of the same sender's next message, [`Stamp::NONE`] while there is none.
    next: Vec<u32>,
    /// Where each stands in the broker's order; only as long as somebody asks.
    places: Vec<Option<Place>>,
}

/// One send: 32 bytes a message.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Sent {
    /// When it was due, in microseconds of the run.
    pub intended_us: u64,
    /// When it was known to be accepted: the ack or the first delivery, whichever came first.
    pub committed_us: u64,
    /// Session number.
    pub sender: u32,
    /// Members of its room that have it; of messages to all those of this worker.
    pub delivered: u32,
    /// The sender's replica.
    pub replica: u16,
    /// What the server said.
    pub outcome: Outcome,
    /// What it is for.
    pub kind: Kind,
}

/// Jepsen's ok, fail and info.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    /// Neither: it may have happened or not.
    Info,
    /// Acknowledged.
    Ok,
    /// Refused: it must not be delivered.
    Fail,
}

/// No time: [`Sent::committed_us`] of what no one has acknowledged or delivered.
pub const NEVER: u64 = u64::MAX;

impl Log {
    /// Messages so far.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.sent.len()).expect("a scenario has fewer messages")
    }

    /// Whether nothing was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Appends a send; `previous` is the sender's message before.
    pub fn push(&mut self, sent: Sent, previous: u32) -> u32 {
        let index = self.len();
        self.sent.push(sent);
        self.link(previous, index);
        index
    }

    /// Notes that `index` follows `previous` from the same sender.
    pub fn link(&mut self, previous: u32, index: u32) {
        if previous != Stamp::NONE {
            let place = previous as usize;
            if self.next.len() <= place {
                self.next.resize(place + 1, Stamp::NONE);
            }
            self.next[place] = index;
        }
    }

    /// The same sender's next message.
    #[must_use]
    pub fn next(&self, index: u32) -> Option<u32> {
        self.next.get(index as usize).copied().filter(|&next| next != Stamp::NONE)
    }

    /// Notes where `index` stands in the broker's order; false if it was seen elsewhere before.
    pub(crate) fn place(&mut self, index: u32, place: Place) -> bool {
        let at = index as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        *self.places[at].get_or_insert(place) == place
    }

    /// The send with this index.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Sent> {
        self.sent.get(index as usize)
    }

    /// The send with this index.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Sent> {
        self.sent.get_mut(index as usize)
    }

    /// All sends with their index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Sent)> {
        (0..).zip(&self.sent)
    }
}
