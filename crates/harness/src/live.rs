//! What goes on while a run runs: the pulses are watched, thresholds that stop a run are held against them, and whoever
//! looks is shown where it stands.

mod course;
mod dashboard;
mod draw;
mod plain;
pub(crate) mod terminal;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use anyhow::ensure;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use ws_analysis::{
    pulse::Pulse,
    report::Verdict,
    strain::{self, Standing, Watch},
    threshold::ThresholdResult,
    verdict::Purpose,
};
use ws_swarm::{Monitor, Step};

use crate::{
    Tool,
    args::Ui,
    config::Config,
    nemesis::{Bouts, FaultsSeen},
    run::Interrupt,
};
use course::Course;

/// How often the pulses are looked at; workers have one a second.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Watches a run until it is dropped.
pub(crate) struct Live {
    state: State,
    tasks: Vec<JoinHandle<()>>,
}

/// What the run consists of, for those who watch.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) tool: Tool,
    pub(crate) config: Arc<Config>,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) faults: FaultsSeen,
    pub(crate) interrupt: Interrupt,
}

/// What watching brought.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) watch: Watch,
    /// The threshold that stopped the run.
    pub(crate) aborted: Option<ThresholdResult>,
}

/// Shared by those who watch.
#[derive(Clone, Default)]
struct State(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    step: Option<(Step, Instant)>,
    /// When messages are due from.
    sending: Option<Instant>,
    pulse: Pulse,
    watch: Watch,
    course: Course,
    standing: Option<(Verdict, String)>,
    aborted: Option<ThresholdResult>,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

/// How a run is shown on standard error: never more than it can show.
///
/// # Errors
/// A dashboard is wanted where there is none to be had.
pub(crate) fn choose(ui: Ui, quiet: bool) -> anyhow::Result<Ui> {
    match ui {
        _ if quiet => Ok(Ui::Off),
        Ui::Auto if terminal::is_usable() => Ok(Ui::Dashboard),
        Ui::Auto => Ok(Ui::Plain),
        Ui::Dashboard => {
            ensure!(
                terminal::is_usable(),
                "--ui dashboard needs a terminal on standard error, in the foreground"
            );
            Ok(ui)
        }
        Ui::Plain | Ui::Off => Ok(ui),
    }
}

impl Live {
    /// Watches `run`, and shows it by `ui`.
    pub(crate) fn start(run: Run, ui: Ui, stop: CancellationToken) -> Self {
        let state = State::default();
        let mut tasks = vec![tokio::spawn(look(run.clone(), state.clone(), stop))];
        match ui {
            Ui::Off => {}
            Ui::Dashboard => tasks.push(tokio::spawn(dashboard::show(run, state.clone()))),
            Ui::Auto | Ui::Plain => tasks.push(tokio::spawn(plain::show(run, state.clone()))),
        }
        Self { state, tasks }
    }

    /// A step begins; messages are due from `at` on.
    pub(crate) fn begins(&self, step: Step, at: Instant) {
        let mut state = self.state.lock();
        state.step = Some((step, Instant::now()));
        if step == Step::Send {
            state.sending = Some(at);
        }
    }

    /// Ends the watch.
    pub(crate) fn finish(self) -> Watched {
        let mut state = self.state.lock();
        Watched { watch: std::mem::take(&mut state.watch), aborted: state.aborted.take() }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        terminal::leave();
    }
}

/// Looks at the pulses until it is aborted.
async fn look(run: Run, state: State, stop: CancellationToken) {
    let Config { scenario, thresholds, faults, .. } = &*run.config;
    let purpose: Purpose = run.tool.purpose;
    let facts = Standing { purpose, thresholds, is_calm: faults.is_empty() };
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let mut ended = 0;
    loop {
        ticks.tick().await;
        let pulses = run.monitor.pulses();
        let mut state = state.lock();
        let Some((step, _)) = state.step else { continue };
        if step == Step::Send {
            state.watch.look(&pulses, scenario.size.mean() as usize);
        }
        let pulse = Pulse::sum(&pulses);
        let Bouts { on, over } = run.faults.read();
        let has_ended = over.len() > std::mem::replace(&mut ended, over.len());
        state.course.note(&pulse, !on.is_empty() || has_ended);
        if matches!(step, Step::Connect | Step::Join | Step::Send) && !stop.is_cancelled() {
            let mut aborts = thresholds.iter().filter(|threshold| threshold.aborts());
            state.aborted = aborts.find_map(|threshold| threshold.broken(&pulse));
            if let Some(broken) = &state.aborted {
                stop.cancel();
                if !run.config.output.quiet {
                    terminal::say(&format!("{}: ending the run and judging what was sent", broken.said()));
                }
            }
        }
        let (verdict, why) = strain::standing(&pulse, &state.watch, &facts);
        // Nothing passes before there is something that could be wrong.
        let is_known = verdict != Verdict::Pass || pulse.counts.delivered > 0;
        state.standing = is_known.then_some((verdict, why));
        state.pulse = pulse;
    }
}
