//! The end of a run: the windows are closed, and what is missing is judged over all the ledgers.
//!
//! A message **binds** if it was acked, or if some member has it though its send was never answered. Whom a binding
//! message is owed is told by [`Absence`], whether its absence is a violation by the contract. A message to all that
//! was refused or never answered binds in the same way.

mod causes;
mod witness;

use std::collections::HashMap;

use ws_wire::stamp::{Kind, Stamp};

use crate::{
    contract::Rules,
    ledger::{Absence, Counters, Example, Ledger, Session, Setup, Tallies, Tally},
    log::{Log, Outcome, Sent},
    property::Property,
    received::Received,
    series::Series,
    stats::{Latencies, Times},
    timeline::{Phase, Timeline},
};
pub use causes::Cause;
use causes::Causes;

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
    /// Resumes that the server confirmed.
    pub resumed: u64,
    /// Resumes that it did not confirm.
    pub not_resumed: u64,
    /// Gap notices that came.
    pub gap_notices: u64,
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

/// Judges what is missing, and adds everything up. The ledgers are in the order of their workers.
#[must_use]
pub fn judge(mut ledgers: Vec<Ledger>, timeline: &Timeline) -> Findings {
    let mut judge = Judge::new(&ledgers[0].setup, timeline);
    for ledger in &ledgers {
        for room in &ledger.rooms {
            let members = &ledger.sessions[room.members.start as usize..room.members.end as usize];
            let receivers: Vec<_> = members.iter().map(Receiver::in_room).collect();
            judge.log(room.number, &room.log, &receivers);
        }
    }
    let workers = ledgers[0].to_all.len();
    for worker in 0..workers {
        let everyone = ledgers.iter().flat_map(|ledger| &ledger.sessions);
        let receivers: Vec<_> = everyone.map(|session| Receiver::of_all(session, worker)).collect();
        let room = Stamp::ALL | u32::try_from(worker).expect("workers are few");
        judge.log(room, &ledgers[worker].to_all[worker], &receivers);
    }
    for due_us in ledgers.iter().flat_map(|ledger| &ledger.skipped) {
        let phase = judge.phase(*due_us);
        judge.phases[phase].skipped += 1;
    }
    judge.probes(&ledgers);
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
    phases: Vec<PhaseFlow>,
    missing: Vec<u64>,
    causes: Causes,
    lost_by_fault: Vec<u64>,
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

    fn absence(&self, index: u32, sent: &Sent, deadline_us: u64) -> Absence {
        if self.of_all {
            self.session.absence_of_all(sent, deadline_us)
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
            phases: timeline.phases().into_iter().map(flow).collect(),
            missing: vec![0; pairs],
            causes: Causes::default(),
            lost_by_fault: vec![0; timeline.faults.len()],
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
                match receiver.absence(index, sent, self.deadline_us) {
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
            let fault = self.timeline.fault_at(sent.intended_us);
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
            _ if own && alone => Property::Echo,
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

    /// P13: after the last heal everybody was back, and the fences went from every replica to every replica.
    fn probes(&mut self, ledgers: &[Ledger]) {
        if self.timeline.faults.is_empty() {
            return;
        }
        for session in ledgers.iter().flat_map(|ledger| &ledger.sessions).filter(|one| one.is_cut_off()) {
            let detail = "it was cut off, and could not get back into its room in time".to_owned();
            let example = pair_example(session.replica, session.replica, detail);
            self.tallies.violate(Property::Recovery, Example { receiver: session.number, ..example });
        }
        // Where all are gone nobody could send any.
        if self.counts.fences == 0 {
            return;
        }
        let pairs = usize::from(self.replicas) * usize::from(self.replicas);
        // Probes that were to go over a pair, and those that did not arrive.
        let mut probes = vec![(0_u64, 0_u64); pairs];
        for ledger in ledgers {
            ledger.probes(|from, to, arrived| {
                let (sent, missing) =
                    &mut probes[usize::from(from) * usize::from(self.replicas) + usize::from(to)];
                *sent += 1;
                *missing += u64::from(!arrived);
            });
        }
        for (from, row) in (0..).zip(probes.chunks(usize::from(self.replicas))) {
            for (to, &(sent, missing)) in (0..).zip(row) {
                self.probed += 1;
                if sent == 0 || missing > 0 {
                    let detail = match sent {
                        0 => "nobody could be there to send or to hear a probe".to_owned(),
                        _ => format!("{missing} of {sent} probes did not arrive in time after the last heal"),
                    };
                    self.tallies.violate(Property::Recovery, pair_example(from, to, detail));
                }
            }
        }
    }

    /// P12: late, and no fault was on that could have held it.
    fn lateness(&mut self, ledger: &mut Ledger) {
        if !self.rules.timeliness {
            return;
        }
        for late in std::mem::take(&mut ledger.late) {
            if !self.timeline.is_disturbed(late.due_us, late.came_us) {
                self.tallies.violate_with(Property::Timeliness, || late.example);
            }
        }
    }

    fn phase(&self, due_us: u64) -> usize {
        self.phases.partition_point(|flow| flow.phase.start_us <= due_us) - 1
    }

    fn pair(&self, from: u16, to: u16) -> usize {
        usize::from(from) * usize::from(self.replicas) + usize::from(to)
    }

    fn finish(self, ledgers: Vec<Ledger>) -> Findings {
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
        let sums_agree =
            counts.expected + self.refused_deliveries == counts.delivered + counts.lost + counts.missed;
        let properties = Property::ALL.map(|property| self.property(property, &counters)).to_vec();
        Findings {
            counts,
            properties,
            pairs,
            phases: self.phases,
            causes: self.causes.explain(),
            lost_by_fault: self.lost_by_fault,
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
        detail: detail.to_owned(),
        witness: Vec::new(),
    }
}

fn pair_example(from: u16, to: u16, detail: String) -> Example {
    Example {
        message: None,
        place: None,
        sender: None,
        from: Some(from),
        receiver: Stamp::NONE,
        to,
        room: String::new(),
        at_us: 0,
        detail,
        witness: Vec::new(),
    }
}
