//! Follows every message from its send to each member, as it happens; one ledger a worker.
//!
//! What can be seen in one delivery is judged at once: creation, duplication, integrity, isolation, order, membership.
//! What is missing is judged by [`crate::judge`] when the windows have closed. Memory grows with sends, reconnects and
//! with what is missing, never with deliveries.
//!
//! Not seen: a duplicate of a message whose stamp can't be read (it counts under integrity), and a message to all that
//! another worker never sent until the end of the run.

mod delivery;
mod session;
mod tally;

use std::{collections::BTreeMap, ops::Range};

use ws_wire::stamp::{Kind, Stamp};
use ws_workload::topology::Topology;

use crate::{
    contract::{Contract, Rules},
    history::{Event, Journal},
    log::{Log, NEVER, Outcome, Sent},
    series::Series,
    stats::{Latencies, Times},
};
pub use delivery::Arrival;
use session::Span;
pub use session::{Absence, Leave, Membership, Session};
pub(crate) use session::{Place, SpanEnd};
pub(crate) use tally::kind_name;
pub use tally::{Example, Tallies, Tally};

/// What a ledger has to know of its run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Setup {
    /// In every stamp of the run.
    pub run: u32,
    /// Which worker this is.
    pub worker: u32,
    /// Who is where.
    pub topology: Topology,
    /// Room names are this and the room's number.
    pub room_prefix: String,
    /// Whether anything is sent to all.
    pub follow_all: bool,
    /// The replicas by name, at most [`MAX_REPLICAS`].
    pub nodes: Vec<String>,
    /// A delivery later than this after the intended time counts as late, and less before the end of a connection it is
    /// not owed. Microseconds.
    pub deadline_us: u64,
    /// What the server is held to.
    pub rules: Rules,
    /// Whether every session knows the address of the replica that it began on.
    pub has_ways_back: bool,
}

/// The most replicas that a ledger can tell apart.
pub const MAX_REPLICAS: usize = 64;

/// One worker's part of the run: its rooms, their members, all that they sent and received.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Ledger {
    pub(crate) setup: Setup,
    pub(crate) rooms: Vec<Room>,
    pub(crate) sessions: Vec<Session>,
    /// One log a worker: the own one is whole, the others know only which message follows which.
    pub(crate) to_all: Vec<Log>,
    pub(crate) tallies: Tallies,
    pub(crate) counters: Counters,
    pub(crate) latencies: Latencies,
    pub(crate) series: Series,
    /// Work deliveries and their times by sender's and receiver's replica.
    pub(crate) pairs: Vec<Times>,
    /// By the second in which it was due.
    pub(crate) late: BTreeMap<u64, Late>,
    /// When work was due that nobody could send.
    pub(crate) skipped: Vec<u64>,
    /// By sender's and receiver's replica; empty until the end is fenced.
    pub(crate) probes: Vec<Probes>,
    /// Epochs in the order in which they were met.
    epochs: Vec<String>,
    #[serde(skip)]
    journal: Option<Journal>,
}

/// A room of this worker.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Room {
    /// Its name on the wire.
    pub name: String,
    /// Its members, as this worker's session numbers.
    pub members: Range<u32>,
    pub(crate) number: u32,
    pub(crate) log: Log,
}

/// Where a message goes, seen from its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The sender's room.
    Room,
    /// Everyone.
    All,
}

/// Deliveries after the deadline that were due in one second: whether that was a fault's doing is known at the end.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Late {
    pub(crate) count: u64,
    /// When the last of them came.
    pub(crate) came_us: u64,
    /// The first.
    pub(crate) example: Example,
}

/// Fences that were to go from one replica to another.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Probes {
    pub(crate) sent: u64,
    /// Of these the ones that did not arrive.
    pub(crate) missing: u64,
}

/// Plain sums.
#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Work deliveries, each once.
    pub delivered: u64,
    /// Of these later than the deadline.
    pub late: u64,
    /// Deliveries of all kinds that were judged.
    pub judged: u64,
    /// Of these the ones that name a message before.
    pub ordered: u64,
    /// Of these the ones with a position, where one order is proved.
    pub placed: u64,
    /// Of these the ones in answer to another, where causal order is proved.
    pub caused: u64,
    /// Second and further copies.
    pub duplicated: u64,
    /// Copies that a new connection got of what an old one had, without a resume: legal unless under `exactly-once`.
    pub repeated: u64,
    /// Requests to leave.
    pub leaves: u64,
    /// Leaves whose silence is watched.
    pub farewells: u64,
    /// Resumes that the server confirmed.
    pub resumed: u64,
    /// Resumes that it did not confirm.
    pub not_resumed: u64,
    /// Gap notices.
    pub notices: u64,
    /// Work that was refused.
    pub refused: u64,
    /// Sends that were acked and refused.
    pub contradicted: u64,
    /// Messages without our stamp or of another run.
    pub foreign: u64,
}

impl Setup {
    fn replicas(&self) -> u16 {
        u16::try_from(self.nodes.len()).expect("at most MAX_REPLICAS")
    }
}

impl Ledger {
    /// An empty ledger for the rooms of one worker.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut rooms = Vec::new();
        let mut sessions = Vec::new();
        let channels = if setup.follow_all { setup.topology.workers as usize } else { 0 };
        for number in setup.topology.rooms_of(setup.worker) {
            let first = index(sessions.len());
            let room = index(rooms.len());
            let members = setup.topology.members(number);
            sessions.extend(members.map(|number| Session::new(number, room, channels)));
            let name = format!("{}{number}", setup.room_prefix);
            rooms.push(Room { name, members: first..index(sessions.len()), number, log: Log::default() });
        }
        let pairs = setup.nodes.len() * setup.nodes.len();
        Self {
            rooms,
            sessions,
            to_all: (0..channels).map(|_| Log::default()).collect(),
            tallies: Tallies::default(),
            counters: Counters::default(),
            latencies: Latencies::default(),
            series: Series::default(),
            pairs: (0..pairs).map(|_| Times::coarse()).collect(),
            late: BTreeMap::new(),
            skipped: Vec::new(),
            probes: Vec::new(),
            epochs: Vec::new(),
            journal: None,
            setup,
        }
    }

    /// What it was made with.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// From now on everything is written down as well; [`Ledger::take_journal`] gives it away.
    pub fn keep_journal(&mut self) {
        self.journal = Some(Journal::default());
    }

    /// What was written down since the last call: lines of JSON.
    pub fn take_journal(&mut self) -> Vec<u8> {
        self.journal.as_mut().map(Journal::take).unwrap_or_default()
    }

    fn note(&mut self, event: &Event<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.write(self.setup.worker, event);
        }
    }

    /// The rooms, by this worker's numbers.
    #[must_use]
    pub fn rooms(&self) -> &[Room] {
        &self.rooms
    }

    /// The sessions, by this worker's numbers.
    #[must_use]
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// The times measured so far, to add to.
    pub fn latencies_mut(&mut self) -> &mut Latencies {
        &mut self.latencies
    }

    /// Work deliveries so far.
    #[must_use]
    pub fn delivered_count(&self) -> u64 {
        self.counters.delivered
    }

    /// Deliveries of all kinds so far.
    #[must_use]
    pub fn judged_count(&self) -> u64 {
        self.counters.judged
    }

    /// Messages sent by this worker's sessions, of all kinds.
    #[must_use]
    pub fn sent_count(&self, to: To) -> u64 {
        match to {
            To::Room => self.rooms.iter().map(|room| u64::from(room.log.len())).sum(),
            To::All => self.to_all.get(self.setup.worker as usize).map_or(0, |log| log.len().into()),
        }
    }

    /// Violations seen so far.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.tallies.violations()
    }

    /// `session` has a connection to `replica`.
    pub fn connected(&mut self, session: u32, replica: u16) {
        self.note(&Event::Connected { session, replica });
        let session = &mut self.sessions[session as usize];
        session.replica = replica;
        session.connected = true;
        session.is_new_connection = true;
        session.in_room.reconnect();
        session.to_all.reconnect();
    }

    /// The connection of `session` is over; `heard_us` is its last proof of life.
    pub fn cut(&mut self, session: u32, heard_us: u64) {
        self.note(&Event::Cut { session, heard_us });
        let session = &mut self.sessions[session as usize];
        session.connected = false;
        session.end_span(match session.membership {
            Membership::Leaving(leave) => SpanEnd::Left(Leave { at_us: leave.at_us.min(heard_us), ..leave }),
            _ => SpanEnd::Cut { heard_us },
        });
        session.end_connection(heard_us);
        session.membership = Membership::Outside;
    }

    /// `session` asked to join its room.
    pub fn join_invoked(&mut self, session: u32) {
        self.note(&Event::JoinInvoked { session });
        let asked_at = self.rooms[self.sessions[session as usize].room as usize].log.len();
        let session = &mut self.sessions[session as usize];
        session.asked_at = asked_at;
        session.membership = Membership::Joining;
    }

    /// The join of `session` was acknowledged; `recovered` and `all_recovered` are the answers to a resume of its room
    /// and of the messages to all, where it asked for them.
    pub fn joined(
        &mut self,
        session: u32,
        recovered: Option<bool>,
        all_recovered: Option<bool>,
        now_us: u64,
    ) {
        self.note(&Event::Joined { session, recovered, all_recovered, now_us });
        let session = &mut self.sessions[session as usize];
        if session.membership != Membership::Joining {
            return;
        }
        session.membership = Membership::Member;
        match recovered {
            Some(true) => self.counters.resumed += 1,
            Some(false) => self.counters.not_resumed += 1,
            None => {}
        }
        let is_new = std::mem::take(&mut session.is_new_connection) && !session.spans.is_empty();
        if is_new && self.setup.rules.contract != Contract::ExactlyOnce {
            if recovered != Some(true) {
                session.fresh_from = session.asked_at;
            }
            if all_recovered != Some(true) {
                session.fresh_of_all_us = now_us;
            }
        }
        // Most sessions have one membership, and there are many sessions.
        session.spans.reserve_exact(1);
        session.spans.push(Span {
            replica: session.replica,
            joined_us: now_us,
            from: self.rooms[session.room as usize].log.len(),
            recovered,
            all_recovered,
            end: SpanEnd::Open,
            gone_us: None,
        });
    }

    /// `session` asked to leave: what was due until now is owed to it, the rest is not. Behind a fence (`now_us` is
    /// [`NEVER`]) everything that was sent is due.
    pub fn leave_invoked(&mut self, session: u32, now_us: u64) {
        self.counters.leaves += 1;
        self.note(&Event::LeaveInvoked { session, now_us });
        let until = self.rooms[self.sessions[session as usize].room as usize].log.len();
        self.sessions[session as usize].membership = Membership::Leaving(Leave { until, at_us: now_us });
    }

    /// The leave of `session` was acknowledged.
    pub fn left(&mut self, session: u32) {
        self.note(&Event::Left { session });
        let session = &mut self.sessions[session as usize];
        if let Membership::Leaving(leave) = session.membership {
            session.membership = Membership::Left;
            session.end_span(SpanEnd::Left(leave));
            self.counters.farewells += 1;
        }
    }

    /// The server told `session` that messages of its room, or to all, may be missing.
    pub fn told_of_gap(&mut self, session: u32, to: To, now_us: u64) {
        self.note(&Event::ToldOfGap { session, all: to == To::All, now_us });
        self.counters.notices += 1;
        let until = self.rooms[self.sessions[session as usize].room as usize].log.len();
        let session = &mut self.sessions[session as usize];
        match to {
            To::Room => session.notice(until, now_us),
            To::All => session.notice_of_all(now_us),
        }
    }

    /// A message was due, and its sender had no connection or was out of its room.
    pub fn skipped(&mut self, due_us: u64) {
        self.note(&Event::Skipped { due_us });
        self.skipped.push(due_us);
    }

    /// The fences are through, or patience is at its end: what of them arrived is what P13 is judged by.
    pub fn fenced(&mut self) {
        self.note(&Event::Fenced);
        let nodes = self.setup.nodes.len();
        let mut probes = vec![Probes::default(); nodes * nodes];
        for room in 0..index(self.rooms.len()) {
            let from: Vec<u16> = self.open_members(room).map(|session| session.replica).collect();
            for receiver in self.open_members(room) {
                for &from in &from {
                    let pair = &mut probes[usize::from(from) * nodes + usize::from(receiver.replica)];
                    pair.sent += 1;
                    pair.missing += u64::from(receiver.in_room.fences & bit(from) == 0);
                }
            }
        }
        self.probes = probes;
    }

    /// So many connections of this worker are open.
    pub fn open(&mut self, connections: u32, now_us: u64) {
        self.series.at(now_us).open = connections;
    }

    /// The stamp of a message that `session` sends at this moment, and that was due at `intended_us`.
    pub fn send(&mut self, session: u32, to: To, kind: Kind, intended_us: u64, now_us: u64) -> Stamp {
        self.note(&Event::Send {
            session,
            all: to == To::All,
            kind: kind as u8,
            due_us: intended_us,
            now_us,
        });
        let sender = &mut self.sessions[session as usize];
        let (log, flow, room) = match to {
            To::Room => {
                let room = &mut self.rooms[sender.room as usize];
                (&mut room.log, &mut sender.in_room, room.number)
            }
            To::All => {
                let worker = self.setup.worker;
                (&mut self.to_all[worker as usize], &mut sender.to_all, Stamp::ALL | worker)
            }
        };
        let sent = Sent {
            intended_us,
            committed_us: NEVER,
            sender: sender.number,
            delivered: 0,
            replica: sender.replica,
            outcome: Outcome::Info,
            kind,
        };
        let previous = flow.last;
        let index = log.push(sent, previous);
        let seq = flow.sent;
        flow.last = index;
        flow.sent += 1;
        flow.unanswered += 1;
        if kind == Kind::Work {
            self.latencies.schedule_lag.record(now_us.saturating_sub(intended_us));
            self.series.at(intended_us).sent += 1;
        }
        let cause = if to == To::Room { sender.latest } else { Stamp::NONE };
        let (run, sender, replica) = (self.setup.run, sender.number, sender.replica);
        Stamp { run, sender, room, seq, index, previous, cause, replica, kind, intended_us }
    }

    /// The server took responsibility for `session`'s message.
    pub fn acked(&mut self, session: u32, to: To, index: u32, now_us: u64) {
        self.note(&Event::Acked { session, all: to == To::All, index, now_us });
        let Some(sent) = self.answered(session, to, index) else { return };
        if sent.outcome == Outcome::Ok {
            return;
        }
        sent.outcome = Outcome::Ok;
        sent.committed_us = sent.committed_us.min(now_us);
        let Sent { kind, intended_us, .. } = *sent;
        if kind == Kind::Work {
            self.latencies.ack.record(now_us.saturating_sub(intended_us));
            self.series.at(intended_us).acked += 1;
        }
    }

    /// The server refused `session`'s message, and promises that nobody gets it.
    pub fn refused(&mut self, session: u32, to: To, index: u32) {
        self.note(&Event::Refused { session, all: to == To::All, index });
        match self.answered(session, to, index) {
            // It took responsibility: that can't be taken back.
            Some(sent) if sent.outcome == Outcome::Ok => self.counters.contradicted += 1,
            Some(sent) => {
                let is_new = sent.kind == Kind::Work && sent.outcome != Outcome::Fail;
                sent.outcome = Outcome::Fail;
                self.counters.refused += u64::from(is_new);
            }
            None => {}
        }
    }

    fn answered(&mut self, session: u32, to: To, index: u32) -> Option<&mut Sent> {
        let sender = &mut self.sessions[session as usize];
        let (log, flow) = match to {
            To::Room => (&mut self.rooms[sender.room as usize].log, &mut sender.in_room),
            To::All => (&mut self.to_all[self.setup.worker as usize], &mut sender.to_all),
        };
        flow.unanswered = flow.unanswered.saturating_sub(1);
        log.get_mut(index)
    }

    /// The replicas (as bits) whose fence some open member of `room` still waits for, of those that have one to send it.
    #[must_use]
    pub fn fences_missing(&self, room: u32) -> u64 {
        let open = || self.open_members(room);
        let wanted = open().fold(0, |mask, session| mask | bit(session.replica));
        open().fold(0, |missing, session| missing | wanted & !session.in_room.fences)
    }

    /// Whether every open session has the fences to all of these bits: worker times replicas plus replica.
    #[must_use]
    pub fn has_fences_to_all(&self, wanted: u64) -> bool {
        self.sessions.iter().filter(|s| s.connected).all(|s| s.to_all.fences & wanted == wanted)
    }

    /// Whether every open member of `room` has all messages in it whose outcome is one of `outcomes`, and that it is
    /// owed.
    #[must_use]
    pub fn is_complete(&self, room: u32, outcomes: &[Outcome]) -> bool {
        let log = &self.rooms[room as usize].log;
        let Setup { deadline_us, rules, .. } = self.setup;
        let is_owed = |session: &Session, index: u32| {
            log.get(index).is_some_and(|sent| {
                outcomes.contains(&sent.outcome)
                    && !session.absence(index, sent, deadline_us).is_allowed(rules.contract)
            })
        };
        self.open_members(room)
            .all(|session| !session.received.missing(log.len()).any(|index| is_owed(session, index)))
    }

    /// The members of `room` that are joined and connected.
    pub fn open_members(&self, room: u32) -> impl Iterator<Item = &Session> {
        let members = self.rooms[room as usize].members.clone();
        self.sessions[members.start as usize..members.end as usize]
            .iter()
            .filter(|session| session.is_member())
    }
}

/// A replica among the fences of a room.
pub(crate) fn bit(replica: u16) -> u64 {
    1 << (u32::from(replica) % u64::BITS)
}

fn index(len: usize) -> u32 {
    u32::try_from(len).expect("connections are counted in 32 bits")
}
