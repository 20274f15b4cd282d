//! A private Redis: a real one, on a port of its own, that can be killed and come back with its data or empty.

mod folder;

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, cmd};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    child,
    port::Port,
    process::Usage,
    service::{Service, ServiceError},
};

/// How long a pub/sub connection is waited for that can be ended.
pub(crate) const PUBSUB_PATIENCE: Duration = Duration::from_secs(3);

/// Between two looks for one.
pub(crate) const PUBSUB_PAUSE: Duration = Duration::from_millis(50);

/// How long a new Redis has to answer.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it has for one question.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it is asked again.
const POLL: Duration = Duration::from_millis(10);

/// What tells whether a Redis still has its data.
const MARKER: &str = "ws-verify:marker";

/// A Redis that the replicas use.
#[derive(Debug)]
pub struct Redis {
    /// Where it is.
    pub url: String,
    /// Its program and version, such as `redis-server 7.0.15`.
    pub version: String,
    own: Option<OwnRedis>,
}

/// A Redis that we started. Its drop ends it and removes its data.
#[derive(Debug)]
pub struct OwnRedis {
    url: String,
    service: Service,
    folder: TempDir,
    port: Port,
}

/// Why there is no Redis.
#[derive(Debug, thiserror::Error)]
pub enum RedisStartError {
    /// The program that `$REDIS_SERVER` names.
    #[error("{program} can't be started as a Redis: {why}")]
    Start {
        /// As given or found.
        program: String,
        /// What went wrong, and what it said.
        why: String,
    },
    /// The Redis of `--redis URL`.
    #[error("no Redis answers at {url}: {why}; start it, or leave --redis out for a private one")]
    NoAnswer {
        /// As given.
        url: String,
        /// What the client said.
        why: String,
    },
}

/// The program to start: `$REDIS_SERVER`, else `redis-server`, else `valkey-server` on `PATH`.
#[must_use]
pub fn program() -> Option<OsString> {
    if let Some(given) = std::env::var_os("REDIS_SERVER").filter(|given| !given.is_empty()) {
        return Some(given);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    ["redis-server", "valkey-server"].iter().find(|name| on_path(name)).map(OsString::from)
}

impl Redis {
    /// Starts `program` by way of `tool`, and waits until it answers. With `keeps_data` it is back with everything it
    /// acknowledged after a kill.
    ///
    /// # Errors
    /// It does not start or does not answer.
    pub async fn start(tool: &Path, program: &OsStr, keeps_data: bool) -> Result<Self, RedisStartError> {
        let error = |why| RedisStartError::Start { program: program.display().to_string(), why };
        let own = OwnRedis::new(tool, program, keeps_data).map_err(|why| error(why.to_string()))?;
        own.service.start().map_err(|why| error(why.to_string()))?;
        let info = own.answers().await.map_err(error)?;
        let name = Path::new(program).file_name().unwrap_or(program).display();
        let version = format!("{name} {}", version(&info));
        Ok(Self { url: own.url.clone(), version, own: Some(own) })
    }

    /// Uses the one at `url`.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn existing(url: &str) -> Result<Self, RedisStartError> {
        let info = ask::<String>(url, cmd("INFO").arg("server")).await;
        let info =
            info.map_err(|why| RedisStartError::NoAnswer { url: url.to_owned(), why: why.to_string() })?;
        Ok(Self { url: url.to_owned(), version: format!("redis {}", version(&info)), own: None })
    }

    /// If it is ours.
    #[must_use]
    pub fn own(&self) -> Option<&OwnRedis> {
        self.own.as_ref()
    }
}

impl OwnRedis {
    fn new(tool: &Path, program: &OsStr, keeps_data: bool) -> std::io::Result<Self> {
        let folder = folder::create()?;
        let port = Port::reserve()?;
        let args = args(port.address(), folder.path(), keeps_data);
        let (tool, program) = (tool.to_owned(), program.to_owned());
        let service = Service::new("redis", move || {
            let mut command = child::guarded(&tool, &program, &args);
            command.stdout(std::process::Stdio::null());
            command
        });
        Ok(Self { url: format!("redis://{}", port.address()), service, folder, port })
    }

    /// Its process.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// What it has used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.service.usage()
    }

    /// Starts it again where it is down, with the data it had.
    ///
    /// # Errors
    /// The system's, or the cluster ends.
    pub fn start_with_data(&self) -> Result<(), ServiceError> {
        self.service.start()
    }

    /// Starts it again where it is down, without any data.
    ///
    /// # Errors
    /// The system's, or the cluster ends.
    pub fn start_empty(&self) -> Result<(), ServiceError> {
        if self.service.pid().is_none() {
            folder::empty(self.folder.path())
                .map_err(|why| ServiceError::Start { name: "redis".into(), why })?;
        }
        self.service.start()
    }

    /// Ends its pub/sub connections: how many there were.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn kill_pubsub(&self) -> Result<u64, RedisError> {
        let deadline = Instant::now() + PUBSUB_PATIENCE;
        loop {
            let killed = ask(&self.url, cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub")).await?;
            // None at all: they are just coming back from something else.
            if killed > 0 || Instant::now() >= deadline {
                return Ok(killed);
            }
            sleep(PUBSUB_PAUSE).await;
        }
    }

    /// Writes the marker, which is gone when the data is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn set_marker(&self, marker: &str) -> Result<(), RedisError> {
        ask(&self.url, cmd("SET").arg(MARKER).arg(marker)).await
    }

    /// The marker; none if it has none.
    ///
    /// # Errors
    /// It does not answer, or is still loading its data.
    pub async fn marker(&self) -> Result<Option<String>, RedisError> {
        ask(&self.url, cmd("GET").arg(MARKER)).await
    }

    /// Waits until the incarnation that is there answers and has loaded its data: its `INFO server`.
    ///
    /// # Errors
    /// It ended, or does not answer in time.
    pub async fn answers(&self) -> Result<String, String> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let error = match self.info().await {
                Ok(info) => return Ok(info),
                Err(error) => error,
            };
            if let Some(said) = self.service.death() {
                return Err(format!("it ended by itself; {said}"));
            }
            if Instant::now() >= deadline {
                let said = self.service.last_lines();
                return Err(format!("no answer within {} s: {error}; {said}", START_TIMEOUT.as_secs()));
            }
            sleep(POLL).await;
        }
    }

    /// From our own process and none that took its port.
    async fn info(&self) -> Result<String, String> {
        let info: String =
            ask(&self.url, cmd("INFO").arg("server")).await.map_err(|error| error.to_string())?;
        let answered = field(&info, "process_id:").and_then(|pid| pid.parse().ok());
        if answered.is_none() || answered != self.service.pid() {
            return Err(format!("process {answered:?} answers at {}, which is not ours", self.url));
        }
        // INFO answers while data is loaded, GET does not.
        self.marker().await.map_err(|error| error.to_string())?;
        Ok(info)
    }
}

fn args(address: SocketAddr, folder: &Path, keeps_data: bool) -> Vec<String> {
    let mut args: Vec<String> = ["--bind", "127.0.0.1", "--save", ""].map(String::from).to_vec();
    args.extend(["--port".into(), address.port().to_string()]);
    args.extend(["--dir".into(), folder.display().to_string()]);
    // Each command is on disk before it is answered, and Redis says so: ws-server takes a restart for harmless only then.
    // A rewrite would leave a forked child behind that writes into a folder that was emptied.
    let log: &[&str] = if keeps_data {
        &["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]
    } else {
        &["--appendonly", "no"]
    };
    args.extend(log.iter().map(ToString::to_string));
    args
}

async fn ask<T: FromRedisValue>(url: &str, question: &Cmd) -> Result<T, RedisError> {
    let timeout = Some(ASK_TIMEOUT);
    let config = AsyncConnectionConfig::new().set_connection_timeout(timeout).set_response_timeout(timeout);
    let mut connection = Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?;
    question.query_async(&mut connection).await
}

fn version(info: &str) -> &str {
    field(info, "valkey_version:").or_else(|| field(info, "redis_version:")).unwrap_or("of unknown version")
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name))
}
