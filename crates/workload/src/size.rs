//! How long payloads are: one size, or a range from which each message's is drawn.

use std::{fmt, str::FromStr};

use rand::{Rng, RngCore};

/// Bytes of payload: `128`, or drawn evenly from `128..1024`, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Size {
    /// The shortest.
    pub least: u32,
    /// The longest; the same where all are of one size.
    pub most: u32,
}

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size like 128 or 4k, and no range like 128..1024")]
pub struct SizeError(String);

impl Size {
    /// All of one size.
    #[must_use]
    pub fn fixed(bytes: u32) -> Self {
        Self { least: bytes, most: bytes }
    }

    /// Of all messages, on average.
    #[must_use]
    pub fn mean(self) -> u32 {
        self.least.midpoint(self.most)
    }

    /// One message's; where all are of one size, no luck is used up.
    pub fn draw(self, random: &mut impl RngCore) -> u32 {
        if self.least == self.most { self.least } else { random.random_range(self.least..=self.most) }
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let bytes = |text: &str| bytes(text.trim()).ok_or(());
        let size = match text.split_once("..") {
            None => bytes(text).map(Self::fixed),
            Some((least, most)) => bytes(least).and_then(|least| Ok(Self { least, most: bytes(most)? })),
        };
        size.ok().filter(|size| size.least <= size.most).ok_or_else(|| SizeError(text.to_owned()))
    }
}

fn bytes(text: &str) -> Option<u32> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(thousands) => (thousands, 1000),
        None => (text, 1),
    };
    digits.parse::<u32>().ok()?.checked_mul(unit)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { least, most } if least == most => write!(f, "{least}"),
            Self { least, most } => write!(f, "{least}..{most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    #[test]
    fn a_size_is_a_number_or_a_range() {
        let check = |text: &str, least, most| assert_eq!(text.parse(), Ok(Size { least, most }), "{text}");
        check("128", 128, 128);
        check("4k", 4000, 4000);
        check("128..1k", 128, 1000);
        check("128 .. 1024", 128, 1024);
        for wrong in ["", "..", "1024..128", "128..", "-1", "1.5", "5000000k", "128...1024", "128..=1024"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
        for text in ["128", "128..1024"] {
            assert_eq!(text.parse::<Size>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn all_of_a_range_is_drawn() {
        let mut random = StdRng::seed_from_u64(1);
        let size = Size { least: 100, most: 103 };
        let mut drawn: Vec<u32> = (0..100).map(|_| size.draw(&mut random)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [100, 101, 102, 103]);
    }
}
