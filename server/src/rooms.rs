//! Who is in which room on this replica.
//!
//! A room is absent, subscribing, live, or draining: empty for a moment, and still subscribed in case somebody comes
//! back. The ack of a join is queued under the same lock as the membership begins, so it comes before the first
//! delivery, and nothing published after it is missed.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use indexmap::IndexMap;
use tokio::{sync::watch, time::sleep};
use ws_wire::message::Position;

use crate::{
    Server,
    broker::{Arrival, Broker, BrokerError, Deliver, Link},
    bug::{Bug, Bugs},
    config::Config,
    dialect::{Dialect, Frames},
    flush::Flusher,
    health::Health,
    metrics::Metrics,
    outbox::Outbox,
};

/// The channel of messages to all.
pub(crate) const ALL: &str = "ws:all";

/// What the channels of rooms begin with.
const ROOM: &str = "ws:room:";

/// How long a member waits for this replica to come as far as it is itself, or to know how far that is.
const CATCH_UP: Duration = Duration::from_secs(2);

/// How long an empty room stays subscribed.
const DRAINING: Duration = Duration::from_secs(1);

/// The channel of `room`.
pub(crate) fn channel(room: &str) -> String {
    format!("{ROOM}{room}")
}

/// The channel on which `node` hears itself.
pub(crate) fn heartbeat_channel(node: &str) -> String {
    format!("ws:node:{node}")
}

/// All rooms of this replica, by channel.
pub(crate) struct Rooms {
    rooms: Mutex<HashMap<String, Room>>,
    heartbeat: String,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    pub(crate) bugs: Option<Bugs>,
    /// The most that may wait for one member.
    queue_bytes: usize,
    /// One for each thread; a session belongs to one of them.
    pub(crate) flushers: Vec<Arc<Flusher>>,
}

#[derive(Default)]
struct Room {
    members: IndexMap<u64, Arc<Outbox>>,
    /// Set while the broker has not confirmed; says true when it has answered.
    subscribing: Option<watch::Receiver<bool>>,
    empty_since: Option<Instant>,
    /// Of the last message that came, where the broker gives positions.
    position: Option<Position>,
    /// Members to be, who first get what they missed: what comes meanwhile waits here.
    resuming: HashMap<u64, Waiting>,
}

/// Offsets and frames of the messages that wait for one member, and the bytes of all.
struct Waiting {
    dialect: Dialect,
    messages: Vec<(u64, Vec<u8>)>,
    bytes: usize,
}

/// A wish to hear a channel.
pub(crate) struct Join<'a> {
    pub(crate) channel: String,
    /// The last position that the client has.
    pub(crate) since: Option<Position>,
    /// The text that comes before the first message, from the position before that one, and whether all after `since`
    /// follows; none if no answer is wanted.
    pub(crate) answer: &'a (dyn Fn(Option<Position>, Option<bool>) -> Option<String> + Sync),
}

impl Rooms {
    pub(crate) fn new(config: &Config, health: Arc<Health>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            rooms: Mutex::new(HashMap::from([(ALL.to_owned(), Room::default())])),
            heartbeat: heartbeat_channel(&config.node),
            health,
            metrics,
            bugs: Bugs::new(&config.bugs),
            queue_bytes: config.limits.queue_bytes,
            flushers: (0..config.flushers.max(1)).map(|_| Arc::default()).collect(),
        })
    }

    /// From now on `member` hears what is sent to all.
    pub(crate) async fn enter(
        &self,
        server: &Server,
        join: Join<'_>,
        member: &Arc<Outbox>,
    ) -> Result<(), BrokerError> {
        let numbered = self.until_numbered(server).await;
        if let Some(since) = &join.since {
            server.broker.listening().await?;
            numbered?;
            if self.resume(server, &join, since, member).await? {
                return Ok(());
            }
        }
        self.lock().entry(ALL.to_owned()).or_default().admit(&join, member);
        Ok(())
    }

    /// Waits until it is known here how far messages to all have come: right after its start a replica does not.
    async fn until_numbered(&self, server: &Server) -> Result<(), BrokerError> {
        let is_numbered = || self.lock().get(ALL).is_some_and(|all| all.position.is_some());
        let deadline = Instant::now() + CATCH_UP;
        while server.broker.has_log() && !is_numbered() {
            if Instant::now() > deadline {
                return Err(BrokerError::Unavailable);
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Makes `member` one of a room, and queues the ack as the first thing it hears of it.
    pub(crate) async fn join(
        &self,
        server: &Arc<Server>,
        join: Join<'_>,
        member: &Arc<Outbox>,
    ) -> Result<(), BrokerError> {
        // A live room's subscription may be lost at this moment; an ack would promise what nobody can keep.
        server.broker.listening().await?;
        if let Some(mut subscribing) = self.enliven(server, &join.channel) {
            let _ = subscribing.wait_for(|answered| *answered).await;
        }
        if let Some(since) = &join.since
            && self.resume(server, &join, since, member).await?
        {
            return Ok(());
        }
        let mut rooms = self.lock();
        live(&mut rooms, &join.channel)?.admit(&join, member);
        Ok(())
    }

    /// If the room is not live: what to wait for.
    fn enliven(&self, server: &Arc<Server>, channel: &str) -> Option<watch::Receiver<bool>> {
        match self.lock().entry(channel.to_owned()) {
            Entry::Occupied(mut room) => {
                // Somebody is coming: it is not swept away before.
                let empty_since = &mut room.get_mut().empty_since;
                *empty_since = empty_since.map(|_| Instant::now());
                room.get().subscribing.clone()
            }
            Entry::Vacant(absent) => {
                let (answered, subscribing) = watch::channel(false);
                absent.insert(Room { subscribing: Some(subscribing.clone()), ..Room::default() });
                // A task of its own: the first to ask may go away, the others still wait.
                server.tasks.spawn(subscribe(server.clone(), channel.to_owned(), answered));
                Some(subscribing)
            }
        }
    }

    /// Makes `member` one of the room with all that it missed; false if that is not to be had.
    ///
    /// What comes from now on waits; what came before is read from the log; both together have no gap and no overlap.
    async fn resume(
        &self,
        server: &Server,
        join: &Join<'_>,
        since: &Position,
        member: &Arc<Outbox>,
    ) -> Result<bool, BrokerError> {
        {
            let mut rooms = self.lock();
            let room = live(&mut rooms, &join.channel)?;
            if room.members.contains_key(&member.number) {
                return Ok(false);
            }
            let waiting = Waiting { dialect: member.dialect, messages: Vec::new(), bytes: 0 };
            room.resuming.insert(member.number, waiting);
        }
        // Half of what may wait: the other half is for what comes meanwhile.
        let missed = server.broker.since(&join.channel, since, self.queue_bytes / 2).await;
        // The client may have heard more from another replica than came here yet.
        let deadline = Instant::now() + CATCH_UP;
        while matches!(missed, Ok(Some(_)))
            && self.is_behind(&join.channel, since)
            && Instant::now() < deadline
        {
            sleep(Duration::from_millis(2)).await;
        }
        let mut rooms = self.lock();
        let room = live(&mut rooms, &join.channel)?;
        let waiting = room.resuming.remove(&member.number);
        let (Some(missed), Some(Waiting { messages: waiting, .. })) = (missed?, waiting) else {
            return Ok(false);
        };
        let reached = room.position.as_ref().filter(|position| position.epoch == since.epoch);
        let Some(reached) = reached.filter(|position| position.offset >= since.offset) else {
            return Ok(false);
        };
        // The log may be ahead of what came here: that comes by itself.
        let first_waiting = waiting.first().map_or(reached.offset + 1, |(offset, _)| *offset);
        let mut missed: Vec<_> = missed.into_iter().filter(|(offset, _)| *offset < first_waiting).collect();
        if missed.last().map_or(since.offset, |(offset, _)| *offset) + 1 < first_waiting {
            return Ok(false);
        }
        if self.has(Bug::FalseRecovered) && !missed.is_empty() {
            missed.remove(0);
        }
        member.push_answer((join.answer)(Some(since.clone()), Some(true)));
        for (offset, publication) in missed {
            let position = Position { epoch: since.epoch.clone(), offset };
            let mut frame = Vec::new();
            member.dialect.delivery(&publication, Some(&position), &mut frame);
            member.push(&frame);
        }
        for (_, frame) in waiting.iter().filter(|(offset, _)| *offset > since.offset) {
            member.push(frame);
        }
        room.add(member);
        Ok(true)
    }

    /// Whether `since` is later in the same order than what came here.
    fn is_behind(&self, channel: &str, since: &Position) -> bool {
        let rooms = self.lock();
        let position = rooms.get(channel).and_then(|room| room.position.as_ref());
        position.is_some_and(|here| here.epoch == since.epoch && here.offset < since.offset)
    }

    /// Ends a membership; `ack` is the last thing `member` hears of it.
    pub(crate) fn leave(&self, channel: &str, member: &Arc<Outbox>, ack: Option<String>) {
        let mut rooms = self.lock();
        if !self.bugs.as_ref().is_some_and(|bugs| bugs.keeps(member.number, channel)) {
            rooms.get_mut(channel).into_iter().for_each(|room| room.remove(member.number));
        }
        member.push_answer(ack);
    }

    /// Ends all memberships of one whose connection is over.
    pub(crate) fn forget<'a>(&self, member: u64, channels: impl Iterator<Item = &'a String>) {
        let mut rooms = self.lock();
        for channel in channels {
            rooms.get_mut(channel).into_iter().for_each(|room| room.remove(member));
        }
        rooms.get_mut(ALL).into_iter().for_each(|room| room.remove(member));
        if self.has(Bug::AfterLeave) {
            rooms.values_mut().for_each(|room| room.remove(member));
        }
    }

    /// Unsubscribes what has been empty for a while.
    pub(crate) fn sweep(&self, broker: &Broker) {
        let over = |room: &Room| {
            room.resuming.is_empty() && room.empty_since.is_some_and(|since| since.elapsed() >= DRAINING)
        };
        self.lock().retain(|channel, room| channel == ALL || !over(room) || !broker.unsubscribe(channel));
        self.bugs.iter().for_each(Bugs::sweep);
    }

    /// Rooms that somebody here is in.
    pub(crate) fn count(&self) -> usize {
        self.lock().iter().filter(|(channel, room)| *channel != ALL && !room.members.is_empty()).count()
    }

    /// Whether this replica refuses everything, which is a bug switch.
    pub(crate) fn refuses_all(&self) -> bool {
        self.bugs.as_ref().is_some_and(Bugs::refuses_all)
    }

    fn has(&self, bug: Bug) -> bool {
        self.bugs.as_ref().is_some_and(|bugs| bugs.is_on(bug))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.rooms.lock().expect("nothing panics while it is held")
    }
}

impl Deliver for Rooms {
    fn deliver(&self, batch: &[Arrival]) {
        let mut rooms = self.lock();
        let mut frames = Frames::default();
        for arrival in batch {
            let (publication, position) = match arrival {
                Arrival::Message { publication, position } => (publication, position),
                Arrival::Gap { channel, position } => {
                    if let Some(room) = rooms.get_mut(channel) {
                        room.gap(channel, position);
                    }
                    continue;
                }
            };
            let Some(room) = rooms.get_mut(&publication.channel) else {
                if publication.channel == self.heartbeat && !self.refuses_all() {
                    self.health.beat();
                }
                continue;
            };
            frames.turn_to(&publication.text, position.as_ref());
            if let Some(position) = position {
                room.reach(position, &mut frames, self.queue_bytes / 2);
            }
            self.metrics.publications.fetch_add(1, Relaxed);
            self.metrics.deliveries.fetch_add(room.members.len() as u64, Relaxed);
            let Some(bugs) = &self.bugs else {
                for member in room.members.values() {
                    member.push(frames.of(member.dialect));
                }
                continue;
            };
            let room = &rooms[&publication.channel];
            for member in room.members.values() {
                let frame = frames.of(member.dialect);
                bugs.deliver(publication, frame, member, || outsider(rooms.get(ALL)?, room, member.dialect));
            }
        }
    }

    fn link(&self, link: Link) {
        let Some(bugs) = &self.bugs else { return };
        let rooms = self.lock();
        let members = |channel: &str| rooms.get(channel).map(|room| &room.members);
        bugs.link(link, |channel, member| {
            members(channel).is_some_and(|members| members.contains_key(&member))
        });
        if bugs.refuses_all() {
            let everybody = members(ALL).into_iter().flat_map(IndexMap::values);
            everybody.for_each(|member| member.close(1012, "restart: reconnect after a random moment"));
        }
    }
}

impl Room {
    /// Lets a member in without what it missed.
    fn admit(&mut self, join: &Join<'_>, member: &Arc<Outbox>) {
        let recovered = join.since.as_ref().map(|_| false);
        member.push_answer((join.answer)(self.position.clone(), recovered));
        self.add(member);
    }

    fn add(&mut self, member: &Arc<Outbox>) {
        self.empty_since = None;
        self.members.insert(member.number, member.clone());
    }

    fn remove(&mut self, member: u64) {
        if self.members.swap_remove(&member).is_some() && self.members.is_empty() {
            self.empty_since = Some(Instant::now());
        }
    }

    /// Moves on to a message; those who are not members yet get it later, unless more than `most` bytes wait.
    fn reach(&mut self, position: &Position, frames: &mut Frames<'_>, most: usize) {
        match &mut self.position {
            Some(here) if here.epoch == position.epoch => here.offset = position.offset,
            here => *here = Some(position.clone()),
        }
        self.resuming.retain(|_, waiting| {
            let frame = frames.of(waiting.dialect);
            waiting.bytes += frame.len();
            waiting.messages.push((position.offset, frame.to_vec()));
            waiting.bytes <= most
        });
    }

    /// Tells the members that something may be missing; nobody who is about to resume can. The first one of all has
    /// members only if it is to all, from before this replica was subscribed.
    fn gap(&mut self, channel: &str, position: &Position) {
        self.position = Some(position.clone());
        self.resuming.clear();
        let room = channel.strip_prefix(ROOM);
        for member in self.members.values() {
            member.push_text(&member.dialect.gap(room, position));
        }
    }
}

/// A room that is subscribed.
fn live<'a>(rooms: &'a mut HashMap<String, Room>, channel: &str) -> Result<&'a mut Room, BrokerError> {
    rooms.get_mut(channel).filter(|room| room.subscribing.is_none()).ok_or(BrokerError::Unavailable)
}

/// Gets a new room subscribed, and tells those who wait how it went by what has become of the room.
async fn subscribe(server: Arc<Server>, channel: String, answered: watch::Sender<bool>) {
    let subscribed = server.broker.subscribe(&channel).await;
    let mut rooms = server.rooms.lock();
    match (subscribed, rooms.get_mut(&channel)) {
        (Ok(()), Some(room)) => {
            server.rooms.bugs.iter().for_each(|bugs| bugs.opened(&channel));
            room.subscribing = None;
            room.empty_since = Some(Instant::now());
        }
        _ => {
            rooms.remove(&channel);
            server.broker.unsubscribe(&channel);
        }
    }
    drop(rooms);
    answered.send_replace(true);
}

/// Somebody who is not in `room`, and would understand what is said there.
fn outsider<'a>(all: &'a Room, room: &Room, dialect: Dialect) -> Option<&'a Arc<Outbox>> {
    let mut others = all.members.values().filter(|member| member.dialect == dialect);
    others.find(|member| !room.members.contains_key(&member.number))
}
