//! The terminal while a dashboard has it. Whatever ends the run gives it back: the dashboard's drop, a panic, a second
//! signal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor, execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use rustix::{process::getpgrp, termios::tcgetpgrp};

/// What was said while the dashboard had the terminal; none while it has not.
static SAID: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// The dashboard's.
pub(super) type Screen = Terminal<CrosstermBackend<io::Stderr>>;

/// Whether there is one, and it is ours: a program in the background would be stopped for touching it.
pub(crate) fn is_usable() -> bool {
    let is_ours = || tcgetpgrp(io::stderr()).is_ok_and(|group| group == getpgrp());
    io::stderr().is_terminal() && is_ours() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Takes the terminal.
pub(super) fn enter() -> io::Result<Screen> {
    enable_raw_mode()?;
    *said() = Some(Vec::new());
    execute!(io::stderr(), EnterAlternateScreen, cursor::Hide).inspect_err(|_| leave())?;
    Terminal::new(CrosstermBackend::new(io::stderr())).inspect_err(|_| leave())
}

/// Gives it back, if it was taken, and says what was said meanwhile.
pub(crate) fn leave() {
    let Some(lines) = said().take() else { return };
    // Nothing can be done about a terminal that is gone.
    let _ = disable_raw_mode();
    let _ = execute!(io::stderr(), LeaveAlternateScreen, cursor::Show);
    lines.iter().for_each(|line| say(line));
}

/// A line on standard error; nobody may be there to read it.
pub(crate) fn say(line: &str) {
    match &mut *said() {
        Some(lines) => lines.push(line.to_owned()),
        None => drop(writeln!(io::stderr(), "{line}")),
    }
}

/// The last thing that was said since the dashboard has the terminal.
pub(super) fn last_said() -> Option<String> {
    said().as_ref().and_then(|lines| lines.last().cloned())
}

fn said() -> MutexGuard<'static, Option<Vec<String>>> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}
