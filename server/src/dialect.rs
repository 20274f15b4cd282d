//! The protocols that clients speak, docs/protocol.md: one module each, between the frames of a WebSocket and what the
//! server does with them. Nothing else in the server knows which one it has before it.

mod native;
mod socketio;

use ws_wire::message::Position;

use crate::Server;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The server's own, at `/ws`.
    Native,
    /// Socket.IO v5 over Engine.IO v4, at `/socket.io/`.
    SocketIo,
}

/// What a client asks for, free of the buffer it was read from. Its `reference` comes back in the answer; who gave none
/// in Socket.IO wants no answer.
pub(crate) enum Request {
    /// To become one of all, and to get what was sent to all `since`: every session's first.
    Enter {
        since: Option<Position>,
    },
    /// To be in no room any more, and none of all.
    Exit,
    Join {
        reference: Option<u64>,
        room: String,
        since: Option<Position>,
    },
    Leave {
        reference: Option<u64>,
        room: String,
    },
    /// With the publication that its receivers get.
    Send {
        reference: Option<u64>,
        room: Option<String>,
        key: Option<String>,
        publication: String,
    },
    /// Nothing that could be done.
    Bad {
        reference: Option<u64>,
        why: String,
    },
    /// What is answered without doing anything.
    Answered(String),
    Goodbye(Option<u16>),
}

/// How a connection has to end: the close code, and a word for people.
pub(crate) struct Close(pub(crate) u16, pub(crate) String);

/// Reads what one client says.
pub(crate) enum Reader {
    Native,
    SocketIo(socketio::Reader),
}

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 64;

impl Dialect {
    /// What a new connection begins with: a text, if the server says something by itself, and the first requests.
    pub(crate) fn open(self, server: &Server, since: Option<Position>) -> (Option<String>, Vec<Request>) {
        match self {
            Self::Native => (None, vec![Request::Enter { since }]),
            Self::SocketIo => (Some(socketio::open(&server.config)), Vec::new()),
        }
    }

    /// Reads a client whose messages have at most so many bytes.
    pub(crate) fn reader(self, message_bytes: usize) -> Reader {
        match self {
            Self::Native => Reader::Native,
            Self::SocketIo => Reader::SocketIo(socketio::Reader::new(message_bytes)),
        }
    }

    /// The answer to [`Request::Enter`].
    pub(crate) fn hello(
        self,
        server: &Server,
        session: &str,
        position: Option<Position>,
        recovered: Option<bool>,
    ) -> String {
        match self {
            Self::Native => native::hello(server, session, position, recovered),
            Self::SocketIo => socketio::connected(session),
        }
    }

    /// The answer to a request that was carried out, if one is wanted.
    pub(crate) fn ack(
        self,
        reference: Option<u64>,
        position: Option<Position>,
        recovered: Option<bool>,
    ) -> Option<String> {
        let reference = reference?;
        Some(match self {
            Self::Native => native::ack(reference, position, recovered),
            Self::SocketIo => socketio::ack(reference, position),
        })
    }

    /// The answer to one that was not.
    pub(crate) fn refusal(self, reference: Option<u64>, code: &str, message: &str) -> String {
        match self {
            Self::Native => native::refusal(reference, code, message),
            Self::SocketIo => socketio::refusal(reference, code, message),
        }
    }

    /// Messages of the room (none: to all) before `position` may be lost.
    pub(crate) fn gap(self, room: Option<&str>, position: &Position) -> String {
        match self {
            Self::Native => native::gap(room, position),
            Self::SocketIo => socketio::gap(room),
        }
    }

    /// Appends the frames of a publication; nothing if it is none that this server would publish.
    pub(crate) fn delivery(self, publication: &str, position: Option<&Position>, out: &mut Vec<u8>) {
        match self {
            Self::Native => native::delivery(publication, position, out),
            Self::SocketIo => socketio::delivery(publication, out),
        }
    }

    /// Appends the frame that asks whether the client is there.
    pub(crate) fn ping(self, out: &mut Vec<u8>) {
        match self {
            Self::Native => native::ping(out),
            Self::SocketIo => socketio::ping(out),
        }
    }

    /// Whether clients count on a ping in every interval, rather than only in silence.
    pub(crate) fn pings_always(self) -> bool {
        self == Self::SocketIo
    }
}

impl Reader {
    /// A text frame of the session called `from`.
    pub(crate) fn text(&mut self, text: &str, from: &str, requests: &mut Vec<Request>) -> Result<(), Close> {
        match self {
            Self::Native => requests.push(native::request(text, from)),
            Self::SocketIo(reader) => return reader.text(text, from, requests),
        }
        Ok(())
    }

    /// A binary frame of the session called `from`.
    pub(crate) fn binary(
        &mut self,
        bytes: &[u8],
        from: &str,
        requests: &mut Vec<Request>,
    ) -> Result<(), Close> {
        match self {
            Self::Native => Err(Close(1003, "binary: this protocol has text frames only".into())),
            Self::SocketIo(reader) => reader.binary(bytes, from, requests),
        }
    }
}

/// The frames of one publication, made for each dialect when its first member is met.
#[derive(Default)]
pub(crate) struct Frames<'a> {
    publication: &'a str,
    position: Option<&'a Position>,
    made: [Vec<u8>; 2],
}

impl<'a> Frames<'a> {
    /// Goes on to the next publication.
    pub(crate) fn turn_to(&mut self, publication: &'a str, position: Option<&'a Position>) {
        (self.publication, self.position) = (publication, position);
        self.made.iter_mut().for_each(Vec::clear);
    }

    /// For members who speak `dialect`.
    pub(crate) fn of(&mut self, dialect: Dialect) -> &[u8] {
        let frames = &mut self.made[dialect as usize];
        if frames.is_empty() {
            dialect.delivery(self.publication, self.position, frames);
        }
        frames
    }
}
