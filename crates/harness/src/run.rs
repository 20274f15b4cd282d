//! The one path of a run: cluster, swarm, report, exit code.

use std::{
    io::IsTerminal as _,
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::SyncSender,
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use ws_analysis::{
    exit::Exit,
    judge::Findings,
    report::{Environment, FaultResult, Report, Verdict},
    verdict::Facts,
};
use ws_cluster::{
    backend::{
        compose::{ComposeError, Project},
        local::{LocalCluster, LocalOptions, StartError},
    },
    fault::Nemesis as Doer,
};
use ws_swarm::{
    Conductor, Endpoint, Heartbeat, Line, Means, Monitor, Plan, Sources, Step, SwarmError, hands,
};
use ws_workload::fault::Kind;

use crate::{
    Tool,
    args::{RunArgs, Ui, proof::ProofArgs},
    assemble::{ClusterFacts, Evidence, Judged, Sample},
    config::{Config, Local, Share, Target},
    history, limits,
    live::{self, Live, Run, Watched, terminal},
    members::{self, Children},
    metrics::Exporter,
    nemesis::Nemesis,
    output::Outputs,
};

/// How many sends a second our own replicas take from one connection: the test is not about this limit.
const SENDS_PER_SECOND: u32 = 1_000_000;

/// A connection is pinged after the first, and given up after the second, without a byte.
const CALM: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(30));

/// The same where connections are broken on purpose.
const ALERT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));

/// The run begins so long after it was planned where other processes have to hear of it first.
const LEAD: Duration = Duration::from_secs(1);

/// Sockets that are pinged as often as that; twice as many half as often, or the pings would be a load of their own.
const PINGED: u32 = 20_000;

/// What the kernel keeps for clients that are to read slowly: with its usual megabytes no server would notice them.
const SMALL_BUFFER: u32 = 4096;

/// Runs `tool` as `args` say, to its exit code.
#[must_use]
pub fn run(tool: &Tool, args: RunArgs, proof: ProofArgs) -> ExitCode {
    let config = match Config::new(tool, args, proof, rand::random::<u32>().into(), shows_color()) {
        Ok(config) => config,
        Err(error) => return failed(Exit::Usage, &error),
    };
    to_the_end(whole_run(tool, config))
}

/// Whether colours on standard output are seen and wanted.
pub(crate) fn shows_color() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Runs `work` on a runtime of its own, to the exit code.
pub(crate) fn to_the_end(work: impl Future<Output = Result<Exit, Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(Exit::Unreachable, &error.into()),
    };
    match runtime.block_on(work) {
        Ok(exit) => exit.into(),
        Err(Failure(exit, error)) => failed(exit, &error),
    }
}

pub(crate) use crate::live::terminal::say;

pub(crate) fn failed(exit: Exit, error: &anyhow::Error) -> ExitCode {
    say(&format!("error: {error:#}"));
    exit.into()
}

/// An end without a report.
pub(crate) struct Failure(pub(crate) Exit, pub(crate) anyhow::Error);

async fn whole_run(tool: &Tool, mut config: Config) -> Result<Exit, Failure> {
    let open_files = limits::fit(&mut config).map_err(unreachable)?;
    let config = &Arc::new(config);
    let ui =
        live::choose(config.output.ui, config.output.quiet).map_err(|error| Failure(Exit::Usage, error))?;
    let outputs = Outputs::open(config).map_err(|error| Failure(Exit::Usage, error))?;
    announce(config);
    let ground = Ground::prepare(config, open_files).await?;
    let history = outputs.history.as_ref().map(history::Writer::lines);
    let Ran { evidence, mut exporter } = ground.run(tool, config, ui, history).await?;
    ground.end().await;
    let Judged { report, facts, findings, timeline } = evidence.judge();
    let published = outputs.publish(&report, &facts, &timeline, config);
    exporter.finish(&report).await;
    let exit = exit_of(&report, &findings, &facts);
    match published {
        // A report that could not be written is no pass; a violation stays one.
        Err(error) if exit == Exit::Pass => Err(unreachable(error)),
        Err(error) => Err(Failure(exit, error)),
        Ok(()) => Ok(exit),
    }
}

fn unreachable(error: anyhow::Error) -> Failure {
    Failure(Exit::Unreachable, error)
}

/// What is tested, and what tests it: it carries one run after another.
pub(crate) struct Ground {
    /// What the user may ask for.
    interrupt: Interrupt,
    pub(crate) environment: Environment,
    pub(crate) cluster: Option<Arc<LocalCluster>>,
    project: Option<Arc<Project>>,
    endpoints: Vec<Endpoint>,
}

impl Ground {
    /// Starts the cluster that `config` wants, or finds it; signals are heard from now on.
    pub(crate) async fn prepare(config: &Config, open_files: u64) -> Result<Self, Failure> {
        let stop = CancellationToken::new();
        let interrupt = Interrupt { stop: stop.clone(), containers: Arc::default(), again: Arc::default() };
        stop_on_signal(interrupt.clone());
        let project = find_project(config).await?;
        if let Some(project) = &project {
            let _ = interrupt.containers.set(project.clone());
        }
        let cluster = start_cluster(config, &stop).await?.map(Arc::new);
        let endpoints = endpoints(config, cluster.as_deref()).await?;
        Ok(Self { interrupt, environment: environment(open_files), cluster, project, endpoints })
    }

    /// One run, from its first connection to its last.
    pub(crate) async fn run<'a>(
        &self,
        tool: &'a Tool,
        config: &'a Arc<Config>,
        ui: Ui,
        history: Option<SyncSender<Vec<u8>>>,
    ) -> Result<Ran<'a>, Failure> {
        // A demand that aborts ends this run alone.
        let (stop, cluster) = (&self.interrupt.stop.child_token(), self.cluster.as_deref());
        let called = call_members(tool, config, stop).await;
        let (children, members) = called.map_err(|error| match stop.is_cancelled() {
            true => Failure(Exit::Interrupted, error),
            false => unreachable(error),
        })?;
        let sources = limits::sources(config, &self.endpoints).map_err(unreachable)?;
        let notes = sources.note.iter().cloned().collect();
        let plan = plan(config, self.endpoints.clone(), sources);
        let monitor = Arc::new(Monitor::new(plan.workers));
        let (hands, reach) = hands(plan.workers);
        let doer = doer(config, self.cluster.clone(), self.project.clone())?;
        let exporter = Exporter::start(tool, config, &self.environment, monitor.clone()).await;
        let exporter = exporter.map_err(unreachable)?;
        let nemesis = Nemesis::new(&config.faults, Some(doer), hands, plan.epoch, plan.scenario.seed, stop);
        let run = Run {
            tool: *tool,
            config: config.clone(),
            monitor: monitor.clone(),
            faults: nemesis.seen(),
            interrupt: self.interrupt.clone(),
        };
        let mut stage = Stage {
            exporter,
            live: Live::start(run, ui, stop.clone()),
            nemesis,
            faults: Vec::new(),
            samples: Vec::new(),
            cluster: self.cluster.clone(),
            monitor: monitor.clone(),
        };
        let means = Means { monitor, stop: stop.clone(), reach, history, members };
        let outcome = tokio::select! {
            outcome = ws_swarm::run(plan, means, &mut stage) => outcome,
            // What holds a fault heals it as it is dropped.
            () = crate::panicked() => return Err(Failure(Exit::Internal, anyhow::anyhow!("a part of it panicked"))),
        };
        let Stage { live, exporter, faults, samples, .. } = stage;
        let Watched { watch, aborted } = live.finish();
        let outcome = outcome.map_err(|error| match error {
            SwarmError::Member { .. } => {
                let said = children.as_ref().map(Children::last_words).unwrap_or_default();
                unreachable(anyhow::anyhow!("{error}{said}"))
            }
            SwarmError::NothingOpened(_) if stop.is_cancelled() => Failure(Exit::Interrupted, error.into()),
            error => unreachable(error.into()),
        })?;
        let evidence = Evidence {
            tool,
            config,
            environment: self.environment.clone(),
            notes,
            samples,
            outcome,
            faults,
            cluster: cluster.map(ClusterFacts::new),
            dead: cluster.map(LocalCluster::dead).unwrap_or_default(),
            interrupted: self.is_stopped(),
            aborted,
            watch,
        };
        Ok(Ran { evidence, exporter })
    }

    /// Whether the user wants no more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.interrupt.stop.is_cancelled()
    }

    /// Ends what was started.
    pub(crate) async fn end(mut self) {
        self.stop_cluster().await;
    }

    /// Starts the cluster anew, where it is one of our own.
    pub(crate) async fn renew(&mut self, config: &Config) -> Result<(), Failure> {
        self.stop_cluster().await;
        self.cluster = start_cluster(config, &self.interrupt.stop).await?.map(Arc::new);
        self.endpoints = endpoints(config, self.cluster.as_deref()).await?;
        Ok(())
    }

    async fn stop_cluster(&mut self) {
        let Some(cluster) = self.cluster.take() else { return };
        tokio::task::spawn_blocking(move || cluster.stop()).await.expect("stopping does not panic");
    }
}

/// A run that is over, and who tells of it.
pub(crate) struct Ran<'a> {
    pub(crate) evidence: Evidence<'a>,
    exporter: Exporter,
}

/// The other processes that have a part of the sockets, if some have.
async fn call_members(
    tool: &Tool,
    config: &Config,
    stop: &CancellationToken,
) -> anyhow::Result<(Option<Children>, Vec<Line>)> {
    match &config.share {
        Share::Fitting => Ok((None, Vec::new())),
        Share::Processes(count) => {
            let (children, lines) = Children::start(*count)?;
            Ok((Some(children), lines))
        }
        Share::Agents(agents) => Ok((None, members::call(agents, tool.version, stop).await?)),
    }
}

/// Who breaks things; that it can is known before anything is sent.
fn doer(
    config: &Config,
    cluster: Option<Arc<LocalCluster>>,
    project: Option<Arc<Project>>,
) -> Result<Doer, Failure> {
    let commands = config.commands.clone();
    let doer = match (cluster, project) {
        (Some(cluster), _) => Doer::Local(cluster),
        (None, Some(project)) => Doer::Compose(project, commands),
        (None, None) => Doer::Commands(commands),
    };
    if let Doer::Compose(..) = doer {
        let refused = config.faults.iter().try_for_each(|fault| doer.supports(fault));
        refused.map_err(|why| Failure(Exit::Usage, anyhow::anyhow!("--fault {why}")))?;
    }
    Ok(doer)
}

/// The containers that are to be broken, if some are.
async fn find_project(config: &Config) -> Result<Option<Arc<Project>>, Failure> {
    let Some(options) = &config.compose else { return Ok(None) };
    match Project::find(options.clone()).await {
        Ok(project) => Ok(Some(Arc::new(project))),
        Err(error @ ComposeError::Usage(_)) => Err(Failure(Exit::Usage, error.into())),
        Err(error) => Err(Failure(Exit::Unreachable, error.into())),
    }
}

/// The exit code of a judged run.
pub(crate) fn exit_of(report: &Report, findings: &Findings, facts: &Facts) -> Exit {
    if !findings.sums_agree || facts.canary.is_some() {
        Exit::Internal
    } else if facts.interrupted {
        Exit::Interrupted
    } else {
        exit_of_report(report)
    }
}

/// The exit code of a report that is whole.
pub(crate) fn exit_of_report(report: &Report) -> Exit {
    match report.verdict {
        Verdict::Pass => Exit::Pass,
        // A violation weighs more than a number that is not as it was wished.
        Verdict::Fail if report.properties.iter().any(|property| property.violations > 0) => Exit::Violation,
        Verdict::Fail => Exit::Threshold,
        Verdict::Inconclusive => Exit::Inconclusive,
    }
}

/// Says what is going to be broken: a schedule that was drawn by lot is to be seen.
fn announce(config: &Config) {
    if config.output.quiet || config.faults.is_empty() {
        return;
    }
    say("faults, from the start of sending:");
    config.faults.iter().for_each(|fault| say(&format!("  {fault}")));
}

/// What goes on beside the swarm.
struct Stage {
    live: Live,
    exporter: Exporter,
    nemesis: Nemesis,
    /// Once they are over.
    faults: Vec<FaultResult>,
    samples: Vec<Sample>,
    cluster: Option<Arc<LocalCluster>>,
    monitor: Arc<Monitor>,
}

impl Conductor for Stage {
    fn begins(&mut self, step: Step, at: Instant) {
        self.live.begins(step, at);
        self.exporter.begins(step);
        // Sending begins when the first message is due.
        let since = if step == Step::Send { at } else { Instant::now() };
        self.samples.push(Sample::take(since, self.cluster.as_deref(), &self.monitor));
        if step == Step::Send {
            self.nemesis.begin(at);
        }
    }

    async fn healed(&mut self) {
        self.faults = self.nemesis.finish().await;
    }
}

/// Ends the run early; asked once more, at once.
#[derive(Clone)]
pub(crate) struct Interrupt {
    stop: CancellationToken,
    containers: Arc<OnceLock<Arc<Project>>>,
    again: Arc<AtomicBool>,
}

impl Interrupt {
    /// What is asked the first time, and what the second: our children end with us, and containers, which do not, are put
    /// to rights before.
    pub(crate) fn ask(&self) {
        if self.again.swap(true, Relaxed) {
            terminal::leave();
            if let Some(project) = self.containers.get() {
                project.close().iter().for_each(|broken| say(&format!("not put to rights: {broken}")));
            }
            std::process::exit(Exit::Interrupted as i32);
        }
        // First: whoever read what we say may be gone, and then saying it fails.
        self.stop.cancel();
        say("interrupted: ending the run and judging what was sent; once more to stop at once");
    }
}

fn stop_on_signal(interrupt: Interrupt) {
    use tokio::signal::unix::{SignalKind, signal};
    tokio::spawn(async move {
        let (Ok(mut interrupted), Ok(mut terminated), Ok(mut hung_up)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
                _ = hung_up.recv() => {}
            }
            interrupt.ask();
        }
    });
}

async fn start_cluster(config: &Config, stop: &CancellationToken) -> Result<Option<LocalCluster>, Failure> {
    let Target::Local(Local { replicas, serve, redis, broker, bugs }) = &config.target else {
        return Ok(None);
    };
    let tool = std::env::current_exe().context("this program can't be found, to start replicas of it");
    let options = LocalOptions {
        replicas: *replicas,
        redis: redis.clone(),
        serve: serve.clone(),
        broker: *broker,
        bugs: bugs.clone(),
        faults: config.faults.clone(),
        tool: tool.map_err(|error| Failure(Exit::Unreachable, error))?,
        sends_per_second: SENDS_PER_SECOND,
    };
    let started = tokio::select! {
        started = LocalCluster::start(options) => started,
        () = stop.cancelled() => {
            return Err(Failure(Exit::Interrupted, anyhow::anyhow!("interrupted before anything was sent")));
        }
    };
    started.map(Some).map_err(|error| {
        let exit = if matches!(error, StartError::Usage(_)) { Exit::Usage } else { Exit::Unreachable };
        Failure(exit, error.into())
    })
}

async fn endpoints(config: &Config, cluster: Option<&LocalCluster>) -> Result<Vec<Endpoint>, Failure> {
    let urls: Vec<&str> = match (&config.target, cluster) {
        (Target::Urls(urls), _) => urls.iter().map(String::as_str).collect(),
        (_, Some(cluster)) => cluster.replicas().iter().map(|replica| replica.url.as_str()).collect(),
        (_, None) => Vec::new(),
    };
    let mut endpoints = Vec::new();
    for url in urls {
        endpoints.push(Endpoint::resolve(url, &config.protocol.codec).await.map_err(|error| {
            let exit = match error {
                ws_swarm::PlanError::Url { .. } => Exit::Usage,
                ws_swarm::PlanError::Resolve { .. } => Exit::Unreachable,
            };
            Failure(exit, error.into())
        })?);
    }
    Ok(endpoints)
}

fn plan(config: &Config, endpoints: Vec<Endpoint>, sources: Sources) -> Plan {
    let (ping_after, dead_after) = if config.faults.is_empty() { CALM } else { ALERT };
    let slowly = (config.scenario.connections / PINGED).max(1);
    let reads_slowly = config.faults.iter().any(|fault| fault.kind == Kind::SlowConsumer);
    Plan {
        scenario: config.scenario.clone(),
        workers: config.workers,
        protocol: config.protocol.codec.clone(),
        node_header: config.protocol.node_header.clone(),
        endpoints,
        sources,
        headers: config.headers.clone(),
        insecure: config.insecure,
        run: rand::random(),
        epoch: Instant::now() + if config.share.members() > 0 { LEAD } else { Duration::ZERO },
        deadline_us: u64::try_from(config.deadline.as_micros()).unwrap_or(u64::MAX),
        contract: config.contract,
        rules: config.rules,
        heartbeat: Heartbeat { ping_after: ping_after * slowly, dead_after: dead_after * slowly },
        settle: config.settle,
        receive_buffer: reads_slowly.then_some(SMALL_BUFFER),
    }
}

fn environment(open_files: u64) -> Environment {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let os = format!("{} {}", std::env::consts::OS, release.trim());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let started_unix =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Environment { os, cpus, open_files, started_unix }
}
