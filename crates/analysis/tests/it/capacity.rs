//! Whose failure a probe is, and what is said of it.

use serde_json::Value;
use ws_analysis::{
    capacity::{
        Answer, Capacity, Quantity, SCHEMA,
        limit::{By, Limit},
        probe::{Busy, Outcome, Probe, Scene},
        search::{Options, Search},
        text,
    },
    exit::Exit,
    report::{Environment, Report, Summary, Target, Verdict},
    threshold::Threshold,
};

use crate::sample as runs;

/// On a machine of four processors, with three replicas.
const CPUS: u32 = 4;

/// Half of the machine is idle, and nobody fills a processor.
const CALM: Busy =
    Busy { server: Some(1.0), redis: Some(0.3), generator: 0.6, interrupts: None, machine: Some(2.0) };

/// A run with such a p99 of deliveries and such a lag, held against `delivery.p99<100ms`.
fn run(p99_ms: u64, lag_ms: u64) -> Report {
    let mut report = runs::passing();
    report.latency_us.delivery.p99 = p99_ms * 1000;
    report.generator.schedule_lag_us = Summary { p99: lag_ms * 1000, ..report.generator.schedule_lag_us };
    report.generator.saturated = lag_ms > 100;
    report.demand(&slo(), None);
    report
}

fn slo() -> Vec<Threshold> {
    vec!["delivery.p99<100ms".parse().expect("a threshold")]
}

fn probe(report: &Report, change: impl Fn(&mut Scene<'_>)) -> Probe {
    let slo = slo();
    let max = Quantity::Rate;
    let mut scene = Scene { max, value: 8000, slo: &slo, workers: 2, cpus: CPUS, busy: CALM, barred: None };
    change(&mut scene);
    Probe::new(report, &scene)
}

#[test]
fn only_what_the_generator_can_not_have_caused_is_the_targets() {
    let outcome = |report: &Report, busy: Busy| probe(report, |scene| scene.busy = busy).outcome;
    assert_eq!(outcome(&run(99, 20), CALM), Outcome::Held);
    assert_eq!(outcome(&run(130, 20), CALM), Outcome::Missed);
    assert_eq!(outcome(&run(130, 40), CALM), Outcome::Behind, "on time it would have been 90 ms");
    assert_eq!(outcome(&run(102, 9), CALM), Outcome::Missed, "a lag that small is no reason");
    assert_eq!(outcome(&run(900, 101), CALM), Outcome::Behind, "it fell behind its schedule");
    assert_eq!(
        outcome(&run(130, 20), Busy { generator: 1.8, ..CALM }),
        Outcome::Behind,
        "its workers were full"
    );
    let elsewhere = Busy { server: None, redis: None, ..CALM };
    assert_eq!(outcome(&run(130, 20), elsewhere), Outcome::Missed);
    let full = Busy { machine: Some(3.7), ..elsewhere };
    assert_eq!(outcome(&run(130, 20), full), Outcome::Behind, "the generator's machine was full");
    let mut broken = run(50, 1);
    broken.verdict = Verdict::Fail;
    assert_eq!(outcome(&broken, CALM), Outcome::Missed, "a violation is the target's");
    let barred = probe(&broken, |scene| scene.barred = Some("3 sockets did not open: no ports".into()));
    assert_eq!(
        (barred.outcome, barred.reasons.last().map(String::as_str)),
        (Outcome::Barred, Some("3 sockets did not open: no ports"))
    );
}

#[test]
fn the_limit_is_whatever_was_full() {
    let limit = |busy: Busy| {
        let missed = probe(&run(130, 20), |scene| scene.busy = busy);
        Limit::of(&[&missed], Quantity::Rate, 3, CPUS).expect("it failed")
    };
    assert_eq!(limit(Busy { redis: Some(0.95), ..CALM }).by, By::Redis);
    assert_eq!(limit(Busy { redis: Some(0.95), machine: Some(3.9), ..CALM }).by, By::Redis);
    let shared = limit(Busy { server: Some(2.2), generator: 1.1, machine: Some(3.8), ..CALM });
    assert_eq!(shared.by, By::Machine);
    assert!(
        shared.said.contains("server 2.20, redis 0.30, generator 1.10, others 0.20 of 4 processors"),
        "{shared:?}"
    );
    let theirs = Busy { server: Some(3.2), redis: Some(0.3), generator: 0.3, machine: Some(3.9), ..CALM };
    assert_eq!(limit(theirs).by, By::Server);
    assert_eq!(limit(Busy { machine: Some(3.9), ..CALM }).by, By::Others);
    let much_arrives = Busy { machine: Some(3.9), interrupts: Some(1.8), ..CALM };
    assert_eq!(limit(much_arrives).by, By::Machine, "interrupts are of our own making");
    let single_threaded =
        Busy { server: Some(2.8), redis: Some(0.1), generator: 0.2, machine: Some(3.2), ..CALM };
    assert_eq!(limit(single_threaded).by, By::Server);
    assert_eq!(limit(CALM).by, By::Target);
    assert_eq!(limit(Busy { server: None, redis: None, ..CALM }).by, By::Target);
}

#[test]
fn a_full_machine_is_no_excuse_for_a_message_that_is_lost() {
    let mut broken = run(50, 1);
    broken.verdict = Verdict::Fail;
    broken.properties[0].violations = 3;
    let missed = probe(&broken, |scene| scene.busy.machine = Some(3.9));
    let limit = Limit::of(&[&missed], Quantity::Rate, 3, CPUS).expect("it failed");
    assert_eq!((missed.violations, limit.by), (3, By::Target), "{limit:?}");
}

#[test]
fn one_probe_in_which_the_generator_may_be_why_excuses_the_target() {
    let missed = probe(&run(130, 20), |_| {});
    let behind = probe(&run(900, 150), |scene| scene.busy.machine = Some(3.9));
    let limit = Limit::of(&[&behind, &missed], Quantity::Rate, 3, CPUS).expect("they failed");
    assert_eq!((limit.by, limit.is_ours()), (By::Generator, true));
    assert!(limit.said.contains("for the machine was full (its sends were up to 150 ms late"), "{limit:?}");
    assert_eq!(Limit::of(&[], Quantity::Rate, 3, CPUS), None);
}

/// The end of a search that went so: (value, whether it held); what failed at the end was `limit`'s doing.
fn ended(trials: &[(u32, bool)], limit: Option<By>, interrupted: bool) -> Capacity {
    let mut search = Search::new(Options { start: 1000, ceiling: 1 << 20, precision: 0.05, repeats: 1 });
    trials.iter().for_each(|(value, held)| search.record(*value, *held));
    let mut capacity = Capacity {
        schema: SCHEMA.into(),
        tool: "ws-loadgen".into(),
        version: "0.1.0".into(),
        max: Quantity::Rate,
        slo: vec!["delivery.p99<100ms".into()],
        precision: 0.05,
        repeats: 1,
        probe_s: 5.0,
        answer: Answer::None,
        value: None,
        failed: None,
        limit: None,
        said: String::new(),
        notes: Vec::new(),
        probes: Vec::new(),
        seed: 1,
        config: Value::Null,
        environment: Environment::default(),
        target: Target::default(),
    };
    capacity.conclude(&search, limit.map(|by| Limit { by, said: "why".into() }), interrupted);
    capacity
}

#[test]
fn an_answer_is_no_more_than_what_was_shown() {
    let check = |trials: &[(u32, bool)], by, interrupted, answer, exit, said: &str| {
        let capacity = ended(trials, by, interrupted);
        assert_eq!((capacity.answer, capacity.said.as_str()), (answer, said));
        assert_eq!(capacity.answer.exit(capacity.limit.as_ref()), exit, "{said}");
    };
    let both = [(12_300, true), (12_900, false)];
    let said = "12,300 messages a second hold, 12,900 do not: why";
    check(&both, Some(By::Redis), false, Answer::Found, Exit::Pass, said);
    check(&both, Some(By::Machine), false, Answer::Found, Exit::Pass, said);
    check(&both, Some(By::Generator), false, Answer::AtLeast, Exit::Inconclusive, said);
    check(&both, Some(By::Others), false, Answer::AtLeast, Exit::Inconclusive, said);
    let said = "4,000 messages a second hold: why";
    check(&[(4000, true)], Some(By::Ceiling), false, Answer::AtLeast, Exit::Inconclusive, said);
    let said = "not even 1 messages a second hold: why";
    check(&[(1, false)], Some(By::Target), false, Answer::None, Exit::Threshold, said);
    check(&[(1, false)], Some(By::Generator), false, Answer::None, Exit::Inconclusive, said);
    let said = "12,300 messages a second held so far, 12,900 did not";
    check(&both, Some(By::Redis), true, Answer::Interrupted, Exit::Interrupted, said);
    check(&[], None, true, Answer::Interrupted, Exit::Interrupted, "no value held so far");
}

#[test]
fn the_curve_and_the_answer_fit_into_80_columns() {
    let mut capacity = ended(&[(123_000, true), (129_000, false)], Some(By::Redis), false);
    let large =
        Busy { server: Some(123.45), redis: Some(0.98), generator: 12.5, interrupts: None, machine: None };
    capacity.probes = vec![
        probe(&run(130, 40), |scene| (scene.value, scene.busy) = (129_000, large)),
        probe(&run(99, 1), |_| {}),
    ];
    let limit = Limit::of(&[&capacity.probes[0]], Quantity::Rate, 3, CPUS).expect("it failed");
    capacity.limit = Some(limit);
    let rows: String = capacity.probes.iter().map(text::row).collect();
    let whole = text::head(Quantity::Rate, &capacity.slo, 4) + &rows + &text::foot(&capacity);
    assert!(whole.lines().all(|line| line.chars().count() <= 80), "{whole}");
    assert_eq!(
        rows,
        "  129,000       800  0.84 ms   130 ms      0 123.45  0.98 12.50     -  behind\n    \
         8,000       800  0.84 ms    99 ms      0   1.00  0.30  0.60  2.00  held\n"
    );
    assert!(whole.contains("in 1 probes the generator may be why"), "{whole}");
}
