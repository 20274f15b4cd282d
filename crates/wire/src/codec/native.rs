//! ws-server's protocol, docs/protocol.md: one JSON object a text frame, told apart by `op`.
//!
//! [`ClientFrame`] and [`ServerFrame`] are the serialized forms; the server uses them directly, the drivers through
//! [`encode`] and [`decode`].

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{Comeback, DecodeError};
use crate::message::{self, Event, Position, PositionRef, Request, Target};

/// The version that the hello names.
pub const VERSION: &str = "ws-rooms/1";

/// A frame from client to server.
#[derive(Debug)]
pub enum ClientFrame<'a> {
    /// Become a member.
    Join {
        /// Comes back in the answer.
        reference: u64,
        /// 1 to `room_name_bytes` bytes.
        room: String,
        /// The position of the last message that this client has of the room, to get all that came after it.
        since: Option<Position>,
    },
    /// Stop being a member.
    Leave {
        /// Comes back in the answer.
        reference: u64,
        /// As in join.
        room: String,
    },
    /// Send to a room this client is in, or to all.
    Send(Send<'a>),
}

/// The fields of a send.
#[derive(Debug)]
pub struct Send<'a> {
    /// Comes back in the answer.
    pub reference: u64,
    /// The room to send to, `None` for all.
    pub room: Option<String>,
    /// Idempotency key: the same for every try of one message.
    pub key: Option<String>,
    /// Any JSON value; reaches the members as it is written here.
    pub data: &'a RawValue,
}

impl<'a> ClientFrame<'a> {
    /// Reads the text of a frame.
    ///
    /// # Errors
    /// What is wrong with it and, where it can be told, the reference to answer with.
    pub fn parse(text: &'a str) -> Result<Self, ClientFrameError> {
        let frame: FlatFrame<'a> =
            serde_json::from_str(text).map_err(|error| ClientFrameError::read(text, error))?;
        let reference = frame.reference;
        frame.resolve().map_err(|why| ClientFrameError { reference: Some(reference), why })
    }
}

/// Why a client's frame was not understood.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct ClientFrameError {
    /// The frame's `ref`, where it has one.
    pub reference: Option<u64>,
    /// For people.
    pub why: String,
}

impl ClientFrameError {
    fn read(text: &str, error: serde_json::Error) -> Self {
        #[derive(Deserialize)]
        struct Reference {
            #[serde(rename = "ref")]
            reference: u64,
        }
        let reference = serde_json::from_str(text).map(|Reference { reference }| reference).ok();
        Self { reference, why: error.to_string() }
    }
}

/// All the fields that some client frame has: a raw value can't be inside one of serde's tagged enums.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlatFrame<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(rename = "ref")]
    reference: u64,
    room: Option<String>,
    #[serde(default)]
    all: bool,
    key: Option<String>,
    since: Option<Position>,
    #[serde(default, borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

impl<'a> FlatFrame<'a> {
    fn resolve(self) -> Result<ClientFrame<'a>, String> {
        let Self { op, reference, room, all, key, since, data } = self;
        if since.is_some() && op != "join" {
            return Err(format!("{op} takes no since; join does"));
        }
        match (&*op, data) {
            ("join" | "leave", None) if !all && key.is_none() => {
                let room = room.ok_or_else(|| format!("{op} needs a room"))?;
                let join = op == "join";
                Ok(if join {
                    ClientFrame::Join { reference, room, since }
                } else {
                    ClientFrame::Leave { reference, room }
                })
            }
            ("join" | "leave", _) => {
                Err(format!("{op} takes a ref and a room, a join also since, nothing else"))
            }
            ("send", _) if all == room.is_some() => Err("send needs either a room or \"all\":true".into()),
            ("send", None) => Err("send needs data".into()),
            ("send", Some(data)) if is_too_deep(data) => Err("the data is nested too deeply".into()),
            ("send", Some(data)) => Ok(ClientFrame::Send(Send { reference, room, key, data })),
            _ => Err(format!("unknown op {op:?}; there are join, leave and send")),
        }
    }
}

/// Whether others' parsers would refuse it (or worse): a raw value is taken as it stands, without a limit.
#[must_use]
pub fn is_too_deep(data: &RawValue) -> bool {
    let brackets = data.get().bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    // serde_json's own limit is 128, and a delivery puts one more around it.
    brackets > 100 && serde_json::from_str::<serde_json::Value>(&format!("[[{data}]]")).is_err()
}

/// Tells `"data":null`, which is a value, from no data.
fn present<'de, D: Deserializer<'de>>(json: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(json).map(Some)
}

/// A frame from server to client; deliveries are written by [`delivery`].
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    /// First on every connection.
    Hello(Hello),
    /// The request was carried out.
    Ack {
        /// Of the request.
        #[serde(rename = "ref")]
        reference: u64,
        /// Where the broker has one: of the message that was sent, or the one before the first that a join brings.
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
        /// Of a join with `since`: whether all that came after it follows.
        #[serde(skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
    },
    /// Messages of this room may have been lost; from here on none is missing again.
    Gap {
        /// The room, `None` for all.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a str>,
        /// Whether it is to all.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        all: bool,
        /// The position before the next message.
        position: &'a Position,
    },
    /// The request was not carried out.
    Error {
        /// Of the request; absent when it could not be read.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<u64>,
        /// Stable name, docs/protocol.md lists them.
        code: &'a str,
        /// For people.
        message: &'a str,
    },
}

/// The hello's fields, docs/protocol.md.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub protocol: String,
    /// The replica's name.
    pub node: String,
    /// This connection's name, unique in the cluster: the `from` of what it sends.
    pub session: String,
    /// What carries messages between replicas.
    pub broker: Broker,
    /// What the server refuses.
    pub limits: Limits,
    /// When the server pings, and when it gives up.
    pub heartbeat: Heartbeat,
    /// The one before the first message to all that follows, where the broker has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Of a handshake with `since`: whether all that was sent to all after it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// Bug switches that are on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bugs: Vec<String>,
}

/// The broker and its promise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Broker {
    /// `memory`, `redis-pubsub` or `redis-stream`.
    pub kind: String,
    /// `no-silent-loss`, `at-most-once` or `exactly-once`.
    pub guarantee: String,
}

/// Limits that a client can meet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Largest message from a client, in bytes.
    pub message_bytes: usize,
    /// Longest room name, in bytes.
    pub room_name_bytes: usize,
    /// Rooms one connection may be in.
    pub rooms: usize,
    /// Sends a second of one connection, over a burst of as many.
    pub sends_per_second: u32,
    /// Bytes that may wait for a slow client.
    pub queue_bytes: usize,
}

/// Heartbeat times in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// A connection silent for this long is pinged.
    pub ping_interval_ms: u64,
    /// One that stays silent for this long after the ping is closed.
    pub ping_timeout_ms: u64,
}

/// The text of a delivery: `{"op":"message",` target `,"from":` session `,"data":` data `}`.
#[must_use]
pub fn delivery(target: Target<'_>, from: &str, data: &str) -> String {
    delivery_with(target, from, "", data)
}

/// A [`delivery`] with `fields` before its data, each written as `"name":value,`.
#[must_use]
pub fn delivery_with(target: Target<'_>, from: &str, fields: &str, data: &str) -> String {
    let mut text = String::with_capacity(data.len() + from.len() + fields.len() + 96);
    text.push_str(r#"{"op":"message","#);
    push_target(&mut text, target);
    text.push_str(r#","from":"#);
    push_json(&mut text, from);
    text.push(',');
    text.push_str(fields);
    text.push_str(r#""data":"#);
    text.push_str(data);
    text.push('}');
    text
}

/// A delivery's text with its position: `{"op":"message","position":{"epoch":..,"offset":..},` and the rest as it was.
#[must_use]
pub fn with_position(delivery: &str, position: &Position) -> String {
    let mut text = String::with_capacity(delivery.len() + 64);
    let Some(rest) = delivery.strip_prefix(DELIVERY) else { return delivery.to_owned() };
    text.push_str(DELIVERY);
    let Position { epoch, offset } = position;
    text.push_str(POSITION);
    push_json(&mut text, epoch);
    let _ = write!(text, r#","offset":{offset}}},"#);
    text.push_str(rest);
    text
}

/// How the text of a delivery begins.
const DELIVERY: &str = r#"{"op":"message","#;

/// How a position begins in it.
const POSITION: &str = r#""position":{"epoch":"#;

/// Appends the text of `request`.
pub fn encode(request: &Request<'_>, out: &mut String) {
    match request {
        Request::Join { reference, room, since } => {
            let _ = write!(out, r#"{{"op":"join","ref":{reference},"room":"#);
            push_json(out, room);
            if let Some(Position { epoch, offset }) = since {
                out.push_str(r#","since":{"epoch":"#);
                push_json(out, epoch);
                let _ = write!(out, r#","offset":{offset}}}"#);
            }
        }
        Request::Leave { reference, room } => {
            let _ = write!(out, r#"{{"op":"leave","ref":{reference},"room":"#);
            push_json(out, room);
        }
        Request::Send { reference, target, key, data } => {
            let _ = write!(out, r#"{{"op":"send","ref":{reference},"#);
            push_target(out, *target);
            out.push_str(r#","key":"#);
            push_json(out, key);
            out.push_str(r#","data":"#);
            push_json(out, data);
        }
    }
    out.push('}');
}

/// `url` with `since=EPOCH:OFFSET`; an epoch may be any string.
#[must_use]
pub fn url(url: &str, since: &Position) -> String {
    let mut full = format!("{url}{}since=", if url.contains('?') { '&' } else { '?' });
    for byte in since.epoch.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            full.push(char::from(byte));
        } else {
            let _ = write!(full, "%{byte:02X}");
        }
    }
    let _ = write!(full, ":{}", since.offset);
    full
}

/// The table of close codes in docs/protocol.md, as a client obeys it.
#[must_use]
pub fn after_close(code: Option<u16>) -> Comeback {
    match code {
        Some(1002 | 1003 | 1007 | 1009) => Comeback::Never,
        Some(1012 | 1013) => Comeback::Within(Duration::from_secs(1)),
        _ => Comeback::Within(Duration::from_millis(100)),
    }
}

/// The event in `text`. A delivery's data is borrowed: a string without escapes, else the JSON value as it stands.
///
/// # Errors
/// Not one of the server's frames.
pub fn decode(text: &str) -> Result<Event<'_>, DecodeError> {
    if let Some(event) = decode_delivery(text) {
        return Ok(event);
    }
    let frame: Incoming<'_> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    frame.event(text)
}

/// The error code after which a send may have been delivered or not.
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// All the fields that some server frame has and a driver needs.
#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(rename = "ref")]
    reference: Option<u64>,
    code: Option<&'a str>,
    #[serde(borrow)]
    position: Option<PositionRef<'a>>,
    recovered: Option<bool>,
    room: Option<&'a str>,
    #[serde(default)]
    all: bool,
    #[serde(default, borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

impl<'a> Incoming<'a> {
    fn event(self, text: &'a str) -> Result<Event<'a>, DecodeError> {
        match (&*self.op.clone(), self) {
            ("hello", _) => {
                let hello: Hello = serde_json::from_str(text).map_err(|error| malformed(&error))?;
                Ok(Event::Hello(message::Hello {
                    node: hello.node,
                    broker: hello.broker.kind,
                    guarantee: hello.broker.guarantee,
                    bugs: hello.bugs,
                    position: hello.position,
                    recovered: hello.recovered,
                    restored: None,
                }))
            }
            ("ack", Self { reference: Some(reference), position, recovered, .. }) => {
                Ok(Event::Ack { reference, position, recovered })
            }
            ("ack", _) => Err(malformed(&"an ack needs a ref")),
            ("error", Self { reference, code: Some(code), .. }) => {
                Ok(Event::Error { reference, code, outcome_unknown: code == OUTCOME_UNKNOWN })
            }
            ("error", _) => Err(malformed(&"an error needs a code")),
            ("message", Self { room, all, data: Some(data), position, .. }) => {
                Ok(Event::Delivery { target: target(room, all)?, position, data: unquoted(data.get()) })
            }
            ("gap", Self { room, all, position: position @ Some(_), .. }) => {
                Ok(Event::Gap { target: target(room, all)?, position })
            }
            ("gap", _) => Err(malformed(&"a gap needs a position")),
            ("message", _) => Err(malformed(&"a message needs data")),
            _ => Ok(Event::Other),
        }
    }
}

fn target(room: Option<&str>, all: bool) -> Result<Target<'_>, DecodeError> {
    match (room, all) {
        (Some(room), false) => Ok(Target::Room(room)),
        (None, true) => Ok(Target::All),
        _ => Err(malformed(&"either a room or \"all\":true is needed")),
    }
}

fn malformed(why: &dyn std::fmt::Display) -> DecodeError {
    DecodeError::malformed("native", why)
}

/// A delivery in the form ws-server writes, with plain strings: the one frame that comes by the hundred thousand a
/// second. Anything else is left to the general parser.
fn decode_delivery(text: &str) -> Option<Event<'_>> {
    let rest = text.strip_prefix(DELIVERY)?;
    let (position, rest) = match rest.strip_prefix(POSITION) {
        Some(rest) => {
            let (epoch, rest) = plain_string(rest)?;
            let (offset, rest) = rest.strip_prefix(r#","offset":"#)?.split_once("},")?;
            (Some(PositionRef { epoch, offset: offset.parse().ok()? }), rest)
        }
        None => (None, rest),
    };
    let (target, rest) = match rest.strip_prefix(r#""all":true,"#) {
        Some(rest) => (Target::All, rest),
        None => {
            let (room, rest) = plain_string(rest.strip_prefix(r#""room":"#)?)?;
            (Target::Room(room), rest.strip_prefix(',')?)
        }
    };
    let (_from, rest) = plain_string(rest.strip_prefix(r#""from":"#)?)?;
    let (data, rest) = plain_string(rest.strip_prefix(r#","data":"#)?)?;
    (rest == "}").then_some(Event::Delivery { target, position, data })
}

/// A JSON string without escapes at the start of `text`, and what follows it.
fn plain_string(text: &str) -> Option<(&str, &str)> {
    let (string, rest) = text.strip_prefix('"')?.split_once('"')?;
    let plain = string.bytes().fold(true, |plain, byte| plain & (byte != b'\\') & (byte >= 0x20));
    plain.then_some((string, rest))
}

fn unquoted(json: &str) -> &str {
    json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or(json)
}

fn push_target(out: &mut String, target: Target<'_>) {
    match target {
        Target::Room(room) => {
            out.push_str(r#""room":"#);
            push_json(out, room);
        }
        Target::All => out.push_str(r#""all":true"#),
    }
}

fn push_json(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).expect("a string is always JSON"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delivery_is_read_as_it_was_written(room in ".{1,40}", from in ".{1,20}", data in "[a-z0-9 ]{0,200}") {
            let quoted = serde_json::to_string(&data).expect("a string");
            let text = delivery(Target::Room("r"), &from, &quoted);
            prop_assert_eq!(decode(&text).expect("own frame"),
                Event::Delivery { target: Target::Room("r"), position: None, data: &data });
            let position = Position { epoch: room.clone(), offset: 7 };
            let text = with_position(&text, &position);
            let place = Some(PositionRef { epoch: &position.epoch, offset: 7 });
            if !room.contains(['"', '\\']) && room.bytes().all(|byte| byte >= 0x20) {
                prop_assert_eq!(decode(&text).expect("own frame"),
                    Event::Delivery { target: Target::Room("r"), position: place, data: &data });
            }
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(value["position"]["epoch"].as_str(), Some(room.as_str()));
            // Whatever the strings hold, the result is JSON that says the same.
            let text = delivery(Target::Room(&room), &from, &quoted);
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(value["room"].as_str(), Some(room.as_str()));
            prop_assert_eq!(value["from"].as_str(), Some(from.as_str()));
        }

        #[test]
        fn a_request_is_read_as_it_was_written(room in ".{1,40}", key in ".{0,40}", data in ".{0,200}", reference: u64) {
            let mut text = String::new();
            encode(&Request::Send { reference, target: Target::Room(&room), key: &key, data: &data }, &mut text);
            let ClientFrame::Send(send) = ClientFrame::parse(&text).expect("own frame") else { panic!("{text}") };
            prop_assert_eq!(send.reference, reference);
            prop_assert_eq!(send.room.as_deref(), Some(room.as_str()));
            prop_assert_eq!(send.key.as_deref(), Some(key.as_str()));
            prop_assert_eq!(serde_json::from_str::<String>(send.data.get()).expect("a string"), data);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = decode(&text);
        }

        /// The fast path may decline, but never say other than the general parser.
        #[test]
        fn both_parsers_agree(room in "[a-z\"\\\\]{1,6}", data in "[a-z\"\\\\{}]{0,12}") {
            let text = format!(r#"{{"op":"message","room":"{room}","from":"x","data":"{data}"}}"#);
            if let Some(fast) = decode_delivery(&text) {
                let value: serde_json::Value = serde_json::from_str(&text).expect("the fast path took it");
                let Event::Delivery { target: Target::Room(room), data, .. } = fast else { panic!() };
                prop_assert_eq!(value["room"].as_str(), Some(room));
                prop_assert_eq!(value["data"].as_str(), Some(data));
            }
        }
    }

    #[test]
    fn a_clients_mistake_is_named_with_its_reference() {
        let check = |text: &str, reference, why: &str| {
            let error = ClientFrame::parse(text).expect_err(text);
            assert_eq!(error.reference, reference, "{text}");
            assert!(error.why.contains(why), "{text}: {}", error.why);
        };
        check("hi", None, "expected value");
        check("[]", None, "");
        check(r#"{"op":"join"}"#, None, "ref");
        check(r#"{"op":"fly","ref":1}"#, Some(1), "unknown op");
        check(r#"{"op":"join","ref":1}"#, Some(1), "needs a room");
        check(r#"{"op":"join","ref":1,"room":7}"#, Some(1), "expected a string");
        check(r#"{"op":"join","ref":1,"room":"r","data":1}"#, Some(1), "nothing else");
        check(r#"{"op":"leave","ref":1,"room":"r","since":{"epoch":"e","offset":1}}"#, Some(1), "no since");
        check(r#"{"op":"send","ref":1,"room":"r"}"#, Some(1), "needs data");
        check(r#"{"op":"send","ref":1,"data":1}"#, Some(1), "either a room");
        check(r#"{"op":"send","ref":1,"room":"r","all":true,"data":1}"#, Some(1), "either a room");
        check(r#"{"op":"send","ref":1,"room":"r","dta":1}"#, Some(1), "unknown field");
        assert!(ClientFrame::parse(r#"{"op":"send","ref":1,"room":"r","data":null}"#).is_ok());
    }

    #[test]
    fn a_url_says_what_a_client_has() {
        let since = |epoch: &str| Position { epoch: epoch.into(), offset: 7 };
        assert_eq!(url("ws://h/ws", &since("a-1")), "ws://h/ws?since=a-1:7");
        assert_eq!(url("ws://h/ws?t=x", &since("a b:c")), "ws://h/ws?t=x&since=a%20b%3Ac:7");
    }

    #[test]
    fn answers_and_unknown_frames() {
        assert_eq!(
            decode(r#"{"op":"ack","ref":7}"#).expect("ack"),
            Event::Ack { reference: 7, position: None, recovered: None }
        );
        assert_eq!(
            decode(r#"{"op":"ack","ref":7,"position":{"epoch":"e","offset":3},"recovered":true}"#)
                .expect("ack"),
            Event::Ack {
                reference: 7,
                position: Some(PositionRef { epoch: "e", offset: 3 }),
                recovered: Some(true)
            }
        );
        assert_eq!(
            decode(r#"{"op":"gap","room":"r","position":{"epoch":"e","offset":3}}"#).expect("gap"),
            Event::Gap { target: Target::Room("r"), position: Some(PositionRef { epoch: "e", offset: 3 }) }
        );
        assert_eq!(
            decode(r#"{"op":"error","ref":7,"code":"outcome_unknown","message":"m"}"#).expect("error"),
            Event::Error { reference: Some(7), code: "outcome_unknown", outcome_unknown: true }
        );
        let hello = r#"{"op":"hello","protocol":"ws-rooms/1","node":"n","session":"n-1",
            "broker":{"kind":"redis-stream","guarantee":"exactly-once"},
            "limits":{"message_bytes":1,"room_name_bytes":1,"rooms":1,"sends_per_second":1,"queue_bytes":1},
            "heartbeat":{"ping_interval_ms":1,"ping_timeout_ms":1},
            "position":{"epoch":"e","offset":3},"recovered":true}"#;
        assert_eq!(
            decode(hello).expect("hello"),
            Event::Hello(message::Hello {
                node: "n".into(),
                broker: "redis-stream".into(),
                guarantee: "exactly-once".into(),
                bugs: Vec::new(),
                position: Some(Position { epoch: "e".into(), offset: 3 }),
                recovered: Some(true),
                restored: None,
            })
        );
        assert_eq!(decode(r#"{"op":"news"}"#).expect("other"), Event::Other);
        assert_eq!(
            decode(r#"{ "op":"message", "all":true, "from":"x", "data":"y" }"#).expect("spaced"),
            Event::Delivery { target: Target::All, position: None, data: "y" }
        );
        assert!(decode("[]").is_err());
        assert!(decode(r#"{"op":"message","from":"x","data":1}"#).is_err());
    }
}
