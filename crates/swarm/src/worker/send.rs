//! The middle: messages go out when they are due, whatever comes back.

use std::{io, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{task::spawn_local, time::Instant};
use ws_analysis::ledger::{Session, To};
use ws_wire::stamp::Kind;
use ws_workload::{
    pacer::{Due, Pacer},
    scenario::Senders,
    schedule::{Arrival, Schedule},
};

use super::Worker;
use crate::timer::PreciseTimer;

/// How long answers to sends are waited for after the last one.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long the last own copies are waited for, where nothing is acked.
const ECHO_PATIENCE: Duration = Duration::from_secs(1);

/// The shortest wait: to set a timer and to be woken costs as much as a third of a send, and what is due meanwhile goes out
/// together.
const REST: Duration = Duration::from_micros(100);

/// Sends in a row before the sockets have their turn, when the worker is behind. So many of one socket share a write, by
/// which it catches up: a write costs as much as several sends.
const SENDS_IN_A_ROW: u32 = 4096;

impl Worker {
    /// Sends from `start_us` to the end of the scenario, then waits for the answers.
    pub(super) async fn send(&self, start_us: u64) -> io::Result<()> {
        let mut pacer =
            Pacer::new(Schedule::new(&self.plan.scenario, self.index, self.plan.workers, self.senders()));
        let timer = PreciseTimer::new()?;
        let end = self.epoch + Duration::from_micros(start_us) + self.plan.scenario.duration;
        let mut in_a_row = 0;
        loop {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let now_us = self.now_us();
            let since_start = now_us.checked_sub(start_us);
            let wait = match since_start.map(|now_us| pacer.poll(now_us)) {
                None => Duration::from_micros(start_us - now_us),
                Some(Due::Send(arrival)) => {
                    self.send_arrival(&arrival, start_us);
                    in_a_row += 1;
                    if in_a_row < SENDS_IN_A_ROW {
                        continue;
                    }
                    in_a_row = 0;
                    // Whose turn comes behind that of all sockets that have something to write or to read by now.
                    let _ = spawn_local(async {}).await;
                    continue;
                }
                Some(Due::WaitUntil(due_us)) => Duration::from_micros(start_us + due_us - now_us).max(REST),
                // Also the end of a scenario without messages is at its end.
                Some(Due::Done) => match end.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => left,
                    _ => break,
                },
            };
            in_a_row = 0;
            tokio::select! {
                slept = timer.sleep(wait) => slept?,
                () = self.stop.cancelled() => {}
            }
        }
        let patience = if self.sends_are_acked(To::Room) { ANSWER_PATIENCE } else { ECHO_PATIENCE };
        self.wait_until(patience, || self.all_answered()).await;
        Ok(())
    }

    fn all_answered(&self) -> bool {
        self.stop.is_cancelled()
            || self.sockets.iter().all(|socket| socket.unanswered.get() == 0 || !socket.is_open())
    }

    fn send_arrival(&self, arrival: &Arrival, start_us: u64) {
        let intended_us = start_us + arrival.due_us;
        let socket = self.socket(arrival.sender);
        if !socket.is_open() && socket.wants_room.get() {
            self.with_ledger(|ledger| ledger.skipped(intended_us));
            return;
        }
        if !self.with_ledger(|ledger| self.may_send(&ledger.sessions()[arrival.sender as usize])) {
            // It left, or is on its way back into its room.
            return;
        }
        let to = if arrival.to_all { To::All } else { To::Room };
        self.send_sized(arrival.sender, to, Kind::Work, intended_us, arrival.size);
        self.counters().sent.fetch_add(1, Relaxed);
    }

    /// Whether it is in its room; where there are none, whether it is connected.
    fn may_send(&self, session: &Session) -> bool {
        session.is_member() || self.plan.protocol.is_one_way() && session.connected
    }

    /// The sessions that send, by room: all that are members, or the first of each room.
    fn senders(&self) -> Vec<Vec<u32>> {
        let ledger = self.ledger.borrow();
        let Some(ledger) = ledger.as_ref() else { return vec![] };
        let limit = match self.plan.scenario.senders {
            Senders::All => u32::MAX,
            Senders::PerRoom(limit) => limit,
        };
        let of_room = |room: &ws_analysis::ledger::Room| {
            let joined = |me: &u32| self.may_send(&ledger.sessions()[*me as usize]);
            room.members.clone().filter(joined).take(limit as usize).collect::<Vec<_>>()
        };
        ledger.rooms().iter().map(of_room).collect()
    }
}
