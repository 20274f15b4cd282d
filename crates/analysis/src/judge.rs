//! The end of a run: the windows are closed, and what is missing is judged over all the ledgers.
//!
//! A message **binds** if it was acked, or if some member has it though its send was never answered. Whom a binding
//! message is owed is told by [`Absence`], whether its absence is a violation by the contract. A message to all that
//! was refused or never answered binds in the same way.

mod causes;
mod findings;
mod recovery;
mod returns;
mod witness;

use std::collections::HashMap;

use ws_wire::stamp::{Kind, Stamp};

use crate::{
    contract::Rules,
    ledger::{Absence, Counters, Example, Ledger, Session, Setup, Tallies, Tally},
    log::{Log, NEVER, Outcome, Sent},
    property::Property,
    received::Received,
    series::Series,
    stats::{Latencies, Times},
    timeline::Timeline,
};
pub use causes::Cause;
use causes::Causes;
pub use findings::{Calm, Counts, Findings, Pair, PhaseFlow};
pub use returns::Returns;

/// Judges what is missing, and adds everything up. A worker may be missing, with all that its rooms know.
///
/// # Panics
/// Where there is no ledger at all.
#[must_use]
pub fn judge(mut ledgers: Vec<Ledger>, timeline: &Timeline) -> Findings {
    let mut judge = Judge::new(&ledgers[0].setup, timeline);
    for ledger in &ledgers {
        for room in &ledger.rooms {
            let members = &ledger.sessions[room.members.start as usize..room.members.end as usize];
            let receivers: Vec<_> = members.iter().map(Receiver::in_room).collect();
            judge.log(room.number, &room.log, &receivers);
            judge.counts.quiet_rooms += u64::from(!room.log.iter().any(|(_, sent)| sent.kind == Kind::Work));
        }
    }
    let workers = ledgers[0].to_all.len();
    for worker in 0..workers {
        let Some(own) = ledgers.iter().find(|ledger| ledger.setup.worker as usize == worker) else {
            continue;
        };
        let everyone = ledgers.iter().flat_map(|ledger| &ledger.sessions);
        let receivers: Vec<_> = everyone.map(|session| Receiver::of_all(session, worker)).collect();
        let room = Stamp::ALL | u32::try_from(worker).expect("workers are few");
        judge.log(room, &own.to_all[worker], &receivers);
    }
    judge.connections(&ledgers);
    judge.recovery(&ledgers);
    judge.returns = returns::returns(&ledgers, timeline);
    for ledger in &mut ledgers {
        judge.lateness(ledger);
        judge.tallies.merge(std::mem::take(&mut ledger.tallies));
    }
    judge.tallies.explain(|example| witness::lines(&ledgers, example));
    judge.finish(ledgers)
}

struct Judge<'a> {
    timeline: &'a Timeline,
    replicas: u16,
    deadline_us: u64,
    rules: Rules,
    tallies: Tallies,
    counts: Counts,
    owed: u64,
    owed_own: u64,
    probed: u64,
    /// Deliveries whose timeliness was judged.
    timed: u64,
    phases: Vec<PhaseFlow>,
    missing: Vec<u64>,
    causes: Causes,
    lost_by_fault: Vec<u64>,
    returns: Vec<Option<Returns>>,
    lost_by_second: Vec<u64>,
    lost_between_us: Option<(u64, u64)>,
    /// Work deliveries of messages that were refused: made, but not expected.
    refused_deliveries: u64,
}

/// One who may be owed the messages of a log.
struct Receiver<'a> {
    session: &'a Session,
    received: &'a Received,
    of_all: bool,
}

/// What a log asks of its receivers.
struct Binding {
    /// By index: whether it binds, and in which phase it was due.
    messages: Vec<(bool, u16)>,
    /// How many bind.
    bound: u64,
    /// Binding work by phase and sender's replica.
    work: Vec<u64>,
}

/// A delivery that was owed and not made.
struct Missing<'a> {
    index: u32,
    receiver: &'a Receiver<'a>,
    absence: Absence,
}

impl<'a> Receiver<'a> {
    fn in_room(session: &'a Session) -> Self {
        Self { session, received: &session.received, of_all: false }
    }

    fn of_all(session: &'a Session, worker: usize) -> Self {
        Self { session, received: &session.received_all[worker], of_all: true }
    }

    fn absence(&self, index: u32, sent: &Sent, deadline_us: u64, apart_us: u64) -> Absence {
        if self.of_all {
            self.session.absence_of_all(sent, deadline_us, apart_us)
        } else {
            self.session.absence(index, sent, deadline_us)
        }
    }

    fn replica_at(&self, index: u32, sent: &Sent) -> u16 {
        if self.of_all {
            self.session.replica_at_time(sent.intended_us)
        } else {
            self.session.replica_at(index)
        }
    }
}

impl<'a> Judge<'a> {
    fn new(setup: &Setup, timeline: &'a Timeline) -> Self {
        let replicas = u16::try_from(setup.nodes.len()).expect("at most MAX_REPLICAS");
        let pairs = usize::from(replicas) * usize::from(replicas);
        let flow = |phase| PhaseFlow { phase, expected: vec![0; pairs], ..PhaseFlow::default() };
        Self {
            timeline,
            replicas,
            deadline_us: setup.deadline_us,
            rules: setup.rules,
            tallies: Tallies::default(),
            counts: Counts::default(),
            owed: 0,
            owed_own: 0,
            probed: 0,
            timed: 0,
            phases: timeline.phases().into_iter().map(flow).collect(),
            missing: vec![0; pairs],
            causes: Causes::default(),
            lost_by_fault: vec![0; timeline.faults.len()],
            returns: Vec::new(),
            lost_by_second: Vec::new(),
            lost_between_us: None,
            refused_deliveries: 0,
        }
    }

    fn log(&mut self, room: u32, log: &Log, receivers: &[Receiver<'_>]) {
        let binding = self.binding(room, log, receivers);
        let mut missing = Vec::new();
        for receiver in receivers {
            self.invented(room, log, receiver);
            self.expect(log, &binding, receiver);
            self.owed += binding.bound;
            let absent = receiver.received.missing(log.len());
            for index in absent.filter(|&index| binding.messages[index as usize].0) {
                let sent = log.get(index).expect("below the length");
                match self.absence(receiver, index, sent) {
                    Absence::None => self.forgive(index, sent, &binding, receiver),
                    absence => missing.push(Missing { index, receiver, absence }),
                }
            }
        }
        let mut lacking: HashMap<u32, u32> = HashMap::new();
        missing.iter().for_each(|missing| *lacking.entry(missing.index).or_default() += 1);
        for missing in &missing {
            let alone = lacking[&missing.index] == 1;
            self.miss(room, log.get(missing.index).expect("below the length"), missing, alone);
        }
    }

    /// A run that was stopped owes only what was due before.
    fn absence(&self, receiver: &Receiver<'_>, index: u32, sent: &Sent) -> Absence {
        let due_us = sent.committed_us.saturating_add(self.deadline_us);
        match self.timeline.stopped_us {
            Some(stopped_us) if due_us >= stopped_us => Absence::None,
            _ => receiver.absence(index, sent, self.deadline_us, self.timeline.apart_us),
        }
    }

    fn binding(&mut self, room: u32, log: &Log, receivers: &[Receiver<'_>]) -> Binding {
        let work = vec![0; self.phases.len() * usize::from(self.replicas)];
        let mut binding = Binding { messages: Vec::new(), bound: 0, work };
        for (index, sent) in log.iter() {
            let phase = self.phase(sent.intended_us);
            let binds = self.binds(room, index, sent, receivers);
            if sent.kind == Kind::Work {
                self.phases[phase].sent += 1;
                self.phases[phase].acked += u64::from(sent.outcome == Outcome::Ok);
                binding.work[phase * usize::from(self.replicas) + usize::from(sent.replica)] +=
                    u64::from(binds);
            }
            binding.bound += u64::from(binds);
            binding.messages.push((binds, u16::try_from(phase).expect("faults are few")));
        }
        binding
    }

    /// Counts a send, and says whether its delivery can be demanded.
    fn binds(&mut self, room: u32, index: u32, sent: &Sent, receivers: &[Receiver<'_>]) -> bool {
        let work = u64::from(sent.kind == Kind::Work);
        self.counts.sent += work;
        self.counts.fences += 1 - work;
        // Where nobody ever was in a room, nothing comes back.
        let has_members = || receivers.iter().any(|receiver| receiver.session.memberships() > 0);
        self.owed_own += u64::from(sent.outcome == Outcome::Ok && has_members());
        let calm = work * u64::from(self.is_calm(sent.intended_us));
        let somebody = || receivers.iter().filter(|receiver| receiver.received.contains(index));
        match sent.outcome {
            Outcome::Ok => {
                self.counts.acked += work;
                true
            }
            Outcome::Info => {
                self.counts.unanswered += work;
                self.counts.calm.unanswered += calm;
                somebody().next().is_some()
            }
            Outcome::Fail => {
                self.counts.refused += work;
                self.counts.calm.refused += calm;
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

    /// Adds what a receiver is to get, by phase and pair of replicas.
    fn expect(&mut self, log: &Log, binding: &Binding, receiver: &Receiver<'_>) {
        let replicas = usize::from(self.replicas);
        if receiver.session.memberships() <= 1 {
            let to = usize::from(receiver.replica_at(0, &NOBODYS));
            for (flow, work) in self.phases.iter_mut().zip(binding.work.chunks(replicas)) {
                for (from, work) in work.iter().enumerate() {
                    flow.expected[from * replicas + to] += work;
                }
            }
            return;
        }
        for (index, sent) in log.iter() {
            let (binds, phase) = binding.messages[index as usize];
            if binds && sent.kind == Kind::Work {
                let pair = self.pair(sent.replica, receiver.replica_at(index, sent));
                self.phases[usize::from(phase)].expected[pair] += 1;
            }
        }
    }

    /// It was not owed.
    fn forgive(&mut self, index: u32, sent: &Sent, binding: &Binding, receiver: &Receiver<'_>) {
        let pair = self.pair(sent.replica, receiver.replica_at(index, sent));
        let phase = usize::from(binding.messages[index as usize].1);
        self.phases[phase].expected[pair] -= u64::from(sent.kind == Kind::Work);
        self.owed -= 1;
    }

    /// Messages to all that came under another worker's name, and that it never sent.
    fn invented(&mut self, room: u32, log: &Log, receiver: &Receiver<'_>) {
        for index in (log.len()..receiver.received.end()).filter(|&index| receiver.received.contains(index)) {
            self.refused_deliveries += 1;
            self.tallies.violate_with(Property::Creation, || {
                example(room, index, &NOBODYS, receiver, "nobody sent it")
            });
        }
    }

    /// It was owed and did not come; `alone` says that everybody else who was owed it has it.
    fn miss(&mut self, room: u32, sent: &Sent, missing: &Missing<'_>, alone: bool) {
        let Missing { index, receiver, absence } = *missing;
        let allowed = absence.is_allowed(self.rules.contract);
        let to = receiver.replica_at(index, sent);
        if sent.kind == Kind::Work {
            let fault = self.timeline.fault_at(sent.intended_us, alive_us(sent));
            self.causes.add(causes::Key { fault, absence, allowed }, sent, to);
            let pair = self.pair(sent.replica, to);
            self.missing[pair] += 1;
            self.counts.silent += u64::from(absence == Absence::Silent);
            if allowed {
                self.counts.missed += 1;
            } else {
                self.lose(sent, fault);
            }
        }
        if allowed {
            return;
        }
        let own = sent.sender == receiver.session.number;
        let property = match absence {
            Absence::Promised => Property::Resume,
            // Who was cut off before its own copy came has lost it like any other.
            Absence::Silent if own && alone => Property::Echo,
            _ => Property::Loss,
        };
        let detail = missing_detail(property, absence, sent.outcome);
        self.tallies
            .violate_with(property, || Example { to, ..example(room, index, sent, receiver, detail) });
    }

    fn lose(&mut self, sent: &Sent, fault: Option<usize>) {
        let due = sent.intended_us;
        self.counts.lost += 1;
        let (first, last) = self.lost_between_us.unwrap_or((due, due));
        self.lost_between_us = Some((first.min(due), last.max(due)));
        if let Some(fault) = fault {
            self.lost_by_fault[fault] += 1;
        }
        let second = usize::try_from(due / 1_000_000).unwrap_or(usize::MAX).min(100_000);
        if self.lost_by_second.len() <= second {
            self.lost_by_second.resize(second + 1, 0);
        }
        self.lost_by_second[second] += 1;
    }

    fn phase(&self, due_us: u64) -> usize {
        self.phases.partition_point(|flow| flow.phase.start_us <= due_us) - 1
    }

    fn pair(&self, from: u16, to: u16) -> usize {
        usize::from(from) * usize::from(self.replicas) + usize::from(to)
    }

    fn finish(self, ledgers: Vec<Ledger>) -> Findings {
        // What a lost worker sent to all was delivered, and nobody knows to whom it was owed.
        let is_whole = ledgers.len() == ledgers[0].setup.topology.workers as usize;
        let mut latencies = Latencies::default();
        let mut times = vec![Times::coarse(); self.missing.len()];
        let mut counters = Counters::default();
        let mut series = Series::default();
        for ledger in ledgers {
            latencies.merge(&ledger.latencies);
            times.iter_mut().zip(&ledger.pairs).for_each(|(all, one)| all.merge(one));
            counters.add(&ledger.counters);
            series.merge(&ledger.series);
        }
        let pairs: Vec<_> =
            times.into_iter().enumerate().map(|(pair, times)| self.flow(pair, times)).collect();
        let counts = self.counts(&counters, &pairs);
        let sums_agree = !is_whole
            || counts.expected + self.refused_deliveries == counts.delivered + counts.lost + counts.missed;
        let properties = Property::ALL.map(|property| self.property(property, &counters)).to_vec();
        Findings {
            counts,
            properties,
            pairs,
            phases: self.phases,
            causes: self.causes.explain(),
            lost_by_fault: self.lost_by_fault,
            returns: self.returns,
            lost_by_second: self.lost_by_second,
            latencies,
            series,
            lost_between_us: self.lost_between_us,
            sums_agree,
        }
    }

    fn flow(&self, pair: usize, times: Times) -> Pair {
        Pair {
            from: u16::try_from(pair / usize::from(self.replicas)).expect("fewer replicas"),
            to: u16::try_from(pair % usize::from(self.replicas)).expect("fewer replicas"),
            expected: self.phases.iter().map(|flow| flow.expected[pair]).sum(),
            missing: self.missing[pair],
            times,
        }
    }

    fn counts(&self, counters: &Counters, pairs: &[Pair]) -> Counts {
        let violations = |property| self.tallies.get(property).violations;
        Counts {
            expected: pairs.iter().map(|pair| pair.expected).sum(),
            delivered: counters.delivered,
            late: counters.late,
            duplicated: counters.duplicated,
            repeated: counters.repeated,
            foreign: counters.foreign,
            skipped: self.phases.iter().map(|flow| flow.skipped).sum(),
            contradicted: counters.contradicted,
            resumed: counters.resumed,
            not_resumed: counters.not_resumed,
            gap_notices: counters.notices,
            reordered: violations(Property::Fifo),
            corrupted: violations(Property::Integrity),
            leaked: violations(Property::Isolation) + violations(Property::Membership),
            created: violations(Property::Creation),
            ..self.counts
        }
    }

    fn property(&self, property: Property, counters: &Counters) -> (Property, u64, Tally) {
        let checked = match property {
            Property::Creation | Property::Duplication | Property::Integrity | Property::Isolation => {
                counters.judged
            }
            Property::Fifo => counters.ordered,
            Property::Loss => self.owed.saturating_sub(self.owed_own),
            Property::TotalOrder => counters.placed,
            Property::CausalOrder => counters.caused,
            Property::Echo => self.owed_own,
            Property::Membership => counters.farewells,
            Property::Resume => counters.resumed,
            Property::Timeliness => {
                if self.rules.timeliness {
                    counters.delivered
                } else {
                    0
                }
            }
            Property::Recovery => self.probed,
        };
        (property, checked, self.tallies.get(property).clone())
    }
}

impl Counters {
    fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.late += other.late;
        self.judged += other.judged;
        self.ordered += other.ordered;
        self.placed += other.placed;
        self.caused += other.caused;
        self.duplicated += other.duplicated;
        self.repeated += other.repeated;
        self.contradicted += other.contradicted;
        self.leaves += other.leaves;
        self.farewells += other.farewells;
        self.resumed += other.resumed;
        self.not_resumed += other.not_resumed;
        self.notices += other.notices;
        self.foreign += other.foreign;
    }
}

/// The send of what nobody sent.
const NOBODYS: Sent = Sent {
    intended_us: 0,
    committed_us: 0,
    sender: Stamp::NONE,
    delivered: 0,
    replica: 0,
    outcome: Outcome::Info,
    kind: Kind::Work,
};

fn missing_detail(property: Property, absence: Absence, outcome: Outcome) -> &'static str {
    match (property, absence, outcome) {
        (_, Absence::Promised, _) => "sent while it was away; the server said that it would follow",
        (_, Absence::Away, _) => "sent while it was away; it came back and never got it",
        (_, Absence::Told, _) => "never came; the server told it of a gap",
        (Property::Echo, ..) => "the sender's own copy never came",
        (_, _, Outcome::Ok) => "acked, never delivered to this member",
        _ => "some members have it, this one never got it",
    }
}

/// Until when a message is known to have been on its way: the ack, or the first copy that came.
fn alive_us(sent: &Sent) -> u64 {
    if sent.committed_us == NEVER { sent.intended_us } else { sent.committed_us }
}

fn example(room: u32, index: u32, sent: &Sent, receiver: &Receiver<'_>, detail: &str) -> Example {
    let room_name = match room & Stamp::ALL {
        0 => format!("room {room}"),
        _ => format!("all/{}", room & !Stamp::ALL),
    };
    let kind = crate::ledger::kind_name(sent.kind);
    Example {
        message: Some(format!("{room_name} #{index}{kind}")),
        place: (room & Stamp::ALL == 0).then_some((room, index)),
        sender: Some(sent.sender),
        from: Some(sent.replica),
        receiver: receiver.session.number,
        to: receiver.session.replica,
        room: room_name,
        at_us: sent.intended_us,
        alive_us: alive_us(sent),
        detail: detail.to_owned(),
        witness: Vec::new(),
    }
}
