//! What the command line means: no option is left open.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use ws_cluster::{BugSwitch, RedisChoice};
use ws_server::args::BrokerName;
use ws_workload::{
    scenario::{Scenario, ScenarioError, Senders},
    topology::Topology,
};

use crate::{
    Tool,
    args::{OutputFormat, RunArgs},
};

/// A delivery later than this is late.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// A run, resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is sent and when.
    pub scenario: Scenario,
    /// Threads.
    pub workers: u32,
    /// Where to.
    pub target: Target,
    /// Where from; empty for the system's choice.
    pub source_ips: Vec<IpAddr>,
    /// Sent with every handshake.
    pub headers: Vec<(String, String)>,
    /// Take any certificate.
    pub insecure: bool,
    /// Where the document goes besides standard output.
    pub output: Option<PathBuf>,
    /// The format of standard output.
    pub output_format: OutputFormat,
    /// No progress.
    pub quiet: bool,
    /// Colours on standard output.
    pub color: bool,
}

/// What is tested.
#[derive(Clone, Debug)]
pub enum Target {
    /// Somebody's cluster.
    Urls(Vec<String>),
    /// One of our own.
    Local {
        /// How many.
        replicas: usize,
        /// Which Redis.
        redis: RedisChoice,
        /// If it was said.
        broker: Option<BrokerName>,
        /// Damage on purpose.
        bugs: Vec<BugSwitch>,
    },
}

impl Config {
    /// Resolves `args`; `seed` is taken if none was given, `color` says whether colours would be seen.
    ///
    /// # Errors
    /// Numbers that do not fit together.
    pub fn new(tool: &Tool, args: RunArgs, seed: u64, color: bool) -> Result<Self, ScenarioError> {
        let connections = args.connections.unwrap_or(tool.connections);
        let room_size = args.room_size.unwrap_or(10);
        let scenario = Scenario {
            connections,
            rooms: args.rooms.unwrap_or_else(|| Topology::rooms_for(connections, room_size)),
            connect_rate: args.connect_rate.unwrap_or(2000.0),
            rate: args.rate.unwrap_or(tool.rate),
            duration: args.duration.unwrap_or(Duration::from_secs(10)),
            size: args.size.unwrap_or(128) as usize,
            share_all: args.share_all.unwrap_or(0.0),
            senders: args.senders.unwrap_or(Senders::All),
            seed: args.seed.unwrap_or(seed),
        };
        scenario.validate()?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = args.workers.unwrap_or_else(|| u32::try_from(processors.div_ceil(2)).unwrap_or(1));
        let target = match args.local {
            None => Target::Urls(args.urls),
            Some(replicas) => Target::Local {
                replicas: replicas.into(),
                redis: args.redis.unwrap_or(RedisChoice::Auto),
                broker: args.broker,
                bugs: args.bugs,
            },
        };
        Ok(Self {
            workers: workers.min(scenario.rooms),
            scenario,
            target,
            source_ips: args.source_ip,
            headers: args.headers,
            insecure: args.insecure,
            output: args.output,
            output_format: args.output_format,
            quiet: args.quiet,
            color: color && !args.no_color,
        })
    }

    /// As the report holds it: with this, the run can be repeated. Headers are named, not shown: they hold secrets.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let target = match &self.target {
            Target::Urls(urls) => json!({ "urls": urls }),
            Target::Local { replicas, redis, broker, bugs } => json!({
                "local": replicas,
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
            "connections": scenario.connections,
            "connect_rate": scenario.connect_rate,
            "rooms": scenario.rooms,
            "rate": scenario.rate,
            "duration_s": scenario.duration.as_secs_f64(),
            "size": scenario.size,
            "share_all": scenario.share_all,
            "senders": match scenario.senders {
                Senders::All => json!("all"),
                Senders::PerRoom(senders) => json!(senders),
            },
            "seed": scenario.seed,
            "workers": self.workers,
            "source_ips": self.source_ips,
            "headers": self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "insecure": self.insecure,
            "deadline_s": DEADLINE.as_secs_f64(),
        })
    }
}
