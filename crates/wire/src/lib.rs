//! Bytes to messages and back, and nothing else: no socket, clock, file or randomness.
//!
//! - [`frame`]: WebSocket frames (RFC 6455) in both directions.
//! - [`message`]: what a client says and hears, whatever the protocol.
//! - [`codec`]: one module a protocol, between [`message`] and the text of a frame.
//! - [`stamp`]: the mark in every payload by which its delivery is followed.

pub mod codec;
pub mod frame;
pub mod message;
pub mod stamp;
