//! What the command line and the scenario file mean: no option is left open.

mod protocol;
mod resolved;

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum as _;
use ws_analysis::contract::Rules;
use ws_server::args::BrokerName;
use ws_workload::{
    fault::{Fault, Kind, Site, chaos},
    file::{self, ScenarioFile},
    scenario::{Scenario, Senders},
    topology::Topology,
};

use crate::{
    Tool,
    args::{
        RunArgs, ShareArgs,
        proof::{OrderName, ProofArgs},
    },
    members::JOB,
};
pub use protocol::Speech;
pub(crate) use resolved::replayed;
pub use resolved::{Agents, Config, Local, Output, Share, Target};
use ws_cluster::{
    RedisChoice,
    backend::{
        compose::{self, ComposeOptions},
        local::Serve,
    },
    fault::{CommandFault, Commands},
};

/// A delivery later than this is late.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long agents are waited for.
const AGENTS_WAIT: Duration = Duration::from_secs(60);

/// How long everything may take to work again.
const SETTLE: Duration = Duration::from_secs(10);

/// How long the cluster is seen at peace before the first fault that is drawn by lot.
const PEACE: Duration = Duration::from_secs(3);

/// How long messages go on after the last heal.
const TAIL: Duration = Duration::from_secs(5);

/// The least of that: what recovers has to be seen to.
const TAIL_MIN: Duration = Duration::from_secs(2);

impl Config {
    /// Resolves what was typed; `seed` is taken if none was given, `color` says whether colours would be seen.
    ///
    /// # Errors
    /// What does not fit together, by the name of its option.
    pub fn new(tool: &Tool, args: RunArgs, proof: ProofArgs, seed: u64, color: bool) -> anyhow::Result<Self> {
        let file = proof.scenario.as_deref().map(read).transpose()?.unwrap_or_default();
        let target = target(&args, &file)?;
        let compose = compose(&proof, &target)?;
        let faults = faults(&args, &proof, &file, &target)?;
        let scenario = scenario(tool, &args, &proof, &file, &faults, seed);
        scenario.validate()?;
        let protocol = Speech::new(&args, &file)?;
        protocol.check(&scenario)?;
        check_times(&faults, scenario.duration)?;
        let commands = commands(&file);
        check_site(&faults, &target, compose.is_some(), &commands)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = args.workers.unwrap_or_else(|| u32::try_from(processors.div_ceil(2)).unwrap_or(1));
        let contract = match (proof.contract, &file.check.contract) {
            (Some(contract), _) => Some(contract),
            (None, Some(name)) => Some(name.parse()?),
            (None, None) => None,
        };
        let rules = Rules {
            contract: contract.unwrap_or_default(),
            total_order: proof.orders.contains(&OrderName::Total),
            causal_order: proof.orders.contains(&OrderName::Causal),
            timeliness: tool.purpose == crate::Purpose::Prove,
        };
        Ok(Self {
            workers: workers.min(scenario.rooms),
            share: share(args.share),
            scenario,
            protocol,
            replicas: args.replicas.map(usize::from),
            target,
            faults,
            compose,
            commands,
            contract,
            rules,
            deadline: proof.deadline.or(file.check.deadline).unwrap_or(DEADLINE),
            settle: proof.settle.or(file.check.settle).unwrap_or(SETTLE),
            source_ips: args.source_ip,
            headers: args.headers,
            insecure: args.insecure,
            thresholds: args.thresholds,
            output: Output {
                file: args.output,
                format: args.output_format,
                folder: proof.report_dir,
                history: proof.history,
                github: proof.github,
                ui: args.ui.unwrap_or_default(),
                quiet: args.quiet,
                color: color && !args.no_color,
            },
        })
    }
}

/// Which processes drive the sockets, as far as it was said.
fn share(args: ShareArgs) -> Share {
    match (args.agents, args.coordinator, args.processes) {
        (Some(count), Some(coordinator), _) => Share::Agents(Agents {
            count: count.into(),
            coordinator,
            job: args.job.unwrap_or_else(|| JOB.into()),
            wait: args.agents_wait.unwrap_or(AGENTS_WAIT),
        }),
        (.., Some(count)) => Share::Processes(count.into()),
        _ => Share::Fitting,
    }
}

fn read(path: &Path) -> anyhow::Result<ScenarioFile> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--scenario {}", path.display()))?;
    Ok(file::parse(&text, &path.display().to_string())?)
}

fn target(args: &RunArgs, file: &ScenarioFile) -> anyhow::Result<Target> {
    let broker = match (args.broker, &file.cluster.broker) {
        (Some(broker), _) => Some(broker),
        // What is typed wins over the file, and has a broker of its own.
        (None, Some(_)) if args.serve.is_some() => None,
        (None, Some(name)) => Some(BrokerName::from_str(name, false).map_err(anyhow::Error::msg)?),
        (None, None) => None,
    };
    let local = match (args.local, args.urls.is_empty()) {
        (None, true) => file.cluster.local,
        (local, _) => local,
    };
    let serve = args.serve.clone().or_else(|| file.cluster.serve.clone().filter(|_| local.is_some()));
    let ready = args.ready.as_ref().or(file.cluster.ready.as_ref());
    ensure!(
        local.is_some() || serve.is_none(),
        "--serve starts replicas on this machine: say how many with --local N"
    );
    ensure!(serve.is_some() || args.ready.is_none(), "--ready is for the program of --serve CMD");
    match local {
        Some(replicas) => Ok(Target::Local(Local {
            replicas: replicas.into(),
            serve: serve.map(|command| {
                let ready_path = ready.map_or("/readyz", String::as_str).to_owned();
                Serve { command, ready_path }
            }),
            redis: args.redis.clone().unwrap_or(RedisChoice::Auto),
            broker,
            bugs: args.bugs.clone(),
        })),
        None if args.urls.is_empty() => {
            bail!("there is nothing to test: name its URLs <URL>..., or start a cluster with --local 3")
        }
        None => Ok(Target::Urls(args.urls.clone())),
    }
}

/// Those that were typed; else those that are drawn by lot; else the file's.
fn faults(
    args: &RunArgs,
    proof: &ProofArgs,
    file: &ScenarioFile,
    target: &Target,
) -> anyhow::Result<Vec<Fault>> {
    let mut faults = match (proof.chaos, proof.faults.is_empty()) {
        (Some(seed), _) => draw(seed, args, proof, file, target),
        (None, false) => proof.faults.clone(),
        (None, true) => file.faults.clone(),
    };
    ensure!(proof.chaos.is_none() || !faults.is_empty(), "--duration is too short for --chaos: 20s at least");
    faults.sort_by_key(|fault| fault.at);
    Ok(faults)
}

fn draw(seed: u64, args: &RunArgs, proof: &ProofArgs, file: &ScenarioFile, target: &Target) -> Vec<Fault> {
    let duration = args.duration.or(file.load.duration).unwrap_or(CHAOS);
    let loses_data =
        matches!(proof.contract, Some(contract) if contract != ws_analysis::contract::Contract::ExactlyOnce);
    let (replicas, kinds): (Vec<String>, Vec<Kind>) = match target {
        Target::Local(local) => {
            let names = (1..=local.replicas).map(|number| format!("app-{number}")).collect();
            let may = |kind: &Kind| loses_data || !kind.destroys_data();
            (names, Kind::ALL.into_iter().filter(may).collect())
        }
        Target::Urls(_) => {
            let can = |kind: &Kind| {
                // A restart of containers one after another takes as long as their health checks, which nobody knows here.
                let here = proof.compose.is_some() && compose::can(*kind) && *kind != Kind::RollingRestart;
                kind.site() == Site::Clients || file.commands.contains_key(kind) || here
            };
            (Vec::new(), Kind::ALL.into_iter().filter(can).collect())
        }
    };
    let end = duration.saturating_sub(TAIL);
    chaos::draw(&chaos::ChaosOptions { seed, start: PEACE, end, replicas: &replicas, kinds: &kinds })
}

/// How long chaos reigns.
const CHAOS: Duration = Duration::from_secs(60);

fn scenario(
    tool: &Tool,
    args: &RunArgs,
    proof: &ProofArgs,
    file: &ScenarioFile,
    faults: &[Fault],
    seed: u64,
) -> Scenario {
    let load = &file.load;
    let connections = args.connections.or(load.connections).unwrap_or(tool.connections);
    // A room size that was typed wins over rooms in the file, and the other way round.
    let rooms = match (args.rooms, args.room_size) {
        (Some(rooms), _) => Some(rooms),
        (None, None) => load.rooms,
        (None, Some(_)) => None,
    };
    let room_size = args.room_size.or(load.room_size).unwrap_or(10);
    // A course that was typed takes the place of the file's.
    let stages = if args.stages.is_empty() && args.rate.is_none() { &load.stages } else { &args.stages };
    let rate = if stages.is_empty() { tool.rate } else { 0.0 };
    let course: Duration = stages.iter().map(|stage| stage.lasts).sum();
    let last = faults.iter().map(Fault::end).max();
    let duration = match last {
        _ if proof.chaos.is_some() => CHAOS,
        Some(last) => (last + TAIL).max(Duration::from_secs(10)).max(course),
        None if !stages.is_empty() => course,
        None => Duration::from_secs(10),
    };
    Scenario {
        connections,
        rooms: rooms.unwrap_or_else(|| Topology::rooms_for(connections, room_size)),
        connect_rate: args.connect_rate.or(load.connect_rate).unwrap_or(2000.0),
        rate: args.rate.or(load.rate).unwrap_or(rate),
        stages: stages.clone(),
        arrivals: args.arrivals.or(load.arrivals).unwrap_or_default(),
        duration: args.duration.or(load.duration).unwrap_or(duration),
        size: args.size.or(load.size).unwrap_or(128) as usize,
        share_all: args.share_all.or(load.share_all).unwrap_or(0.0),
        senders: args.senders.or(load.senders).unwrap_or(Senders::All),
        churn: args.churn.or(load.churn).unwrap_or(0.0),
        seed: args.seed.or(load.seed).unwrap_or(seed),
    }
}

fn check_times(faults: &[Fault], duration: Duration) -> anyhow::Result<()> {
    for fault in faults {
        ensure!(
            fault.end() + TAIL_MIN <= duration,
            "{fault}: it ends less than {} s before the sending does, so nobody would see the recovery; make --duration \
             at least {} s",
            TAIL_MIN.as_secs(),
            (fault.end() + TAIL).as_secs_f64().ceil()
        );
    }
    Ok(())
}

fn commands(file: &ScenarioFile) -> Commands {
    let command = |(kind, command): (&Kind, &file::Command)| {
        let file::Command { inject, proof, heal } = command.clone();
        (*kind, CommandFault { inject, proof, heal })
    };
    Commands(file.commands.iter().map(command).collect::<BTreeMap<_, _>>())
}

fn compose(proof: &ProofArgs, target: &Target) -> anyhow::Result<Option<ComposeOptions>> {
    let Some(project) = &proof.compose else { return Ok(None) };
    ensure!(
        matches!(target, Target::Urls(_)),
        "--compose is about servers that run already: name their URLs as well, and leave --local out"
    );
    ensure!(
        !project.is_empty(),
        "--compose: the project's name is empty; docker compose ls has those that there are"
    );
    let or = |typed: &Option<String>, default: &str| typed.clone().unwrap_or_else(|| default.to_owned());
    Ok(Some(ComposeOptions {
        project: project.clone(),
        replicas: or(&proof.compose_replicas, "app-*"),
        redis: or(&proof.compose_redis, "redis-1"),
        docker_host: std::env::var("DOCKER_HOST").ok(),
    }))
}

/// Somebody else's cluster is broken only where its owner said how.
fn check_site(
    faults: &[Fault],
    target: &Target,
    is_compose: bool,
    commands: &Commands,
) -> anyhow::Result<()> {
    let Target::Urls(_) = target else { return Ok(()) };
    for fault in faults {
        let kind = fault.kind;
        let has_way = kind.site() == Site::Clients || commands.0.contains_key(&kind);
        ensure!(has_way || !is_compose || compose::can(kind), "{}", compose::why_not(kind));
        ensure!(
            has_way || is_compose,
            "{fault}: these servers are not ours to break. Give commands for it in a scenario file ([command.{kind}], see \
             docs/scenarios.md), or --compose PROJECT where they are containers, or use --local N"
        );
    }
    Ok(())
}
