//! A cluster of processes on this machine: replicas of the tool's own binary or of somebody else's program, and a private
//! Redis.

mod embedded;
mod need;
mod replica;
mod serve;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::net::lookup_host;
use ws_server::{BrokerChoice, Config, args::BrokerName, broker::memory::Hub};
use ws_workload::fault::Fault;

use crate::{
    BugSwitch, RedisChoice, child,
    port::Port,
    process::Usage,
    proxy::Proxy,
    redis::{self, OwnRedis, Redis, RedisStartError},
    service::Service,
};
use embedded::Embedded;
use need::{Has, Need, RedisKind};
use replica::Own;
pub use replica::Replica;
pub(crate) use replica::{READY_TIMEOUT, is_ready, status};
pub use serve::Serve;

/// What our own replicas are asked for to learn whether they are ready.
const READYZ: &str = "/readyz";

/// How long a child has to end by itself.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// What to start.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// How many replicas.
    pub replicas: usize,
    /// Which Redis.
    pub redis: RedisChoice,
    /// What the replicas are, unless they are ours.
    pub serve: Option<Serve>,
    /// The replicas' broker; none for what the Redis suggests.
    pub broker: Option<BrokerName>,
    /// Damage on purpose.
    pub bugs: Vec<BugSwitch>,
    /// What will be broken: what that needs is built in, and nothing else.
    pub faults: Vec<Fault>,
    /// The tool's own binary.
    pub tool: PathBuf,
    /// Sends a second that the replicas take from one connection.
    pub sends_per_second: u32,
}

/// A running cluster. Its drop ends all of it, also what a fault still holds.
#[derive(Debug)]
pub struct LocalCluster {
    replicas: Vec<Arc<Replica>>,
    redis: Option<Redis>,
    #[expect(dead_code, reason = "held for its drop")]
    embedded: Option<Embedded>,
    has: Has,
    need: Need,
    notes: Vec<String>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Options that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// No Redis.
    #[error(transparent)]
    Redis(#[from] RedisStartError),
    /// A replica did not come up.
    #[error("replica {node} did not start: {why}")]
    Replica {
        /// Which.
        node: String,
        /// What went wrong, and what it said.
        why: String,
    },
}

impl LocalCluster {
    /// Starts everything, and returns when every replica hears itself through the broker.
    ///
    /// # Errors
    /// Something did not start; what did has ended again.
    pub async fn start(options: LocalOptions) -> Result<Self, StartError> {
        check_bugs(&options)?;
        serve::check(&options)?;
        let need = Need::of(&options.faults);
        let memory = options.broker == Some(BrokerName::Memory);
        match &options.redis {
            RedisChoice::Embedded if options.broker.is_none() || memory => {
                let note = "--redis embedded: the replicas shared one process and its memory, so this run says \
                    nothing about Redis";
                Self::embedded(&options, note).await
            }
            RedisChoice::Embedded => {
                let why = "--redis embedded has no Redis; leave --broker out, or choose memory".into();
                Err(StartError::Usage(why))
            }
            RedisChoice::Url(_) | RedisChoice::Auto if memory => {
                let why = "--broker memory is for replicas in one process: say --redis embedded".into();
                Err(StartError::Usage(why))
            }
            RedisChoice::Url(url) => {
                let has = check_faults(&options, RedisKind::Theirs)?;
                Self::processes(&options, has, Redis::existing(url).await?).await
            }
            RedisChoice::Auto => match redis::program() {
                Some(program) => {
                    let has = check_faults(&options, RedisKind::Ours)?;
                    let redis = Redis::start(&options.tool, &program, need.data).await?;
                    Self::processes(&options, has, redis).await
                }
                None if options.serve.is_some() => {
                    let why = "--serve needs a Redis to give to the program: have redis-server or valkey-server on \
                        PATH or in $REDIS_SERVER, or name one with --redis URL";
                    Err(StartError::Usage(why.into()))
                }
                None if options.broker.is_some() => {
                    let why = "--broker needs a Redis: have redis-server or valkey-server on PATH or in \
                        $REDIS_SERVER, or name one with --redis URL";
                    Err(StartError::Usage(why.into()))
                }
                None => {
                    let note = "no redis-server or valkey-server was found ($REDIS_SERVER, PATH): the replicas \
                        shared one process and its memory, so this run says nothing about Redis";
                    Self::embedded(&options, note).await
                }
            },
        }
    }

    /// The replicas.
    #[must_use]
    pub fn replicas(&self) -> &[Arc<Replica>] {
        &self.replicas
    }

    /// The Redis, unless the replicas share a process.
    #[must_use]
    pub fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    /// What a reader of the results has to know.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What all replicas have used so far, dead ones too; none if they are in this process.
    #[must_use]
    pub fn server_usage(&self) -> Option<Usage> {
        let used = self.replicas.iter().map(|replica| replica.service().map(Service::usage));
        used.reduce(|a, b| Some(a? + b?)).flatten()
    }

    /// What our Redis has used so far.
    #[must_use]
    pub fn redis_usage(&self) -> Option<Usage> {
        self.own_redis().map(OwnRedis::usage)
    }

    /// Replicas that ended though nobody asked them to, with what they said last.
    #[must_use]
    pub fn dead(&self) -> Vec<String> {
        let death = |replica: &Arc<Replica>| {
            let said = replica.service()?.death()?;
            Some(format!("replica {} ended: {said}", replica.node))
        };
        self.replicas.iter().filter_map(death).collect()
    }

    /// Ends everything, in order and for good: the heal of a fault starts nothing any more.
    pub fn stop(&self) {
        self.stop_within(STOP_PATIENCE);
    }

    /// Whether `fault` can be done here; why not, and what to do.
    pub(crate) fn supports(&self, fault: &Fault) -> Result<(), String> {
        need::check(fault, self.has)?;
        if self.need.includes(Need::of(std::slice::from_ref(fault))) {
            return Ok(());
        }
        Err(format!("{fault}: the cluster was started without what it needs; name it in its options' faults"))
    }

    /// The replicas that `fault` hits.
    pub(crate) fn targets(&self, fault: &Fault, seed: u64) -> Vec<Arc<Replica>> {
        let indices = fault.on.among(&nodes(self.replicas.len()), seed).unwrap_or_default();
        indices.into_iter().map(|index| self.replicas[index].clone()).collect()
    }

    pub(crate) fn own_redis(&self) -> Option<&OwnRedis> {
        self.redis.as_ref()?.own()
    }

    fn stop_within(&self, patience: Duration) {
        std::thread::scope(|scope| {
            for service in self.replicas.iter().filter_map(|replica| replica.service()) {
                scope.spawn(move || service.stop(patience));
            }
        });
        if let Some(redis) = self.own_redis() {
            redis.service().stop(patience);
        }
    }

    async fn processes(options: &LocalOptions, has: Has, redis: Redis) -> Result<Self, StartError> {
        let need = Need::of(&options.faults);
        let redis_address = if need.links { Some(resolve(&redis.url).await?) } else { None };
        let mut replicas = Vec::new();
        for index in 0..options.replicas {
            let replica = process(options, index, &redis, redis_address)
                .map_err(|why| StartError::Replica { node: node(index), why: why.to_string() })?;
            replicas.push(Arc::new(replica));
        }
        let cluster = Self { replicas, redis: Some(redis), embedded: None, has, need, notes: Vec::new() };
        cluster.ready().await
    }

    async fn embedded(options: &LocalOptions, note: &str) -> Result<Self, StartError> {
        let has = check_faults(options, RedisKind::None)?;
        let need = Need::of(&options.faults);
        let failed =
            |index, why: std::io::Error| StartError::Replica { node: node(index), why: why.to_string() };
        let (embedded, addresses) =
            Embedded::start(embedded_configs(options)).map_err(|why| failed(0, why))?;
        let mut replicas = Vec::new();
        for (index, address) in addresses.into_iter().enumerate() {
            let front = front(need, address).map_err(|why| failed(index, why))?;
            let (node, url, ready_path) = (node(index), url(front.as_ref(), address), READYZ.into());
            replicas.push(Arc::new(Replica { node, url, address, ready_path, own: None, link: None, front }));
        }
        let notes = vec![note.into()];
        Self { replicas, redis: None, embedded: Some(embedded), has, need, notes }.ready().await
    }

    async fn ready(self) -> Result<Self, StartError> {
        for replica in &self.replicas {
            let ready = replica.ready().await;
            ready.map_err(|why| StartError::Replica { node: replica.node.clone(), why })?;
        }
        Ok(self)
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        // Whoever still holds a fault would keep the replicas.
        self.stop_within(Duration::ZERO);
    }
}

/// The name of the replica at `index`.
fn node(index: usize) -> String {
    format!("app-{}", index + 1)
}

fn nodes(replicas: usize) -> Vec<String> {
    (0..replicas).map(node).collect()
}

fn check_bugs(options: &LocalOptions) -> Result<(), StartError> {
    match options.bugs.iter().find(|bug| bug.replica.is_some_and(|replica| replica > options.replicas)) {
        None => Ok(()),
        Some(bug) => {
            let why = format!("--bug {bug}: there are only {} replicas", options.replicas);
            Err(StartError::Usage(why))
        }
    }
}

fn check_faults(options: &LocalOptions, redis: RedisKind) -> Result<Has, StartError> {
    let has = Has { replicas: options.replicas, processes: redis != RedisKind::None, redis };
    for fault in &options.faults {
        need::check(fault, has).map_err(|why| StartError::Usage(format!("--fault {why}")))?;
    }
    Ok(has)
}

/// Where the Redis of a URL is, for a proxy to stand in for it.
async fn resolve(url: &str) -> Result<SocketAddr, StartError> {
    let address = need::redis_address(url).map_err(StartError::Usage)?;
    let found = lookup_host(&address).await.ok().and_then(|mut found| found.next());
    found.ok_or_else(|| {
        let (url, why) = (url.to_owned(), format!("no address for {address}"));
        RedisStartError::NoAnswer { url, why }.into()
    })
}

/// Starts a replica as a process of its own; behind a proxy if `redis_address` is given.
fn process(
    options: &LocalOptions,
    index: usize,
    redis: &Redis,
    redis_address: Option<SocketAddr>,
) -> std::io::Result<Replica> {
    let port = Port::reserve()?;
    let address = port.address();
    let link = redis_address.map(Proxy::start).transpose()?;
    let redis_url = match &link {
        Some(link) => need::through(&redis.url, link.address()),
        None => redis.url.clone(),
    };
    let front = front(Need::of(&options.faults), address)?;
    let tool = options.tool.clone();
    let service = match options.serve.clone() {
        Some(serve) => {
            let node = node(index);
            Service::new(&node.clone(), move || serve.command(&tool, &node, address, &redis_url))
        }
        None => {
            let args = args(options, index, address, &redis_url);
            Service::new(&node(index), move || child::replica(&tool, &args))
        }
    };
    service.start().map_err(std::io::Error::other)?;
    let url = url(front.as_ref(), address);
    let ready_path = options.serve.as_ref().map_or(READYZ, |serve| &serve.ready_path).to_owned();
    let own = Some(Own { service, port });
    Ok(Replica { node: node(index), url, address, ready_path, own, link, front })
}

fn front(need: Need, address: SocketAddr) -> std::io::Result<Option<Proxy>> {
    need.fronts.then(|| Proxy::start(address)).transpose()
}

fn url(front: Option<&Proxy>, address: SocketAddr) -> String {
    format!("ws://{}", front.map_or(address, Proxy::address))
}

fn args(options: &LocalOptions, index: usize, address: SocketAddr, redis_url: &str) -> Vec<String> {
    let broker = options.broker.unwrap_or(BrokerName::RedisStream);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (processors / options.replicas).max(1);
    let mut args = vec![
        format!("--listen={address}"),
        format!("--node-id={}", node(index)),
        format!("--broker={}", broker.name()),
        format!("--redis-url={redis_url}"),
        format!("--threads={threads}"),
        format!("--max-sends-per-second={}", options.sends_per_second),
    ];
    args.extend(bugs_of(options, index).map(|bug| format!("--bug={bug}")));
    args
}

fn embedded_configs(options: &LocalOptions) -> Vec<Config> {
    let hub = Arc::new(Hub::default());
    let config = |index| {
        let mut config = Config::new(node(index), BrokerChoice::Memory(hub.clone()));
        config.limits.sends_per_second = options.sends_per_second;
        config.bugs = bugs_of(options, index).collect();
        config
    };
    (0..options.replicas).map(config).collect()
}

fn bugs_of(options: &LocalOptions, index: usize) -> impl Iterator<Item = ws_server::bug::Bug> {
    let here = move |switch: &&BugSwitch| switch.replica.is_none_or(|number| number == index + 1);
    options.bugs.iter().filter(here).map(|switch| switch.bug)
}
