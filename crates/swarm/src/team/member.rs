//! The other end: a part of a run in this process, led over a line.

use std::{
    sync::{Arc, mpsc as blocking},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;
use ws_analysis::report::ProcessUse;

use super::Threads;
use crate::{
    coordinator::Means,
    hands::{Hands, hands},
    line::{Facts, FromMember, Job, Line, TICK, ToMember},
    monitor::Monitor,
    tls,
    worker::Order,
};

/// Batches of lines of the history on their way.
const JOURNAL: usize = 64;

/// Who serves.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name in reports.
    pub name: String,
    /// Files that it may have open.
    pub open_files: u64,
    /// How long the run may take to begin: whoever leads may wait for others.
    pub patience: Duration,
}

/// Carries out one part of a run, as it is told over `line`, or until it is `told_to_end`, and why; `used` is what this
/// process has used so far.
///
/// # Errors
/// Why it ended before the run did.
pub async fn serve(
    mut line: Line,
    member: Member,
    used: impl Fn() -> ProcessUse + Clone + Send + 'static,
    told_to_end: impl Future<Output = String>,
) -> Result<(), String> {
    let clock = *line.clock.borrow();
    let Member { name, open_files, patience } = member;
    let facts = Facts { name, open_files, clock_error_us: clock.error_us };
    Line::say(&line.to, &FromMember::Ready(facts)).await;
    let served = tokio::select! {
        served = part(patience, &mut line, used) => served,
        why = told_to_end => Err(why),
    };
    if let Err(why) = &served {
        Line::say(&line.to, &FromMember::Failed(why.clone())).await;
    }
    served
}

/// The part that is ours, once the run begins.
async fn begin(line: &mut Line, patience: Duration) -> Result<Job, String> {
    let first = timeout(patience, Line::hear_whenever(&mut line.from)).await;
    match first.map_err(|_| format!("the run did not begin within {} s", patience.as_secs()))?? {
        ToMember::Begin(job) => Ok(*job),
        _ => Err("the run did not begin".into()),
    }
}

async fn part(
    patience: Duration,
    line: &mut Line,
    used: impl Fn() -> ProcessUse + Clone + Send + 'static,
) -> Result<(), String> {
    let job = begin(line, patience).await?;
    let clock = *line.clock.borrow();
    let (workers, history) = (job.workers.clone(), job.history);
    let plan = Arc::new(job.plan(&clock));
    let secure = plan.endpoints.iter().any(|endpoint| endpoint.tls);
    let tls =
        if secure { Some(tls::connector(plan.insecure).map_err(|error| error.to_string())?) } else { None };
    let monitor = Arc::new(Monitor::new(plan.workers));
    let (hands, reach) = hands(u32::try_from(workers.len()).expect("workers are few"));
    let stop = CancellationToken::new();
    // Whatever ends this ends the workers.
    let _stop_at_the_end = stop.clone().drop_guard();
    let (journal, lines) = blocking::sync_channel(JOURNAL);
    let means = Means {
        monitor: monitor.clone(),
        stop: stop.clone(),
        reach,
        history: history.then_some(journal),
        members: Vec::new(),
    };
    let to = line.to.clone();
    // Ends with the workers.
    let journal = tokio::task::spawn_blocking(move || {
        for lines in lines {
            let told = postcard::to_stdvec(&FromMember::Journal(lines)).expect("bytes are bytes");
            if to.blocking_send(told).is_err() {
                return;
            }
        }
    });
    let threads = Threads::start(&plan, workers.clone(), means, tls).map_err(|error| error.to_string())?;
    let (orders, order) = mpsc::channel(4);
    let tell_ticks = {
        let (to, monitor, workers) = (line.to.clone(), monitor.clone(), workers.clone());
        move || {
            let (to, monitor, workers, used) = (to.clone(), monitor.clone(), workers.clone(), used.clone());
            async move {
                let seen = workers.clone().map(|worker| (worker, monitor.read_one(worker))).collect();
                let pulses = workers.map(|worker| (worker, monitor.pulse(worker))).collect();
                Line::say(&to, &FromMember::Tick { seen, pulses, used: used() }).await;
            }
        }
    };
    let clocks = line.clock.clone();
    let drift_us = move || clock.drift_us(&clocks.borrow());
    let mut obeying = JoinSet::new();
    obeying.spawn(obey(threads, order, line.to.clone(), tell_ticks.clone(), journal, drift_us));
    // A task of its own: what is heard must not be cut short by what else is waited for.
    let (heard, mut hearing) = mpsc::channel(1);
    let mut from = std::mem::replace(&mut line.from, mpsc::channel(1).1);
    obeying.spawn(async move {
        loop {
            let said = Line::hear(&mut from).await;
            let is_last = said.is_err();
            if heard.send(said).await.is_err() || is_last {
                return std::future::pending().await;
            }
        }
    });
    let mut ticks = interval(TICK);
    loop {
        tokio::select! {
            Some(heard) = hearing.recv() => match heard? {
                ToMember::Order(order) => drop(orders.send(order).await),
                ToMember::Hand { number, worker, what } => {
                    let (hands, to) = (hands.of(worker - workers.start), line.to.clone());
                    tokio::spawn(async move {
                        let count = hands.ask(what).await;
                        Line::say(&to, &FromMember::Answer { number, count }).await;
                    });
                }
                ToMember::Stop => stop.cancel(),
                ToMember::Alive | ToMember::Begin(_) => {}
            },
            _ = ticks.tick() => tell_ticks().await,
            Some(obeyed) = obeying.join_next() => return obeyed.expect("a member's panic is our bug"),
        }
    }
}

/// Hands orders to the threads and their reports back, to the last.
async fn obey<F: Future<Output = ()>>(
    mut threads: Threads,
    mut orders: mpsc::Receiver<Order>,
    to: mpsc::Sender<Vec<u8>>,
    tell_ticks: impl Fn() -> F,
    journal: JoinHandle<()>,
    drift_us: impl Fn() -> u64,
) -> Result<(), String> {
    let mut replicas = threads.report().await;
    loop {
        // What the report rests on is there before it.
        tell_ticks().await;
        Line::say(&to, &FromMember::Report { replicas, nodes: threads.nodes() }).await;
        match orders.recv().await {
            Some(Order::Part) => break,
            Some(order) => replicas = threads.order(order).await,
            None => return Err("nobody leads it any more".into()),
        }
    }
    let harvests = threads.part().await.map_err(|error| error.to_string())?;
    journal.await.expect("it does not panic");
    for harvest in harvests {
        let said = FromMember::Harvest(Box::new(harvest));
        let bytes = tokio::task::spawn_blocking(move || postcard::to_stdvec(&said)).await;
        let _ = to.send(bytes.expect("it does not panic").map_err(|error| error.to_string())?).await;
    }
    tell_ticks().await;
    Line::say(&to, &FromMember::Done { drift_us: drift_us() }).await;
    Ok(())
}

impl Hands {
    /// Those of one worker.
    fn of(&self, worker: u32) -> Self {
        Self(vec![self.0[worker as usize].clone()])
    }
}
