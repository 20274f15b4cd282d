//! Plain progress on standard error: bars on a terminal, else a line now and then.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use ws_swarm::{Seen, Step};
use ws_workload::scenario::Scenario;

use super::{Run, State, terminal::say};

/// How often a bar moves.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Shows a run until it is aborted.
pub(super) async fn show(run: Run, state: State) {
    let scenario = &run.config.scenario;
    let terminal = std::io::stderr().is_terminal();
    let mut bar = Bar(ProgressBar::hidden());
    let mut shown = None;
    let mut line = Instant::now();
    let mut ticks = tokio::time::interval(BAR_EVERY);
    loop {
        ticks.tick().await;
        let Some((step, since)) = state.lock().step else { continue };
        let view = View::new(step, since.elapsed(), run.monitor.read(), scenario);
        let new = shown.replace(step) != Some(step);
        if terminal {
            if new {
                bar = Bar::new(&view);
            }
            bar.0.set_position(view.done);
            bar.0.set_message(view.said);
        } else if new || line.elapsed() >= LINE_EVERY {
            line = Instant::now();
            if view.of > 0 {
                say(&format!("{:<11} {}/{} {}", view.name, view.done.min(view.of), view.of, view.said));
            }
        }
    }
}

/// A bar that leaves no trace when the run is over, however it ends.
struct Bar(ProgressBar);

impl Bar {
    fn new(view: &View) -> Self {
        let template = "{prefix:<11} [{bar:24}] {pos}/{len} {msg}";
        let style =
            ProgressStyle::with_template(template).expect("the template is a constant").progress_chars("=> ");
        Self(ProgressBar::new(view.of).with_style(style).with_prefix(view.name))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// One moment of a step.
pub(super) struct View {
    pub(super) name: &'static str,
    pub(super) done: u64,
    pub(super) of: u64,
    said: String,
}

impl View {
    pub(super) fn new(step: Step, elapsed: Duration, seen: Seen, scenario: &Scenario) -> Self {
        let sockets = u64::from(scenario.connections);
        let view = |name, done, of, said| Self { name, done, of, said };
        let trouble = match (seen.ended, seen.violations) {
            (0, 0) => String::new(),
            (ended, 0) => format!(", {ended} sockets gone"),
            (0, violations) => format!(", {violations} violations"),
            (ended, violations) => format!(", {ended} sockets gone, {violations} violations"),
        };
        match step {
            Step::Connect => view("connecting", seen.connected, sockets, format!("sockets{trouble}")),
            Step::Join => view("joining", seen.joined, sockets, format!("members{trouble}")),
            Step::Send if scenario.messages() == 0 => {
                view("holding", elapsed.as_secs(), scenario.duration.as_secs(), format!("s{trouble}"))
            }
            Step::Send => {
                let said = format!("messages, {} deliveries{trouble}", seen.delivered);
                view("sending", seen.sent, scenario.messages(), said)
            }
            Step::Settle => view("settling", sockets.saturating_sub(seen.ended), sockets, "sockets".into()),
            Step::Drain | Step::Done => {
                view("draining", seen.fenced_rooms, u64::from(scenario.rooms), format!("rooms{trouble}"))
            }
        }
    }
}
