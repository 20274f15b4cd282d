//! One client: reads its requests, in order, and answers each.

mod requests;

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    io,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpStream, tcp::OwnedReadHalf},
    sync::OwnedSemaphorePermit,
    time::{MissedTickBehavior, interval, timeout},
};
use ws_wire::{
    frame::{self, Message, MessageReader, Role, opcode},
    message::Position,
};

use crate::{
    Server,
    dialect::{Close, Dialect, Reader, Request},
    outbox::{Flushed, Outbox},
};
use requests::Bucket;

/// How long the last frames and the client's close frame are waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the clients are looked after.
const SWEEP: Duration = Duration::from_secs(1);

/// Bytes read at once. The buffer is the thread's, not the connection's.
const READ_BUFFER: usize = 16 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER]);
}

/// In place of a time since when: not at all.
const NEVER: u64 = u64::MAX;

/// What the rest of the server knows of a client.
pub(crate) struct Session {
    pub(crate) outbox: Arc<Outbox>,
    /// Milliseconds since the server's start.
    last_heard_ms: AtomicU64,
    last_request_ms: AtomicU64,
    last_ping_ms: AtomicU64,
    /// Since when it could be one of all and did not ask for it, or [`NEVER`].
    outside_since_ms: AtomicU64,
    /// A request of it waits for the broker: nothing is read from it, so nothing is heard.
    busy: AtomicBool,
}

/// The clients by number.
pub(crate) struct Sessions {
    sessions: Mutex<HashMap<u64, Arc<Session>>>,
    start: Instant,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { sessions: Mutex::default(), start: Instant::now() }
    }
}

impl Sessions {
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Session>>> {
        self.sessions.lock().expect("nothing panics while it is held")
    }
}

/// How a client came in.
pub(crate) struct Entrance {
    pub(crate) dialect: Dialect,
    /// It asks for what was sent to all after this.
    pub(crate) since: Option<Position>,
}

/// Serves one client from its handshake to its end. `early` came right behind the handshake.
pub(crate) async fn serve(
    server: Arc<Server>,
    stream: TcpStream,
    early: Vec<u8>,
    Entrance { dialect, since }: Entrance,
    place: OwnedSemaphorePermit,
) {
    let number = server.next_session();
    let (read, write) = stream.into_split();
    let flushers = &server.rooms.flushers;
    let flusher = flushers[usize::try_from(number).unwrap_or(0) % flushers.len()].clone();
    let name = format!("{}-{number}", server.config.node);
    let limits = server.config.limits;
    let outbox = Arc::new(Outbox::new(number, name, dialect, write, limits.queue_bytes, flusher));
    let (opening, first) = dialect.open(&server, since);
    let now_ms = server.sessions.now_ms();
    let session = Arc::new(Session {
        outbox: outbox.clone(),
        last_heard_ms: AtomicU64::new(now_ms),
        last_request_ms: AtomicU64::new(now_ms),
        last_ping_ms: AtomicU64::new(now_ms),
        outside_since_ms: AtomicU64::new(if first.is_empty() { now_ms } else { NEVER }),
        busy: AtomicBool::new(false),
    });
    server.sessions.lock().insert(number, session.clone());
    server.metrics.sessions.fetch_add(1, Relaxed);
    outbox.push_answer(opening);
    if server.shutdown.is_cancelled() {
        outbox.close(1012, "restart: reconnect after a random moment");
    }
    let mut client = Client {
        frames: MessageReader::new(Role::Server, limits.message_bytes),
        reader: dialect.reader(limits.message_bytes),
        bucket: Bucket::new(limits.sends_per_second),
        channels: HashSet::new(),
        read,
        session,
        server,
        said_goodbye: false,
    };
    client.talk(first, early).await;
    client.server.rooms.forget(number, client.channels.iter());
    client.server.sessions.lock().remove(&number);
    // Boxed: few connections are closing at any time.
    Box::pin(client.part()).await;
    drop(place);
}

/// A session with its connection.
struct Client {
    server: Arc<Server>,
    session: Arc<Session>,
    read: OwnedReadHalf,
    frames: MessageReader,
    reader: Reader,
    bucket: Bucket,
    /// Of the rooms it is in.
    channels: HashSet<String>,
    said_goodbye: bool,
}

impl Client {
    /// Until one side closes.
    async fn talk(&mut self, mut requests: Vec<Request>, mut early: Vec<u8>) {
        if !early.is_empty() {
            self.take_in(&mut early, &mut requests);
        }
        let session = self.session.clone();
        let outbox = &session.outbox;
        loop {
            for request in requests.drain(..) {
                self.answer_and_write(request, &session).await;
            }
            if outbox.is_closing() {
                return;
            }
            tokio::select! {
                ready = self.read.readable() => {
                    if ready.is_err() || !self.read(&mut requests) {
                        return;
                    }
                }
                writable = outbox.writable(), if outbox.is_blocked() => {
                    if writable.is_err() || outbox.flush() == Flushed::Broken {
                        return;
                    }
                }
                () = outbox.attention.notified() => {}
            }
        }
    }

    /// Answers one request. The broker may take its time: meanwhile what waits is written.
    async fn answer_and_write(&mut self, request: Request, session: &Session) {
        let outbox = &session.outbox;
        session.busy.store(true, Relaxed);
        let mut answering = pin!(self.answer(request));
        loop {
            tokio::select! {
                biased;
                () = &mut answering => break,
                // An error: the flush meets it too, and the outbox is blocked no more.
                _ = outbox.writable(), if outbox.is_blocked() => {
                    outbox.flush();
                }
                () = outbox.attention.notified() => {}
            }
        }
        session.busy.store(false, Relaxed);
    }

    /// Reads once what has come; false: the connection is over.
    fn read(&mut self, requests: &mut Vec<Request>) -> bool {
        BUFFER.with_borrow_mut(|buffer| match self.read.try_read(buffer) {
            Ok(0) => false,
            Ok(len) => {
                self.take_in(&mut buffer[..len], requests);
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        })
    }

    /// Turns bytes into requests; answers at once what needs no request.
    fn take_in(&mut self, bytes: &mut [u8], requests: &mut Vec<Request>) {
        let outbox = &self.session.outbox;
        self.session.last_heard_ms.store(self.server.sessions.now_ms(), Relaxed);
        let (reader, goodbye) = (&mut self.reader, &mut self.said_goodbye);
        let result = self.frames.read(bytes, |message| {
            let read = match message {
                Message::Text(text) => reader.text(text, &outbox.name, requests),
                Message::Binary(bytes) => reader.binary(bytes, &outbox.name, requests),
                Message::Ping(payload) => {
                    let mut pong = Vec::new();
                    frame::write_server(&mut pong, opcode::PONG, payload);
                    outbox.push(&pong);
                    Ok(())
                }
                Message::Pong(_) => Ok(()),
                Message::Close(code, _) => {
                    *goodbye = true;
                    requests.push(Request::Goodbye(code));
                    Ok(())
                }
            };
            read.map_err(|Close(code, why)| outbox.close(code, &why)).is_ok()
        });
        if let Err(error) = result {
            outbox.close(error.close_code(), &error.to_string());
        }
    }

    /// Writes what is left and waits for the client's own close frame, for a bounded time.
    async fn part(mut self) {
        let outbox = self.session.outbox.clone();
        let parting = async {
            loop {
                match outbox.flush() {
                    Flushed::All => break,
                    Flushed::Blocked => outbox.writable().await?,
                    Flushed::Broken => return Ok(()),
                }
            }
            while !self.said_goodbye {
                self.read.readable().await?;
                // Requests behind our close frame are not answered.
                if !self.read(&mut Vec::new()) {
                    break;
                }
            }
            io::Result::Ok(())
        };
        // Whatever goes wrong here: it is over anyway.
        let _ = timeout(CLOSE_TIMEOUT, parting).await;
    }
}

/// Every second: pings, timeouts, empty rooms, unused memory.
pub(crate) async fn sweep(server: Arc<Server>) {
    // Never zero, which an embedder's configuration could make it.
    let period = SWEEP.min(server.config.ping_timeout / 2).max(Duration::from_millis(1));
    let mut seconds = interval(period);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = seconds.tick() => {}
            () = server.shutdown.cancelled() => return,
        }
        server.rooms.sweep(&server.broker);
        let now_ms = server.sessions.now_ms();
        for session in server.sessions.all() {
            session.sweep(&server, now_ms);
        }
    }
}

impl Session {
    fn sweep(&self, server: &Server, now_ms: u64) {
        let config = &server.config;
        let since = |then: &AtomicU64| Duration::from_millis(now_ms.saturating_sub(then.load(Relaxed)));
        self.outbox.shrink();
        if self.busy.load(Relaxed) {
            self.last_heard_ms.store(now_ms, Relaxed);
        }
        let silent = since(&self.last_heard_ms);
        if silent >= config.ping_interval + config.ping_timeout {
            self.outbox.close(4000, "ping timeout: nothing was heard after a ping");
        } else if self.wants_ping(silent, since(&self.last_ping_ms), config.ping_interval) {
            self.last_ping_ms.store(now_ms, Relaxed);
            let mut ping = Vec::new();
            self.outbox.dialect.ping(&mut ping);
            self.outbox.push(&ping);
        }
        if config.idle_timeout.is_some_and(|limit| since(&self.last_request_ms) >= limit) {
            self.outbox.close(4001, "idle: no request for too long");
        }
        if since(&self.outside_since_ms) >= config.connect_timeout {
            self.outbox.close(4002, "no CONNECT came");
        }
    }

    /// Whether it is time for a ping: once in a silence, or in every interval.
    fn wants_ping(&self, silent: Duration, unpinged: Duration, interval: Duration) -> bool {
        let since = if self.outbox.dialect.pings_always() { unpinged } else { silent };
        since >= interval && unpinged >= since
    }
}
