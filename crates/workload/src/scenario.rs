//! The workload as numbers, validated.

use std::{str::FromStr, time::Duration};

use ws_wire::stamp;

use crate::{
    profile::{Profile, Stage},
    size::Size,
    topology::{Topology, ZIPF_LEAST},
};

/// What the swarm does in one run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Scenario {
    /// Sockets in all.
    pub connections: u32,
    /// Rooms in all.
    pub rooms: u32,
    /// The exponent of the Zipf law that the sizes of rooms follow; none where they differ by at most one.
    pub zipf: Option<f64>,
    /// Sockets opened a second, as it begins; from [`CONNECT_RATE_MAX`] on, as fast as it goes.
    pub connect_rate: f64,
    /// Where that rate goes from there.
    pub connect_stages: Vec<Stage>,
    /// Messages sent a second, in all, as it begins; 0 is silence.
    pub rate: f64,
    /// Where the rate goes from there.
    pub stages: Vec<Stage>,
    /// How messages are spread over time.
    pub arrivals: Arrivals,
    /// How long messages are sent.
    pub duration: Duration,
    /// Bytes of payload a message.
    pub size: Size,
    /// Part of the messages that goes to everyone, 0 to 1.
    pub share_all: f64,
    /// Who sends.
    pub senders: Senders,
    /// Members a second that leave their room, and come back after a while.
    pub churn: f64,
    /// How long a connection lasts in the mean: then it leaves its room, closes, and a new one takes its place. None for
    /// the whole run.
    pub lifetime: Option<Duration>,
    /// Decides every order that is not given.
    pub seed: u64,
}

/// No machine opens as many sockets a second: with this rate each is opened as soon as there is a place for it.
pub const CONNECT_RATE_MAX: f64 = 1e6;

/// How messages are spread over time at a given rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Arrivals {
    /// As evenly as can be.
    #[default]
    Uniform,
    /// Independently of one another: in bursts, as users come.
    Poisson,
}

impl Arrivals {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Poisson];

    /// As it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Poisson => "poisson",
        }
    }
}

impl FromStr for Arrivals {
    type Err = ScenarioError;

    fn from_str(name: &str) -> Result<Self, ScenarioError> {
        let found = Self::ALL.into_iter().find(|arrivals| arrivals.name() == name);
        found.ok_or_else(|| ScenarioError(format!("there is no {name:?}; there are uniform and poisson")))
    }
}

/// Who sends in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Senders {
    /// Every member in turn.
    All,
    /// The first so many members of each room.
    PerRoom(u32),
}

/// The shortest mean lifetime of connections: with a shorter one they would do nothing but come and go.
const LIFETIME_LEAST: Duration = Duration::from_secs(1);

/// Why a workload can't be run; each names what to change.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

impl Scenario {
    /// Checks that the numbers fit together.
    ///
    /// # Errors
    /// The first that does not, by the name of its option.
    pub fn validate(&self) -> Result<(), ScenarioError> {
        let refuse = |wrong: bool, why: String| if wrong { Err(ScenarioError(why)) } else { Ok(()) };
        let limit = stamp::MAX_LEN;
        refuse(self.connections == 0, "--connections must be at least 1".into())?;
        refuse(
            self.rooms == 0 || self.rooms > self.connections,
            format!("--rooms must be 1 to {} (one member each), not {}", self.connections, self.rooms),
        )?;
        refuse(
            self.zipf.is_some_and(|exponent| !exponent.is_finite() || exponent < 0.0),
            "--zipf is an exponent, 0 (all rooms alike) or more; 1 is the usual".into(),
        )?;
        refuse(
            self.zipf.is_some() && self.connections / ZIPF_LEAST < self.rooms,
            format!(
                "--zipf gives every room at least {ZIPF_LEAST} members: {} connections are enough for --rooms {}, not {}",
                self.connections,
                self.connections / ZIPF_LEAST,
                self.rooms
            ),
        )?;
        refuse(
            !self.connect_rate.is_finite() || self.connect_rate < 0.0,
            "--connect-rate must be above 0".into(),
        )?;
        refuse(
            self.connect_stages.last().map_or(self.connect_rate, |stage| stage.to) <= 0.0,
            "--connect-rate (or the last --connect-stage) must be above 0, or the rest would never connect"
                .into(),
        )?;
        refuse(
            !self.rate.is_finite() || self.rate < 0.0,
            "--rate must be 0 (silence) or more messages a second".into(),
        )?;
        refuse(self.duration.is_zero(), "--duration must be above 0".into())?;
        refuse(
            (self.size.least as usize) < stamp::HEADER_LEN || self.size.most as usize > limit,
            format!("--size must be {} (the stamp) to {limit} bytes, not {}", stamp::HEADER_LEN, self.size),
        )?;
        refuse(
            !(0.0..=1.0).contains(&self.share_all),
            format!("--share-all is a part of the messages, 0 to 1, not {}", self.share_all),
        )?;
        refuse(
            !self.churn.is_finite() || self.churn < 0.0,
            "--churn must be 0 (nobody) or more members a second".into(),
        )?;
        refuse(
            self.lifetime.is_some_and(|lifetime| lifetime < LIFETIME_LEAST),
            format!("--lifetime must be at least {} s", LIFETIME_LEAST.as_secs()),
        )?;
        refuse(
            self.lifetime.is_some() && self.share_all > 0.0,
            "--lifetime and --share-all exclude one another: what goes to all is owed to who is between two connections".into(),
        )?;
        refuse(self.senders == Senders::PerRoom(0), "--senders must be 'all' or at least 1 a room".into())?;
        refuse(
            self.messages() > u64::from(u32::MAX / 2),
            "--rate times --duration (or the area under the stages) is more than two thousand million messages; run shorter".into(),
        )
    }

    /// Who is where, on so many workers.
    #[must_use]
    pub fn topology(&self, workers: u32) -> Topology {
        match self.zipf {
            Some(exponent) => Topology::zipf(self.connections, self.rooms, workers, exponent),
            None => Topology::even(self.connections, self.rooms, workers),
        }
    }

    /// How many connections send, if all are there.
    #[must_use]
    pub fn senders(&self) -> u32 {
        let topology = self.topology(1);
        (0..self.rooms).map(|room| self.senders_of(&topology, room)).sum()
    }

    /// The same of one room.
    pub(crate) fn senders_of(&self, topology: &Topology, room: u32) -> u32 {
        let members = topology.members(room);
        match self.senders {
            Senders::All => members.end - members.start,
            Senders::PerRoom(senders) => senders.min(members.end - members.start),
        }
    }

    /// The rate at which sockets are opened; it goes on until all are. None where each is due as soon as there is a place
    /// for it.
    #[must_use]
    pub fn connect_profile(&self) -> Option<Profile> {
        let is_paced = self.connect_rate < CONNECT_RATE_MAX || !self.connect_stages.is_empty();
        is_paced.then(|| Profile::new(self.connect_rate, &self.connect_stages, Duration::MAX))
    }

    /// The rate in the course of the run.
    #[must_use]
    pub fn profile(&self) -> Profile {
        Profile::new(self.rate, &self.stages, self.duration)
    }

    /// Messages sent in the whole run; where they come by chance, about so many.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and validated to fit"
    )]
    pub fn messages(&self) -> u64 {
        self.profile().total().ceil() as u64
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Scenario {
    Scenario {
        connections: 30,
        rooms: 3,
        zipf: None,
        connect_rate: 1000.0,
        connect_stages: Vec::new(),
        rate: 100.0,
        stages: Vec::new(),
        arrivals: Arrivals::Uniform,
        duration: Duration::from_secs(2),
        size: Size::fixed(128),
        share_all: 0.0,
        senders: Senders::All,
        churn: 0.0,
        lifetime: None,
        seed: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_numbers_are_named_by_their_option() {
        let check = |change: fn(&mut Scenario), option: &str| {
            let mut scenario = sample();
            change(&mut scenario);
            let error = scenario.validate().expect_err(option).to_string();
            assert!(error.starts_with(option), "{error}");
        };
        check(|s| s.connections = 0, "--connections");
        check(|s| s.rooms = 31, "--rooms");
        check(|s| s.connect_rate = 0.0, "--connect-rate");
        check(|s| s.rate = f64::NAN, "--rate");
        check(|s| s.duration = Duration::ZERO, "--duration must");
        check(|s| s.connect_stages = vec!["5s:0".parse().expect("a stage")], "--connect-rate");
        check(|s| s.zipf = Some(-1.0), "--zipf is");
        check(|s| (s.zipf, s.rooms) = (Some(1.0), 16), "--zipf gives");
        check(|s| s.size = Size::fixed(10), "--size");
        check(|s| s.size = Size { least: 128, most: u32::MAX }, "--size");
        check(|s| s.lifetime = Some(Duration::from_millis(10)), "--lifetime must");
        check(|s| (s.lifetime, s.share_all) = (Some(Duration::from_secs(9)), 0.1), "--lifetime and");
        check(|s| s.share_all = 1.5, "--share-all");
        check(|s| s.churn = -1.0, "--churn");
        check(|s| s.senders = Senders::PerRoom(0), "--senders");
        check(|s| s.rate = 1e10, "--rate times");
        assert_eq!(sample().validate(), Ok(()));
        assert_eq!(sample().messages(), 200);
    }

    #[test]
    fn connections_are_opened_in_stages() {
        let stages = ["10s:20", "0s:1"].map(|stage| stage.parse().expect(stage));
        let scenario = Scenario { connect_rate: 0.0, connect_stages: stages.into(), ..sample() };
        assert_eq!(scenario.validate(), Ok(()));
        let profile = scenario.connect_profile().expect("it is paced");
        let at = |number: f64| profile.time_of(number).expect("it goes on for ever");
        assert_eq!((at(0.0), at(25.0), at(100.0), at(103.0)), (0.0, 5.0, 10.0, 13.0));
        let paced =
            |scenario: &Scenario| scenario.connect_profile().and_then(|profile| profile.time_of(29.0));
        assert_eq!(paced(&sample()), Some(0.029));
        assert_eq!(paced(&Scenario { connect_rate: CONNECT_RATE_MAX, ..sample() }), None);
    }

    #[test]
    fn senders_are_counted() {
        assert_eq!(sample().senders(), 30);
        assert_eq!(Scenario { senders: Senders::PerRoom(2), ..sample() }.senders(), 6);
        assert_eq!(Scenario { senders: Senders::PerRoom(20), ..sample() }.senders(), 30);
    }
}
