//! What a server is held to: when a gap is a violation, and which orders are proved besides.

use std::{fmt, str::FromStr};

/// What a gap is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contract {
    /// Always a violation. Membership is the session's: who was cut off and came back is owed what it missed.
    #[default]
    ExactlyOnce,
    /// Legal where it was signalled: by a close, a gap notice, or `recovered: false`.
    NoSilentLoss,
    /// Legal. Duplicates, creation, integrity, isolation and order still bind.
    AtMostOnce,
}

/// A contract with its options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rules {
    /// What a gap is.
    pub contract: Contract,
    /// Whether P7, one order for all members, is proved. Seen only where deliveries have positions.
    pub total_order: bool,
    /// Whether P8, no message before the one it was sent in answer to, is proved.
    pub causal_order: bool,
    /// Whether a delivery after the deadline is a violation (P12), and not only counted.
    pub timeliness: bool,
}

/// Not one of the contracts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no contract {0:?}; there are exactly-once, no-silent-loss and at-most-once")]
pub struct UnknownContract(String);

impl Contract {
    /// As on the command line, in hellos and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly-once",
            Self::NoSilentLoss => "no-silent-loss",
            Self::AtMostOnce => "at-most-once",
        }
    }
}

impl FromStr for Contract {
    type Err = UnknownContract;

    fn from_str(name: &str) -> Result<Self, UnknownContract> {
        let all = [Self::ExactlyOnce, Self::NoSilentLoss, Self::AtMostOnce];
        all.into_iter().find(|contract| contract.name() == name).ok_or_else(|| UnknownContract(name.into()))
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
