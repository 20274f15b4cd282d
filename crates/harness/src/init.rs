//! A scenario file to begin with, and the schema of them all.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use ws_analysis::exit::Exit;
use ws_workload::file;

use crate::run::{failed, say};

/// The options of `init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// Where it is written
    #[arg(value_name = "FILE", default_value = "scenario.toml")]
    pub file: PathBuf,
    /// Also over a file that is there
    #[arg(long)]
    pub force: bool,
}

/// Writes a scenario with comments; not over one that is there, unless it is forced.
#[must_use]
pub fn init(args: &InitArgs) -> ExitCode {
    let path = args.file.display();
    let mut options = OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(&args.file).and_then(|mut file| file.write_all(file::TEMPLATE.as_bytes()));
    match written {
        Ok(()) => {
            say(&format!("{path} is written; run it: ws-loadgen run --scenario {path}"));
            Exit::Pass.into()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            failed(Exit::Usage, &anyhow::anyhow!("{path} is there already; --force writes over it"))
        }
        Err(error) => {
            failed(Exit::Unreachable, &anyhow::Error::from(error).context(format!("{path} can't be written")))
        }
    }
}

/// Prints the JSON schema of scenario files.
#[must_use]
pub fn schema() -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(file::schema().as_bytes()).and_then(|()| out.flush()).context("the schema") {
        Ok(()) => Exit::Pass.into(),
        Err(error) => failed(Exit::Unreachable, &error),
    }
}
