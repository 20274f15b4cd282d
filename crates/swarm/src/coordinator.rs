//! Leads all workers from step to step, and brings their ledgers together.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use ws_analysis::{
    contract::Contract,
    history::Header,
    ledger::{Ledger, MAX_REPLICAS},
};
use ws_wire::message::Hello;

use crate::{
    connect::{self, Way},
    hands::Reach,
    line::Line,
    monitor::Monitor,
    plan::Plan,
    team::{Home, Lost, MemberFacts, Members, Team, Threads},
    tls,
    worker::{Incidents, Order, Replicas},
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
    /// Faults are over; everybody gets back.
    Settle,
    /// Fences, farewells, closing.
    Drain,
    /// Everything is over.
    Done,
}

/// Whoever leads a run from outside.
pub trait Conductor {
    /// A step begins; messages are due from `at` on.
    fn begins(&mut self, step: Step, at: Instant);

    /// Returns when no fault is on any more.
    fn healed(&mut self) -> impl Future<Output = ()>;
}

/// What the outside world lends to a run.
#[derive(Debug)]
pub struct Means {
    /// What a progress display reads.
    pub monitor: Arc<Monitor>,
    /// Ends the run early: then what was sent so far is judged.
    pub stop: CancellationToken,
    /// Faults of the clients' connections.
    pub reach: Reach,
    /// Where the history goes, if one is kept: lines of JSON.
    pub history: Option<std::sync::mpsc::SyncSender<Vec<u8>>>,
    /// The processes that run the workers, each with an equal part of them; none for threads of this one.
    pub members: Vec<Line>,
}

/// What a run brought.
#[derive(Debug)]
pub struct Outcome {
    /// What every worker saw, to be judged.
    pub ledgers: Vec<Ledger>,
    /// What the servers were held to.
    pub contract: Contract,
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
    /// Sessions that were cut off and did not get back into their room.
    pub not_back: u32,
    /// Connections that sessions opened after their first.
    pub reconnects: u64,
    /// Joins that no ack, only a probe confirmed.
    pub probed: u64,
    /// Whether sends of some kind were never acked: then a sender's own copy counted as the ack.
    pub unacked: bool,
    /// The processes that ran the workers, where it was not this one.
    pub members: Vec<MemberFacts>,
    /// Those of them that were lost, and the ledgers of their workers with them.
    pub lost_members: Vec<Lost>,
    /// The workers whose ledgers were lost with them.
    pub lost_workers: Vec<u32>,
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
    /// A process that was to run a part of it did not, or none was left.
    #[error("{name}: {why}")]
    Member {
        /// Which.
        name: String,
        /// What happened.
        why: String,
    },
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

/// When messages are due after the order to send them: it has to get to everybody before.
const SEND_LEAD: Duration = Duration::from_millis(20);

/// The same where it goes to other processes.
const FAR_SEND_LEAD: Duration = Duration::from_millis(300);

/// How long the first connection to each endpoint is tried.
const PROBE_TRIES: u32 = 5;

/// Runs `plan` to its end.
///
/// # Errors
/// There was nothing to judge.
pub async fn run(plan: Plan, means: Means, conductor: &mut impl Conductor) -> Result<Outcome, SwarmError> {
    let plan = Arc::new(plan);
    let secure = plan.endpoints.iter().any(|endpoint| endpoint.tls);
    let tls = if secure { Some(tls::connector(plan.insecure)?) } else { None };
    probe(&plan, tls.as_ref()).await?;

    let (monitor, history) = (means.monitor.clone(), means.history.clone());
    let send_lead = if means.members.is_empty() { SEND_LEAD } else { FAR_SEND_LEAD };
    let mut team = assemble(&plan, means, tls).await?;
    tokio::time::sleep_until(plan.epoch.into()).await;
    conductor.begins(Step::Connect, Instant::now());
    team.connected().await;
    let nodes = team.nodes();
    if nodes.is_empty() {
        let Home { harvests, lost, .. } = team.part().await?;
        if let (true, Some(Lost { name, why, .. })) = (harvests.is_empty(), lost.into_iter().next()) {
            return Err(SwarmError::Member { name, why });
        }
        let why = harvests.iter().flat_map(|harvest| harvest.incidents.not_opened.keys()).next();
        return Err(SwarmError::NothingOpened(why.cloned().unwrap_or_else(|| "interrupted".into())));
    }
    if nodes.len() > MAX_REPLICAS {
        team.part().await?;
        return Err(SwarmError::TooManyReplicas(nodes.len()));
    }
    let order = sorted(&nodes);
    let contract = plan.contract.unwrap_or_else(|| claimed(&nodes));
    let replicas = replicas(&nodes, &order, contract);
    begin_history(&plan, &replicas, history.as_ref());

    conductor.begins(Step::Join, Instant::now());
    team.order(Order::Join(replicas)).await;
    let at = Instant::now() + send_lead;
    conductor.begins(Step::Send, at);
    let at_us = u64::try_from((at - plan.epoch).as_micros()).expect("a run is short");
    team.order(Order::Send(at_us)).await;
    conductor.begins(Step::Settle, at);
    conductor.healed().await;
    let open = team.order(Order::Settle).await;
    conductor.begins(Step::Drain, at);
    let to_all = if plan.scenario.share_all > 0.0 { open } else { 0 };
    team.order(Order::Fence((monitor.read().sent > 0).then_some(to_all))).await;
    let home = team.part().await?;
    conductor.begins(Step::Done, at);
    if let (true, Some(Lost { name, why, .. })) = (home.harvests.is_empty(), home.lost.first().cloned()) {
        return Err(SwarmError::Member { name, why });
    }
    Ok(outcome(home, plan.workers, (&nodes, &order), contract))
}

/// Starts everybody who has sockets.
async fn assemble(plan: &Arc<Plan>, mut means: Means, tls: Option<TlsConnector>) -> Result<Team, SwarmError> {
    let members = std::mem::take(&mut means.members);
    if members.is_empty() {
        return Ok(Team::Threads(Threads::start(plan, 0..plan.workers, means, tls)?));
    }
    Ok(Team::Members(Members::start(plan, members, means).await?))
}

/// The first line of the history, before any worker writes.
fn begin_history(plan: &Plan, replicas: &Replicas, history: Option<&std::sync::mpsc::SyncSender<Vec<u8>>>) {
    let Some(history) = history else { return };
    let setups = (0..plan.workers)
        .map(|worker| plan.setup(worker, replicas.names.clone(), replicas.contract))
        .collect();
    let header = Header { history: ws_analysis::history::SCHEMA.into(), setups };
    let mut line = serde_json::to_vec(&header).expect("a header is always JSON");
    line.push(b'\n');
    // An error: the writer has said why.
    let _ = history.send(line);
}

/// The nodes as replicas, in their `order`.
fn replicas(nodes: &[(Hello, String)], order: &[usize], contract: Contract) -> Replicas {
    let names = order.iter().map(|&node| nodes[node].0.node.clone()).collect();
    let urls = order.iter().map(|&node| nodes[node].1.clone()).collect();
    Replicas { names, urls, contract }
}

/// The contract that all the servers claim; who claims none is held to the strictest.
fn claimed(nodes: &[(Hello, String)]) -> Contract {
    let mut claims = nodes.iter().filter_map(|(hello, _)| hello.guarantee.parse().ok());
    let first = claims.next().unwrap_or_default();
    claims.fold(first, |one, other| if one == other { one } else { Contract::ExactlyOnce })
}

/// One connection to each endpoint, so that a wrong URL is told at once and by name.
async fn probe(plan: &Plan, tls: Option<&TlsConnector>) -> Result<(), SwarmError> {
    for number in 0..plan.scenario.connections.min(u32::try_from(plan.endpoints.len()).unwrap_or(u32::MAX)) {
        let mut tries = 0;
        while let Err(error) = connect::connect(plan, tls, Way { number, turn: 0, since: None }).await {
            tries += 1;
            if tries == PROBE_TRIES {
                let url = plan.endpoint(number, 0).url.clone();
                return Err(SwarmError::Unreachable { url, why: error.to_string() });
            }
            tokio::time::sleep(Duration::from_millis(100) * tries).await;
        }
    }
    Ok(())
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

fn outcome(
    home: Home,
    workers: u32,
    (nodes, order): (&[(Hello, String)], &[usize]),
    contract: Contract,
) -> Outcome {
    let mut incidents = Incidents::default();
    let mut connections = vec![0; order.len()];
    let (mut not_joined, mut unfenced_rooms, mut not_back, mut reconnects) = (0, 0, 0, 0);
    let (mut probed, mut unacked) = (0, false);
    let mut ledgers = Vec::new();
    for harvest in home.harvests {
        incidents.add(harvest.incidents);
        connections.iter_mut().zip(&harvest.connections).for_each(|(all, one)| *all += one);
        not_joined += harvest.not_joined;
        unfenced_rooms += harvest.unfenced_rooms;
        not_back += harvest.not_back;
        reconnects += harvest.reconnects;
        probed += harvest.probed;
        unacked |= harvest.unacked;
        ledgers.push(harvest.ledger);
    }
    let is_lost = |worker: &u32| !ledgers.iter().any(|ledger: &Ledger| ledger.setup().worker == *worker);
    let lost_workers = (0..workers).filter(is_lost).collect();
    let met = |(&node, &connections): (&usize, &u32)| Met {
        hello: nodes[node].0.clone(),
        url: nodes[node].1.clone(),
        connections,
    };
    let Incidents { not_opened, ended_early, refusals, problems } = incidents;
    Outcome {
        replicas: order.iter().zip(&connections).map(met).collect(),
        ledgers,
        contract,
        not_opened,
        ended_early,
        refusals,
        problems,
        not_joined,
        unfenced_rooms,
        not_back,
        reconnects,
        probed,
        unacked,
        members: home.members,
        lost_members: home.lost,
        lost_workers,
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
