//! What faults need of a cluster.

use ws_workload::fault::{Fault, Kind, On, Site};

/// What a cluster has, as far as faults care.
#[derive(Clone, Copy, Debug)]
pub(super) struct Has {
    pub(super) replicas: usize,
    /// Replicas are processes of their own.
    pub(super) processes: bool,
    pub(super) redis: RedisKind,
}

/// Whose Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RedisKind {
    None,
    Theirs,
    Ours,
}

/// What is built for the faults of a run, and for no other run: it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// A proxy between each replica and Redis.
    pub(super) links: bool,
    /// A proxy before each replica.
    pub(super) fronts: bool,
    /// A Redis that keeps its data.
    pub(super) data: bool,
}

impl Need {
    pub(super) fn of(faults: &[Fault]) -> Self {
        let any = |is_it: fn(Kind) -> bool| faults.iter().any(|fault| is_it(fault.kind));
        Self {
            links: any(|kind| kind.site() == Site::RedisLink),
            fronts: any(|kind| kind == Kind::DropBackend),
            data: any(|kind| kind == Kind::RestartRedis),
        }
    }

    /// Whether it includes all of `other`.
    pub(super) fn includes(self, other: Self) -> bool {
        self.links >= other.links && self.fronts >= other.fronts && self.data >= other.data
    }
}

/// Why `fault` can't be done there, and what to do.
pub(super) fn check(fault: &Fault, has: Has) -> Result<(), String> {
    let kind = fault.kind;
    match kind.site() {
        Site::Clients => Ok(()),
        Site::Replica if !has.processes => Err(format!(
            "{kind}: the replicas share this process; give them one each: leave out --redis embedded, and have \
             redis-server on PATH or in $REDIS_SERVER"
        )),
        Site::RedisLink | Site::Redis if has.redis == RedisKind::None => Err(format!(
            "{kind}: there is no Redis; leave out --redis embedded, and have redis-server on PATH or in $REDIS_SERVER"
        )),
        Site::Redis if has.redis == RedisKind::Theirs => Err(format!(
            "{kind}: this Redis is not ours to break; leave out --redis URL for a private one, or give a command for it"
        )),
        Site::Redis => match &fault.on {
            On::Node(node) if node != "redis" => {
                Err(format!("{kind}: it hits Redis and not {node}; leave out 'on {node}'"))
            }
            _ => Ok(()),
        },
        Site::Replica | Site::RedisLink | Site::Balancer => {
            fault.on.among(&super::nodes(has.replicas), 0).map(drop).ok_or_else(|| {
                format!("{fault}: there is no such replica; there are app-1 to app-{}", has.replicas)
            })
        }
    }
}

/// The address in a Redis URL, which a proxy can stand in for.
pub(super) fn redis_address(url: &str) -> Result<String, String> {
    let rest = url.strip_prefix("redis://").ok_or_else(|| {
        format!("{url}: only plain redis:// has a link that can be broken; TLS would see another host, a socket is none")
    })?;
    let (_, host) = authority(rest);
    Ok(if host.ends_with(']') || !host.contains(':') { format!("{host}:6379") } else { host.to_owned() })
}

/// `url` with another address; user, password and database stay.
pub(super) fn through(url: &str, address: std::net::SocketAddr) -> String {
    let rest = url.strip_prefix("redis://").unwrap_or(url);
    let (user, host) = authority(rest);
    let tail = &rest[user.len() + host.len()..];
    format!("redis://{user}{address}{tail}")
}

/// `user:password@`, and host with port.
fn authority(rest: &str) -> (&str, &str) {
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.split_at(authority.rfind('@').map_or(0, |at| at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        text.parse().expect(text)
    }

    const OURS: Has = Has { replicas: 3, processes: true, redis: RedisKind::Ours };

    #[test]
    fn what_can_not_be_done_is_refused_with_what_to_do() {
        let check = |text: &str, has: Has, why: &str| match check(&fault(text), has) {
            Ok(()) => assert_eq!(why, "", "{text}"),
            Err(error) => assert!(!why.is_empty() && error.contains(why), "{text}: {error}"),
        };
        let embedded = Has { processes: false, redis: RedisKind::None, ..OURS };
        let theirs = Has { redis: RedisKind::Theirs, ..OURS };
        for kind in Kind::ALL {
            check(&format!("{kind}@1s"), OURS, "");
        }
        check("kill-replica@1s", embedded, "leave out --redis embedded");
        check("cut-redis@1s", embedded, "there is no Redis");
        check("drop-backend@1s", embedded, "");
        check("storm@1s", embedded, "");
        check("cut-redis@1s", theirs, "");
        check("wipe-redis@1s", theirs, "wipe-redis: this Redis is not ours to break; leave out --redis URL");
        check("kill-replica@1s on app-4", OURS, "app-1 to app-3");
        check("kill-replica@1s on app-3", OURS, "");
        check("pause-redis@1s on app-1", OURS, "leave out 'on app-1'");
        check("pause-redis@1s on redis", OURS, "");
    }

    #[test]
    fn only_what_the_faults_need_is_built() {
        let of = |texts: &[&str]| Need::of(&texts.iter().map(|text| fault(text)).collect::<Vec<_>>());
        assert_eq!(of(&["kill-replica@1s", "pause-redis@1s", "storm@1s"]), Need::default());
        assert_eq!(of(&["slow-redis@1s"]), Need { links: true, ..Need::default() });
        assert_eq!(of(&["drop-backend@1s"]), Need { fronts: true, ..Need::default() });
        let both = of(&["restart-redis@1s", "slow-redis@1s"]);
        assert!(
            both.data && both.includes(of(&["slow-redis@1s"])) && !both.includes(of(&["drop-backend@1s"]))
        );
    }

    #[test]
    fn a_proxy_stands_in_for_the_address_alone() {
        let check = |url: &str, address: &str, through_it: &str| {
            assert_eq!(redis_address(url).as_deref(), Ok(address));
            assert_eq!(through(url, "127.0.0.1:9".parse().expect("an address")), through_it);
        };
        check("redis://h", "h:6379", "redis://127.0.0.1:9");
        check("redis://h:1/3?protocol=resp3", "h:1", "redis://127.0.0.1:9/3?protocol=resp3");
        check("redis://u:p@w@h:1/3", "h:1", "redis://u:p@w@127.0.0.1:9/3");
        check("redis://[::1]/", "[::1]:6379", "redis://127.0.0.1:9/");
        assert!(redis_address("rediss://h:1").is_err() && redis_address("unix:///run/redis").is_err());
    }
}
