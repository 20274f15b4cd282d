//! What an outcome proves: violations first, then the gates, and only then a pass.

use ws_analysis::report::{PropertyResult, Summary, Verdict};
use ws_swarm::Outcome;

use crate::{
    Purpose,
    config::{Config, Target},
};

/// Above this lag (99 in 100 sends) the times tell of the generator and not of the target. Microseconds.
const LAG_LIMIT_US: u64 = 100_000;

/// Whether the generator kept its schedule.
pub(crate) fn is_saturated(lag: &Summary) -> bool {
    lag.p99 > LAG_LIMIT_US
}

/// The verdict and its reasons; `dead` are replicas of ours that ended unasked.
pub(crate) fn verdict(
    purpose: Purpose,
    config: &Config,
    outcome: &Outcome,
    properties: &[PropertyResult],
    dead: &[String],
    interrupted: bool,
) -> (Verdict, Vec<String>) {
    let mut reasons: Vec<String> = properties.iter().filter_map(broken).collect();
    if let Some((first, last)) = outcome.findings.lost_between_us {
        let at = |us: u64| std::time::Duration::from_micros(us).as_secs_f64();
        reasons.push(format!(
            "what was lost was due between {:.2} s and {:.2} s of the run{}",
            at(first),
            at(last),
            lost_where(outcome)
        ));
    }
    let failed = !reasons.is_empty();
    if interrupted {
        reasons.push("interrupted: what was sent until then was judged".into());
    }
    reasons.extend(dead.iter().cloned());
    gates(config, outcome, &mut reasons);
    if purpose == Purpose::Prove {
        proof_gates(config, outcome, &mut reasons);
    }
    let verdict = match (failed, reasons.is_empty()) {
        (true, _) => Verdict::Fail,
        (false, false) => Verdict::Inconclusive,
        (false, true) => Verdict::Pass,
    };
    (verdict, reasons)
}

fn broken(property: &PropertyResult) -> Option<String> {
    (property.violations > 0).then(|| {
        let PropertyResult { id, name, violations, checked, unit, .. } = property;
        format!("{id} {name}: {violations} violations in {checked} {unit}")
    })
}

/// Where losses went, if they all went to one replica or came from one.
fn lost_where(outcome: &Outcome) -> String {
    let lossy: Vec<_> = outcome.findings.pairs.iter().filter(|pair| pair.lost > 0).collect();
    let node = |replica: u16| outcome.replicas[usize::from(replica)].hello.node.clone();
    let Some(first) = lossy.first().filter(|_| outcome.replicas.len() > 1) else { return String::new() };
    if lossy.iter().all(|pair| pair.to == first.to) {
        return format!(", all of it on its way to {}", node(first.to));
    }
    if lossy.iter().all(|pair| pair.from == first.from) {
        return format!(", all of it sent through {}", node(first.from));
    }
    String::new()
}

/// What makes any run's numbers worth nothing.
fn gates(config: &Config, outcome: &Outcome, reasons: &mut Vec<String>) {
    let list = |incidents: &std::collections::BTreeMap<String, u32>| {
        let mut most: Vec<_> = incidents.iter().collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        most.iter().take(3).map(|(what, count)| format!("{what} ({count})")).collect::<Vec<_>>().join("; ")
    };
    let total = |incidents: &std::collections::BTreeMap<String, u32>| incidents.values().sum::<u32>();
    let counts = &outcome.findings.counts;
    let mut gate = |count: u64, what: String| {
        if count > 0 {
            reasons.push(what);
        }
    };
    let not_opened = total(&outcome.not_opened);
    gate(not_opened.into(), format!("{not_opened} sockets did not open: {}", list(&outcome.not_opened)));
    let ended = total(&outcome.ended_early);
    gate(ended.into(), format!("{ended} sockets ended before the run did: {}", list(&outcome.ended_early)));
    let outside = outcome.not_joined.saturating_sub(not_opened);
    gate(
        outside.into(),
        format!("{outside} sockets did not get into their room: {}", list(&outcome.refusals)),
    );
    gate(
        counts.refused + counts.unanswered,
        format!(
            "of {} messages {} were refused and {} never answered: {}",
            counts.sent,
            counts.refused,
            counts.unanswered,
            list(&outcome.refusals)
        ),
    );
    gate(outcome.not_sent, format!("{} messages were due on sockets that were gone", outcome.not_sent));
    gate(
        outcome.unfenced_rooms.into(),
        format!("in {} rooms the end could not be fenced through every replica", outcome.unfenced_rooms),
    );
    let problems = total(&outcome.problems);
    gate(
        problems.into(),
        format!("{problems} times the server did not keep to its protocol: {}", list(&outcome.problems)),
    );
    let lag = Summary::from(&outcome.findings.latencies.schedule_lag);
    if is_saturated(&lag) {
        reasons.push(format!(
            "the generator fell behind its schedule (p99 {} ms): use a lower --rate, more --workers or another machine",
            lag.p99 / 1000
        ));
    }
    let planned = match &config.target {
        Target::Urls(urls) => urls.len(),
        Target::Local { replicas, .. } => *replicas,
    };
    let met = outcome.replicas.iter().filter(|replica| replica.connections > 0).count();
    if met < planned.min(config.scenario.connections as usize) {
        reasons.push(format!("{planned} replicas were to be tested, and sockets reached {met}"));
    }
}

/// What makes a run prove nothing.
fn proof_gates(config: &Config, outcome: &Outcome, reasons: &mut Vec<String>) {
    if outcome.findings.counts.sent == 0 {
        reasons.push("nothing was sent, so nothing is proved".into());
        return;
    }
    let silent = outcome.findings.pairs.iter().filter(|pair| pair.expected == 0);
    let node = |replica: u16| outcome.replicas[usize::from(replica)].hello.node.as_str();
    let silent: Vec<_> = silent.map(|pair| format!("{} > {}", node(pair.from), node(pair.to))).collect();
    if !silent.is_empty() {
        let shown = silent.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
        let more = if silent.len() > 6 { ", ..." } else { "" };
        let size = config.scenario.connections / config.scenario.rooms;
        reasons.push(format!(
            "nothing was owed from {} of {} replicas to another ({shown}{more}): rooms of {size} do not span them, or \
             the run is too short",
            silent.len(),
            outcome.findings.pairs.len()
        ));
    }
}
