//! How much a cluster carries: the search for it, what a probe shows, what stopped it, and the result as a document.
//!
//! - [`search`]: which value is probed next.
//! - [`probe`]: one run of the search, and whether the target or the generator failed in it.
//! - [`limit`]: what stopped the search.
//! - [`text`]: the result for a terminal.

pub mod limit;
pub mod probe;
pub mod search;
pub mod text;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    exit::Exit,
    report::{Environment, Target},
};
use limit::Limit;
use probe::Probe;
use search::Search;

/// The schema that [`Capacity::schema`] names.
pub const SCHEMA: &str = "ws-capacity/1";

/// What is made as great as it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantity {
    /// Messages sent a second.
    Rate,
    /// Sockets held.
    Connections,
}

/// The result of a search: `ws-capacity/1` in docs/capacity.md.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Capacity {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// What was searched for.
    pub max: Quantity,
    /// What has to hold, as it was typed.
    pub slo: Vec<String>,
    /// How far apart the answer and what failed may be.
    pub precision: f64,
    /// Probes of a value, of which most decide.
    pub repeats: u32,
    /// How long each sent, in seconds.
    pub probe_s: f64,
    /// How it ended.
    pub answer: Answer,
    /// The greatest value that held; none if none did.
    pub value: Option<u32>,
    /// The least that did not; none if none failed.
    pub failed: Option<u32>,
    /// What kept it from more; none if nothing did, or it was not found out.
    pub limit: Option<Limit>,
    /// The answer in a sentence or two.
    pub said: String,
    /// What a reader has to know to read the numbers rightly.
    pub notes: Vec<String>,
    /// All probes, in order.
    pub probes: Vec<Probe>,
    /// Decides every order that was not given.
    pub seed: u64,
    /// The resolved options of the first probe.
    pub config: serde_json::Value,
    /// The machine.
    pub environment: Environment,
    /// What was tested.
    pub target: Target,
}

impl Capacity {
    /// Takes over how `search` ended, by `limit` or by the user.
    pub fn conclude(&mut self, search: &Search, limit: Option<Limit>, interrupted: bool) {
        self.answer = Answer::new(search, limit.as_ref(), interrupted);
        self.value = search.holds();
        self.failed = search.fails();
        self.limit = limit;
        self.said = text::said(self);
    }
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The value holds, and a little more does not.
    Found,
    /// The value holds; more could not be tried, for the generator or this machine was the limit.
    AtLeast,
    /// No value held.
    None,
    /// Stopped before it was known.
    Interrupted,
}

impl Answer {
    /// How the search ended that went so far, by `limit` or by the user.
    #[must_use]
    pub fn new(search: &Search, limit: Option<&Limit>, interrupted: bool) -> Self {
        let is_ours = limit.is_none_or(Limit::is_ours);
        match (search.holds(), search.fails()) {
            _ if interrupted => Self::Interrupted,
            (None, _) => Self::None,
            (Some(_), Some(_)) if !is_ours => Self::Found,
            (Some(_), _) => Self::AtLeast,
        }
    }

    /// The exit code; nothing that was the generator's fault is a target's failure.
    #[must_use]
    pub fn exit(self, limit: Option<&Limit>) -> Exit {
        match self {
            Self::Found => Exit::Pass,
            Self::None if !limit.is_none_or(Limit::is_ours) => Exit::Threshold,
            Self::AtLeast | Self::None => Exit::Inconclusive,
            Self::Interrupted => Exit::Interrupted,
        }
    }
}

impl Quantity {
    /// What is counted.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Rate => "messages a second",
            Self::Connections => "sockets",
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rate => "rate",
            Self::Connections => "connections",
        })
    }
}

impl FromStr for Quantity {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = [Self::Rate, Self::Connections].into_iter().find(|quantity| quantity.to_string() == name);
        found.ok_or_else(|| format!("there is no {name:?}; there are rate and connections"))
    }
}
