//! The smallest story that shows a violation: the message, its sender, its receiver, and their connections.

use crate::{
    ledger::{Example, Ledger, Session, SpanEnd},
    log::{NEVER, Outcome, Sent},
};

/// A line an event, in order of time where there is one.
pub(super) fn lines(ledgers: &[Ledger], example: &Example) -> Vec<String> {
    let nodes = &ledgers[0].setup.nodes;
    let mut lines: Vec<String> = message(ledgers, example).into_iter().collect();
    let receiver = session(ledgers, example.receiver);
    let sender = example.sender.filter(|sender| *sender != example.receiver);
    for (role, session) in [("receiver", receiver), ("sender", sender.and_then(|one| session(ledgers, one)))]
    {
        let Some(session) = session else { continue };
        lines.push(format!("{role}, session {}: {}", session.number, life(session, nodes)));
    }
    lines
}

fn message(ledgers: &[Ledger], example: &Example) -> Option<String> {
    let (room, index) = example.place?;
    let worker = ledgers[0].setup.topology.worker_of(room);
    let ledger = ledgers.iter().find(|ledger| ledger.setup.worker == worker)?;
    let room = ledger.rooms.iter().find(|one| one.number == room)?;
    let sent = room.log.get(index)?;
    let members = room.members.end - room.members.start;
    Some(format!(
        "message due at {}, {}, first seen or acked {}; {} of {members} members have it",
        seconds(sent.intended_us),
        outcome(sent),
        if sent.committed_us == NEVER {
            "never".into()
        } else {
            format!("at {}", seconds(sent.committed_us))
        },
        sent.delivered,
    ))
}

fn outcome(sent: &Sent) -> &'static str {
    match sent.outcome {
        Outcome::Ok => "acked",
        Outcome::Fail => "refused",
        Outcome::Info => "never answered",
    }
}

fn session(ledgers: &[Ledger], number: u32) -> Option<&Session> {
    ledgers.iter().find_map(|ledger| {
        let place = ledger.sessions.binary_search_by_key(&number, |session| session.number).ok()?;
        Some(&ledger.sessions[place])
    })
}

/// Its memberships: the last few, if there were many.
fn life(session: &Session, nodes: &[String]) -> String {
    let spans: Vec<String> = session
        .spans
        .iter()
        .map(|span| {
            let node = nodes.get(usize::from(span.replica)).map_or("?", String::as_str);
            let how = match span.recovered {
                Some(true) => " and resumed",
                Some(false) => " without what it had missed",
                None => "",
            };
            let end = match span.end {
                SpanEnd::Open => "to the end".to_owned(),
                SpanEnd::Cut { heard_us } => format!("last heard at {}", seconds(heard_us)),
                SpanEnd::Left(leave) => format!("left at {}", seconds(leave.at_us)),
            };
            format!("on {node} from {}{how}, {end}", seconds(span.joined_us))
        })
        .collect();
    match spans.len() {
        0 => "never joined".into(),
        1..=5 => spans.join("; "),
        more => format!("{} memberships before; {}", more - 4, spans[more - 4..].join("; ")),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn seconds(us: u64) -> String {
    format!("{:.3} s", us as f64 / 1e6)
}
