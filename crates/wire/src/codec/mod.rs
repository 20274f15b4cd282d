//! Between messages and the frames of a connection: one module a protocol, one enum arm each.

pub mod json;
pub mod native;
pub mod shape;
pub mod socketio;
mod spec;
pub mod template;

use std::{borrow::Cow, sync::Arc, time::Duration};

use crate::message::{Event, Position, Request, Target};

/// The protocols that the drivers speak.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(into = "spec::Spec", try_from = "spec::Spec")]
pub enum Protocol {
    /// ws-server's own, docs/protocol.md.
    #[default]
    Native,
    /// Socket.IO, with the events of an application.
    SocketIo(Arc<socketio::Settings>),
    /// Whatever a file describes.
    Template(Arc<template::Template>),
}

/// One session's side of a protocol: what it remembers from frame to frame, and from connection to connection.
#[derive(Clone, Debug)]
pub enum Dialogue {
    /// Frames that stand alone.
    Native,
    /// Sessions, attachments.
    SocketIo(Arc<socketio::Settings>, Box<socketio::Dialogue>),
    /// Whom answers without a number are for.
    Template(Arc<template::Template>, Box<template::Dialogue>),
}

/// How sure it is that requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Every request is.
    Always,
    /// The application may answer or not.
    Perhaps,
    /// None is.
    Never,
}

/// A frame that came.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// Of text.
    Text(&'a str),
    /// Of bytes.
    Binary(&'a [u8]),
}

impl Protocol {
    /// The name on command lines and in reports.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Native => "native",
            Self::SocketIo(_) => "socketio",
            Self::Template(template) => template.name(),
        }
    }

    /// The side of the session with this number.
    #[must_use]
    pub fn dialogue(&self, number: u32) -> Dialogue {
        match self {
            Self::Native => Dialogue::Native,
            Self::SocketIo(settings) => {
                Dialogue::SocketIo(settings.clone(), Box::new(socketio::Dialogue::new(number)))
            }
            Self::Template(template) => {
                Dialogue::Template(template.clone(), Box::new(template::Dialogue::new(number)))
            }
        }
    }

    /// The path, with its query, of a URL that has none.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Native => "/ws",
            Self::SocketIo(_) => "/socket.io/?EIO=4&transport=websocket",
            Self::Template(template) => template.path(),
        }
    }

    /// What has to be offered in the handshake as `Sec-WebSocket-Protocol`.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        match self {
            Self::Native | Self::SocketIo(_) => None,
            Self::Template(template) => template.subprotocol(),
        }
    }

    /// Whether joins are acknowledged.
    #[must_use]
    pub fn join_answers(&self) -> Answers {
        match self {
            Self::Native => Answers::Always,
            Self::SocketIo(settings) => settings.answers(),
            Self::Template(template) => template.join_answers(),
        }
    }

    /// Whether sends are acknowledged.
    #[must_use]
    pub fn send_answers(&self) -> Answers {
        match self {
            Self::Native => Answers::Always,
            Self::SocketIo(settings) => settings.answers(),
            Self::Template(template) => template.send_answers(),
        }
    }

    /// Whether a member can leave its room.
    #[must_use]
    pub fn can_leave(&self) -> bool {
        match self {
            Self::Native => true,
            Self::SocketIo(settings) => settings.can_leave(),
            Self::Template(template) => template.can_leave(),
        }
    }

    /// Whether there are messages to everyone.
    #[must_use]
    pub fn can_send_to_all(&self) -> bool {
        match self {
            Self::Native => true,
            Self::SocketIo(settings) => settings.can_send_to_all(),
            Self::Template(template) => template.can_send_to_all(),
        }
    }

    /// The text frames by which a server greets, as far as the frames behind them need it.
    #[must_use]
    pub fn greeting(&self) -> Vec<String> {
        match self {
            Self::SocketIo(settings) => socketio::greeting(settings),
            Self::Native | Self::Template(_) => Vec::new(),
        }
    }

    /// The text frame by which a server delivers `data`, which is JSON, as far as this protocol knows what it looks like.
    #[must_use]
    pub fn delivery(&self, room: &str, data: &str) -> String {
        match self {
            Self::Native => native::delivery(Target::Room(room), "canary", data),
            Self::SocketIo(settings) => socketio::delivery(settings, room, data),
            Self::Template(template) => template.delivery(room, data),
        }
    }

    /// The URL to connect to, for one who has the messages to all up to `since`.
    #[must_use]
    pub fn url<'a>(&self, url: &'a str, since: Option<&Position>) -> Cow<'a, str> {
        match (self, since) {
            (Self::Native, Some(since)) => native::url(url, since).into(),
            _ => url.into(),
        }
    }

    /// What a client does after a close with `code` (none: it was cut off).
    #[must_use]
    pub fn after_close(&self, code: Option<u16>) -> Comeback {
        match self {
            Self::Template(template) if code.is_some_and(|code| template.is_final(code)) => Comeback::Never,
            Self::Template(_) => Comeback::Within(Duration::from_millis(500)),
            Self::Native | Self::SocketIo(_) => native::after_close(code),
        }
    }
}

impl Dialogue {
    /// A new connection is open: appends the text that the client begins with, if it does.
    pub fn begin(&mut self, out: &mut String) {
        match self {
            Self::Native => {}
            Self::SocketIo(_, dialogue) => dialogue.begin(),
            Self::Template(template, dialogue) => dialogue.begin(template, out),
        }
    }

    /// Whether the connection counts as greeted without a word of the server.
    #[must_use]
    pub fn is_greeted(&self) -> bool {
        matches!(self, Self::Template(template, _) if !template.has_hello())
    }

    /// Appends the text frame that carries `request`; what is returned follows in a binary frame.
    pub fn ask<'a>(&mut self, request: &Request<'a>, out: &mut String) -> Option<&'a str> {
        match self {
            Self::Native => native::encode(request, out),
            Self::SocketIo(settings, dialogue) => return dialogue.ask(settings, request, out),
            Self::Template(template, dialogue) => dialogue.ask(template, request, out),
        }
        None
    }

    /// Hands the events in a frame to `sink`.
    ///
    /// # Errors
    /// A frame that this protocol does not have.
    pub fn hear(&mut self, frame: Frame<'_>, sink: &mut dyn FnMut(Event<'_>)) -> Result<(), DecodeError> {
        match (self, frame) {
            (Self::Native, Frame::Text(text)) => native::decode(text).map(sink),
            (Self::SocketIo(settings, dialogue), Frame::Text(text)) => dialogue.hear(settings, text, sink),
            (Self::SocketIo(settings, dialogue), Frame::Binary(bytes)) => {
                dialogue.hear_binary(settings, bytes, sink)
            }
            (Self::Template(template, dialogue), frame) => dialogue.hear(template, frame, sink),
            (Self::Native, Frame::Binary(_)) => {
                Err(DecodeError::malformed("native", &"a binary frame, where the protocol has text"))
            }
        }
    }
}

/// Whether and when a client comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comeback {
    /// It would be closed again.
    Never,
    /// After a random moment up to this, so that not all come at once.
    Within(Duration),
}

/// Why a frame brought nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not of the protocol.
    #[error("not a {protocol} frame: {why}")]
    Malformed {
        /// Of which.
        protocol: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It says that this connection is of no more use.
    #[error("{0}")]
    Ended(String),
}

impl DecodeError {
    fn malformed(protocol: &'static str, why: &dyn std::fmt::Display) -> Self {
        Self::Malformed { protocol, why: why.to_string() }
    }
}
