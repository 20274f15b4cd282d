//! What was typed about a search for the greatest load that holds.

use std::time::Duration;

use clap::Args;
use ws_analysis::{capacity::Quantity, threshold::Threshold};

use super::{RunArgs, count};

/// The options of `capacity`.
#[derive(Args, Clone, Debug)]
pub struct CapacityArgs {
    /// What is to be as great as it goes: rate (messages a second) or connections; the search starts at --rate or
    /// --connections
    #[arg(long, value_name = "rate|connections", help_heading = "Search")]
    pub max: Quantity,
    /// What has to hold meanwhile, as with --threshold; commas between
    #[arg(
        long,
        value_name = "DEMANDS",
        value_delimiter = ',',
        default_value = "delivery.p99<100ms,lost==0",
        help_heading = "Search"
    )]
    pub slo: Vec<Threshold>,
    /// How near the answer and what fails have to be, 1% to 50%
    #[arg(long, value_name = "PERCENT", value_parser = percent, default_value = "5%", help_heading = "Search")]
    pub precision: f64,
    /// Probes of a value that did not hold at once, and of the answer; most of them decide
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99), default_value_t = 3, help_heading = "Search")]
    pub repeats: u32,
    /// How long each probe sends
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5s", help_heading = "Search")]
    pub probe: Duration,
    /// Try no greater value
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Search")]
    pub up_to: Option<u32>,
    /// What each probe does, as with run
    #[command(flatten)]
    pub run: RunArgs,
}

/// A part of one, typed in hundredths.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>();
    match number {
        Ok(percent) if (1.0..=50.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("it is 1% to 50%".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_a_part_of_the_answer() {
        assert_eq!((percent("5%"), percent("50")), (Ok(0.05), Ok(0.5)));
        assert!(["", "%", "0%", "51%", "x", "NaN"].into_iter().all(|wrong| percent(wrong).is_err()));
    }
}
