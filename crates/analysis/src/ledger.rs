//! Follows every message from its send to each member, as it happens; one ledger a worker.
//!
//! What can be seen in one delivery is judged at once: creation, duplication, integrity, isolation, order, membership.
//! What is missing is judged by [`crate::judge`] when the windows have closed. Memory grows with sends and with what is
//! missing, never with deliveries.
//!
//! Not seen: a duplicate of a message whose stamp can't be read (it counts under integrity), and a message to all that
//! another worker never sent until the end of the run.

mod tally;

use std::ops::Range;

use ws_wire::{
    message::Target,
    stamp::{Damage, Kind, Stamp},
};
use ws_workload::topology::Topology;

use crate::{
    log::{Log, NEVER, Outcome, Sent},
    property::Property,
    received::{Insert, Received},
    stats::{Latencies, Times},
};
pub use tally::{Example, Tallies, Tally};

/// What a ledger has to know of its run.
#[derive(Clone, Debug)]
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
    /// Replicas in all, at most [`MAX_REPLICAS`].
    pub replicas: u16,
    /// A delivery later than this after the intended time counts as late, and less before the end of a connection it is
    /// not owed. Microseconds.
    pub deadline_us: u64,
}

/// The most replicas that a ledger can tell apart.
pub const MAX_REPLICAS: usize = 64;

/// One worker's part of the run: its rooms, their members, all that they sent and received.
#[derive(Debug)]
pub struct Ledger {
    pub(crate) setup: Setup,
    pub(crate) rooms: Vec<Room>,
    pub(crate) sessions: Vec<Session>,
    /// One log a worker: the own one is whole, the others know only which message follows which.
    pub(crate) to_all: Vec<Log>,
    pub(crate) tallies: Tallies,
    pub(crate) counters: Counters,
    pub(crate) latencies: Latencies,
    /// Work deliveries and their times by sender's and receiver's replica.
    pub(crate) pairs: Vec<Times>,
}

/// A room of this worker.
#[derive(Debug)]
pub struct Room {
    /// Its name on the wire.
    pub name: String,
    /// Its members, as this worker's session numbers.
    pub members: Range<u32>,
    pub(crate) number: u32,
    pub(crate) log: Log,
}

/// A member of a room.
#[derive(Debug)]
pub struct Session {
    /// Its number in the run.
    pub number: u32,
    /// Its room, as this worker's room number.
    pub room: u32,
    /// The replica that said hello.
    pub replica: u16,
    /// What it is of its room.
    pub membership: Membership,
    /// When it ended, unless that was at the end of the run: the last proof of life, in microseconds of the run.
    pub ended_us: Option<u64>,
    pub(crate) in_room: Flow,
    pub(crate) to_all: Flow,
    pub(crate) received: Received,
    /// One for each worker, if anything goes to all.
    pub(crate) received_all: Box<[Received]>,
}

/// A session's own sends and the fences it has seen, in its room or to all.
#[derive(Debug)]
pub(crate) struct Flow {
    sent: u32,
    last: u32,
    /// A bit for each replica (to all: worker and replica) from which a fence came.
    fences: u64,
}

/// A session's relation to its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Never asked.
    Outside,
    /// Asked to join, no answer yet.
    Joining,
    /// From the ack of the join.
    Member,
    /// From the request to leave; what was sent before it (so many messages) is owed.
    Leaving(u32),
    /// From the ack of the leave.
    Left(u32),
}

/// Where a message goes, seen from its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The sender's room.
    Room,
    /// Everyone.
    All,
}

/// Plain sums.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Work deliveries, each once.
    pub delivered: u64,
    /// Of these later than the deadline.
    pub late: u64,
    /// Deliveries of all kinds that were judged.
    pub judged: u64,
    /// Of these the ones that name a message before.
    pub ordered: u64,
    /// Second and further copies.
    pub duplicated: u64,
    /// Deliveries after a leave that were watched for.
    pub farewells: u64,
    /// Messages without our stamp or of another run.
    pub foreign: u64,
}

/// The room of a delivery, seen from its receiver.
#[derive(Clone, Copy)]
enum Channel {
    Own,
    All(u32),
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
        let pairs = usize::from(setup.replicas) * usize::from(setup.replicas);
        Self {
            rooms,
            sessions,
            to_all: (0..channels).map(|_| Log::default()).collect(),
            tallies: Tallies::default(),
            counters: Counters::default(),
            latencies: Latencies::default(),
            pairs: (0..pairs).map(|_| Times::coarse()).collect(),
            setup,
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

    /// The session with this worker's number, to note what becomes of it.
    pub fn session_mut(&mut self, session: u32) -> &mut Session {
        &mut self.sessions[session as usize]
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

    /// Violations seen so far.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.tallies.violations()
    }

    /// The stamp of a message that `session` sends at this moment.
    pub fn send(&mut self, session: u32, to: To, kind: Kind, intended_us: u64) -> Stamp {
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
        let (run, sender, replica) = (self.setup.run, sender.number, sender.replica);
        Stamp { run, sender, room, seq, index, previous, replica, kind, intended_us }
    }

    /// The server took responsibility for `session`'s message.
    pub fn acked(&mut self, session: u32, to: To, index: u32, now_us: u64) {
        let Some(sent) = self.sent_mut(session, to, index) else { return };
        if sent.outcome == Outcome::Ok {
            return;
        }
        sent.outcome = Outcome::Ok;
        sent.committed_us = sent.committed_us.min(now_us);
        if sent.kind == Kind::Work {
            let latency = now_us.saturating_sub(sent.intended_us);
            self.latencies.ack.record(latency);
        }
    }

    /// The server refused `session`'s message, and promises that nobody gets it.
    pub fn refused(&mut self, session: u32, to: To, index: u32) {
        if let Some(sent) = self.sent_mut(session, to, index) {
            sent.outcome = Outcome::Fail;
        }
    }

    fn sent_mut(&mut self, session: u32, to: To, index: u32) -> Option<&mut Sent> {
        match to {
            To::Room => self.rooms[self.sessions[session as usize].room as usize].log.get_mut(index),
            To::All => self.to_all[self.setup.worker as usize].get_mut(index),
        }
    }

    /// `session` asked to leave: what was sent until now is owed to it, the rest is not.
    pub fn leave_invoked(&mut self, session: u32) {
        let owed = self.rooms[self.sessions[session as usize].room as usize].log.len();
        self.sessions[session as usize].membership = Membership::Leaving(owed);
    }

    /// The leave of `session` was acknowledged.
    pub fn left(&mut self, session: u32) {
        if let Membership::Leaving(owed) = self.sessions[session as usize].membership {
            self.sessions[session as usize].membership = Membership::Left(owed);
            self.counters.farewells += 1;
        }
    }

    /// A delivery reached `session`.
    pub fn delivered(&mut self, session: u32, target: Target<'_>, payload: &str, now_us: u64) {
        let (stamp, whole) = match Stamp::parse(payload) {
            Ok(stamp) => (stamp, true),
            Err(Damage::Payload(stamp)) => (stamp, false),
            Err(Damage::Foreign) => {
                self.counters.foreign += 1;
                return;
            }
            Err(Damage::Unreadable) => {
                self.counters.judged += 1;
                let example = self.example(session, None, now_us, "the stamp itself is damaged");
                self.tallies.violate(Property::Integrity, example);
                return;
            }
        };
        if stamp.run != self.setup.run {
            self.counters.foreign += 1;
            return;
        }
        self.counters.judged += 1;
        if !whole {
            self.violate(
                Property::Integrity,
                session,
                &stamp,
                now_us,
                "length or checksum differs from what was sent",
            );
        }
        let Some(channel) = self.channel(session, target, &stamp, now_us) else { return };
        if !self.was_sent(session, channel, &stamp) {
            self.violate(Property::Creation, session, &stamp, now_us, "nobody sent it");
            return;
        }
        self.receive(session, channel, &stamp, now_us);
    }

    /// Where the message belongs, if this receiver may have it there.
    fn channel(&mut self, session: u32, target: Target<'_>, stamp: &Stamp, now_us: u64) -> Option<Channel> {
        let receiver = &self.sessions[session as usize];
        let room = &self.rooms[receiver.room as usize];
        if stamp.room & Stamp::ALL != 0 {
            if target == Target::All {
                return Some(Channel::All(stamp.room & !Stamp::ALL));
            }
            self.violate(Property::Isolation, session, stamp, now_us, "sent to all, delivered as a room's");
            return None;
        }
        if stamp.room != room.number || target != Target::Room(&room.name) {
            let detail = format!("it belongs to room {}, and came as {target}", stamp.room);
            self.violate(Property::Isolation, session, stamp, now_us, &detail);
            return None;
        }
        match receiver.membership {
            Membership::Outside => {
                self.violate(Property::Membership, session, stamp, now_us, "delivered before the join");
                None
            }
            Membership::Left(_) => {
                self.violate(
                    Property::Membership,
                    session,
                    stamp,
                    now_us,
                    "delivered after the leave was acked",
                );
                None
            }
            _ => Some(Channel::Own),
        }
    }

    /// Whether the message was really sent, as far as this worker can tell.
    fn was_sent(&self, session: u32, channel: Channel, stamp: &Stamp) -> bool {
        let own = match channel {
            Channel::Own => &self.rooms[self.sessions[session as usize].room as usize].log,
            Channel::All(worker) if worker == self.setup.worker && self.setup.follow_all => {
                &self.to_all[worker as usize]
            }
            // Another worker's: its own log is asked at the end.
            Channel::All(worker) => {
                return (worker as usize) < self.to_all.len() && (stamp.index as usize) < MAX_TO_ALL;
            }
        };
        own.get(stamp.index).is_some_and(|sent| sent.sender == stamp.sender && sent.kind == stamp.kind)
    }

    /// A delivery that was sent, to one who may have it: is it new, and is it in order?
    fn receive(&mut self, session: u32, channel: Channel, stamp: &Stamp, now_us: u64) {
        let receiver = &mut self.sessions[session as usize];
        let (received, log, flow, fence) = match channel {
            Channel::Own => (
                &mut receiver.received,
                &mut self.rooms[receiver.room as usize].log,
                &mut receiver.in_room,
                u32::from(stamp.replica),
            ),
            Channel::All(worker) => (
                &mut receiver.received_all[worker as usize],
                &mut self.to_all[worker as usize],
                &mut receiver.to_all,
                worker * u32::from(self.setup.replicas) + u32::from(stamp.replica),
            ),
        };
        log.link(stamp.previous, stamp.index);
        let insert = received.insert(stamp.index);
        if insert == Insert::Duplicate {
            let own = stamp.sender == receiver.number;
            self.counters.duplicated += 1;
            let property = if own { Property::Echo } else { Property::Duplication };
            self.violate(property, session, stamp, now_us, "a second copy on the same socket");
            return;
        }
        self.counters.ordered += u64::from(stamp.previous != Stamp::NONE);
        let overtaken = (insert == Insert::Behind).then(|| later_one(received, log, stamp.index)).flatten();
        if stamp.kind == Kind::Fence {
            flow.fences |= 1 << (fence % u64::BITS);
        }
        if stamp.kind == Kind::Work {
            self.time(session, channel, stamp, now_us);
        }
        if let Some(later) = overtaken {
            let detail = format!("came after #{later}, which the same sender sent later");
            self.violate(Property::Fifo, session, stamp, now_us, &detail);
        }
    }

    /// Counts and times a new delivery of work.
    fn time(&mut self, session: u32, channel: Channel, stamp: &Stamp, now_us: u64) {
        let receiver = &self.sessions[session as usize];
        let latency = now_us.saturating_sub(stamp.intended_us);
        self.counters.delivered += 1;
        self.counters.late += u64::from(latency > self.setup.deadline_us);
        self.latencies.delivery.record(latency);
        let pair =
            usize::from(stamp.replica) * usize::from(self.setup.replicas) + usize::from(receiver.replica);
        if let Some(times) = self.pairs.get_mut(pair) {
            times.record(latency);
        }
        if let Channel::Own = channel {
            let room = &mut self.rooms[receiver.room as usize];
            let members = room.members.end - room.members.start;
            let Some(sent) = room.log.get_mut(stamp.index) else { return };
            sent.delivered += 1;
            sent.committed_us = sent.committed_us.min(now_us);
            if sent.delivered == 1 {
                self.latencies.fanout_first.record(latency);
            }
            if sent.delivered == members {
                self.latencies.fanout_last.record(latency);
            }
        }
    }

    /// The replicas (as bits) whose fence some open member of `room` still waits for, of those that have one to send it.
    #[must_use]
    pub fn fences_missing(&self, room: u32) -> u64 {
        let open = || self.open_members(room);
        let wanted = open().fold(0, |mask, session| mask | 1 << (u32::from(session.replica) % u64::BITS));
        open().fold(0, |missing, session| missing | wanted & !session.in_room.fences)
    }

    /// Whether every open session has the fences to all of these bits: worker times replicas plus replica.
    #[must_use]
    pub fn has_fences_to_all(&self, wanted: u64) -> bool {
        self.sessions.iter().filter(|s| s.ended_us.is_none()).all(|s| s.to_all.fences & wanted == wanted)
    }

    /// Whether every open member of `room` has all messages in it whose outcome is one of `outcomes`.
    #[must_use]
    pub fn is_complete(&self, room: u32, outcomes: &[Outcome]) -> bool {
        let log = &self.rooms[room as usize].log;
        let counts = |index: u32| log.get(index).is_some_and(|sent| outcomes.contains(&sent.outcome));
        self.open_members(room).all(|session| !session.received.missing(log.len()).any(counts))
    }

    /// The members of `room` that are joined and connected.
    pub fn open_members(&self, room: u32) -> impl Iterator<Item = &Session> {
        let members = self.rooms[room as usize].members.clone();
        self.sessions[members.start as usize..members.end as usize]
            .iter()
            .filter(|session| session.is_member())
    }

    fn violate(&mut self, property: Property, session: u32, stamp: &Stamp, now_us: u64, detail: &str) {
        let example = self.example(session, Some(stamp), now_us, detail);
        self.tallies.violate(property, example);
    }

    fn example(&self, session: u32, stamp: Option<&Stamp>, at_us: u64, detail: &str) -> Example {
        let receiver = &self.sessions[session as usize];
        Example {
            message: stamp.map(tally::message_name),
            sender: stamp.map(|stamp| stamp.sender),
            from: stamp.map(|stamp| stamp.replica),
            receiver: receiver.number,
            to: receiver.replica,
            room: format!("room {}", self.rooms[receiver.room as usize].number),
            at_us,
            detail: detail.to_owned(),
        }
    }
}

/// Above any count of messages to all in one run: a stamp beyond is not ours.
const MAX_TO_ALL: usize = 1 << 26;

/// A message that `index`'s sender sent later and this receiver already has.
fn later_one(received: &Received, log: &Log, index: u32) -> Option<u32> {
    let mut later = log.next(index)?;
    while !received.contains(later) {
        later = log.next(later)?;
    }
    Some(later)
}

impl Session {
    /// Whether it is joined and connected.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.ended_us.is_none() && self.membership == Membership::Member
    }

    fn new(number: u32, room: u32, channels: usize) -> Self {
        let flow = || Flow { sent: 0, last: Stamp::NONE, fences: 0 };
        Self {
            number,
            room,
            replica: 0,
            membership: Membership::Outside,
            ended_us: None,
            in_room: flow(),
            to_all: flow(),
            received: Received::default(),
            received_all: vec![Received::default(); channels].into(),
        }
    }
}

fn index(len: usize) -> u32 {
    u32::try_from(len).expect("connections are counted in 32 bits")
}
