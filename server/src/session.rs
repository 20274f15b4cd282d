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
    codec::native::{self, ServerFrame},
    frame::{self, Message, MessageReader, Role, opcode},
    message::Position,
};

use crate::{
    Server,
    broker::BrokerError,
    outbox::{Flushed, Outbox},
    rooms::{self, Join},
};
use requests::{Bucket, Request};

/// How long the last frames and the client's close frame are waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the clients are looked after.
const SWEEP: Duration = Duration::from_secs(1);

/// Bytes read at once. The buffer is the thread's, not the connection's.
const READ_BUFFER: usize = 16 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER]);
}

/// What the rest of the server knows of a client.
pub(crate) struct Session {
    pub(crate) outbox: Arc<Outbox>,
    /// Milliseconds since the server's start.
    last_heard_ms: AtomicU64,
    last_request_ms: AtomicU64,
    pinged: AtomicBool,
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

/// Serves one client from its handshake, which may ask for what was sent to all `since`, to its end. `early` came right
/// behind the handshake.
pub(crate) async fn serve(
    server: Arc<Server>,
    stream: TcpStream,
    early: Vec<u8>,
    since: Option<Position>,
    place: OwnedSemaphorePermit,
) {
    let number = server.next_session();
    let (read, write) = stream.into_split();
    let flushers = &server.rooms.flushers;
    let flusher = flushers[usize::try_from(number).unwrap_or(0) % flushers.len()].clone();
    let name = format!("{}-{number}", server.config.node);
    let outbox = Arc::new(Outbox::new(number, name, write, server.config.limits.queue_bytes, flusher));
    let now_ms = server.sessions.now_ms();
    let session = Arc::new(Session {
        outbox: outbox.clone(),
        last_heard_ms: AtomicU64::new(now_ms),
        last_request_ms: AtomicU64::new(now_ms),
        pinged: AtomicBool::new(false),
        busy: AtomicBool::new(false),
    });
    server.sessions.lock().insert(number, session.clone());
    server.metrics.sessions.fetch_add(1, Relaxed);
    // Boxed: only who resumes waits.
    if Box::pin(enter(&server, &outbox, since)).await.is_err() {
        outbox.close(1013, "the broker can't be reached: come back with the same since");
    }
    if server.shutdown.is_cancelled() {
        outbox.close(1012, "restart: reconnect after a random moment");
    }
    let limits = server.config.limits;
    let mut client = Client {
        reader: MessageReader::new(Role::Server, limits.message_bytes),
        bucket: Bucket::new(limits.sends_per_second),
        channels: HashSet::new(),
        read,
        session,
        server,
        said_goodbye: false,
    };
    client.talk(early).await;
    client.server.rooms.forget(number, client.channels.iter());
    client.server.sessions.lock().remove(&number);
    // Boxed: few connections are closing at any time.
    Box::pin(client.part()).await;
    drop(place);
}

/// Says hello, and makes the client one of all.
async fn enter(server: &Server, outbox: &Arc<Outbox>, since: Option<Position>) -> Result<(), BrokerError> {
    let answer = |position, recovered| {
        let hello = native::Hello { position, recovered, ..hello(server, &outbox.name) };
        text(&ServerFrame::Hello(hello))
    };
    let join = Join { channel: rooms::ALL.to_owned(), since, answer: &answer };
    server.rooms.enter(server, join, outbox).await
}

/// A session with its connection.
struct Client {
    server: Arc<Server>,
    session: Arc<Session>,
    read: OwnedReadHalf,
    reader: MessageReader,
    bucket: Bucket,
    /// Of the rooms it is in.
    channels: HashSet<String>,
    said_goodbye: bool,
}

impl Client {
    /// Until one side closes.
    async fn talk(&mut self, mut early: Vec<u8>) {
        let mut requests = Vec::new();
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
        self.session.pinged.store(false, Relaxed);
        let goodbye = &mut self.said_goodbye;
        let result = self.reader.read(bytes, |message| {
            match message {
                Message::Text(text) => requests.push(Request::parse(text, &outbox.name)),
                Message::Ping(payload) => {
                    let mut pong = Vec::new();
                    frame::write_server(&mut pong, opcode::PONG, payload);
                    outbox.push(&pong);
                }
                Message::Pong(_) => {}
                Message::Binary(_) => {
                    outbox.close(1003, "binary: this protocol has text frames only");
                    return false;
                }
                Message::Close(code, _) => {
                    *goodbye = true;
                    requests.push(Request::Goodbye(code));
                }
            }
            true
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
        } else if silent >= config.ping_interval && !self.pinged.swap(true, Relaxed) {
            let mut ping = Vec::new();
            frame::write_server(&mut ping, opcode::PING, b"");
            self.outbox.push(&ping);
        }
        if config.idle_timeout.is_some_and(|limit| since(&self.last_request_ms) >= limit) {
            self.outbox.close(4001, "idle: no request for too long");
        }
    }
}

fn hello(server: &Server, session: &str) -> native::Hello {
    let config = &server.config;
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    native::Hello {
        protocol: native::VERSION.into(),
        node: config.node.clone(),
        session: session.into(),
        broker: native::Broker {
            kind: server.broker.name().into(),
            guarantee: server.broker.guarantee().into(),
        },
        limits: native::Limits {
            message_bytes: config.limits.message_bytes,
            room_name_bytes: config.limits.room_name_bytes,
            rooms: config.limits.rooms,
            sends_per_second: config.limits.sends_per_second,
            queue_bytes: config.limits.queue_bytes,
        },
        heartbeat: native::Heartbeat {
            ping_interval_ms: milliseconds(config.ping_interval),
            ping_timeout_ms: milliseconds(config.ping_timeout),
        },
        position: None,
        recovered: None,
        bugs: config.bugs.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn text(frame: &ServerFrame<'_>) -> String {
    serde_json::to_string(frame).expect("a frame is always JSON")
}
