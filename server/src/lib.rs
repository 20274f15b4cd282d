//! A clustered WebSocket room server, small enough to read in one sitting.
//!
//! A message goes: `session` (one a connection) → [`broker`] → `rooms` of every replica → `outbox` of each member →
//! `flush` to its socket. Nobody hears a message before it came through the broker, so a room has one order.
//!
//! - [`args`], [`config`]: what was typed, and what it means.
//! - `http`: the handshakes, health, metrics, and a page to try it.
//! - `dialect`: the protocols that clients speak, at the edge of a session.
//! - [`healthcheck`]: the same health, asked from outside.
//! - [`bug`]: damage on purpose, to prove that a verifier finds it.

pub mod args;
pub mod broker;
pub mod bug;
pub mod config;
mod dialect;
mod flush;
mod health;
pub mod healthcheck;
mod http;
mod metrics;
mod outbox;
mod rooms;
mod session;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use broker::Broker;
pub use config::{BrokerChoice, Config, Limits};
use health::Health;
use metrics::Metrics;
use rooms::Rooms;
use session::Sessions;

/// One replica, as all its tasks see it.
struct Server {
    config: Config,
    broker: Broker,
    rooms: Arc<Rooms>,
    sessions: Sessions,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    /// One permit a WebSocket connection.
    places: Arc<Semaphore>,
    next_session: AtomicU64,
    /// Every task that must have ended before [`run`] returns.
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// After the drain.
    flushers_end: CancellationToken,
}

/// Connections that wait to be accepted: when all clients come back at once many do, and who finds the queue full is
/// heard again only a second later (RFC 6298 section 2.1). The kernel cuts it to net.core.somaxconn.
const BACKLOG: u32 = 4096;

/// Listens, with a queue for a storm of reconnects.
///
/// # Errors
/// The address can't be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `listener` until `shutdown`; then every client is told 1012 and given [`Config::drain_timeout`] to go.
///
/// # Errors
/// The listener's address can't be read. Errors of single connections are theirs alone.
pub async fn run(listener: TcpListener, config: Config, shutdown: CancellationToken) -> io::Result<()> {
    let server = Server::start(config, shutdown.clone());
    info!(address = %listener.local_addr()?, node = server.config.node, broker = server.broker.name(), "listening");
    for bug in &server.config.bugs {
        warn!(%bug, "a bug switch is on: this server breaks messages on purpose");
    }
    let router = http::router(server.clone());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => server.clone().serve(stream, router.clone()),
                Err(error) => {
                    // Mostly no file descriptor left; those that are there go on.
                    warn!(%error, "a connection can't be accepted");
                    sleep(Duration::from_millis(50)).await;
                }
            },
            () = shutdown.cancelled() => break,
        }
    }
    drop(listener);
    server.drain().await;
    Ok(())
}

/// Lets this process open as many connections as the system allows without asking: each is a file.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    info!(before = current, now = maximum, ok = raised.is_ok(), "open files");
}

impl Server {
    fn start(config: Config, shutdown: CancellationToken) -> Arc<Self> {
        let metrics = Arc::new(Metrics::default());
        let health = Arc::new(Health::default());
        let rooms = Rooms::new(&config, health.clone(), metrics.clone());
        let tasks = TaskTracker::new();
        let broker = Broker::start(&config.broker, rooms.clone(), &tasks, &shutdown);
        let server = Arc::new(Self {
            places: Arc::new(Semaphore::new(config.limits.connections)),
            next_session: AtomicU64::new(0),
            sessions: Sessions::default(),
            broker,
            rooms,
            health,
            metrics,
            tasks,
            shutdown,
            flushers_end: CancellationToken::new(),
            config,
        });
        server.tasks.spawn(health::heartbeat(server.clone()));
        server.tasks.spawn(session::sweep(server.clone()));
        for flusher in &server.rooms.flushers {
            // Not among the tasks that a drain waits for: it serves them, and ends with the last outbox.
            tokio::spawn(flusher.clone().run(server.flushers_end.clone()));
        }
        server
    }

    fn serve(self: Arc<Self>, stream: TcpStream, router: axum::Router) {
        let server = self.clone();
        let serving = async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(server.config.handshake_timeout)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
                .with_upgrades();
            tokio::select! {
                // A client that does not speak HTTP got its answer, if any was possible.
                _ = connection => {}
                () = server.shutdown.cancelled() => {}
            }
        };
        // Boxed: hyper's state is large, and gone once the connection is a WebSocket.
        self.tasks.spawn(Box::pin(serving));
    }

    async fn drain(&self) {
        // Before the clients are told to go: behind a close frame no answer would reach them.
        self.broker.finished().await;
        let sessions = self.sessions.all();
        info!(sessions = sessions.len(), "draining");
        for session in sessions {
            session.outbox.close(1012, "restart: reconnect after a random moment");
        }
        self.tasks.close();
        if tokio::time::timeout(self.config.drain_timeout, self.tasks.wait()).await.is_err() {
            warn!(sessions = self.sessions.count(), "cut off: they did not go in time");
        }
        self.flushers_end.cancel();
    }

    fn next_session(&self) -> u64 {
        self.next_session.fetch_add(1, Relaxed)
    }
}
