//! Socket.IO: the events of the clients, and a connection's way from handshake to namespace.

mod event;
mod publication;

use rand::Rng as _;
use serde_json::json;
use ws_wire::{
    codec::socketio::packet::{Engine, Kind, Packet},
    frame::{self, opcode},
    message::Position,
};

use super::{Close, Request};
use crate::Config;
pub(super) use publication::delivery;

/// The most attachments that the reference's decoder takes, the clients' too.
const MAX_ATTACHMENTS: u32 = 10;

/// The one namespace that there is.
const NAMESPACE: &str = "/";

/// Reads one client's packets.
pub(crate) struct Reader {
    message_bytes: usize,
    /// In the namespace.
    connected: bool,
    /// Boxed: few connections have one at any time.
    pending: Option<Box<Pending>>,
}

/// A packet whose attachments have not all come.
struct Pending {
    kind: Kind,
    id: Option<u64>,
    data: String,
    awaited: usize,
    attachments: Vec<Vec<u8>>,
    bytes: usize,
}

impl Reader {
    pub(super) fn new(message_bytes: usize) -> Self {
        Self { message_bytes, connected: false, pending: None }
    }

    pub(super) fn text(&mut self, text: &str, from: &str, requests: &mut Vec<Request>) -> Result<(), Close> {
        match Engine::parse(text).map_err(|error| wrong(error.to_string()))? {
            Engine::Message(_) if self.pending.is_some() => Err(wrong("an attachment was to come")),
            Engine::Message(packet) => self.packet(&packet, from, requests),
            // That it was heard has been noted.
            Engine::Pong(_) | Engine::Noop => Ok(()),
            Engine::Close => {
                requests.push(Request::Goodbye(Some(1000)));
                Ok(())
            }
            Engine::Open(_) | Engine::Ping(_) | Engine::Upgrade => {
                Err(wrong("a client over WebSocket has no such packet"))
            }
        }
    }

    fn packet(&mut self, packet: &Packet<'_>, from: &str, requests: &mut Vec<Request>) -> Result<(), Close> {
        match packet.kind {
            Kind::Connect if packet.namespace != NAMESPACE => {
                requests.push(Request::Answered(invalid(packet.namespace)));
            }
            Kind::Connect if !self.connected => {
                self.connected = true;
                requests.push(Request::Enter { since: None });
            }
            Kind::Connect | Kind::ConnectError => return Err(wrong("it is connected, or a server says so")),
            _ if !self.connected || packet.namespace != NAMESPACE => {
                return Err(wrong("nothing comes before the CONNECT of its namespace"));
            }
            Kind::Disconnect => {
                self.connected = false;
                requests.push(Request::Exit);
            }
            Kind::Event => requests.push(event::request(packet.id, packet.data, &[], from)?),
            // This server asks for none.
            Kind::Ack => {}
            Kind::BinaryEvent | Kind::BinaryAck if packet.attachments > MAX_ATTACHMENTS => {
                return Err(wrong(format!("more than {MAX_ATTACHMENTS} attachments")));
            }
            Kind::BinaryEvent | Kind::BinaryAck => {
                self.pending = Some(Box::new(Pending {
                    kind: packet.kind,
                    id: packet.id,
                    data: packet.data.to_owned(),
                    awaited: packet.attachments as usize,
                    attachments: Vec::new(),
                    bytes: packet.data.len(),
                }));
            }
        }
        Ok(())
    }

    pub(super) fn binary(
        &mut self,
        bytes: &[u8],
        from: &str,
        requests: &mut Vec<Request>,
    ) -> Result<(), Close> {
        let mut pending = self.pending.take().ok_or_else(|| wrong("no attachment was to come"))?;
        pending.bytes += bytes.len();
        if pending.bytes > self.message_bytes {
            let why = format!("message is larger than {} bytes with its attachments", self.message_bytes);
            return Err(Close(1009, why));
        }
        pending.attachments.push(bytes.to_vec());
        if pending.attachments.len() < pending.awaited {
            self.pending = Some(pending);
        } else if pending.kind == Kind::BinaryEvent {
            requests.push(event::request(pending.id, &pending.data, &pending.attachments, from)?);
        }
        Ok(())
    }
}

/// A connection on which something else than the protocol was spoken is closed, as the reference server does.
fn wrong(why: impl Into<String>) -> Close {
    Close(1002, why.into())
}

pub(super) fn open(config: &Config) -> String {
    let open = json!({
        // Of no use to anybody here, and so to nobody who guesses it.
        "sid": format!("{:032x}", rand::rng().random::<u128>()),
        "upgrades": [],
        "pingInterval": u64::try_from(config.ping_interval.as_millis()).unwrap_or(u64::MAX),
        "pingTimeout": u64::try_from(config.ping_timeout.as_millis()).unwrap_or(u64::MAX),
        "maxPayload": config.limits.message_bytes,
    });
    written(&Engine::Open(&open.to_string()))
}

pub(super) fn connected(session: &str) -> String {
    message(Kind::Connect, None, &json!({ "sid": session }).to_string())
}

fn invalid(namespace: &str) -> String {
    let data = r#"{"message":"Invalid namespace"}"#;
    written(&Engine::Message(Packet { kind: Kind::ConnectError, attachments: 0, namespace, id: None, data }))
}

pub(super) fn ack(id: u64, position: Option<Position>) -> String {
    match position {
        None => message(Kind::Ack, Some(id), r#"[{"ok":true}]"#),
        Some(position) => {
            message(Kind::Ack, Some(id), &json!([{ "ok": true, "position": position }]).to_string())
        }
    }
}

/// An ack to who asked for one, an event to others: nothing is refused in silence.
pub(super) fn refusal(id: Option<u64>, code: &str, why: &str) -> String {
    match id {
        Some(_) => {
            let ack = json!([{ "ok": false, "error": code, "message": why }]);
            message(Kind::Ack, id, &ack.to_string())
        }
        None => {
            let event = json!(["error", { "error": code, "message": why }]);
            message(Kind::Event, None, &event.to_string())
        }
    }
}

pub(super) fn gap(room: Option<&str>) -> String {
    let gap = room.map_or_else(|| json!({ "all": true }), |room| json!({ "room": room }));
    message(Kind::Event, None, &json!(["gap", gap]).to_string())
}

pub(super) fn ping(out: &mut Vec<u8>) {
    frame::write_server(out, opcode::TEXT, written(&Engine::Ping("")).as_bytes());
}

/// A packet without attachments.
fn message(kind: Kind, id: Option<u64>, data: &str) -> String {
    written(&Engine::Message(Packet { kind, attachments: 0, namespace: NAMESPACE, id, data }))
}

fn written(engine: &Engine<'_>) -> String {
    let mut text = String::new();
    engine.write(&mut text);
    text
}
