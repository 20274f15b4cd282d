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
    codec::Comeback,
    frame::{self, Message, MessageReader, Role, opcode},
    message::{Event, Position, PositionRef, Target},
};

use super::{Doom, Grip, Purpose, Socket, State};
use crate::{
    connect::{self, ConnectError, Stream, Way},
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
        match open(worker, me).await {
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
        if let Ok(session) = open(worker, me).await {
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
}

/// Connects once and waits for the hello.
async fn open(worker: &Worker, me: u32) -> Result<Box<Session>, ConnectError> {
    let socket = worker.socket(me);
    let since = socket.position_of_all.borrow().clone();
    let way = Way { number: socket.number, turn: socket.turn.get(), since: since.as_ref() };
    let (stream, mut early) = connect::connect(&worker.plan, worker.tls.as_ref(), way).await?;
    let reader = MessageReader::new(Role::Client, MAX_MESSAGE);
    socket.out.borrow_mut().clear();
    socket.doom.set(None);
    let mut session = Box::new(Session { me, stream, reader });
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
        Ok(Ok(())) => Ok(session),
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
                Message::Pong(_) => socket.reads_old.set(false),
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

    /// The connection is over. Returns how long to wait before the next one, if there is to be one.
    fn ended(&self, worker: &Worker, end: &End) -> Option<Duration> {
        let socket = worker.socket(self.me);
        socket.waker.borrow_mut().take();
        socket.grip.set(Grip::Free);
        socket.reads_old.set(false);
        socket.unanswered.set(0);
        let state = socket.state.replace(State::Ended);
        if state == State::Closing {
            return None;
        }
        worker.cut(self.me, (state != State::Moving).then(|| end.to_string()));
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
    me: u32,
    ledger: Option<&mut Ledger>,
    event: Event<'_>,
    now_us: u64,
) {
    match (event, ledger) {
        (Event::Delivery { target, data, position }, Some(ledger)) => {
            let all = target == Target::All;
            reach(if all { &socket.position_of_all } else { &socket.position }, position);
            ledger.delivered(me, Arrival::read(target, data, position), now_us);
        }
        (Event::Ack { reference, position, recovered }, Some(ledger)) => match Purpose::of(reference) {
            Some((Purpose::Room, index)) => {
                socket.unanswered.set(socket.unanswered.get().saturating_sub(1));
                ledger.acked(me, To::Room, index, now_us);
            }
            Some((Purpose::All, index)) => {
                socket.unanswered.set(socket.unanswered.get().saturating_sub(1));
                ledger.acked(me, To::All, index, now_us);
            }
            Some((Purpose::Join, _)) => {
                reach(&socket.position, position);
                ledger.joined(me, recovered, socket.all_recovered.take(), now_us);
                worker.joined();
            }
            Some((Purpose::Leave, _)) => ledger.left(me),
            None => worker.problem(format!("an ack of a request that was not made: {reference}")),
        },
        (Event::Gap { target: Target::Room(_), position }, Some(ledger)) => {
            reach(&socket.position, Some(position));
            ledger.told_of_gap(me, To::Room, now_us);
        }
        (Event::Gap { target: Target::All, position }, Some(ledger)) => {
            reach(&socket.position_of_all, Some(position));
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
                (Some((Purpose::Join, _)), _) => worker.join_refused(me),
                _ => {}
            }
        }
        (Event::Hello(hello), ledger) => {
            let url = &worker.plan.endpoint(socket.number, socket.turn.get()).url;
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
            if let Some(ledger) = ledger {
                ledger.connected(me, worker.replica_of(socket.node.get()));
            }
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
            Self::Doomed(Doom::Reset) => f.write_str("reset by a fault"),
            Self::Doomed(Doom::Silent) => {
                f.write_str("given up: nothing was heard any more, not even a pong")
            }
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
