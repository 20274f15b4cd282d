//! A session's socket, as its worker and its own task (`session`) see it.

mod session;

use std::{
    cell::{Cell, RefCell},
    task::Waker,
    time::Duration,
};

use ws_wire::{
    codec::Dialogue,
    frame::{self, opcode},
    message::{Position, Request, Target},
};

use crate::worker::Worker;
pub(crate) use session::session;

/// What a probe begins with: no stamp, so nobody takes it for one of the run's messages.
const PROBE: &str = "wsp-";

/// How long the ack of a join, or a probe, has before the next probe; each time twice as long.
const PROBE_AFTER: Duration = Duration::from_millis(500);

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
    /// It is to be in its room: after a reconnect it joins again.
    pub(crate) wants_room: Cell<bool>,
    /// When something was read last, in microseconds of the run.
    pub(crate) heard_us: Cell<u64>,
    /// The last proof of life: as `heard_us`, but for what had piled up while it did not read, which proves none.
    pub(crate) alive_us: Cell<u64>,
    /// What is read may be old, until the answer to a ping has come.
    pub(crate) reads_old: Cell<bool>,
    /// What a fault does to it.
    pub(crate) grip: Cell<Grip>,
    /// Bytes that a fault swallowed or left unread.
    pub(crate) held: Cell<u64>,
    /// It is in its room, as far as it was told: a session that the server restores is there again.
    in_room: Cell<bool>,
    /// When it asked to join, in microseconds of the run; zero once it was answered.
    pub(crate) asked_us: Cell<u64>,
    /// Joins so far: an answer that comes late is not the next one's.
    joins: Cell<u32>,
    /// Probes since the last join.
    probes: Cell<u32>,
    /// When the next one is due.
    probe_us: Cell<u64>,
    /// The server has it in a room that it had asked to leave when it was cut off.
    pub(crate) stays_behind: Cell<bool>,
    /// Of a session that asked to be restored and was not, until it is back in its room.
    not_restored: Cell<bool>,
    /// Tries that went wrong: each leads to the next endpoint.
    pub(crate) turn: Cell<u32>,
    /// Set by whoever wants the connection to end at once.
    doom: Cell<Option<Doom>>,
    /// Of the last message of its room, or the one before the first.
    position: RefCell<Option<Position>>,
    /// The same of the messages to all.
    position_of_all: RefCell<Option<Position>>,
    /// What the last hello said of the messages to all that it missed.
    all_recovered: Cell<Option<bool>>,
    dialogue: RefCell<Dialogue>,
    out: RefCell<Vec<u8>>,
    /// It is to say how much lies unread before it reads on.
    looks_at_unread: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No hello yet, or between two connections.
    Opening,
    /// From the hello on.
    Open,
    /// We asked to close, to come back to the endpoint where it belongs.
    Moving,
    /// We asked to close for good.
    Closing,
    /// It is over, or never began.
    Ended,
}

/// What a fault does to a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Grip {
    #[default]
    Free,
    /// Nothing that comes is heard.
    SwallowIn,
    /// Nothing that is said gets out.
    SwallowOut,
    /// It does not read.
    Paused,
}

/// Why we end a connection at once, with a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    /// A fault.
    Reset,
    /// Nothing was heard for too long.
    Silent,
}

/// What the `ref` of a request was for; its low bits, above them the message's index.
#[derive(Clone, Copy)]
enum Purpose {
    Room,
    All,
    Join,
    Leave,
    Probe,
}

impl Purpose {
    fn reference(self, index: u32) -> u64 {
        u64::from(index) << 3 | self as u64
    }

    fn of(reference: u64) -> Option<(Self, u32)> {
        let all = [Self::Room, Self::All, Self::Join, Self::Leave, Self::Probe];
        let purpose = *all.get((reference & 7) as usize)?;
        u32::try_from(reference >> 3).ok().map(|index| (purpose, index))
    }
}

impl Socket {
    pub(crate) fn new(number: u32, dialogue: Dialogue) -> Self {
        Self {
            number,
            state: Cell::new(State::Opening),
            node: Cell::new(0),
            greeted: Cell::new(false),
            unanswered: Cell::new(0),
            wants_room: Cell::new(false),
            heard_us: Cell::new(0),
            alive_us: Cell::new(0),
            reads_old: Cell::new(false),
            grip: Cell::default(),
            held: Cell::new(0),
            in_room: Cell::new(false),
            asked_us: Cell::new(0),
            joins: Cell::new(0),
            probes: Cell::new(0),
            probe_us: Cell::new(0),
            stays_behind: Cell::new(false),
            not_restored: Cell::new(false),
            turn: Cell::new(0),
            doom: Cell::new(None),
            position: RefCell::new(None),
            position_of_all: RefCell::new(None),
            all_recovered: Cell::new(None),
            dialogue: RefCell::new(dialogue),
            out: RefCell::new(Vec::new()),
            looks_at_unread: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    /// Asks to join `room`, and to `resume` where it was before; the answer reaches the ledger.
    pub(crate) fn join(&self, worker: &Worker, room: &str, resume: bool) {
        let position = self.position.borrow();
        let since = position.as_ref().filter(|_| resume);
        let now_us = worker.now_us().max(1);
        self.asked_us.set(now_us);
        self.joins.set(self.joins.get() + 1);
        self.probes.set(0);
        self.probe_us.set(now_us + micros(PROBE_AFTER));
        let reference = Purpose::Join.reference(self.joins.get());
        self.request(worker, &Request::Join { reference, room, since });
    }

    /// Sends a message to itself through `room`: who has it back is in there, whether the server acks joins or not. Each
    /// is followed by a longer pause, for a whole room hears it.
    pub(crate) fn probe(&self, worker: &Worker, room: &str) {
        let probes = self.probes.get();
        self.probes.set(probes + 1);
        self.probe_us.set(worker.now_us() + micros(PROBE_AFTER * (1 << probes.min(3))));
        let data = format!("{}{probes}", self.probe_prefix(worker));
        let (reference, target) = (Purpose::Probe.reference(0), Target::Room(room));
        self.request(worker, &Request::Send { reference, target, key: &data, data: &data });
    }

    /// Whether it waits for an answer to its join, and a probe may get it.
    pub(crate) fn is_probe_due(&self, now_us: u64) -> bool {
        self.is_open() && self.asked_us.get() != 0 && now_us >= self.probe_us.get()
    }

    /// What probes of its last join begin with.
    fn probe_prefix(&self, worker: &Worker) -> String {
        format!("{PROBE}{:08x}-{}-{}-", worker.plan.run, self.number, self.joins.get())
    }

    /// Asks to leave `room`; the answer reaches the ledger.
    pub(crate) fn leave(&self, worker: &Worker, room: &str) {
        self.request(worker, &Request::Leave { reference: Purpose::Leave.reference(0), room });
    }

    /// Sends `data` as the message with this index of the room's or the worker's log.
    pub(crate) fn send(&self, worker: &Worker, room: Option<&str>, index: u32, key: &str, data: &str) {
        let (purpose, target) = match room {
            Some(room) => (Purpose::Room, Target::Room(room)),
            None => (Purpose::All, Target::All),
        };
        self.unanswered.set(self.unanswered.get() + 1);
        self.request(worker, &Request::Send { reference: purpose.reference(index), target, key, data });
    }

    /// Starts the closing handshake, for good.
    pub(crate) fn close(&self, worker: &Worker) {
        self.state.set(State::Closing);
        self.push(worker, opcode::CLOSE, &frame::close_payload(1000, "done"));
    }

    /// Starts the closing handshake, to come back to its first endpoint.
    pub(crate) fn go_home(&self, worker: &Worker) {
        self.turn.set(0);
        self.state.set(State::Moving);
        self.push(worker, opcode::CLOSE, &frame::close_payload(1000, "moving"));
    }

    /// Ends the connection at once, with a reset.
    pub(crate) fn cut(&self, doom: Doom) {
        self.doom.set(Some(doom));
        self.wake();
    }

    /// Whether it has yet to end as [`Socket::cut`] asked.
    pub(crate) fn is_doomed(&self) -> bool {
        self.doom.get().is_some()
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&self, worker: &Worker) {
        self.push(worker, opcode::PING, b"");
    }

    /// Lets its task tell the worker how much lies unread when its turn comes.
    pub(crate) fn look_at_unread(&self) {
        if self.is_open() {
            self.looks_at_unread.set(true);
            self.wake();
        }
    }

    /// Lets its task look at it again.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    fn request(&self, worker: &Worker, request: &Request<'_>) {
        let mut text = worker.text.take();
        text.clear();
        let attachment = self.dialogue.borrow_mut().ask(request, &mut text);
        self.push(worker, opcode::TEXT, text.as_bytes());
        if let Some(attachment) = attachment {
            self.push(worker, opcode::BINARY, attachment.as_bytes());
        }
        worker.text.replace(text);
    }

    /// Says what the protocol wants to be said.
    pub(crate) fn say(&self, worker: &Worker, text: &str) {
        self.push(worker, opcode::TEXT, text.as_bytes());
    }

    fn push(&self, worker: &Worker, opcode: u8, payload: &[u8]) {
        frame::write_client(&mut self.out.borrow_mut(), opcode, payload, worker.mask());
        self.wake();
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
