//! Between messages and the text of a frame: one module a protocol, one enum arm each.

pub mod native;
pub mod socketio;

use std::{borrow::Cow, time::Duration};

use crate::message::{Event, Position, Request};

/// The protocols that the drivers speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// ws-server's own, docs/protocol.md.
    #[default]
    Native,
}

impl Protocol {
    /// The name on command lines and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
        }
    }

    /// Appends the text frame that carries `request`.
    pub fn encode(self, request: &Request<'_>, out: &mut String) {
        match self {
            Self::Native => native::encode(request, out),
        }
    }

    /// The URL to connect to, for one who has the messages to all up to `since`.
    #[must_use]
    pub fn url<'a>(self, url: &'a str, since: Option<&Position>) -> Cow<'a, str> {
        match (self, since) {
            (Self::Native, Some(since)) => native::url(url, since).into(),
            (Self::Native, None) => url.into(),
        }
    }

    /// What a client does after a close with `code` (none: it was cut off).
    #[must_use]
    pub fn after_close(self, code: Option<u16>) -> Comeback {
        match self {
            Self::Native => native::after_close(code),
        }
    }

    /// The event that a text frame carries.
    ///
    /// # Errors
    /// A frame that this protocol does not have.
    pub fn decode(self, text: &str) -> Result<Event<'_>, DecodeError> {
        match self {
            Self::Native => native::decode(text),
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

/// A frame that is not of the protocol.
#[derive(Debug, thiserror::Error)]
#[error("not a {protocol} frame: {why}")]
pub struct DecodeError {
    protocol: &'static str,
    why: String,
}
