//! A private Redis: a real one, on a free port, that keeps nothing on disk.

use std::{
    ffi::{OsStr, OsString},
    io,
    net::TcpListener,
    path::Path,
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::time::{Instant, sleep};

use crate::{child, process::Process};

/// How long a new Redis has to answer.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a port is tried that somebody else took in between.
const PORT_TRIES: u32 = 5;

/// A Redis that the replicas use.
#[derive(Debug)]
pub struct Redis {
    /// Where it is.
    pub url: String,
    /// Its program and version, such as `redis-server 7.0.15`.
    pub version: String,
    /// If it is ours.
    pub process: Option<Process>,
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
    /// Starts `program` by way of `tool`, and waits until it answers.
    ///
    /// # Errors
    /// It does not start or does not answer.
    pub async fn start(tool: &Path, program: &OsStr) -> Result<Self, RedisStartError> {
        let error = |why| RedisStartError::Start { program: program.display().to_string(), why };
        let mut why = String::new();
        for _ in 0..PORT_TRIES {
            let port = free_port().map_err(|why| error(format!("no free port: {why}")))?;
            let mut args = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]
                .map(String::from)
                .to_vec();
            args.push(port.to_string());
            let mut command = child::guarded(tool, program, &args);
            command.stdout(std::process::Stdio::null());
            let mut process = Process::start("redis", command).map_err(|why| error(why.to_string()))?;
            let url = format!("redis://127.0.0.1:{port}");
            match answers(&url, &mut process).await {
                Ok(version) => {
                    let name = Path::new(program).file_name().unwrap_or(program).display();
                    let version = format!("{name} {version}");
                    return Ok(Self { url, version, process: Some(process) });
                }
                Err(failed) => why = format!("{failed}; {}", process.last_lines()),
            }
        }
        Err(error(why))
    }

    /// Uses the one at `url`.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn existing(url: &str) -> Result<Self, RedisStartError> {
        let version = version(url).await;
        let version =
            version.map_err(|why| RedisStartError::NoAnswer { url: url.to_owned(), why: why.to_string() })?;
        Ok(Self { url: url.to_owned(), version: format!("redis {version}"), process: None })
    }
}

async fn answers(url: &str, process: &mut Process) -> Result<String, String> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let error = match version(url).await {
            Ok(version) => return Ok(version),
            Err(error) => error,
        };
        if !process.is_running() {
            return Err("it ended at once".into());
        }
        if Instant::now() >= deadline {
            return Err(format!("no answer within {} s: {error}", START_TIMEOUT.as_secs()));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn version(url: &str) -> Result<String, RedisError> {
    let timeout = Some(Duration::from_secs(3));
    let config = AsyncConnectionConfig::new().set_connection_timeout(timeout).set_response_timeout(timeout);
    let mut connection = Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?;
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    Ok(field("valkey_version:")
        .or_else(|| field("redis_version:"))
        .unwrap_or_else(|| "of unknown version".into()))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
