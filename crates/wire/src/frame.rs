//! WebSocket frames, RFC 6455 section 5, without extensions.
//!
//! Reading is incremental and in place: [`MessageReader`] is fed whatever a read returned and hands out whole messages
//! that borrow from it, so an idle connection owns no buffer at all.

use std::str;

/// Which end of the connection reads; a client's frames are masked, a server's are not (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads what clients send: every frame must be masked.
    Server,
    /// Reads what a server sends: no frame may be masked.
    Client,
}

/// One whole message or control frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message, all fragments joined, valid UTF-8.
    Text(&'a str),
    /// A binary message, all fragments joined.
    Binary(&'a [u8]),
    /// A ping, to be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The other side closes: status code (absent in an empty close frame) and reason.
    Close(Option<u16>, &'a str),
}

/// Why a byte stream is not WebSocket, or not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame that RFC 6455 forbids.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A message above the reader's limit.
    #[error("message is larger than {limit} bytes")]
    TooBig {
        /// The limit, in bytes of payload.
        limit: usize,
    },
}

impl FrameError {
    /// The close code that tells the peer (section 7.4.1).
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::Utf8 => 1007,
            Self::TooBig { .. } => 1009,
        }
    }
}

/// Joins bytes into messages, in order, holding only what is incomplete.
#[derive(Debug)]
pub struct MessageReader {
    role: Role,
    max_message: usize,
    /// The start of a frame whose rest has not come yet.
    partial: Vec<u8>,
    /// Opcode and payload of a fragmented message so far.
    fragments: Option<(u8, Vec<u8>)>,
}

impl MessageReader {
    /// A reader that refuses messages of more than `max_message` bytes.
    #[must_use]
    pub fn new(role: Role, max_message: usize) -> Self {
        Self { role, max_message, partial: Vec::new(), fragments: None }
    }

    /// Reads `input` (unmasking it in place) and calls `each` for every message that is now whole.
    ///
    /// `each` returns false to stop: what follows a close frame is not read.
    ///
    /// # Errors
    /// The connection must be failed with [`FrameError::close_code`]; messages before the error were handed out.
    pub fn read(
        &mut self,
        input: &mut [u8],
        mut each: impl FnMut(Message<'_>) -> bool,
    ) -> Result<(), FrameError> {
        if self.partial.is_empty() {
            let used = self.read_frames(input, &mut each)?;
            self.partial.extend_from_slice(&input[used..]);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(input);
        let used = self.read_frames(&mut joined, &mut each)?;
        if used < joined.len() {
            joined.drain(..used);
            self.partial = joined;
        }
        Ok(())
    }

    /// Hands out every whole frame at the start of `input`; returns how many bytes they took.
    fn read_frames(
        &mut self,
        input: &mut [u8],
        each: &mut impl FnMut(Message<'_>) -> bool,
    ) -> Result<usize, FrameError> {
        let mut used = 0;
        while let Some(header) = Header::parse(&input[used..], self.role, self.max_message)? {
            let start = used + header.len;
            let Some(payload) = input.get_mut(start..start + header.payload) else { break };
            if let Some(key) = header.mask {
                mask(payload, key);
            }
            used = start + header.payload;
            if !self.take(&header, payload, each)? {
                return Ok(input.len());
            }
        }
        Ok(used)
    }

    fn take(
        &mut self,
        header: &Header,
        payload: &[u8],
        each: &mut impl FnMut(Message<'_>) -> bool,
    ) -> Result<bool, FrameError> {
        match (header.opcode, header.fin, &mut self.fragments) {
            (opcode::TEXT | opcode::BINARY, _, Some(_)) => {
                Err(FrameError::Protocol("a new message inside a fragmented one"))
            }
            (opcode::TEXT | opcode::BINARY, true, None) => Ok(each(data(header.opcode, payload)?)),
            (opcode::TEXT | opcode::BINARY, false, none) => {
                *none = Some((header.opcode, payload.to_vec()));
                Ok(true)
            }
            (opcode::CONTINUATION, _, None) => Err(FrameError::Protocol("a continuation of nothing")),
            (opcode::CONTINUATION, fin, Some((_, joined))) => {
                if joined.len() + payload.len() > self.max_message {
                    return Err(FrameError::TooBig { limit: self.max_message });
                }
                joined.extend_from_slice(payload);
                if !fin {
                    return Ok(true);
                }
                let (opcode, joined) = self.fragments.take().expect("matched as present");
                Ok(each(data(opcode, &joined)?))
            }
            (opcode::PING, ..) => Ok(each(Message::Ping(payload))),
            (opcode::PONG, ..) => Ok(each(Message::Pong(payload))),
            (opcode::CLOSE, ..) => {
                let (code, reason) = close(payload)?;
                each(Message::Close(code, reason));
                Ok(false)
            }
            _ => unreachable!("the header's parser knows no other opcode"),
        }
    }
}

/// Frame types (section 5.2).
pub mod opcode {
    /// The next part of a fragmented message.
    pub const CONTINUATION: u8 = 0;
    /// UTF-8 text.
    pub const TEXT: u8 = 1;
    /// Bytes.
    pub const BINARY: u8 = 2;
    /// The end of the connection.
    pub const CLOSE: u8 = 8;
    /// A heartbeat that asks.
    pub const PING: u8 = 9;
    /// A heartbeat that answers.
    pub const PONG: u8 = 10;
}

/// Appends one unfragmented, unmasked frame: what a server sends.
pub fn write_server(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    write_header(out, opcode, payload.len(), 0);
    out.extend_from_slice(payload);
}

/// Appends one unfragmented frame masked with `key`: what a client sends.
pub fn write_client(out: &mut Vec<u8>, opcode: u8, payload: &[u8], key: [u8; 4]) {
    out.reserve(MAX_HEADER + payload.len());
    write_header(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[start..], key);
}

/// The payload of a close frame: code, then a reason cut to what a control frame may hold.
#[must_use]
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    payload
}

/// Opcode, a length of 64 bits and the key of the mask (section 5.2).
const MAX_HEADER: usize = 2 + 8 + 4;

/// The most a control frame may carry (section 5.5).
const MAX_CONTROL: usize = 125;

struct Header {
    fin: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    /// Bytes of the header itself.
    len: usize,
    /// Bytes of payload after it.
    payload: usize,
}

impl Header {
    /// The header at the start of `bytes`, or `None` when more bytes are needed.
    fn parse(bytes: &[u8], role: Role, max_message: usize) -> Result<Option<Self>, FrameError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(FrameError::Protocol("a reserved bit is set"));
        }
        if matches!(opcode, 3..=7 | 11..=15) {
            return Err(FrameError::Protocol("an unknown opcode"));
        }
        let masked = second & 0x80 != 0;
        match (role, masked) {
            (Role::Server, false) => return Err(FrameError::Protocol("an unmasked client frame")),
            (Role::Client, true) => return Err(FrameError::Protocol("a masked server frame")),
            _ => {}
        }
        let (payload, length_bytes) = match (second & 0x7f, rest) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 2),
            (127, [a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 8),
            (126 | 127, _) => return Ok(None),
            (short, _) => (u64::from(short), 0),
        };
        if opcode >= opcode::CLOSE && (!fin || payload > MAX_CONTROL as u64) {
            return Err(FrameError::Protocol("a fragmented or oversized control frame"));
        }
        let payload = usize::try_from(payload)
            .ok()
            .filter(|&len| len <= max_message.max(MAX_CONTROL))
            .ok_or(FrameError::TooBig { limit: max_message })?;
        let mask = match (masked, rest.get(length_bytes..)) {
            (false, _) => None,
            (true, Some([a, b, c, d, ..])) => Some([*a, *b, *c, *d]),
            (true, _) => return Ok(None),
        };
        let len = 2 + length_bytes + if masked { 4 } else { 0 };
        Ok(Some(Self { fin, opcode, mask, len, payload }))
    }
}

fn data(opcode: u8, payload: &[u8]) -> Result<Message<'_>, FrameError> {
    match opcode {
        opcode::TEXT => str::from_utf8(payload).map(Message::Text).map_err(|_| FrameError::Utf8),
        _ => Ok(Message::Binary(payload)),
    }
}

fn close(payload: &[u8]) -> Result<(Option<u16>, &str), FrameError> {
    match payload {
        [] => Ok((None, "")),
        [_] => Err(FrameError::Protocol("a close code of one byte")),
        [a, b, reason @ ..] => match u16::from_be_bytes([*a, *b]) {
            code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => {
                Ok((Some(code), str::from_utf8(reason).map_err(|_| FrameError::Utf8)?))
            }
            _ => Err(FrameError::Protocol("a close code that may not be sent")),
        },
    }
}

fn write_header(out: &mut Vec<u8>, opcode: u8, len: usize, mask_bit: u8) {
    out.push(0x80 | opcode);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short), _) if short < 126 => out.push(mask_bit | short),
        (_, Ok(medium)) => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

fn mask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide_key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide_key).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::{self, Message as Theirs, WebSocket, protocol};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Owned {
        Text(String),
        Binary(Vec<u8>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Option<u16>, String),
    }

    impl From<Message<'_>> for Owned {
        fn from(message: Message<'_>) -> Self {
            match message {
                Message::Text(text) => Self::Text(text.into()),
                Message::Binary(bytes) => Self::Binary(bytes.into()),
                Message::Ping(bytes) => Self::Ping(bytes.into()),
                Message::Pong(bytes) => Self::Pong(bytes.into()),
                Message::Close(code, reason) => Self::Close(code, reason.into()),
            }
        }
    }

    /// Reads `bytes` in pieces of `step`.
    fn read(role: Role, bytes: &[u8], step: usize) -> (Vec<Owned>, Result<(), FrameError>) {
        let mut reader = MessageReader::new(role, 1 << 16);
        let mut seen = Vec::new();
        for piece in bytes.chunks(step.max(1)) {
            let result = reader.read(&mut piece.to_vec(), |message| {
                seen.push(Owned::from(message));
                true
            });
            if result.is_err() {
                return (seen, result);
            }
        }
        (seen, Ok(()))
    }

    fn written(messages: &[Owned], key: Option<[u8; 4]>) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            let (opcode, payload) = match message {
                Owned::Text(text) => (opcode::TEXT, text.clone().into_bytes()),
                Owned::Binary(bytes) => (opcode::BINARY, bytes.clone()),
                Owned::Ping(bytes) => (opcode::PING, bytes.clone()),
                Owned::Pong(bytes) => (opcode::PONG, bytes.clone()),
                Owned::Close(code, reason) => {
                    (opcode::CLOSE, code.map_or(Vec::new(), |code| close_payload(code, reason)))
                }
            };
            match key {
                Some(key) => write_client(&mut out, opcode, &payload, key),
                None => write_server(&mut out, opcode, &payload),
            }
        }
        out
    }

    fn any_message() -> impl Strategy<Value = Owned> {
        prop_oneof![
            ".{0,300}".prop_map(Owned::Text),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Owned::Binary),
            prop::collection::vec(any::<u8>(), 0..125).prop_map(Owned::Ping),
            prop::collection::vec(any::<u8>(), 0..125).prop_map(Owned::Pong),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            messages in prop::collection::vec(any_message(), 0..8),
            key in any::<Option<[u8; 4]>>(),
            step in 1_usize..400,
        ) {
            let role = if key.is_some() { Role::Server } else { Role::Client };
            prop_assert_eq!(read(role, &written(&messages, key), step), (messages, Ok(())));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..600), step in 1_usize..50, server: bool,
        ) {
            let role = if server { Role::Server } else { Role::Client };
            let _ = read(role, &bytes, step);
        }

        /// Whatever we accept as text or binary, an independent implementation reads the same from the same bytes.
        #[test]
        fn tungstenite_reads_what_we_write(messages in prop::collection::vec(any_message(), 0..8)) {
            let bytes = written(&messages, None);
            let mut peer = WebSocket::from_raw_socket(
                Duplex(std::io::Cursor::new(bytes)), protocol::Role::Client, None);
            for message in messages {
                let theirs = match peer.read().expect("a valid frame") {
                    Theirs::Text(text) => Owned::Text(text.to_string()),
                    Theirs::Binary(bytes) => Owned::Binary(bytes.to_vec()),
                    Theirs::Ping(bytes) => Owned::Ping(bytes.to_vec()),
                    Theirs::Pong(bytes) => Owned::Pong(bytes.to_vec()),
                    other => panic!("unexpected {other}"),
                };
                prop_assert_eq!(theirs, message);
            }
        }

        #[test]
        fn we_read_what_tungstenite_writes(texts in prop::collection::vec(".{0,300}", 0..8)) {
            let mut peer = WebSocket::from_raw_socket(
                Duplex(std::io::Cursor::new(Vec::new())), protocol::Role::Client, None);
            for text in &texts {
                peer.send(Theirs::text(text.clone())).expect("a vector takes everything");
            }
            let expected: Vec<_> = texts.into_iter().map(Owned::Text).collect();
            prop_assert_eq!(read(Role::Server, peer.get_ref().0.get_ref(), 64), (expected, Ok(())));
        }
    }

    /// A stream that reads from and writes to one vector.
    struct Duplex(std::io::Cursor<Vec<u8>>);

    impl std::io::Read for Duplex {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buf)
        }
    }

    impl std::io::Write for Duplex {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.write(buf)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn check_error(bytes: &[u8], code: u16) {
        let (_, result) = read(Role::Client, bytes, bytes.len());
        assert_eq!(result.map_err(FrameError::close_code), Err(code), "{bytes:02x?}");
    }

    #[test]
    fn forbidden_frames_are_refused_with_their_code() {
        check_error(&[0xc1, 0], 1002);
        check_error(&[0x83, 0], 1002);
        check_error(&[0x81, 0x80, 0, 0, 0, 0], 1002);
        check_error(&[0x80, 0], 1002);
        check_error(&[0x01, 0, 0x81, 0], 1002);
        check_error(&[0x09, 0], 1002);
        check_error(&[0x89, 126, 0, 126], 1002);
        check_error(&[0x88, 1, 3], 1002);
        check_error(&[0x88, 2, 0x03, 0xed], 1002);
        check_error(&[0x81, 1, 0xff], 1007);
        check_error(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 1], 1009);
        let (_, unmasked) = read(Role::Server, &[0x81, 0], 2);
        assert_eq!(unmasked, Err(FrameError::Protocol("an unmasked client frame")));
    }

    #[test]
    fn fragments_are_joined_around_a_ping() {
        let bytes = [0x01, 1, b'a', 0x89, 0, 0x00, 1, b'b', 0x80, 1, b'c'];
        let expected = vec![Owned::Ping(vec![]), Owned::Text("abc".into())];
        assert_eq!(read(Role::Client, &bytes, 3), (expected, Ok(())));
    }

    #[test]
    fn nothing_is_read_after_a_close() {
        let mut reader = MessageReader::new(Role::Client, 100);
        let mut bytes = written(&[Owned::Close(Some(1012), "restart".into())], None);
        bytes.extend(written(&[Owned::Text("late".into())], None));
        let mut seen = Vec::new();
        reader
            .read(&mut bytes, |message| {
                seen.push(Owned::from(message));
                true
            })
            .expect("valid");
        assert_eq!(seen, [Owned::Close(Some(1012), "restart".into())]);
    }

    #[test]
    fn tungstenite_agrees_on_the_close_payload() {
        let mut bytes = Vec::new();
        write_server(&mut bytes, opcode::CLOSE, &close_payload(1013, "slow"));
        let mut peer =
            WebSocket::from_raw_socket(Duplex(std::io::Cursor::new(bytes)), protocol::Role::Client, None);
        let Ok(tungstenite::Message::Close(Some(frame))) = peer.read() else { panic!("not a close frame") };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1013, "slow"));
    }
}
