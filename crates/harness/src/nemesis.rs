//! Breaks things when they are due, sees to it that they were broken, and heals them, whatever happens.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use ws_analysis::report::FaultResult;
use ws_cluster::fault::{Injected, Nemesis as Doer};
use ws_swarm::Hands;
use ws_workload::fault::{Fault, Kind, Site};

/// How long the evidence of a fault that is done at once may take.
const EVIDENCE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a fault is on at least, from the end of its injection, unless it was planned for less.
const LEAST: Duration = Duration::from_secs(1);

/// How often the clients are asked for evidence.
const LOOK: Duration = Duration::from_millis(20);

/// The faults of a run, on their way.
pub(crate) struct Nemesis {
    tasks: JoinSet<(usize, FaultResult)>,
    begin: watch::Sender<Option<Instant>>,
    seen: FaultsSeen,
    count: usize,
}

/// The faults that are on, and those that are over.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultsSeen(Arc<Mutex<Bouts>>);

/// Names of faults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bouts {
    /// In the order in which they began.
    pub(crate) on: Vec<String>,
    /// In the order in which they ended.
    pub(crate) over: Vec<String>,
}

impl FaultsSeen {
    fn begins(&self, name: &str) {
        self.0.lock().expect(HELD).on.push(name.to_owned());
    }

    fn ends(&self, name: &str) {
        let mut bouts = self.0.lock().expect(HELD);
        bouts.on.retain(|on| on != name);
        bouts.over.push(name.to_owned());
    }

    /// As it is now.
    pub(crate) fn read(&self) -> Bouts {
        self.0.lock().expect(HELD).clone()
    }
}

const HELD: &str = "nothing panics while it is held";

/// What every fault's task has.
#[derive(Clone)]
struct Scene {
    /// Time zero of the run.
    epoch: Instant,
    begin: watch::Receiver<Option<Instant>>,
    stop: CancellationToken,
    hands: Hands,
    doer: Option<Arc<Doer>>,
    seed: u64,
    seen: FaultsSeen,
}

impl Nemesis {
    /// Prepares `faults`, which are in order of time. Their drop heals what they hold.
    pub(crate) fn new(
        faults: &[Fault],
        doer: Option<Doer>,
        hands: Hands,
        epoch: Instant,
        seed: u64,
        stop: &CancellationToken,
    ) -> Self {
        let (begin, begun) = watch::channel(None);
        let doer = doer.map(Arc::new);
        let seen = FaultsSeen::default();
        let scene = Scene { seen: seen.clone(), epoch, begin: begun, stop: stop.clone(), hands, doer, seed };
        let mut tasks = JoinSet::new();
        let mut counts: HashMap<Kind, u32> = HashMap::new();
        for (number, fault) in faults.iter().enumerate() {
            let count = counts.entry(fault.kind).or_default();
            *count += 1;
            let name = format!("{} {count}", fault.kind);
            let (scene, fault) = (scene.clone(), fault.clone());
            tasks.spawn(async move { (number, scene.play(number, name, fault).await) });
        }
        Self { tasks, begin, seen, count: faults.len() }
    }

    /// Those that are on and over at any moment.
    pub(crate) fn seen(&self) -> FaultsSeen {
        self.seen.clone()
    }

    /// Messages are due from `at` on.
    pub(crate) fn begin(&self, at: Instant) {
        self.begin.send_replace(Some(at));
    }

    /// Waits until all is over and healed; the results are in the order of the plan.
    pub(crate) async fn finish(&mut self) -> Vec<FaultResult> {
        let mut results = vec![FaultResult::default(); self.count];
        while let Some(done) = self.tasks.join_next().await {
            let (number, result) = done.expect("a fault's task does not panic");
            results[number] = result;
        }
        results
    }
}

impl Scene {
    /// One fault from its time to its heal.
    async fn play(mut self, number: usize, name: String, fault: Fault) -> FaultResult {
        let mut result = FaultResult { name, planned: fault.to_string(), ..FaultResult::default() };
        let due = self.due(fault.at).await;
        result.start_us = self.now_us();
        let Some(start) = due else {
            // It was on for no time at all.
            result.healed_us = Some(result.start_us);
            result.error = Some("the run ended before its time".into());
            return result;
        };
        let end = start + fault.lasts;
        self.seen.begins(&result.name);
        match fault.kind.site() {
            Site::Clients => self.clients(number, &fault, end, &mut result).await,
            _ => self.cluster(number, &fault, end, &mut result).await,
        }
        self.seen.ends(&result.name);
        // Whoever was driven away from its replica goes back, so that every replica is seen to work again.
        self.hands.go_home().await;
        result
    }

    /// The moment at which the fault is due; none if the run is stopped before.
    async fn due(&mut self, at: Duration) -> Option<Instant> {
        let wait = async {
            let begin = self.begin.wait_for(Option::is_some).await.ok()?.expect("just seen");
            sleep_until((begin + at).into()).await;
            Some(begin + at)
        };
        tokio::select! {
            due = wait => due,
            () = self.stop.cancelled() => None,
        }
    }

    async fn cluster(&self, number: usize, fault: &Fault, end: Instant, result: &mut FaultResult) {
        let Some(doer) = &self.doer else {
            result.error = Some("there is nobody to do it".into());
            return;
        };
        let mut injected = match doer.inject(fault, self.seed.wrapping_add(number as u64)).await {
            Ok(injected) => injected,
            Err(failure) => {
                result.error = Some(failure.why);
                result.healed_us = Some(self.now_us());
                return;
            }
        };
        result.on.clone_from(&injected.on);
        // One that took long to inject, as a busy Docker does, is to be seen all the same.
        let end = end.max(Instant::now() + fault.lasts.min(LEAST));
        self.witness(fault, end, &mut injected, result).await;
        match injected.heal().await {
            Ok(back) => {
                result.healed_us = Some(self.now_us());
                if let Some(proof) = &mut result.proof {
                    *proof += &format!("; healed: {back}");
                }
            }
            Err(failure) => result.error = Some(failure.why),
        }
    }

    /// Waits for the evidence, and for the end.
    async fn witness(&self, fault: &Fault, end: Instant, injected: &mut Injected, result: &mut FaultResult) {
        let patience = if fault.kind.is_instant() { end + EVIDENCE_PATIENCE } else { end };
        let evidence = async { timeout_at(patience.into(), injected.effective()).await.ok() };
        let evidence = tokio::select! {
            evidence = evidence => evidence,
            () = self.stop.cancelled() => None,
        };
        if evidence.is_some() {
            result.effective_us = Some(self.now_us());
            result.proof = evidence;
        }
        self.until(end).await;
    }

    async fn clients(&self, number: usize, fault: &Fault, end: Instant, result: &mut FaultResult) {
        let id = u32::try_from(number).expect("faults are few");
        let hit = self.hands.inject(id, fault.kind, fault.share, fault.direction).await;
        result.on = vec![format!("{hit} clients")];
        let patience = if fault.kind.is_instant() { end + EVIDENCE_PATIENCE } else { end };
        while hit > 0 && !self.stop.is_cancelled() && result.proof.is_none() && Instant::now() < patience {
            match self.hands.evidence(id).await {
                0 => sleep(LOOK).await,
                seen => {
                    result.effective_us = Some(self.now_us());
                    result.proof = Some(evidence(fault.kind, seen, hit));
                }
            }
        }
        self.until(end).await;
        // What was swallowed in all is known at the end.
        let seen = self.hands.evidence(id).await;
        if result.proof.is_some() && seen > 0 {
            result.proof = Some(evidence(fault.kind, seen, hit));
        }
        self.hands.heal(id).await;
        result.healed_us = Some(self.now_us());
    }

    async fn until(&self, end: Instant) {
        tokio::select! {
            () = sleep_until(end.into()) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

fn evidence(kind: Kind, seen: u64, hit: u64) -> String {
    match kind {
        Kind::HalfOpen => format!("{hit} connections swallowed {seen} bytes"),
        Kind::SlowConsumer => format!("{seen} bytes lay unread on {hit} connections"),
        Kind::Storm => format!("all {hit} connections were reset and none was left open"),
        _ => format!("{seen} of {hit} connections were reset"),
    }
}
