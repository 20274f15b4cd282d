//! A run, resolved: what the report holds, and what repeats the run.

use std::{net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use serde_json::{Value, json};
use ws_analysis::{
    contract::{Contract, Rules},
    threshold::Threshold,
};
use ws_cluster::{
    BugSwitch, RedisChoice,
    backend::{compose::ComposeOptions, local::Serve},
    fault::Commands,
};
use ws_server::args::BrokerName;
use ws_wire::codec::{Protocol, socketio::Typed};
use ws_workload::{
    fault::Fault,
    scenario::{Scenario, Senders},
};

use super::Speech;
use crate::{
    args::{
        OutputFormat, ProtocolName, RunArgs, Ui,
        proof::{OrderName, ProofArgs},
    },
    members::Coordinator,
};

/// A run, resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is sent and when.
    pub scenario: Scenario,
    /// Threads, in all.
    pub workers: u32,
    /// Which processes have them.
    pub share: Share,
    /// The language of the servers.
    pub protocol: Speech,
    /// Replicas behind the URLs, if it was said.
    pub replicas: Option<usize>,
    /// Where to.
    pub target: Target,
    /// What is broken, by time.
    pub faults: Vec<Fault>,
    /// Whose containers, where they are some.
    pub compose: Option<ComposeOptions>,
    /// How, where the cluster is not ours.
    pub commands: Commands,
    /// What a gap is; none for what the servers claim.
    pub contract: Option<Contract>,
    /// What else they are held to.
    pub rules: Rules,
    /// D.
    pub deadline: Duration,
    /// R.
    pub settle: Duration,
    /// Where from; empty for the system's choice.
    pub source_ips: Vec<IpAddr>,
    /// Sent with every handshake.
    pub headers: Vec<(String, String)>,
    /// Take any certificate.
    pub insecure: bool,
    /// What is demanded of the numbers.
    pub thresholds: Vec<Threshold>,
    /// Where the results go.
    pub output: Output,
}

/// Which processes drive the sockets.
#[derive(Clone, Debug)]
pub enum Share {
    /// This one, as long as they fit.
    Fitting,
    /// So many of this machine.
    Processes(usize),
    /// Agents on other machines.
    Agents(Agents),
}

/// Agents on other machines.
#[derive(Clone, Debug)]
pub struct Agents {
    /// How many.
    pub count: usize,
    /// Through which Redis they are led.
    pub coordinator: Coordinator,
    /// Their job.
    pub job: String,
    /// How long they are waited for.
    pub wait: Duration,
}

impl Share {
    /// Processes besides this one.
    #[must_use]
    pub fn members(&self) -> usize {
        match self {
            Self::Fitting => 0,
            Self::Processes(count) => *count,
            Self::Agents(agents) => agents.count,
        }
    }
}

/// What is tested.
#[derive(Clone, Debug)]
pub enum Target {
    /// Somebody's cluster.
    Urls(Vec<String>),
    /// One of our own.
    Local(Local),
}

/// A cluster of our own.
#[derive(Clone, Debug)]
pub struct Local {
    /// How many.
    pub replicas: usize,
    /// Somebody else's program, if they are not ours.
    pub serve: Option<Serve>,
    /// Which Redis.
    pub redis: RedisChoice,
    /// If it was said.
    pub broker: Option<BrokerName>,
    /// Damage on purpose.
    pub bugs: Vec<BugSwitch>,
}

/// Where the results go.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Where the document goes besides standard output.
    pub file: Option<PathBuf>,
    /// The format of standard output.
    pub format: OutputFormat,
    /// Where all forms go.
    pub folder: Option<PathBuf>,
    /// Whether everything that was seen is kept in the folder.
    pub history: bool,
    /// For GitHub Actions.
    pub github: bool,
    /// What is shown meanwhile.
    pub ui: Ui,
    /// No progress.
    pub quiet: bool,
    /// Colours on standard output.
    pub color: bool,
}

impl Config {
    /// As the report holds it: with this, the run can be repeated. Headers and an auth are named, not shown: they hold
    /// secrets.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let target = match &self.target {
            Target::Urls(urls) => json!({ "urls": urls }),
            Target::Local(Local { replicas, serve, redis, broker, bugs }) => json!({
                "local": replicas,
                "serve": serve.as_ref().map(|serve| &serve.command),
                "ready": serve.as_ref().map(|serve| &serve.ready_path),
                "redis": match redis {
                    RedisChoice::Auto => "auto",
                    RedisChoice::Embedded => "embedded",
                    RedisChoice::Url(_) => "url",
                },
                "broker": broker.map(BrokerName::name),
                "bugs": bugs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            }),
        };
        let scenario = &self.scenario;
        json!({
            "target": target,
            "protocol": match self.protocol.codec {
                Protocol::Native => "native",
                Protocol::SocketIo(_) => "socketio",
                Protocol::Template(_) => "template",
            },
            "socketio": Typed {
                auth: self.protocol.socketio.auth.as_ref().map(|_| HIDDEN.into()),
                ..self.protocol.socketio.clone()
            },
            "template": self.protocol.template,
            "node_header": self.protocol.node_header,
            "replicas": self.replicas,
            "processes": match &self.share {
                Share::Processes(count) => Some(count),
                _ => None,
            },
            "agents": match &self.share {
                Share::Agents(agents) => Some(agents.count),
                _ => None,
            },
            "connections": scenario.connections,
            "connect_rate": scenario.connect_rate,
            "rooms": scenario.rooms,
            "rate": scenario.rate,
            "stages": scenario.stages.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "arrivals": scenario.arrivals.name(),
            "duration_s": scenario.duration.as_secs_f64(),
            "size": scenario.size,
            "share_all": scenario.share_all,
            "senders": match scenario.senders {
                Senders::All => json!("all"),
                Senders::PerRoom(senders) => json!(senders),
            },
            "churn": scenario.churn,
            "seed": scenario.seed,
            "faults": self.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "compose": self.compose.as_ref().map(|compose| json!({
                "project": compose.project,
                "replicas": compose.replicas,
                "redis": compose.redis,
            })),
            "commands": self.commands.0.keys().map(|kind| kind.name()).collect::<Vec<_>>(),
            "contract": self.contract.map(Contract::name),
            "total_order": self.rules.total_order,
            "causal_order": self.rules.causal_order,
            "deadline_s": self.deadline.as_secs_f64(),
            "settle_s": self.settle.as_secs_f64(),
            "workers": self.workers,
            "source_ips": self.source_ips,
            "headers": self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "insecure": self.insecure,
            "thresholds": self.thresholds.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

/// The settings of Socket.IO as they are typed.
fn socketio_settings(config: &Value, typed: &[String]) -> Result<Vec<String>, String> {
    let settings = &config["socketio"];
    if settings["auth"] == HIDDEN && !typed.iter().any(|setting| setting.starts_with("auth=")) {
        return Err("the run had an auth of Socket.IO: give it again with --socketio auth=...".into());
    }
    let names = Typed::NAMES.iter().filter(|name| settings[**name] != HIDDEN);
    let value = |name: &&str| Some(format!("{name}={}", settings[name].as_str()?));
    Ok(names.filter_map(value).collect())
}

/// A list of texts, each of which is read.
fn parsed<T: FromStr>(config: &Value, name: &str) -> Result<Vec<T>, String> {
    let texts = config[name].as_array();
    texts
        .and_then(|texts| texts.iter().map(|text| text.as_str()?.parse().ok()).collect())
        .ok_or_else(|| format!("the report's config.{name} is not as this version writes it"))
}

/// Stands for what a report must not tell.
const HIDDEN: &str = "(hidden)";

/// The command line that repeats the run whose report holds `config`; what `typed` says besides wins.
///
/// # Errors
/// What is missing or has another form, by the name of its field.
pub(crate) fn replayed(
    config: &Value,
    typed: RunArgs,
    proof: ProofArgs,
) -> Result<(RunArgs, ProofArgs), String> {
    let field = |name: &str| format!("the report's config.{name} is not as this version writes it");
    let number = |name: &str| config[name].as_f64().ok_or_else(|| field(name));
    let count = |name: &str| {
        config[name].as_u64().and_then(|count| u32::try_from(count).ok()).ok_or_else(|| field(name))
    };
    let time = |name: &str| Duration::try_from_secs_f64(number(name)?).map_err(|_| field(name));
    let senders = match &config["senders"] {
        Value::String(_) => Senders::All,
        _ => Senders::PerRoom(count("senders")?),
    };
    let target = &config["target"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().into_iter().flatten().filter_map(text).collect::<Vec<_>>();
    let is_typed = !typed.urls.is_empty() || typed.local.is_some();
    let is_local = typed.urls.is_empty();
    let is_ours = typed.serve.is_none();
    let redis = match target["redis"].as_str() {
        Some("url") if typed.redis.is_none() && !is_typed => {
            return Err("the run used a Redis of its own URL: give it again with --redis".into());
        }
        Some("embedded") => Some(RedisChoice::Embedded),
        _ => None,
    };
    let broker = target["broker"].as_str().map(|name| {
        <BrokerName as clap::ValueEnum>::from_str(name, false).map_err(|_| field("target.broker"))
    });
    let protocol = config["protocol"]
        .as_str()
        .map(|name| <ProtocolName as clap::ValueEnum>::from_str(name, false).map_err(|_| field("protocol")));
    let replicas = config["replicas"].as_u64().and_then(|count| u8::try_from(count).ok());
    let arrivals = config["arrivals"].as_str().map(|name| name.parse().map_err(|_| field("arrivals")));
    let local = target["local"].as_u64().and_then(|local| u8::try_from(local).ok());
    let args = RunArgs {
        urls: if is_typed { typed.urls } else { list(&target["urls"]) },
        local: if is_typed { typed.local } else { local },
        serve: typed.serve.or_else(|| text(&target["serve"]).filter(|_| is_local)),
        ready: typed.ready.or_else(|| text(&target["ready"]).filter(|_| is_local)),
        redis: typed.redis.or(redis),
        broker: typed.broker.or(broker.transpose()?.filter(|_| is_ours)),
        bugs: if typed.bugs.is_empty() && is_ours { parsed(target, "bugs")? } else { typed.bugs },
        protocol: typed.protocol.or(protocol.transpose()?),
        // What is typed comes last, and the last one counts.
        socketio: [socketio_settings(config, &typed.socketio)?, typed.socketio].concat(),
        template: typed.template.or(text(&config["template"]).map(PathBuf::from)),
        node_header: typed.node_header.or(text(&config["node_header"])),
        replicas: typed.replicas.or(replicas),
        connections: typed.connections.or(Some(count("connections")?)),
        connect_rate: typed.connect_rate.or(Some(number("connect_rate")?)),
        rooms: match typed.room_size {
            Some(_) => typed.rooms,
            None => typed.rooms.or(Some(count("rooms")?)),
        },
        // A course belongs to the rate that it begins with.
        stages: if typed.stages.is_empty() && typed.rate.is_none() {
            parsed(config, "stages")?
        } else {
            typed.stages
        },
        arrivals: typed.arrivals.or(arrivals.transpose()?),
        rate: typed.rate.or(Some(number("rate")?)),
        duration: typed.duration.or(Some(time("duration_s")?)),
        size: typed.size.or(Some(count("size")?)),
        share_all: typed.share_all.or(Some(number("share_all")?)),
        senders: typed.senders.or(Some(senders)),
        churn: typed.churn.or(Some(number("churn")?)),
        seed: typed.seed.or(config["seed"].as_u64()),
        workers: typed.workers.or(Some(count("workers")?)),
        insecure: typed.insecure || config["insecure"] == true,
        thresholds: if typed.thresholds.is_empty() {
            parsed(config, "thresholds")?
        } else {
            typed.thresholds
        },
        ..typed
    };
    let contract = match config["contract"].as_str() {
        Some(name) => Some(name.parse().map_err(|_| field("contract"))?),
        None => None,
    };
    let mut orders = proof.orders;
    let wanted = [("total_order", OrderName::Total), ("causal_order", OrderName::Causal)];
    orders.extend(wanted.into_iter().filter(|(name, _)| config[*name] == true).map(|(_, order)| order));
    // Their names belong together: of another project they are others.
    let compose =
        if proof.compose.is_some() || args.local.is_some() { &Value::Null } else { &config["compose"] };
    let proof = ProofArgs {
        compose: proof.compose.or_else(|| text(&compose["project"])),
        compose_replicas: proof.compose_replicas.or_else(|| text(&compose["replicas"])),
        compose_redis: proof.compose_redis.or_else(|| text(&compose["redis"])),
        faults: if proof.faults.is_empty() && proof.chaos.is_none() {
            parsed(config, "faults")?
        } else {
            proof.faults
        },
        contract: proof.contract.or(contract),
        orders,
        deadline: proof.deadline.or(Some(time("deadline_s")?)),
        settle: proof.settle.or(Some(time("settle_s")?)),
        ..proof
    };
    Ok((args, proof))
}
