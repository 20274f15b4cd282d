//! What a client says to a server and hears from it, whatever the protocol.

use std::fmt;

/// Where a message goes: into one room, or to everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target<'a> {
    /// The members of this room, on every replica.
    Room(&'a str),
    /// Every connection of every replica.
    All,
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(room) => write!(f, "room {room}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// A place in a room's order, where the broker keeps one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Changes when the order starts anew; offsets compare only inside one epoch.
    pub epoch: String,
    /// Grows by one with each message of the room.
    pub offset: u64,
}

/// A [`Position`] borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct PositionRef<'a> {
    /// As there.
    pub epoch: &'a str,
    /// As there.
    pub offset: u64,
}

impl From<PositionRef<'_>> for Position {
    fn from(position: PositionRef<'_>) -> Self {
        Self { epoch: position.epoch.to_owned(), offset: position.offset }
    }
}

/// What a client asks for. `reference` comes back in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Become a member of a room.
    Join {
        /// Comes back in the ack.
        reference: u64,
        /// The room's name.
        room: &'a str,
        /// The last position this client has of it, where it was a member before.
        since: Option<&'a Position>,
    },
    /// Stop being a member of a room.
    Leave {
        /// Comes back in the ack.
        reference: u64,
        /// The room's name.
        room: &'a str,
    },
    /// Send `data` to every member of the target, oneself included.
    Send {
        /// Comes back in the ack.
        reference: u64,
        /// Room or all.
        target: Target<'a>,
        /// The same for every try of one message.
        key: &'a str,
        /// What is delivered, as a string.
        data: &'a str,
    },
}

/// What a client hears.
#[derive(Debug, PartialEq)]
pub enum Event<'a> {
    /// The first frame: who answers, and what it promises.
    Hello(Hello),
    /// The request with this reference was carried out.
    Ack {
        /// Of the request.
        reference: u64,
        /// Of the message sent, or the one before the first that a join brings.
        position: Option<PositionRef<'a>>,
        /// Of a join with `since`: whether all that came after it follows.
        recovered: Option<bool>,
    },
    /// Messages may have been lost; from here on none is missing again.
    Gap {
        /// Of which room.
        target: Target<'a>,
        /// The one before the next message, where the broker keeps an order.
        position: Option<PositionRef<'a>>,
    },
    /// A message in a room this client is in, or to all.
    Delivery {
        /// Where the frame says it belongs.
        target: Target<'a>,
        /// Its place in the room's order, where the broker keeps one.
        position: Option<PositionRef<'a>>,
        /// The payload, without its quotes; borrowed from the frame.
        data: &'a str,
    },
    /// A request was refused, or (without a reference) the connection is in trouble.
    Error {
        /// Of the request, where the server could tell.
        reference: Option<u64>,
        /// Stable name of the error.
        code: &'a str,
        /// Whether a refused send may have been delivered all the same.
        outcome_unknown: bool,
    },
    /// What the client has to answer at once, as a text frame: heartbeats, and the steps of a handshake.
    Say(&'a str),
    /// A frame this protocol has but the drivers do not need.
    Other,
}

/// What a server says of itself when a connection opens.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hello {
    /// The replica's name; empty where the protocol has none.
    pub node: String,
    /// The broker behind it, such as `redis-stream`.
    pub broker: String,
    /// The contract it claims, such as `at-most-once`.
    pub guarantee: String,
    /// Bug switches that are on; not empty means a server broken on purpose.
    pub bugs: Vec<String>,
    /// The one before the first message to all that follows, where the broker has one.
    pub position: Option<Position>,
    /// Of a connection that asked for what was sent to all since a position: whether all of it follows.
    pub recovered: Option<bool>,
    /// Of a connection that asked for its session back: whether it is in its room again, and all that it missed follows.
    pub restored: Option<bool>,
}
