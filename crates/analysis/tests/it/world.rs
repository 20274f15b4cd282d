//! One room of a few members on two replicas, played by hand.

use std::collections::BTreeMap;

use ws_analysis::{
    contract::Rules,
    history::{self, Header},
    judge::{self, Findings},
    ledger::{Arrival, Ledger, Setup, To},
    property::Property,
    timeline::Timeline,
};
use ws_wire::{
    message::{PositionRef, Target},
    stamp::{Kind, Stamp},
};
use ws_workload::topology::Topology;

/// Names the run's rooms.
pub(crate) const PREFIX: &str = "room-";

/// Which a delivery owed less than this before the end of a connection may miss, in microseconds.
pub(crate) const DEADLINE_US: u64 = 1000;

/// What happens; sessions and messages are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ev {
    /// A session sends the next message into its room.
    Send(u32),
    /// A session sends the next message to all.
    SendAll(u32),
    /// A message is acked.
    Ack(usize),
    /// A message is refused.
    Refuse(usize),
    /// A session gets a message.
    Deliver(u32, usize),
    /// A session gets a message whose last byte is another.
    DeliverDamaged(u32, usize),
    /// A session gets a message as one of the other room.
    DeliverAs(u32, usize, &'static str),
    /// A session asks to leave.
    Leave(u32),
    /// The leave is acked.
    Left(u32),
    /// A session gets a message at this offset of the room's order.
    DeliverAt(u32, usize, u64),
    /// The same in this epoch.
    DeliverIn(u32, usize, &'static str, u64),
    /// A session gets a message whose stamp is another in one field.
    Forge(u32, usize, Field),
    /// A session gets something as long as a message: this text.
    DeliverText(u32, &'static str),
    /// A session's connection ends.
    End(u32),
    /// A session is back on the other replica and a member again, with this answer to its resume.
    Back(u32, Option<bool>),
    /// The same in two steps: it asks,
    AskBack(u32),
    /// and is answered.
    AckBack(u32, Option<bool>),
    /// A message was due that nobody could send.
    Skip,
    /// The fences are through.
    Fenced,
    /// A session asks to leave behind them.
    LeaveFenced(u32),
    /// A session that left joins again on the same connection.
    JoinAgain(u32),
    /// A session's connection ends, and this was its last proof of life.
    EndHeard(u32, u64),
    /// A session sends a fence into its room.
    Fence(u32),
    /// A session sends a fence to all.
    FenceAll(u32),
    /// A session is told of a gap.
    Gap(u32),
    /// A session is told of a gap in the messages to all.
    GapAll(u32),
    /// A session gets a message that nobody sent.
    Invent(u32),
    /// Time passes, in microseconds.
    Wait(u64),
}

/// What is changed of a stamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field {
    Run,
    Sender,
    Kind,
    /// Of a message to all: the worker.
    Worker,
    Index(u32),
}

/// A ledger with `members` in one room and one more session in another.
pub(crate) struct World {
    ledger: Ledger,
    timeline: Timeline,
    sent: Vec<(u32, To, Stamp, String)>,
    now_us: u64,
}

impl World {
    pub(crate) fn new(members: u32) -> Self {
        Self::under(Rules::default(), members)
    }

    /// Held to `rules`.
    pub(crate) fn under(rules: Rules, members: u32) -> Self {
        Self::on(2, rules, members)
    }

    /// On so many replicas.
    pub(crate) fn on(replicas: u16, rules: Rules, members: u32) -> Self {
        let topology = Topology::even(members * 2, 2, 1);
        let mut ledger = Ledger::new(Setup {
            run: 7,
            worker: 0,
            topology,
            room_prefix: PREFIX.into(),
            follow_all: true,
            nodes: (1..=replicas).map(|number| format!("app-{number}")).collect(),
            deadline_us: DEADLINE_US,
            rules,
            has_ways_back: true,
        });
        join_all(&mut ledger);
        Self { ledger, timeline: Timeline::default(), sent: Vec::new(), now_us: 0 }
    }

    /// With faults.
    pub(crate) fn with(mut self, timeline: Timeline) -> Self {
        self.timeline = timeline;
        self
    }

    /// What it has seen so far.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Everything is written down as well, from the beginning.
    pub(crate) fn recorded(self) -> Self {
        let mut ledger = Ledger::new(self.ledger.setup().clone());
        ledger.keep_journal();
        join_all(&mut ledger);
        Self { ledger, ..self }
    }

    /// What was written down.
    pub(crate) fn history(&mut self) -> String {
        let header = Header { history: history::SCHEMA.into(), setups: vec![self.ledger.setup().clone()] };
        let header = serde_json::to_string(&header).expect("JSON");
        let lines = String::from_utf8(self.ledger.take_journal()).expect("JSON");
        format!("{header}\n{lines}")
    }

    pub(crate) fn judged(self) -> Findings {
        judge::judge(vec![self.ledger], &self.timeline)
    }

    pub(crate) fn play(self, history: &[Ev]) -> Findings {
        self.then(history).judged()
    }

    /// One event after another.
    pub(crate) fn then(mut self, history: &[Ev]) -> Self {
        for event in history {
            self.now_us += 1;
            self.step(*event);
        }
        self
    }

    /// One event at the time that it is.
    pub(crate) fn step(&mut self, event: Ev) {
        let now_us = self.now_us;
        match event {
            Ev::Send(session) => self.send(session, To::Room),
            Ev::SendAll(session) => self.send(session, To::All),
            Ev::Ack(message) => {
                let (session, to, stamp, _) = &self.sent[message];
                self.ledger.acked(*session, *to, stamp.index, now_us);
            }
            Ev::Refuse(message) => {
                let (session, to, stamp, _) = &self.sent[message];
                self.ledger.refused(*session, *to, stamp.index);
            }
            Ev::Deliver(session, message) => {
                let (sender, to, _, payload) = &self.sent[message];
                let room = self.room_of(*sender);
                let target = if *to == To::All { Target::All } else { Target::Room(&room) };
                self.ledger.delivered(session, Arrival::read(target, payload, None), now_us);
            }
            Ev::DeliverAt(session, message, offset) => {
                self.step(Ev::DeliverIn(session, message, "e", offset));
            }
            Ev::DeliverIn(session, message, epoch, offset) => {
                let (sender, _, _, payload) = &self.sent[message];
                let room = self.room_of(*sender);
                let position = Some(PositionRef { epoch, offset });
                self.ledger.delivered(session, Arrival::read(Target::Room(&room), payload, position), now_us);
            }
            Ev::DeliverDamaged(session, message) => {
                let (sender, _, _, payload) = &self.sent[message];
                let room = self.room_of(*sender);
                let damaged = format!("{}!", &payload[..payload.len() - 1]);
                self.ledger.delivered(session, Arrival::read(Target::Room(&room), &damaged, None), now_us);
            }
            Ev::DeliverAs(session, message, room) => {
                let payload = &self.sent[message].3;
                self.ledger.delivered(session, Arrival::read(Target::Room(room), payload, None), now_us);
            }
            Ev::Forge(session, message, field) => {
                let (sender, to, stamp, _) = &self.sent[message];
                let stamp = match field {
                    Field::Run => Stamp { run: stamp.run + 1, ..*stamp },
                    Field::Sender => Stamp { sender: stamp.sender + 1, ..*stamp },
                    Field::Kind => Stamp { kind: Kind::Farewell, ..*stamp },
                    Field::Worker => Stamp { room: stamp.room + 1, ..*stamp },
                    Field::Index(index) => Stamp { index, ..*stamp },
                };
                let room = self.room_of(*sender);
                let target = if *to == To::All { Target::All } else { Target::Room(&room) };
                let mut payload = String::new();
                stamp.write(120, &mut payload);
                self.ledger.delivered(session, Arrival::read(target, &payload, None), now_us);
            }
            Ev::DeliverText(session, text) => {
                let room = self.room_of(session);
                self.ledger.delivered(session, Arrival::read(Target::Room(&room), text, None), now_us);
            }
            Ev::Leave(session) => self.ledger.leave_invoked(session, now_us),
            Ev::Left(session) => self.ledger.left(session),
            Ev::End(session) => self.ledger.cut(session, now_us),
            Ev::Back(session, recovered) => {
                self.step(Ev::AskBack(session));
                self.step(Ev::AckBack(session, recovered));
            }
            Ev::AskBack(session) => {
                self.ledger.connected(session, u16::from(session % 2 == 0));
                self.ledger.join_invoked(session);
            }
            Ev::AckBack(session, recovered) => self.ledger.joined(session, recovered, recovered, now_us),
            Ev::Fenced => self.ledger.fenced(),
            Ev::LeaveFenced(session) => self.ledger.leave_invoked(session, u64::MAX),
            Ev::JoinAgain(session) => {
                self.ledger.join_invoked(session);
                self.ledger.joined(session, None, None, now_us);
            }
            Ev::EndHeard(session, heard_us) => self.ledger.cut(session, heard_us),
            Ev::Skip => self.ledger.skipped(now_us),
            Ev::Fence(session) => self.send_as(session, To::Room, Kind::Fence),
            Ev::FenceAll(session) => self.send_as(session, To::All, Kind::Fence),
            Ev::GapAll(session) => self.ledger.told_of_gap(session, To::All, now_us),
            Ev::Gap(session) => self.ledger.told_of_gap(session, To::Room, now_us),
            Ev::Invent(session) => {
                let stamp = Stamp { index: 1000, ..self.sent[0].2 };
                let mut payload = String::new();
                stamp.write(120, &mut payload);
                self.ledger.delivered(session, Arrival::read(Target::Room("room-0"), &payload, None), now_us);
            }
            Ev::Wait(us) => self.now_us += us,
        }
    }

    fn send(&mut self, session: u32, to: To) {
        self.send_as(session, to, Kind::Work);
    }

    fn send_as(&mut self, session: u32, to: To, kind: Kind) {
        let stamp = self.ledger.send(session, to, kind, self.now_us, self.now_us);
        let mut payload = String::new();
        stamp.write(120, &mut payload);
        self.sent.push((session, to, stamp, payload));
    }

    fn room_of(&self, session: u32) -> String {
        self.ledger.rooms()[self.ledger.sessions()[session as usize].room as usize].name.clone()
    }
}

/// Session after session on replica after replica, all in their room.
fn join_all(ledger: &mut Ledger) {
    let replicas = u32::try_from(ledger.setup().nodes.len()).expect("few");
    for session in 0..ledger.setup().topology.connections {
        ledger.connected(session, u16::try_from(session % replicas).expect("few"));
        ledger.join_invoked(session);
        ledger.joined(session, None, None, 0);
    }
}

/// The properties that were broken, and how often.
pub(crate) fn broken(findings: &Findings) -> BTreeMap<Property, u64> {
    let broken = findings.properties.iter().filter(|(_, _, tally)| tally.violations > 0);
    broken.map(|(property, _, tally)| (*property, tally.violations)).collect()
}
