//! What waits to be written to one socket: whole frames, up to a number of bytes.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{net::tcp::OwnedWriteHalf, sync::Notify};
use ws_wire::frame::{self, opcode};

use crate::{dialect::Dialect, flush::Flusher};

/// The way out to one client.
pub(crate) struct Outbox {
    /// The session's name: the `from` of what it sends.
    pub(crate) name: String,
    /// The session's number.
    pub(crate) number: u64,
    /// What its client speaks.
    pub(crate) dialect: Dialect,
    /// Wakes the session's task: the socket is full, or the end has come.
    pub(crate) attention: Notify,
    socket: OwnedWriteHalf,
    queue: Mutex<Queue>,
    limit: usize,
    flusher: Arc<Flusher>,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    state: State,
    /// Nothing more is taken.
    closing: bool,
}

/// Who writes what waits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Nothing waits.
    #[default]
    Empty,
    /// The flusher will.
    Queued,
    /// The socket is full: the session's task, when there is room again.
    Blocked,
    /// Nobody: the connection is broken.
    Broken,
}

/// What came of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    All,
    /// The socket takes no more for now.
    Blocked,
    Broken,
}

impl Outbox {
    pub(crate) fn new(
        number: u64,
        name: String,
        dialect: Dialect,
        socket: OwnedWriteHalf,
        limit: usize,
        flusher: Arc<Flusher>,
    ) -> Self {
        Self {
            name,
            number,
            dialect,
            attention: Notify::new(),
            socket,
            queue: Mutex::default(),
            limit,
            flusher,
        }
    }

    /// Appends whole frames. A client that has let more than the limit pile up is told 1013 instead.
    pub(crate) fn push(self: &Arc<Self>, frames: &[u8]) {
        let mut queue = self.lock();
        if queue.closing {
            return;
        }
        if queue.bytes.len() + frames.len() > self.limit {
            drop(queue);
            self.close(1013, "too slow: more waited than the queue may hold");
            return;
        }
        queue.bytes.extend_from_slice(frames);
        if queue.state == State::Empty {
            queue.state = State::Queued;
            drop(queue);
            self.flusher.add(self.clone());
        }
    }

    /// Appends one text frame.
    pub(crate) fn push_text(self: &Arc<Self>, text: &str) {
        let mut frame = Vec::with_capacity(text.len() + 10);
        frame::write_server(&mut frame, opcode::TEXT, text.as_bytes());
        self.push(&frame);
    }

    /// Appends the text frame of an answer, if one was wanted.
    pub(crate) fn push_answer(self: &Arc<Self>, answer: Option<String>) {
        answer.iter().for_each(|answer| self.push_text(answer));
    }

    /// Appends the close frame, after which nothing is taken. The first reason counts.
    pub(crate) fn close(&self, code: u16, reason: &str) {
        self.last_frame(&frame::close_payload(code, reason));
    }

    /// Appends the answer to the client's own close frame: its code, if it had one.
    pub(crate) fn goodbye(&self, code: Option<u16>) {
        self.last_frame(&code.map_or(Vec::new(), |code| frame::close_payload(code, "")));
    }

    fn last_frame(&self, payload: &[u8]) {
        let mut queue = self.lock();
        if !queue.closing {
            queue.closing = true;
            frame::write_server(&mut queue.bytes, opcode::CLOSE, payload);
            self.attention.notify_one();
        }
    }

    /// Writes as much as the socket takes.
    pub(crate) fn flush(&self) -> Flushed {
        let mut queue = self.lock();
        let mut written = 0;
        let flushed = loop {
            if written == queue.bytes.len() {
                break Flushed::All;
            }
            match self.socket.try_write(&queue.bytes[written..]) {
                Ok(0) => break Flushed::Broken,
                Ok(some) => written += some,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Flushed::Blocked,
                Err(_) => break Flushed::Broken,
            }
        };
        match flushed {
            Flushed::All => {
                queue.bytes.clear();
                queue.state = State::Empty;
            }
            Flushed::Blocked => {
                queue.bytes.drain(..written);
                if queue.state != State::Blocked {
                    queue.state = State::Blocked;
                    self.attention.notify_one();
                }
            }
            Flushed::Broken => {
                queue.bytes = Vec::new();
                queue.closing = true;
                queue.state = State::Broken;
                self.attention.notify_one();
            }
        }
        flushed
    }

    /// Waits until the socket takes more.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().bytes.len()
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.lock().state == State::Blocked
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Gives back the memory of a queue that has nothing in it: an idle connection owns no buffer.
    pub(crate) fn shrink(&self) {
        let mut queue = self.lock();
        if queue.bytes.is_empty() && queue.bytes.capacity() > 0 {
            queue.bytes = Vec::new();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics while it is held")
    }
}
