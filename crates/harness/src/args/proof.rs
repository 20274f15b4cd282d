//! What was typed about chaos and proof: ws-verify's own options.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use ws_analysis::contract::Contract;

/// The options of `ws-verify run` beyond those of any run.
#[derive(Args, Clone, Debug, Default)]
pub struct ProofArgs {
    /// Draw a schedule of faults from a seed, and print it [default duration: 60s]
    #[arg(long, value_name = "SEED", conflicts_with = "faults", help_heading = "Faults")]
    pub chaos: Option<u64>,

    /// Do faults to the containers of this Docker Compose project, whose servers the URLs are
    #[arg(long, value_name = "PROJECT", conflicts_with = "local", help_heading = "Faults")]
    pub compose: Option<String>,
    /// Which of its services are the replicas; * is anything [default: app-*]
    #[arg(long, value_name = "PATTERN", requires = "compose", help_heading = "Faults")]
    pub compose_replicas: Option<String>,
    /// Which is Redis [default: redis-1]
    #[arg(long, value_name = "NAME", requires = "compose", help_heading = "Faults")]
    pub compose_redis: Option<String>,

    /// What a gap is: exactly-once, no-silent-loss or at-most-once [default: what the servers claim]
    #[arg(long, value_name = "CONTRACT", help_heading = "Proof")]
    pub contract: Option<Contract>,
    /// Prove this order besides; repeat it for both
    #[arg(long = "order", value_name = "ORDER", help_heading = "Proof")]
    pub orders: Vec<OrderName>,
    /// A delivery later than this is late, and without a fault a violation [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Proof")]
    pub deadline: Option<Duration>,

    /// Write report.json, report.html, junit.xml and the faults as they happened into DIR
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub report_dir: Option<PathBuf>,
    /// Also keep all that was seen, as DIR/history.jsonl.zst, for `ws-verify check`
    #[arg(long, requires = "report_dir", help_heading = "Output")]
    pub history: bool,
    /// Print annotations for GitHub Actions, and write its job summary
    #[arg(long, help_heading = "Output")]
    pub github: bool,
}

/// An order beyond that of each sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OrderName {
    /// P7: all members of a room see one order (by the positions that deliveries carry)
    Total,
    /// P8: nobody sees a message before one that its sender had seen
    Causal,
}
