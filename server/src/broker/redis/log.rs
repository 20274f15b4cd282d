//! The log of each channel in Redis: a stream whose ids are the offsets, and a head with epoch and last offset.
//!
//! The log is the truth, pub/sub only the wake-up. An epoch names one unbroken order: it changes when Redis has lost
//! the head, was restarted, or has gone back behind an offset that a replica has seen.

use std::time::Duration;

use redis::{Pipeline, RedisError, aio::MultiplexedConnection};
use ws_wire::message::Position;

use super::{fence::Pass, publisher::Publish};
use crate::broker::Publication;

/// How much a channel remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Messages, about.
    pub messages: usize,
    /// Since the last message.
    pub time: Duration,
}

impl Default for History {
    fn default() -> Self {
        Self { messages: 2000, time: Duration::from_secs(300) }
    }
}

/// The scripts, known to the Redis that a connection leads to.
pub(super) struct Log {
    history: History,
    publish: String,
    read: String,
    /// The run of Redis: another one may have come back without the last messages.
    pub(super) run: String,
}

/// What a channel's log holds behind a position.
pub(super) struct Read {
    epoch: String,
    last: u64,
    /// With their offsets.
    messages: Vec<(u64, String)>,
}

/// The messages after a position with their offsets, if all are to be had.
pub type Missed = Option<Vec<(u64, String)>>;

/// As Redis answers.
type Answer = (String, u64, Vec<(String, (String, String))>);

/// The shortest time that keys and heads are kept, however little history is: a try after no answer comes within a third
/// of it, and a listener that lost its link too.
const KEPT: Duration = Duration::from_secs(60);

/// The run of a Redis that loses nothing when it is restarted: all its runs are one.
const DURABLE: &str = "durable";

/// The answer to a publish that was not carried out.
const FENCED: &str = "fenced";

impl Log {
    pub(super) async fn load(
        history: History,
        connection: &mut MultiplexedConnection,
    ) -> Result<Self, RedisError> {
        let load = |script: &'static str| redis::cmd("SCRIPT").arg("LOAD").arg(script).to_owned();
        let publish = load(include_str!("publish.lua")).query_async(connection).await?;
        let read = load(include_str!("read.lua")).query_async(connection).await?;
        let info: String = redis::cmd("INFO").query_async(connection).await?;
        let run = if is_durable(&info, connection).await {
            DURABLE.to_owned()
        } else {
            field(&info, "run_id:").unwrap_or_default().to_owned()
        };
        Ok(Self { history, publish, read, run })
    }

    /// Adds the publication, which is done once however often its key comes, and not at all without the `pass`.
    pub(super) fn publish(&self, pipeline: &mut Pipeline, publish: &Publish, pass: &Pass) {
        let Publish { publication: Publication { channel, text }, key, .. } = publish;
        let key = key.as_deref().unwrap_or_default();
        let time = self.history.time;
        pipeline.cmd("EVALSHA").arg(&self.publish).arg(4).arg(head(channel)).arg(log(channel));
        pipeline.arg(format!("{{{channel}}}:key:{key}")).arg(&pass.fence);
        pipeline.arg(channel).arg(text).arg(new_epoch()).arg(self.history.messages);
        pipeline.arg(millis(time)).arg(millis(time.max(KEPT))).arg(&self.run).arg(pass.to_string());
    }

    /// What each channel has behind the position known here; nothing but the end where none is known.
    pub(super) async fn read<'a>(
        &self,
        connection: &mut MultiplexedConnection,
        known: impl Iterator<Item = (&'a str, Option<&'a Position>)>,
        trust: Trust,
    ) -> Result<Vec<Read>, RedisError> {
        let mut pipeline = redis::pipe();
        for (channel, known) in known {
            pipeline.cmd("EVALSHA").arg(&self.read).arg(2).arg(head(channel)).arg(log(channel));
            pipeline.arg(new_epoch()).arg(millis(self.history.time.max(KEPT)));
            pipeline.arg(known.map_or("", |known| &known.epoch)).arg(known.map_or(0, |known| known.offset));
            pipeline
                .arg(trust.most())
                .arg(if trust == Trust::Replica { "replica" } else { "client" })
                .arg(&self.run);
        }
        let answers: Vec<Answer> = pipeline.query_async(connection).await?;
        Ok(answers.into_iter().map(Read::new).collect())
    }

    /// All that came after `since`; none where that can't be told, is no longer kept, or has more than `bytes`.
    pub(super) async fn since(
        &self,
        connection: &mut MultiplexedConnection,
        channel: &str,
        since: &Position,
        bytes: usize,
    ) -> Result<Missed, RedisError> {
        let mut all: Vec<(u64, String)> = Vec::new();
        loop {
            if all.iter().map(|(_, text)| text.len()).sum::<usize>() > bytes {
                return Ok(None);
            }
            let offset = all.last().map_or(since.offset, |(offset, _)| *offset);
            let known = Position { epoch: since.epoch.clone(), offset };
            let mut reads =
                self.read(connection, std::iter::once((channel, Some(&known))), Trust::Client).await?;
            let Some(mut read) = reads.pop().filter(|read| read.epoch == since.epoch) else {
                return Ok(None);
            };
            let next = read.messages.first().map(|(offset, _)| *offset);
            match read.last.cmp(&offset) {
                std::cmp::Ordering::Less => return Ok(None),
                std::cmp::Ordering::Equal => return Ok(Some(all)),
                std::cmp::Ordering::Greater if next != Some(offset + 1) => return Ok(None),
                std::cmp::Ordering::Greater => all.append(&mut read.messages),
            }
        }
    }
}

/// Whether Redis has on disk what it has answered (`appendfsync always`), and is alone: a replica that is promoted may
/// lack what its master had answered. Where it can't be told, it is not.
async fn is_durable(info: &str, connection: &mut MultiplexedConnection) -> bool {
    if field(info, "aof_enabled:") != Some("1") || field(info, "connected_slaves:") != Some("0") {
        return false;
    }
    let asked = redis::cmd("CONFIG").arg("GET").arg("appendfsync").query_async(connection).await;
    let Ok::<Vec<String>, _>(policy) = asked else { return false };
    policy.last().is_some_and(|policy| policy == "always")
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name))
}

/// Whose position a read starts from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It came from Redis: an order that ends before it has lost data.
    Replica,
    /// It may be anything.
    Client,
}

impl Trust {
    /// Messages in one answer. A replica reads many channels at once, and has to have them all before Redis is given up.
    fn most(self) -> usize {
        match self {
            Self::Replica => 100,
            Self::Client => 500,
        }
    }
}

impl Read {
    fn new((epoch, last, messages): Answer) -> Self {
        let message = |(id, (_, text)): (String, (String, String))| {
            let offset = id.split('-').next().and_then(|offset| offset.parse().ok());
            (offset.expect("the scripts write offsets as ids"), text)
        };
        Self { epoch, last, messages: messages.into_iter().map(message).collect() }
    }

    /// Moves `place` on to what was read. Returns the position at which a gap ends, if there is one, and the messages
    /// behind it.
    pub(super) fn follow(self, place: &mut Option<Position>) -> (Option<Position>, Vec<(u64, String)>) {
        let known = place.as_ref().filter(|place| place.epoch == self.epoch).map(|place| place.offset);
        let start = match (self.messages.first(), known) {
            (Some((first, _)), _) => first - 1,
            // Nothing new, or it is no longer kept.
            (None, _) => self.last,
        };
        let end = self.messages.last().map_or(self.last, |(offset, _)| *offset);
        let gap = (known != Some(start)).then(|| Position { epoch: self.epoch.clone(), offset: start });
        *place = Some(Position { epoch: self.epoch, offset: end });
        (gap, self.messages)
    }

    /// Whether the log held more than one answer does.
    pub(super) fn has_more(&self) -> bool {
        self.messages.last().is_some_and(|(offset, _)| *offset < self.last)
    }
}

/// Epoch, offset and text of a wake-up.
pub(super) fn parse(payload: &str) -> Option<(Position, &str)> {
    let (epoch, rest) = payload.split_once(' ')?;
    let (offset, text) = rest.split_once(' ')?;
    Some((Position { epoch: epoch.to_owned(), offset: offset.parse().ok()? }, text))
}

/// The answers to a batch, up to the first that was fenced off. None where they are none of ours.
pub(super) fn parse_positions(answers: &[String]) -> Option<Vec<Position>> {
    answers.iter().take_while(|answer| *answer != FENCED).map(|answer| parse_position(answer)).collect()
}

fn parse_position(answer: &str) -> Option<Position> {
    let (epoch, offset) = answer.split_once(' ')?;
    Some(Position { epoch: epoch.to_owned(), offset: offset.parse().ok()? })
}

// The braces are Redis Cluster's: all keys of a channel live in one slot. (The fence does not: a cluster needs one each.)
fn head(channel: &str) -> String {
    format!("{{{channel}}}:head")
}

fn log(channel: &str) -> String {
    format!("{{{channel}}}:log")
}

fn new_epoch() -> String {
    format!("{:08x}", rand::random::<u32>())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_seen_where_there_is_one() {
        let check = |known: Option<(&str, u64)>, read: (&str, u64, &[u64]), gap: Option<u64>, end: u64| {
            let at = |(epoch, offset): (&str, u64)| Position { epoch: epoch.into(), offset };
            let mut place = known.map(at);
            let messages = read.2.iter().map(|offset| (*offset, String::new())).collect();
            let (found, _) = Read { epoch: read.0.into(), last: read.1, messages }.follow(&mut place);
            assert_eq!(found.map(|gap| gap.offset), gap, "{known:?} {read:?}");
            assert_eq!(place, Some(at((read.0, end))), "{known:?} {read:?}");
        };
        // The first look, which asks for no messages.
        check(None, ("a", 7, &[]), Some(7), 7);
        // Nothing new, two new ones, more than fits one answer.
        check(Some(("a", 7)), ("a", 7, &[]), None, 7);
        check(Some(("a", 7)), ("a", 9, &[8, 9]), None, 9);
        check(Some(("a", 7)), ("a", 99, &[8, 9]), None, 9);
        // Some, all no longer kept.
        check(Some(("a", 7)), ("a", 12, &[11, 12]), Some(10), 12);
        check(Some(("a", 7)), ("a", 12, &[]), Some(12), 12);
        // Another order, empty or not: even where the offsets go together.
        check(Some(("a", 7)), ("b", 0, &[]), Some(0), 0);
        check(Some(("a", 7)), ("b", 7, &[]), Some(7), 7);
        check(Some(("a", 0)), ("b", 2, &[1, 2]), Some(0), 2);
    }

    #[test]
    fn a_wake_up_may_hold_anything() {
        let position = Position { epoch: "e".into(), offset: 3 };
        assert_eq!(parse("e 3 a b\nc"), Some((position.clone(), "a b\nc")));
        assert_eq!(parse("e 3 "), Some((position.clone(), "")));
        assert_eq!(parse("e x y"), None);
        assert_eq!(parse("{}"), None);
        let answers =
            |answers: &[&str]| answers.iter().map(|answer| (*answer).to_owned()).collect::<Vec<_>>();
        assert_eq!(parse_positions(&answers(&["e 3", "fenced"])), Some(vec![position]));
        assert_eq!(parse_positions(&answers(&["e 3", "?"])), None);
    }
}
