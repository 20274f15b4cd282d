//! How many sockets fit into a process, how many processes they need, and which addresses.

use std::net::SocketAddr;

use anyhow::{bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use ws_cluster::RedisChoice;
use ws_swarm::{Endpoint, Sources, ephemeral_ports};
use ws_workload::fault::Kind;

use crate::config::{Config, Share, Target};

/// Files that are no sockets to the target: standard streams, timers, pipes of children, libraries.
pub(crate) const OTHER_FILES: u64 = 100;

/// Raises the limit of open files as far as it goes; returns what it is then.
pub(crate) fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }.unwrap_or(u64::MAX)
}

/// Sees to it that the sockets of `config` fit: those that do not fit into this process get processes of their own.
/// Returns how many files each may have open.
///
/// # Errors
/// They can't fit.
pub(crate) fn fit(config: &mut Config) -> anyhow::Result<u64> {
    let limit = raise_open_files();
    let fit = limit.saturating_sub(OTHER_FILES);
    let connections = u64::from(config.scenario.connections);
    if fit == 0 {
        bail!(refusal(connections, connections, limit));
    }
    // Replicas in this process hold the other end of each socket.
    let here = matches!(&config.target, Target::Local(local) if local.redis == RedisChoice::Embedded);
    // So do the fronts that stand for a balancer: both ends of what they pass on.
    let fronted = config.faults.iter().any(|fault| fault.kind == Kind::DropBackend);
    let besides = connections * (u64::from(here) + 2 * u64::from(fronted));
    if let Target::Local(local) = &config.target {
        let replicas = local.replicas as u64;
        ensure!(
            here || connections <= replicas * fit,
            "{connections} sockets are {} a replica, each of which may have {limit} open files, so {} sockets fit.\n\
             Try -c {}, or more replicas with --local, or raise the limit first: ulimit -Hn {}",
            connections.div_ceil(replicas),
            replicas * fit,
            replicas * fit,
            connections.div_ceil(replicas) + OTHER_FILES
        );
    }
    if let (Share::Fitting, true) = (&config.share, connections + besides > fit) {
        let processes = connections.div_ceil(fit);
        if besides > fit || processes > MOST_PROCESSES {
            bail!(refusal(connections + besides, connections, limit));
        }
        config.share = Share::Processes(usize::try_from(processes).expect("few"));
    }
    let members = u32::try_from(config.share.members()).expect("members are few");
    if members == 0 {
        return Ok(limit);
    }
    let rooms = config.scenario.rooms;
    ensure!(
        rooms >= members,
        "{rooms} rooms can't be shared out over {members} processes, for each room is on one: take smaller rooms"
    );
    config.workers = config.workers.max(members);
    if let Share::Processes(_) = config.share {
        let most = largest(config, members);
        ensure!(
            most <= fit,
            "{members} processes would have up to {most} sockets each, and may have {limit} open files: take \
             more --processes, or smaller rooms"
        );
    }
    Ok(limit)
}

/// Beyond that a machine has other limits.
pub(crate) const MOST_PROCESSES: u64 = 64;

/// The sockets of the process that has most.
fn largest(config: &Config, members: u32) -> u64 {
    let workers = config.workers;
    let topology = config.scenario.topology(workers);
    let of_worker =
        |worker| topology.rooms_of(worker).map(|room| topology.members(room).len() as u64).sum::<u64>();
    let of_member =
        |member| (member * workers / members..(member + 1) * workers / members).map(of_worker).sum();
    (0..members).map(of_member).max().unwrap_or(0)
}

fn refusal(files: u64, connections: u64, limit: u64) -> String {
    let fit = limit.saturating_sub(OTHER_FILES) * connections / files;
    let needed = files + OTHER_FILES;
    format!(
        "{connections} sockets need {needed} open files; this process may have {limit}, so {fit} sockets fit.\n\
         Try -c {fit}, or raise the limit first: ulimit -Hn {needed}, or LimitNOFILE= of the service, or \
         /etc/security/limits.conf"
    )
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
    let is_here = destinations.iter().all(|to| to.ip().is_loopback());
    let machines = match &config.share {
        Share::Agents(agents) if !is_here => u32::try_from(agents.count)?,
        _ => 1,
    };
    let connections = config.scenario.connections.div_ceil(machines.max(1));
    Ok(Sources::plan(connections, &destinations, &config.source_ips, ports)?)
}
