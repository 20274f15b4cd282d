//! What a judgement says.

use super::Cause;
use crate::{
    ledger::Tally,
    property::Property,
    series::Series,
    stats::{Latencies, Times},
    timeline::Phase,
};

/// All that the ledgers say together.
#[derive(Debug)]
pub struct Findings {
    /// Sums over the run.
    pub counts: Counts,
    /// By [`Property::ALL`]: how much was checked, and what was wrong.
    pub properties: Vec<(Property, u64, Tally)>,
    /// Sender's replica, receiver's replica and what went between them.
    pub pairs: Vec<Pair>,
    /// The run cut where faults began and ended.
    pub phases: Vec<PhaseFlow>,
    /// Why deliveries were missing, the greatest first.
    pub causes: Vec<Cause>,
    /// Missing deliveries that the contract does not allow, by fault of the timeline.
    pub lost_by_fault: Vec<u64>,
    /// The same by second of the run in which they were due.
    pub lost_by_second: Vec<u64>,
    /// Merged times.
    pub latencies: Latencies,
    /// The run second by second.
    pub series: Series,
    /// When the first and the last lost message were due, in microseconds of the run.
    pub lost_between_us: Option<(u64, u64)>,
    /// Whether expected, delivered and lost agree, as they were counted in different ways.
    pub sums_agree: bool,
}

/// Sums over work messages, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rooms into which no load was sent.
    pub quiet_rooms: u64,
    /// Messages sent.
    pub sent: u64,
    /// Of these acknowledged.
    pub acked: u64,
    /// Of these refused.
    pub refused: u64,
    /// Of these neither.
    pub unanswered: u64,
    /// Deliveries owed, or made where none was owed.
    pub expected: u64,
    /// Deliveries made, each once.
    pub delivered: u64,
    /// Deliveries owed and not made.
    pub lost: u64,
    /// Deliveries that were not made, and need not be under the contract.
    pub missed: u64,
    /// Of lost and missed: sent to a connected member, and nobody was told.
    pub silent: u64,
    /// Further copies, of all kinds of message.
    pub duplicated: u64,
    /// Copies that a new connection got of what an old one had, where the contract allows it.
    pub repeated: u64,
    /// Deliveries behind a later one of the same sender, of all kinds.
    pub reordered: u64,
    /// Damaged payloads, of all kinds.
    pub corrupted: u64,
    /// Deliveries in a room they do not belong to, or to no member, of all kinds.
    pub leaked: u64,
    /// Deliveries of what nobody sent or what was refused, of all kinds.
    pub created: u64,
    /// Deliveries after the deadline.
    pub late: u64,
    /// Fences and farewells sent.
    pub fences: u64,
    /// Messages of others in our rooms.
    pub foreign: u64,
    /// Messages that were due, and whose senders were cut off.
    pub skipped: u64,
    /// What went wrong while no fault was on and none had just been.
    pub calm: Calm,
    /// Sends that were acked and refused.
    pub contradicted: u64,
    /// Leaves that were never answered, on connections that lived.
    pub leaves_unanswered: u64,
    /// Resumes that the server confirmed.
    pub resumed: u64,
    /// Resumes that it did not confirm.
    pub not_resumed: u64,
    /// Gap notices that came.
    pub gap_notices: u64,
}

/// What went wrong though no fault can have done it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calm {
    /// Work messages refused.
    pub refused: u64,
    /// Work messages never answered.
    pub unanswered: u64,
    /// Work messages that nobody could send.
    pub skipped: u64,
    /// Connections that ended.
    pub cuts: u64,
}

/// What went from one replica to another.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The sender's replica.
    pub from: u16,
    /// The receiver's replica.
    pub to: u16,
    /// Deliveries owed.
    pub expected: u64,
    /// Deliveries not made, allowed or not.
    pub missing: u64,
    /// Delivery times.
    pub times: Times,
}

/// What went on in one phase.
#[derive(Clone, Debug, Default)]
pub struct PhaseFlow {
    /// Which.
    pub phase: Phase,
    /// Work messages due in it and sent.
    pub sent: u64,
    /// Of these acknowledged.
    pub acked: u64,
    /// Work messages due in it that nobody could send: their senders were cut off.
    pub skipped: u64,
    /// Deliveries owed, by sender's and receiver's replica.
    pub expected: Vec<u64>,
}
