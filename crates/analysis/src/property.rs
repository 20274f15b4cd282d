//! What is proved: docs/properties.md, one line each.

/// A property of the message flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Property {
    /// P1.
    Creation,
    /// P2.
    Duplication,
    /// P3.
    Loss,
    /// P4.
    Integrity,
    /// P5.
    Isolation,
    /// P6.
    Fifo,
    /// P9.
    Echo,
    /// P10.
    Membership,
}

impl Property {
    /// All that are checked, in the order of their ids: the registry.
    pub const ALL: [Self; 8] = [
        Self::Creation,
        Self::Duplication,
        Self::Loss,
        Self::Integrity,
        Self::Isolation,
        Self::Fifo,
        Self::Echo,
        Self::Membership,
    ];

    /// Stable id, as in docs/properties.md.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Creation => "P1",
            Self::Duplication => "P2",
            Self::Loss => "P3",
            Self::Integrity => "P4",
            Self::Isolation => "P5",
            Self::Fifo => "P6",
            Self::Echo => "P9",
            Self::Membership => "P10",
        }
    }

    /// Short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Creation => "no creation",
            Self::Duplication => "no duplication",
            Self::Loss => "no loss",
            Self::Integrity => "payload integrity",
            Self::Isolation => "room isolation",
            Self::Fifo => "FIFO per sender",
            Self::Echo => "echo",
            Self::Membership => "membership",
        }
    }

    /// What one check is: the unit of `checked`.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Creation | Self::Duplication | Self::Integrity | Self::Isolation => "deliveries",
            Self::Fifo => "deliveries with a predecessor",
            Self::Loss => "deliveries owed",
            Self::Echo => "own copies owed",
            Self::Membership => "messages after a leave",
        }
    }
}
