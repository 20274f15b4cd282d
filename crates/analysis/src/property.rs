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
    /// P7.
    TotalOrder,
    /// P8.
    CausalOrder,
    /// P9.
    Echo,
    /// P10.
    Membership,
    /// P11.
    Resume,
    /// P12.
    Timeliness,
    /// P13.
    Recovery,
}

impl Property {
    /// All that are checked, in the order of their ids: the registry.
    pub const ALL: [Self; 13] = [
        Self::Creation,
        Self::Duplication,
        Self::Loss,
        Self::Integrity,
        Self::Isolation,
        Self::Fifo,
        Self::TotalOrder,
        Self::CausalOrder,
        Self::Echo,
        Self::Membership,
        Self::Resume,
        Self::Timeliness,
        Self::Recovery,
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
            Self::TotalOrder => "P7",
            Self::CausalOrder => "P8",
            Self::Echo => "P9",
            Self::Membership => "P10",
            Self::Resume => "P11",
            Self::Timeliness => "P12",
            Self::Recovery => "P13",
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
            Self::TotalOrder => "total order",
            Self::CausalOrder => "causal order",
            Self::Echo => "echo",
            Self::Membership => "membership",
            Self::Resume => "resume continuity",
            Self::Timeliness => "timeliness",
            Self::Recovery => "recovery",
        }
    }

    /// The property with this id.
    #[must_use]
    pub fn by_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|property| property.id() == id)
    }

    /// What one check is: the unit of `checked`.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Creation | Self::Duplication | Self::Integrity | Self::Isolation | Self::Timeliness => {
                "deliveries"
            }
            Self::Fifo => "deliveries with a predecessor",
            Self::Loss => "deliveries owed",
            Self::TotalOrder => "deliveries with a position",
            Self::CausalOrder => "deliveries in answer to another",
            Self::Echo => "own copies owed",
            Self::Membership => "leaves",
            Self::Resume => "resumes that the server confirmed",
            Self::Recovery => "pairs of replicas",
        }
    }
}
