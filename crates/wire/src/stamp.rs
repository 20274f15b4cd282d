//! The mark in every payload by which its delivery is followed.
//!
//! A stamp is ASCII, without quotes or escapes, so that it survives in any text protocol: [`HEADER_LEN`] bytes of
//! fixed-width lower-case hex behind the magic `ws1`, then padding up to the payload's size. The header has a CRC-32 of
//! its own and names length and CRC-32 of the padding, so damage to the padding leaves the message known by name.
//!
//! | field | digits | meaning |
//! |---|---|---|
//! | run | 8 | the run that sent it; others' messages are no one's business |
//! | sender | 8 | session number |
//! | room | 8 | room number; [`Stamp::ALL`] bit set: to all, low bits the worker that counts it |
//! | seq | 8 | the sender's own count in this room, from 0 |
//! | index | 8 | the room's dense count over all senders, from 0 |
//! | previous | 8 | index of the sender's message before this one, [`Stamp::NONE`] for the first |
//! | cause | 8 | index of the last message that the sender had got in the room, [`Stamp::NONE`] for none |
//! | replica | 4 | the sender's replica |
//! | kind | 1 | see [`Kind`] |
//! | intended | 12 | microseconds from the run's start to when it was due |
//! | length | 6 | bytes in all |
//! | padding CRC | 8 | |
//! | header CRC | 8 | of everything before it |

/// Bytes of the shortest payload: a stamp without padding.
pub const HEADER_LEN: usize = 3 + 7 * 8 + 4 + 1 + 12 + 6 + 8 + 8;

/// The longest payload that the length field can name.
pub const MAX_LEN: usize = 0xff_ffff;

const MAGIC: &[u8] = b"ws1";

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// Load: counted and timed.
    Work,
    /// Ends the run for a room through one replica; judged, not timed.
    Fence,
    /// Sent after a member left, to see that it stays away; judged, not timed.
    Farewell,
}

/// One message's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which run.
    pub run: u32,
    /// Session number of the sender.
    pub sender: u32,
    /// Room number, or [`Stamp::ALL`] with a worker number.
    pub room: u32,
    /// The sender's count in this room.
    pub seq: u32,
    /// The room's count.
    pub index: u32,
    /// The sender's message before, as the room's count.
    pub previous: u32,
    /// The last message that the sender had got when it sent this one, as the room's count.
    pub cause: u32,
    /// The sender's replica.
    pub replica: u16,
    /// What it is for.
    pub kind: Kind,
    /// When it was due, in microseconds of the run (48 bits).
    pub intended_us: u64,
}

/// Why a payload's stamp could not be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// No stamp at all: somebody else's message.
    Foreign,
    /// A stamp was there; which message it was can't be told.
    Unreadable,
    /// The header is intact, the padding or the length is not.
    Payload(Stamp),
}

impl Stamp {
    /// Set in `room` for messages to all.
    pub const ALL: u32 = 1 << 31;
    /// `previous` of a sender's first message.
    pub const NONE: u32 = u32::MAX;

    /// Appends the stamp, padded to `size` bytes (at least [`HEADER_LEN`], at most [`MAX_LEN`]).
    pub fn write(&self, size: usize, out: &mut String) {
        let size = size.clamp(HEADER_LEN, MAX_LEN);
        let Self { run, sender, room, seq, index, previous, cause, .. } = *self;
        let mut header = [0; HEADER_LEN];
        let mut rest = &mut header[..];
        rest.split_off_mut(..MAGIC.len()).expect(FITS).copy_from_slice(MAGIC);
        for field in [run, sender, room, seq, index, previous, cause] {
            put_hex(&mut rest, field.into(), 8);
        }
        put_hex(&mut rest, self.replica.into(), 4);
        put_hex(&mut rest, self.kind as u64, 1);
        put_hex(&mut rest, self.intended_us, 12);
        put_hex(&mut rest, size as u64, 6);
        put_hex(&mut rest, padding_crc(size - HEADER_LEN).into(), 8);
        let crc = crc32fast::hash(&header[..HEADER_LEN - 8]);
        put_hex(&mut &mut header[HEADER_LEN - 8..], crc.into(), 8);
        out.reserve(size);
        out.push_str(std::str::from_utf8(&header).expect("hex is ASCII"));
        padding(size - HEADER_LEN).for_each(|part| out.push_str(part));
    }

    /// Appends what a server tells a repeated message by: no other message of its run has the same.
    pub fn write_key(&self, out: &mut String) {
        push_hex(out, self.run);
        for part in [self.room, self.index] {
            out.push('-');
            push_hex(out, part);
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// What is wrong with it, and as much as can still be told.
    pub fn parse(payload: &str) -> Result<Self, Damage> {
        let bytes = payload.as_bytes();
        if !bytes.starts_with(MAGIC) {
            return Err(Damage::Foreign);
        }
        let (header, padding) = bytes.split_at_checked(HEADER_LEN).ok_or(Damage::Unreadable)?;
        let mut fields = Fields(&header[MAGIC.len()..]);
        let stamp = fields.stamp().ok_or(Damage::Unreadable)?;
        let length = fields.next(6).ok_or(Damage::Unreadable)?;
        let padding_crc = fields.next(8).ok_or(Damage::Unreadable)?;
        let header_crc = fields.next(8).ok_or(Damage::Unreadable)?;
        if u64::from(crc32fast::hash(&header[..HEADER_LEN - 8])) != header_crc {
            return Err(Damage::Unreadable);
        }
        let whole = length == bytes.len() as u64 && u64::from(crc32fast::hash(padding)) == padding_crc;
        if whole { Ok(stamp) } else { Err(Damage::Payload(stamp)) }
    }
}

/// Reads hex fields one after another.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next(&mut self, digits: usize) -> Option<u64> {
        let (field, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        let mut value = 0;
        let mut wrong = 0;
        for &byte in field {
            let digit = HEX_VALUE[usize::from(byte)];
            wrong |= digit;
            value = value << 4 | u64::from(digit & 0xf);
        }
        (wrong < 0x10).then_some(value)
    }

    fn next_u32(&mut self) -> Option<u32> {
        self.next(8).and_then(|value| u32::try_from(value).ok())
    }

    fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            run: self.next_u32()?,
            sender: self.next_u32()?,
            room: self.next_u32()?,
            seq: self.next_u32()?,
            index: self.next_u32()?,
            previous: self.next_u32()?,
            cause: self.next_u32()?,
            replica: u16::try_from(self.next(4)?).ok()?,
            kind: match self.next(1)? {
                0 => Kind::Work,
                1 => Kind::Fence,
                2 => Kind::Farewell,
                _ => return None,
            },
            intended_us: self.next(12)?,
        })
    }
}

/// Value of a lower-case hex digit, 0x10 for any other byte.
const HEX_VALUE: [u8; 256] = {
    let mut table = [0x10; 256];
    let mut digit = 0;
    while digit < 16 {
        table[HEX[digit as usize] as usize] = digit;
        digit += 1;
    }
    table
};

const HEX: &[u8; 16] = b"0123456789abcdef";

const FITS: &str = "a header has room for its fields";

/// Fills the next `digits` of a header.
fn put_hex(rest: &mut &mut [u8], mut value: u64, digits: usize) {
    for place in rest.split_off_mut(..digits).expect(FITS).iter_mut().rev() {
        *place = HEX[(value & 0xf) as usize];
        value >>= 4;
    }
}

/// Appends a number without leading zeros.
fn push_hex(out: &mut String, value: u32) {
    let digits = (u32::BITS - value.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| char::from(HEX[(value >> (4 * digit) & 0xf) as usize])));
}

/// What padding is made of: no hex and no constant, so that a shift or a cut shows.
const PADDING: &str = "ghijklmnopqrstuvwxyzghijklmnopqrstuvwxyzghijklmnopqrstuvwxyzghijklmnopqrstuvwxyz";

/// `len` bytes of padding, piece by piece.
fn padding(len: usize) -> impl Iterator<Item = &'static str> {
    let whole = std::iter::repeat_n(PADDING, len / PADDING.len());
    whole.chain(std::iter::once(&PADDING[..len % PADDING.len()]))
}

fn padding_crc(len: usize) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    padding(len).for_each(|part| crc.update(part.as_bytes()));
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_stamp() -> impl Strategy<Value = Stamp> {
        (any::<[u32; 7]>(), any::<u16>(), 0..3_u8, 0..1_u64 << 48).prop_map(
            |([run, sender, room, seq, index, previous, cause], replica, kind, intended_us)| Stamp {
                run,
                sender,
                room,
                seq,
                index,
                previous,
                cause,
                replica,
                kind: [Kind::Work, Kind::Fence, Kind::Farewell][usize::from(kind)],
                intended_us,
            },
        )
    }

    proptest! {
        #[test]
        fn round_trip(stamp in any_stamp(), size in 0..400_usize) {
            let mut text = String::new();
            stamp.write(size, &mut text);
            prop_assert_eq!(text.len(), size.max(HEADER_LEN));
            prop_assert_eq!(Stamp::parse(&text), Ok(stamp));
        }

        #[test]
        fn any_changed_byte_is_seen(stamp in any_stamp(), at in 0..200_usize, to in b' '..b'~') {
            let mut text = String::new();
            stamp.write(200, &mut text);
            let mut bytes = text.clone().into_bytes();
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            let damaged = String::from_utf8(bytes).expect("ASCII");
            let expected = match at {
                0..3 => Damage::Foreign,
                3..HEADER_LEN => Damage::Unreadable,
                _ => Damage::Payload(stamp),
            };
            prop_assert_eq!(Stamp::parse(&damaged), Err(expected));
        }

        #[test]
        fn a_cut_is_seen(stamp in any_stamp(), keep in 0..200_usize) {
            let mut text = String::new();
            stamp.write(200, &mut text);
            prop_assert!(Stamp::parse(&text[..keep]).is_err());
        }

        #[test]
        fn arbitrary_text_never_panics(text in "(ws1)?.{0,200}") {
            let _ = Stamp::parse(&text);
        }
    }
}
