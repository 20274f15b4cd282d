//! The beginning: sockets are opened at their rate, and every one joins its room.

use std::{rc::Rc, time::Duration};

use tokio::time::{Instant, sleep_until};
use ws_analysis::ledger::Membership;

use super::Worker;
use crate::socket::{State, session};

/// Sockets of one worker that are being opened at once: more would only wait in the server's queue.
const OPENING: u32 = 256;

/// How long the last sockets may take to open: all tries of one.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);

/// Joins of one worker without an answer.
const JOINING: u32 = 512;

/// How long joins may take after the last one was sent.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);

impl Worker {
    /// Opens the sockets at the scenario's rate.
    pub(super) async fn connect(self: &Rc<Self>) {
        for me in 0..u32::try_from(self.sockets.len()).expect("connections are counted in 32 bits") {
            let due = f64::from(self.socket(me).number) / self.plan.scenario.connect_rate;
            let intended = self.epoch + Duration::from_secs_f64(due);
            tokio::select! {
                () = sleep_until(intended) => {}
                () = self.stop.cancelled() => return,
            }
            self.wait_until(OPEN_PATIENCE, || self.opening.get() < OPENING || self.stop.is_cancelled()).await;
            self.opening.set(self.opening.get() + 1);
            tokio::task::spawn_local(session(self.clone(), me, intended));
        }
        self.wait_until(OPEN_PATIENCE, || self.opening.get() == 0 || self.stop.is_cancelled()).await;
    }

    /// Lets every open socket join its room; `replica_of` says what each node of the table is.
    pub(super) async fn join(&self, replica_of: &[u16], replicas: u16) {
        let mut ledger = self.new_ledger(replicas);
        let now_us = self.now_us();
        for (me, socket) in (0..).zip(&self.sockets) {
            let session = ledger.session_mut(me);
            session.replica = replica_of.get(usize::from(socket.node.get())).copied().unwrap_or(0);
            session.ended_us = (socket.state.get() != State::Open).then_some(now_us);
        }
        self.ledger.replace(Some(ledger));
        for me in 0..u32::try_from(self.sockets.len()).expect("connections are counted in 32 bits") {
            self.wait_until(JOIN_PATIENCE, || self.joining.get() < JOINING || self.stop.is_cancelled()).await;
            self.join_one(me);
        }
        let deadline = Instant::now() + JOIN_PATIENCE;
        while Instant::now() < deadline && !self.stop.is_cancelled() {
            self.wait_until(Duration::from_millis(200), || self.all_joined()).await;
            if self.all_joined() {
                return;
            }
            // A broker that is away for a moment: ask again.
            for me in self.join_refused.take() {
                self.join_one(me);
            }
        }
    }

    fn all_joined(&self) -> bool {
        let ledger = self.ledger.borrow();
        let sessions = ledger.as_ref().expect("made first").sessions();
        sessions.iter().all(|session| session.membership == Membership::Member || session.ended_us.is_some())
    }

    fn join_one(&self, me: u32) {
        let socket = self.socket(me);
        if !socket.is_open() || self.stop.is_cancelled() {
            return;
        }
        let mut ledger = self.ledger.borrow_mut();
        let ledger = ledger.as_mut().expect("made first");
        let room = ledger.session_mut(me).room;
        ledger.session_mut(me).membership = Membership::Joining;
        self.joining.set(self.joining.get() + 1);
        socket.join(self, &ledger.rooms()[room as usize].name);
    }
}
