//! Workers that are threads of this process.

use std::{io, ops::Range, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use ws_wire::message::Hello;

use crate::{
    coordinator::Means,
    files,
    hands::Reach,
    plan::Plan,
    worker::{self, Harvest, Nodes, Order, Report, Start},
};

/// How often it is looked whether all workers live.
const LOOK: Duration = Duration::from_millis(500);

/// The workers and the lines to them.
pub(crate) struct Threads {
    threads: Vec<JoinHandle<io::Result<Harvest>>>,
    orders: watch::Sender<Order>,
    reports: mpsc::Receiver<Report>,
    nodes: Arc<Nodes>,
}

impl Threads {
    /// Starts the `workers` of `plan` that are ours; the first order is to connect.
    pub(crate) fn start(
        plan: &Arc<Plan>,
        workers: Range<u32>,
        means: Means,
        tls: Option<TlsConnector>,
    ) -> io::Result<Self> {
        let (orders, order) = watch::channel(Order::Connect);
        let (report, reports) = mpsc::channel(workers.len().max(1));
        let nodes = Arc::new(Nodes::default());
        let Means { monitor, stop, reach: Reach(hands), history, .. } = means;
        let topology = plan.topology();
        let rooms = workers.clone().flat_map(|worker| topology.rooms_of(worker));
        files::make_room(rooms.map(|room| topology.members(room).len()).sum());
        let spawn = |(index, hands)| {
            let start = Start {
                plan: plan.clone(),
                index,
                epoch: plan.epoch.into(),
                hands,
                journal: history.clone(),
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
        let threads = workers.zip(hands).map(spawn).collect::<io::Result<_>>()?;
        Ok(Self { threads, orders, reports, nodes })
    }

    /// Gives an order and waits for all reports.
    pub(crate) async fn order(&mut self, order: Order) -> u64 {
        self.orders.send_replace(order);
        self.report().await
    }

    /// Waits for one report of each worker, as long as all of them live: joining one that is gone tells why.
    pub(crate) async fn report(&mut self) -> u64 {
        let (mut open, mut reports) = (0, 0);
        while reports < self.threads.len() {
            match timeout(LOOK, self.reports.recv()).await {
                Ok(Some(report)) => {
                    open |= report.replicas;
                    reports += 1;
                }
                Ok(None) => break,
                Err(_) if self.threads.iter().any(JoinHandle::is_finished) => break,
                Err(_) => {}
            }
        }
        open
    }

    pub(crate) fn nodes(&self) -> Vec<(Hello, String)> {
        self.nodes.list()
    }

    /// The last order; brings everything home.
    pub(crate) async fn part(self) -> io::Result<Vec<Harvest>> {
        self.orders.send_replace(Order::Part);
        let join = |thread: JoinHandle<_>| thread.join().expect("a worker's panic is our bug");
        let all = tokio::task::spawn_blocking(move || self.threads.into_iter().map(join).collect());
        all.await.expect("a worker's panic is our bug")
    }
}
