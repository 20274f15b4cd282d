//! Reports of the past: several merged into one, one in another form, or one held against another.

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use ws_analysis::{
    compare::{self, Comparison},
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

/// The options of `compare`.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// Reports in JSON, the new one last; several base runs tell the noise better
    #[arg(value_name = "REPORT", required = true, num_args = 2..)]
    pub reports: Vec<PathBuf>,
    /// How much worse a number may be, besides its noise
    #[arg(long, value_name = "PART", default_value = "10%", value_parser = part)]
    pub tolerance: f64,
    /// Format of the comparison on standard output
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output_format: OutputFormat,
    /// Use no colours (also NO_COLOR)
    #[arg(long)]
    pub no_color: bool,
}

/// Shows what differs; 99 if something is worse by more than tolerance and noise, and the new run's own exit code if that
/// is a fail by itself.
#[must_use]
pub fn compare(args: &CompareArgs) -> ExitCode {
    match compared(args) {
        Ok(exit) => exit.into(),
        Err(error) => failed(Exit::Usage, &error),
    }
}

fn compared(args: &CompareArgs) -> anyhow::Result<Exit> {
    let reports: Vec<Report> =
        args.reports.iter().map(|path| read_report(path)).collect::<anyhow::Result<_>>()?;
    let (new, bases) = reports.split_last().context("there is nothing to compare")?;
    let comparison = Comparison::new(bases, new, args.tolerance);
    let shown = match args.output_format {
        OutputFormat::Text => compare::render(&comparison, colored(args.no_color)),
        OutputFormat::Json => serde_json::to_string_pretty(&comparison)? + "\n",
    };
    // A reader that went away has what it wanted.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(if comparison.failed.is_some() {
        exit_of_report(new)
    } else if !comparison.inconclusive.is_empty() {
        Exit::Inconclusive
    } else if comparison.has_regressed() {
        Exit::Threshold
    } else {
        Exit::Pass
    })
}

/// `10%` or `0.1`.
fn part(text: &str) -> Result<f64, String> {
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    match number {
        Ok(part) if part.is_finite() && (0.0..10.0).contains(&part) => Ok(part),
        _ => Err(format!("{text:?} is no part like 10% or 0.1")),
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
