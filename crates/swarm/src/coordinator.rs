//! Leads all workers from step to step, and brings their ledgers together.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use ws_analysis::{
    judge::{self, Findings},
    ledger::MAX_REPLICAS,
};
use ws_wire::message::Hello;

use crate::{
    connect,
    monitor::Monitor,
    plan::Plan,
    tls,
    worker::{self, Harvest, Incidents, Nodes, Order, Report, Start},
};

/// A step of the run, told as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sockets are opened.
    Connect,
    /// Rooms are joined.
    Join,
    /// Messages are sent.
    Send,
    /// Fences, farewells, closing.
    Drain,
    /// Everything is over.
    Done,
}

/// What a run brought.
#[derive(Debug)]
pub struct Outcome {
    /// The judgement.
    pub findings: Findings,
    /// The replicas that were met, in the order of the matrix.
    pub replicas: Vec<Met>,
    /// Sockets that did not open, by why.
    pub not_opened: BTreeMap<String, u32>,
    /// Sockets that ended before the run did, by node and why.
    pub ended_early: BTreeMap<String, u32>,
    /// Requests that were refused, by code.
    pub refusals: BTreeMap<String, u32>,
    /// What the protocol does not have, by description.
    pub problems: BTreeMap<String, u32>,
    /// Sockets that opened and never got into their room.
    pub not_joined: u32,
    /// Rooms where somebody never got the fence of every replica.
    pub unfenced_rooms: u32,
    /// Messages that were due on a socket that was gone.
    pub not_sent: u64,
}

/// A replica, as its hello says.
#[derive(Clone, Debug)]
pub struct Met {
    /// Who it is and what it promises.
    pub hello: Hello,
    /// The URL where it was first met.
    pub url: String,
    /// Sockets it took.
    pub connections: u32,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// Nobody answers there.
    #[error("{url} can't be reached: {why}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What the last try said.
        why: String,
    },
    /// No socket opened at all.
    #[error("no socket opened: {0}")]
    NothingOpened(String),
    /// More than a ledger can tell apart.
    #[error("{0} replicas said hello; {MAX_REPLICAS} can be told apart")]
    TooManyReplicas(usize),
    /// The system's fault.
    #[error("the swarm can't be started: {0}")]
    System(#[from] io::Error),
    /// No TLS on this machine.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// How long the first connection to each endpoint is tried.
const PROBE_TRIES: u32 = 5;

/// Runs `plan` to its end, or until `stop`: then what was sent so far is judged.
///
/// # Errors
/// There was nothing to judge.
pub async fn run(
    plan: Plan,
    monitor: Arc<Monitor>,
    stop: CancellationToken,
    mut begins: impl FnMut(Step),
) -> Result<Outcome, SwarmError> {
    let plan = Arc::new(plan);
    let secure = plan.endpoints.iter().any(|endpoint| endpoint.tls);
    let tls = if secure { Some(tls::connector(plan.insecure)?) } else { None };
    probe(&plan, tls.as_ref()).await?;

    begins(Step::Connect);
    let mut team = Team::start(&plan, &monitor, &stop, tls)?;
    team.report().await;
    let nodes = team.nodes.list();
    if nodes.is_empty() {
        let harvests = team.part().await?;
        let why = harvests.iter().flat_map(|harvest| harvest.incidents.not_opened.keys()).next();
        return Err(SwarmError::NothingOpened(why.cloned().unwrap_or_else(|| "interrupted".into())));
    }
    if nodes.len() > MAX_REPLICAS {
        team.part().await?;
        return Err(SwarmError::TooManyReplicas(nodes.len()));
    }
    let order = sorted(&nodes);
    let mut replica_of = vec![0; nodes.len()];
    (0..).zip(&order).for_each(|(replica, &node)| replica_of[node] = replica);

    begins(Step::Join);
    let count = u16::try_from(nodes.len()).expect("at most MAX_REPLICAS");
    team.order(Order::Join(Arc::new(replica_of), count)).await;
    begins(Step::Send);
    let at = tokio::time::Instant::now() + Duration::from_millis(20);
    let open = team.order(Order::Send(at)).await;
    begins(Step::Drain);
    let to_all = if plan.scenario.share_all > 0.0 && monitor.read().sent > 0 { open } else { 0 };
    team.order(Order::Fence(to_all)).await;
    let harvests = team.part().await?;
    begins(Step::Done);
    Ok(outcome(harvests, &nodes, &order))
}

/// One connection to each endpoint, so that a wrong URL is told at once and by name.
async fn probe(plan: &Plan, tls: Option<&TlsConnector>) -> Result<(), SwarmError> {
    for number in 0..plan.scenario.connections.min(u32::try_from(plan.endpoints.len()).unwrap_or(u32::MAX)) {
        let mut tries = 0;
        while let Err(error) = connect::connect(plan, tls, number).await {
            tries += 1;
            if tries == PROBE_TRIES {
                let url = plan.endpoint(number).url.clone();
                return Err(SwarmError::Unreachable { url, why: error.to_string() });
            }
            tokio::time::sleep(Duration::from_millis(100) * tries).await;
        }
    }
    Ok(())
}

/// The workers and the lines to them.
struct Team {
    threads: Vec<JoinHandle<io::Result<Harvest>>>,
    orders: watch::Sender<Order>,
    reports: mpsc::Receiver<Report>,
    nodes: Arc<Nodes>,
}

impl Team {
    fn start(
        plan: &Arc<Plan>,
        monitor: &Arc<Monitor>,
        stop: &CancellationToken,
        tls: Option<TlsConnector>,
    ) -> io::Result<Self> {
        let (orders, order) = watch::channel(Order::Connect);
        let (report, reports) = mpsc::channel(plan.workers as usize);
        let nodes = Arc::new(Nodes::default());
        let epoch = Instant::now().into();
        let spawn = |index| {
            let start = Start {
                plan: plan.clone(),
                index,
                epoch,
                nodes: nodes.clone(),
                tls: tls.clone(),
                stop: stop.clone(),
                monitor: monitor.clone(),
            };
            let (order, report) = (order.clone(), report.clone());
            std::thread::Builder::new()
                .name(format!("swarm-{index}"))
                .spawn(move || worker::run(start, order, report))
        };
        let threads = (0..plan.workers).map(spawn).collect::<io::Result<_>>()?;
        Ok(Self { threads, orders, reports, nodes })
    }

    /// Gives an order and waits for all reports.
    async fn order(&mut self, order: Order) -> u64 {
        self.orders.send_replace(order);
        self.report().await
    }

    async fn report(&mut self) -> u64 {
        let mut open = 0;
        for _ in 0..self.threads.len() {
            // None: a worker is gone; joining it tells why.
            open |= self.reports.recv().await.map_or(0, |report| report.replicas);
        }
        open
    }

    /// The last order; brings everything home.
    async fn part(self) -> Result<Vec<Harvest>, SwarmError> {
        self.orders.send_replace(Order::Part);
        let join = |thread: JoinHandle<_>| thread.join().expect("a worker's panic is our bug");
        let all = tokio::task::spawn_blocking(move || self.threads.into_iter().map(join).collect());
        let harvests: io::Result<Vec<Harvest>> = all.await.expect("a worker's panic is our bug");
        Ok(harvests?)
    }
}

/// The places in `nodes`, by name: natural order, so that app-2 stands before app-10.
fn sorted(nodes: &[(Hello, String)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|&node| {
        let name = &nodes[node].0.node;
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        (stem.to_owned(), name[stem.len()..].parse::<u64>().unwrap_or(0), name.clone())
    });
    order
}

fn outcome(harvests: Vec<Harvest>, nodes: &[(Hello, String)], order: &[usize]) -> Outcome {
    let mut incidents = Incidents::default();
    let mut connections = vec![0; nodes.len()];
    let (mut not_joined, mut unfenced_rooms, mut not_sent) = (0, 0, 0);
    let mut ledgers = Vec::new();
    for harvest in harvests {
        incidents.add(harvest.incidents);
        connections.iter_mut().zip(&harvest.connections).for_each(|(all, one)| *all += one);
        not_joined += harvest.not_joined;
        unfenced_rooms += harvest.unfenced_rooms;
        not_sent += harvest.not_sent;
        ledgers.push(harvest.ledger);
    }
    let met = |&node: &usize| Met {
        hello: nodes[node].0.clone(),
        url: nodes[node].1.clone(),
        connections: connections[node],
    };
    let Incidents { not_opened, ended_early, refusals, problems } = incidents;
    Outcome {
        replicas: order.iter().map(met).collect(),
        findings: judge::judge(ledgers),
        not_opened,
        ended_early,
        refusals,
        problems,
        not_joined,
        unfenced_rooms,
        not_sent,
    }
}

impl Incidents {
    fn add(&mut self, other: Self) {
        let add = |all: &mut BTreeMap<String, u32>, one: BTreeMap<String, u32>| {
            one.into_iter().for_each(|(what, count)| *all.entry(what).or_default() += count);
        };
        add(&mut self.not_opened, other.not_opened);
        add(&mut self.ended_early, other.ended_early);
        add(&mut self.refusals, other.refusals);
        add(&mut self.problems, other.problems);
    }
}
