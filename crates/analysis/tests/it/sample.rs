//! Two runs as they could have been: [`failing`] with six faults and servers that say hostile things, [`passing`] without
//! any fault.

use serde_json::json;
use ws_analysis::{
    report::{
        self, Back, BackFrom, Cause, ClusterUse, Counts, Environment, Example, FaultResult, Generator,
        Histograms, Latency, MatrixCell, Memory, Moment, Phases, ProcessUse, PropertyResult, ReplicaResult,
        Report, Second, Summary, Target, Verdict,
    },
    series::Buckets,
    stats::{Latencies, Times},
    threshold::ThresholdResult,
};

/// What a server may call itself, or put into a message. No form of the report may let it act.
pub(crate) const HOSTILE: &str = "app-3<script>alert('3')</script>\"&|`]]>\x1b[31m\u{202e}\r\n::error::x";

const NODES: [&str; 3] = ["app-1", "app-2", HOSTILE];

/// A minute under the contract `no-silent-loss`, in which two of six faults lost messages.
pub(crate) fn failing() -> Report {
    Report {
        verdict: Verdict::Fail,
        reasons: vec![
            "P3 no loss: 1,233 violations in 421,800 deliveries owed".into(),
            "all of it on its way to app-2: 1,204 during cut-redis 1, 37 during half-open 1".into(),
            format!("of 48,000 messages 12 were never answered: {HOSTILE}"),
        ],
        notes: vec![
            format!("closed with reason {HOSTILE}"),
            "310 deliveries came later than 5 s; late is not lost".into(),
        ],
        thresholds: vec![
            ThresholdResult {
                threshold: "delivery.p99<100ms".into(),
                value: Some(5_020.0),
                met: true,
                aborted_us: None,
            },
            ThresholdResult {
                threshold: "lost==0".into(),
                value: Some(1_241.0),
                met: false,
                aborted_us: None,
            },
        ],
        contract: "no-silent-loss".into(),
        faults: faults(),
        causes: causes(),
        series: series(),
        timeline: timeline(),
        counts: Counts {
            ended_early: 61,
            acked: 47_988,
            unanswered: 12,
            delivered: 478_747,
            lost: 1_241,
            late: 310,
            ..sums()
        },
        properties: failing_properties(),
        replica_matrix: matrix(1_241),
        ..passing()
    }
}

/// The same minute, with nothing in its way.
pub(crate) fn passing() -> Report {
    let delivery =
        Summary { count: 479_988, min: 190, p50: 840, p90: 1_900, p99: 7_420, p999: 61_000, max: 2_940_000 };
    Report {
        schema: report::SCHEMA.into(),
        tool: "ws-verify".into(),
        version: "0.1.0".into(),
        verdict: Verdict::Pass,
        reasons: Vec::new(),
        notes: Vec::new(),
        seed: 3_821_864_112,
        config: json!({
            "target": { "local": { "replicas": 3, "broker": "redis-pubsub" } },
            "scenario": { "connections": 300, "rooms": 30, "rate": 800.0, "duration_s": 60 },
            "header": { "authorization": "<set>" },
        }),
        environment: Environment {
            os: "Linux 6.8.0".into(),
            cpus: 8,
            open_files: 1_048_576,
            started_unix: 1_760_000_000,
        },
        target: Target {
            protocol: "native".into(),
            broker: "redis-pubsub".into(),
            guarantee: "at-most-once".into(),
            redis: Some("redis-server 7.0.15".into()),
            serve: None,
            bugs: Vec::new(),
            replicas: (1_u16..)
                .zip(NODES)
                .map(|(i, node)| ReplicaResult {
                    node: node.into(),
                    url: format!("ws://127.0.0.1:{}/ws", 9000 + i),
                    connections: 100,
                })
                .collect(),
        },
        contract: "exactly-once".into(),
        phases: Phases { connect_s: 0.41, join_s: 0.12, send_s: 60.0, drain_s: 2.83 },
        faults: Vec::new(),
        causes: Vec::new(),
        series: series().into_iter().map(|second| calm(&second)).collect(),
        timeline: Vec::new(),
        counts: sums(),
        properties: properties(),
        thresholds: Vec::new(),
        latency_us: Latency {
            connect: Summary {
                count: 300,
                min: 610,
                p50: 1_320,
                p90: 2_240,
                p99: 12_100,
                p999: 12_100,
                max: 12_100,
            },
            ack: Summary {
                count: 48_000,
                min: 120,
                p50: 310,
                p90: 620,
                p99: 4_100,
                p999: 38_000,
                max: 2_100_000,
            },
            delivery,
            fanout_first: Summary { count: 46_759, p50: 510, p90: 1_100, p99: 5_020, ..delivery },
            fanout_last: Summary { count: 46_759, p50: 1_240, p90: 2_600, p99: 9_900, ..delivery },
        },
        replica_matrix: matrix(0),
        cluster: ClusterUse {
            server: Some(ProcessUse { cpu_seconds: 14.2, rss_bytes: 64 << 20 }),
            redis: Some(ProcessUse { cpu_seconds: 4.9, rss_bytes: 12 << 20 }),
        },
        generator: Generator {
            cpu_seconds: 9.3,
            rss_bytes: 31 << 20,
            schedule_lag_us: Summary {
                count: 48_000,
                min: 1,
                p50: 40,
                p90: 60,
                p99: 90,
                p999: 380,
                max: 3_780,
            },
            workers: vec![],
            saturated: false,
        },
        histograms: Some(histograms()),
        runs: Vec::new(),
        memory: Memory { server: Some(5_734.4), generator: Some(3_584.0), kernel: Some(12_697.6) },
        members: Vec::new(),
    }
}

fn sums() -> Counts {
    Counts {
        connections: 300,
        rooms: 30,
        sent: 48_000,
        acked: 48_000,
        expected: 479_988,
        delivered: 479_988,
        fences: 120,
        ..Counts::default()
    }
}

fn faults() -> Vec<FaultResult> {
    let fault =
        |name: &str, planned: &str, on: &[&str], start_us, effective_us, healed_us, lost| FaultResult {
            name: name.into(),
            planned: planned.into(),
            on: on.iter().map(|node| (*node).to_owned()).collect(),
            start_us,
            effective_us,
            healed_us,
            proof: None,
            error: None,
            lost,
            back: None,
        };
    let at = |seconds: u64, us: u64| seconds * 1_000_000 + us;
    let some = |seconds: u64, us: u64| Some(at(seconds, us));
    let mut faults = vec![
        fault(
            "kill-replica 1",
            "kill-replica@5s for 3s on any",
            &["app-1"],
            at(5, 530),
            some(5, 2_100),
            some(8, 412_000),
            0,
        ),
        fault(
            "cut-redis 1",
            "cut-redis@14s for 4s on app-2",
            &["app-2"],
            at(14, 610),
            some(14, 3_300),
            some(18, 20_100),
            1_204,
        ),
        fault(
            "slow-redis 1",
            "slow-redis@24s for 5s on all delay 50ms",
            &NODES,
            at(24, 200),
            some(24, 51_000),
            some(29, 900),
            0,
        ),
        fault(
            "storm 1",
            "storm@34s for 2s",
            &["300 clients"],
            at(34, 80),
            some(34, 9_000),
            some(36, 1_400),
            0,
        ),
        fault(
            "half-open 1",
            "half-open@43s for 6s share 0.2",
            &["60 clients"],
            at(43, 0),
            some(43, 700_000),
            some(49, 5_000),
            37,
        ),
        fault("pause-redis 1", "pause-redis@56s for 9s", &["redis"], at(56, 120), None, None, 0),
    ];
    let proofs = [
        "pid 4312 gone, its 100 connections reset",
        "2 connections reset, INFO clients fell from 7 to 5",
        "PING took 51.2 ms, 0.2 ms before",
        "300 of 300 connections closed, 0 open",
        "60 connections hold 118,204 bytes unread",
    ];
    for (fault, proof) in faults.iter_mut().zip(proofs) {
        fault.proof = Some(proof.into());
    }
    faults[3].back = Some(Back {
        cut: 300,
        never: 0,
        from: BackFrom::Heal,
        p50_us: Some(48_100),
        p95_us: Some(112_000),
        p100_us: Some(1_312_000),
    });
    faults[4].back = Some(Back { cut: 60, never: 4, p50_us: Some(5_102_300), ..Back::default() });
    faults[5].error = Some(format!("SIGSTOP to pid 4300: no such process {HOSTILE}"));
    faults
}

fn causes() -> Vec<Cause> {
    let cause = |said: &str, fault: &str, from: Option<&str>, how: &str, lost, between_us| Cause {
        said: said.into(),
        fault: Some(fault.into()),
        from: from.map(Into::into),
        to: Some("app-2".into()),
        how: how.into(),
        lost,
        allowed: false,
        between_us,
    };
    let silent = "1,204 of 1,241 missing, all to app-2, all during cut-redis 1, nobody was told";
    let from_one = "29 of 1,241 missing, all from app-1 to app-2, all during half-open 1, nobody was told";
    let told = "8 of 1,241 missing, all to app-2, all during half-open 1, told by a gap notice";
    vec![
        cause(silent, "cut-redis 1", None, "connected", 1_204, (14_020_000, 17_980_000)),
        cause(from_one, "half-open 1", Some("app-1"), "connected", 29, (43_100_000, 48_200_000)),
        Cause { allowed: true, ..cause(told, "half-open 1", None, "told", 8, (43_500_000, 48_900_000)) },
    ]
}

/// A minute that shows each of the faults as it would look.
fn series() -> Vec<Second> {
    let second = |at_s: u32| {
        let n = u64::from(at_s);
        let wobble = n * 7_919 % 97;
        let calm = Second {
            at_s,
            sent: 800,
            acked: 800,
            lost: 0,
            delivered: 7_900 + wobble,
            p50_us: 800 + wobble,
            p99_us: 2_100 + 13 * wobble,
            open: 300,
        };
        match at_s {
            0 => Second { sent: 0, acked: 0, delivered: 0, p50_us: 0, p99_us: 0, open: 180, ..calm },
            5..8 => Second { delivered: 5_300 + wobble, p99_us: 9_000 + 40 * wobble, open: 200, ..calm },
            8 => Second { delivered: 15_800, p50_us: 1_400_000, p99_us: 3_300_000, ..calm },
            14..18 => Second { delivered: 7_600, lost: 301, p99_us: 3_900, ..calm },
            24..29 => Second { p50_us: 101_000, p99_us: 104_000 + 9 * wobble, ..calm },
            34..36 => Second { sent: 0, acked: 0, delivered: 0, p50_us: 0, p99_us: 0, open: 0, ..calm },
            36 => Second { delivered: 9_900, p50_us: 21_000, p99_us: 240_000, open: 212, ..calm },
            43..49 => Second { lost: [9, 4, 11, 6, 5, 2][at_s as usize - 43], delivered: 6_350, ..calm },
            _ => calm,
        }
    };
    (0..61).map(second).collect()
}

/// Histograms of about such times as the summaries tell.
fn histograms() -> Histograms {
    let mut latencies = Latencies::default();
    let spread = |times: &mut Times, count: u64, from: u64| {
        // Most of them near, few of them far.
        (1..=count).for_each(|i| times.record(from + from * count / (4 * i)));
    };
    spread(&mut latencies.connect, 300, 1_000);
    spread(&mut latencies.ack, 48_000, 300);
    spread(&mut latencies.delivery, 100_000, 800);
    spread(&mut latencies.fanout_first, 46_759, 500);
    spread(&mut latencies.fanout_last, 46_759, 1_200);
    spread(&mut latencies.schedule_lag, 48_000, 40);
    let second = |second: Second| {
        let mut times = Buckets::default();
        (0..second.delivered.min(1000)).for_each(|i| times.record(second.p50_us + i));
        times
    };
    Histograms { latencies, seconds: series().into_iter().map(second).collect() }
}

fn calm(second: &Second) -> Second {
    let n = u64::from(second.at_s);
    Second {
        sent: 800,
        acked: 800,
        lost: 0,
        delivered: 7_900 + n * 7_919 % 97,
        p50_us: 800 + n % 7 * 11,
        p99_us: 2_100 + n * 7_919 % 97 * 13,
        open: 300,
        ..*second
    }
}

fn timeline() -> Vec<Moment> {
    let moment = |at_us, what: &str| Moment { at_us, what: what.into() };
    let mut moments = vec![moment(0, "connecting 300 sockets"), moment(412_000, "joined 30 rooms, sending")];
    for fault in faults() {
        moments.push(moment(fault.start_us, &format!("{} on {}", fault.name, fault.on.join(", "))));
        if let (Some(at_us), Some(proof)) = (fault.effective_us, &fault.proof) {
            moments.push(moment(at_us, &format!("{} took effect: {proof}", fault.name)));
        }
        moments.extend(fault.healed_us.map(|at_us| moment(at_us, &format!("{} healed", fault.name))));
    }
    moments.push(moment(60_530_000, "fences sent"));
    moments
}

fn properties() -> Vec<PropertyResult> {
    let property = |id: &str, name: &str, checked, unit: &str| PropertyResult {
        id: id.into(),
        name: name.into(),
        verdict: if checked > 0 { Verdict::Pass } else { Verdict::Inconclusive },
        checked,
        unit: unit.into(),
        violations: 0,
        examples: Vec::new(),
    };
    vec![
        property("P1", "no creation", 481_204, "deliveries"),
        property("P2", "no duplication", 481_204, "deliveries"),
        property("P3", "no loss", 421_800, "deliveries owed"),
        property("P4", "payload integrity", 481_204, "deliveries"),
        property("P5", "room isolation", 481_204, "deliveries"),
        property("P6", "FIFO per sender", 472_100, "deliveries with a predecessor"),
        property("P9", "echo", 48_000, "own copies owed"),
        property("P10", "membership", 0, "messages after a leave"),
    ]
}

fn failing_properties() -> Vec<PropertyResult> {
    let mut properties = properties();
    let example = |message: &str, receiver, at_us, detail: &str, fault: &str, witness: &[&str]| Example {
        message: Some(message.into()),
        sender: Some(4),
        from: Some("app-1".into()),
        receiver,
        to: "app-2".into(),
        room: "room 7".into(),
        at_us,
        detail: detail.into(),
        fault: Some(fault.into()),
        witness: witness.iter().map(|line| (*line).to_owned()).collect(),
    };
    let cut = [
        "13.98 s  got room 7 #1391 from session 31",
        "14.00 s  fault cut-redis 1 on app-2",
        "14.02 s  room 7 #1392 sent by session 4 on app-1, acked 14.02 s",
        "14.03 s  room 7 #1392 reached 9 of 10 members, the first after 0.8 ms",
        "17.99 s  cut-redis 1 healed",
        "18.03 s  got room 7 #1517 from session 4",
        "62.11 s  fence of room 7 came; #1392 was never seen",
    ];
    properties[2] = PropertyResult {
        verdict: Verdict::Fail,
        violations: 1_233,
        examples: vec![
            example(
                "room 7 #1392",
                11,
                14_020_000,
                "acked, never delivered to this member",
                "cut-redis 1",
                &cut,
            ),
            example(
                "room 7 #1393",
                11,
                14_041_000,
                "acked, never delivered to this member",
                "cut-redis 1",
                &cut[1..3],
            ),
            example(
                "room 7 #4120",
                14,
                43_100_000,
                HOSTILE,
                "half-open 1",
                &[HOSTILE, "48.20 s  closed 1006"],
            ),
        ],
        ..properties[2].clone()
    };
    properties
}

fn matrix(lost: u64) -> Vec<MatrixCell> {
    let pairs = NODES.iter().flat_map(|from| NODES.iter().map(move |to| (*from, *to)));
    let cell = |(from, to): (&str, &str)| {
        let lost = match (from, to) {
            (_, "app-1") | (_, HOSTILE) => 0,
            ("app-1", _) => lost - lost / 3 * 2,
            _ => lost / 3,
        };
        let p99_us = if from == to { 1_900 } else { 7_300 };
        MatrixCell { from: from.into(), to: to.into(), expected: 53_332, delivered: 53_332 - lost, p99_us }
    };
    pairs.map(cell).collect()
}
