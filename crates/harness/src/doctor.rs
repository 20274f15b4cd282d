//! `doctor`: whether this machine can hold so many sockets, and what to do where it can't.

mod machine;

use std::{fmt::Write as _, io::Write as _, net::IpAddr, process::ExitCode};

use clap::Args;
use serde_json::json;
use ws_analysis::report::grouped;

use crate::{
    Tool,
    args::{OutputFormat, count},
    limits::{MOST_PROCESSES, OTHER_FILES},
};
use machine::Machine;

/// Looks whether this machine is ready for a load, without putting any on it.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Where the sockets are to go: each address has ports of its own [default: one on this machine]
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,
    /// Sockets in all; 10k is ten thousand [default: as of run]
    #[arg(short, long, value_name = "N", value_parser = count)]
    pub connections: Option<u32>,
    /// Connect from this address; repeat it to take turns
    #[arg(long, value_name = "IP")]
    pub source_ip: Vec<IpAddr>,
    /// Format of what is found
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output_format: OutputFormat,
}

/// What was found of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    name: &'static str,
    status: Status,
    said: String,
    /// The command that mends it.
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    /// It works, and tells on the numbers.
    Warn,
    /// It will not work.
    Fail,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What is wanted of the machine.
#[derive(Clone, Debug)]
struct Wanted {
    connections: u64,
    /// Addresses that are connected to.
    targets: u64,
    /// The target is this machine: both ends of each socket are here.
    is_here: bool,
    sources: Vec<IpAddr>,
}

/// Prints what is found; the exit code is 1 where something will not work.
#[must_use]
pub fn doctor(tool: &Tool, args: &DoctorArgs) -> ExitCode {
    let wanted = Wanted {
        connections: args.connections.unwrap_or(tool.connections).into(),
        targets: args.urls.len().max(1) as u64,
        is_here: args.urls.iter().all(|url| is_here(url)),
        sources: args.source_ip.clone(),
    };
    let machine = Machine::read(&wanted.sources);
    let checks = examine(&machine, &wanted);
    let is_fit = checks.iter().all(|check| check.status != Status::Fail);
    let said = match args.output_format {
        OutputFormat::Text => text(&checks, &wanted),
        OutputFormat::Json => document(&checks, &wanted, is_fit),
    };
    // A reader that went away has what it wanted.
    let _ = std::io::stdout().write_all(said.as_bytes());
    ExitCode::from(u8::from(!is_fit))
}

/// Whether a URL leads to this machine, as its name says.
fn is_here(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]")
}

/// Every limit, in the order in which a run meets them.
fn examine(machine: &Machine, wanted: &Wanted) -> Vec<Check> {
    let mut checks = vec![open_files(machine, wanted), all_files(machine, wanted), ports(machine, wanted)];
    checks.extend(wanted.sources.iter().zip(&machine.can_bind).map(|(ip, can)| source(machine, *ip, *can)));
    checks.extend([
        conntrack(machine, wanted),
        backlog(machine, wanted),
        tcp_memory(machine, wanted),
        memory(machine, wanted),
    ]);
    checks
}

fn check(name: &'static str, status: Status, said: String, fix: String) -> Check {
    Check { name, status, said, fix: (status != Status::Ok).then_some(fix) }
}

/// The soft limit is raised to the hard one by every run, and what does not fit into one process gets more.
fn open_files(machine: &Machine, wanted: &Wanted) -> Check {
    let has = machine.open_files_hard;
    let processes = wanted.connections.div_ceil(has.saturating_sub(OTHER_FILES).max(1));
    let status = if processes > MOST_PROCESSES { Status::Fail } else { Status::Ok };
    let how = match processes {
        1 => "enough for one process".into(),
        _ => format!("so it takes {} processes, or replicas", amount(processes)),
    };
    let needs = wanted.connections.div_ceil(MOST_PROCESSES) + OTHER_FILES;
    let set = format!("{}prlimit --pid $$ --nofile={needs}:{needs}", machine.sudo());
    let fix = match needs {
        _ if needs > machine.nr_open => format!("{} && {set}", machine.sysctl("fs.nr_open", needs)),
        _ => set,
    };
    check("open files", status, format!("a process may have {}, {how}", amount(has)), fix)
}

fn all_files(machine: &Machine, wanted: &Wanted) -> Check {
    let needs = machine.files_in_use + wanted.connections * wanted.ends() + OTHER_FILES;
    let status = if machine.file_max >= needs { Status::Ok } else { Status::Fail };
    let said = format!("the machine may have {}, {} will be open", amount(machine.file_max), amount(needs));
    check("all files", status, said, machine.sysctl("fs.file-max", needs))
}

/// One address has only so many ports; the kernel searches long for a free one once half of them are taken.
fn ports(machine: &Machine, wanted: &Wanted) -> Check {
    let ports = machine.ports();
    let sources = (wanted.sources.len() as u64).max(1);
    let ways = sources * wanted.targets;
    let each = wanted.connections.div_ceil(ways);
    let status = match each {
        each if each > ports => Status::Fail,
        each if each > ports / 2 => Status::Warn,
        _ => Status::Ok,
    };
    let slow = if status == Status::Warn { "; past half of them connecting is slow" } else { "" };
    let said = format!("{} of {} from each address to each target{slow}", amount(each), amount(ports));
    let needs = wanted.connections.div_ceil((ports / 2).max(1)).div_ceil(wanted.targets);
    check("ports", status, said, more_sources(wanted, needs))
}

/// Options for `needs` source addresses, as bash and zsh expand them. On loopback any of 127/8 will do, and different
/// networks reach different replicas.
fn more_sources(wanted: &Wanted, needs: u64) -> String {
    match (wanted.is_here, needs) {
        (false, _) => format!("run with --source-ip for {needs} addresses that this machine has"),
        (true, 1) => "run with --source-ip=127.0.1.1".into(),
        (true, _) => format!("run with --source-ip=127.0.{{1..{needs}}}.1"),
    }
}

fn source(machine: &Machine, ip: IpAddr, can: bool) -> Check {
    let status = if can { Status::Ok } else { Status::Fail };
    let said = if can { format!("{ip} is this machine's") } else { format!("{ip} is not this machine's") };
    let length = if ip.is_ipv4() { 32 } else { 128 };
    check("source address", status, said, format!("{}ip addr add {ip}/{length} dev lo", machine.sudo()))
}

fn conntrack(machine: &Machine, wanted: &Wanted) -> Check {
    let Some((used, max)) = machine.conntrack else {
        return check("conntrack", Status::Ok, "connections are not tracked".into(), String::new());
    };
    let needs = used + wanted.connections;
    let status = if max >= needs { Status::Ok } else { Status::Fail };
    let said = format!("{} connections can be tracked, {} will be", amount(max), amount(needs));
    check("conntrack", status, said, machine.sysctl("net.netfilter.nf_conntrack_max", needs * 5 / 4))
}

/// Connections that a server has yet to accept.
const BACKLOG: u64 = 1024;

fn backlog(machine: &Machine, wanted: &Wanted) -> Check {
    let short = wanted.is_here && machine.somaxconn < BACKLOG;
    let status = if short { Status::Warn } else { Status::Ok };
    let whose =
        if wanted.is_here { "may wait to be accepted" } else { "may wait here; see the servers' own" };
    let said = format!("{} connections {whose}", amount(machine.somaxconn));
    check("somaxconn", status, said, machine.sysctl("net.core.somaxconn", BACKLOG * 4))
}

/// Pages of 4 KiB that the buffers of a busy socket take.
const PAGES: u64 = 2;

fn tcp_memory(machine: &Machine, wanted: &Wanted) -> Check {
    let needs = wanted.connections * wanted.ends() * PAGES;
    let [low, pressure, high] = machine.tcp_mem;
    let status = match needs {
        needs if needs > high => Status::Fail,
        needs if needs > pressure => Status::Warn,
        _ => Status::Ok,
    };
    let mib = |pages: u64| amount(pages * 4 / 1024);
    let said = format!("{} MiB for buffers, about {} MiB are needed", mib(pressure), mib(needs));
    let value = format!("\"{} {} {}\"", low.max(needs), needs * 5 / 4, needs * 3 / 2);
    check("tcp_mem", status, said, machine.sysctl("net.ipv4.tcp_mem", value))
}

/// What a socket takes, ours and the kernel's, of one end.
const SOCKET_BYTES: u64 = 12 * 1024;

/// What one of ws-server takes besides.
const SERVER_BYTES: u64 = 16 * 1024;

fn memory(machine: &Machine, wanted: &Wanted) -> Check {
    let each = SOCKET_BYTES + if wanted.is_here { SOCKET_BYTES + SERVER_BYTES } else { 0 };
    let needs = wanted.connections * each;
    let has = machine.memory_available;
    let status = match needs {
        needs if needs > has => Status::Fail,
        needs if needs > has / 10 * 8 => Status::Warn,
        _ => Status::Ok,
    };
    let mib = |bytes: u64| amount(bytes >> 20);
    let said = format!("{} MiB are free, about {} MiB are needed", mib(has), mib(needs));
    check("memory", status, said, format!("run with -c {}", has / 10 * 8 / each))
}

impl Wanted {
    /// Ends of each socket that are here.
    fn ends(&self) -> u64 {
        1 + u64::from(self.is_here)
    }
}

fn text(checks: &[Check], wanted: &Wanted) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "for {} sockets:\n", amount(wanted.connections));
    for Check { name, status, said, fix } in checks {
        let _ = writeln!(out, "  {:<5} {name:<15} {said}", status.name());
        if let Some(fix) = fix {
            let _ = writeln!(out, "        fix: {fix}");
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let _ = writeln!(
        out,
        "\n{} ok, {} to be warned of, {} to be mended",
        count(Status::Ok),
        count(Status::Warn),
        count(Status::Fail)
    );
    out
}

fn document(checks: &[Check], wanted: &Wanted, is_fit: bool) -> String {
    let check = |check: &Check| {
        let Check { name, status, said, fix } = check;
        json!({ "name": name, "status": status.name(), "said": said, "fix": fix })
    };
    let document = json!({
        "schema": "ws-doctor/1",
        "connections": wanted.connections,
        "ok": is_fit,
        "checks": checks.iter().map(check).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

/// With commas; limits that are none are said so.
fn amount(number: u64) -> String {
    if number >= 1 << 50 {
        return "any number".into();
    }
    grouped(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(connections: u64) -> Wanted {
        Wanted { connections, targets: 1, is_here: true, sources: vec![] }
    }

    fn large() -> Machine {
        Machine {
            open_files_hard: 1 << 20,
            nr_open: 1 << 20,
            file_max: u64::MAX,
            files_in_use: 1000,
            port_range: (32_768, 60_999),
            can_bind: vec![],
            conntrack: None,
            somaxconn: 4096,
            tcp_mem: [1 << 20, 1 << 21, 1 << 22],
            memory_available: 24 << 30,
            is_root: false,
        }
    }

    fn found(change: impl Fn(&mut Machine), wanted: &Wanted) -> Vec<Check> {
        let mut machine = large();
        change(&mut machine);
        examine(&machine, wanted).into_iter().filter(|check| check.status != Status::Ok).collect()
    }

    /// One limit alone is short, and its fix is this.
    fn check_one(change: impl Fn(&mut Machine), wanted: &Wanted, name: &str, status: Status, fix: &str) {
        let found = found(change, wanted);
        let one = found.iter().find(|check| check.name == name);
        let one = one.unwrap_or_else(|| panic!("{name} is missing in {found:?}"));
        assert_eq!((found.len(), one.status, one.fix.as_deref()), (1, status, Some(fix)), "{found:?}");
    }

    #[test]
    fn a_large_machine_is_fit() {
        assert_eq!(found(|_| (), &wanted(10_000)), []);
    }

    #[test]
    fn each_limit_is_found_with_its_fix() {
        use Status::{Fail, Warn};
        let ten = wanted(10_000);
        assert_eq!(found(|m| m.open_files_hard = 4096, &ten), [], "there can be more processes");
        let short = |m: &mut Machine| m.open_files_hard = 200;
        check_one(short, &ten, "open files", Fail, "sudo prlimit --pid $$ --nofile=257:257");
        check_one(
            |m| (m.open_files_hard, m.nr_open, m.is_root) = (200, 200, true),
            &ten,
            "open files",
            Fail,
            "sysctl -w fs.nr_open=257 && prlimit --pid $$ --nofile=257:257",
        );
        check_one(|m| m.file_max = 20_000, &ten, "all files", Fail, "sudo sysctl -w fs.file-max=21100");
        check_one(
            |m| m.conntrack = Some((500, 8000)),
            &ten,
            "conntrack",
            Fail,
            "sudo sysctl -w net.netfilter.nf_conntrack_max=13125",
        );
        check_one(|m| m.somaxconn = 128, &ten, "somaxconn", Warn, "sudo sysctl -w net.core.somaxconn=4096");
        check_one(
            |m| m.tcp_mem = [1, 2, 50_000],
            &ten,
            "tcp_mem",
            Warn,
            "sudo sysctl -w net.ipv4.tcp_mem=\"40000 50000 60000\"",
        );
        check_one(|m| m.memory_available = 100 << 20, &ten, "memory", Fail, "run with -c 2048");
        let mut strange = wanted(10);
        strange.sources = vec!["192.0.2.7".parse().expect("an address")];
        check_one(
            |m| m.can_bind = vec![false],
            &strange,
            "source address",
            Fail,
            "sudo ip addr add 192.0.2.7/32 dev lo",
        );
    }

    #[test]
    fn ports_are_counted_for_each_pair_of_addresses() {
        use Status::{Fail, Warn};
        check_one(|_| (), &wanted(20_000), "ports", Warn, "run with --source-ip=127.0.{1..2}.1");
        check_one(|_| (), &wanted(30_000), "ports", Fail, "run with --source-ip=127.0.{1..3}.1");
        assert_eq!(found(|_| (), &Wanted { targets: 3, ..wanted(30_000) }), []);
        let sources =
            ["127.0.1.1", "127.0.2.1", "127.0.3.1"].map(|ip| ip.parse().expect("an address")).to_vec();
        assert_eq!(found(|m| m.can_bind = vec![true; 3], &Wanted { sources, ..wanted(30_000) }), []);
    }

    #[test]
    fn the_text_fits_80_columns() {
        let mut wanted = wanted(1_000_000);
        wanted.sources = vec!["192.0.2.7".parse().expect("an address")];
        let mut machine = large();
        machine.can_bind = vec![false];
        machine.tcp_mem = [1, 2, 3];
        machine.conntrack = Some((1, 2));
        let text = text(&examine(&machine, &wanted), &wanted);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn this_machine_is_told_by_its_names() {
        assert!(is_here("ws://127.0.0.1:80") && is_here("wss://localhost/x") && is_here("ws://[::1]:80"));
        assert!(!is_here("ws://10.0.0.1:80"));
    }
}
