//! The beginning: sockets are opened at their rate, and every one joins its room.

use std::{rc::Rc, time::Duration};

use tokio::time::{Instant, sleep_until};

use ws_wire::codec::Answers;

use super::Worker;
use crate::socket::session;

/// Sockets of one worker that are being opened at once: more would only wait in the server's queue.
const OPENING: u32 = 256;

/// How long the last sockets may take to open: all tries of one.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);

/// Joins of one worker without an answer.
const JOINING: u32 = 512;

/// How long joins may take after the last one was sent.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);

impl Worker {
    /// Opens the sockets at the scenario's rate; their times count from when they were due.
    pub(super) async fn connect(self: &Rc<Self>) {
        let profile = self.plan.scenario.connect_profile();
        // Other processes are told ahead of time.
        tokio::select! {
            () = sleep_until(self.epoch) => {}
            () = self.stop.cancelled() => return,
        }
        for me in 0..u32::try_from(self.sockets.len()).expect("connections are counted in 32 bits") {
            let number = self.socket(me).number;
            let due = profile.as_ref().map(|profile| {
                let after = profile.time_of(number.into()).expect("its last rate is above 0");
                self.epoch + Duration::from_secs_f64(after)
            });
            if let Some(due) = due.filter(|due| *due > Instant::now()) {
                tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.stop.cancelled() => return,
                }
            }
            self.wait_until(OPEN_PATIENCE, || self.opening.get() < OPENING || self.stop.is_cancelled()).await;
            if self.stop.is_cancelled() {
                return;
            }
            let intended = due.unwrap_or_else(Instant::now);
            self.opening.set(self.opening.get() + 1);
            tokio::task::spawn_local(session(self.clone(), me, intended));
        }
        self.wait_until(OPEN_PATIENCE, || self.opening.get() == 0 || self.stop.is_cancelled()).await;
    }

    /// Lets every open socket join its room, where there are rooms.
    pub(super) async fn join(&self) {
        let mut ledger = self.new_ledger();
        for (me, socket) in (0..).zip(&self.sockets).filter(|(_, socket)| socket.is_open()) {
            ledger.connected(me, self.replica_of(socket.node.get()));
        }
        self.ledger.replace(Some(ledger));
        if self.plan.protocol.is_one_way() {
            return;
        }
        for me in 0..u32::try_from(self.sockets.len()).expect("connections are counted in 32 bits") {
            self.wait_until(JOIN_PATIENCE, || self.joining.get() < JOINING || self.stop.is_cancelled()).await;
            self.socket(me).wants_room.set(true);
            self.join_one(me, false);
        }
        let deadline = Instant::now() + JOIN_PATIENCE;
        while Instant::now() < deadline && !self.stop.is_cancelled() {
            self.wait_until(Duration::from_millis(200), || self.all_joined()).await;
            if self.all_joined() {
                return;
            }
        }
    }

    /// Waits until everybody is back who was cut off.
    pub(super) async fn settle(&self) {
        self.wait_until(self.plan.settle, || self.missing() == 0 || self.stop.is_cancelled()).await;
        self.not_back.set(self.missing());
    }

    /// Sessions that want to be in their room and are not.
    fn missing(&self) -> u32 {
        let ledger = self.ledger.borrow();
        let sessions = ledger.as_ref().expect("made with the joins").sessions();
        let wants = |me: &usize| self.sockets[*me].wants_room.get() && sessions[*me].memberships() > 0;
        let missing = (0..sessions.len()).filter(wants).filter(|&me| !sessions[me].is_member()).count();
        u32::try_from(missing).expect("connections are counted in 32 bits")
    }

    fn all_joined(&self) -> bool {
        let ledger = self.ledger.borrow();
        let sessions = ledger.as_ref().expect("made first").sessions();
        sessions.iter().all(|session| session.is_member() || !session.connected)
    }

    /// Asks for the room, and to `resume` in it.
    pub(super) fn join_one(&self, me: u32, resume: bool) {
        let socket = self.socket(me);
        if !socket.is_open() || self.stop.is_cancelled() {
            return;
        }
        let mut ledger = self.ledger.borrow_mut();
        let Some(ledger) = ledger.as_mut() else { return };
        ledger.join_invoked(me);
        self.joining.set(self.joining.get() + 1);
        let room = ledger.sessions()[me as usize].room;
        let room = &ledger.rooms()[room as usize].name;
        socket.join(self, room, resume);
        if self.plan.protocol.join_answers() == Answers::Never {
            socket.probe(self, room);
        }
    }
}
