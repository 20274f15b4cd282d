//! What is broken on purpose, when and where: `kill-replica@5s for 3s on app-2`.
//!
//! The text form is the one of `--fault`, of reports and of `replay`; [`Fault`] reads and writes it.

pub mod chaos;

use std::{fmt, str::FromStr, time::Duration};

/// One planned fault. Times count from the start of sending.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What is done.
    pub kind: Kind,
    /// When it is injected.
    pub at: Duration,
    /// From the injection to the heal; zero for what is done at once.
    pub lasts: Duration,
    /// To whom.
    pub on: On,
    /// `share`: the part of the client connections that it hits, above 0 and up to 1.
    pub share: f64,
    /// `direction`: which way of a half-open connection swallows what is sent.
    pub direction: Direction,
    /// `delay`: what slow-redis adds to each way.
    pub delay: Duration,
    /// `rate`: bytes a second that slow-redis lets through each way; none for all.
    pub bytes_per_second: Option<u64>,
}

/// The faults by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL; started again at the heal.
    KillReplica,
    /// SIGSTOP; SIGCONT at the heal.
    PauseReplica,
    /// SIGTERM and a new start, one replica after another.
    RollingRestart,
    /// The connections between replica and Redis are reset, and every new one too until the heal.
    CutRedis,
    /// Nothing passes between replica and Redis, and nothing is lost.
    StallRedis,
    /// The connections end, and Redis' address refuses new ones.
    RefuseRedis,
    /// What passes is delayed, and throttled if a rate is given.
    SlowRedis,
    /// Redis ends the pub/sub connections, and only those.
    KillPubsub,
    /// Redis is killed, and back with its data at the heal.
    RestartRedis,
    /// Redis is killed, and back empty at the heal.
    WipeRedis,
    /// SIGSTOP to Redis.
    PauseRedis,
    /// Client connections are reset.
    ResetClients,
    /// Client connections swallow one direction, without a word.
    HalfOpen,
    /// Clients stop reading.
    SlowConsumer,
    /// All client connections end; nobody comes back before the heal, then everybody at once.
    Storm,
    /// The balancer loses a replica, which is itself in good health.
    DropBackend,
}

/// Whom a fault hits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum On {
    /// One replica, chosen by the seed.
    #[default]
    Any,
    /// Every replica.
    All,
    /// The replica of this name.
    Node(String),
}

/// A way of a connection, seen from the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// From the server: the client hears nothing more.
    #[default]
    In,
    /// To the server: nothing that the client says arrives.
    Out,
}

/// Why a fault is none; names what to change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultError(String);

impl Kind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::KillReplica,
        Self::PauseReplica,
        Self::RollingRestart,
        Self::CutRedis,
        Self::StallRedis,
        Self::RefuseRedis,
        Self::SlowRedis,
        Self::KillPubsub,
        Self::RestartRedis,
        Self::WipeRedis,
        Self::PauseRedis,
        Self::ResetClients,
        Self::HalfOpen,
        Self::SlowConsumer,
        Self::Storm,
        Self::DropBackend,
    ];

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KillReplica => "kill-replica",
            Self::PauseReplica => "pause-replica",
            Self::RollingRestart => "rolling-restart",
            Self::CutRedis => "cut-redis",
            Self::StallRedis => "stall-redis",
            Self::RefuseRedis => "refuse-redis",
            Self::SlowRedis => "slow-redis",
            Self::KillPubsub => "kill-pubsub",
            Self::RestartRedis => "restart-redis",
            Self::WipeRedis => "wipe-redis",
            Self::PauseRedis => "pause-redis",
            Self::ResetClients => "reset-clients",
            Self::HalfOpen => "half-open",
            Self::SlowConsumer => "slow-consumer",
            Self::Storm => "storm",
            Self::DropBackend => "drop-backend",
        }
    }

    /// Who carries it out.
    #[must_use]
    pub fn site(self) -> Site {
        match self {
            Self::KillReplica | Self::PauseReplica | Self::RollingRestart => Site::Replica,
            Self::CutRedis | Self::StallRedis | Self::RefuseRedis | Self::SlowRedis => Site::RedisLink,
            Self::KillPubsub | Self::RestartRedis | Self::WipeRedis | Self::PauseRedis => Site::Redis,
            Self::ResetClients | Self::HalfOpen | Self::SlowConsumer | Self::Storm => Site::Clients,
            Self::DropBackend => Site::Balancer,
        }
    }

    /// Whether it is over as soon as it is done.
    #[must_use]
    pub fn is_instant(self) -> bool {
        matches!(self, Self::KillPubsub | Self::ResetClients | Self::RollingRestart)
    }

    /// Whether it destroys data, so that no server can keep `exactly-once`.
    #[must_use]
    pub fn destroys_data(self) -> bool {
        self == Self::WipeRedis
    }
}

/// Where a fault is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// A replica's process.
    Replica,
    /// The connections between a replica and Redis.
    RedisLink,
    /// Redis itself.
    Redis,
    /// The clients' own connections: wherever the servers are.
    Clients,
    /// In front of the replicas.
    Balancer,
}

impl Fault {
    /// `kind` with its defaults.
    #[must_use]
    pub fn new(kind: Kind, at: Duration) -> Self {
        let lasts = if kind.is_instant() { Duration::ZERO } else { Duration::from_secs(3) };
        Self {
            kind,
            at,
            lasts,
            on: On::Any,
            share: 0.3,
            direction: Direction::In,
            delay: Duration::from_millis(50),
            bytes_per_second: None,
        }
    }

    /// When it is over.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.at.saturating_add(self.lasts)
    }

    /// Sets one of its values, by the word for it in the text form.
    pub(crate) fn set(&mut self, word: &str, value: &str) -> Result<(), FaultError> {
        match word {
            "for" if self.kind.is_instant() => {
                return Err(FaultError(format!("{} is done at once; leave 'for {value}' out", self.kind)));
            }
            "for" => self.lasts = duration("for", value)?,
            "on" => self.on = value.parse()?,
            "share" => self.share = share(value)?,
            "direction" => self.direction = value.parse()?,
            "delay" => self.delay = duration("delay", value)?,
            "rate" => self.bytes_per_second = Some(rate(value)?),
            _ => {
                return Err(FaultError(format!(
                    "{word:?} means nothing to a fault; there are for, on, share, direction, delay, rate"
                )));
            }
        }
        Ok(())
    }
}

impl On {
    /// The places among `names` of those that are hit; none if there is no such. The seed chooses where it may be any.
    #[must_use]
    pub fn among(&self, names: &[impl AsRef<str>], seed: u64) -> Option<Vec<usize>> {
        match self {
            Self::All => Some((0..names.len()).collect()),
            Self::Any => usize::try_from(seed.checked_rem(names.len() as u64)?).ok().map(|index| vec![index]),
            Self::Node(node) => names.iter().position(|name| name.as_ref() == node).map(|index| vec![index]),
        }
    }
}

impl FromStr for Kind {
    type Err = FaultError;

    fn from_str(name: &str) -> Result<Self, FaultError> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            FaultError(format!("there is no fault {name:?}; there are {all}"))
        })
    }
}

impl FromStr for On {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        match text {
            "any" => Ok(Self::Any),
            "all" => Ok(Self::All),
            name if name.is_empty() || name.contains(char::is_whitespace) => {
                Err(FaultError("on: any, all, or a replica's name, which has no spaces".into()))
            }
            name => Ok(Self::Node(name.to_owned())),
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut words = text.split_whitespace();
        let (name, at) = words.next().and_then(|word| word.split_once('@')).ok_or_else(|| {
            FaultError(format!("{text:?} is no fault; one looks like 'kill-replica@5s for 3s on app-2'"))
        })?;
        let mut fault = Self::new(name.parse()?, duration("its time", at)?);
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| FaultError(format!("{word:?} needs a value")))?;
            fault.set(word, value)?;
        }
        Ok(fault)
    }
}

impl FromStr for Direction {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        match text {
            "in" => Ok(Self::In),
            "out" => Ok(Self::Out),
            _ => Err(FaultError(format!("direction: in or out, not {text:?}"))),
        }
    }
}

pub(crate) fn duration(what: &str, text: &str) -> Result<Duration, FaultError> {
    humantime::parse_duration(text)
        .map_err(|error| FaultError(format!("{what}: {text:?} is no time like 5s or 300ms: {error}")))
}

/// As [`duration`] reads it: one word.
fn time(time: Duration) -> String {
    match time.subsec_nanos() {
        0 => format!("{}s", time.as_secs()),
        nanos if nanos % 1_000_000 == 0 => format!("{}ms", time.as_millis()),
        _ => format!("{}ns", time.as_nanos()),
    }
}

fn share(text: &str) -> Result<f64, FaultError> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err(FaultError(format!("share: a part of the connections, above 0 and up to 1, not {text:?}"))),
    }
}

fn rate(text: &str) -> Result<u64, FaultError> {
    let (digits, unit) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1000),
        None => (text, 1),
    };
    match digits.parse::<u64>().ok().and_then(|rate| rate.checked_mul(unit)) {
        Some(rate @ 1..) => Ok(rate),
        _ => Err(FaultError(format!("rate: bytes a second like 5000 or 100k, not {text:?}"))),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::new(self.kind, self.at);
        write!(f, "{}@{}", self.kind, time(self.at))?;
        if !self.kind.is_instant() {
            write!(f, " for {}", time(self.lasts))?;
        }
        match &self.on {
            On::Any => {}
            On::All => f.write_str(" on all")?,
            On::Node(node) => write!(f, " on {node}")?,
        }
        if self.share != default.share {
            write!(f, " share {}", self.share)?;
        }
        if self.direction == Direction::Out {
            f.write_str(" direction out")?;
        }
        if self.delay != default.delay {
            write!(f, " delay {}", time(self.delay))?;
        }
        if let Some(rate) = self.bytes_per_second {
            write!(f, " rate {rate}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_and_written() {
        let check = |text: &str, written: &str| {
            let fault: Fault = text.parse().expect(text);
            assert_eq!(fault.to_string(), written);
            assert_eq!(written.parse(), Ok(fault));
        };
        check("kill-replica@5s for 3s on app-2", "kill-replica@5s for 3s on app-2");
        check("  cut-redis@1500ms   on all ", "cut-redis@1500ms for 3s on all");
        check("cut-redis@1500us for 500us", "cut-redis@1500000ns for 500000ns");
        check("kill-pubsub@5s", "kill-pubsub@5s");
        check("slow-redis@5s delay 10ms rate 100k", "slow-redis@5s for 3s delay 10ms rate 100000");
        check("half-open@5s for 8s direction out share 0.5", "half-open@5s for 8s share 0.5 direction out");
    }

    #[test]
    fn every_kind_has_its_own_name() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
    }

    #[test]
    fn a_seed_chooses_the_replica() {
        let names = ["app-1", "app-2", "app-3"];
        assert_eq!(On::Any.among(&names, 4), Some(vec![1]));
        assert_eq!(On::Any.among(&names[..0], 4), None);
        assert_eq!(On::All.among(&names, 4), Some(vec![0, 1, 2]));
        assert_eq!(On::Node("app-3".into()).among(&names, 4), Some(vec![2]));
        assert_eq!(On::Node("app-0".into()).among(&names, 4), None);
    }

    #[test]
    fn what_is_no_fault_is_refused_with_what_would_be() {
        let check = |text: &str, why: &str| {
            let error = text.parse::<Fault>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        };
        check("", "kill-replica@5s for 3s on app-2");
        check("kill-replica", "kill-replica@5s for 3s on app-2");
        check("unplug@5s", "there are kill-replica, pause-replica");
        check("kill-replica@soon", "its time");
        check("kill-replica@5s for", "needs a value");
        check("kill-replica@5s for ever", "for:");
        check("kill-replica@5s at app-2", "there are for, on");
        check("kill-pubsub@5s for 3s", "done at once");
        check("reset-clients@5s share 0", "share:");
        check("half-open@5s direction up", "in or out");
        check("slow-redis@5s rate 0", "rate:");
    }
}
