//! `agent`: takes part in the runs that another machine leads.

use std::{process::ExitCode, time::Duration};

use anyhow::ensure;
use clap::Args;
use tokio::{signal::unix::SignalKind, time::sleep};
use tokio_util::sync::CancellationToken;
use ws_analysis::exit::Exit;

use super::{Coordinator, broker};
use crate::run::{failed, say};

/// The job of who names none.
pub(crate) const JOB: &str = "default";

/// How long a Redis that went away is left alone.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) const HELP: &str = "\
One machine leads, the others only wait for it:
  agent --coordinator redis://10.0.0.1               on each of three machines
  run --agents 3 --coordinator redis://10.0.0.1 \\
    ws://10.0.1.1:8080 ws://10.0.1.2:8080 -c 150k    on the one that leads

Whoever leads says everything else: load, target, seed. Agents take one run
after another until they are told to end. The Redis is only for the agents; it
need not be the cluster's, and had better not be.";

/// The options of `agent`.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// The Redis through which runs are led
    #[arg(long, value_name = "URL", env = "WS_COORDINATOR")]
    coordinator: Coordinator,
    /// Take part in the runs of this name only
    #[arg(long, value_name = "NAME", default_value = JOB)]
    job: String,
    /// What reports call it [default: host name and process]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// End after one run
    #[arg(long)]
    once: bool,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
}

/// Serves runs until it is told to end.
pub(super) async fn run(args: &AgentArgs) -> ExitCode {
    let end = CancellationToken::new();
    tokio::spawn(end_on_signal(end.clone()));
    let name = args.name.clone().unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{} {}", host.trim(), std::process::id())
    });
    let agent = Agent { args, name, end };
    agent.tell(&format!("waiting for a run of the job {}", args.job));
    loop {
        let served = agent.one_run().await;
        match served {
            _ if agent.end.is_cancelled() => return Exit::Interrupted.into(),
            Ok(()) => agent.tell("its part is done"),
            Err(error) if args.once => return failed(Exit::Unreachable, &error),
            Err(error) => {
                say(&format!("{error:#}; waiting for the next run"));
                sleep(PAUSE).await;
            }
        }
        if args.once {
            return ExitCode::SUCCESS;
        }
    }
}

async fn end_on_signal(end: CancellationToken) {
    let signal = |kind| tokio::signal::unix::signal(kind).expect("signals can be listened to");
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    end.cancel();
}

struct Agent<'a> {
    args: &'a AgentArgs,
    name: String,
    end: CancellationToken,
}

impl Agent<'_> {
    async fn one_run(&self) -> anyhow::Result<()> {
        let (coordinator, job) = (&self.args.coordinator, &self.args.job);
        let seat = tokio::select! {
            seat = broker::wait_for_seat(coordinator, job) => seat?,
            () = self.end.cancelled() => return Ok(()),
        };
        self.tell(&seat.describe());
        let own = env!("CARGO_PKG_VERSION");
        ensure!(
            seat.version() == own,
            "a run of version {} is led, and this is {own}: run the same everywhere",
            seat.version()
        );
        let (line, writer) = seat.take(coordinator, job).await?;
        let served =
            super::serve(line, writer, (self.name.clone(), seat.patience()), self.end.cancelled()).await;
        served.map_err(anyhow::Error::msg)
    }

    fn tell(&self, line: &str) {
        if !self.args.quiet {
            say(&format!("{}: {line}", self.name));
        }
    }
}
