//! One session: connect, then read and write until it ends.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    time::{Instant, sleep, timeout},
};
use ws_analysis::ledger::{Ledger, Membership, To};
use ws_wire::{
    frame::{self, Message, MessageReader, Role, opcode},
    message::{Event, Request},
};

use crate::{
    connect::{self, ConnectError, Stream},
    worker::Worker,
};

/// How often one connection is tried.
const TRIES: u32 = 4;

/// The first pause between two tries; it doubles.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// From the handshake to the server's hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest message read from a server: a delivery of the largest payload.
const MAX_MESSAGE: usize = 32 << 20;

/// Reads and writes of one socket before the others have their turn.
const TURNS: usize = 16;

/// What the worker and a session's task share.
pub(crate) struct Socket {
    /// Its number in the run.
    pub(crate) number: u32,
    pub(crate) state: Cell<State>,
    /// As the worker's table of nodes counts them.
    pub(crate) node: Cell<u16>,
    /// Whether it ever had its hello.
    pub(crate) greeted: Cell<bool>,
    /// Sends without an answer.
    pub(crate) unanswered: Cell<u32>,
    out: RefCell<Vec<u8>>,
    waker: RefCell<Option<Waker>>,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No hello yet.
    Opening,
    /// From the hello on.
    Open,
    /// We asked to close.
    Closing,
    /// It is over, or never began.
    Ended,
}

/// Why a session ended.
enum End {
    Closed(Option<u16>, String),
    Eof,
    Failed(io::Error),
    Garbage(String),
}

/// What the `ref` of a request was for; its low bits, above them the message's index.
#[derive(Clone, Copy)]
enum Purpose {
    Room,
    All,
    Join,
    Leave,
}

impl Purpose {
    fn reference(self, index: u32) -> u64 {
        u64::from(index) << 2 | self as u64
    }

    fn of(reference: u64) -> Option<(Self, u32)> {
        let purpose = [Self::Room, Self::All, Self::Join, Self::Leave][(reference & 3) as usize];
        u32::try_from(reference >> 2).ok().map(|index| (purpose, index))
    }
}

impl Socket {
    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            state: Cell::new(State::Opening),
            node: Cell::new(0),
            greeted: Cell::new(false),
            unanswered: Cell::new(0),
            out: RefCell::new(Vec::new()),
            waker: RefCell::new(None),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    /// Asks to join `room`; the answer reaches the ledger.
    pub(crate) fn join(&self, worker: &Worker, room: &str) {
        self.request(worker, &Request::Join { reference: Purpose::Join.reference(0), room, since: None });
    }

    /// Asks to leave `room`; the answer reaches the ledger.
    pub(crate) fn leave(&self, worker: &Worker, room: &str) {
        self.request(worker, &Request::Leave { reference: Purpose::Leave.reference(0), room });
    }

    /// Sends `data` as the message with this index of the room's or the worker's log.
    pub(crate) fn send(&self, worker: &Worker, room: Option<&str>, index: u32, key: &str, data: &str) {
        use ws_wire::message::Target;
        let (purpose, target) = match room {
            Some(room) => (Purpose::Room, Target::Room(room)),
            None => (Purpose::All, Target::All),
        };
        self.unanswered.set(self.unanswered.get() + 1);
        self.request(worker, &Request::Send { reference: purpose.reference(index), target, key, data });
    }

    /// Starts the closing handshake.
    pub(crate) fn close(&self, worker: &Worker) {
        self.state.set(State::Closing);
        self.push(worker, opcode::CLOSE, &frame::close_payload(1000, "done"));
    }

    fn request(&self, worker: &Worker, request: &Request<'_>) {
        let mut text = worker.text.take();
        text.clear();
        worker.plan.protocol.encode(request, &mut text);
        self.push(worker, opcode::TEXT, text.as_bytes());
        worker.text.replace(text);
    }

    fn push(&self, worker: &Worker, opcode: u8, payload: &[u8]) {
        frame::write_client(&mut self.out.borrow_mut(), opcode, payload, worker.mask());
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// A session from its first packet to its last.
pub(crate) async fn session(worker: Rc<Worker>, me: u32, intended: Instant) {
    match open(&worker, me, intended).await {
        Err(error) => {
            worker.socket(me).state.set(State::Ended);
            worker.not_opened(me, &error);
        }
        Ok(mut session) => {
            let end = poll_fn(|cx| session.poll(&worker, cx)).await;
            session.ended(&worker, end);
        }
    }
    worker.changed.notify_one();
}

/// A session with its stream.
struct Session {
    me: u32,
    stream: Stream,
    reader: MessageReader,
    last_heard_us: u64,
}

/// Connects, with a few tries, and waits for the hello.
async fn open(worker: &Worker, me: u32, intended: Instant) -> Result<Box<Session>, ConnectError> {
    let socket = worker.socket(me);
    let mut tries = 0;
    let (stream, mut early) = loop {
        match connect::connect(&worker.plan, worker.tls.as_ref(), socket.number).await {
            Ok(opened) => break opened,
            Err(error) => {
                tries += 1;
                if tries == TRIES || worker.stop.is_cancelled() {
                    return Err(error);
                }
                sleep(RETRY_PAUSE * (1 << (tries - 1))).await;
            }
        }
    };
    let reader = MessageReader::new(Role::Client, MAX_MESSAGE);
    let mut session = Box::new(Session { me, stream, reader, last_heard_us: 0 });
    let hello = poll_fn(|cx| {
        // A frame may have come right behind the handshake.
        if !early.is_empty()
            && let Err(end) = session.heard(worker, &mut std::mem::take(&mut early))
        {
            return Poll::Ready(Err(end));
        }
        match socket.is_open() {
            true => Poll::Ready(Ok(())),
            false => match session.poll(worker, cx) {
                Poll::Ready(end) => Poll::Ready(Err(end)),
                Poll::Pending if socket.is_open() => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            },
        }
    });
    match timeout(HELLO_TIMEOUT, hello).await {
        Ok(Ok(())) => {
            let took = intended.elapsed().as_micros();
            worker.opened(u64::try_from(took).unwrap_or(u64::MAX));
            Ok(session)
        }
        Ok(Err(end)) => Err(ConnectError::Refused(format!("with an end before its hello: {end}"))),
        Err(_) => Err(ConnectError::Handshake("open, but no hello within 10 s; is it ws-server's protocol?")),
    }
}

impl Session {
    /// Writes what waits and reads what has come, until the end.
    fn poll(&mut self, worker: &Worker, cx: &mut Context<'_>) -> Poll<End> {
        let socket = worker.socket(self.me);
        {
            let mut waker = socket.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        for _ in 0..TURNS {
            if let Err(error) = self.flush(socket, cx) {
                return Poll::Ready(End::Failed(error));
            }
            let mut buffer = worker.buffer.take();
            let mut read = ReadBuf::new(&mut buffer);
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut read);
            let filled = read.filled().len();
            let heard = match polled {
                Poll::Ready(Ok(())) if filled == 0 => Some(Err(End::Eof)),
                Poll::Ready(Ok(())) => Some(self.heard(worker, &mut buffer[..filled])),
                Poll::Ready(Err(error)) => Some(Err(End::Failed(error))),
                Poll::Pending => None,
            };
            worker.buffer.replace(buffer);
            match heard {
                None => return Poll::Pending,
                Some(Ok(())) => {}
                Some(Err(end)) => {
                    // The answer to a close frame; nobody waits for it.
                    let _ = self.flush(socket, cx);
                    return Poll::Ready(end);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn flush(&mut self, socket: &Socket, cx: &mut Context<'_>) -> io::Result<()> {
        let mut out = socket.out.borrow_mut();
        while !out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &out) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) if written == out.len() => *out = Vec::new(),
                Poll::Ready(Ok(written)) => drop(out.drain(..written)),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes in what one read brought. The clock is read once for all of it.
    fn heard(&mut self, worker: &Worker, bytes: &mut [u8]) -> Result<(), End> {
        let socket = worker.socket(self.me);
        let now_us = worker.now_us();
        self.last_heard_us = now_us;
        let me = self.me;
        let mut end = None;
        let mut ledger = worker.ledger.borrow_mut();
        let result = self.reader.read(bytes, |message| {
            match message {
                Message::Text(text) => match worker.plan.protocol.decode(text) {
                    Ok(event) => on_event(worker, socket, me, ledger.as_mut(), event, now_us),
                    Err(error) => {
                        worker.problem(format!("a frame that is no part of the protocol came: {error}"))
                    }
                },
                Message::Ping(payload) => socket.push(worker, opcode::PONG, payload),
                Message::Close(code, reason) => {
                    let code_back = code.unwrap_or(1000);
                    socket.push(worker, opcode::CLOSE, &frame::close_payload(code_back, ""));
                    end = Some(End::Closed(code, reason.to_owned()));
                }
                Message::Pong(_) => {}
                Message::Binary(_) => {
                    worker.problem("a binary frame came, where the protocol has text".into())
                }
            }
            true
        });
        if let Some(ledger) = ledger.as_ref() {
            worker.counters().delivered.store(ledger.delivered_count(), Relaxed);
            worker.counters().violations.store(ledger.violations(), Relaxed);
        }
        match (end, result) {
            (Some(end), _) => Err(end),
            (None, Err(error)) => Err(End::Garbage(error.to_string())),
            (None, Ok(())) => Ok(()),
        }
    }

    fn ended(&self, worker: &Worker, end: End) {
        let socket = worker.socket(self.me);
        let expected = socket.state.replace(State::Ended) == State::Closing;
        socket.waker.borrow_mut().take();
        if !expected {
            worker.ended_early(self.me, self.last_heard_us, end.to_string());
        }
    }
}

fn on_event(
    worker: &Worker,
    socket: &Socket,
    me: u32,
    ledger: Option<&mut Ledger>,
    event: Event<'_>,
    now_us: u64,
) {
    match (event, ledger) {
        (Event::Delivery { target, data, .. }, Some(ledger)) => ledger.delivered(me, target, data, now_us),
        (Event::Ack { reference, .. }, Some(ledger)) => match Purpose::of(reference) {
            Some((Purpose::Room, index)) => {
                socket.unanswered.set(socket.unanswered.get().saturating_sub(1));
                ledger.acked(me, To::Room, index, now_us);
            }
            Some((Purpose::All, index)) => {
                socket.unanswered.set(socket.unanswered.get().saturating_sub(1));
                ledger.acked(me, To::All, index, now_us);
            }
            Some((Purpose::Join, _)) => {
                ledger.session_mut(me).membership = Membership::Member;
                worker.joined();
            }
            Some((Purpose::Leave, _)) => ledger.left(me),
            None => worker.problem(format!("an ack of a request that was not made: {reference}")),
        },
        (Event::Error { reference, code, outcome_unknown }, ledger) => {
            worker.refused(code);
            match (reference.and_then(Purpose::of), ledger) {
                (Some((purpose @ (Purpose::Room | Purpose::All), index)), Some(ledger)) => {
                    socket.unanswered.set(socket.unanswered.get().saturating_sub(1));
                    if !outcome_unknown {
                        let to = if matches!(purpose, Purpose::Room) { To::Room } else { To::All };
                        ledger.refused(me, to, index);
                    }
                }
                (Some((Purpose::Join, _)), _) => worker.join_refused(me),
                _ => {}
            }
        }
        (Event::Hello(hello), _) => {
            socket.node.set(worker.nodes.number(&hello, &worker.plan.endpoint(socket.number).url));
            socket.greeted.set(true);
            socket.state.set(State::Open);
        }
        _ => {}
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(Some(code), reason) if reason.is_empty() => write!(f, "closed with {code}"),
            Self::Closed(Some(code), reason) => write!(f, "closed with {code}: {reason}"),
            Self::Closed(None, _) => f.write_str("closed without a code"),
            Self::Eof => f.write_str("cut off without a close frame"),
            Self::Failed(error) => write!(f, "{error}"),
            Self::Garbage(why) => write!(f, "not WebSocket any more: {why}"),
        }
    }
}
