//! What was typed: every flag is also an environment variable.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use redis::IntoConnectionInfo as _;

use crate::{
    broker::{memory::Hub, redis::History},
    bug::Bug,
    config::{BrokerChoice, Config, Limits},
};

/// The settings of one replica.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// This replica's name, unique in the cluster [default: a random one]
    #[arg(long, env = "NODE_ID", value_name = "NAME")]
    pub node_id: Option<String>,
    /// What carries messages between replicas
    #[arg(long, env = "BROKER", default_value = "redis-stream")]
    pub broker: BrokerName,
    /// Where Redis is
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:6379", value_parser = redis_url, value_name = "URL")]
    pub redis_url: String,
    /// Messages that redis-stream remembers of a room, about
    #[arg(long, env = "HISTORY_MESSAGES", default_value_t = History::default().messages, value_name = "N")]
    pub history_messages: usize,
    /// How long redis-stream remembers a room after its last message
    #[arg(long, env = "HISTORY_TIME", default_value = "5m", value_parser = some_time, value_name = "TIME")]
    pub history_time: Duration,
    /// Threads [default: one a processor]
    #[arg(long, env = "THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Largest message from a client, in bytes (then close 1009)
    #[arg(long, env = "MAX_MESSAGE_BYTES", default_value_t = Limits::default().message_bytes, value_name = "BYTES")]
    pub max_message_bytes: usize,
    /// Longest room name, in bytes
    #[arg(long, env = "MAX_ROOM_NAME_BYTES", default_value_t = Limits::default().room_name_bytes, value_name = "BYTES")]
    pub max_room_name_bytes: usize,
    /// Rooms one connection may be in
    #[arg(long, env = "MAX_ROOMS", default_value_t = Limits::default().rooms, value_name = "N")]
    pub max_rooms: usize,
    /// Connections (then HTTP 503)
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = Limits::default().connections, value_name = "N")]
    pub max_connections: usize,
    /// Sends a second of one connection, over a burst of as many
    #[arg(long, env = "MAX_SENDS_PER_SECOND", default_value_t = Limits::default().sends_per_second, value_name = "N")]
    pub max_sends_per_second: u32,
    /// Bytes that may wait for a slow client (then close 1013)
    #[arg(long, env = "QUEUE_BYTES", default_value_t = Limits::default().queue_bytes, value_name = "BYTES")]
    pub queue_bytes: usize,
    /// Ping a connection that was silent for so long
    #[arg(long, env = "PING_INTERVAL", default_value = "25s", value_parser = some_time, value_name = "TIME")]
    pub ping_interval: Duration,
    /// Close a connection that stays silent so long after a ping
    #[arg(long, env = "PING_TIMEOUT", default_value = "20s", value_parser = some_time, value_name = "TIME")]
    pub ping_timeout: Duration,
    /// Close a connection that asked for nothing for so long [default: never]
    #[arg(long, env = "IDLE_TIMEOUT", value_parser = some_time, value_name = "TIME")]
    pub idle_timeout: Option<Duration>,
    /// From connecting to the end of the request's headers
    #[arg(long, env = "HANDSHAKE_TIMEOUT", default_value = "10s", value_parser = some_time, value_name = "TIME")]
    pub handshake_timeout: Duration,
    /// From a Socket.IO handshake to the client's CONNECT
    #[arg(long, env = "CONNECT_TIMEOUT", default_value = "45s", value_parser = some_time, value_name = "TIME")]
    pub connect_timeout: Duration,
    /// How long clients have to go at SIGTERM
    #[arg(long, env = "DRAIN_TIMEOUT", default_value = "5s", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub drain_timeout: Duration,
    /// Other replicas that the page at / offers
    #[arg(long, env = "PEERS", value_name = "HOST:PORT", value_delimiter = ',', value_parser = peer)]
    pub peers: Vec<String>,
    /// Be broken on purpose, to try a verifier; with a wrong name it lists those that there are
    #[arg(long = "bug", env = "BUGS", value_name = "NAME", value_delimiter = ',')]
    pub bugs: Vec<Bug>,
    /// What is logged, as tracing's filters say it: warn, or ws_server=debug
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
}

/// The brokers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BrokerName {
    /// Inside this process alone
    Memory,
    /// Redis pub/sub alone: twice as fast, and forgets what nobody was there to hear
    RedisPubsub,
    /// Redis pub/sub over a log: what was missed is read again, each message once
    RedisStream,
}

impl BrokerName {
    /// As on the command line and in the hello.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::RedisPubsub => "redis-pubsub",
            Self::RedisStream => "redis-stream",
        }
    }
}

impl ServerArgs {
    /// Threads to run on.
    #[must_use]
    pub fn threads(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(processors, usize::from)
    }

    /// What was typed, resolved.
    #[must_use]
    pub fn config(&self) -> Config {
        let node = self.node_id.clone().unwrap_or_else(random_node);
        let broker = match self.broker {
            BrokerName::Memory => BrokerChoice::Memory(Arc::new(Hub::default())),
            BrokerName::RedisPubsub => BrokerChoice::RedisPubSub(self.redis_url.clone()),
            BrokerName::RedisStream => {
                let history = History { messages: self.history_messages, time: self.history_time };
                BrokerChoice::RedisStream(self.redis_url.clone(), history)
            }
        };
        Config {
            limits: Limits {
                message_bytes: self.max_message_bytes,
                room_name_bytes: self.max_room_name_bytes,
                rooms: self.max_rooms,
                connections: self.max_connections,
                sends_per_second: self.max_sends_per_second,
                queue_bytes: self.queue_bytes,
            },
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            idle_timeout: self.idle_timeout,
            handshake_timeout: self.handshake_timeout,
            connect_timeout: self.connect_timeout,
            drain_timeout: self.drain_timeout,
            flushers: self.threads(),
            peers: self.peers.clone(),
            bugs: self.bugs.clone(),
            ..Config::new(node, broker)
        }
    }
}

/// A name that no other replica has: in containers, host names and process ids are alike.
fn random_node() -> String {
    format!("node-{:08x}", rand::random::<u32>())
}

/// A Redis URL, checked before the server starts: later it would look like a Redis that is away.
fn redis_url(typed: &str) -> Result<String, String> {
    typed.into_connection_info().map(|_| typed.to_owned()).map_err(|error| error.to_string())
}

/// Where a browser finds a replica: nothing that a page would have to escape.
fn peer(typed: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:/[]".contains(&byte);
    if typed.is_empty() || !typed.bytes().all(is_plain) {
        return Err("it is host:port, or a URL as ws://host:port".into());
    }
    Ok(typed.to_owned())
}

/// A time that is not zero.
fn some_time(typed: &str) -> Result<Duration, String> {
    match humantime::parse_duration(typed) {
        Ok(Duration::ZERO) => Err("it must be more than zero".into()),
        time => time.map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        server: ServerArgs,
    }

    /// The process id was the default once: it is 1 in every container, and sessions of two replicas had one name.
    #[test]
    fn replicas_without_a_name_get_different_ones() {
        assert_ne!(random_node(), random_node());
    }

    #[test]
    fn what_could_never_work_is_refused_at_once() {
        let check = |flag: &str, why: &str| {
            let Err(error) = Cli::try_parse_from(["ws-server", flag]) else { panic!("{flag} was taken") };
            assert!(error.to_string().contains(why), "{flag}: {error}");
        };
        check("--redis-url=http://127.0.0.1", "redis-url");
        check("--ping-interval=0s", "more than zero");
        check("--handshake-timeout=soon", "handshake-timeout");
        check("--threads=0", "threads");
        check("--peers=app-2:8080,<b>", "host:port");
        check("--bug=gremlin", "there are drop, duplicate");
    }
}
