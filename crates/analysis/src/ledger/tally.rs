//! Violations: all are counted, a handful are kept to be shown.

use ws_wire::stamp::{Kind, Stamp};

use crate::property::Property;

/// How many examples of one property are kept.
const EXAMPLES: usize = 5;

/// The violations of every property.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Tallies([Tally; Property::ALL.len()]);

/// The violations of one property.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// How many there were.
    pub violations: u64,
    /// The first few.
    pub examples: Vec<Example>,
}

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Example {
    /// The message by its place in the run, if its stamp could be read.
    pub message: Option<String>,
    /// Its room and index, unless it went to all.
    pub place: Option<(u32, u32)>,
    /// Its sender's session number.
    pub sender: Option<u32>,
    /// The sender's replica.
    pub from: Option<u16>,
    /// The receiver's session number.
    pub receiver: u32,
    /// The receiver's replica.
    pub to: u16,
    /// The receiver's room.
    pub room: String,
    /// When it was seen (or for a loss: was due), in microseconds of the run.
    pub at_us: u64,
    /// Until when it is known to have been on its way, if that is later.
    pub alive_us: u64,
    /// What was wrong.
    pub detail: String,
    /// The events around it; written at the end of the run.
    pub witness: Vec<String>,
}

impl Tallies {
    /// Counts one violation.
    pub(crate) fn violate(&mut self, property: Property, example: Example) {
        let tally = self.get_mut(property);
        tally.violations += 1;
        if tally.examples.len() < EXAMPLES {
            tally.examples.push(example);
        }
    }

    /// Counts many of one kind, with the example of one.
    pub(crate) fn violate_many(&mut self, property: Property, count: u64, example: Example) {
        self.violate(property, example);
        self.get_mut(property).violations += count - 1;
    }

    /// Counts a violation whose example is only made if it will be kept.
    pub(crate) fn violate_with(&mut self, property: Property, example: impl FnOnce() -> Example) {
        if self.get(property).examples.len() < EXAMPLES {
            self.violate(property, example());
        } else {
            self.get_mut(property).violations += 1;
        }
    }

    /// Adds another worker's.
    pub(crate) fn merge(&mut self, other: Self) {
        for (tally, other) in self.0.iter_mut().zip(other.0) {
            tally.violations += other.violations;
            tally.examples.extend(other.examples);
            tally.examples.truncate(EXAMPLES);
        }
    }

    /// Writes the witness of every example.
    pub(crate) fn explain(&mut self, witness: impl Fn(&Example) -> Vec<String>) {
        for example in self.0.iter_mut().flat_map(|tally| &mut tally.examples) {
            example.witness = witness(example);
        }
    }

    /// Of all properties together.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.0.iter().map(|tally| tally.violations).sum()
    }

    /// One property's.
    #[must_use]
    pub fn get(&self, property: Property) -> &Tally {
        &self.0[property as usize]
    }

    fn get_mut(&mut self, property: Property) -> &mut Tally {
        &mut self.0[property as usize]
    }
}

/// A message by its place in the run.
pub(crate) fn message_name(stamp: &Stamp) -> String {
    let kind = kind_name(stamp.kind);
    let room = match stamp.room & Stamp::ALL {
        0 => format!("room {}", stamp.room),
        _ => format!("all/{}", stamp.room & !Stamp::ALL),
    };
    format!("{room} #{}{kind}", stamp.index)
}

/// Behind the name of what is no work.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Work => "",
        Kind::Fence => " (fence)",
        Kind::Farewell => " (farewell)",
    }
}
