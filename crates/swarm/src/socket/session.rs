//! One session's task: connect, read and write until it ends, and come back.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    time::{Instant, sleep, timeout},
};
use ws_analysis::ledger::{Arrival, Ledger, To};
use ws_wire::{
    codec::{Answers, Comeback, DecodeError, Frame},
    frame::{self, Message, MessageReader, Role, opcode},
    message::{Event, Hello, Position, PositionRef, Target},
};

use super::{Doom, Grip, PROBE, Purpose, Socket, State};
use crate::{
    connect::{self, ConnectError, Opened, Stream, Way},
    worker::Worker,
};

/// How often the first connection of a session is tried; who was there once comes back until the end.
const TRIES: u32 = 4;

/// The first pause between two tries; it doubles, up to the longest, and is shifted at random by half of itself.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The longest.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often somebody who must not connect looks whether that is over.
const BARRED_PAUSE: Duration = Duration::from_millis(10);

/// From the handshake to the server's hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest message read from a server: a delivery of the largest payload.
const MAX_MESSAGE: usize = 32 << 20;

/// Reads and writes of one socket before the others have their turn.
const TURNS: usize = 16;

/// Why a session ended.
enum End {
    Closed(Option<u16>, String),
    Eof,
    Failed(io::Error),
    Garbage(String),
    Doomed(Doom),
    /// The protocol's own end, while the connection is still open.
    Over(String),
}

/// A session from its first packet to its last, over as many connections as it takes.
pub(crate) async fn session(worker: Rc<Worker>, me: u32, intended: Instant) {
    let socket = worker.socket(me);
    match first(&worker, me, intended).await {
        Err(error) => {
            socket.state.set(State::Ended);
            worker.not_opened(me, &error);
        }
        Ok(mut session) => loop {
            let end = poll_fn(|cx| session.poll(&worker, cx)).await;
            let Some(pause) = session.ended(&worker, &end) else { break };
            drop(session);
            sleep(pause).await;
            match back(&worker, me).await {
                Some(opened) => session = opened,
                None => break,
            }
        },
    }
    worker.changed.notify_one();
}

/// The first connection, with a few tries.
async fn first(worker: &Worker, me: u32, intended: Instant) -> Result<Box<Session>, ConnectError> {
    let mut tries = 0;
    loop {
        match Box::pin(open(worker, me)).await {
            Ok(session) => {
                let took = intended.elapsed().as_micros();
                worker.opened(u64::try_from(took).unwrap_or(u64::MAX));
                return Ok(session);
            }
            // A server that speaks another protocol will not learn it.
            Err(error @ ConnectError::Handshake(_)) => return Err(error),
            Err(error) => {
                tries += 1;
                if tries == TRIES || worker.stop.is_cancelled() {
                    return Err(error);
                }
                sleep(RETRY_PAUSE * (2 << tries)).await;
            }
        }
    }
}

/// The next connection: tried until it opens, on one endpoint after another, or the run is over.
async fn back(worker: &Worker, me: u32) -> Option<Box<Session>> {
    let socket = worker.socket(me);
    let mut tries = 0;
    while !worker.parting.get() {
        if worker.barred.get() > 0 {
            sleep(BARRED_PAUSE).await;
            continue;
        }
        if let Ok(session) = Box::pin(open(worker, me)).await {
            worker.came_back(me);
            return Some(session);
        }
        socket.state.set(State::Opening);
        socket.turn.set(socket.turn.get() + 1);
        let pause = (RETRY_PAUSE * (1 << tries.min(6))).min(RETRY_PAUSE_MAX);
        tries += 1;
        sleep(worker.shifted(pause)).await;
    }
    socket.state.set(State::Ended);
    None
}

/// A session with its stream.
struct Session {
    me: u32,
    stream: Stream,
    reader: MessageReader,
    /// Who answered, if a header of the handshake said so.
    node: Option<String>,
}

/// Connects once and waits for the hello. What that takes is boxed: an open session has no need of it any more.
async fn open(worker: &Worker, me: u32) -> Result<Box<Session>, ConnectError> {
    let socket = worker.socket(me);
    let since = socket.position_of_all.borrow().clone();
    let way = Way { number: socket.number, turn: socket.turn.get(), since: since.as_ref() };
    let Opened { stream, mut early, node } = connect::connect(&worker.plan, worker.tls.as_ref(), way).await?;
    let reader = MessageReader::new(Role::Client, MAX_MESSAGE);
    socket.out.borrow_mut().clear();
    socket.doom.set(None);
    let mut session = Box::new(Session { me, stream, reader, node });
    session.begin(worker);
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
    let opened = timeout(HELLO_TIMEOUT, hello).await;
    if socket.is_open() && !matches!(opened, Ok(Ok(()))) {
        // It was greeted, and that was all: what the hello restored is over with it.
        socket.state.set(State::Opening);
        if let Some(ledger) = worker.ledger.borrow_mut().as_mut() {
            ledger.cut(me, socket.alive_us.get());
        }
    }
    match opened {
        Ok(Ok(())) => Ok(session),
        Ok(Err(end)) => Err(ConnectError::Refused(format!("with an end before its hello: {end}"))),
        Err(_) => Err(ConnectError::Handshake("open, but no hello within 10 s; is it the right --protocol?")),
    }
}

impl Session {
    /// Says what a client of the protocol says first; without a hello to wait for, it is there.
    fn begin(&self, worker: &Worker) {
        let socket = worker.socket(self.me);
        let mut first = String::new();
        socket.dialogue.borrow_mut().begin(&mut first);
        if !first.is_empty() {
            socket.say(worker, &first);
        }
        if socket.dialogue.borrow().is_greeted() {
            let mut ledger = worker.ledger.borrow_mut();
            greeted(worker, socket, self, ledger.as_mut(), Hello::default());
        }
    }

    /// Writes what waits and reads what has come, until the end.
    fn poll(&mut self, worker: &Worker, cx: &mut Context<'_>) -> Poll<End> {
        let socket = worker.socket(self.me);
        {
            let mut waker = socket.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        if socket.looks_at_unread.take() && socket.grip.get() != Grip::Paused {
            worker.saw_unread(self.stream.unread());
        }
        for _ in 0..TURNS {
            if let Some(doom) = socket.doom.take() {
                self.stream.reset_at_drop();
                return Poll::Ready(End::Doomed(doom));
            }
            if let Err(error) = self.flush(socket, cx) {
                return Poll::Ready(End::Failed(error));
            }
            if socket.grip.get() == Grip::Paused {
                socket.held.set(self.stream.unread());
                return Poll::Pending;
            }
            let mut buffer = worker.buffer.take();
            let mut read = ReadBuf::new(&mut buffer);
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut read);
            let filled = read.filled().len();
            let heard = match polled {
                Poll::Ready(Ok(())) if filled == 0 => Some(Err(End::Eof)),
                Poll::Ready(Ok(())) if socket.grip.get() == Grip::SwallowIn => {
                    socket.held.set(socket.held.get() + filled as u64);
                    Some(Ok(()))
                }
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
        if socket.grip.get() == Grip::SwallowOut {
            socket.held.set(socket.held.get() + out.len() as u64);
            out.clear();
        }
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
        socket.heard_us.set(now_us);
        if !socket.reads_old.get() {
            socket.alive_us.set(now_us);
        }
        let mut end = None;
        let mut ledger = worker.ledger.borrow_mut();
        let mut dialogue = socket.dialogue.borrow_mut();
        let mut reader = std::mem::replace(&mut self.reader, MessageReader::new(Role::Client, MAX_MESSAGE));
        let mut take_in = |frame: Frame<'_>| {
            let mut each = |event: Event<'_>| on_event(worker, socket, self, ledger.as_mut(), event, now_us);
            match dialogue.hear(frame, &mut each) {
                Ok(()) => None,
                Err(DecodeError::Ended(why)) => Some(End::Over(why)),
                Err(error) => {
                    worker.problem(format!("a frame that is no part of the protocol came: {error}"));
                    None
                }
            }
        };
        let result = reader.read(bytes, |message| {
            match message {
                Message::Text(text) => end = end.take().or_else(|| take_in(Frame::Text(text))),
                Message::Binary(bytes) => end = end.take().or_else(|| take_in(Frame::Binary(bytes))),
                Message::Ping(payload) => socket.push(worker, opcode::PONG, payload),
                Message::Close(code, reason) => {
                    // Not if it is the answer to ours.
                    if !matches!(socket.state.get(), State::Moving | State::Renewing | State::Closing) {
                        let code_back = code.unwrap_or(1000);
                        socket.push(worker, opcode::CLOSE, &frame::close_payload(code_back, ""));
                    }
                    end = Some(End::Closed(code, reason.to_owned()));
                }
                Message::Pong(_) => socket.reads_old.set(false),
            }
            true
        });
        self.reader = reader;
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

    /// The connection is over. Returns how long to wait before the next one, if there is to be one.
    fn ended(&self, worker: &Worker, end: &End) -> Option<Duration> {
        let socket = worker.socket(self.me);
        socket.waker.borrow_mut().take();
        socket.grip.set(Grip::Free);
        socket.reads_old.set(false);
        socket.unanswered.set(0);
        socket.asked_us.set(0);
        let state = socket.state.replace(State::Ended);
        if state == State::Closing {
            return None;
        }
        if state == State::Renewing {
            socket.forget(worker);
        }
        let is_wanted = matches!(state, State::Moving | State::Renewing);
        worker.cut(self.me, (!is_wanted).then(|| end.to_string()));
        let code = match end {
            End::Closed(code, _) => *code,
            _ => None,
        };
        match worker.plan.protocol.after_close(code) {
            Comeback::Never => None,
            Comeback::Within(most) => {
                socket.state.set(State::Opening);
                let jitter = if state == State::Moving { most * 5 } else { most };
                Some(worker.moment(jitter))
            }
        }
    }
}

fn on_event(
    worker: &Worker,
    socket: &Socket,
    session: &Session,
    ledger: Option<&mut Ledger>,
    event: Event<'_>,
    now_us: u64,
) {
    let me = session.me;
    match (event, ledger) {
        (Event::Delivery { target, data, position }, Some(ledger)) => {
            if worker.plan.protocol.join_answers() != Answers::Always && data.starts_with(PROBE) {
                // Others' probes are nobody's business, nor are those of an earlier join.
                let is_own = data.starts_with(&socket.probe_prefix(worker));
                if is_own && target != Target::All && socket.asked_us.get() != 0 {
                    worker.probed();
                    joined(worker, socket, ledger, me, None, now_us);
                }
                return;
            }
            let all = target == Target::All;
            reach(if all { &socket.position_of_all } else { &socket.position }, position);
            let arrival = Arrival::read(target, data, position);
            let to = if all { To::All } else { To::Room };
            ledger.delivered(me, arrival, now_us);
            if let Ok(stamp) = arrival.stamp
                && stamp.sender == socket.number
                && !worker.sends_are_acked(to)
            {
                // Who is told nothing else takes its own copy for the answer.
                socket.unanswered.set(socket.unanswered.get().saturating_sub(1));
                ledger.acked(me, to, stamp.index, now_us);
            }
        }
        (Event::Ack { reference, position, recovered }, Some(ledger)) => match Purpose::of(reference) {
            Some((purpose @ (Purpose::Room | Purpose::All), index)) => {
                let to = if matches!(purpose, Purpose::Room) { To::Room } else { To::All };
                worker.send_acked(to);
                socket.unanswered.set(socket.unanswered.get().saturating_sub(1));
                ledger.acked(me, to, index, now_us);
            }
            Some((Purpose::Join, number)) if number == socket.joins.get() => {
                reach(&socket.position, position);
                joined(worker, socket, ledger, me, recovered, now_us);
            }
            Some((Purpose::Leave, _)) => {
                socket.in_room.set(false);
                ledger.left(me);
            }
            // Too late, or of no interest.
            Some((Purpose::Join | Purpose::Probe, _)) => {}
            None => worker.problem(format!("an ack of a request that was not made: {reference}")),
        },
        (Event::Gap { target: Target::Room(_), position }, Some(ledger)) => {
            reach(&socket.position, position);
            ledger.told_of_gap(me, To::Room, now_us);
        }
        (Event::Gap { target: Target::All, position }, Some(ledger)) => {
            reach(&socket.position_of_all, position);
            ledger.told_of_gap(me, To::All, now_us);
        }
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
                (Some((Purpose::Join, number)), _) if number == socket.joins.get() => {
                    socket.asked_us.set(0);
                    worker.join_refused(me);
                }
                _ => {}
            }
        }
        (Event::Hello(hello), ledger) => greeted(worker, socket, session, ledger, hello),
        (Event::Say(text), _) => socket.say(worker, text),
        _ => {}
    }
}

/// The server is there, and has said who it is as far as its protocol has words for that.
fn greeted(
    worker: &Worker,
    socket: &Socket,
    session: &Session,
    ledger: Option<&mut Ledger>,
    mut hello: Hello,
) {
    let url = &worker.plan.endpoint(socket.number, socket.turn.get()).url;
    if hello.node.is_empty() {
        // Two names of one address are one server.
        let address = || worker.plan.endpoint(socket.number, socket.turn.get()).address.to_string();
        hello.node = session.node.clone().unwrap_or_else(address);
    }
    socket.node.set(worker.nodes.number(&hello, url));
    socket.greeted.set(true);
    // One that was refused stands until the session is back in its room, whatever a later connection says.
    if socket.all_recovered.get() != Some(false) {
        socket.all_recovered.set(hello.recovered);
    }
    let position = hello.position.as_ref();
    reach(
        &socket.position_of_all,
        position.map(|Position { epoch, offset }| PositionRef { epoch, offset: *offset }),
    );
    socket.state.set(State::Open);
    let restored = hello.restored == Some(true);
    socket.not_restored.set(socket.not_restored.get() || hello.restored == Some(false));
    let was_in_room = socket.in_room.replace(false);
    let Some(ledger) = ledger else { return };
    let me = session.me;
    ledger.connected(me, worker.replica_of(socket.node.get()));
    if restored {
        // What it missed comes now, wherever it stood when it was cut off.
        ledger.join_invoked(me);
        if was_in_room && socket.wants_room.get() {
            socket.all_recovered.set(Some(true));
            joined(worker, socket, ledger, me, Some(true), worker.now_us());
        }
        socket.stays_behind.set(!socket.wants_room.get());
    }
}

/// The session is in its room.
fn joined(
    worker: &Worker,
    socket: &Socket,
    ledger: &mut Ledger,
    me: u32,
    recovered: Option<bool>,
    now_us: u64,
) {
    let refused = socket.not_restored.replace(false).then_some(false);
    socket.in_room.set(true);
    socket.asked_us.set(0);
    let all_recovered = socket.all_recovered.take().or(refused);
    ledger.joined(me, recovered.or(refused), all_recovered, now_us);
    worker.joined();
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(Some(code), reason) if reason.is_empty() => write!(f, "closed with {code}"),
            Self::Closed(Some(code), reason) => write!(f, "closed with {code}: {reason}"),
            Self::Closed(None, _) => f.write_str("closed without a code"),
            Self::Eof => f.write_str("cut off without a close frame"),
            Self::Failed(error) => write!(f, "{error}"),
            Self::Doomed(Doom::Reset) => f.write_str("reset by a fault"),
            Self::Doomed(Doom::Silent) => {
                f.write_str("given up: nothing was heard any more, not even a pong")
            }
            Self::Over(why) => f.write_str(why),
            Self::Garbage(why) => write!(f, "not WebSocket any more: {why}"),
        }
    }
}

/// Moves `place` on.
fn reach(place: &RefCell<Option<Position>>, position: Option<PositionRef<'_>>) {
    let Some(position) = position else { return };
    match &mut *place.borrow_mut() {
        Some(here) if here.epoch == position.epoch => here.offset = position.offset,
        here => *here = Some(position.into()),
    }
}
