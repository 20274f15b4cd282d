//! What goes on beside the steps: connections are kept alive, joins repeated, members come and go, faults take hold.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use rand::Rng as _;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use ws_analysis::ledger::Membership;
use ws_wire::codec::{Answers, Protocol};
use ws_workload::fault::{Direction, Kind};

use super::Worker;
use crate::{
    hands::{Command, What},
    socket::{Doom, Grip, Socket, State},
};

/// How often it is looked after things.
const TICK: Duration = Duration::from_millis(50);

/// Ticks between two pulses.
const PULSE_EVERY: u32 = 20;

/// Ticks between two looks at every connection.
const LOOK_EVERY: u32 = 5;

/// A tick that comes so long after the one before was held up.
const HELD_UP: Duration = Duration::from_millis(500);

/// How long a member that left stays away, at least and at most.
const AWAY: (f64, f64) = (0.3, 3.0);

/// Members that left and will come back: when, in microseconds of the run, and who.
type Leavers = Vec<(u64, u32)>;

/// The connections that each fault has in its grip.
type Held = HashMap<u32, (Kind, Vec<u32>)>;

impl Worker {
    /// Until the worker ends.
    pub(super) async fn tend(self: Rc<Self>, mut hands: mpsc::Receiver<Command>) {
        let held = RefCell::new(Held::new());
        let mut leavers = Leavers::new();
        let mut due = 0.0;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat = Instant::now();
        let mut tick = 0_u32;
        let mut last = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(command) = hands.recv() => {
                    let answer = self.lay_hands(command.what, &mut held.borrow_mut());
                    // An error: nobody waits any more.
                    let _ = command.done.send(answer);
                    continue;
                }
            }
            tick = tick.wrapping_add(1);
            // After a hold-up of our own the sockets are read before anybody takes them for dead.
            let is_late = std::mem::replace(&mut last, Instant::now()).elapsed() > HELD_UP;
            self.write_journal();
            self.join_again();
            self.keep_alive(&mut beat);
            due += self.plan.scenario.churn * TICK.as_secs_f64() / f64::from(self.plan.workers);
            self.churn(&mut due, &mut leavers);
            if tick.is_multiple_of(PULSE_EVERY) {
                self.publish_pulse();
            }
            if tick.is_multiple_of(LOOK_EVERY) && !is_late {
                self.look_at_all();
                self.probe_joins();
            }
        }
    }

    /// Hands the journal on. Waits if the disk is slow, which then shows as the generator's lag.
    pub(super) fn write_journal(&self) {
        let Some(journal) = &self.journal else { return };
        let lines = self.ledger.borrow_mut().as_mut().map(|ledger| ledger.take_journal()).unwrap_or_default();
        if !lines.is_empty() {
            // An error: the writer has said why.
            let _ = journal.send(lines);
        }
    }

    /// Joins that were refused: a broker that is away for a moment.
    fn join_again(&self) {
        for me in self.join_refused.take() {
            if self.socket(me).wants_room.get() {
                self.join_one(me, true);
            }
        }
    }

    /// Who has no answer to its join asks the room itself.
    fn probe_joins(&self) {
        if self.plan.protocol.join_answers() == Answers::Always {
            return;
        }
        let now_us = self.now_us();
        let ledger = self.ledger.borrow();
        let Some(ledger) = ledger.as_ref() else { return };
        for (session, socket) in ledger.sessions().iter().zip(&self.sockets) {
            if socket.is_probe_due(now_us) {
                socket.probe(self, &ledger.rooms()[session.room as usize].name);
            }
        }
    }

    /// Says what the protocol's clients say from time to time.
    fn keep_alive(&self, last: &mut Instant) {
        let Protocol::Template(template) = &self.plan.protocol else { return };
        let Some((text, every)) = template.heartbeat() else { return };
        if last.elapsed() >= every {
            *last = Instant::now();
            self.sockets.iter().filter(|socket| socket.is_open()).for_each(|socket| socket.say(self, text));
        }
    }

    /// Pings whoever is silent, and gives up whoever stays so.
    fn look_at_all(&self) {
        let now_us = self.now_us();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let heartbeat = self.plan.heartbeat;
        let mut open = 0;
        for socket in self.sockets.iter().filter(|socket| socket.is_open()) {
            open += 1;
            if socket.grip.get() == Grip::Paused {
                // It looks how much has piled up.
                socket.wake();
                continue;
            }
            let silent_us = now_us.saturating_sub(socket.heard_us.get());
            if silent_us >= micros(heartbeat.dead_after) {
                socket.cut(Doom::Silent);
            } else if silent_us >= micros(heartbeat.ping_after) {
                socket.ping(self);
            }
        }
        if let Some(ledger) = self.ledger.borrow_mut().as_mut() {
            ledger.open(open, now_us);
        }
    }

    /// So many members leave, and others come back.
    fn churn(&self, due: &mut f64, leavers: &mut Leavers) {
        if !self.sending.get() || self.stop.is_cancelled() {
            *due = 0.0;
            return;
        }
        while *due >= 1.0 {
            *due -= 1.0;
            let me = self.random.borrow_mut().random_range(0..self.sockets.len());
            let away = self.random.borrow_mut().random_range(AWAY.0..AWAY.1);
            let me = u32::try_from(me).expect("connections are counted in 32 bits");
            if self.leave_one(me) {
                let back_us = self.now_us() + Duration::from_secs_f64(away).as_micros() as u64;
                leavers.push((back_us, me));
            }
        }
        let now_us = self.now_us();
        leavers.retain(|&(back_us, me)| {
            let waits = back_us > now_us || !self.may_return(me);
            if !waits {
                self.socket(me).wants_room.set(true);
                self.join_one(me, false);
            }
            waits
        });
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

    fn lay_hands(&self, what: What, held: &mut Held) -> u64 {
        match what {
            What::Inject { fault, kind, share, direction } => {
                let hit = self.choose(if kind == Kind::Storm { 1.0 } else { share });
                self.inject(kind, direction, &hit);
                let count = hit.len() as u64;
                held.insert(fault, (kind, hit));
                count
            }
            What::Evidence { fault } => held.get(&fault).map_or(0, |(kind, hit)| self.evidence(*kind, hit)),
            What::Heal { fault } => held.remove(&fault).map_or(0, |(kind, hit)| {
                self.heal(kind, &hit);
                hit.len() as u64
            }),
            What::GoHome => self.go_home(),
        }
    }

    /// A share of the open connections that no other fault has in its grip, drawn from the seed.
    fn choose(&self, share: f64) -> Vec<u32> {
        let mut random = self.random.borrow_mut();
        let free = |(_, socket): &(u32, &Socket)| socket.is_open() && socket.grip.get() == Grip::Free;
        let mut hit: Vec<u32> = (0..).zip(&self.sockets).filter(free).map(|(me, _)| me).collect();
        hit.retain(|_| share >= 1.0 || random.random_bool(share));
        hit
    }

    fn inject(&self, kind: Kind, direction: Direction, hit: &[u32]) {
        self.barred.set(self.barred.get() + u32::from(kind == Kind::Storm));
        for socket in hit.iter().map(|&me| self.socket(me)) {
            socket.held.set(0);
            match (kind, direction) {
                (Kind::HalfOpen, Direction::In) => socket.grip.set(Grip::SwallowIn),
                (Kind::HalfOpen, Direction::Out) => socket.grip.set(Grip::SwallowOut),
                (Kind::SlowConsumer, _) => socket.grip.set(Grip::Paused),
                _ => socket.cut(Doom::Reset),
            }
        }
    }

    /// Connections that are gone, or bytes that were swallowed or are unread.
    fn evidence(&self, kind: Kind, hit: &[u32]) -> u64 {
        let sockets = hit.iter().map(|&me| self.socket(me));
        match kind {
            Kind::HalfOpen | Kind::SlowConsumer => sockets.map(|socket| socket.held.get()).sum(),
            Kind::Storm if sockets.clone().any(Socket::is_open) => 0,
            _ => sockets.filter(|socket| !socket.is_doomed()).count() as u64,
        }
    }

    /// What has swallowed something can't go on: it is reset.
    fn heal(&self, kind: Kind, hit: &[u32]) {
        self.barred.set(self.barred.get() - u32::from(kind == Kind::Storm));
        for socket in hit.iter().map(|&me| self.socket(me)) {
            match (kind, socket.grip.get()) {
                (Kind::HalfOpen, Grip::SwallowIn | Grip::SwallowOut) => socket.cut(Doom::Reset),
                (Kind::SlowConsumer, Grip::Paused) => {
                    socket.grip.set(Grip::Free);
                    socket.heard_us.set(self.now_us());
                    socket.reads_old.set(true);
                    socket.ping(self);
                }
                _ => {}
            }
        }
    }

    fn go_home(&self) -> u64 {
        if self.plan.endpoints.len() < 2 {
            return 0;
        }
        let away = |socket: &&Socket| {
            socket.state.get() == State::Open
                && !(socket.turn.get() as usize).is_multiple_of(self.plan.endpoints.len())
        };
        let away: Vec<_> = self.sockets.iter().filter(away).collect();
        away.iter().for_each(|socket| socket.go_home(self));
        away.len() as u64
    }
}
