//! Where the results go: standard output, a file, a folder of all forms, GitHub.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use ws_analysis::{
    report::{Report, github, html, junit, text},
    timeline::Timeline,
    verdict::Facts,
};

use crate::{args::OutputFormat, config::Config, history};

/// Everything that is written at the end, opened at the beginning: a path that can't be written is told before the run
/// and not after it.
pub(crate) struct Outputs {
    file: Option<(PathBuf, File)>,
    folder: Option<PathBuf>,
    pub(crate) history: Option<history::Writer>,
}

impl Outputs {
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let file = match &config.output.file {
            None => None,
            Some(path) => {
                let file = File::create(path).with_context(|| format!("--output {}", path.display()))?;
                Some((path.clone(), file))
            }
        };
        let folder = config.output.folder.clone();
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).with_context(|| format!("--report-dir {}", folder.display()))?;
        }
        let history = match &folder {
            Some(folder) if config.output.history => Some(history::Writer::start(folder)?),
            _ => None,
        };
        Ok(Self { file, folder, history })
    }

    /// Prints the report, and writes all that was asked for.
    pub(crate) fn publish(
        self,
        report: &Report,
        facts: &Facts,
        timeline: &Timeline,
        config: &Config,
    ) -> anyhow::Result<()> {
        let document = document(report)?;
        show(report, &document, config.output.format, config.output.color);
        // All are written, whatever becomes of the others.
        let mut errors = Vec::new();
        let mut note = |written: anyhow::Result<()>| errors.extend(written.err());
        if let Some(history) = self.history {
            note(history.finish(timeline, facts, report));
        }
        if let Some(folder) = &self.folder {
            note(fill(folder, report, &document));
        }
        if let Some((path, mut file)) = self.file {
            let written = file
                .write_all(document.as_bytes())
                .and_then(|()| file.sync_all().or_else(ignore_unsyncable))
                .with_context(|| format!("the report can't be written to {}", path.display()));
            note(written);
        }
        if config.output.github {
            note(for_github(report));
        }
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => {
                let all: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
                Err(anyhow::anyhow!(all.join("; ")))
            }
        }
    }
}

/// The report as its JSON document.
pub(crate) fn document(report: &Report) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report).context("the report is no JSON")? + "\n")
}

/// The report on standard output.
pub(crate) fn show(report: &Report, document: &str, format: OutputFormat, color: bool) {
    let shown = match format {
        OutputFormat::Text => &text::render(report, color),
        OutputFormat::Json => document,
    };
    // A reader that went away (head, a closed pipe) has what it wanted.
    let _ = std::io::stdout().write_all(shown.as_bytes());
}

/// All forms of the report, in a folder.
fn fill(folder: &Path, report: &Report, document: &str) -> anyhow::Result<()> {
    let faults: String = report.faults.iter().map(|fault| format!("    {:?},\n", fault.planned)).collect();
    let realised = format!(
        "# What was broken in this run, to be run again: ws-verify run --scenario schedule.toml\n\nfault = [\n{faults}]\n"
    );
    for (name, content) in [
        ("report.json", document),
        ("report.html", &html::render(report)),
        ("junit.xml", &junit::render(report)),
        ("schedule.toml", &realised),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(())
}

/// Annotations on standard error, so that standard output stays the report; the summary where GitHub wants it.
fn for_github(report: &Report) -> anyhow::Result<()> {
    // Nobody may be there to read it.
    let _ = std::io::stderr().write_all(github::annotations(report).as_bytes());
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let mut file =
        OpenOptions::new().append(true).create(true).open(&path).context("$GITHUB_STEP_SUMMARY")?;
    file.write_all(github::summary(report).as_bytes()).context("$GITHUB_STEP_SUMMARY can't be written")
}

/// A pipe or a device has nothing to sync.
fn ignore_unsyncable(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::InvalidInput { Ok(()) } else { Err(error) }
}
