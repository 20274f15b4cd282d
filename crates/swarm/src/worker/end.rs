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

/// A fence that has not come after this time is sent again.
const FENCE_AGAIN: Duration = Duration::from_secs(1);

/// With something missing, and nothing new for so long (and for D), the windows close: late is not lost.
const IDLE_GAP: Duration = Duration::from_secs(2);

/// How long a leave and what is sent after it may take.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(5);

/// How long the closing handshakes may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);

impl Worker {
    /// Sends fences until everyone has them or patience ends; returns the rooms where somebody has not.
    pub(super) async fn fence(&self, to_all: u64) -> Vec<u32> {
        let mut unfenced: Vec<u32> = if self.has_sent.get() {
            self.with_ledger(|ledger| (0..).zip(ledger.rooms()).map(|(room, _)| room).collect())
        } else {
            vec![]
        };
        let rooms = unfenced.len();
        let patience = if self.stop.is_cancelled() { INTERRUPTED_PATIENCE } else { self.plan.settle };
        let deadline = Instant::now() + patience;
        let mut next_try = Instant::now();
        loop {
            self.with_ledger(|ledger| unfenced.retain(|&room| ledger.fences_missing(room) != 0));
            self.counters().fenced_rooms.store((rooms - unfenced.len()) as u64, Relaxed);
            let all_has = to_all == 0 || self.with_ledger(|ledger| ledger.has_fences_to_all(to_all));
            let now = Instant::now();
            if unfenced.is_empty() && all_has || now >= deadline {
                break;
            }
            if now >= next_try {
                next_try = now + FENCE_AGAIN;
                unfenced.iter().for_each(|&room| self.send_fences(room));
                if to_all != 0 {
                    self.send_fences_to_all();
                }
            }
            sleep(CHECK_EVERY).await;
        }
        self.wait_for_stragglers().await;
        self.with_ledger(Ledger::fenced);
        unfenced
    }

    /// Waits while something acked is missing and something still comes.
    async fn wait_for_stragglers(&self) {
        let idle_gap = IDLE_GAP.max(Duration::from_micros(self.plan.deadline_us));
        let patience = if self.stop.is_cancelled() { INTERRUPTED_PATIENCE } else { idle_gap * 2 };
        let deadline = Instant::now() + patience;
        let judged = || self.with_ledger(|ledger| ledger.judged_count());
        let (mut seen, mut since) = (judged(), Instant::now());
        let complete = || {
            self.with_ledger(|ledger| {
                (0..).zip(ledger.rooms()).all(|(room, _)| ledger.is_complete(room, &[Outcome::Ok]))
            })
        };
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
        for &(_, sender, _) in &leavers {
            if self.socket(sender).is_open() {
                self.send_from(sender, To::Room, Kind::Farewell, self.now_us());
            }
        }
        // What was not answered yet is still on its way.
        let complete = |&(room, ..): &(u32, u32, u32)| {
            self.with_ledger(|ledger| ledger.is_complete(room, &[Outcome::Ok, Outcome::Info]))
        };
        self.wait_until(FAREWELL_PATIENCE, || leavers.iter().all(complete)).await;
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
