//! A TCP proxy on loopback that can do what networks do: pass, reset, stall, refuse, and be slow.
//!
//! It never discards bytes and goes on: a connection either keeps every byte in its order, or is reset. What it can't
//! do: lose a packet below TCP, or keep a peer's kernel from acknowledging what it accepted.

mod pump;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::port::Port;
use pump::Pump;

/// After a failed accept or bind: what it lacks (file descriptors) may come back.
const RETRY: Duration = Duration::from_millis(10);

/// What it does with live and with new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mode {
    /// Passes everything on.
    #[default]
    Pass,
    /// Live connections are reset, and every new one as soon as it is accepted.
    Cut,
    /// Nothing passes these ways, and nothing is lost: it comes in its order when the stall ends. New connections are
    /// accepted, and stall as well.
    Stall(Ways),
    /// Live connections are reset, and new ones are refused.
    Refuse,
    /// Everything comes later by `delay` each way, in its order, and no faster than `bytes_per_second` each way.
    Slow {
        /// Each way; a round trip takes twice as long.
        delay: Duration,
        /// Each way of each connection; none for no limit.
        bytes_per_second: Option<u64>,
    },
}

/// Ways of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ways {
    /// Both.
    #[default]
    Both,
    /// From who connected to the target.
    Out,
    /// From the target to who connected.
    In,
}

/// What happened so far. All but `live` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections now.
    pub live: u64,
    /// Connections that [`Mode::Cut`] and [`Mode::Refuse`] reset.
    pub cut: u64,
    /// Bytes that arrived while they could not pass.
    pub held: u64,
    /// Bytes that were passed later than they could have been.
    pub delayed: u64,
    /// Bytes passed.
    pub passed: u64,
}

/// A running proxy. Its drop ends it and its connections.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// A mode that lasts until this is dropped; then the newest one that is still held is back, or [`Mode::Pass`].
#[derive(Debug)]
#[must_use = "the mode ends with it"]
pub struct Hold {
    shared: Arc<Shared>,
    number: u64,
}

#[derive(Debug)]
struct Shared {
    port: Port,
    target: SocketAddr,
    holds: Mutex<Holds>,
    order: watch::Sender<Order>,
    listening: watch::Sender<bool>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Holds {
    next: u64,
    held: Vec<(u64, Mode)>,
}

/// What the connections have to do now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Order {
    mode: Mode,
    /// How often all were reset: a cut that is over before a connection looks still hits it.
    resets: u64,
}

#[derive(Debug, Default)]
struct Counters {
    live: AtomicU64,
    cut: AtomicU64,
    held: AtomicU64,
    delayed: AtomicU64,
    passed: AtomicU64,
}

impl Proxy {
    /// Passes connections to a free port of loopback on to `target`, on the runtime of whoever calls: it has to keep
    /// running.
    ///
    /// # Errors
    /// The system's.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let port = Port::reserve()?;
        let listener = port.listen()?;
        let shared = Arc::new(Shared {
            port,
            target,
            holds: Mutex::default(),
            order: watch::Sender::default(),
            listening: watch::Sender::new(true),
            counters: Counters::default(),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { shared, accepting })
    }

    /// Where it listens, also after a [`Mode::Refuse`].
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.port.address()
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Counters { live, cut, held, delayed, passed } = &self.shared.counters;
        let [live, cut, held, delayed, passed] =
            [live, cut, held, delayed, passed].map(|counter| counter.load(Relaxed));
        Counts { live, cut, held, delayed, passed }
    }

    /// Switches to `mode`, at once and for all connections.
    pub fn hold(&self, mode: Mode) -> Hold {
        let mut holds = self.shared.holds();
        let number = holds.next;
        holds.next += 1;
        holds.held.push((number, mode));
        self.shared.obey(&holds, true);
        Hold { shared: self.shared.clone(), number }
    }

    /// Whether any mode is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.shared.holds().held.is_empty()
    }

    /// Returns when it listens, or no more.
    pub async fn listens(&self, wanted: bool) {
        let mut listening = self.shared.listening.subscribe();
        listening.wait_for(|is| *is == wanted).await.expect("we hold the sender");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut holds = self.shared.holds();
        holds.held.retain(|(number, _)| *number != self.number);
        self.shared.obey(&holds, false);
    }
}

impl Shared {
    fn holds(&self) -> std::sync::MutexGuard<'_, Holds> {
        self.holds.lock().expect("nothing panics while it is held")
    }

    fn obey(&self, holds: &Holds, is_new: bool) {
        let mode = holds.held.last().map(|(_, mode)| *mode).unwrap_or_default();
        self.order.send_modify(|order| {
            order.mode = mode;
            order.resets += u64::from(is_new && matches!(mode, Mode::Cut | Mode::Refuse));
        });
    }
}

/// Accepts until it is aborted; its connections end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut orders = shared.order.subscribe();
    let mut listener = Some(listener);
    loop {
        let refuses = orders.borrow_and_update().mode == Mode::Refuse;
        match (&listener, refuses) {
            (Some(_), true) => listener = None,
            (None, false) => listener = shared.port.listen().ok(),
            _ => {}
        }
        shared.listening.send_replace(listener.is_some());
        tokio::select! {
            _ = orders.changed() => {}
            accepted = next(listener.as_ref(), refuses) => if let Some(stream) = accepted {
                let order = *shared.order.borrow();
                connections.spawn(connection(stream, order, shared.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The next connection; none if it is worth another try.
async fn next(listener: Option<&TcpListener>, refuses: bool) -> Option<TcpStream> {
    match listener {
        Some(listener) => match listener.accept().await {
            Ok((stream, _)) => return Some(stream),
            Err(_) => sleep(RETRY).await,
        },
        None if refuses => std::future::pending().await,
        None => sleep(RETRY).await,
    }
    None
}

/// One connection, accepted under `order`, to its end.
async fn connection(client: TcpStream, order: Order, shared: Arc<Shared>) {
    let _live = Live::count(&shared.counters.live);
    let mut orders = shared.order.subscribe();
    let cut = async {
        let is_cut = |now: &Order| now.resets != order.resets || matches!(now.mode, Mode::Cut | Mode::Refuse);
        orders.wait_for(is_cut).await.expect("we hold the sender");
    };
    let mut server = None;
    let reset = tokio::select! {
        biased;
        () = cut => {
            shared.counters.cut.fetch_add(1, Relaxed);
            true
        }
        ended = relay(&client, &mut server, &shared) => ended.is_err(),
    };
    if reset {
        for stream in [Some(&client), server.as_ref()].into_iter().flatten() {
            // It fails where the connection is reset already.
            let _ = stream.set_zero_linger();
        }
    }
}

/// Connects to the target, and passes on what comes until both sides have ended; an error is to be passed on as a reset.
async fn relay(client: &TcpStream, server: &mut Option<TcpStream>, shared: &Shared) -> io::Result<()> {
    let mut orders = shared.order.subscribe();
    let passes = |order: &Order| !matches!(order.mode, Mode::Stall(_));
    orders.wait_for(passes).await.expect("we hold the sender");
    let server: &TcpStream = server.insert(connect(shared.target).await?);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let out = Pump::new(client, server, Ways::Out, &shared.counters);
    let back = Pump::new(server, client, Ways::In, &shared.counters);
    tokio::try_join!(out.run(shared.order.subscribe()), back.run(shared.order.subscribe()))?;
    Ok(())
}

/// A connection to `target`, which is reset if nobody waits for it any more.
async fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    let stream = socket.connect(target).await?;
    SockRef::from(&stream).set_linger(None)?;
    Ok(stream)
}

/// Counts a connection while it lives.
struct Live<'a>(&'a AtomicU64);

impl<'a> Live<'a> {
    fn count(live: &'a AtomicU64) -> Self {
        live.fetch_add(1, Relaxed);
        Self(live)
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
