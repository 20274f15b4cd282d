//! The history of a run as lines of JSON, and the way back: whoever replays it gets the same ledgers.
//!
//! A line is one call of a ledger's, with the worker whose ledger it was: `{"w":0,"e":"acked","session":7,...}`. The
//! ledger writes them itself, so a history can't tell another story than the run. `ws-history/1`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use ws_wire::{
    message::{PositionRef, Target},
    stamp::{Damage, Kind, Stamp},
};

use crate::{
    ledger::{Arrival, Ledger, Setup, To},
    timeline::Timeline,
    verdict::Facts,
};

/// The schema that the first line names.
pub const SCHEMA: &str = "ws-history/1";

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub history: String,
    /// One a worker, in their order.
    pub setups: Vec<Setup>,
}

/// The last line: what is not seen in messages. Without it a run was broken off.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Footer {
    /// When faults were on.
    pub timeline: Timeline,
    /// What else was known.
    pub facts: Facts,
    /// The report, as the run wrote it.
    pub report: serde_json::Value,
}

/// One call. Times are microseconds of the run, sessions the worker's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is a method of the ledger, with its arguments")]
pub enum Event<'a> {
    Connected { session: u32, replica: u16 },
    Cut { session: u32, heard_us: u64 },
    JoinInvoked { session: u32 },
    Joined { session: u32, recovered: Option<bool>, all_recovered: Option<bool>, now_us: u64 },
    LeaveInvoked { session: u32, now_us: u64 },
    Left { session: u32 },
    ToldOfGap { session: u32, all: bool, now_us: u64 },
    Fenced,
    Skipped { due_us: u64 },
    Send { session: u32, all: bool, kind: u8, due_us: u64, now_us: u64 },
    Acked { session: u32, all: bool, index: u32, now_us: u64 },
    Refused { session: u32, all: bool, index: u32 },
    Delivered(Box<Delivered<'a>>),
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of an arrival and its stamp")]
pub struct Delivered<'a> {
    pub session: u32,
    pub now_us: u64,
    /// None for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stamp: Option<StampFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<(Cow<'a, str>, u64)>,
}

/// A stamp as run, sender, room, seq, index, previous, cause, replica, kind and intended time.
pub type StampFields = (u32, u32, u32, u32, u32, u32, u32, u16, u8, u64);

/// A line of a history.
#[derive(Debug, Deserialize)]
struct Line {
    /// The worker.
    w: u32,
    #[serde(flatten)]
    event: Event<'static>,
}

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Journal(Vec<u8>);

/// Why a history can't be judged.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HistoryError(String);

impl Journal {
    pub(crate) fn write(&mut self, worker: u32, event: &Event<'_>) {
        let line = LineRef { w: worker, event };
        serde_json::to_writer(&mut self.0, &line).expect("an event is always JSON");
        self.0.push(b'\n');
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

#[derive(Serialize)]
struct LineRef<'a> {
    w: u32,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

impl<'a> Event<'a> {
    pub(crate) fn delivered(session: u32, arrival: &Arrival<'a>, now_us: u64) -> Self {
        let (stamp, damage) = match arrival.stamp {
            Ok(stamp) => (Some(stamp), None),
            Err(Damage::Payload(stamp)) => (Some(stamp), Some("payload")),
            Err(Damage::Unreadable) => (None, Some("unreadable")),
            Err(Damage::Foreign) => (None, Some("foreign")),
        };
        Self::Delivered(Box::new(Delivered {
            session,
            now_us,
            room: match arrival.target {
                Target::Room(room) => Some(Cow::Borrowed(room)),
                Target::All => None,
            },
            stamp: stamp.map(fields),
            damage: damage.map(Cow::Borrowed),
            position: arrival.position.map(|position| (Cow::Borrowed(position.epoch), position.offset)),
        }))
    }

    /// Makes the call.
    fn replay(&self, ledger: &mut Ledger) -> Result<(), HistoryError> {
        if let Some(session) = self.session().filter(|session| *session as usize >= ledger.sessions().len()) {
            return Err(HistoryError(format!("there is no session {session}")));
        }
        let to = |all: bool| if all { To::All } else { To::Room };
        match self {
            &Self::Connected { session, replica } => ledger.connected(session, replica),
            &Self::Cut { session, heard_us } => ledger.cut(session, heard_us),
            &Self::JoinInvoked { session } => ledger.join_invoked(session),
            &Self::Joined { session, recovered, all_recovered, now_us } => {
                ledger.joined(session, recovered, all_recovered, now_us);
            }
            &Self::LeaveInvoked { session, now_us } => ledger.leave_invoked(session, now_us),
            &Self::Left { session } => ledger.left(session),
            Self::Fenced => ledger.fenced(),
            &Self::Skipped { due_us } => ledger.skipped(due_us),
            &Self::ToldOfGap { session, all, now_us } => ledger.told_of_gap(session, to(all), now_us),
            &Self::Send { session, all, kind, due_us, now_us } => {
                ledger.send(session, to(all), kind_of(kind)?, due_us, now_us);
            }
            &Self::Acked { session, all, index, now_us } => ledger.acked(session, to(all), index, now_us),
            &Self::Refused { session, all, index } => ledger.refused(session, to(all), index),
            Self::Delivered(delivered) => {
                ledger.delivered(delivered.session, delivered.arrival()?, delivered.now_us);
            }
        }
        Ok(())
    }

    fn session(&self) -> Option<u32> {
        match self {
            Self::Fenced | Self::Skipped { .. } => None,
            Self::Connected { session, .. }
            | Self::Cut { session, .. }
            | Self::JoinInvoked { session }
            | Self::Joined { session, .. }
            | Self::LeaveInvoked { session, .. }
            | Self::Left { session }
            | Self::ToldOfGap { session, .. }
            | Self::Send { session, .. }
            | Self::Acked { session, .. }
            | Self::Refused { session, .. } => Some(*session),
            Self::Delivered(delivered) => Some(delivered.session),
        }
    }
}

impl Delivered<'_> {
    fn arrival(&self) -> Result<Arrival<'_>, HistoryError> {
        let stamp = self.stamp.map(stamp).transpose()?;
        let stamp = match (stamp, self.damage.as_deref()) {
            (Some(stamp), None) => Ok(stamp),
            (Some(stamp), Some(_)) => Err(Damage::Payload(stamp)),
            (None, Some("foreign")) => Err(Damage::Foreign),
            (None, _) => Err(Damage::Unreadable),
        };
        let target = self.room.as_deref().map_or(Target::All, Target::Room);
        let position = self.position.as_ref().map(|(epoch, offset)| PositionRef { epoch, offset: *offset });
        Ok(Arrival { target, stamp, position })
    }
}

/// Replays the lines of a history. The ledgers are in the order of their workers; the footer is there if the run ended.
///
/// # Errors
/// Not a history of this version, or a line that makes no sense; it is named by its number.
pub fn replay(
    mut lines: impl Iterator<Item = impl AsRef<str>>,
) -> Result<(Vec<Ledger>, Option<Footer>), HistoryError> {
    let first = lines.next().ok_or_else(|| HistoryError("it is empty".into()))?;
    let header: Header = serde_json::from_str(first.as_ref())
        .map_err(|error| HistoryError(format!("line 1 is no header: {error}")))?;
    if header.history != SCHEMA {
        let why = format!("it is a {:?}; this version reads {SCHEMA}", header.history);
        return Err(HistoryError(why));
    }
    let mut ledgers: Vec<Ledger> = header.setups.into_iter().map(Ledger::new).collect();
    if ledgers.is_empty() {
        return Err(HistoryError("line 1 names no worker".into()));
    }
    for (number, text) in (2..).zip(lines) {
        let text = text.as_ref();
        let wrong = |why: String| HistoryError(format!("line {number}: {why}"));
        if text.starts_with(r#"{"timeline""#) {
            let footer = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
            return Ok((ledgers, Some(footer)));
        }
        let line: Line = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let ledger = ledgers
            .get_mut(line.w as usize)
            .ok_or_else(|| wrong(format!("there is no worker {}", line.w)))?;
        line.event.replay(ledger).map_err(|HistoryError(why)| wrong(why))?;
    }
    Ok((ledgers, None))
}

fn fields(stamp: Stamp) -> StampFields {
    let Stamp { run, sender, room, seq, index, previous, cause, replica, kind, intended_us } = stamp;
    (run, sender, room, seq, index, previous, cause, replica, kind as u8, intended_us)
}

fn stamp(fields: StampFields) -> Result<Stamp, HistoryError> {
    let (run, sender, room, seq, index, previous, cause, replica, kind, intended_us) = fields;
    let kind = kind_of(kind)?;
    Ok(Stamp { run, sender, room, seq, index, previous, cause, replica, kind, intended_us })
}

fn kind_of(number: u8) -> Result<Kind, HistoryError> {
    match number {
        0 => Ok(Kind::Work),
        1 => Ok(Kind::Fence),
        2 => Ok(Kind::Farewell),
        _ => Err(HistoryError(format!("there is no kind {number}"))),
    }
}
