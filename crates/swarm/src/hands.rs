//! Faults of the clients' own connections: they need nothing of the servers, wherever those are.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use ws_workload::fault::{Direction, Kind};

/// Reaches into all workers.
#[derive(Clone, Debug)]
pub struct Hands(pub(crate) Vec<mpsc::Sender<Command>>);

/// Each worker's end of it.
#[derive(Debug)]
pub struct Reach(pub(crate) Vec<mpsc::Receiver<Command>>);

/// What a worker is asked to do; each is answered with a number.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) what: What,
    pub(crate) done: oneshot::Sender<u64>,
}

/// The commands; a fault has a number that tells it from others.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum What {
    /// Begin. Answers how many connections it hits.
    Inject { fault: u32, kind: Kind, share: f64, direction: Direction },
    /// Answers how much of an effect there is to see: connections, or bytes.
    Evidence { fault: u32 },
    /// End it. Answers how many connections it had hit.
    Heal { fault: u32 },
    /// Who was driven to another replica moves back. Answers how many do.
    GoHome,
}

/// A line to each of so many workers, and its other end.
#[must_use]
pub fn hands(workers: u32) -> (Hands, Reach) {
    let (senders, receivers) = (0..workers).map(|_| mpsc::channel(16)).unzip();
    (Hands(senders), Reach(receivers))
}

impl Hands {
    /// Begins a fault of kind [`ws_workload::fault::Site::Clients`]; returns how many connections it hits.
    pub async fn inject(&self, fault: u32, kind: Kind, share: f64, direction: Direction) -> u64 {
        self.ask(What::Inject { fault, kind, share, direction }).await
    }

    /// How much of an effect there is to see: connections that were reset, or bytes that were swallowed or not read.
    pub async fn evidence(&self, fault: u32) -> u64 {
        self.ask(What::Evidence { fault }).await
    }

    /// Ends a fault; returns how many connections it had hit.
    pub async fn heal(&self, fault: u32) -> u64 {
        self.ask(What::Heal { fault }).await
    }

    /// Lets everybody move back to the endpoint where it began; returns how many do.
    pub async fn go_home(&self) -> u64 {
        self.ask(What::GoHome).await
    }

    /// The sum of all workers' answers; one that has ended has nothing to say.
    pub(crate) async fn ask(&self, what: What) -> u64 {
        let mut sum = 0;
        for worker in &self.0 {
            let (done, answer) = oneshot::channel();
            if worker.send(Command { what, done }).await.is_ok() {
                sum += answer.await.unwrap_or(0);
            }
        }
        sum
    }
}
