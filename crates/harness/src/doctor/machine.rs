//! This machine's limits, as the kernel tells them.

use std::{
    fmt::Display,
    fs,
    net::{IpAddr, TcpListener},
    str::FromStr,
};

use rustix::process::{Resource, getrlimit, getuid};

/// What matters for many sockets. What can't be read is taken for no limit.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// Of this process; the soft limit is raised to it.
    pub(super) open_files_hard: u64,
    /// What the hard limit can be raised to.
    pub(super) nr_open: u64,
    /// Of the whole machine.
    pub(super) file_max: u64,
    pub(super) files_in_use: u64,
    /// First and last of the ports that clients get.
    pub(super) port_range: (u64, u64),
    /// Whether each source address is this machine's.
    pub(super) can_bind: Vec<bool>,
    /// Connections that are tracked and that can be, if they are.
    pub(super) conntrack: Option<(u64, u64)>,
    pub(super) somaxconn: u64,
    /// Pages: low, pressure, high.
    pub(super) tcp_mem: [u64; 3],
    pub(super) memory_available: u64,
    pub(super) is_root: bool,
}

impl Machine {
    pub(super) fn read(sources: &[IpAddr]) -> Self {
        let range: Vec<u64> = numbers("/proc/sys/net/ipv4/ip_local_port_range");
        let tcp_mem: Vec<u64> = numbers("/proc/sys/net/ipv4/tcp_mem");
        let conntrack = number("/proc/sys/net/netfilter/nf_conntrack_max")
            .map(|max| (number("/proc/sys/net/netfilter/nf_conntrack_count").unwrap_or(0), max));
        Self {
            open_files_hard: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
            nr_open: number("/proc/sys/fs/nr_open").unwrap_or(u64::MAX),
            file_max: number("/proc/sys/fs/file-max").unwrap_or(u64::MAX),
            files_in_use: number("/proc/sys/fs/file-nr").unwrap_or(0),
            port_range: (range.first().copied().unwrap_or(1024), range.get(1).copied().unwrap_or(65_535)),
            can_bind: sources.iter().map(|ip| TcpListener::bind((*ip, 0)).is_ok()).collect(),
            conntrack,
            somaxconn: number("/proc/sys/net/core/somaxconn").unwrap_or(u64::MAX),
            tcp_mem: tcp_mem.try_into().unwrap_or([u64::MAX; 3]),
            memory_available: memory_available().unwrap_or(u64::MAX),
            is_root: getuid().is_root(),
        }
    }

    /// How many ports an address has for clients.
    pub(super) fn ports(&self) -> u64 {
        let (first, last) = self.port_range;
        (last + 1).saturating_sub(first)
    }

    pub(super) fn sudo(&self) -> &'static str {
        if self.is_root { "" } else { "sudo " }
    }

    /// The command that sets a kernel's setting.
    pub(super) fn sysctl(&self, name: &str, value: impl Display) -> String {
        format!("{}sysctl -w {name}={value}", self.sudo())
    }
}

fn numbers(path: &str) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn number(path: &str) -> Option<u64> {
    numbers(path).first().copied()
}

fn memory_available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    u64::from_str(line.trim().trim_end_matches(" kB")).ok().map(|kib| kib << 10)
}
