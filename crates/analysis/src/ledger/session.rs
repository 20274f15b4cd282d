//! A session: one logical client with its connections, one after another, and what it is owed.

use ws_wire::stamp::Stamp;

use crate::{contract::Contract, log::Sent, received::Received};

/// A member of a room.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Session {
    /// Its number in the run.
    pub number: u32,
    /// Its room, as this worker's room number.
    pub room: u32,
    /// The replica that said hello last.
    pub replica: u16,
    /// Whether it has a connection.
    pub connected: bool,
    /// What it is of its room.
    pub membership: Membership,
    /// Its memberships, in order.
    pub(crate) spans: Vec<Span>,
    /// Where the server said that something of the room may be missing, and of the messages to all.
    pub(crate) notices: Vec<Notice>,
    pub(crate) notices_of_all: Vec<Notice>,
    /// When the last delivery of the room and the last to all came, in microseconds of the run.
    pub(super) heard_us: u64,
    pub(super) heard_of_all_us: u64,
    /// How long the room's log was when the join that counts was asked for.
    pub(super) asked_at: u32,
    /// Its connection is another than that of its last membership.
    pub(super) is_new_connection: bool,
    /// What was sent before this may come again, for it is another connection's: only without a resume.
    pub(super) fresh_from: u32,
    /// The same of messages to all, by the time at which they were due.
    pub(super) fresh_of_all_us: u64,
    /// The last message that came, as the room's index: what it sends next may be in answer to that.
    pub(super) latest: u32,
    /// Where the last message that came stood in the room's order.
    pub(super) place: Option<Place>,
    /// Messages (cause, index) that came before the one they answer.
    pub(super) early: Vec<(u32, u32)>,
    pub(crate) in_room: Flow,
    pub(crate) to_all: Flow,
    pub(crate) received: Received,
    /// One for each worker, if anything goes to all.
    pub(crate) received_all: Box<[Received]>,
}

/// A session's own sends and the fences it has seen, in its room or to all.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Flow {
    pub(super) sent: u32,
    pub(super) last: u32,
    /// Sends without an answer.
    pub(super) unanswered: u32,
    /// A bit for each replica (to all: worker and replica) from which a fence came.
    pub(crate) fences: u64,
}

/// A session's relation to its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Membership {
    /// Never asked, or cut off.
    Outside,
    /// Asked to join, no answer yet.
    Joining,
    /// From the ack of the join.
    Member,
    /// From the request to leave.
    Leaving(Leave),
    /// From the ack of the leave.
    Left,
}

/// One membership, from the ack of its join.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Span {
    pub(crate) replica: u16,
    pub(crate) joined_us: u64,
    /// How long the room's log was at the ack: what was sent later is owed.
    pub(crate) from: u32,
    /// Of a join that asked to resume: whether the server said that all follows.
    pub(crate) recovered: Option<bool>,
    /// The same for messages to all.
    pub(crate) all_recovered: Option<bool>,
    pub(crate) end: SpanEnd,
    /// The last proof of life of its connection, once that is over: messages to all go on after a leave.
    pub(crate) gone_us: Option<u64>,
}

/// How a membership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum SpanEnd {
    /// It lasted to the end of the run.
    Open,
    /// With the connection, whose last proof of life was then.
    Cut { heard_us: u64 },
    /// With a leave.
    Left(Leave),
}

/// A request to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Leave {
    /// So many messages had been sent into the room: later ones are not owed.
    pub(crate) until: u32,
    /// When it was asked for, in microseconds of the run: what was not due by then is not owed either.
    pub(crate) at_us: u64,
}

/// The server said that something before this may be missing.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Notice {
    /// When the last delivery before it came.
    since_us: u64,
    /// When it came itself.
    until_us: u64,
    /// How long the log was then; not known of messages to all.
    until: u32,
}

/// A place in a room's order; epochs are numbered as they are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, serde::Serialize, serde::Deserialize)]
pub(crate) struct Place {
    pub(crate) epoch: u16,
    pub(crate) offset: u64,
}

/// Whether a message that did not come was owed, and how its absence shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Absence {
    /// It was not owed.
    None,
    /// Sent to a connected member, and nobody was told.
    Silent,
    /// Sent to a connected member, and a gap notice covers it.
    Told,
    /// Sent while the session had no connection, and the resume was refused or not asked for.
    Away,
    /// Sent while the session had no connection, and the server said that it would come.
    Promised,
}

impl Absence {
    /// As in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Silent => "connected",
            Self::Told => "told",
            Self::Away => "away",
            Self::Promised => "recovered",
        }
    }

    /// Whether `contract` lets it be. A promise binds under all of them.
    #[must_use]
    pub fn is_allowed(self, contract: Contract) -> bool {
        match (self, contract) {
            (Self::None, _) => true,
            (Self::Promised, _) | (_, Contract::ExactlyOnce) => false,
            (Self::Told | Self::Away, _) => true,
            (Self::Silent, contract) => contract == Contract::AtMostOnce,
        }
    }
}

impl Session {
    pub(super) fn new(number: u32, room: u32, channels: usize) -> Self {
        let flow = || Flow { sent: 0, last: Stamp::NONE, unanswered: 0, fences: 0 };
        Self {
            number,
            room,
            replica: 0,
            connected: false,
            membership: Membership::Outside,
            spans: Vec::new(),
            notices: Vec::new(),
            notices_of_all: Vec::new(),
            heard_us: 0,
            heard_of_all_us: 0,
            asked_at: 0,
            is_new_connection: false,
            fresh_from: 0,
            fresh_of_all_us: 0,
            latest: Stamp::NONE,
            place: None,
            early: Vec::new(),
            in_room: flow(),
            to_all: flow(),
            received: Received::default(),
            received_all: vec![Received::default(); channels].into(),
        }
    }

    /// Whether it is joined and connected.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.connected && self.membership == Membership::Member
    }

    /// Whether it was a member, was cut off and did not come back.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.spans.last().is_some_and(|span| matches!(span.end, SpanEnd::Cut { .. }))
    }

    /// Its returns after it was cut off: the last proof of life before, and the ack of the join.
    pub(crate) fn returns(&self) -> impl Iterator<Item = (u64, u64)> {
        self.spans.windows(2).filter_map(|pair| match pair[0].end {
            SpanEnd::Cut { heard_us } => Some((heard_us, pair[1].joined_us)),
            _ => None,
        })
    }

    /// When its connections ended that were cut off.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = u64> {
        self.spans.iter().filter_map(|span| match span.end {
            SpanEnd::Cut { heard_us } => Some(heard_us),
            _ => None,
        })
    }

    /// Whether it asked to leave, and was never answered though its connection lived.
    pub(crate) fn waits_to_leave(&self) -> bool {
        self.connected && matches!(self.membership, Membership::Leaving(_))
    }

    /// Memberships so far: more than one after a reconnect or a leave.
    #[must_use]
    pub fn memberships(&self) -> usize {
        self.spans.len()
    }

    /// The absence of a message of its room that never came.
    pub(crate) fn absence(&self, index: u32, sent: &Sent, deadline_us: u64) -> Absence {
        let next = self.spans.partition_point(|span| span.from <= index);
        let Some(span) = next.checked_sub(1).map(|place| &self.spans[place]) else { return Absence::None };
        match self.end_of(span) {
            SpanEnd::Left(leave) if index >= leave.until => Absence::None,
            SpanEnd::Left(leave) if !is_due(sent, deadline_us, leave.at_us) => Absence::None,
            SpanEnd::Cut { heard_us } if !is_due(sent, deadline_us, heard_us) => {
                match away(&self.spans[next..], deadline_us, |span| span.recovered) {
                    Absence::Promised if self.is_told(index, sent, deadline_us) => Absence::Told,
                    absence => absence,
                }
            }
            _ if self.is_told(index, sent, deadline_us) => Absence::Told,
            _ => Absence::Silent,
        }
    }

    /// The absence of a message to all: its own worker counts it, so only time tells when it was sent, by a clock that may
    /// be `apart_us` from ours.
    pub(crate) fn absence_of_all(&self, sent: &Sent, deadline_us: u64, apart_us: u64) -> Absence {
        let next =
            self.spans.partition_point(|span| span.joined_us.saturating_add(apart_us) <= sent.intended_us);
        let Some(span) = next.checked_sub(1).map(|place| &self.spans[place]) else { return Absence::None };
        match span.gone_us {
            Some(heard_us) if !is_due(sent, deadline_us, heard_us) => {
                match away(&self.spans[next..], deadline_us, |span| span.all_recovered) {
                    Absence::Promised if self.is_told_of_all(sent, deadline_us) => Absence::Told,
                    absence => absence,
                }
            }
            _ if self.is_told_of_all(sent, deadline_us) => Absence::Told,
            _ => Absence::Silent,
        }
    }

    /// The replica that a message with this index was to reach it on.
    pub(crate) fn replica_at(&self, index: u32) -> u16 {
        let next = self.spans.partition_point(|span| span.from <= index);
        self.spans.get(next.saturating_sub(1)).map_or(self.replica, |span| span.replica)
    }

    /// The replica that a message of this time was to reach it on.
    pub(crate) fn replica_at_time(&self, us: u64) -> u16 {
        let next = self.spans.partition_point(|span| span.joined_us <= us);
        self.spans.get(next.saturating_sub(1)).map_or(self.replica, |span| span.replica)
    }

    pub(super) fn notice(&mut self, until: u32, until_us: u64) {
        self.notices.push(Notice { since_us: self.heard_us, until_us, until });
    }

    pub(super) fn notice_of_all(&mut self, until_us: u64) {
        self.notices_of_all.push(Notice { since_us: self.heard_of_all_us, until_us, until: u32::MAX });
    }

    /// A leave that was not acked yet counts from when it was asked for.
    fn end_of(&self, span: &Span) -> SpanEnd {
        match (span.end, self.membership) {
            (SpanEnd::Open, Membership::Leaving(leave)) => SpanEnd::Left(leave),
            (end, _) => end,
        }
    }

    fn is_told(&self, index: u32, sent: &Sent, deadline_us: u64) -> bool {
        let covers = |notice: &Notice| {
            index < notice.until && sent.committed_us.saturating_add(deadline_us) >= notice.since_us
        };
        self.notices.iter().any(covers)
    }

    fn is_told_of_all(&self, sent: &Sent, deadline_us: u64) -> bool {
        let covers = |notice: &Notice| {
            sent.intended_us <= notice.until_us
                && sent.committed_us.saturating_add(deadline_us) >= notice.since_us
        };
        self.notices_of_all.iter().any(covers)
    }

    pub(super) fn end_span(&mut self, end: SpanEnd) {
        if let Some(span) = self.spans.last_mut().filter(|span| span.end == SpanEnd::Open) {
            span.end = end;
        }
    }

    pub(super) fn end_connection(&mut self, heard_us: u64) {
        if let Some(span) = self.spans.last_mut() {
            span.gone_us.get_or_insert(heard_us);
        }
    }
}

impl Flow {
    /// A new connection: what follows is in order behind what went before only if all of that was answered. What was
    /// not may still be on its way.
    pub(super) fn reconnect(&mut self) {
        if std::mem::take(&mut self.unanswered) > 0 {
            self.last = Stamp::NONE;
        }
    }
}

/// Whether it had to be there before the last proof of life.
fn is_due(sent: &Sent, deadline_us: u64, heard_us: u64) -> bool {
    sent.committed_us.saturating_add(deadline_us) < heard_us
}

/// What was sent before `later` memberships and after the last proof of life before them. A promise binds whoever made
/// it: one whose connection ended before it had to be kept leaves it to the next.
fn away(later: &[Span], deadline_us: u64, recovered: impl Fn(&Span) -> Option<bool>) -> Absence {
    for span in later {
        match (recovered(span), span.gone_us) {
            (Some(true), Some(gone_us)) if gone_us <= span.joined_us.saturating_add(deadline_us) => {}
            (Some(true), _) => return Absence::Promised,
            _ => return Absence::Away,
        }
    }
    Absence::None
}
