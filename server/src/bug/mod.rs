//! Damage on purpose: a server with a bug that a verifier has to find.

mod held;
mod hooks;

use std::{fmt, str::FromStr};

pub(crate) use hooks::{Bugs, Fate};

/// One kind of damage. Each breaks one property and leaves all others whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A delivery is left out; never the sender's own copy.
    Drop,
    /// A delivery comes twice; never the sender's own copy.
    Duplicate,
    /// A delivery comes after the next one of the same sender.
    Swap,
    /// A delivery goes also to somebody who is not in the room.
    Leak,
    /// The last character of the data is another.
    Corrupt,
    /// A sender's own copy is left out.
    NoEcho,
    /// A delivery comes after the next one of another sender, with all that its own sender said between.
    WrongOrder,
    /// A delivery, and what follows it in the room, reaches one member 3 s later.
    Late,
    /// Who leaves is told so, and goes on to hear the room.
    AfterLeave,
    /// What others send into a room in the first 300 ms after its first join here is lost.
    JoinEarly,
    /// What others sent while the listener was away is not made up for, and nobody is told.
    LostOnReconnect,
    /// When the listener is back, the last three messages of others in each room are delivered again.
    TwiceOnReconnect,
    /// While more than 64 KiB wait for a client, what others send is not queued for it.
    SlowDrop,
    /// What others send into rooms never arrives on this replica.
    DeadSubscription,
    /// A send is acked before it is published, and one in 97 never is.
    AckEarly,
    /// One send in 97 is published and answered with `broker_unavailable`.
    RefusedButSent,
    /// A resume leaves out the first message that was missed, and says that all follow.
    FalseRecovered,
    /// After the listener was away once, all clients are closed and all requests refused, for good.
    NeverBack,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Drop,
        Self::Duplicate,
        Self::Swap,
        Self::Leak,
        Self::Corrupt,
        Self::NoEcho,
        Self::WrongOrder,
        Self::Late,
        Self::AfterLeave,
        Self::JoinEarly,
        Self::LostOnReconnect,
        Self::TwiceOnReconnect,
        Self::SlowDrop,
        Self::DeadSubscription,
        Self::AckEarly,
        Self::RefusedButSent,
        Self::FalseRecovered,
        Self::NeverBack,
    ];

    /// As on the command line, in the hello and in `/readyz`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Swap => "swap",
            Self::Leak => "leak",
            Self::Corrupt => "corrupt",
            Self::NoEcho => "no-echo",
            Self::WrongOrder => "wrong-order",
            Self::Late => "late",
            Self::AfterLeave => "after-leave",
            Self::JoinEarly => "join-early",
            Self::LostOnReconnect => "lost-on-reconnect",
            Self::TwiceOnReconnect => "twice-on-reconnect",
            Self::SlowDrop => "slow-drop",
            Self::DeadSubscription => "dead-subscription",
            Self::AckEarly => "ack-early",
            Self::RefusedButSent => "refused-but-sent",
            Self::FalseRecovered => "false-recovered",
            Self::NeverBack => "never-back",
        }
    }

    /// Whether it is done to single deliveries, now and then.
    fn is_rare(self) -> bool {
        use Bug::{Corrupt, Drop, Duplicate, Late, Leak, NoEcho, Swap, WrongOrder};
        matches!(self, Drop | Duplicate | Swap | Leak | Corrupt | NoEcho | WrongOrder | Late)
    }

    /// Whether it may be done to a sender's `own` copy, or another's.
    fn fits(self, own: bool) -> bool {
        match self {
            Self::Drop | Self::Duplicate => !own,
            Self::NoEcho => own,
            _ => true,
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|bug| bug.name() == name).ok_or_else(|| {
            format!("there is no bug {name:?}; there are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}
