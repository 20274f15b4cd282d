//! What one delivery shows.

use ws_wire::{
    message::{PositionRef, Target},
    stamp::{Damage, Kind, Stamp},
};

use super::{Example, Late, Ledger, Membership, Place, tally};
use crate::{
    history::Event,
    log::Log,
    property::Property,
    received::{Insert, Received},
};

/// Above any count of messages to all in one run: a stamp beyond is not ours.
const MAX_TO_ALL: usize = 1 << 26;

/// A delivery as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Where its frame says it belongs.
    pub target: Target<'a>,
    /// The mark in its payload.
    pub stamp: Result<Stamp, Damage>,
    /// Its place in the room's order, where the frame has one.
    pub position: Option<PositionRef<'a>>,
}

impl<'a> Arrival<'a> {
    /// With the stamp of `payload`.
    #[must_use]
    pub fn read(target: Target<'a>, payload: &str, position: Option<PositionRef<'a>>) -> Self {
        Self { target, stamp: Stamp::parse(payload), position }
    }
}

/// The room of a delivery, seen from its receiver.
#[derive(Clone, Copy, PartialEq)]
enum Channel {
    Own,
    All(u32),
}

impl Ledger {
    /// A delivery reached `session`.
    pub fn delivered(&mut self, session: u32, arrival: Arrival<'_>, now_us: u64) {
        if self.journal.is_some() {
            self.note(&Event::delivered(session, &arrival, now_us));
        }
        let (stamp, whole) = match arrival.stamp {
            Ok(stamp) => (stamp, true),
            Err(Damage::Payload(stamp)) => (stamp, false),
            Err(Damage::Foreign) => {
                self.foreign(session, arrival.target, now_us, "there is no stamp in it");
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
            self.foreign(session, arrival.target, now_us, "it belongs to another run");
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
        let Some(channel) = self.channel(session, arrival.target, &stamp, now_us) else { return };
        if !self.was_sent(session, channel, &stamp) {
            self.violate(Property::Creation, session, &stamp, now_us, "nobody sent it");
            return;
        }
        let is_new = self.receive(session, channel, &stamp, now_us);
        match channel {
            Channel::Own if is_new => self.in_order(session, &stamp, arrival.position, now_us),
            Channel::Own => {}
            Channel::All(_) => self.sessions[session as usize].heard_of_all_us = now_us,
        }
    }

    /// Somebody else's message. To all anybody may send; the names of our rooms nobody else can know.
    fn foreign(&mut self, session: u32, target: Target<'_>, now_us: u64, detail: &str) {
        self.counters.foreign += 1;
        if let Target::Room(room) = target {
            let example = self.example(session, None, now_us, &format!("{detail}; it came as room {room}"));
            self.tallies.violate(Property::Isolation, example);
        }
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
        let trespass = match receiver.membership {
            Membership::Outside => "delivered before the join",
            Membership::Left => "delivered after the leave was acked",
            Membership::Joining | Membership::Member | Membership::Leaving(_) => return Some(Channel::Own),
        };
        self.violate(Property::Membership, session, stamp, now_us, trespass);
        None
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

    /// A delivery that was sent, to one who may have it: is it new, and is it in order? Says whether it is new.
    fn receive(&mut self, session: u32, channel: Channel, stamp: &Stamp, now_us: u64) -> bool {
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
                worker * u32::from(self.setup.replicas()) + u32::from(stamp.replica),
            ),
        };
        log.link(stamp.previous, stamp.index);
        let insert = received.insert(stamp.index);
        // What an old connection may have had is not this one's doing.
        let stale = match channel {
            Channel::Own => stamp.index < receiver.fresh_from,
            Channel::All(_) => stamp.intended_us < receiver.fresh_of_all_us,
        };
        if insert == Insert::Duplicate {
            if stale {
                self.counters.repeated += 1;
            } else {
                self.duplicate(session, stamp, now_us);
            }
            return false;
        }
        self.counters.ordered += u64::from(stamp.previous != Stamp::NONE);
        let overtaken =
            (insert == Insert::Behind && !stale).then(|| later_one(received, log, stamp.index)).flatten();
        if stamp.kind == Kind::Fence {
            flow.fences |= 1 << (fence % u64::BITS);
        }
        if let Some(sent) = log.get_mut(stamp.index) {
            sent.delivered += 1;
            sent.committed_us = sent.committed_us.min(now_us);
        }
        if stamp.kind == Kind::Work {
            self.time(session, channel, stamp, now_us);
        }
        if let Some(later) = overtaken {
            let detail = format!("came after #{later}, which the same sender sent later");
            self.violate(Property::Fifo, session, stamp, now_us, &detail);
        }
        true
    }

    fn duplicate(&mut self, session: u32, stamp: &Stamp, now_us: u64) {
        let receiver = &self.sessions[session as usize];
        let own = stamp.sender == receiver.number;
        let detail = match receiver.spans.len() {
            0 | 1 => "a second copy on the same connection",
            _ => "a second copy, on the same connection or after a resume",
        };
        self.counters.duplicated += 1;
        let property = if own { Property::Echo } else { Property::Duplication };
        self.violate(property, session, stamp, now_us, detail);
    }

    /// P7 and P8, where they are proved, for a new message of the receiver's own room.
    fn in_order(&mut self, session: u32, stamp: &Stamp, position: Option<PositionRef<'_>>, now_us: u64) {
        let rules = self.setup.rules;
        if let Some(position) = position.filter(|_| rules.total_order) {
            self.one_order(session, stamp, position, now_us);
        }
        if rules.causal_order {
            self.after_its_cause(session, stamp, now_us);
        }
        let receiver = &mut self.sessions[session as usize];
        receiver.latest = stamp.index;
        receiver.heard_us = now_us;
    }

    fn one_order(&mut self, session: u32, stamp: &Stamp, position: PositionRef<'_>, now_us: u64) {
        self.counters.placed += 1;
        let place = Place { epoch: self.epoch(position.epoch), offset: position.offset };
        let receiver = &mut self.sessions[session as usize];
        let log = &mut self.rooms[receiver.room as usize].log;
        let before = receiver.place.filter(|before| before.epoch == place.epoch);
        receiver.place = Some(place);
        let is_same = log.place(stamp.index, place);
        if !is_same {
            let detail = format!("others have it at another place than {}", place.offset);
            self.violate(Property::TotalOrder, session, stamp, now_us, &detail);
        } else if let Some(before) = before.filter(|before| before.offset >= place.offset) {
            let detail = format!("offset {} came after {}", place.offset, before.offset);
            self.violate(Property::TotalOrder, session, stamp, now_us, &detail);
        }
    }

    fn epoch(&mut self, name: &str) -> u16 {
        let place = self.epochs.iter().rposition(|epoch| epoch == name).unwrap_or_else(|| {
            self.epochs.push(name.to_owned());
            self.epochs.len() - 1
        });
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    /// The cause may be lost: then it never comes, and that is P3's to tell.
    fn after_its_cause(&mut self, session: u32, stamp: &Stamp, now_us: u64) {
        let receiver = &mut self.sessions[session as usize];
        self.counters.caused += u64::from(stamp.cause != Stamp::NONE);
        let answered = receiver.early.iter().position(|(cause, _)| *cause == stamp.index);
        let owed = receiver.spans.last().is_some_and(|span| stamp.cause >= span.from);
        if stamp.cause != Stamp::NONE && owed && !receiver.received.contains(stamp.cause) {
            receiver.early.push((stamp.cause, stamp.index));
        }
        if let Some(place) = answered {
            let (_, answer) = receiver.early.swap_remove(place);
            let detail = format!("came after #{answer}, which was sent in answer to it");
            self.violate(Property::CausalOrder, session, stamp, now_us, &detail);
        }
    }

    /// Counts and times a new delivery of work.
    fn time(&mut self, session: u32, channel: Channel, stamp: &Stamp, now_us: u64) {
        let receiver = &self.sessions[session as usize];
        let latency = now_us.saturating_sub(stamp.intended_us);
        self.counters.delivered += 1;
        self.latencies.delivery.record(latency);
        let second = self.series.at(now_us);
        second.delivered += 1;
        second.times.record(latency);
        let pair =
            usize::from(stamp.replica) * usize::from(self.setup.replicas()) + usize::from(receiver.replica);
        if let Some(times) = self.pairs.get_mut(pair) {
            times.record(latency);
        }
        if channel == Channel::Own {
            let room = &self.rooms[receiver.room as usize];
            let delivered = room.log.get(stamp.index).map_or(0, |sent| sent.delivered);
            if delivered == 1 {
                self.latencies.fanout_first.record(latency);
            }
            if delivered == room.members.end - room.members.start {
                self.latencies.fanout_last.record(latency);
            }
        }
        if latency > self.setup.deadline_us {
            self.late(session, stamp, now_us);
        }
    }

    fn late(&mut self, session: u32, stamp: &Stamp, now_us: u64) {
        self.counters.late += 1;
        let second = stamp.intended_us / 1_000_000;
        if let Some(late) = self.late.get_mut(&second) {
            late.count += 1;
            late.came_us = now_us;
            return;
        }
        let after_ms = (now_us - stamp.intended_us) / 1000;
        let detail = format!("came {after_ms} ms after it was due");
        let example = self.example(session, Some(stamp), now_us, &detail);
        self.late.insert(second, Late { count: 1, came_us: now_us, example });
    }

    fn violate(&mut self, property: Property, session: u32, stamp: &Stamp, now_us: u64, detail: &str) {
        let example = self.example(session, Some(stamp), now_us, detail);
        self.tallies.violate(property, example);
    }

    fn example(&self, session: u32, stamp: Option<&Stamp>, at_us: u64, detail: &str) -> Example {
        let receiver = &self.sessions[session as usize];
        Example {
            message: stamp.map(tally::message_name),
            place: stamp.filter(|stamp| stamp.room & Stamp::ALL == 0).map(|stamp| (stamp.room, stamp.index)),
            sender: stamp.map(|stamp| stamp.sender),
            from: stamp.map(|stamp| stamp.replica),
            receiver: receiver.number,
            to: receiver.replica,
            room: format!("room {}", self.rooms[receiver.room as usize].number),
            at_us,
            alive_us: at_us,
            detail: detail.to_owned(),
            witness: Vec::new(),
        }
    }
}

/// A message that `index`'s sender sent later and this receiver already has.
fn later_one(received: &Received, log: &Log, index: u32) -> Option<u32> {
    let mut later = log.next(index)?;
    while !received.contains(later) {
        later = log.next(later)?;
    }
    Some(later)
}
