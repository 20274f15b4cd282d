//! The one path of a run: cluster, swarm, report, exit code.

use std::{
    fs::File,
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::Arc,
    time::{Instant, SystemTime},
};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use ws_analysis::{
    exit::Exit,
    report::{
        self, ClusterUse, Counts, Environment, Generator, Latency, Phases, ProcessUse, ReplicaResult, Report,
        Summary, Verdict, text,
    },
};
use ws_cluster::{
    backend::local::{LocalCluster, LocalOptions, StartError},
    process::{Usage, own_usage},
};
use ws_swarm::{Endpoint, Monitor, Outcome, Plan, SwarmError};
use ws_wire::codec::Protocol;

use crate::{
    Tool,
    args::{OutputFormat, RunArgs},
    config::{Config, DEADLINE, Target},
    limits,
    progress::Progress,
    verdict,
};

/// How many sends a second our own replicas take from one connection: the test is not about this limit.
const SENDS_PER_SECOND: u32 = 1_000_000;

/// Runs `tool` as `args` say, to its exit code.
#[must_use]
pub fn run(tool: &Tool, args: RunArgs) -> ExitCode {
    let color =
        std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let config = match Config::new(tool, args, rand::random::<u32>().into(), color) {
        Ok(config) => config,
        Err(error) => return failed(Exit::Usage, &error.into()),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(Exit::Unreachable, &error.into()),
    };
    match runtime.block_on(whole_run(tool, &config)) {
        Ok(exit) => exit.into(),
        Err(Failure(exit, error)) => failed(exit, &error),
    }
}

fn failed(exit: Exit, error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    exit.into()
}

/// An end without a report.
struct Failure(Exit, anyhow::Error);

async fn whole_run(tool: &Tool, config: &Config) -> Result<Exit, Failure> {
    let unreachable = |error: anyhow::Error| Failure(Exit::Unreachable, error);
    let open_files = limits::open_files(config).map_err(unreachable)?;
    let file = output_file(config).map_err(|error| Failure(Exit::Usage, error))?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone());

    let cluster = start_cluster(config, &stop).await?;
    let endpoints = endpoints(config, cluster.as_ref()).await?;
    let plan = plan(config, endpoints);
    let started_unix =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let environment = Environment { started_unix, open_files, ..environment() };
    let monitor = Arc::new(Monitor::new(plan.workers));
    let progress = Progress::start(monitor.clone(), plan.scenario.clone(), config.quiet);
    let mut samples = Vec::new();
    let outcome = ws_swarm::run(plan, monitor, stop.clone(), |step| {
        progress.begins(step);
        samples.push(Sample::take(cluster.as_ref()));
    })
    .await;
    drop(progress);
    let outcome = outcome.map_err(|error| match error {
        SwarmError::NothingOpened(_) if stop.is_cancelled() => Failure(Exit::Interrupted, error.into()),
        error => unreachable(error.into()),
    })?;
    let interrupted = stop.is_cancelled();
    let (cluster, dead) = match cluster {
        Some(cluster) => {
            let dead = cluster.dead();
            let known = (cluster.redis().map(|redis| redis.version.clone()), cluster.notes().to_vec());
            tokio::task::spawn_blocking(move || cluster.stop()).await.expect("stopping does not panic");
            (Some(known), dead)
        }
        None => (None, Vec::new()),
    };
    let sums_agree = outcome.findings.sums_agree;
    let report =
        Findings { tool, config, environment, samples, outcome, cluster, dead, interrupted }.report();
    publish(&report, config, file).map_err(unreachable)?;
    Ok(match report.verdict {
        _ if !sums_agree => Exit::Internal,
        _ if interrupted => Exit::Interrupted,
        Verdict::Pass => Exit::Pass,
        Verdict::Fail => Exit::Violation,
        Verdict::Inconclusive => Exit::Inconclusive,
    })
}

/// Opened at once: a path that can't be written is told before the run and not after it.
fn output_file(config: &Config) -> anyhow::Result<Option<File>> {
    let open =
        |path| File::create(path).with_context(|| format!("--output {}", std::path::Path::display(path)));
    config.output.as_deref().map(open).transpose()
}

/// The first signal ends the run early, the second at once; our children end with us.
fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(Exit::Interrupted as i32);
            }
            eprintln!("interrupted: ending the run and judging what was sent; once more to stop at once");
            stop.cancel();
        }
    });
}

async fn start_cluster(config: &Config, stop: &CancellationToken) -> Result<Option<LocalCluster>, Failure> {
    let Target::Local { replicas, redis, broker, bugs } = &config.target else { return Ok(None) };
    let tool = std::env::current_exe().context("this program can't be found, to start replicas of it");
    let options = LocalOptions {
        replicas: *replicas,
        redis: redis.clone(),
        broker: *broker,
        bugs: bugs.clone(),
        faults: Vec::new(),
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
        endpoints.push(Endpoint::resolve(url).await.map_err(|error| {
            let exit = match error {
                ws_swarm::PlanError::Url { .. } => Exit::Usage,
                ws_swarm::PlanError::Resolve { .. } => Exit::Unreachable,
            };
            Failure(exit, error.into())
        })?);
    }
    Ok(endpoints)
}

fn plan(config: &Config, endpoints: Vec<Endpoint>) -> Plan {
    Plan {
        scenario: config.scenario.clone(),
        workers: config.workers,
        protocol: Protocol::Native,
        endpoints,
        source_ips: config.source_ips.clone(),
        headers: config.headers.clone(),
        insecure: config.insecure,
        run: rand::random(),
        deadline_us: u64::try_from(DEADLINE.as_micros()).expect("a constant"),
    }
}

fn environment() -> Environment {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let os = format!("{} {}", std::env::consts::OS, release.trim());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Environment { os, cpus, ..Environment::default() }
}

/// What everybody had used when a step began.
#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    own: Usage,
    server: Option<Usage>,
    redis: Option<Usage>,
}

impl Sample {
    fn take(cluster: Option<&LocalCluster>) -> Self {
        Self {
            at: Instant::now(),
            own: own_usage(),
            server: cluster.and_then(LocalCluster::server_usage),
            redis: cluster.and_then(LocalCluster::redis_usage),
        }
    }
}

/// Everything a report is made of.
struct Findings<'a> {
    tool: &'a Tool,
    config: &'a Config,
    environment: Environment,
    /// One for each step as it began.
    samples: Vec<Sample>,
    outcome: Outcome,
    /// Redis and notes of our own cluster.
    cluster: Option<(Option<String>, Vec<String>)>,
    dead: Vec<String>,
    interrupted: bool,
}

impl Findings<'_> {
    fn report(self) -> Report {
        let Self { tool, config, outcome, .. } = &self;
        let findings = &outcome.findings;
        let nodes: Vec<String> = outcome.replicas.iter().map(|met| met.hello.node.clone()).collect();
        let properties = report::properties(findings, &nodes);
        let (verdict, mut reasons) =
            verdict::verdict(tool.purpose, config, outcome, &properties, &self.dead, self.interrupted);
        if !findings.sums_agree {
            reasons.insert(0, "bug in this tool: expected, delivered and lost do not add up".into());
        }
        let latencies = &findings.latencies;
        Report {
            schema: report::SCHEMA.into(),
            tool: tool.name.into(),
            version: tool.version.into(),
            verdict,
            reasons,
            notes: self.notes(),
            seed: config.scenario.seed,
            config: config.to_json(),
            environment: self.environment.clone(),
            target: self.target(),
            contract: "exactly-once".into(),
            phases: self.phases(),
            faults: Vec::new(),
            causes: Vec::new(),
            series: Vec::new(),
            timeline: Vec::new(),
            counts: Counts::new(findings, config.scenario.connections, config.scenario.rooms),
            properties,
            latency_us: Latency {
                connect: Summary::from(&latencies.connect),
                ack: Summary::from(&latencies.ack),
                delivery: Summary::from(&latencies.delivery),
                fanout_first: Summary::from(&latencies.fanout_first),
                fanout_last: Summary::from(&latencies.fanout_last),
            },
            replica_matrix: report::matrix(findings, &nodes),
            cluster: ClusterUse {
                server: self.used(|sample| sample.server),
                redis: self.used(|sample| sample.redis),
            },
            generator: self.generator(),
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.cluster.as_ref().map(|(_, notes)| notes.clone()).unwrap_or_default();
        let foreign = self.outcome.findings.counts.foreign;
        if foreign > 0 {
            notes.push(format!("{foreign} messages of others came; they were not judged"));
        }
        if self.outcome.findings.counts.late > 0 {
            let late = self.outcome.findings.counts.late;
            notes.push(format!(
                "{late} deliveries came later than {} s; late is not lost",
                DEADLINE.as_secs()
            ));
        }
        notes
    }

    fn target(&self) -> report::Target {
        let replicas = &self.outcome.replicas;
        let first = replicas.first().map(|met| met.hello.clone()).unwrap_or_default();
        let mut bugs: Vec<String> = replicas.iter().flat_map(|met| met.hello.bugs.clone()).collect();
        bugs.sort();
        bugs.dedup();
        let replica = |met: &ws_swarm::Met| ReplicaResult {
            node: met.hello.node.clone(),
            url: met.url.clone(),
            connections: met.connections,
        };
        report::Target {
            protocol: Protocol::Native.name().into(),
            broker: first.broker,
            guarantee: first.guarantee,
            redis: self.cluster.as_ref().and_then(|(redis, _)| redis.clone()),
            bugs,
            replicas: replicas.iter().map(replica).collect(),
        }
    }

    fn phases(&self) -> Phases {
        let step = |step: usize| match self.samples.get(step..step + 2) {
            Some([from, to]) => (to.at - from.at).as_secs_f64(),
            _ => 0.0,
        };
        Phases { connect_s: step(0), join_s: step(1), send_s: step(2), drain_s: step(3) }
    }

    /// While messages were sent.
    fn used(&self, by: impl Fn(&Sample) -> Option<Usage>) -> Option<ProcessUse> {
        let [from, to] = self.samples.get(2..4)? else { return None };
        let (from, to) = (by(from)?, by(to)?);
        Some(ProcessUse { cpu_seconds: to.cpu_seconds - from.cpu_seconds, rss_bytes: to.rss_bytes })
    }

    fn generator(&self) -> Generator {
        let ProcessUse { cpu_seconds, rss_bytes } = self.used(|sample| Some(sample.own)).unwrap_or_default();
        let schedule_lag_us = Summary::from(&self.outcome.findings.latencies.schedule_lag);
        let saturated = verdict::is_saturated(&schedule_lag_us);
        Generator { cpu_seconds, rss_bytes, schedule_lag_us, saturated }
    }
}

/// Prints the report, and writes it to the file if one was asked for.
fn publish(report: &Report, config: &Config, file: Option<File>) -> anyhow::Result<()> {
    let document = serde_json::to_string_pretty(report).context("the report is no JSON")?;
    let shown = match config.output_format {
        OutputFormat::Text => text::render(report, config.color),
        OutputFormat::Json => format!("{document}\n"),
    };
    // A reader that went away (head, a closed pipe) has what it wanted.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    if let (Some(mut file), Some(path)) = (file, &config.output) {
        writeln!(file, "{document}")
            .and_then(|()| file.sync_all().or_else(ignore_unsyncable))
            .with_context(|| format!("the report can't be written to {}", path.display()))?;
    }
    Ok(())
}

/// A pipe or a device has nothing to sync.
fn ignore_unsyncable(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::InvalidInput { Ok(()) } else { Err(error) }
}
