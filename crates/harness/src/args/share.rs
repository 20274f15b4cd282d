//! Which processes drive the sockets.

use std::time::Duration;

use clap::Args;

use crate::members::Coordinator;

/// The options that share the sockets out; the text of the flattened struct would show up in the tools' help.
#[derive(Args, Clone, Debug, Default)]
pub struct ShareArgs {
    /// Processes of this machine that share the sockets [default: as many as the limit of open files asks for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Many processes")]
    pub processes: Option<u16>,
    /// Share the sockets out over N agents, which wait on other machines (agent --help)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000), requires = "coordinator", conflicts_with = "processes", help_heading = "Many processes")]
    pub agents: Option<u16>,
    /// The Redis through which the agents are led
    #[arg(long, value_name = "URL", requires = "agents", help_heading = "Many processes")]
    pub coordinator: Option<Coordinator>,
    /// Only agents of this job take part [default: default]
    #[arg(long, value_name = "NAME", requires = "agents", help_heading = "Many processes")]
    pub job: Option<String>,
    /// How long agents are waited for [default: 60s]
    #[arg(long, value_name = "TIME", requires = "agents", value_parser = humantime::parse_duration, help_heading = "Many processes")]
    pub agents_wait: Option<Duration>,
}
