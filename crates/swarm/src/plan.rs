//! What to connect to, and how.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::{client::IntoClientRequest as _, http::Uri};
use ws_analysis::{
    contract::{Contract, Rules},
    ledger::Setup,
};
use ws_wire::codec::Protocol;
use ws_workload::{scenario::Scenario, topology::Topology};

/// A whole run, resolved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What is sent and when.
    pub scenario: Scenario,
    /// Threads; at most as many as rooms.
    pub workers: u32,
    /// The language of the servers.
    pub protocol: Protocol,
    /// Connections go round-robin over these.
    pub endpoints: Vec<Endpoint>,
    /// Local addresses to connect from, round-robin; empty for the system's choice.
    pub source_ips: Vec<IpAddr>,
    /// Sent with every handshake.
    pub headers: Vec<(String, String)>,
    /// The header of a handshake's answer that names the replica, where the protocol itself does not.
    pub node_header: String,
    /// Take any certificate.
    pub insecure: bool,
    /// In every stamp and room name: tells this run's messages from others'.
    pub run: u32,
    /// Time zero of the run: told to another process by a clock that both can read.
    #[serde(skip, default = "Instant::now")]
    pub epoch: Instant,
    /// A delivery later than this is late, in microseconds.
    pub deadline_us: u64,
    /// What a gap is; none for what the servers claim.
    pub contract: Option<Contract>,
    /// What the servers are held to besides.
    pub rules: Rules,
    /// How connections are kept alive.
    pub heartbeat: Heartbeat,
    /// How long everything may take to work again after the last heal, and fences to arrive.
    pub settle: Duration,
    /// Bytes that the kernel keeps for a client that does not read; none for the system's choice.
    pub receive_buffer: Option<usize>,
}

/// How a client notices that a connection is dead.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// It pings after so long without a byte,
    pub ping_after: Duration,
    /// and gives the connection up after so long.
    pub dead_after: Duration,
}

impl Plan {
    /// Who is where.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let Scenario { connections, rooms, .. } = self.scenario;
        Topology { connections, rooms, workers: self.workers }
    }

    /// What the ledger of `worker` has to know; `nodes` are the replicas.
    #[must_use]
    pub fn setup(&self, worker: u32, nodes: Vec<String>, contract: Contract) -> Setup {
        Setup {
            run: self.run,
            worker,
            topology: self.topology(),
            room_prefix: format!("run-{:08x}-", self.run),
            follow_all: self.scenario.share_all > 0.0,
            nodes,
            deadline_us: self.deadline_us,
            rules: Rules { contract, ..self.rules },
            has_ways_back: self.endpoints.len() > 1,
        }
    }

    /// Where connection `number` goes; with each turn to the next one.
    pub(crate) fn endpoint(&self, number: u32, turn: u32) -> &Endpoint {
        &self.endpoints[(number as usize + turn as usize) % self.endpoints.len()]
    }

    /// Where connection `number` comes from.
    pub(crate) fn source_ip(&self, number: u32) -> Option<IpAddr> {
        let turn = number as usize / self.endpoints.len();
        (!self.source_ips.is_empty()).then(|| self.source_ips[turn % self.source_ips.len()])
    }
}

/// A URL with its addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// As given, with a path.
    pub url: String,
    pub(crate) host: String,
    pub(crate) tls: bool,
    pub(crate) address: SocketAddr,
}

/// Why a URL can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not a WebSocket URL.
    #[error("{url:?} is not a WebSocket URL ({why}); it looks like ws://host:port/ws")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The name leads nowhere.
    #[error("{url}: no address for {host}: {why}")]
    Resolve {
        /// As given.
        url: String,
        /// The name.
        host: String,
        /// What the resolver said.
        why: String,
    },
}

impl Endpoint {
    /// Reads a URL and looks its host up, once for the whole run. Without a path, the one of `protocol` is meant; http
    /// and https are taken for ws and wss.
    ///
    /// # Errors
    /// Not a ws or wss URL, or a host without address.
    pub async fn resolve(given: &str, protocol: &ws_wire::codec::Protocol) -> Result<Self, PlanError> {
        let error = |why: String| PlanError::Url { url: given.to_owned(), why };
        let uri: Uri = given.parse().map_err(|why| error(format!("{why}")))?;
        let tls = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            Some(other) => return Err(error(format!("its scheme is {other}"))),
            None => return Err(error("it has no scheme".into())),
        };
        let (_, rest) = given.split_once("://").expect("it has a scheme");
        let whole = format!("{}://{rest}", if tls { "wss" } else { "ws" });
        let url = match (uri.path(), uri.query()) {
            ("" | "/", None) => format!("{}{}", whole.trim_end_matches('/'), protocol.path()),
            // A path of the user's own still needs what the protocol asks for.
            (_, None) => {
                format!("{whole}{}", protocol.path().find('?').map_or("", |at| &protocol.path()[at..]))
            }
            _ => whole,
        };
        url.as_str().into_client_request().map_err(|why| error(why.to_string()))?;
        let host = uri.host().ok_or_else(|| error("it has no host".into()))?;
        let port = match (uri.port_u16(), uri.authority().is_some_and(|whole| whole.as_str().ends_with(host)))
        {
            (Some(port), _) => port,
            (None, true) => {
                if tls {
                    443
                } else {
                    80
                }
            }
            (None, false) => return Err(error("its port is no number up to 65535".into())),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let address = found
            .map_err(|why| why.to_string())
            .and_then(|mut all| all.next().ok_or_else(|| "the resolver has none".into()))
            .map_err(|why| PlanError::Resolve { url: given.to_owned(), host: host.clone(), why })?;
        Ok(Self { url, host, tls, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn urls_are_completed_or_refused() {
        let resolve = async |given: &str, protocol: &Protocol| {
            Endpoint::resolve(given, protocol).await.map(|endpoint| endpoint.url)
        };
        let url = async |given: &str| resolve(given, &Protocol::Native).await;
        assert_eq!(url("ws://127.0.0.1:8080").await.expect("a URL"), "ws://127.0.0.1:8080/ws");
        assert_eq!(url("ws://127.0.0.1:8080/x?y").await.expect("a URL"), "ws://127.0.0.1:8080/x?y");
        assert_eq!(url("wss://[::1]/ws").await.expect("a URL"), "wss://[::1]/ws");
        assert_eq!(url("http://127.0.0.1:8080/").await.expect("a URL"), "ws://127.0.0.1:8080/ws");
        let socketio = Protocol::SocketIo(std::sync::Arc::default());
        let query = "EIO=4&transport=websocket";
        for (given, full) in [("http://127.0.0.1:1", "/socket.io/?"), ("ws://127.0.0.1:1/x/", "/x/?")] {
            let url = resolve(given, &socketio).await.expect("a URL");
            assert_eq!(url, format!("ws://127.0.0.1:1{full}{query}"));
        }
        for wrong in ["ftp://127.0.0.1", "127.0.0.1:80", "ws://", "ws://127.0.0.1:99999"] {
            let error = url(wrong).await.expect_err(wrong).to_string();
            assert!(error.contains("ws://host:port/ws"), "{error}");
        }
    }
}
