//! Packets of Engine.IO v4 over WebSocket, and of Socket.IO v5 inside of them: one text frame each.

use std::fmt::Write as _;

/// An Engine.IO packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine<'a> {
    /// First from the server, with JSON.
    Open(&'a str),
    /// The end of the transport.
    Close,
    /// From the server, with an optional text that comes back.
    Ping(&'a str),
    /// The answer.
    Pong(&'a str),
    /// A packet of Socket.IO.
    Message(Packet<'a>),
    /// The end of a change of transport.
    Upgrade,
    /// Nothing.
    Noop,
}

/// A Socket.IO packet; its attachments follow as binary frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is.
    pub kind: Kind,
    /// Binary frames that follow.
    pub attachments: u32,
    /// `/` where none is named.
    pub namespace: &'a str,
    /// Of an event: the ack that is asked for; of an ack: which one it is.
    pub id: Option<u64>,
    /// JSON, as it stands; may be empty.
    pub data: &'a str,
}

/// The kinds of Socket.IO packets, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To a namespace, and the server's yes.
    Connect,
    /// From a namespace.
    Disconnect,
    /// An array: name and arguments.
    Event,
    /// An array: arguments.
    Ack,
    /// The server's no.
    ConnectError,
    /// An event with attachments.
    BinaryEvent,
    /// An ack with attachments.
    BinaryAck,
}

/// Why a text is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Its first digit names no kind of Engine.IO packet.
    #[error("it begins with no kind of Engine.IO packet")]
    Engine,
    /// Its second digit names no kind of Socket.IO packet.
    #[error("it has no kind of Socket.IO packet")]
    Kind,
    /// Binary packets need a number of attachments and a dash, others have none.
    #[error("its number of attachments is missing or wrong")]
    Attachments,
    /// A namespace ends with a comma.
    #[error("its namespace does not end")]
    Namespace,
    /// More than 64 bits, or missing in an ack.
    #[error("its id is missing or wrong")]
    Id,
    /// Not what this kind carries.
    #[error("its data is not what this kind of packet carries")]
    Data,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Connect,
        Self::Disconnect,
        Self::Event,
        Self::Ack,
        Self::ConnectError,
        Self::BinaryEvent,
        Self::BinaryAck,
    ];

    fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }

    /// Whether `data` has the form that this kind carries; its inside is not read.
    fn carries(self, data: &str) -> bool {
        let is = |open: char, close: char| data.starts_with(open) && data.ends_with(close) && data.len() > 1;
        match self {
            Self::Connect => data.is_empty() || is('{', '}'),
            Self::Disconnect => data.is_empty(),
            Self::ConnectError => is('{', '}') || is('"', '"'),
            Self::Event | Self::BinaryEvent => {
                is('[', ']')
                    && data[1..]
                        .trim_start()
                        .starts_with(|first: char| first == '"' || first.is_ascii_digit())
            }
            Self::Ack | Self::BinaryAck => is('[', ']'),
        }
    }
}

impl<'a> Engine<'a> {
    /// Reads a text frame.
    ///
    /// # Errors
    /// It is no packet.
    pub fn parse(text: &'a str) -> Result<Self, PacketError> {
        let rest = text.get(1..).ok_or(PacketError::Engine)?;
        match text.as_bytes()[0] {
            b'0' => Ok(Self::Open(rest)),
            b'1' => Ok(Self::Close),
            b'2' => Ok(Self::Ping(rest)),
            b'3' => Ok(Self::Pong(rest)),
            b'4' => Packet::parse(rest).map(Self::Message),
            b'5' => Ok(Self::Upgrade),
            b'6' => Ok(Self::Noop),
            _ => Err(PacketError::Engine),
        }
    }

    /// Appends its text.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Open(json) => write_all(out, '0', json),
            Self::Close => out.push('1'),
            Self::Ping(probe) => write_all(out, '2', probe),
            Self::Pong(probe) => write_all(out, '3', probe),
            Self::Message(packet) => {
                out.push('4');
                packet.write(out);
            }
            Self::Upgrade => out.push('5'),
            Self::Noop => out.push('6'),
        }
    }
}

fn write_all(out: &mut String, kind: char, rest: &str) {
    out.push(kind);
    out.push_str(rest);
}

impl<'a> Packet<'a> {
    fn parse(text: &'a str) -> Result<Self, PacketError> {
        let number = text.bytes().next().map(|digit| usize::from(digit.wrapping_sub(b'0')));
        let kind = *number.and_then(|number| Kind::ALL.get(number)).ok_or(PacketError::Kind)?;
        let mut rest = &text[1..];
        let mut attachments = 0;
        if kind.is_binary() {
            let (count, behind) = rest.split_once('-').ok_or(PacketError::Attachments)?;
            attachments =
                digits(count).and_then(|count| u32::try_from(count).ok()).ok_or(PacketError::Attachments)?;
            rest = behind;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = match rest.split_once(',') {
                Some(both) => both,
                // Without data behind it the comma may be missing.
                None if !rest.contains(['[', '{', '"']) => (rest, ""),
                None => return Err(PacketError::Namespace),
            };
        }
        let len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, data) = rest.split_at(len);
        let id = match id {
            "" if matches!(kind, Kind::Ack | Kind::BinaryAck) => return Err(PacketError::Id),
            "" => None,
            id => Some(digits(id).ok_or(PacketError::Id)?),
        };
        if !kind.carries(data) {
            return Err(PacketError::Data);
        }
        Ok(Self { kind, attachments, namespace, id, data })
    }

    fn write(&self, out: &mut String) {
        let Self { kind, attachments, namespace, id, data } = *self;
        let _ = write!(out, "{}", kind as u8);
        if kind.is_binary() {
            let _ = write!(out, "{attachments}-");
        }
        if namespace != "/" {
            out.push_str(namespace);
            out.push(',');
        }
        if let Some(id) = id {
            let _ = write!(out, "{id}");
        }
        out.push_str(data);
    }
}

fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: Kind, attachments: u32, namespace: &str, id: Option<u64>, data: &str) -> String {
        let mut text = String::new();
        Engine::Message(Packet { kind, attachments, namespace, id, data }).write(&mut text);
        text
    }

    #[test]
    fn captured_frames_are_read_and_written() {
        for text in [
            r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#,
            "1",
            "2",
            "2probe",
            "3",
            "3probe",
            "5",
            "6",
            "40",
            r#"40{"token":"x"}"#,
            "40/admin,",
            r#"40/admin,{"token":"123"}"#,
            "41",
            "41/admin,",
            r#"42["foo"]"#,
            r#"42/admin,["bar"]"#,
            r#"4212["foo"]"#,
            r#"42/admin,456["project:delete",123]"#,
            r#"4312["bar"]"#,
            "43/admin,456[]",
            r#"44{"message":"Not authorized"}"#,
            r#"451-["baz",{"_placeholder":true,"num":0}]"#,
            r#"452-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            r#"461-15["bar",{"_placeholder":true,"num":0}]"#,
        ] {
            let mut written = String::new();
            Engine::parse(text).expect(text).write(&mut written);
            assert_eq!(written, text);
        }
        let admin = Packet { kind: Kind::Connect, attachments: 0, namespace: "/admin", id: None, data: "" };
        assert_eq!(Engine::parse("40/admin"), Ok(Engine::Message(admin)));
    }

    #[test]
    fn what_is_none_is_told() {
        let check = |text: &str, error: PacketError| assert_eq!(Engine::parse(text), Err(error), "{text}");
        for text in ["", "7", "x", "é"] {
            check(text, PacketError::Engine);
        }
        check("4", PacketError::Kind);
        check("47[]", PacketError::Kind);
        for text in [r#"45["x"]"#, r#"45x-["x"]"#, r#"45-1-["x"]"#, r#"4599999999999-["x"]"#] {
            check(text, PacketError::Attachments);
        }
        check(r#"42/admin["x"]"#, PacketError::Namespace);
        check("43[]", PacketError::Id);
        check(r#"4299999999999999999999["x"]"#, PacketError::Id);
        for text in ["42", "42{}", "42[]", "42[", "42[{}]", "40[]", "41{}", "44", "431{}", "40{"] {
            check(text, PacketError::Data);
        }
    }

    proptest! {
        #[test]
        fn packets_come_back(
            kind in 0_usize..7,
            attachments in any::<u32>(),
            namespace in "/|/[a-z]{1,8}",
            id in any::<Option<u64>>(),
        ) {
            let kind = Kind::ALL[kind];
            let data = match kind {
                Kind::Connect | Kind::ConnectError => r#"{"a":"b"}"#,
                Kind::Disconnect => "",
                _ => r#"["é",{"a":[1]}]"#,
            };
            let attachments = if kind.is_binary() { attachments } else { 0 };
            let id = if matches!(kind, Kind::Ack | Kind::BinaryAck) { Some(id.unwrap_or(1)) } else { id };
            let text = message(kind, attachments, &namespace, id, data);
            let packet = Packet { kind, attachments, namespace: &namespace, id, data };
            prop_assert_eq!(Engine::parse(&text), Ok(Engine::Message(packet)));
        }

        #[test]
        fn garbage_is_no_reason_to_panic(text in any::<String>(), like in "4[0-9]{0,3}-?(/é?,?)?[0-9]{0,22}[\\[{\"é]{0,3}") {
            let _ = Engine::parse(&text);
            let _ = Engine::parse(&like);
        }
    }
}
