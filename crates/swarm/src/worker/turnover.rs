//! Members come and go: some leave their room for a while, the connections of others are as old as they get.

use std::time::Duration;

use rand::Rng as _;
use ws_analysis::ledger::Membership;

use super::Worker;
use crate::socket::{Doom, State};

/// How long a member that left stays away, at least and at most, in seconds.
const AWAY: (f64, f64) = (0.3, 3.0);

/// How long who closes its connection waits for answers to what it sent; where nothing is acked none come any more.
const ANSWER_PATIENCE_US: u64 = 2_000_000;

/// How long the answer to its closing handshake may take.
const CLOSE_PATIENCE_US: u64 = 10_000_000;

/// Who is on the way out or back.
#[derive(Default)]
pub(super) struct Turnover {
    /// How many more should leave by now, for a while and for good.
    leaves_due: f64,
    ends_due: f64,
    /// Asked to leave, to close its connection once it has: until when it waits for its answers, in microseconds of the run,
    /// and who.
    parting: Vec<(u64, u32)>,
    /// Out of its room: when it comes back at the earliest, in microseconds of the run.
    away: Vec<(u64, u32)>,
}

impl Worker {
    /// What is due after `time` more.
    pub(super) fn turn_over(&self, turnover: &mut Turnover, time: Duration) {
        if !self.sending.get() || self.stop.is_cancelled() {
            turnover.leaves_due = 0.0;
            turnover.ends_due = 0.0;
            return;
        }
        let scenario = &self.plan.scenario;
        turnover.leaves_due += scenario.churn * time.as_secs_f64() / f64::from(self.plan.workers);
        if let Some(lifetime) = scenario.lifetime {
            // Whoever is drawn by lot at a constant rate has had an exponentially distributed lifetime.
            let mean = lifetime.as_secs_f64() / f64::from(self.count());
            turnover.ends_due += time.as_secs_f64() / mean;
        }
        self.leave_for_a_while(turnover);
        self.leave_for_good(turnover);
        self.return_to_rooms(turnover);
    }

    fn leave_for_a_while(&self, turnover: &mut Turnover) {
        while turnover.leaves_due >= 1.0 {
            turnover.leaves_due -= 1.0;
            let me = self.anybody();
            let away = self.random.borrow_mut().random_range(AWAY.0..AWAY.1);
            if self.leave_one(me) {
                let back_us = self.now_us() + Duration::from_secs_f64(away).as_micros() as u64;
                turnover.away.push((back_us, me));
            }
        }
    }

    /// In two steps: a member that leaves its room first is owed nothing while it has no connection. It closes once its
    /// sends are answered: a server may ack a leave before them.
    fn leave_for_good(&self, turnover: &mut Turnover) {
        while turnover.ends_due >= 1.0 {
            turnover.ends_due -= 1.0;
            let me = self.anybody();
            if self.leave_one(me) {
                turnover.parting.push((self.now_us() + ANSWER_PATIENCE_US, me));
            }
        }
        let now_us = self.now_us();
        let Turnover { parting, away, .. } = turnover;
        parting.retain(|&(until_us, me)| {
            let socket = self.socket(me);
            let waits = socket.unanswered.get() > 0 && now_us < until_us;
            let membership = self.with_ledger(|ledger| ledger.sessions()[me as usize].membership);
            match membership {
                Membership::Leaving(_) => return true,
                Membership::Left if socket.is_open() && waits => return true,
                Membership::Left if socket.is_open() => socket.renew(self),
                // It was cut off meanwhile, and is on its way back.
                _ => {}
            }
            away.push((now_us, me));
            false
        });
    }

    fn return_to_rooms(&self, turnover: &mut Turnover) {
        let now_us = self.now_us();
        turnover.away.retain(|&(back_us, me)| {
            let waits = back_us > now_us || !self.may_return(me);
            let socket = self.socket(me);
            if socket.state.get() == State::Renewing
                && now_us > back_us + CLOSE_PATIENCE_US
                && !socket.is_doomed()
            {
                socket.cut(Doom::Silent);
            }
            if !waits {
                self.socket(me).wants_room.set(true);
                self.join_one(me, false);
            }
            waits
        });
    }

    fn anybody(&self) -> u32 {
        self.random.borrow_mut().random_range(0..self.count())
    }

    fn count(&self) -> u32 {
        u32::try_from(self.sockets.len()).expect("connections are counted in 32 bits")
    }

    fn leave_one(&self, me: u32) -> bool {
        let socket = self.socket(me);
        let mut ledger = self.ledger.borrow_mut();
        let Some(ledger) = ledger.as_mut() else { return false };
        if !socket.is_open() || !ledger.sessions()[me as usize].is_member() {
            return false;
        }
        socket.wants_room.set(false);
        ledger.leave_invoked(me, self.now_us());
        let room = ledger.sessions()[me as usize].room;
        socket.leave(self, &ledger.rooms()[room as usize].name);
        true
    }

    /// Leaves a room that the server has restored, though the session had asked to leave it before.
    pub(super) fn leave_again(&self, me: u32) {
        let mut ledger = self.ledger.borrow_mut();
        let Some(ledger) = ledger.as_mut() else { return };
        if self.socket(me).is_open() && self.plan.protocol.can_leave() {
            ledger.leave_invoked(me, self.now_us());
            let room = ledger.sessions()[me as usize].room;
            self.socket(me).leave(self, &ledger.rooms()[room as usize].name);
        }
    }

    /// Whether it is connected and out of its room.
    fn may_return(&self, me: u32) -> bool {
        let ledger = self.ledger.borrow();
        let session = ledger.as_ref().map(|ledger| &ledger.sessions()[me as usize]);
        let out = |membership| matches!(membership, Membership::Left | Membership::Outside);
        self.socket(me).is_open() && session.is_some_and(|session| out(session.membership))
    }
}
