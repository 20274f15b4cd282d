//! Faults drawn by lot: what `--chaos SEED` breaks.

use std::time::Duration;

use rand::{
    Rng as _, SeedableRng as _,
    rngs::StdRng,
    seq::{IndexedRandom as _, SliceRandom as _},
};

use super::{Direction, Fault, Kind, On, Site};

/// What to draw from.
#[derive(Clone, Copy, Debug)]
pub struct ChaosOptions<'a> {
    /// Decides everything else.
    pub seed: u64,
    /// When the first fault comes: before it the cluster is seen at peace.
    pub start: Duration,
    /// When all are over: after it the cluster is seen to recover.
    pub end: Duration,
    /// Names of the replicas; without any, it is left to the run which one a fault hits.
    pub replicas: &'a [String],
    /// What may be drawn; a kind that stands twice comes twice as often.
    pub kinds: &'a [Kind],
}

/// A schedule of faults, ascending by time: the same options give the same one.
///
/// Faults follow one another with 1 to 3 s of quiet between them; beside one in four, where that hides neither's
/// effect, there is a second one at another site. No kind comes twice running unless there is no other, and all come
/// before one comes again, as far as these rules allow. Times are whole milliseconds.
#[must_use]
pub fn draw(options: &ChaosOptions<'_>) -> Vec<Fault> {
    let mut lot = Lot { random: StdRng::seed_from_u64(options.seed), bag: vec![], last: None, options };
    let mut faults = vec![];
    let mut at = options.start;
    while let Some(first) = lot.fault(at, None) {
        let half_ms = u64::try_from(first.lasts.as_millis() / 2).expect("4 s at most");
        let second = if half_ms > 0 && lot.random.random_bool(0.25) {
            let at = at + lot.millis(0, half_ms);
            lot.fault(at, Some(&first))
        } else {
            None
        };
        let over = [Some(&first), second.as_ref()].into_iter().flatten().map(|fault| lot.over(fault)).max();
        at = over.expect("the first") + lot.millis(1000, 3000);
        faults.push(first);
        faults.extend(second);
    }
    faults
}

/// Ample for the restart of one replica.
const RESTART: Duration = Duration::from_secs(2);
const SHORTEST_MS: u64 = 500;
const LONGEST_MS: u64 = 4000;

struct Lot<'a> {
    random: StdRng,
    /// Kinds that have not come yet in this round.
    bag: Vec<Kind>,
    last: Option<Kind>,
    options: &'a ChaosOptions<'a>,
}

impl Lot<'_> {
    /// A fault at `at`, beside another if there is one; none if none has its place there.
    fn fault(&mut self, at: Duration, beside: Option<&Fault>) -> Option<Fault> {
        let room = self.options.end.checked_sub(at)?;
        let kind = self.kind(room, beside)?;
        self.last = Some(kind);
        let mut fault = Fault::new(kind, at);
        fault.on = self.on(kind, room, beside);
        if !kind.is_instant() {
            let longest = u64::try_from(room.as_millis()).map_or(LONGEST_MS, |room| room.min(LONGEST_MS));
            fault.lasts = self.millis(SHORTEST_MS, longest);
        }
        match kind {
            Kind::ResetClients | Kind::SlowConsumer => fault.share = self.share(),
            Kind::HalfOpen => {
                fault.share = self.share();
                fault.direction = *[Direction::In, Direction::Out].choose(&mut self.random).expect("two");
            }
            Kind::SlowRedis => fault.delay = self.millis(5, 100),
            _ => {}
        }
        Some(fault)
    }

    /// The next of the bag that fits; a new round if none does.
    fn kind(&mut self, room: Duration, beside: Option<&Fault>) -> Option<Kind> {
        let options = self.options;
        let last = self.last.filter(|last| options.kinds.iter().any(|kind| kind != last));
        let fits = |kind: &Kind| {
            Some(*kind) != last
                && shortest(*kind) <= room
                && beside.is_none_or(|first| goes_with(*kind, first, options.replicas))
        };
        if !self.bag.iter().any(fits) {
            if !options.kinds.iter().any(fits) {
                return None;
            }
            let mut round = options.kinds.to_vec();
            round.shuffle(&mut self.random);
            self.bag.extend(round);
        }
        let place = self.bag.iter().position(fits).expect("the new round has one");
        Some(self.bag.remove(place))
    }

    /// All replicas once in four times, where that leaves somebody to talk to.
    fn on(&mut self, kind: Kind, room: Duration, beside: Option<&Fault>) -> On {
        if matches!(kind.site(), Site::Redis | Site::Clients) {
            return On::Any;
        }
        let taken =
            beside.filter(|first| company(kind, first.kind) == Company::Elsewhere).map(|first| &first.on);
        let free = |name: &&String| !matches!(taken, Some(On::Node(node)) if node == *name);
        let nodes: Vec<&String> = self.options.replicas.iter().filter(free).collect();
        let Some(node) = nodes.choose(&mut self.random) else { return On::Any };
        let one_alone = matches!(kind, Kind::KillReplica | Kind::PauseReplica | Kind::DropBackend);
        let all_fit = kind != Kind::RollingRestart || restarts(nodes.len()) <= room;
        if self.random.random_bool(0.25) && !one_alone && taken.is_none() && all_fit {
            return On::All;
        }
        On::Node((*node).clone())
    }

    /// When a fault is over in the field: restarts take their time, though nobody plans how much.
    fn over(&self, fault: &Fault) -> Duration {
        match (fault.kind, &fault.on) {
            (Kind::RollingRestart, On::All) => fault.at + restarts(self.options.replicas.len()),
            (Kind::RollingRestart, _) => fault.at + RESTART,
            _ => fault.end(),
        }
    }

    fn share(&mut self) -> f64 {
        f64::from(self.random.random_range(10..=60)) / 100.0
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.random.random_range(from..=to))
    }
}

fn restarts(replicas: usize) -> Duration {
    RESTART.saturating_mul(u32::try_from(replicas).unwrap_or(u32::MAX))
}

fn shortest(kind: Kind) -> Duration {
    match kind {
        Kind::RollingRestart => RESTART,
        _ if kind.is_instant() => Duration::ZERO,
        _ => Duration::from_millis(SHORTEST_MS),
    }
}

fn goes_with(kind: Kind, first: &Fault, replicas: &[String]) -> bool {
    match company(kind, first.kind) {
        Company::Anywhere => true,
        Company::Elsewhere => matches!(first.on, On::Node(_)) && replicas.len() > 1,
        Company::Nowhere => false,
    }
}

/// Where two faults may be on at a time.
#[derive(PartialEq, Eq)]
enum Company {
    Anywhere,
    /// On different replicas.
    Elsewhere,
    Nowhere,
}

/// Whether of two faults each can be seen to take effect: no connection is left to cut from a replica that is dead,
/// and a replica whose Redis is gone is not well behind a balancer that lost it.
fn company(one: Kind, other: Kind) -> Company {
    let has = |site| one.site() == site || other.site() == site;
    let is_seen_by_its_traffic = |kind| matches!(kind, Kind::HalfOpen | Kind::SlowConsumer);
    if one.site() == other.site() {
        Company::Nowhere
    } else if has(Site::Clients) {
        let traffic = is_seen_by_its_traffic(one) || is_seen_by_its_traffic(other);
        let may_stop = has(Site::Redis) || has(Site::RedisLink);
        if traffic && may_stop { Company::Nowhere } else { Company::Anywhere }
    } else if has(Site::Redis) {
        if has(Site::Replica) { Company::Anywhere } else { Company::Nowhere }
    } else {
        Company::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replicas(count: usize) -> Vec<String> {
        (1..=count).map(|n| format!("app-{n}")).collect()
    }

    fn a_minute(seed: u64) -> Vec<Fault> {
        let (start, end) = (Duration::from_secs(3), Duration::from_secs(57));
        draw(&ChaosOptions { seed, start, end, replicas: &replicas(3), kinds: &Kind::ALL })
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let text = |seed| a_minute(seed).iter().map(Fault::to_string).collect::<Vec<_>>();
        let first = [
            "kill-replica@3s for 1257ms on app-3",
            "slow-consumer@6293ms for 3273ms share 0.29",
            "storm@11607ms for 1849ms",
            "kill-pubsub@11664ms",
            "drop-backend@16328ms for 1772ms on app-3",
            "rolling-restart@16769ms on app-1",
            "pause-replica@19854ms for 1358ms on app-2",
            "slow-redis@24119ms for 1419ms on all delay 23ms",
            "wipe-redis@27241ms for 2159ms",
            "reset-clients@28273ms share 0.5",
            "restart-redis@30992ms for 1870ms",
            "half-open@34024ms for 1198ms share 0.18 direction out",
            "pause-redis@36657ms for 3249ms",
            "cut-redis@42889ms for 3609ms on app-1",
            "refuse-redis@47608ms for 1199ms on app-3",
            "kill-replica@48205ms for 3306ms on app-2",
            "stall-redis@53562ms for 986ms on all",
        ];
        assert_eq!(text(1), first);
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn a_minute_sees_many_faults_of_many_kinds_and_some_at_once() {
        let (mut faults, mut pairs) = (0, 0);
        for seed in 0..200 {
            let minute = a_minute(seed);
            let mut kinds: Vec<Kind> = minute.iter().map(|fault| fault.kind).collect();
            kinds.sort_unstable();
            kinds.dedup();
            assert!(minute.len() >= 9 && kinds.len() >= 8, "seed {seed}: {} of {kinds:?}", minute.len());
            faults += minute.len();
            pairs += minute.windows(2).filter(|pair| pair[1].at < pair[0].end()).count();
        }
        assert!((11..=18).contains(&(faults / 200)), "{faults}");
        assert!((faults / 8..=faults / 4).contains(&pairs), "{pairs} of {faults}");
    }

    #[test]
    fn nothing_to_draw_is_no_fault() {
        let [short, long] = [3, 60].map(Duration::from_secs);
        let count = |start, end, kinds: &[Kind]| {
            draw(&ChaosOptions { seed: 1, start, end, replicas: &replicas(3), kinds }).len()
        };
        assert_eq!(count(short, long, &[]), 0);
        assert_eq!(count(long, short, &Kind::ALL), 0);
        assert_eq!(count(short, short, &[Kind::Storm, Kind::RollingRestart]), 0);
        assert_eq!(count(short, short, &[Kind::KillPubsub]), 1);
        assert!(count(short, long, &[Kind::CutRedis]) > 5);
    }

    proptest! {
        #[test]
        fn the_rules_hold(
            seed: u64,
            start_ms in 0..10_000_u64,
            span_ms in 0..120_000_u64,
            nodes in 0..6_usize,
            kinds in proptest::sample::subsequence(Kind::ALL.to_vec(), 1..=16),
        ) {
            let (start, end) = (Duration::from_millis(start_ms), Duration::from_millis(start_ms + span_ms));
            let replicas = replicas(nodes);
            let options = ChaosOptions { seed, start, end, replicas: &replicas, kinds: &kinds };
            let faults = draw(&options);
            prop_assert_eq!(&faults, &draw(&options));
            for fault in &faults {
                prop_assert_eq!(fault.to_string().parse(), Ok(fault.clone()));
                prop_assert!(kinds.contains(&fault.kind) && fault.at >= start && fault.end() <= end, "{fault}");
                prop_assert!(is_in_bounds(fault, &replicas), "{fault}");
            }
            for pair in faults.windows(2) {
                prop_assert!(pair[0].at <= pair[1].at);
                prop_assert!(pair[0].kind != pair[1].kind || kinds.len() == 1, "{} twice", pair[0].kind);
            }
            for (later, second) in faults.iter().enumerate() {
                for first in faults[..later].iter().filter(|first| second.at < first.end()) {
                    prop_assert_ne!(first.kind.site(), second.kind.site(), "{} and {}", first, second);
                    let on_nodes = |fault: &Fault| !matches!(fault.kind.site(), Site::Redis | Site::Clients);
                    prop_assert!(!on_nodes(first) || !on_nodes(second) || first.on != second.on);
                }
                prop_assert!(faults[..later].iter().filter(|first| second.at < first.end()).count() <= 1);
            }
            for gap in gaps(&faults) {
                prop_assert!(gap >= Duration::from_secs(1), "{gap:?} of quiet");
            }
        }
    }

    fn is_in_bounds(fault: &Fault, replicas: &[String]) -> bool {
        let lasts = fault.lasts.as_millis();
        let on = match &fault.on {
            On::Any => replicas.is_empty() || matches!(fault.kind.site(), Site::Redis | Site::Clients),
            On::All => !matches!(fault.kind, Kind::KillReplica | Kind::PauseReplica | Kind::DropBackend),
            On::Node(node) => replicas.contains(node),
        };
        (if fault.kind.is_instant() { lasts == 0 } else { (500..=4000).contains(&lasts) })
            && on
            && (0.1..=0.6).contains(&fault.share)
            && (5..=100).contains(&fault.delay.as_millis())
            && fault.bytes_per_second.is_none()
    }

    /// The times in which no fault is on, between the first and the last.
    fn gaps(faults: &[Fault]) -> Vec<Duration> {
        let mut over = faults.first().map_or(Duration::ZERO, |fault| fault.at);
        let mut gaps = vec![];
        for fault in faults {
            if fault.at > over {
                gaps.push(fault.at - over);
            }
            over = over.max(fault.end());
        }
        gaps
    }
}
