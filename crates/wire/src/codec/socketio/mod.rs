//! Socket.IO v5 over Engine.IO v4, as they travel in the frames of a WebSocket.
//!
//! A text frame is one Engine.IO packet; one of type message holds one Socket.IO packet. A binary frame is an attachment
//! of the packet before it. [`packet`] reads and writes them, and is what the server and the drivers share.

pub mod packet;
