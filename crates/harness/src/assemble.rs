//! From all that a run left behind to its report.

use std::time::Instant;

use ws_analysis::{
    capacity::probe::Busy,
    judge::{self, Findings},
    property::Property,
    report::{
        self, ClusterUse, Environment, FaultResult, Generator, Latency, Member, Memory, Moment, Phases,
        ProcessUse, ReplicaResult, Report, Summary, Verdict,
    },
    strain::Watch,
    threshold::ThresholdResult,
    timeline::{Timeline, Window},
    verdict::{Facts, Purpose},
};
use ws_cluster::{
    backend::local::LocalCluster,
    process::{MachineUse, Usage, machine_usage, own_usage},
};
use ws_swarm::{Monitor, Outcome, canary};

use crate::{
    Tool,
    config::{Config, Local, Target},
};

/// What everybody had used when a step began.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    at: Instant,
    own: Usage,
    server: Option<Usage>,
    redis: Option<Usage>,
    machine: Option<MachineUse>,
    kernel: Option<u64>,
}

impl Sample {
    pub(crate) fn take(at: Instant, cluster: Option<&LocalCluster>, monitor: &Monitor) -> Self {
        let ProcessUse { cpu_seconds, rss_bytes } = monitor.members_used();
        Self {
            at,
            own: own_usage() + Usage { cpu_seconds, rss_bytes },
            server: cluster.and_then(LocalCluster::server_usage),
            redis: cluster.and_then(LocalCluster::redis_usage),
            machine: machine_usage(),
            kernel: kernel_memory(),
        }
    }
}

/// Bytes that this machine's kernel holds for itself: its slabs, and what TCP buffers besides (proc(5)).
fn kernel_memory() -> Option<u64> {
    let number = |text: &str, name: &str| {
        let mut words = text.split_whitespace().skip_while(|word| *word != name);
        words.nth(1)?.parse::<u64>().ok()
    };
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let sockets = std::fs::read_to_string("/proc/net/sockstat").ok()?;
    let (_, tcp) = sockets.split_once("TCP:")?;
    Some(number(&meminfo, "Slab:")? * 1024 + number(tcp, "mem")? * rustix::param::page_size() as u64)
}

/// What is known of our own cluster.
pub(crate) struct ClusterFacts {
    /// Program and version.
    pub(crate) redis: Option<String>,
    pub(crate) notes: Vec<String>,
}

impl ClusterFacts {
    pub(crate) fn new(cluster: &LocalCluster) -> Self {
        Self { redis: cluster.redis().map(|redis| redis.version.clone()), notes: cluster.notes().to_vec() }
    }
}

/// A run, judged.
pub(crate) struct Judged {
    pub(crate) report: Report,
    /// What the verdict was made of.
    pub(crate) facts: Facts,
    pub(crate) findings: Findings,
    pub(crate) timeline: Timeline,
}

/// Everything a report is made of.
pub(crate) struct Evidence<'a> {
    pub(crate) tool: &'a Tool,
    pub(crate) config: &'a Config,
    pub(crate) environment: Environment,
    /// What was planned that a reader has to know.
    pub(crate) notes: Vec<String>,
    /// One for each step as it began.
    pub(crate) samples: Vec<Sample>,
    pub(crate) outcome: Outcome,
    pub(crate) faults: Vec<FaultResult>,
    pub(crate) cluster: Option<ClusterFacts>,
    pub(crate) dead: Vec<String>,
    pub(crate) interrupted: bool,
    /// The threshold that stopped it.
    pub(crate) aborted: Option<ThresholdResult>,
    pub(crate) watch: Watch,
}

/// The places of the steps among the samples.
const CONNECT: usize = 0;
const JOIN: usize = 1;
const SEND: usize = 2;
const SETTLE: usize = 3;
const DRAIN: usize = 4;

impl Evidence<'_> {
    /// The end of the run.
    pub(crate) fn judge(mut self) -> Judged {
        let ledgers = std::mem::take(&mut self.outcome.ledgers);
        let timeline = self.timeline();
        let findings = judge::judge(ledgers, &timeline);
        let (report, facts) = self.report(&findings, &timeline);
        Judged { report, facts, findings, timeline }
    }

    /// Who used the processors while messages were sent.
    pub(crate) fn busy(&self) -> Busy {
        let (Some(from), Some(to)) = (self.samples.get(SEND), self.samples.get(SETTLE)) else {
            return Busy::default();
        };
        let seconds = (to.at - from.at).as_secs_f64();
        let used =
            |by: fn(&Sample) -> Option<Usage>| Some((by(to)?.cpu_seconds - by(from)?.cpu_seconds) / seconds);
        let machine = |by: fn(MachineUse) -> f64| Some((by(to.machine?) - by(from.machine?)) / seconds);
        Busy {
            server: used(|sample| sample.server),
            redis: used(|sample| sample.redis),
            generator: used(|sample| Some(sample.own)).unwrap_or_default(),
            interrupts: machine(|used| used.interrupt_seconds),
            machine: machine(|used| used.busy_seconds),
        }
    }

    /// When faults were on. One that never healed is on to the end.
    fn timeline(&self) -> Timeline {
        let window = |fault: &FaultResult| Window {
            start_us: fault.start_us,
            end_us: fault.healed_us.unwrap_or(u64::MAX),
        };
        let settle_us = u64::try_from(self.config.settle.as_micros()).unwrap_or(u64::MAX);
        let drained = self.samples.get(DRAIN).filter(|_| self.interrupted || self.aborted.is_some());
        let stopped_us =
            drained.and_then(|sample| u64::try_from((sample.at - self.epoch()?).as_micros()).ok());
        let mut errors: Vec<u64> = self.outcome.members.iter().map(|member| member.clock_error_us).collect();
        errors.sort_unstable();
        let apart_us = errors.iter().rev().take(2).sum();
        Timeline { faults: self.faults.iter().map(window).collect(), settle_us, stopped_us, apart_us }
    }

    /// Orders that were to be proved, by their properties.
    fn orders(&self) -> Vec<String> {
        let rules = self.config.rules;
        let wanted = [(rules.total_order, Property::TotalOrder), (rules.causal_order, Property::CausalOrder)];
        wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, order)| order.id().into()).collect()
    }

    /// Time zero of the run, but for a moment.
    fn epoch(&self) -> Option<Instant> {
        self.samples.first().map(|sample| sample.at)
    }

    /// The report, and what its verdict was made of.
    fn report(&self, findings: &Findings, timeline: &Timeline) -> (Report, Facts) {
        let latencies = &findings.latencies;
        let lag = Summary::from(&latencies.schedule_lag);
        let facts = self.facts(&lag);
        let mut report = Report {
            schema: report::SCHEMA.into(),
            tool: self.tool.name.into(),
            version: self.tool.version.into(),
            verdict: Verdict::Inconclusive,
            reasons: Vec::new(),
            notes: self.notes(findings),
            seed: self.config.scenario.seed,
            config: self.config.to_json(),
            environment: self.environment.clone(),
            target: self.target(),
            contract: self.outcome.contract.name().into(),
            phases: self.phases(),
            faults: Vec::new(),
            causes: Vec::new(),
            counts: report::Counts::default(),
            properties: Vec::new(),
            thresholds: Vec::new(),
            latency_us: Latency::from(latencies),
            replica_matrix: Vec::new(),
            series: Vec::new(),
            timeline: self.moments(timeline),
            cluster: ClusterUse {
                server: self.used(|sample| sample.server),
                redis: self.used(|sample| sample.redis),
            },
            generator: self.generator(lag, facts.is_saturated()),
            histograms: None,
            runs: Vec::new(),
            memory: self.memory(),
            members: self.members(),
        };
        report.judge(findings, timeline, &facts);
        report.demand(&self.config.thresholds, self.aborted.as_ref());
        (report, facts)
    }

    fn facts(&self, lag: &Summary) -> Facts {
        let outcome = &self.outcome;
        Facts {
            purpose: self.tool.purpose,
            connections: self.config.scenario.connections,
            rooms: self.config.scenario.rooms,
            replicas: outcome.replicas.iter().map(|met| (met.hello.node.clone(), met.connections)).collect(),
            replicas_planned: match &self.config.target {
                Target::Urls(urls) => self.config.replicas.unwrap_or(urls.len().max(self.fewest())),
                Target::Local(local) => local.replicas,
            },
            not_opened: outcome.not_opened.clone(),
            ended_early: outcome.ended_early.clone(),
            refusals: outcome.refusals.clone(),
            problems: outcome.problems.clone(),
            not_joined: outcome.not_joined,
            unfenced_rooms: outcome.unfenced_rooms,
            not_back: outcome.not_back,
            orders: self.orders(),
            dead: self.dead.clone(),
            interrupted: self.interrupted,
            lost_members: outcome.lost_members.iter().map(ToString::to_string).collect(),
            lost_workers: outcome.lost_workers.clone(),
            faults: self.faults.clone(),
            lag_p99_us: lag.p99,
            strain: self.watch.lasting(),
            canary: canary::find(&self.config.protocol.codec).err(),
        }
    }

    /// Fewer replicas are no cluster.
    fn fewest(&self) -> usize {
        if self.tool.purpose == Purpose::Prove { 2 } else { 1 }
    }

    fn notes(&self, findings: &Findings) -> Vec<String> {
        let mut notes = self.notes.clone();
        notes.extend(self.cluster.iter().flat_map(|cluster| cluster.notes.clone()));
        let counts = &findings.counts;
        if counts.foreign > 0 {
            notes.push(format!("{} messages of others came; they were not judged", counts.foreign));
        }
        if counts.sent > 0 && counts.quiet_rooms > 0 {
            notes.push(format!(
                "nothing was sent into {} of {} rooms, so nothing is proved of these",
                counts.quiet_rooms, self.config.scenario.rooms
            ));
        }
        if counts.late > 0 {
            let deadline = self.config.deadline.as_secs_f64();
            notes.push(format!("{} deliveries came later than {deadline} s; late is not lost", counts.late));
        }
        let outcome = &self.outcome;
        if outcome.probed > 0 {
            notes.push(format!(
                "{} joins were not acked; each was confirmed by a message that its sender had back from the room",
                outcome.probed
            ));
        }
        if self.config.protocol.codec.is_one_way() {
            notes.push(
                "the servers only take messages (one-way): a send counts as acked when it was handed to its socket, and no \
                 delivery was owed or judged"
                    .into(),
            );
        }
        if outcome.unacked && counts.sent > 0 {
            notes.push(
                "sends were not acked: a sender's own copy counted as the ack, so a message that reached nobody is \
                 not seen as lost"
                    .into(),
            );
        }
        if counts.missed > 0 {
            notes.push(format!(
                "{} deliveries were missed, {} of them in silence; the contract {} allows that, --contract exactly-once \
                 does not",
                counts.missed, counts.silent, self.outcome.contract
            ));
        }
        notes
    }

    fn target(&self) -> report::Target {
        let replicas = &self.outcome.replicas;
        let first = replicas.first().map(|met| met.hello.clone()).unwrap_or_default();
        let mut bugs: Vec<String> = replicas.iter().flat_map(|met| met.hello.bugs.clone()).collect();
        bugs.sort();
        bugs.dedup();
        let replica = |met: &ws_swarm::Met| ReplicaResult {
            node: met.hello.node.clone(),
            url: met.url.clone(),
            connections: met.connections,
        };
        report::Target {
            protocol: self.config.protocol.codec.name().into(),
            broker: first.broker,
            guarantee: first.guarantee,
            redis: self.cluster.as_ref().and_then(|cluster| cluster.redis.clone()),
            serve: match &self.config.target {
                Target::Local(Local { serve: Some(serve), .. }) => Some(serve.command.clone()),
                _ => None,
            },
            bugs,
            replicas: replicas.iter().map(replica).collect(),
        }
    }

    fn phases(&self) -> Phases {
        let from_to = |from: usize, to: usize| match (self.samples.get(from), self.samples.get(to)) {
            (Some(from), Some(to)) => (to.at - from.at).as_secs_f64(),
            _ => 0.0,
        };
        Phases {
            connect_s: from_to(CONNECT, JOIN),
            join_s: from_to(JOIN, SEND),
            send_s: from_to(SEND, SETTLE),
            drain_s: from_to(SETTLE, DRAIN + 1),
        }
    }

    /// What happened when, in order.
    fn moments(&self, timeline: &Timeline) -> Vec<Moment> {
        let epoch = self.epoch();
        let step = |(place, what): (usize, &str)| {
            let at = self.samples.get(place)?.at.duration_since(epoch?);
            Some(Moment { at_us: u64::try_from(at.as_micros()).ok()?, what: what.into() })
        };
        let steps =
            ["sockets are opened", "rooms are joined", "sending begins", "sending ends", "fences are sent"];
        let mut moments: Vec<Moment> = steps.into_iter().enumerate().filter_map(step).collect();
        for (fault, window) in self.faults.iter().zip(&timeline.faults) {
            let mut add = |at_us, what: &str| {
                moments.push(Moment { at_us, what: format!("{} {what}", fault.name) });
            };
            add(window.start_us, "begins");
            fault.effective_us.into_iter().for_each(|at_us| add(at_us, "has taken effect"));
            fault.healed_us.into_iter().for_each(|at_us| add(at_us, "is healed"));
        }
        moments.sort_by_key(|moment| moment.at_us);
        moments
    }

    /// While messages were sent.
    fn used(&self, by: impl Fn(&Sample) -> Option<Usage>) -> Option<ProcessUse> {
        let (from, to) = (self.samples.get(SEND)?, self.samples.get(SETTLE)?);
        let (from, to) = (by(from)?, by(to)?);
        Some(ProcessUse { cpu_seconds: to.cpu_seconds - from.cpu_seconds, rss_bytes: to.rss_bytes })
    }

    /// What a socket took, of those that are open when all have joined.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn memory(&self) -> Memory {
        let opened: u32 = self.outcome.replicas.iter().map(|met| met.connections).sum();
        let grown = |by: &dyn Fn(&Sample) -> Option<u64>| {
            let (from, to) = (by(self.samples.get(CONNECT)?)?, by(self.samples.get(SEND)?)?);
            (opened > 0).then(|| to.saturating_sub(from) as f64 / f64::from(opened))
        };
        Memory {
            server: grown(&|sample| Some(sample.server?.rss_bytes)),
            generator: grown(&|sample| Some(sample.own.rss_bytes)),
            kernel: grown(&|sample| sample.kernel),
        }
    }

    fn members(&self) -> Vec<Member> {
        let lost = &self.outcome.lost_members;
        let member = |member: &ws_swarm::MemberFacts| Member {
            name: member.name.clone(),
            connections: member.connections,
            clock_error_us: member.clock_error_us,
            lost: lost.iter().find(|lost| lost.name == member.name).map(|lost| lost.why.clone()),
        };
        self.outcome.members.iter().map(member).collect()
    }

    fn generator(&self, schedule_lag_us: Summary, saturated: bool) -> Generator {
        let ProcessUse { cpu_seconds, rss_bytes } = self.used(|sample| Some(sample.own)).unwrap_or_default();
        Generator { cpu_seconds, rss_bytes, schedule_lag_us, workers: self.watch.workers(), saturated }
    }
}
