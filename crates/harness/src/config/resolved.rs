//! A run, resolved, and as the report holds it.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

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
    size::Size,
};

use super::Speech;
use crate::{
    args::{OutputFile, OutputFormat, Ui},
    members::Coordinator,
};

/// A run, resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is sent and when.
    pub scenario: Scenario,
    /// What the rate was made of, where it was said for each client.
    pub rate_per_client: Option<f64>,
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
    /// Where the report goes besides standard output.
    pub files: Vec<OutputFile>,
    /// The format of standard output.
    pub format: OutputFormat,
    /// Where all forms go.
    pub folder: Option<PathBuf>,
    /// Whether everything that was seen is kept in the folder.
    pub history: bool,
    /// For GitHub Actions.
    pub github: bool,
    /// Where the counters are served.
    pub metrics: Option<SocketAddr>,
    /// Where they are pushed to.
    pub otlp: Option<String>,
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
                "bugs": texts(bugs),
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
            "connect_stages": texts(&scenario.connect_stages),
            "rooms": scenario.rooms,
            "zipf": scenario.zipf,
            "rate": scenario.rate,
            "rate_per_client": self.rate_per_client,
            "stages": texts(&scenario.stages),
            "arrivals": scenario.arrivals.name(),
            "duration_s": scenario.duration.as_secs_f64(),
            "size": match scenario.size {
                Size { least, most } if least == most => json!(least),
                range => json!(range.to_string()),
            },
            "share_all": scenario.share_all,
            "senders": match scenario.senders {
                Senders::All => json!("all"),
                Senders::PerRoom(senders) => json!(senders),
            },
            "churn": scenario.churn,
            "lifetime_s": scenario.lifetime.map(|lifetime| lifetime.as_secs_f64()),
            "seed": scenario.seed,
            "faults": texts(&self.faults),
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
            "thresholds": texts(&self.thresholds),
        })
    }
}

fn texts(all: &[impl ToString]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

/// Stands for what a report must not tell.
pub(super) const HIDDEN: &str = "(hidden)";
