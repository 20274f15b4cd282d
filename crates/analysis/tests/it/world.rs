//! One room of a few members on two replicas, played by hand.

use std::collections::BTreeMap;

use ws_analysis::{
    judge::{self, Findings},
    ledger::{Ledger, Membership, Setup, To},
    property::Property,
};
use ws_wire::{
    message::Target,
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
    /// A session's connection ends.
    End(u32),
    /// A session gets a message that nobody sent.
    Invent(u32),
    /// Time passes, in microseconds.
    Wait(u64),
}

/// A ledger with `members` in one room and one more session in another.
pub(crate) struct World {
    ledger: Ledger,
    sent: Vec<(u32, To, Stamp, String)>,
    now_us: u64,
}

impl World {
    pub(crate) fn new(members: u32) -> Self {
        let topology = Topology { connections: members * 2, rooms: 2, workers: 1 };
        let mut ledger = Ledger::new(Setup {
            run: 7,
            worker: 0,
            topology,
            room_prefix: PREFIX.into(),
            follow_all: true,
            replicas: 2,
            deadline_us: DEADLINE_US,
        });
        for session in 0..members * 2 {
            let replica = u16::from(session % 2 == 1);
            let session = ledger.session_mut(session);
            session.replica = replica;
            session.membership = Membership::Member;
        }
        Self { ledger, sent: Vec::new(), now_us: 0 }
    }

    pub(crate) fn play(mut self, history: &[Ev]) -> Findings {
        for event in history {
            self.now_us += 1;
            self.step(*event);
        }
        judge::judge(vec![self.ledger])
    }

    fn step(&mut self, event: Ev) {
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
                self.ledger.delivered(session, target, payload, now_us);
            }
            Ev::DeliverDamaged(session, message) => {
                let (sender, _, _, payload) = &self.sent[message];
                let room = self.room_of(*sender);
                let damaged = format!("{}!", &payload[..payload.len() - 1]);
                self.ledger.delivered(session, Target::Room(&room), &damaged, now_us);
            }
            Ev::DeliverAs(session, message, room) => {
                let payload = &self.sent[message].3;
                self.ledger.delivered(session, Target::Room(room), payload, now_us);
            }
            Ev::Leave(session) => self.ledger.leave_invoked(session),
            Ev::Left(session) => self.ledger.left(session),
            Ev::End(session) => self.ledger.session_mut(session).ended_us = Some(now_us),
            Ev::Invent(session) => {
                let stamp = Stamp { index: 1000, ..self.sent[0].2 };
                let mut payload = String::new();
                stamp.write(120, &mut payload);
                self.ledger.delivered(session, Target::Room("room-0"), &payload, now_us);
            }
            Ev::Wait(us) => self.now_us += us,
        }
    }

    fn send(&mut self, session: u32, to: To) {
        let stamp = self.ledger.send(session, to, Kind::Work, self.now_us);
        let mut payload = String::new();
        stamp.write(120, &mut payload);
        self.sent.push((session, to, stamp, payload));
    }

    fn room_of(&self, session: u32) -> String {
        self.ledger.rooms()[self.ledger.sessions()[session as usize].room as usize].name.clone()
    }
}

/// The properties that were broken, and how often.
pub(crate) fn broken(findings: &Findings) -> BTreeMap<Property, u64> {
    let broken = findings.properties.iter().filter(|(_, _, tally)| tally.violations > 0);
    broken.map(|(property, _, tally)| (*property, tally.violations)).collect()
}
