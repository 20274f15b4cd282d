//! Where the results go: standard output, files, a folder of all forms, GitHub.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use ws_analysis::{
    report::{Report, csv, github, hlog, html, junit, text},
    timeline::Timeline,
    verdict::Facts,
};

use crate::{
    args::{Form, OutputFile, OutputFormat},
    config::Config,
    history,
};

/// Everything that is written at the end, opened at the beginning: a path that can't be written is told before the run
/// and not after it.
pub(crate) struct Outputs {
    files: Files,
    folder: Option<PathBuf>,
    pub(crate) history: Option<history::Writer>,
}

impl Outputs {
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let files = Files::open(&config.output.files)?;
        let folder = config.output.folder.clone();
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).with_context(|| format!("--report-dir {}", folder.display()))?;
        }
        let history = match &folder {
            Some(folder) if config.output.history => Some(history::Writer::start(folder)?),
            _ => None,
        };
        Ok(Self { files, folder, history })
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
        note(self.files.write(report, &document));
        if config.output.github {
            note(for_github(report));
        }
        as_one(errors)
    }
}

/// The files of `-o`, opened.
pub(crate) struct Files(Vec<(OutputFile, File)>);

impl Files {
    pub(crate) fn open(files: &[OutputFile]) -> anyhow::Result<Self> {
        let open = |output: &OutputFile| {
            let file = File::create(&output.path);
            Ok((output.clone(), file.with_context(|| format!("--output {}", output.path.display()))?))
        };
        files.iter().map(open).collect::<anyhow::Result<_>>().map(Self)
    }

    /// Each in its form; all are written, whatever becomes of the others.
    pub(crate) fn write(self, report: &Report, document: &str) -> anyhow::Result<()> {
        let write = |(output, mut file): (OutputFile, File)| {
            let content = match output.form {
                Form::Json => document.to_owned(),
                Form::Csv => csv::render(report),
                Form::Html => html::render(report),
                Form::Hlog => hlog::render(report),
                Form::Junit => junit::render(report),
                Form::Markdown => github::summary(report),
                Form::Text => text::render(report, false),
            };
            file.write_all(content.as_bytes())
                .and_then(|()| file.sync_all().or_else(ignore_unsyncable))
                .with_context(|| format!("the report can't be written to {}", output.path.display()))
        };
        as_one(self.0.into_iter().filter_map(|file| write(file).err()).collect())
    }
}

/// Several errors in a line.
fn as_one(mut errors: Vec<anyhow::Error>) -> anyhow::Result<()> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => {
            let all: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
            Err(anyhow::anyhow!(all.join("; ")))
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
