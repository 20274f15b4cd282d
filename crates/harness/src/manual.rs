//! Shell completions and manual pages, made from the command line itself.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Command, Subcommand};
use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};
use ws_analysis::exit::Exit;

use crate::{Tool, run::failed};

/// What a tool says of itself besides `--help`.
#[derive(Clone, Debug, Subcommand)]
pub enum ManualCommand {
    /// Print completions for a shell, to be put where it looks for them
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// Which shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands into DIR
    #[command(after_help = MAN_HELP)]
    Man {
        /// Where they go; it has to be there
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

const COMPLETIONS_HELP: &str = "\
Examples, with TOOL for this program's name:
  TOOL completions bash > ~/.local/share/bash-completion/completions/TOOL
  TOOL completions zsh > ~/.zfunc/_TOOL        (with ~/.zfunc in $fpath)
  TOOL completions fish > ~/.config/fish/completions/TOOL.fish";

const MAN_HELP: &str = "\
Examples, with TOOL for this program's name:
  TOOL man | man -l -
  TOOL man ~/.local/share/man/man1             then: man TOOL-run";

/// Prints or writes it; `command` is the tool's command line.
#[must_use]
pub fn manual(tool: &Tool, what: &ManualCommand, command: &Command) -> ExitCode {
    let command = visible(tool, command);
    let said = match what {
        ManualCommand::Completions { shell } => Ok(completions(tool, *shell, command)),
        ManualCommand::Man { dir: None } => page(&command),
        ManualCommand::Man { dir: Some(dir) } => pages(command, dir).map(|()| Vec::new()),
    };
    match said {
        Ok(said) => {
            // A reader that went away has what it wanted.
            let _ = io::stdout().write_all(&said);
            Exit::Pass.into()
        }
        Err(error) => failed(Exit::Unreachable, &error),
    }
}

/// Without the subcommands by which the tool runs parts of itself.
fn visible(tool: &Tool, command: &Command) -> Command {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut visible = Command::new(tool.name).version(tool.version).subcommands(shown);
    if let Some(about) = command.get_about() {
        visible = visible.about(about.clone());
    }
    if let Some(help) = command.get_after_help() {
        visible = visible.after_help(help.clone());
    }
    visible
}

fn completions(tool: &Tool, shell: Shell, mut command: Command) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, tool.name, &mut script);
    script
}

/// What comes after the help keeps its lines: they are made for 80 columns, and commands are copied from them.
fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    let bare = command.clone().after_help(None::<&'static str>);
    Man::new(bare).render(&mut page)?;
    if let Some(help) = command.get_after_help() {
        let mut examples = Roff::new();
        examples.control("SH", ["EXAMPLES"]).control("nf", None);
        for line in help.to_string().lines() {
            examples.text([roman(line)]);
        }
        examples.control("fi", None).to_writer(&mut page)?;
    }
    Ok(page)
}

fn pages(command: Command, dir: &Path) -> anyhow::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write_pages(&command, dir).with_context(|| format!("the pages can't be written to {}", dir.display()))
}

fn write_pages(command: &Command, dir: &Path) -> anyhow::Result<()> {
    let mut shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.try_for_each(|command| write_pages(command, dir))?;
    let name = Man::new(command.clone()).get_filename();
    Ok(fs::write(dir.join(name), page(command)?)?)
}

/// What a terminal of 80 columns would break in the help of `cli` and its commands.
#[must_use]
pub fn too_wide(mut cli: Command) -> Vec<String> {
    cli.build();
    let commands = std::iter::once(&cli).chain(cli.get_subcommands());
    let help = |command: &Command| {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        after + "\n" + &command.clone().render_long_help().to_string()
    };
    let shown = commands.filter(|command| !command.is_hide_set());
    let all: Vec<String> = shown.map(help).collect();
    let lines = all.iter().flat_map(|help| help.lines());
    lines.filter(|line| line.chars().count() > 80).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines() {
        let command = Command::new("tool").after_help("Examples:\n  tool run 'a b'\n.hidden");
        let page = String::from_utf8(page(&command).expect("a page")).expect("text");
        let examples = ".SH EXAMPLES\n.nf\nExamples:\n  tool run \\*(Aqa b\\*(Aq\n\\&.hidden\n.fi\n";
        assert!(page.ends_with(examples) && !page.contains("EXTRA"), "{page}");
    }

    #[test]
    fn lines_that_are_too_wide_are_found() {
        let wide = "x".repeat(81);
        let cli = Command::new("a").subcommand(Command::new("b").after_help(wide.clone()));
        let found = too_wide(cli.clone());
        assert!(!found.is_empty() && found.iter().all(|line| *line == wide), "{found:?}");
        assert!(too_wide(cli.mut_subcommand("b", |b| b.hide(true))).is_empty());
    }
}
