//! A cluster of processes on this machine: replicas of the tool's own binary, and a private Redis.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use ws_server::{BrokerChoice, Config, args::BrokerName, broker::memory::Hub};

use crate::{
    BugSwitch, RedisChoice, child,
    process::{Process, Usage},
    redis::{self, Redis, RedisStartError},
};

/// How long a replica has to hear itself through its broker.
const READY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a child has to end by itself.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// What to start.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// How many replicas.
    pub replicas: usize,
    /// Which Redis.
    pub redis: RedisChoice,
    /// The replicas' broker; none for what the Redis suggests.
    pub broker: Option<BrokerName>,
    /// Damage on purpose.
    pub bugs: Vec<BugSwitch>,
    /// The tool's own binary.
    pub tool: PathBuf,
    /// Sends a second that the replicas take from one connection.
    pub sends_per_second: u32,
}

/// A running cluster. Its drop ends all of it.
#[derive(Debug)]
pub struct LocalCluster {
    replicas: Vec<Replica>,
    redis: Option<Redis>,
    #[expect(dead_code, reason = "held for its drop")]
    embedded: Option<Embedded>,
    notes: Vec<String>,
}

/// One replica.
#[derive(Debug)]
pub struct Replica {
    /// Its name, `app-1` and so on.
    pub node: String,
    /// Where its WebSocket is.
    pub url: String,
    process: Option<Process>,
}

/// Replicas in this process, on a runtime of their own.
#[derive(Debug)]
struct Embedded {
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
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
        for bug in &options.bugs {
            if bug.replica.is_some_and(|replica| replica > options.replicas) {
                let why = format!("--bug {bug}: there are only {} replicas", options.replicas);
                return Err(StartError::Usage(why));
            }
        }
        let memory = options.broker == Some(BrokerName::Memory);
        match &options.redis {
            RedisChoice::Embedded if options.broker.is_none() || memory => {
                Self::embedded(&options, None).await
            }
            RedisChoice::Embedded => {
                let why = "--redis embedded has no Redis; leave --broker out, or choose memory".into();
                Err(StartError::Usage(why))
            }
            RedisChoice::Url(_) | RedisChoice::Auto if memory => {
                let why = "--broker memory is for replicas in one process: say --redis embedded".into();
                Err(StartError::Usage(why))
            }
            RedisChoice::Url(url) => Self::processes(&options, Redis::existing(url).await?).await,
            RedisChoice::Auto => match redis::program() {
                Some(program) => {
                    Self::processes(&options, Redis::start(&options.tool, &program).await?).await
                }
                None => {
                    let note = "no redis-server or valkey-server was found ($REDIS_SERVER, PATH): the replicas \
                        shared one process and its memory, so this run says nothing about Redis";
                    Self::embedded(&options, Some(note)).await
                }
            },
        }
    }

    /// The replicas.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
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

    /// What all replicas have used so far; none if they are in this process.
    #[must_use]
    pub fn server_usage(&self) -> Option<Usage> {
        let used = self.replicas.iter().map(|replica| replica.process.as_ref().map(Process::usage));
        used.reduce(|a, b| Some(a? + b?)).flatten()
    }

    /// What our Redis has used so far.
    #[must_use]
    pub fn redis_usage(&self) -> Option<Usage> {
        self.redis.as_ref()?.process.as_ref().map(Process::usage)
    }

    /// Replicas that ended though nobody asked them to, with what they said last.
    pub fn dead(&mut self) -> Vec<String> {
        let mut dead = Vec::new();
        for replica in &mut self.replicas {
            if let Some(process) = &mut replica.process
                && !process.is_running()
            {
                dead.push(format!("replica {} ended: {}", replica.node, process.last_lines()));
            }
        }
        dead
    }

    /// Ends everything, in order.
    pub fn stop(mut self) {
        let replicas: Vec<_> = self.replicas.drain(..).filter_map(|replica| replica.process).collect();
        let stops: Vec<_> =
            replicas.into_iter().map(|process| std::thread::spawn(|| process.stop(STOP_PATIENCE))).collect();
        for stop in stops {
            stop.join().expect("stopping does not panic");
        }
        if let Some(process) = self.redis.take().and_then(|redis| redis.process) {
            process.stop(STOP_PATIENCE);
        }
    }

    async fn processes(options: &LocalOptions, redis: Redis) -> Result<Self, StartError> {
        let broker = options.broker.unwrap_or(BrokerName::RedisPubsub);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (processors / options.replicas).max(1);
        let mut replicas = Vec::new();
        for number in 1..=options.replicas {
            let node = format!("app-{number}");
            let mut args: Vec<String> = vec![
                format!("--listen=127.0.0.1:0"),
                format!("--node-id={node}"),
                format!("--broker={}", broker.name()),
                format!("--redis-url={}", redis.url),
                format!("--threads={threads}"),
                format!("--max-sends-per-second={}", options.sends_per_second),
            ];
            args.extend(bugs_of(options, number).map(|bug| format!("--bug={bug}")));
            let mut command = child::replica(&options.tool, &args);
            command.stdout(std::process::Stdio::piped());
            let failed = |why: String| StartError::Replica { node: node.clone(), why };
            let mut process = Process::start(&node, command).map_err(|why| failed(why.to_string()))?;
            let address = address(&mut process).await.map_err(failed)?;
            let url = format!("ws://{address}/ws");
            replicas.push((Replica { node, url, process: Some(process) }, address));
        }
        for (replica, address) in &mut replicas {
            ready(*address).await.map_err(|why| StartError::Replica {
                node: replica.node.clone(),
                why: format!(
                    "{why}; {}",
                    replica.process.as_ref().map(Process::last_lines).unwrap_or_default()
                ),
            })?;
        }
        let replicas = replicas.into_iter().map(|(replica, _)| replica).collect();
        Ok(Self { replicas, redis: Some(redis), embedded: None, notes: Vec::new() })
    }

    async fn embedded(options: &LocalOptions, note: Option<&str>) -> Result<Self, StartError> {
        let shutdown = CancellationToken::new();
        let hub = Arc::new(Hub::default());
        let mut configs = Vec::new();
        for number in 1..=options.replicas {
            let node = format!("app-{number}");
            let mut config = Config::new(node, BrokerChoice::Memory(hub.clone()));
            config.limits.sends_per_second = options.sends_per_second;
            config.bugs = bugs_of(options, number).collect();
            configs.push(config);
        }
        let (thread, addresses) = serve_here(configs, shutdown.clone())
            .await
            .map_err(|why| StartError::Replica { node: "app-1".into(), why: why.to_string() })?;
        let embedded = Some(Embedded { shutdown, thread: Some(thread) });
        let mut replicas = Vec::new();
        for (number, address) in (1..).zip(addresses) {
            let node = format!("app-{number}");
            let url = format!("ws://{address}/ws");
            ready(address).await.map_err(|why| StartError::Replica { node: node.clone(), why })?;
            replicas.push(Replica { node, url, process: None });
        }
        let note = note.unwrap_or(
            "--redis embedded: the replicas shared one process and its memory, so this run says nothing about Redis",
        );
        Ok(Self { replicas, redis: None, embedded, notes: vec![note.into()] })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            // It panicked: then it has ended as well.
            let _ = thread.join();
        }
    }
}

/// Runs the replicas on a thread of this process; returns when all listen.
async fn serve_here(
    configs: Vec<Config>,
    shutdown: CancellationToken,
) -> std::io::Result<(JoinHandle<()>, Vec<SocketAddr>)> {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for _ in &configs {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        addresses.push(listener.local_addr()?);
        listeners.push(listener);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let serve = async move {
        let mut replicas = tokio::task::JoinSet::new();
        for (config, listener) in configs.into_iter().zip(listeners) {
            let listener = TcpListener::from_std(listener).expect("a listening socket");
            replicas.spawn(ws_server::run(listener, config, shutdown.clone()));
        }
        replicas.join_all().await;
    };
    let thread =
        std::thread::Builder::new().name("replicas".into()).spawn(move || runtime.block_on(serve))?;
    Ok((thread, addresses))
}

fn bugs_of(options: &LocalOptions, replica: usize) -> impl Iterator<Item = ws_server::bug::Bug> {
    let here = move |switch: &&BugSwitch| switch.replica.is_none_or(|number| number == replica);
    options.bugs.iter().filter(here).map(|switch| switch.bug)
}

/// The first line of a replica's output.
async fn address(process: &mut Process) -> Result<SocketAddr, String> {
    let stdout = process.take_stdout().expect("it is piped");
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map(|_| line)
    });
    match timeout(READY_TIMEOUT, read).await {
        Ok(Ok(Ok(line))) => line.trim().parse().map_err(|_| process.last_lines()),
        Ok(_) => Err(process.last_lines()),
        Err(_) => Err(format!("no address within {} s; {}", READY_TIMEOUT.as_secs(), process.last_lines())),
    }
}

/// Waits for a 200 of `/readyz`.
async fn ready(address: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let answer = timeout(Duration::from_secs(2), readyz(address)).await;
        match answer {
            Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200") => return Ok(()),
            Ok(Ok(answer)) if Instant::now() >= deadline => {
                let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
                return Err(format!("not ready within {} s: {body}", READY_TIMEOUT.as_secs()));
            }
            Ok(Err(error)) if Instant::now() >= deadline => return Err(error.to_string()),
            Err(_) if Instant::now() >= deadline => return Err("/readyz does not answer".into()),
            _ => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn readyz(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
