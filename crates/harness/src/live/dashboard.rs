//! The dashboard on a terminal: its keys, and what it is drawn from.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ws_analysis::pulse::Pulse;
use ws_swarm::{Seen, Step};

use super::{
    Run, State,
    draw::{Scene, draw},
    plain,
    plain::View,
    terminal,
};

/// How often keys are looked for.
const TICK: Duration = Duration::from_millis(50);

/// Ticks between two pictures.
const DRAW_EVERY: u32 = 5;

/// Shows a run until it is aborted; who drops the watch gives the terminal back.
pub(super) async fn show(run: Run, state: State) {
    let Ok(mut screen) = terminal::enter() else {
        // There is a terminal, and it can't be had as a whole.
        return plain::show(run, state).await;
    };
    let mut ticks = tokio::time::interval(TICK);
    let mut tick = 0_u32;
    loop {
        ticks.tick().await;
        let is_changed = look_at_keys(&run);
        if is_changed || tick.is_multiple_of(DRAW_EVERY) {
            let scene = scene(&run, &state);
            // A terminal that is gone ends the run by a signal.
            let _ = screen.draw(|frame| draw(frame, &scene));
        }
        tick = tick.wrapping_add(1);
    }
}

/// Handles the keys that wait; whether there is something new to draw.
fn look_at_keys(run: &Run) -> bool {
    let mut is_changed = false;
    while event::poll(Duration::ZERO).unwrap_or(false) {
        let Ok(event) = event::read() else { break };
        is_changed = true;
        if matches!(event, Event::Key(key) if is_stop(key)) {
            run.interrupt.ask();
        }
    }
    is_changed
}

/// q, or Ctrl-C, which is no signal here.
fn is_stop(key: KeyEvent) -> bool {
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (key.code == KeyCode::Char('q') || is_interrupt)
}

fn scene(run: &Run, state: &State) -> Scene {
    let scenario = &run.config.scenario;
    let seen = run.monitor.read();
    let state = state.lock();
    let (step, since) = state.step.unwrap_or((Step::Connect, Instant::now()));
    let view = View::new(step, since.elapsed(), seen, scenario);
    let sending_s = state.sending.map(|sending| sending.elapsed().as_secs_f64());
    Scene {
        title: format!("{} {}", run.tool.name, run.tool.version),
        seed: scenario.seed,
        step: view.name,
        done: view.done,
        of: view.of,
        sending_s,
        duration_s: scenario.duration.as_secs_f64(),
        connections: scenario.connections,
        connect_rate: scenario.connect_rate,
        asked: sending_s.filter(|_| step == Step::Send).map_or(0.0, |s| scenario.profile().rate_at(s)),
        standing: state.standing.clone(),
        moments: state.course.moments().cloned().collect(),
        lag_us: state.watch.lag_us(),
        cpu_share: state.watch.cpu_share(),
        workers: run.config.workers,
        unread: state.pulse.unread.each(),
        counts: state.pulse.counts,
        open: open(step, seen, &state.pulse),
        incidents: state.pulse.incidents.clone(),
        faults: run.faults.read(),
        faults_planned: run.config.faults.len(),
        said: terminal::last_said(),
    }
}

/// Sockets that are open: pulses, which know it by replica, come only once a second.
fn open(step: Step, seen: Seen, pulse: &Pulse) -> u64 {
    match step {
        Step::Connect | Step::Join => seen.connected.saturating_sub(seen.ended),
        _ => pulse.open().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_counted_while_they_are_opened() {
        let seen = Seen { connected: 165, ended: 5, ..Seen::default() };
        let open = |step| open(step, seen, &Pulse::default());
        assert_eq!((open(Step::Connect), open(Step::Send)), (160, 0));
    }

    #[test]
    fn q_and_ctrl_c_stop_and_nothing_else() {
        let stops = |code, modifiers| is_stop(KeyEvent::new(code, modifiers));
        assert!(stops(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(stops(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!stops(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!stops(KeyCode::Esc, KeyModifiers::NONE));
    }
}
