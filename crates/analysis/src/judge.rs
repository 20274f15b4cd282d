//! The end of a run: the windows are closed, and what is missing is judged over all the ledgers.
//!
//! A message **binds** if it was acked, or if some member has it though its send was never answered. A binding message
//! is owed to every member that was there at the end; to one that left, what was sent before; to one whose connection
//! ended, what was committed a deadline before its last proof of life. A message to all that was refused or never
//! answered binds in the same way.

use ws_wire::stamp::{Kind, Stamp};

use crate::{
    ledger::{Counters, Example, Ledger, Membership, Session, Tallies, Tally},
    log::{Log, Outcome, Sent},
    property::Property,
    received::Received,
    stats::{Latencies, Times},
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
    /// Merged times.
    pub latencies: Latencies,
    /// When the first and the last lost message were due, in microseconds of the run.
    pub lost_between_us: Option<(u64, u64)>,
    /// Sessions that ended before the run did.
    pub ended_early: u32,
    /// Whether expected, delivered and lost agree, as they were counted in different ways.
    pub sums_agree: bool,
}

/// Sums over work messages, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
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
    /// Further copies, of all kinds of message.
    pub duplicated: u64,
    /// Deliveries behind a later one of the same sender, of all kinds.
    pub reordered: u64,
    /// Damaged payloads, of all kinds.
    pub corrupted: u64,
    /// Deliveries in a room they do not belong to, or to no member, of all kinds.
    pub leaked: u64,
    /// Deliveries of what nobody sent or what was refused, of all kinds.
    pub created: u64,
    /// Deliveries after the deadline; not a violation.
    pub late: u64,
    /// Fences and farewells sent.
    pub fences: u64,
    /// Messages of others in our rooms.
    pub foreign: u64,
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
    /// Deliveries not made.
    pub lost: u64,
    /// Delivery times.
    pub times: Times,
}

/// Judges what is missing, and adds everything up. The ledgers are in the order of their workers.
#[must_use]
pub fn judge(ledgers: Vec<Ledger>) -> Findings {
    let mut judge = Judge::new(&ledgers);
    for ledger in &ledgers {
        for room in &ledger.rooms {
            let members = &ledger.sessions[room.members.start as usize..room.members.end as usize];
            let receivers: Vec<_> = members.iter().map(Receiver::in_room).collect();
            judge.log(&format!("room {}", room.number), &room.log, &receivers);
        }
    }
    let workers = ledgers.first().map_or(0, |ledger| ledger.to_all.len());
    for worker in 0..workers {
        let everyone = ledgers.iter().flat_map(|ledger| &ledger.sessions);
        let receivers: Vec<_> = everyone.map(|session| Receiver::of_all(session, worker)).collect();
        judge.log(&format!("all/{worker}"), &ledgers[worker].to_all[worker], &receivers);
    }
    judge.finish(ledgers)
}

struct Judge {
    replicas: u16,
    deadline_us: u64,
    tallies: Tallies,
    counts: Counts,
    owed: u64,
    owed_own: u64,
    expected: Vec<u64>,
    lost: Vec<u64>,
    lost_between_us: Option<(u64, u64)>,
    /// Work deliveries of messages that were refused: made, but not expected.
    refused_deliveries: u64,
}

/// One who may be owed the messages of a log.
struct Receiver<'a> {
    session: &'a Session,
    received: &'a Received,
    owed: Owed,
}

/// Which of a log's messages a receiver is owed.
#[derive(Clone, Copy)]
enum Owed {
    Everything,
    /// The first so many.
    First(u32),
    /// Those committed a deadline before this time.
    CommittedBefore(u64),
    Nothing,
}

impl<'a> Receiver<'a> {
    fn in_room(session: &'a Session) -> Self {
        let owed = match (session.ended_us, session.membership) {
            (_, Membership::Outside | Membership::Joining) => Owed::Nothing,
            (_, Membership::Leaving(owed) | Membership::Left(owed)) => Owed::First(owed),
            (Some(end), Membership::Member) => Owed::CommittedBefore(end),
            (None, Membership::Member) => Owed::Everything,
        };
        Self { session, received: &session.received, owed }
    }

    fn of_all(session: &'a Session, worker: usize) -> Self {
        let owed = match (session.ended_us, session.membership) {
            (_, Membership::Outside | Membership::Joining) => Owed::Nothing,
            (Some(end), _) => Owed::CommittedBefore(end),
            (None, _) => Owed::Everything,
        };
        Self { session, received: &session.received_all[worker], owed }
    }

    fn is_owed(&self, index: u32, sent: &Sent, deadline_us: u64) -> bool {
        match self.owed {
            Owed::Everything => true,
            Owed::First(count) => index < count,
            Owed::CommittedBefore(end) => sent.committed_us.saturating_add(deadline_us) < end,
            Owed::Nothing => false,
        }
    }
}

impl Judge {
    fn new(ledgers: &[Ledger]) -> Self {
        let setup = &ledgers.first().expect("a run has a worker").setup;
        let pairs = usize::from(setup.replicas) * usize::from(setup.replicas);
        Self {
            replicas: setup.replicas,
            deadline_us: setup.deadline_us,
            tallies: Tallies::default(),
            counts: Counts::default(),
            owed: 0,
            owed_own: 0,
            expected: vec![0; pairs],
            lost: vec![0; pairs],
            lost_between_us: None,
            refused_deliveries: 0,
        }
    }

    fn log(&mut self, room: &str, log: &Log, receivers: &[Receiver<'_>]) {
        let binding: Vec<bool> =
            log.iter().map(|(index, sent)| self.binds(room, index, sent, receivers)).collect();
        let mut work_from = vec![0_u64; usize::from(self.replicas)];
        for (_, sent) in
            log.iter().filter(|&(index, sent)| binding[index as usize] && sent.kind == Kind::Work)
        {
            work_from[usize::from(sent.replica)] += 1;
        }
        for receiver in receivers {
            let to = receiver.session.replica;
            self.invented(room, log, receiver);
            for (from, &work) in (0..).zip(&work_from) {
                let pair = self.pair(from, to);
                self.expected[pair] += work;
            }
            let bound = u64::try_from(binding.iter().filter(|&&binds| binds).count()).expect("fits");
            self.owed += bound;
            for index in receiver.received.missing(log.len()).filter(|&index| binding[index as usize]) {
                let sent = log.get(index).expect("below the length");
                let work = u64::from(sent.kind == Kind::Work);
                let pair = self.pair(sent.replica, to);
                if receiver.is_owed(index, sent, self.deadline_us) {
                    self.lost[pair] += work;
                    self.lose(room, index, sent, receiver);
                } else {
                    self.expected[pair] -= work;
                    self.owed -= 1;
                }
            }
        }
    }

    /// Counts a send, and says whether its delivery can be demanded.
    fn binds(&mut self, room: &str, index: u32, sent: &Sent, receivers: &[Receiver<'_>]) -> bool {
        let work = u64::from(sent.kind == Kind::Work);
        self.counts.sent += work;
        self.counts.fences += 1 - work;
        self.owed_own += u64::from(sent.outcome == Outcome::Ok);
        let somebody = || receivers.iter().filter(|receiver| receiver.received.contains(index));
        match sent.outcome {
            Outcome::Ok => {
                self.counts.acked += work;
                true
            }
            Outcome::Info => {
                self.counts.unanswered += work;
                somebody().next().is_some()
            }
            Outcome::Fail => {
                self.counts.refused += work;
                for receiver in somebody() {
                    self.refused_deliveries += work;
                    self.tallies.violate_with(Property::Creation, || {
                        example(room, index, sent, receiver, "its send was refused")
                    });
                }
                false
            }
        }
    }

    /// Messages to all that came under another worker's name, and that it never sent.
    fn invented(&mut self, room: &str, log: &Log, receiver: &Receiver<'_>) {
        for index in (log.len()..receiver.received.end()).filter(|&index| receiver.received.contains(index)) {
            let sent = Sent {
                intended_us: 0,
                committed_us: 0,
                sender: Stamp::NONE,
                delivered: 0,
                replica: 0,
                outcome: Outcome::Info,
                kind: Kind::Work,
            };
            self.refused_deliveries += 1;
            self.tallies
                .violate_with(Property::Creation, || example(room, index, &sent, receiver, "nobody sent it"));
        }
    }

    fn lose(&mut self, room: &str, index: u32, sent: &Sent, receiver: &Receiver<'_>) {
        let due = sent.intended_us;
        let (first, last) = self.lost_between_us.unwrap_or((due, due));
        self.lost_between_us = Some((first.min(due), last.max(due)));
        let own = sent.sender == receiver.session.number;
        let (property, detail) = match (own, sent.outcome) {
            (true, _) => (Property::Echo, "the sender's own copy never came"),
            (false, Outcome::Ok) => (Property::Loss, "acked, never delivered to this member"),
            (false, _) => (Property::Loss, "some members have it, this one never got it"),
        };
        self.tallies.violate_with(property, || example(room, index, sent, receiver, detail));
    }

    fn pair(&self, from: u16, to: u16) -> usize {
        usize::from(from) * usize::from(self.replicas) + usize::from(to)
    }

    fn finish(mut self, ledgers: Vec<Ledger>) -> Findings {
        let mut latencies = Latencies::default();
        let mut times = vec![Times::coarse(); self.expected.len()];
        let mut counters = Counters::default();
        let mut ended_early = 0;
        for ledger in ledgers {
            latencies.merge(&ledger.latencies);
            times.iter_mut().zip(&ledger.pairs).for_each(|(all, one)| all.merge(one));
            counters.add(&ledger.counters);
            ended_early += ledger.sessions.iter().filter(|session| session.ended_us.is_some()).count();
            self.tallies.merge(ledger.tallies);
        }
        let pairs = times.into_iter().enumerate().map(|(pair, times)| Pair {
            from: u16::try_from(pair / usize::from(self.replicas)).expect("fewer replicas"),
            to: u16::try_from(pair % usize::from(self.replicas)).expect("fewer replicas"),
            expected: self.expected[pair],
            lost: self.lost[pair],
            times,
        });
        let pairs: Vec<_> = pairs.collect();
        let violations = |property| self.tallies.get(property).violations;
        let counts = Counts {
            expected: self.expected.iter().sum(),
            lost: self.lost.iter().sum(),
            delivered: counters.delivered,
            late: counters.late,
            duplicated: counters.duplicated,
            foreign: counters.foreign,
            reordered: violations(Property::Fifo),
            corrupted: violations(Property::Integrity),
            leaked: violations(Property::Isolation) + violations(Property::Membership),
            created: violations(Property::Creation),
            ..self.counts
        };
        let sums_agree = counts.expected + self.refused_deliveries == counts.delivered + counts.lost;
        let properties = Property::ALL
            .map(|property| {
                let checked = match property {
                    Property::Creation
                    | Property::Duplication
                    | Property::Integrity
                    | Property::Isolation => counters.judged,
                    Property::Fifo => counters.ordered,
                    Property::Loss => self.owed.saturating_sub(self.owed_own),
                    Property::Echo => self.owed_own,
                    Property::Membership => counters.farewells,
                };
                (property, checked, self.tallies.get(property).clone())
            })
            .to_vec();
        let ended_early = u32::try_from(ended_early).expect("connections are counted in 32 bits");
        Findings {
            counts,
            properties,
            pairs,
            latencies,
            lost_between_us: self.lost_between_us,
            ended_early,
            sums_agree,
        }
    }
}

impl Counters {
    fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.late += other.late;
        self.judged += other.judged;
        self.ordered += other.ordered;
        self.duplicated += other.duplicated;
        self.farewells += other.farewells;
        self.foreign += other.foreign;
    }
}

fn example(room: &str, index: u32, sent: &Sent, receiver: &Receiver<'_>, detail: &str) -> Example {
    Example {
        message: Some(format!("{room} #{index}")),
        sender: Some(sent.sender),
        from: Some(sent.replica),
        receiver: receiver.session.number,
        to: receiver.session.replica,
        room: room.to_owned(),
        at_us: sent.intended_us,
        detail: detail.to_owned(),
    }
}
