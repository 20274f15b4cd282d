//! Reports of the past: several merged into one, or one in another form.

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

use clap::Args;
use ws_analysis::{
    exit::Exit,
    report::{self, Report},
};

use crate::{
    args::{OutputFile, OutputFormat},
    output::{self, Files},
    past::read_report,
    run::{exit_of_report, failed},
};

/// The options of `report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Reports in JSON; several are merged as if their runs had been side by side
    #[arg(value_name = "REPORT", required = true)]
    pub reports: Vec<PathBuf>,
    /// Also write it to FILE: .json, .csv, .html, .hlog, .xml, .md or .txt; repeat it for more
    #[arg(short, long, value_name = "FILE")]
    pub output: Vec<OutputFile>,
    /// Format of the report on standard output
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output_format: OutputFormat,
    /// Use no colours (also NO_COLOR)
    #[arg(long)]
    pub no_color: bool,
}

/// Shows and writes the one report that they make, to the exit code of its verdict.
#[must_use]
pub fn report(args: &ReportArgs) -> ExitCode {
    let report = match merged(&args.reports) {
        Ok(report) => report,
        Err(error) => return failed(Exit::Usage, &error),
    };
    let document = match output::document(&report) {
        Ok(document) => document,
        Err(error) => return failed(Exit::Internal, &error),
    };
    // Opened last: one of them may be the report that was read.
    let files = match Files::open(&args.output) {
        Ok(files) => files,
        Err(error) => return failed(Exit::Usage, &error),
    };
    output::show(&report, &document, args.output_format, colored(args.no_color));
    match files.write(&report, &document) {
        Err(error) => failed(Exit::Unreachable, &error),
        Ok(()) => exit_of_report(&report).into(),
    }
}

fn merged(paths: &[PathBuf]) -> anyhow::Result<Report> {
    let reports: Vec<Report> = paths.iter().map(|path| read_report(path)).collect::<anyhow::Result<_>>()?;
    report::merge(reports)
        .map_err(|error| anyhow::anyhow!("{} can't be merged: {error}", paths[error.place].display()))
}

/// Whether colours would be seen.
fn colored(no_color: bool) -> bool {
    std::io::stdout().is_terminal()
        && !no_color
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
