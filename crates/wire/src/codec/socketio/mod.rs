//! Socket.IO v5 over Engine.IO v4, websocket transport: a server's frames and a client's side of them.
//!
//! Sources: the protocol documents of engine.io (v4) and socket.io (v5), and the documentation of connection state
//! recovery. Rooms are the server's own affair in Socket.IO: joining one is an event of the application, so the names
//! and shapes of events are [`Settings`].

mod dialogue;
pub mod packet;
mod settings;

pub use dialogue::Dialogue;
pub(super) use dialogue::{delivery, greeting};
pub use settings::{SettingError, Settings, Typed};
