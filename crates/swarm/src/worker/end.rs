//! The end: fences close the windows, one member of each room leaves to see that it hears nothing more, all part.
//!
//! A fence is a message of its own kind, sent into a room through each replica. As a replica hands on what one sender
//! sent in order, a member that has the fences of all replicas has, or has lost, everything sent before: nobody has to
//! guess how long to wait.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::{Instant, sleep};
use ws_analysis::{
    ledger::{Ledger, Membership, To},
    log::{NEVER, Outcome},
};
use ws_wire::stamp::Kind;

use super::{CHECK_EVERY, Worker};
use crate::socket::State;

/// The same after an interrupt.
const INTERRUPTED_PATIENCE: Duration = Duration::from_millis(1500);

/// A fence that has not come after this time is sent again where nothing else comes either,
const FENCE_AGAIN: Duration = Duration::from_secs(1);

/// and after this in any case.
const FENCE_AGAIN_MOVING: Duration = Duration::from_secs(4);

/// Deliveries of fences, or of farewells, of one worker that are on their way.
const AT_ONCE: u64 = 4000;

/// A room whose fences are on their way.
struct Fencing {
    room: u32,
    deliveries: u64,
    began: Instant,
    /// The last time.
    sent: Instant,
}

/// With something missing, and nothing new for so long (and for D), the windows close: late is not lost.
const IDLE_GAP: Duration = Duration::from_secs(2);

/// That much longer at most, while something still comes.
const IDLE_GAPS: u32 = 12;

/// How long a leave may take.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(5);

/// How long the closing handshakes may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

impl Worker {
    /// Sends fences until everyone has them or patience ends; returns the rooms where somebody has not. Rooms begin one
    /// after another: all fences of ten thousand rooms at once would be the heaviest load of the run.
    pub(super) async fn fence(&self, to_all: u64) -> Vec<u32> {
        let is_fenced = self.has_sent.get() && !self.plan.protocol.is_one_way();
        let rooms = if is_fenced { self.with_ledger(|ledger| ledger.rooms().len()) } else { 0 };
        let mut waiting = (0..u32::try_from(rooms).expect("rooms are counted in 32 bits")).peekable();
        let (mut begun, mut unfenced): (Vec<Fencing>, Vec<u32>) = (Vec::new(), Vec::new());
        let began = Instant::now();
        let (mut stopped, mut next_to_all) = (None, began);
        let (mut judged, mut moved) = (0, began);
        loop {
            let now = Instant::now();
            let judged_now = self.with_ledger(|ledger| ledger.judged_count());
            if std::mem::replace(&mut judged, judged_now) != judged_now {
                moved = now;
            }
            // While something comes, what is missing is not lost but behind that: sent again, it would only come twice.
            let is_moving = now < moved + FENCE_AGAIN;
            begun.retain(|room| self.with_ledger(|ledger| ledger.fences_missing(room.room)) != 0);
            let given_up = begun.extract_if(.., |room| now >= room.began + self.plan.settle);
            unfenced.extend(given_up.map(|room| room.room));
            let fenced = rooms - waiting.len() - begun.len() - unfenced.len();
            self.counters().fenced_rooms.store(fenced as u64, Relaxed);
            let all_has = to_all == 0
                || now >= began + self.plan.settle
                || self.with_ledger(|ledger| ledger.has_fences_to_all(to_all));
            if self.stop.is_cancelled() {
                stopped.get_or_insert(now);
            }
            let is_over = stopped.is_some_and(|stopped| now >= stopped + INTERRUPTED_PATIENCE);
            if is_over || all_has && begun.is_empty() && waiting.peek().is_none() {
                break;
            }
            let patient = if is_moving { FENCE_AGAIN_MOVING } else { FENCE_AGAIN };
            for room in begun.iter_mut().filter(|room| now >= room.sent + patient) {
                self.send_fences(room.room);
                room.sent = now;
            }
            let is_awaited = |room: &&Fencing| now < room.began + patient;
            let mut under_way: u64 = begun.iter().filter(is_awaited).map(|room| room.deliveries).sum();
            while let Some(room) = waiting.next_if(|_| under_way < AT_ONCE) {
                self.send_fences(room);
                let deliveries = self.fence_deliveries(room);
                under_way += deliveries;
                begun.push(Fencing { room, deliveries, began: now, sent: now });
            }
            if to_all != 0 && now >= next_to_all {
                next_to_all = now + patient;
                self.send_fences_to_all();
            }
            sleep(CHECK_EVERY).await;
        }
        unfenced.extend(begun.iter().map(|room| room.room).chain(waiting));
        let complete = || {
            self.with_ledger(|ledger| {
                (0..).zip(ledger.rooms()).all(|(room, _)| ledger.is_complete(room, &[Outcome::Ok]))
            })
        };
        self.wait_for_stragglers(complete).await;
        self.with_ledger(Ledger::fenced);
        unfenced
    }

    /// Deliveries that the fences of a room are, if it has members on every replica.
    fn fence_deliveries(&self, room: u32) -> u64 {
        let replicas = self.replicas.borrow().names.len() as u64;
        self.with_ledger(|ledger| ledger.rooms()[room as usize].members.len() as u64) * replicas
    }

    /// Waits while it is not `complete` and something still comes.
    async fn wait_for_stragglers(&self, complete: impl Fn() -> bool) {
        let idle_gap = IDLE_GAP.max(Duration::from_micros(self.plan.deadline_us));
        let patience = if self.stop.is_cancelled() { INTERRUPTED_PATIENCE } else { idle_gap * IDLE_GAPS };
        let deadline = Instant::now() + patience;
        let judged = || self.with_ledger(|ledger| ledger.judged_count());
        let (mut seen, mut since) = (judged(), Instant::now());
        while !complete() && since.elapsed() < idle_gap && Instant::now() < deadline {
            sleep(CHECK_EVERY).await;
            if judged() != seen {
                (seen, since) = (judged(), Instant::now());
            }
        }
    }

    /// One member of each complete room leaves, and another sends: the one that left must not hear it.
    pub(super) async fn farewell(&self, unfenced: &[u32]) {
        if self.stop.is_cancelled() || !self.has_sent.get() || !self.plan.protocol.can_leave() {
            return;
        }
        let mut leavers = Vec::new();
        for room in
            (0..self.with_ledger(|ledger| ledger.rooms().len() as u32)).filter(|r| !unfenced.contains(r))
        {
            let open = self.open_members(room, |_| true);
            let [first, .., last] = open[..] else { continue };
            self.socket(last).wants_room.set(false);
            let name = self.with_ledger(|ledger| {
                ledger.leave_invoked(last, NEVER);
                ledger.rooms()[room as usize].name.clone()
            });
            self.socket(last).leave(self, &name);
            leavers.push((room, first, last));
        }
        let left = |&(_, _, leaver): &(u32, u32, u32)| {
            self.with_ledger(|ledger| ledger.sessions()[leaver as usize].membership == Membership::Left)
        };
        self.wait_until(FAREWELL_PATIENCE, || leavers.iter().all(left)).await;
        leavers.retain(left);
        // What was not answered yet is still on its way.
        let complete = |&(room, ..): &(u32, u32, u32)| {
            self.with_ledger(|ledger| ledger.is_complete(room, &[Outcome::Ok, Outcome::Info]))
        };
        let size = |room: u32| self.with_ledger(|ledger| ledger.rooms()[room as usize].members.len() as u64);
        let (mut from, mut under_way) = (0, 0);
        for (place, &(room, sender, _)) in leavers.iter().enumerate() {
            if under_way + size(room) > AT_ONCE {
                self.wait_until(FENCE_AGAIN, || leavers[from..place].iter().all(complete)).await;
                (from, under_way) = (place, 0);
            }
            under_way += size(room);
            if self.socket(sender).is_open() {
                self.send_from(sender, To::Room, Kind::Farewell, self.now_us());
            }
        }
        self.wait_for_stragglers(|| leavers.iter().all(complete)).await;
    }

    /// Closing handshakes with all; what comes before their end is still judged.
    pub(super) async fn close(&self) {
        self.parting.set(true);
        for socket in self.sockets.iter().filter(|socket| socket.is_open()) {
            socket.close(self);
        }
        let closed = || self.sockets.iter().all(|socket| socket.state.get() != State::Closing);
        self.wait_until(CLOSE_PATIENCE, closed).await;
    }

    /// One fence into the room through each replica of which somebody still misses one.
    fn send_fences(&self, room: u32) {
        let missing = self.with_ledger(|ledger| ledger.fences_missing(room));
        for bit in (0..u64::BITS).filter(|bit| missing >> bit & 1 == 1) {
            let senders = self.open_members(room, |replica| u32::from(replica) % u64::BITS == bit);
            if let Some(&sender) = senders.first() {
                self.send_from(sender, To::Room, Kind::Fence, self.now_us());
            }
        }
    }

    /// One fence to all through each replica where this worker has somebody.
    fn send_fences_to_all(&self) {
        let mut done = 0_u64;
        let rooms = self.with_ledger(|ledger| ledger.rooms().len() as u32);
        for member in (0..rooms).flat_map(|room| self.open_members(room, |_| true)) {
            let bit = 1
                << (u32::from(self.with_ledger(|ledger| ledger.sessions()[member as usize].replica))
                    % u64::BITS);
            if done & bit == 0 {
                done |= bit;
                self.send_from(member, To::All, Kind::Fence, self.now_us());
            }
        }
    }

    fn open_members(&self, room: u32, on: impl Fn(u16) -> bool) -> Vec<u32> {
        self.with_ledger(|ledger| {
            let members = ledger.rooms()[room as usize].members.clone();
            members
                .filter(|&me| {
                    let session = &ledger.sessions()[me as usize];
                    session.is_member() && on(session.replica)
                })
                .collect()
        })
    }

    pub(super) fn with_ledger<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(self.ledger.borrow_mut().as_mut().expect("made with the joins"))
    }
}
