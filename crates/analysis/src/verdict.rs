//! What a run proves: violations first, then the gates, and only then a pass.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    judge::{Calm, Cause, Findings, PhaseFlow},
    ledger::Absence,
    report::{FaultResult, PropertyResult, Verdict},
};

/// What a verdict is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A run that sent nothing, or not over every pair of replicas, proved nothing.
    #[default]
    Prove,
    /// A run that carried its load has passed.
    Load,
}

/// What is known of a run besides its messages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Facts {
    /// What the verdict is about.
    pub purpose: Purpose,
    /// Sockets asked for.
    pub connections: u32,
    /// Rooms.
    pub rooms: u32,
    /// The replicas by name, with the sockets they took.
    pub replicas: Vec<(String, u32)>,
    /// Replicas that were to be tested.
    pub replicas_planned: usize,
    /// Sockets that did not open, by why.
    pub not_opened: BTreeMap<String, u32>,
    /// Connections that ended before the run did, by node and why.
    pub ended_early: BTreeMap<String, u32>,
    /// Requests that were refused, by code.
    pub refusals: BTreeMap<String, u32>,
    /// What the protocol does not have, by description.
    pub problems: BTreeMap<String, u32>,
    /// Sockets that opened and never got into their room.
    pub not_joined: u32,
    /// Rooms where somebody never got the fence of every replica.
    pub unfenced_rooms: u32,
    /// Sessions that were in their room and could not get back into it.
    pub not_back: u32,
    /// Orders that were to be proved besides, by id.
    pub orders: Vec<String>,
    /// Replicas of ours that ended unasked, with what they said.
    pub dead: Vec<String>,
    /// Somebody stopped it.
    pub interrupted: bool,
    /// Processes with a part of the sockets that were lost, for a person.
    #[serde(default)]
    pub lost_members: Vec<String>,
    /// The workers whose ledgers were lost with them.
    #[serde(default)]
    pub lost_workers: Vec<u32>,
    /// The faults as they happened, in the order of the timeline.
    pub faults: Vec<FaultResult>,
    /// How late sends were: 99 in 100, in microseconds.
    pub lag_p99_us: u64,
    /// What was too much for the generator for several seconds in a row, if anything was.
    #[serde(default)]
    pub strain: Option<String>,
    /// Why the planted violations were not found; none if they were.
    pub canary: Option<String>,
}

/// Above this lag (99 in 100 sends) the times tell of the generator and not of the target. Microseconds.
pub(crate) const LAG_LIMIT_US: u64 = 100_000;

/// A phase that is shorter proves nothing and need not.
const LONG_US: u64 = 500_000;

/// So many in a hundred count as nearly all.
const BLAME_PERCENT: u64 = 90;

impl Facts {
    /// Whether the generator was the limit, so that the times tell of it. A proof needs no times: it only has to be sent.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        self.lag_p99_us > LAG_LIMIT_US || self.purpose == Purpose::Load && self.strain.is_some()
    }

    /// The name of a fault.
    #[must_use]
    pub fn fault(&self, place: usize) -> Option<String> {
        self.faults.get(place).map(|fault| fault.name.clone())
    }

    fn node(&self, replica: u16) -> &str {
        self.replicas.get(usize::from(replica)).map_or("?", |(node, _)| node.as_str())
    }
}

/// The verdict and its reasons.
#[must_use]
pub fn verdict(facts: &Facts, findings: &Findings, properties: &[PropertyResult]) -> (Verdict, Vec<String>) {
    let mut reasons: Vec<String> = blame(facts, findings).into_iter().collect();
    reasons.extend(properties.iter().filter_map(broken));
    let failed = properties.iter().any(|property| property.violations > 0);
    if let Some((first, last)) = findings.lost_between_us {
        reasons.push(format!(
            "what was lost was due between {} and {} of the run",
            seconds(first),
            seconds(last)
        ));
        let lost = findings.causes.iter().filter(|cause| !cause.allowed).take(4);
        reasons.extend(lost.map(|cause| explain(cause, facts, findings)));
    }
    if facts.interrupted {
        reasons.push("interrupted: what was sent until then was judged".into());
    }
    if let Some(why) = &facts.canary {
        reasons.insert(0, format!("bug in this tool: planted violations were not found: {why}"));
    }
    reasons.extend(facts.dead.iter().cloned());
    let lost = facts.lost_members.iter();
    reasons.extend(lost.map(|lost| format!("{lost}; nothing that they sent or received was judged")));
    gates(facts, findings, &mut reasons);
    if facts.purpose == Purpose::Prove {
        proof_gates(facts, findings, &mut reasons);
    }
    let verdict = match (failed, reasons.is_empty()) {
        (true, _) => Verdict::Fail,
        (false, false) => Verdict::Inconclusive,
        (false, true) => Verdict::Pass,
    };
    (verdict, reasons)
}

/// One cause for a person: `37 of 50 missing, all on their way to app-2, during cut-redis 1; nobody was told`.
#[must_use]
pub fn explain(cause: &Cause, facts: &Facts, findings: &Findings) -> String {
    let total = findings.counts.lost + findings.counts.missed;
    let way = match (cause.from, cause.to) {
        (Some(from), Some(to)) if facts.replicas.len() > 1 => {
            format!(", all of it on its way from {} to {}", facts.node(from), facts.node(to))
        }
        (_, Some(to)) if facts.replicas.len() > 1 => format!(", all of it on its way to {}", facts.node(to)),
        (Some(from), _) if facts.replicas.len() > 1 => {
            format!(", all of it sent through {}", facts.node(from))
        }
        _ => String::new(),
    };
    let during = match cause.fault.and_then(|fault| facts.fault(fault)) {
        Some(fault) => format!(", during {fault}"),
        None if facts.faults.is_empty() => String::new(),
        None => ", while no fault was on".into(),
    };
    let how = match cause.absence {
        Absence::Silent => "; nobody was told",
        Absence::Told => "; the members were told by a gap notice",
        Absence::Away => "; sent while the members were cut off, and not made up for when they came back",
        Absence::Promised => "; the server said that it would follow",
        Absence::None => "",
    };
    format!("{} of {total} missing{way}{during}{how}", cause.lost)
}

/// The one replica that loses what is on its way to it: most of it while the others lose little, or nearly all that is
/// lost where no fault explains it.
fn blame(facts: &Facts, findings: &Findings) -> Option<String> {
    if findings.counts.lost == 0 || facts.replicas.len() < 2 {
        return None;
    }
    let mut to = vec![(0_u64, 0_u64); facts.replicas.len()];
    for pair in &findings.pairs {
        let (missing, expected) = &mut to[usize::from(pair.to)];
        *missing += pair.missing;
        *expected += pair.expected;
    }
    let missing: u64 = to.iter().map(|(missing, _)| missing).sum();
    let (replica, &(most, expected)) = (0_u16..).zip(&to).max_by_key(|(_, (missing, _))| *missing)?;
    let others: u64 = to.iter().map(|(_, expected)| expected).sum::<u64>() - expected;
    let is_deaf = most * 2 >= expected && (missing - most) * 20 <= others;
    let is_alone = facts.faults.is_empty() && most * 100 >= missing * BLAME_PERCENT;
    (is_deaf || is_alone).then(|| {
        let node = facts.node(replica);
        let said = format!(
            "{node} is to blame: {most} of {missing} missing deliveries were on their way to its members"
        );
        if findings.counts.silent * 100 >= missing * BLAME_PERCENT {
            said + ", and nobody was told"
        } else {
            said
        }
    })
}

fn broken(property: &PropertyResult) -> Option<String> {
    (property.violations > 0).then(|| {
        let PropertyResult { id, name, violations, checked, unit, .. } = property;
        format!("{id} {name}: {violations} violations in {checked} {unit}")
    })
}

/// What makes any run's numbers worth nothing.
fn gates(facts: &Facts, findings: &Findings, reasons: &mut Vec<String>) {
    let counts = &findings.counts;
    let calm = facts.faults.is_empty();
    let while_calm = if calm { "" } else { " while no fault was on" };
    let mut gate = |count: u64, what: String| {
        if count > 0 {
            reasons.push(what);
        }
    };
    let not_opened = total(&facts.not_opened);
    gate(not_opened.into(), format!("{not_opened} sockets did not open: {}", list(&facts.not_opened)));
    let outside = facts.not_joined.saturating_sub(not_opened);
    gate(outside.into(), format!("{outside} sockets did not get into their room: {}", list(&facts.refusals)));
    let problems = total(&facts.problems);
    gate(
        problems.into(),
        format!("{problems} times the server did not keep to its protocol: {}", list(&facts.problems)),
    );
    let ended = total(&facts.ended_early);
    let cuts = counts.calm.cuts;
    match calm {
        true => gate(
            ended.into(),
            format!("{ended} sockets ended before the run did: {}", list(&facts.ended_early)),
        ),
        false => gate(cuts, format!("{cuts} sockets ended{while_calm}: {}", list(&facts.ended_early))),
    }
    let Calm { refused, unanswered, skipped, .. } = counts.calm;
    gate(
        refused + unanswered,
        format!(
            "of {} messages {refused} were refused and {unanswered} never answered{while_calm}: {}",
            counts.sent,
            list(&facts.refusals)
        ),
    );
    gate(skipped, format!("{skipped} messages were due on sockets that were gone{while_calm}"));
    let unfenced = if calm { facts.unfenced_rooms } else { 0 };
    gate(unfenced.into(), format!("in {unfenced} rooms the end could not be fenced through every replica"));
    let not_back = facts.not_back;
    gate(not_back.into(), format!("{not_back} sessions could not get back into their room"));
    let contradicted = counts.contradicted;
    gate(contradicted, format!("{contradicted} messages were acked and then refused"));
    let leaves = counts.leaves_unanswered;
    gate(leaves, format!("{leaves} leaves were never answered"));
    if let Some(strain) = facts.strain.as_ref().filter(|_| facts.purpose == Purpose::Load) {
        reasons.push(format!(
            "the generator was the limit: {strain}; use a lower --rate, more --workers or another machine"
        ));
    }
    if facts.lag_p99_us > LAG_LIMIT_US {
        reasons.push(format!(
            "the generator fell behind its schedule (p99 {} ms): use a lower --rate, more --workers or another machine",
            facts.lag_p99_us / 1000
        ));
    }
    reached(facts, reasons);
}

/// Sockets that all went to one replica say nothing about a cluster.
fn reached(facts: &Facts, reasons: &mut Vec<String>) {
    let met = facts.replicas.iter().filter(|(_, connections)| *connections > 0);
    let met: Vec<&str> = met.map(|(node, _)| node.as_str()).collect();
    let planned = facts.replicas_planned;
    if met.len() >= planned.min(facts.connections as usize) {
        return;
    }
    reasons.push(match met[..] {
        [node] => format!(
            "all sockets reached one replica, {node}, so nothing is proved of a cluster. Behind a balancer that looks at \
             addresses connect from several networks (--source-ip); replicas that do not name themselves need a \
             --node-header; one that is alone by intent needs --replicas 1"
        ),
        _ => format!("{planned} replicas were to be tested, and sockets reached {} ({})", met.len(), met.join(", ")),
    });
}

/// What makes a run prove nothing.
fn proof_gates(facts: &Facts, findings: &Findings, reasons: &mut Vec<String>) {
    if findings.counts.sent == 0 {
        reasons.push("nothing was sent, so nothing is proved".into());
        return;
    }
    for (property, checked, _) in &findings.properties {
        if *checked == 0 && facts.orders.iter().any(|id| id == property.id()) {
            let (id, name, unit) = (property.id(), property.name(), property.unit());
            reasons.push(format!("{id} {name} was to be proved, and there were no {unit}"));
        }
    }
    for fault in &facts.faults {
        if let Some(error) = &fault.error {
            reasons.push(format!("{} went wrong: {error}", fault.name));
        } else if fault.effective_us.is_none() {
            reasons.push(format!("{} was not seen to take effect, so it proves nothing", fault.name));
        }
    }
    let phases = &findings.phases;
    let quiet: Vec<usize> =
        (0..phases.len()).filter(|&phase| phases[phase].phase.faults.is_empty()).collect();
    for (place, flow) in phases.iter().enumerate() {
        let name = phase_name(place, facts, findings);
        if Some(&place) == quiet.first() || Some(&place) == quiet.last() {
            spans(facts, &flow.expected, &name, reasons);
        } else if flow.sent + flow.skipped == 0 && is_long(place, phases) {
            reasons.push(format!("{name} nothing was due to be sent, so it proves nothing"));
        }
    }
}

/// Whether something had to be sent in this phase: what is over at once may fall between two messages.
fn is_long(place: usize, phases: &[PhaseFlow]) -> bool {
    let end_us = phases.get(place + 1).map(|next| next.phase.start_us);
    end_us.is_some_and(|end_us| end_us - phases[place].phase.start_us >= LONG_US)
}

/// Every replica has to have sent to every other one.
fn spans(facts: &Facts, expected: &[u64], phase: &str, reasons: &mut Vec<String>) {
    let replicas = facts.replicas.len();
    let pair = |place: usize| {
        let node = |replica: usize| facts.replicas[replica].0.as_str();
        format!("{} > {}", node(place / replicas), node(place % replicas))
    };
    let silent: Vec<String> = (0..expected.len()).filter(|&place| expected[place] == 0).map(pair).collect();
    if silent.is_empty() {
        return;
    }
    let shown = silent.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
    let more = if silent.len() > 6 { ", ..." } else { "" };
    let size = facts.connections / facts.rooms.max(1);
    reasons.push(format!(
        "{phase} nothing was owed from {} of {} replicas to another ({shown}{more}): rooms of {size} do not span them, or \
         there was too little time",
        silent.len(),
        expected.len()
    ));
}

fn phase_name(place: usize, facts: &Facts, findings: &Findings) -> String {
    let phases = &findings.phases;
    let on: Vec<_> = phases[place].phase.faults.iter().filter_map(|&fault| facts.fault(fault)).collect();
    match (on.is_empty(), place) {
        (false, _) => format!("during {}:", on.join(" and ")),
        (true, _) if phases.len() == 1 => "in the whole run".into(),
        (true, 0) => "before the first fault".into(),
        (true, _) => "after the last fault".into(),
    }
}

fn total(incidents: &BTreeMap<String, u32>) -> u32 {
    incidents.values().sum()
}

fn list(incidents: &BTreeMap<String, u32>) -> String {
    let mut most: Vec<_> = incidents.iter().collect();
    most.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    most.iter().take(3).map(|(what, count)| format!("{what} ({count})")).collect::<Vec<_>>().join("; ")
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn seconds(us: u64) -> String {
    format!("{:.2} s", us as f64 / 1e6)
}
