//! The packets of Engine.IO v4 and Socket.IO v5, borrowed from their frame.
//!
//! Sources: the documents "Engine.IO protocol" (revision 4) and "Socket.IO protocol" (revision 5); what they leave open
//! is as in socket.io-parser 4.2, the reference decoder. The JSON of a packet is looked at from outside (which brackets
//! it has, and whether an event has a name), never parsed: that is for whoever knows what to expect in it.

use std::fmt::Write as _;

/// One text frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine<'a> {
    /// The server's first frame: JSON with `sid`, `pingInterval`, `pingTimeout` and `maxPayload`.
    Open(&'a str),
    /// The connection is over.
    Close,
    /// The server's question whether the client is there; with text, a probe.
    Ping(&'a str),
    /// The answer, with the same text.
    Pong(&'a str),
    /// What the connection is for.
    Message(Packet<'a>),
    /// From polling to WebSocket, which a connection that began as a WebSocket has no use for.
    Upgrade,
    /// Nothing.
    Noop,
}

/// One Socket.IO packet, without its attachments: they are the binary frames that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
    /// How many binary frames follow: at least one for kinds that have them, 0 for others.
    pub attachments: u32,
    /// Begins with a slash and has no comma; `/` where the packet names none.
    pub namespace: &'a str,
    /// Of the event to be acknowledged, or of the one that is.
    pub id: Option<u64>,
    /// Raw JSON of the shape that the kind has; empty where there is none.
    pub data: &'a str,
}

/// The kinds of [`Packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Into a namespace: an object, or nothing.
    Connect,
    /// Out of it: nothing.
    Disconnect,
    /// An array whose first element is the event's name.
    Event,
    /// An array.
    Ack,
    /// The refusal of a connect: an object or a string.
    ConnectError,
    /// An event with attachments, in whose places the array has `{"_placeholder":true,"num":N}`.
    BinaryEvent,
    /// An ack with attachments, likewise.
    BinaryAck,
}

/// Why a frame is none of these protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// A frame begins with the type of its Engine.IO packet.
    #[error("an Engine.IO packet begins with a digit from 0 to 6")]
    EngineType,
    /// A close, upgrade or noop has nothing behind its type.
    #[error("something follows an Engine.IO packet that is complete")]
    Surplus,
    /// A Socket.IO packet begins with its type.
    #[error("a Socket.IO packet begins with a digit from 0 to 6")]
    Type,
    /// Binary kinds say how many attachments they have.
    #[error("a binary packet has the number of its attachments, not zero, and a hyphen behind its type")]
    Attachments,
    /// Nothing ends the namespace.
    #[error("a namespace ends with a comma")]
    Namespace,
    /// More than 64 bits.
    #[error("the id of a packet is too large")]
    Id,
    /// The data is not of the kind's shape.
    #[error("the data is not what a packet of its type has")]
    Data,
}

/// The names that an event can't have: the libraries call their own events so.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

impl<'a> Engine<'a> {
    /// Reads a text frame.
    ///
    /// # Errors
    /// It is not of these protocols.
    pub fn parse(text: &'a str) -> Result<Self, PacketError> {
        let kind = text.bytes().next().ok_or(PacketError::EngineType)?;
        // A byte that is no digit may begin a longer character: it is not cut off before it is known.
        let rest = text.get(1..).ok_or(PacketError::EngineType)?;
        let whole = |packet| if rest.is_empty() { Ok(packet) } else { Err(PacketError::Surplus) };
        match kind {
            b'0' => Ok(Self::Open(rest)),
            b'1' => whole(Self::Close),
            b'2' => Ok(Self::Ping(rest)),
            b'3' => Ok(Self::Pong(rest)),
            b'4' => Packet::parse(rest).map(Self::Message),
            b'5' => whole(Self::Upgrade),
            b'6' => whole(Self::Noop),
            _ => Err(PacketError::EngineType),
        }
    }

    /// Appends the text of the frame.
    pub fn write(&self, out: &mut String) {
        let (kind, text) = match self {
            Self::Open(json) => ('0', *json),
            Self::Close => ('1', ""),
            Self::Ping(text) => ('2', *text),
            Self::Pong(text) => ('3', *text),
            Self::Message(packet) => {
                out.push('4');
                return packet.write(out);
            }
            Self::Upgrade => ('5', ""),
            Self::Noop => ('6', ""),
        };
        out.push(kind);
        out.push_str(text);
    }
}

impl<'a> Packet<'a> {
    fn parse(text: &'a str) -> Result<Self, PacketError> {
        let kind = text.bytes().next().and_then(Kind::from_digit).ok_or(PacketError::Type)?;
        let rest = &text[1..];
        let (attachments, rest) = if kind.is_binary() {
            let (digits, rest) = digits(rest);
            let rest = rest.strip_prefix('-').ok_or(PacketError::Attachments)?;
            let attachments = digits.parse().ok().filter(|attachments| *attachments > 0);
            (attachments.ok_or(PacketError::Attachments)?, rest)
        } else {
            (0, rest)
        };
        let (namespace, rest) = if rest.starts_with('/') {
            rest.split_once(',').ok_or(PacketError::Namespace)?
        } else {
            ("/", rest)
        };
        let (id, data) = match digits(rest) {
            ("", data) => (None, data),
            (id, data) => (Some(id.parse().map_err(|_| PacketError::Id)?), data),
        };
        if !kind.takes(data) {
            return Err(PacketError::Data);
        }
        Ok(Self { kind, attachments, namespace, id, data })
    }

    fn write(&self, out: &mut String) {
        out.push(self.kind.digit());
        if self.kind.is_binary() {
            // Writing to a string does not fail, here and below.
            let _ = write!(out, "{}-", self.attachments);
        }
        if self.namespace != "/" {
            out.push_str(self.namespace);
            out.push(',');
        }
        if let Some(id) = self.id {
            let _ = write!(out, "{id}");
        }
        out.push_str(self.data);
    }
}

impl Kind {
    fn from_digit(digit: u8) -> Option<Self> {
        Some(match digit {
            b'0' => Self::Connect,
            b'1' => Self::Disconnect,
            b'2' => Self::Event,
            b'3' => Self::Ack,
            b'4' => Self::ConnectError,
            b'5' => Self::BinaryEvent,
            b'6' => Self::BinaryAck,
            _ => return None,
        })
    }

    fn digit(self) -> char {
        match self {
            Self::Connect => '0',
            Self::Disconnect => '1',
            Self::Event => '2',
            Self::Ack => '3',
            Self::ConnectError => '4',
            Self::BinaryEvent => '5',
            Self::BinaryAck => '6',
        }
    }

    /// Whether attachments follow.
    #[must_use]
    pub fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }

    /// Whether `data` looks like what this kind has.
    fn takes(self, data: &str) -> bool {
        match self {
            Self::Connect => data.is_empty() || between(data, '{', '}').is_some(),
            Self::Disconnect => data.is_empty(),
            Self::ConnectError => between(data, '{', '}').or_else(|| between(data, '"', '"')).is_some(),
            Self::Event | Self::BinaryEvent => between(data, '[', ']').is_some_and(has_name),
            Self::Ack | Self::BinaryAck => between(data, '[', ']').is_some(),
        }
    }
}

/// The digits that `text` begins with, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// What is between the first and the last character of `json`, if they are these.
fn between(json: &str, open: char, close: char) -> Option<&str> {
    json.trim_matches(is_space).strip_prefix(open)?.strip_suffix(close)
}

/// Whether the first of `elements` can be the name of an event: a string that is not reserved, or a number.
fn has_name(elements: &str) -> bool {
    let elements = elements.trim_start_matches(is_space);
    let rest = if let Some(rest) = elements.strip_prefix('"') {
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        match end {
            Some(end) if !RESERVED.contains(&&rest[..end]) => &rest[end + 1..],
            _ => return false,
        }
    } else {
        let number = elements.strip_prefix('-').unwrap_or(elements);
        match digits(number) {
            ("", _) => return false,
            // The reader finds out about fractions.
            (_, rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit() || ".eE+-".contains(c)),
        }
    };
    let rest = rest.trim_start_matches(is_space);
    rest.is_empty() || rest.starts_with(',')
}

/// Whether JSON has it between its words.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(kind: Kind, namespace: &'static str, id: Option<u64>, data: &'static str) -> Engine<'static> {
        let attachments = u32::try_from(data.matches("_placeholder").count()).expect("few");
        Engine::Message(Packet { kind, attachments, namespace, id, data })
    }

    /// The examples of the protocols' documents, and what socket.io 4.8 was seen to send.
    #[test]
    fn the_documents_examples() {
        let check = |text: &str, expected: Engine<'_>| {
            assert_eq!(Engine::parse(text), Ok(expected), "{text}");
            let mut written = String::new();
            expected.write(&mut written);
            assert_eq!(written, text);
        };
        let open = r#"{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        check(&format!("0{open}"), Engine::Open(open));
        check("1", Engine::Close);
        check("2", Engine::Ping(""));
        check("2probe", Engine::Ping("probe"));
        check("3", Engine::Pong(""));
        check("3probe", Engine::Pong("probe"));
        check("5", Engine::Upgrade);
        check("6", Engine::Noop);

        check("40", packet(Kind::Connect, "/", None, ""));
        check(r#"40{"token":"123"}"#, packet(Kind::Connect, "/", None, r#"{"token":"123"}"#));
        check(r#"40{"sid":"wZX3oN0bSVIhsaknAAAI"}"#, {
            packet(Kind::Connect, "/", None, r#"{"sid":"wZX3oN0bSVIhsaknAAAI"}"#)
        });
        check("40/admin,", packet(Kind::Connect, "/admin", None, ""));
        check(r#"40/admin,{"token":"123"}"#, packet(Kind::Connect, "/admin", None, r#"{"token":"123"}"#));
        check(r#"44{"message":"Not authorized"}"#, {
            packet(Kind::ConnectError, "/", None, r#"{"message":"Not authorized"}"#)
        });
        check(r#"44/x,{"message":"Invalid namespace"}"#, {
            packet(Kind::ConnectError, "/x", None, r#"{"message":"Invalid namespace"}"#)
        });
        check(r#"44"no""#, packet(Kind::ConnectError, "/", None, r#""no""#));
        check("41", packet(Kind::Disconnect, "/", None, ""));
        check("41/admin,", packet(Kind::Disconnect, "/admin", None, ""));
        check(r#"42["foo"]"#, packet(Kind::Event, "/", None, r#"["foo"]"#));
        check(r#"42/admin,["bar"]"#, packet(Kind::Event, "/admin", None, r#"["bar"]"#));
        check(r#"4212["foo"]"#, packet(Kind::Event, "/", Some(12), r#"["foo"]"#));
        check("42[7,true]", packet(Kind::Event, "/", None, "[7,true]"));
        check("43/admin,13[]", packet(Kind::Ack, "/admin", Some(13), "[]"));
        check(r#"4312[{"ok":true}]"#, packet(Kind::Ack, "/", Some(12), r#"[{"ok":true}]"#));
        let baz = r#"["baz",{"_placeholder":true,"num":0}]"#;
        check(&format!("451-{baz}"), packet(Kind::BinaryEvent, "/", None, baz));
        let two = r#"["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
        check(&format!("452-/admin,{two}"), packet(Kind::BinaryEvent, "/admin", None, two));
        check(&format!("461-15{baz}"), packet(Kind::BinaryAck, "/", Some(15), baz));
        check(&format!("461-/admin,456{baz}"), packet(Kind::BinaryAck, "/admin", Some(456), baz));
    }

    #[test]
    fn what_the_protocol_does_not_have_is_refused() {
        let check = |text: &str, expected| assert_eq!(Engine::parse(text), Err(expected), "{text}");
        for text in ["", "7", "x", "é", "🦀"] {
            check(text, PacketError::EngineType);
        }
        for text in ["1x", "52", "6 "] {
            check(text, PacketError::Surplus);
        }
        for text in ["4", "47", "4{}", "4é"] {
            check(text, PacketError::Type);
        }
        for text in [
            "45",
            r#"45["a"]"#,
            r#"45-["a"]"#,
            r#"451["a"]"#,
            r#"45x-["a"]"#,
            r#"450-["a"]"#,
            "459999999999-[1]",
        ] {
            check(text, PacketError::Attachments);
        }
        check("40/admin", PacketError::Namespace);
        check(r#"42/admin["a"]"#, PacketError::Namespace);
        check(r#"4299999999999999999999["a"]"#, PacketError::Id);
        for text in
            ["40[]", r#"40"x""#, "40{", "41{}", "44", "44[]", r#"44""#, "442", "42", "421", "42{}", "42[]"]
        {
            check(text, PacketError::Data);
        }
        for text in
            ["42[", "42[{}]", "42[null]", r#"42["a]"#, r#"42["a"1]"#, r#"42["a\"]"#, "42[-]", "42[1 2]"]
        {
            check(text, PacketError::Data);
        }
        for text in [r#"42["connect"]"#, r#"42["disconnecting",1]"#, "43", "431", "431{}", r#"42 ["a"] x"#] {
            check(text, PacketError::Data);
        }
        // What JSON allows between its words.
        assert!(Engine::parse("42 [ \"a\" , 1 ]\n").is_ok());
        assert!(Engine::parse(r#"42["a\\","\""]"#).is_ok());
        assert!(Engine::parse("42[-1.5e+3]").is_ok());
    }

    fn data(kind: Kind) -> BoxedStrategy<String> {
        let value = prop_oneof![Just("null".to_owned()), ".{0,20}".prop_map(|text| format!("{text:?}"))];
        match kind {
            Kind::Connect => {
                prop_oneof![Just(String::new()), value.prop_map(|v| format!("{{\"a\":{v}}}"))].boxed()
            }
            Kind::Disconnect => Just(String::new()).boxed(),
            Kind::ConnectError => value.prop_map(|v| format!("{{\"message\":{v}}}")).boxed(),
            Kind::Event | Kind::BinaryEvent => ("[a-b\"\\\\é ]{0,8}", value)
                .prop_map(|(name, v)| format!("[{},{v}]", serde_json::to_string(&name).expect("a string")))
                .boxed(),
            Kind::Ack | Kind::BinaryAck => value.prop_map(|v| format!("[{v}]")).boxed(),
        }
    }

    proptest! {
        #[test]
        fn a_packet_is_read_as_it_was_written(
            (digit, data) in (b'0'..=b'6').prop_flat_map(|digit| (Just(digit), data(Kind::from_digit(digit).expect("a kind")))),
            attachments in 1..=u32::MAX,
            namespace in "/[a-z0-9é?=/]{0,9}",
            id: Option<u64>,
        ) {
            let kind = Kind::from_digit(digit).expect("a kind");
            let attachments = if kind.is_binary() { attachments } else { 0 };
            let engine = Engine::Message(Packet { kind, attachments, namespace: &namespace, id, data: &data });
            let mut text = String::new();
            engine.write(&mut text);
            prop_assert_eq!(Engine::parse(&text), Ok(engine), "{}", text);
        }

        #[test]
        fn garbage_never_panics(text in "\\PC{0,40}", start in "[0-9]{0,3}", json in "[\\[\\]{}\",\\\\a0é/-]{0,12}") {
            let _ = Engine::parse(&text);
            let _ = Engine::parse(&(start + &json));
            let _ = Engine::parse(&json);
        }
    }
}
