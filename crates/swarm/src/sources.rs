//! Which local addresses connections come from, planned before the run.
//!
//! A connection is told from others by its two addresses and two ports, so one local address has as many connections to
//! one destination as there are ephemeral ports. The kernel looks for a free port among every second of them first, and
//! only then among the rest: past half of them a connect costs ten times as much.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// How much of the cheap half of the ports is planned with, in percent: some of it is taken by what else runs here, and
/// by connections that ended a moment ago.
const PLANNED_PERCENT: u32 = 85;

/// Networks of the loopback interface that are used: 127.0.1.0/24 to 127.0.255.0/24.
const LOOPBACK_NETWORKS: u32 = 255;

/// Local addresses for the connections of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sources {
    /// Taken in turn; empty for the system's choice.
    pub addresses: Vec<IpAddr>,
    /// What a reader of the report has to know of them.
    pub note: Option<String>,
}

/// More sockets than the ports of the addresses allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{sockets} sockets to {destination} need {needed} source addresses, as each has {ports} ports \
     (net.ipv4.ip_local_port_range), and there {}.\n\
     Give this machine more addresses (ip addr add 10.0.1.1/32 dev eth0) and name {needed} of them: {}; or \
     widen the range: sysctl -w net.ipv4.ip_local_port_range='1024 65535'; or try -c {fit}",
    if *given == 1 { "is one".to_owned() } else { format!("are {given}") },
    "--source-ip IP ".repeat(usize::try_from(*needed).unwrap_or(usize::MAX).min(4)).trim_end()
)]
pub struct TooFewSources {
    destination: SocketAddr,
    sockets: u32,
    ports: u32,
    given: u32,
    needed: u32,
    /// As many connections in all do fit.
    fit: u32,
}

impl Sources {
    /// For `connections` that go to `destinations` in turn, from the addresses that were `given` or, on the loopback
    /// interface, from as many as it takes; `ports` is the number of ephemeral ports.
    ///
    /// # Errors
    /// The sockets of one destination don't fit the ports.
    pub fn plan(
        connections: u32,
        destinations: &[SocketAddr],
        given: &[IpAddr],
        ports: u32,
    ) -> Result<Self, TooFewSources> {
        let Some((destination, sockets)) = busiest(connections, destinations) else {
            return Ok(Self { addresses: given.to_vec(), note: None });
        };
        let planned = (ports / 2 * PLANNED_PERCENT / 100).max(1);
        let wanted = sockets.div_ceil(planned);
        let is_loopback = |to: &SocketAddr| matches!(to.ip(), IpAddr::V4(to) if to.is_loopback());
        if given.is_empty()
            && wanted > 1
            && wanted <= LOOPBACK_NETWORKS
            && destinations.iter().all(is_loopback)
        {
            return Ok(Self::loopback(wanted, planned));
        }
        let sources = u32::try_from(given.len().max(1)).unwrap_or(u32::MAX);
        let ports = ports.max(1);
        if sockets > ports.saturating_mul(sources) {
            let share = u64::from(sockets).max(1);
            let fit = u64::from(connections) * u64::from(ports) * u64::from(sources) / share;
            return Err(TooFewSources {
                destination,
                sockets,
                ports,
                given: sources,
                needed: sockets.div_ceil(ports),
                fit: u32::try_from(fit).unwrap_or(u32::MAX),
            });
        }
        let note = (wanted > sources).then(|| {
            format!(
                "{sockets} sockets to {destination} came from {sources} address(es): past half of an address's {ports} \
                 ports a connect costs the generator ten times as much; {wanted} of --source-ip avoid that"
            )
        });
        Ok(Self { addresses: given.to_vec(), note })
    }

    fn loopback(count: u32, planned: u32) -> Self {
        let address =
            |network: u32| Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 0, 1).to_bits() + (network << 8));
        let note = format!(
            "connections came from {count} addresses in turn, 127.0.1.1 to {}: at most {planned} to one replica from each",
            address(count)
        );
        Self { addresses: (1..=count).map(|network| address(network).into()).collect(), note: Some(note) }
    }

    /// Where connection `number` of a run with so many endpoints comes from.
    pub(crate) fn of(&self, number: u32, endpoints: usize) -> Option<IpAddr> {
        let turn = number as usize / endpoints;
        (!self.addresses.is_empty()).then(|| self.addresses[turn % self.addresses.len()])
    }
}

/// The destination with the most sockets: several endpoints may share one.
fn busiest(connections: u32, destinations: &[SocketAddr]) -> Option<(SocketAddr, u32)> {
    let endpoints = u32::try_from(destinations.len()).ok()?;
    let mut sockets = BTreeMap::<SocketAddr, u32>::new();
    for (place, destination) in (0..).zip(destinations) {
        *sockets.entry(*destination).or_default() += (connections + endpoints - 1 - place) / endpoints;
    }
    sockets.into_iter().max_by_key(|(_, sockets)| *sockets)
}

/// How many ephemeral ports a local address has.
///
/// # Errors
/// The kernel does not say.
pub fn ephemeral_ports() -> io::Result<u32> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    count_ports(&range).ok_or_else(|| io::Error::other(format!("no range of ports: {range:?}")))
}

fn count_ports(range: &str) -> Option<u32> {
    let mut ends = range.split_whitespace().map(|end| end.parse::<u32>().ok());
    let (first, last) = (ends.next()??, ends.next()??);
    (last + 1).checked_sub(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux has them.
    const PORTS: u32 = 28_232;

    fn plan(connections: u32, destinations: &[&str], given: &[&str]) -> Result<Sources, TooFewSources> {
        let destinations: Vec<SocketAddr> =
            destinations.iter().map(|to| to.parse().expect("an address")).collect();
        let given: Vec<IpAddr> = given.iter().map(|ip| ip.parse().expect("an address")).collect();
        Sources::plan(connections, &destinations, &given, PORTS)
    }

    fn addresses(sources: &Sources) -> Vec<String> {
        sources.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn loopback_gets_as_many_addresses_as_it_takes() {
        let one = plan(11_998, &["127.0.0.1:80"], &[]).expect("it fits");
        assert_eq!(one, Sources::default());
        let two = plan(11_999, &["127.0.0.1:80"], &[]).expect("it fits");
        assert_eq!(addresses(&two), ["127.0.1.1", "127.0.2.1"]);
        assert!(two.note.expect("it is said").contains("2 addresses"), "the reader is told");
        let many = plan(100_000, &["127.0.0.1:1", "127.0.0.1:2"], &[]).expect("it fits");
        assert_eq!(many.addresses.len(), 5);
        // What was typed stands.
        let given = plan(20_000, &["127.0.0.1:80"], &["127.0.9.1"]).expect("it fits");
        assert_eq!(addresses(&given), ["127.0.9.1"]);
    }

    #[test]
    fn no_pair_of_addresses_gets_more_than_its_share() {
        let destinations = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:1"];
        let sources = plan(90_001, &destinations, &[]).expect("it fits");
        let mut pairs = BTreeMap::<(&str, Option<IpAddr>), u32>::new();
        for number in 0..90_001 {
            let to = destinations[number as usize % destinations.len()];
            *pairs.entry((to, sources.of(number, destinations.len()))).or_default() += 1;
        }
        assert!(pairs.values().all(|sockets| *sockets <= 11_998 + 1), "{pairs:?}");
    }

    #[test]
    fn elsewhere_ports_are_counted_and_the_way_out_is_named() {
        for destination in ["10.0.0.1:80", "[::1]:80"] {
            assert_eq!(plan(11_000, &[destination], &[]), Ok(Sources::default()));
            let dear = plan(20_000, &[destination], &[]).expect("it fits");
            assert!(dear.note.expect("it is said").contains("2 of --source-ip"), "{destination}");
            let error = plan(60_000, &[destination], &[]).expect_err("it does not fit").to_string();
            for part in
                ["need 3 source", "there is one", "--source-ip IP --source-ip IP --source-ip IP;", "-c 28232"]
            {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
        let two = ["10.0.0.1:80", "10.0.0.2:80"];
        assert!(plan(50_000, &two, &[]).is_ok(), "each has ports of its own");
        let error = plan(200_000, &two, &["10.1.0.1", "10.1.0.2"]).expect_err("it does not fit").to_string();
        assert!(error.contains("there are 2") && error.contains("-c 112928"), "{error}");
    }

    #[test]
    fn a_range_has_both_its_ends() {
        assert_eq!(count_ports("32768\t60999\n"), Some(PORTS));
        assert_eq!(count_ports("5 5"), Some(1));
        assert_eq!((count_ports("9 5"), count_ports("x"), count_ports("5")), (None, None, None));
        assert!(ephemeral_ports().expect("Linux has a range") > 0);
    }
}
