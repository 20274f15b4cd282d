//! What the server runs with, after flags and environment were read.

use std::{sync::Arc, time::Duration};

use crate::{
    broker::{memory::Hub, redis::History},
    bug::Bug,
};

/// One replica's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The replica's name, unique in the cluster.
    pub node: String,
    /// What carries messages between replicas.
    pub broker: BrokerChoice,
    /// What is refused.
    pub limits: Limits,
    /// A connection silent for so long is pinged.
    pub ping_interval: Duration,
    /// One that is still silent so long after the ping is closed.
    pub ping_timeout: Duration,
    /// A connection without a request for so long is closed; `None` for never.
    pub idle_timeout: Option<Duration>,
    /// From the connection to the end of the request's headers.
    pub handshake_timeout: Duration,
    /// From a Socket.IO handshake to the CONNECT of its namespace.
    pub connect_timeout: Duration,
    /// From the shutdown to the end of the last connection.
    pub drain_timeout: Duration,
    /// Tasks that write to sockets: as many as threads.
    pub flushers: usize,
    /// Other replicas, offered by the page at `/`: `host:port`, or a URL of WebSocket.
    pub peers: Vec<String>,
    /// Damage on purpose.
    pub bugs: Vec<Bug>,
}

/// The broker and where it is.
#[derive(Clone, Debug)]
pub enum BrokerChoice {
    /// Shared by the replicas of one process.
    Memory(Arc<Hub>),
    /// Redis pub/sub at this URL.
    RedisPubSub(String),
    /// Redis at this URL, with a log of so much.
    RedisStream(String, History),
}

/// What is refused, each with an error or a close code of its own.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest message from a client, in bytes.
    pub message_bytes: usize,
    /// Longest room name, in bytes.
    pub room_name_bytes: usize,
    /// Rooms one connection may be in.
    pub rooms: usize,
    /// WebSocket connections.
    pub connections: usize,
    /// Sends a second of one connection, over a burst of as many.
    pub sends_per_second: u32,
    /// Bytes that may wait for a slow client.
    pub queue_bytes: usize,
}

impl Config {
    /// The defaults, for `node` on `broker`.
    #[must_use]
    pub fn new(node: String, broker: BrokerChoice) -> Self {
        Self {
            node,
            broker,
            limits: Limits::default(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            idle_timeout: None,
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(45),
            drain_timeout: Duration::from_secs(5),
            flushers: 1,
            peers: Vec::new(),
            bugs: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 * 1024,
            room_name_bytes: 128,
            rooms: 100,
            connections: 100_000,
            sends_per_second: 1000,
            queue_bytes: 4 << 20,
        }
    }
}
