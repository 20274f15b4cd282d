//! One thread with its rooms, their sockets and their ledger, taken from step to step.

mod begin;
mod end;
mod pulse;
mod send;
mod tend;
mod turnover;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::LocalSet,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use ws_analysis::{
    contract::Contract,
    ledger::{Ledger, Session, To},
    pulse::Unread,
    stats::Times,
};
use ws_wire::{codec::Answers, message::Hello, stamp::Kind};

use crate::{
    connect::ConnectError,
    hands::Command,
    monitor::{Counters, Monitor},
    plan::Plan,
    socket::Socket,
};

/// How often a wait looks by itself whether it is over.
const CHECK_EVERY: Duration = Duration::from_millis(5);

/// Bytes read at once, shared by all sockets of a worker.
const READ_BUFFER: usize = 64 * 1024;

/// What the coordinator orders; each is answered by a [`Report`], the last by the end of the thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Connect,
    /// With the replicas that the nodes of the table turned out to be.
    Join(Replicas),
    /// From this time, in microseconds of the run.
    Send(u64),
    /// Until everybody is back in its room.
    Settle,
    /// Where anybody sent anything, with the fences to all that everyone has to see.
    Fence(Option<u64>),
    Part,
}

/// Which replica is which.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Replicas {
    /// In the order of the matrix.
    pub(crate) names: Vec<String>,
    /// Where the first of each was met.
    pub(crate) urls: Vec<String>,
    /// What they are held to.
    pub(crate) contract: Contract,
}

/// A worker's answer to an order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// The replicas where it has open sockets, as bits of the fences to all.
    pub(crate) replicas: u64,
}

/// Everything a worker brings home.
#[derive(Serialize, Deserialize)]
pub(crate) struct Harvest {
    pub(crate) ledger: Ledger,
    pub(crate) incidents: Incidents,
    /// Sessions by the replica of their last connection.
    pub(crate) connections: Vec<u32>,
    pub(crate) not_joined: u32,
    pub(crate) unfenced_rooms: u32,
    /// Sessions that were cut off and did not get back into their room.
    pub(crate) not_back: u32,
    /// Connections that a session opened after its first.
    pub(crate) reconnects: u64,
    /// Joins that only a probe confirmed.
    pub(crate) probed: u64,
    /// Whether it sent something, and no ack ever came of such a send.
    pub(crate) unacked: bool,
}

/// What happened besides messages, by description.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Incidents {
    pub(crate) not_opened: BTreeMap<String, u32>,
    pub(crate) ended_early: BTreeMap<String, u32>,
    pub(crate) refusals: BTreeMap<String, u32>,
    pub(crate) problems: BTreeMap<String, u32>,
}

/// The nodes that said hello, in the order in which they did.
#[derive(Debug, Default)]
pub(crate) struct Nodes(Mutex<Vec<(Hello, String)>>);

impl Nodes {
    /// The place of a node in the table; its hello is kept the first time.
    pub(crate) fn number(&self, hello: &Hello, url: &str) -> u16 {
        let mut nodes = self.0.lock().expect("nothing panics while it is held");
        let place = nodes.iter().position(|(known, _)| known.node == hello.node).unwrap_or_else(|| {
            nodes.push((hello.clone(), url.to_owned()));
            nodes.len() - 1
        });
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    pub(crate) fn list(&self) -> Vec<(Hello, String)> {
        self.0.lock().expect("nothing panics while it is held").clone()
    }
}

/// A worker, as its tasks see it.
pub(crate) struct Worker {
    pub(crate) plan: Arc<Plan>,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) tls: Option<TlsConnector>,
    pub(crate) stop: CancellationToken,
    /// From the join on.
    pub(crate) ledger: RefCell<Option<Ledger>>,
    /// Lent to whichever socket reads.
    pub(crate) buffer: Cell<Vec<u8>>,
    /// Lent to whichever socket writes.
    pub(crate) text: Cell<String>,
    /// Something that a step may wait for has happened.
    pub(crate) changed: Notify,
    /// Faults that let nobody connect.
    pub(crate) barred: Cell<u32>,
    /// Who is gone now does not come back.
    pub(crate) parting: Cell<bool>,
    /// Messages are being sent.
    sending: Cell<bool>,
    replicas: RefCell<Replicas>,
    /// The replica of each node of the table, as far as they were met when it was last looked up.
    of_node: RefCell<Vec<u16>>,
    /// Anybody sent anything: there is an end to be fenced.
    has_sent: Cell<bool>,
    reconnects: Cell<u64>,
    /// Joins that only a probe confirmed.
    probed: Cell<u64>,
    /// Whether the server ever acked a send into a room, and to all.
    send_acked: [Cell<bool>; 2],
    not_back: Cell<u32>,
    journal: Option<std::sync::mpsc::SyncSender<Vec<u8>>>,
    index: u32,
    epoch: Instant,
    sockets: Vec<Socket>,
    monitor: Arc<Monitor>,
    /// Of the sockets that were asked with the last pulse.
    unread: Cell<Unread>,
    /// Where the next sample of sockets begins.
    looked_at: Cell<usize>,
    /// Sockets on their way to a hello.
    opening: Cell<u32>,
    /// Joins without an answer.
    joining: Cell<u32>,
    payload: Cell<String>,
    key: Cell<String>,
    connect_times: RefCell<Times>,
    incidents: RefCell<Incidents>,
    join_refused: RefCell<Vec<u32>>,
    random: RefCell<SmallRng>,
}

/// What a worker needs from outside.
pub(crate) struct Start {
    pub(crate) plan: Arc<Plan>,
    pub(crate) index: u32,
    pub(crate) epoch: Instant,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) tls: Option<TlsConnector>,
    pub(crate) stop: CancellationToken,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) hands: mpsc::Receiver<Command>,
    /// Where journals go, if they are kept.
    pub(crate) journal: Option<std::sync::mpsc::SyncSender<Vec<u8>>>,
}

/// Carries out orders until the last; runs on a thread of its own.
pub(crate) fn run(
    mut start: Start,
    orders: watch::Receiver<Order>,
    reports: mpsc::Sender<Report>,
) -> std::io::Result<Harvest> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let hands = std::mem::replace(&mut start.hands, mpsc::channel(1).1);
    let worker = Worker::new(start);
    local.spawn_local(worker.clone().tend(hands));
    local.block_on(&runtime, worker.obey(orders, reports))
}

impl Worker {
    fn new(start: Start) -> Rc<Self> {
        let Start { plan, index, epoch, nodes, tls, stop, monitor, journal, hands: _ } = start;
        let topology = plan.topology();
        let socket = |number| Socket::new(number, plan.protocol.dialogue(number));
        let sockets = topology.rooms_of(index).flat_map(|room| topology.members(room)).map(socket).collect();
        let random = RefCell::new(SmallRng::seed_from_u64(plan.scenario.seed ^ u64::from(index)));
        Rc::new(Self {
            nodes,
            tls,
            stop,
            ledger: RefCell::new(None),
            buffer: Cell::new(vec![0; READ_BUFFER]),
            text: Cell::new(String::new()),
            changed: Notify::new(),
            barred: Cell::new(0),
            parting: Cell::new(false),
            sending: Cell::new(false),
            replicas: RefCell::default(),
            of_node: RefCell::default(),
            has_sent: Cell::new(false),
            reconnects: Cell::new(0),
            probed: Cell::new(0),
            send_acked: [(); 2].map(|()| Cell::new(plan.protocol.send_answers() == Answers::Always)),
            not_back: Cell::new(0),
            journal,
            index,
            epoch,
            sockets,
            monitor,
            unread: Cell::default(),
            looked_at: Cell::new(0),
            opening: Cell::new(0),
            joining: Cell::new(0),
            payload: Cell::new(String::new()),
            key: Cell::new(String::new()),
            connect_times: RefCell::new(Times::fine()),
            incidents: RefCell::default(),
            join_refused: RefCell::default(),
            random,
            plan,
        })
    }

    async fn obey(
        self: Rc<Self>,
        mut orders: watch::Receiver<Order>,
        reports: mpsc::Sender<Report>,
    ) -> std::io::Result<Harvest> {
        let mut unfenced = Vec::new();
        loop {
            let order = orders.borrow_and_update().clone();
            match order {
                Order::Connect => self.connect().await,
                Order::Join(replicas) => {
                    self.replicas.replace(replicas);
                    self.join().await;
                }
                Order::Send(at) => {
                    self.sending.set(true);
                    self.send(at).await?;
                    self.sending.set(false);
                }
                Order::Settle => self.settle().await,
                Order::Fence(to_all) => {
                    self.has_sent.set(to_all.is_some());
                    unfenced = self.fence(to_all.unwrap_or(0)).await;
                }
                Order::Part => {
                    self.farewell(&unfenced).await;
                    self.close().await;
                    return Ok(self.harvest(u32::try_from(unfenced.len()).expect("rooms are few")));
                }
            }
            let report = Report { replicas: self.open_replicas() };
            if reports.send(report).await.is_err() || orders.changed().await.is_err() {
                // The coordinator gave up.
                return Ok(self.harvest(0));
            }
        }
    }

    pub(crate) fn socket(&self, me: u32) -> &Socket {
        &self.sockets[me as usize]
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.monitor.worker(self.index)
    }

    /// Microseconds of the run.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A key to mask a frame with. A test needs no unpredictable ones (RFC 6455 section 10.3 protects proxies from
    /// scripts in browsers), only that they vary.
    pub(crate) fn mask(&self) -> [u8; 4] {
        self.random.borrow_mut().random()
    }

    /// A socket has its hello.
    pub(crate) fn opened(&self, took_us: u64) {
        self.connect_times.borrow_mut().record(took_us);
        self.counters().connected.fetch_add(1, Relaxed);
        self.opening.set(self.opening.get() - 1);
        self.changed.notify_one();
    }

    /// A socket did not open after all its tries.
    pub(crate) fn not_opened(&self, me: u32, error: &ConnectError) {
        let socket = self.socket(me);
        let url = &self.plan.endpoint(socket.number, socket.turn.get()).url;
        count(&mut self.incidents.borrow_mut().not_opened, format!("{url}: {error}"));
        self.opening.set(self.opening.get() - 1);
        self.changed.notify_one();
    }

    pub(crate) fn joined(&self) {
        self.counters().joined.fetch_add(1, Relaxed);
        self.joining.set(self.joining.get().saturating_sub(1));
        self.changed.notify_one();
    }

    /// A probe came back, where no ack of the join had.
    pub(crate) fn probed(&self) {
        self.probed.set(self.probed.get() + 1);
    }

    /// The server acks such sends.
    pub(crate) fn send_acked(&self, to: To) {
        self.send_acked[to as usize].set(true);
    }

    /// Whether it does; until the first ack nobody knows.
    pub(crate) fn sends_are_acked(&self, to: To) -> bool {
        self.send_acked[to as usize].get()
    }

    pub(crate) fn join_refused(&self, me: u32) {
        self.joining.set(self.joining.get().saturating_sub(1));
        self.join_refused.borrow_mut().push(me);
        self.changed.notify_one();
    }

    /// A connection is over; `why`, unless we wanted it.
    pub(crate) fn cut(&self, me: u32, why: Option<String>) {
        let heard_us = self.socket(me).alive_us.get();
        if let Some(ledger) = self.ledger.borrow_mut().as_mut() {
            ledger.cut(me, heard_us);
        }
        self.counters().ended.fetch_add(1, Relaxed);
        if let Some(why) = why {
            let nodes = self.nodes.list();
            let node =
                nodes.get(usize::from(self.socket(me).node.get())).map(|(hello, _)| hello.node.clone());
            let what = format!("{}: {why}", node.unwrap_or_default());
            count(&mut self.incidents.borrow_mut().ended_early, what);
        }
        self.changed.notify_one();
    }

    /// A session has a new connection: it joins its room again, where it was before.
    pub(crate) fn came_back(&self, me: u32) {
        self.counters().ended.fetch_sub(1, Relaxed);
        self.reconnects.set(self.reconnects.get() + 1);
        if self.socket(me).wants_room.get() && !self.is_in_room(me) {
            self.join_one(me, true);
        } else if self.socket(me).stays_behind.take() {
            self.leave_again(me);
        }
        self.changed.notify_one();
    }

    /// Whether it is a member, as the ledger has it.
    fn is_in_room(&self, me: u32) -> bool {
        self.ledger.borrow().as_ref().is_some_and(|ledger| ledger.sessions()[me as usize].is_member())
    }

    /// The replica that a node of the table is; one that was not there when the run began is the one that was met at its
    /// URL.
    pub(crate) fn replica_of(&self, node: u16) -> u16 {
        let mut of_node = self.of_node.borrow_mut();
        if of_node.len() <= usize::from(node) {
            let nodes = self.nodes.list();
            let unknown = nodes.get(of_node.len()..).unwrap_or_default();
            of_node.extend(unknown.iter().map(|(hello, url)| self.find_replica(hello, url)));
        }
        of_node.get(usize::from(node)).copied().unwrap_or(0)
    }

    fn find_replica(&self, hello: &Hello, url: &str) -> u16 {
        let replicas = self.replicas.borrow();
        let by_name = replicas.names.iter().position(|name| *name == hello.node);
        let known = by_name.or_else(|| replicas.urls.iter().position(|known| known == url));
        if known.is_none() && !replicas.names.is_empty() {
            self.problem(format!("replica {} was not there when the run began", hello.node));
        }
        known.and_then(|place| u16::try_from(place).ok()).unwrap_or(0)
    }

    /// A random moment up to `most`.
    pub(crate) fn moment(&self, most: Duration) -> Duration {
        most.mul_f64(self.random.borrow_mut().random_range(0.0..=1.0))
    }

    /// `pause`, shifted at random by half of itself.
    pub(crate) fn shifted(&self, pause: Duration) -> Duration {
        pause.mul_f64(self.random.borrow_mut().random_range(0.5..=1.5))
    }

    /// The server refused a request.
    pub(crate) fn refused(&self, code: &str) {
        count(&mut self.incidents.borrow_mut().refusals, code.to_owned());
    }

    /// The server did what its protocol does not have.
    pub(crate) fn problem(&self, what: String) {
        count(&mut self.incidents.borrow_mut().problems, what);
    }

    /// The replicas where this worker has open sockets, as bits of the fences to all.
    fn open_replicas(&self) -> u64 {
        let ledger = self.ledger.borrow();
        let Some(ledger) = ledger.as_ref() else { return 0 };
        let open = ledger.sessions().iter().filter(|session| session.connected);
        let replicas = u32::try_from(self.replicas.borrow().names.len()).expect("at most MAX_REPLICAS");
        let bit = |replica: u16| (self.index * replicas + u32::from(replica)) % u64::BITS;
        open.fold(0, |bits, session| bits | 1 << bit(session.replica))
    }

    /// Sends one message of `kind` and the shortest size from `me`; its time counts from `intended_us`.
    fn send_from(&self, me: u32, to: To, kind: Kind, intended_us: u64) {
        self.send_sized(me, to, kind, intended_us, self.plan.scenario.size.least);
    }

    /// The same of so many bytes.
    fn send_sized(&self, me: u32, to: To, kind: Kind, intended_us: u64, size: u32) {
        let mut ledger = self.ledger.borrow_mut();
        let ledger = ledger.as_mut().expect("made before anything is sent");
        let now_us = self.now_us();
        let stamp = ledger.send(me, to, kind, intended_us, now_us);
        let room = match to {
            To::Room => Some(ledger.rooms()[ledger.sessions()[me as usize].room as usize].name.as_str()),
            To::All => None,
        };
        let mut payload = self.payload.take();
        payload.clear();
        stamp.write(size as usize, &mut payload);
        let mut key = self.key.take();
        key.clear();
        stamp.write_key(&mut key);
        self.socket(me).send(self, room, stamp.index, &key, &payload);
        self.payload.replace(payload);
        self.key.replace(key);
        if self.plan.protocol.is_one_way() && !self.sends_are_acked(to) {
            // Nobody will say more of it.
            self.socket(me).unanswered.set(0);
            ledger.acked(me, to, stamp.index, now_us);
        }
    }

    /// Waits until `done`, at most for `patience`, and no longer than a moment once the run is stopped.
    async fn wait_until(&self, patience: Duration, done: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while !done() {
            let patience_left = deadline.saturating_duration_since(Instant::now());
            if patience_left.is_zero() {
                return false;
            }
            // Not everything that is waited for makes itself known.
            let _ = timeout(patience_left.min(CHECK_EVERY), self.changed.notified()).await;
        }
        true
    }

    fn harvest(&self, unfenced_rooms: u32) -> Harvest {
        self.write_journal();
        let ledger = self.ledger.take().unwrap_or_else(|| self.new_ledger());
        let mut connections = vec![0; self.replicas.borrow().names.len().max(1)];
        for socket in self.sockets.iter().filter(|socket| socket.greeted.get()) {
            connections[usize::from(self.replica_of(socket.node.get()))] += 1;
        }
        let is_one_way = self.plan.protocol.is_one_way();
        let is_outside = |session: &&Session| session.memberships() == 0 && !is_one_way;
        let not_joined = ledger.sessions().iter().filter(is_outside).count();
        Harvest {
            incidents: self.incidents.take(),
            connections,
            not_joined: u32::try_from(not_joined).expect("connections are counted in 32 bits"),
            unfenced_rooms,
            not_back: self.not_back.get(),
            reconnects: self.reconnects.get(),
            probed: self.probed.get(),
            unacked: !is_one_way && self.has_unacked(&ledger),
            ledger,
        }
    }

    /// Whether something was sent of a kind that was never acked.
    fn has_unacked(&self, ledger: &Ledger) -> bool {
        let sent = |to| ledger.sent_count(to) > 0;
        [To::Room, To::All].into_iter().any(|to| sent(to) && !self.sends_are_acked(to))
    }

    fn new_ledger(&self) -> Ledger {
        let replicas = self.replicas.borrow();
        let mut ledger = Ledger::new(self.plan.setup(self.index, replicas.names.clone(), replicas.contract));
        ledger.latencies_mut().connect.merge(&self.connect_times.borrow());
        if self.journal.is_some() {
            ledger.keep_journal();
        }
        ledger
    }
}

fn count(incidents: &mut BTreeMap<String, u32>, what: String) {
    // A server that says something new each time must not fill the memory.
    let what = if incidents.len() < 50 { what } else { "others".into() };
    *incidents.entry(what).or_default() += 1;
}
