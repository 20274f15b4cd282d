//! How many sockets fit into this process, and onto the ports of this machine.

use std::net::SocketAddr;

use anyhow::bail;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use ws_cluster::RedisChoice;
use ws_swarm::{Endpoint, Sources, ephemeral_ports};
use ws_workload::fault::Kind;

use crate::config::{Config, Target};

/// Files that are no sockets to the target: standard streams, timers, pipes of children, libraries.
const OTHER_FILES: u64 = 100;

/// Raises the limit of open files as far as it goes; returns what it is then.
///
/// # Errors
/// `config` does not fit.
pub(crate) fn open_files(config: &Config) -> anyhow::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current }.unwrap_or(u64::MAX);
    // Replicas in this process hold the other end of each socket.
    let here = matches!(&config.target, Target::Local(local) if local.redis == RedisChoice::Embedded);
    // So do the fronts that stand for a balancer: both ends of what they pass on.
    let fronted = config.faults.iter().any(|fault| fault.kind == Kind::DropBackend);
    let each = 1 + u64::from(here) + 2 * u64::from(fronted);
    let connections = u64::from(config.scenario.connections);
    let fit = limit.saturating_sub(OTHER_FILES) / each;
    if connections > fit {
        bail!(
            "{connections} sockets need {} open files; this process may have {limit}, so {fit} sockets fit.\n\
             Try -c {fit}, or raise the limit first: ulimit -Hn {}, or LimitNOFILE= of the service, or \
             /etc/security/limits.conf",
            connections * each + OTHER_FILES,
            connections * each + OTHER_FILES,
        );
    }
    Ok(limit)
}

/// The ephemeral ports of Linux, where it does not say.
const USUAL_PORTS: u32 = 28_232;

/// Which local addresses the sockets to `endpoints` come from.
///
/// # Errors
/// They do not fit the ports.
pub(crate) fn sources(config: &Config, endpoints: &[Endpoint]) -> anyhow::Result<Sources> {
    let ports = ephemeral_ports().unwrap_or(USUAL_PORTS);
    let destinations: Vec<SocketAddr> = endpoints.iter().map(Endpoint::address).collect();
    Ok(Sources::plan(config.scenario.connections, &destinations, &config.source_ips, ports)?)
}
