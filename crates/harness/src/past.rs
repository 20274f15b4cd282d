//! Runs of the past: judged again from their history, or run again from their report.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use ws_analysis::{
    exit::Exit,
    history::{self as lines, Footer},
    judge,
    ledger::Ledger,
    report::{Report, SCHEMA},
    threshold::Threshold,
};

use crate::{
    Tool,
    args::{OutputFormat, RunArgs, proof::ProofArgs},
    config, history, output,
    run::{exit_of, failed, run},
};

/// The options of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// A history, or the folder of a run that kept one (`--report-dir DIR --history`)
    #[arg(value_name = "DIR|FILE")]
    pub path: PathBuf,
    /// Format of the report on standard output
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output_format: OutputFormat,
    /// Use no colours (also NO_COLOR)
    #[arg(long)]
    pub no_color: bool,
}

/// The options of `replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// A report.json: its seed, load and faults are run again
    #[arg(value_name = "REPORT")]
    pub report: PathBuf,
    /// What wins over the report
    #[command(flatten)]
    pub run: RunArgs,
    /// What wins over the report
    #[command(flatten)]
    pub proof: ProofArgs,
}

/// Judges a history, to the exit code that its run had.
#[must_use]
pub fn check(args: &CheckArgs) -> ExitCode {
    match judged(&args.path) {
        Err(error) => failed(Exit::Usage, &error),
        Ok((report, exit)) => {
            let color =
                std::io::stdout().is_terminal() && !args.no_color && std::env::var_os("NO_COLOR").is_none();
            match output::document(&report) {
                Ok(document) => output::show(&report, &document, args.output_format, color),
                Err(error) => return failed(Exit::Internal, &error),
            }
            exit.into()
        }
    }
}

/// Runs again what a report tells of.
#[must_use]
pub fn replay(tool: &Tool, args: ReplayArgs) -> ExitCode {
    let ReplayArgs { report, run: typed, proof } = args;
    let again = read_report(&report).and_then(|old| {
        if !old.runs.is_empty() {
            bail!("{} is merged from {} runs; give the report of one", report.display(), old.runs.len());
        }
        config::replayed(&old.config, typed, proof)
            .map_err(|why| anyhow::anyhow!("{} can't be run again: {why}", report.display()))
    });
    match again {
        Ok((args, proof)) => run(tool, args, proof),
        Err(error) => failed(Exit::Usage, &error),
    }
}

pub(crate) fn read_report(path: &Path) -> anyhow::Result<Report> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no report", path.display()))?;
    match value["schema"].as_str() {
        Some(SCHEMA) => {}
        Some(other) => bail!("{} is a {other}; this version reads {SCHEMA}", path.display()),
        None => bail!("{} is no report: it has no schema", path.display()),
    }
    serde_json::from_value(value).with_context(|| format!("{} is no report", path.display()))
}

fn judged(path: &Path) -> anyhow::Result<(Report, Exit)> {
    let file = if path.is_dir() { path.join(history::NAME) } else { path.to_owned() };
    let read = || -> anyhow::Result<(Vec<Ledger>, Option<Footer>)> {
        let opened = BufReader::new(File::open(&file)?);
        let packed = file.extension().is_some_and(|extension| extension == "zst");
        let opened: Box<dyn BufRead> =
            if packed { Box::new(BufReader::new(zstd::Decoder::new(opened)?)) } else { Box::new(opened) };
        // A history may be larger than memory: line by line.
        let mut unreadable = None;
        let lines = opened.lines().map_while(|line| line.map_err(|error| unreadable = Some(error)).ok());
        let replayed = lines::replay(lines);
        match unreadable {
            Some(error) => Err(error.into()),
            None => Ok(replayed?),
        }
    };
    let (ledgers, footer) = read().with_context(|| format!("{} can't be judged", file.display()))?;
    let Some(Footer { timeline, facts, report }) = footer else {
        bail!("{} has no last line: its run was broken off, and can't be judged", file.display());
    };
    let mut report: Report =
        serde_json::from_value(report).with_context(|| format!("{}: its last line", file.display()))?;
    // What a lost process wrote down until then is not whole.
    let mut ledgers = ledgers;
    ledgers.retain(|ledger| !facts.lost_workers.contains(&ledger.setup().worker));
    let findings = judge::judge(ledgers, &timeline);
    report.judge(&findings, &timeline, &facts);
    let demands: Result<Vec<Threshold>, _> =
        report.thresholds.iter().map(|result| result.threshold.parse()).collect();
    let aborted = report.thresholds.iter().find(|result| result.aborted_us.is_some()).cloned();
    let demands = demands.with_context(|| format!("{}: its last line", file.display()))?;
    report.demand(&demands, aborted.as_ref());
    let exit = exit_of(&report, &findings, &facts);
    Ok((report, exit))
}
