//! When what waits is written: the policy that decides the server's speed.
//!
//! One write to a socket costs as much as a hundred copies of its bytes. So a pass over the outboxes that have something
//! is followed by a pause in proportion to what the pass took: a busy server finds many frames in each outbox and pays
//! one write for all of them, an idle one writes each at once.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;

/// The pause after a pass, as a multiple of the pass.
const PAUSE: u32 = 3;

/// The longest pause: far below what a person notices.
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// Below this a timer is not exact enough; the pause is left out.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Outboxes written in a row before other tasks have their turn.
const IN_A_ROW: usize = 64;

/// The outboxes that have something to write.
#[derive(Default)]
pub(crate) struct Flusher {
    waiting: Mutex<Vec<Arc<Outbox>>>,
    added: Notify,
}

impl Flusher {
    /// `outbox` has something, and is not in the list.
    pub(crate) fn add(&self, outbox: Arc<Outbox>) {
        let mut waiting = self.waiting.lock().expect("nothing panics while it is held");
        waiting.push(outbox);
        if waiting.len() == 1 {
            self.added.notify_one();
        }
    }

    /// Writes until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = self.added.notified() => {}
                () = stop.cancelled() => break,
            }
            loop {
                std::mem::swap(
                    &mut batch,
                    &mut self.waiting.lock().expect("nothing panics while it is held"),
                );
                if batch.is_empty() {
                    break;
                }
                let pause = PAUSE * pass(&mut batch).await;
                if pause >= PAUSE_MIN {
                    sleep(pause.min(PAUSE_MAX)).await;
                } else {
                    tokio::task::yield_now().await;
                }
            }
        }
        // What came last is still written.
        let last = std::mem::take(&mut *self.waiting.lock().expect("nothing panics while it is held"));
        for outbox in last {
            outbox.flush();
        }
    }
}

/// Writes every outbox once; returns how long that took without what other tasks did in between.
async fn pass(batch: &mut Vec<Arc<Outbox>>) -> Duration {
    let mut busy = Duration::ZERO;
    for outboxes in batch.chunks(IN_A_ROW) {
        let start = Instant::now();
        for outbox in outboxes {
            outbox.flush();
        }
        busy += start.elapsed();
        tokio::task::yield_now().await;
    }
    batch.clear();
    busy
}
