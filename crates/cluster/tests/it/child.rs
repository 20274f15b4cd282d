//! A tool with nothing but the hidden subcommands.

use std::process::ExitCode;

use clap::Parser as _;
use ws_cluster::child::{self, ChildCommand};

#[derive(clap::Parser)]
struct Cli {
    #[command(subcommand)]
    command: ChildCommand,
}

fn main() -> ExitCode {
    child::run(Cli::parse().command)
}
