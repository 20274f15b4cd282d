//! The server's own protocol. What is published is what its clients get, but for the position.

use std::time::Duration;

use ws_wire::{
    codec::native::{self, ClientFrame, ServerFrame},
    frame::{self, opcode},
    message::{Position, Target},
};

use super::{MAX_KEY, Request};
use crate::Server;

/// Reads a frame of the session called `from`.
pub(super) fn request(text: &str, from: &str) -> Request {
    match ClientFrame::parse(text) {
        Ok(ClientFrame::Join { reference, room, since }) => {
            Request::Join { reference: Some(reference), room, since }
        }
        Ok(ClientFrame::Leave { reference, room }) => Request::Leave { reference: Some(reference), room },
        Ok(ClientFrame::Send(send)) if send.key.as_ref().is_some_and(|key| key.len() > MAX_KEY) => {
            let why = format!("the key is longer than {MAX_KEY} bytes");
            Request::Bad { reference: Some(send.reference), why }
        }
        Ok(ClientFrame::Send(send)) => {
            let target = send.room.as_deref().map_or(Target::All, Target::Room);
            let publication = native::delivery(target, from, send.data.get());
            Request::Send { reference: Some(send.reference), room: send.room, key: send.key, publication }
        }
        Err(error) => Request::Bad { reference: error.reference, why: error.why },
    }
}

pub(super) fn hello(
    server: &Server,
    session: &str,
    position: Option<Position>,
    recovered: Option<bool>,
) -> String {
    let config = &server.config;
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    text(&ServerFrame::Hello(native::Hello {
        protocol: native::VERSION.into(),
        node: config.node.clone(),
        session: session.into(),
        broker: native::Broker {
            kind: server.broker.name().into(),
            guarantee: server.broker.guarantee().into(),
        },
        limits: native::Limits {
            message_bytes: config.limits.message_bytes,
            room_name_bytes: config.limits.room_name_bytes,
            rooms: config.limits.rooms,
            sends_per_second: config.limits.sends_per_second,
            queue_bytes: config.limits.queue_bytes,
        },
        heartbeat: native::Heartbeat {
            ping_interval_ms: milliseconds(config.ping_interval),
            ping_timeout_ms: milliseconds(config.ping_timeout),
        },
        position,
        recovered,
        bugs: config.bugs.iter().map(ToString::to_string).collect(),
    }))
}

pub(super) fn ack(reference: u64, position: Option<Position>, recovered: Option<bool>) -> String {
    if position.is_none() && recovered.is_none() {
        return format!(r#"{{"op":"ack","ref":{reference}}}"#);
    }
    text(&ServerFrame::Ack { reference, position, recovered })
}

pub(super) fn refusal(reference: Option<u64>, code: &str, message: &str) -> String {
    text(&ServerFrame::Error { reference, code, message })
}

pub(super) fn gap(room: Option<&str>, position: &Position) -> String {
    text(&ServerFrame::Gap { room, all: room.is_none(), position })
}

pub(super) fn delivery(publication: &str, position: Option<&Position>, out: &mut Vec<u8>) {
    match position {
        None => frame::write_server(out, opcode::TEXT, publication.as_bytes()),
        Some(position) => {
            let text = native::with_position(publication, position);
            frame::write_server(out, opcode::TEXT, text.as_bytes());
        }
    }
}

pub(super) fn ping(out: &mut Vec<u8>) {
    frame::write_server(out, opcode::PING, b"");
}

fn text(frame: &ServerFrame<'_>) -> String {
    serde_json::to_string(frame).expect("a frame is always JSON")
}
