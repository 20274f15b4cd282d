//! Between messages and the text of a frame: one module a protocol, one enum arm each.

pub mod native;

use crate::message::{Event, Request};

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

/// A frame that is not of the protocol.
#[derive(Debug, thiserror::Error)]
#[error("not a {protocol} frame: {why}")]
pub struct DecodeError {
    protocol: &'static str,
    why: String,
}
