//! How many sockets fit into this process.

use anyhow::bail;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use ws_cluster::RedisChoice;
use ws_workload::fault::Kind;

use crate::config::{Config, Target};

/// Files that are no sockets to the target: standard streams, timers, pipes of children, libraries.
const OTHER_FILES: u64 = 100;

/// Raises the limit of open files as far as it goes; returns what it is then.
///
/// # Errors
/// `config` does not fit.
pub(crate) fn open_files(config: &Config) -> anyhow::Result<u64> {
    let limit = raised();
    let each = files_each(config);
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

/// How many sockets of `config`'s kind fit.
pub(crate) fn fit(config: &Config) -> u32 {
    let fit = raised().saturating_sub(OTHER_FILES) / files_each(config);
    u32::try_from(fit).unwrap_or(u32::MAX)
}

fn raised() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }.unwrap_or(u64::MAX)
}

/// Open files for each socket.
fn files_each(config: &Config) -> u64 {
    // Replicas in this process hold the other end of each socket.
    let here = matches!(&config.target, Target::Local(local) if local.redis == RedisChoice::Embedded);
    // So do the fronts that stand for a balancer: both ends of what they pass on.
    let fronted = config.faults.iter().any(|fault| fault.kind == Kind::DropBackend);
    1 + u64::from(here) + 2 * u64::from(fronted)
}
