//! The workload as numbers, validated.

use std::{str::FromStr, time::Duration};

use ws_wire::stamp;

use crate::profile::{Profile, Stage};

/// What the swarm does in one run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Scenario {
    /// Sockets in all.
    pub connections: u32,
    /// Rooms in all; members are spread evenly, sizes differ by at most one.
    pub rooms: u32,
    /// Sockets opened a second.
    pub connect_rate: f64,
    /// Messages sent a second, in all, as it begins; 0 is silence.
    pub rate: f64,
    /// Where the rate goes from there.
    pub stages: Vec<Stage>,
    /// How messages are spread over time.
    pub arrivals: Arrivals,
    /// How long messages are sent.
    pub duration: Duration,
    /// Bytes of payload a message.
    pub size: usize,
    /// Part of the messages that goes to everyone, 0 to 1.
    pub share_all: f64,
    /// Who sends.
    pub senders: Senders,
    /// Members a second that leave their room, and come back after a while.
    pub churn: f64,
    /// Decides every order that is not given.
    pub seed: u64,
}

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
        refuse(!positive(self.connect_rate), "--connect-rate must be above 0".into())?;
        refuse(
            !self.rate.is_finite() || self.rate < 0.0,
            "--rate must be 0 (silence) or more messages a second".into(),
        )?;
        refuse(
            !(stamp::HEADER_LEN..=limit).contains(&self.size),
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
        refuse(self.senders == Senders::PerRoom(0), "--senders must be 'all' or at least 1 a room".into())?;
        refuse(
            self.messages() > u64::from(u32::MAX / 2),
            "--rate times --duration (or the area under the stages) is more than two thousand million messages; run shorter".into(),
        )
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

fn positive(number: f64) -> bool {
    number.is_finite() && number > 0.0
}

#[cfg(test)]
pub(crate) fn sample() -> Scenario {
    Scenario {
        connections: 30,
        rooms: 3,
        connect_rate: 1000.0,
        rate: 100.0,
        stages: Vec::new(),
        arrivals: Arrivals::Uniform,
        duration: Duration::from_secs(2),
        size: 128,
        share_all: 0.0,
        senders: Senders::All,
        churn: 0.0,
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
        check(|s| s.size = 10, "--size");
        check(|s| s.share_all = 1.5, "--share-all");
        check(|s| s.churn = -1.0, "--churn");
        check(|s| s.senders = Senders::PerRoom(0), "--senders");
        check(|s| s.rate = 1e10, "--rate times");
        assert_eq!(sample().validate(), Ok(()));
        assert_eq!(sample().messages(), 200);
    }
}
