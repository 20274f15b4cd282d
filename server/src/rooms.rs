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
use tokio::sync::watch;
use ws_wire::frame::{self, opcode};

use crate::{
    Server,
    broker::{Broker, BrokerError, Deliver, Publication},
    bug::Bugs,
    config::Config,
    flush::Flusher,
    health::Health,
    metrics::Metrics,
    outbox::Outbox,
};

/// The channel of messages to all.
pub(crate) const ALL: &str = "ws:all";

/// How long an empty room stays subscribed.
const DRAINING: Duration = Duration::from_secs(1);

/// The channel of `room`.
pub(crate) fn channel(room: &str) -> String {
    format!("ws:room:{room}")
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
    bugs: Option<Bugs>,
    /// One for each thread; a session belongs to one of them.
    pub(crate) flushers: Vec<Arc<Flusher>>,
}

#[derive(Default)]
struct Room {
    members: IndexMap<u64, Arc<Outbox>>,
    /// Set while the broker has not confirmed; says true when it has answered.
    subscribing: Option<watch::Receiver<bool>>,
    empty_since: Option<Instant>,
}

impl Rooms {
    pub(crate) fn new(config: &Config, health: Arc<Health>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            rooms: Mutex::new(HashMap::from([(ALL.to_owned(), Room::default())])),
            heartbeat: heartbeat_channel(&config.node),
            health,
            metrics,
            bugs: Bugs::new(&config.bugs),
            flushers: (0..config.flushers.max(1)).map(|_| Arc::default()).collect(),
        })
    }

    /// From now on `member` hears what is sent to all.
    pub(crate) fn enter(&self, member: &Arc<Outbox>, hello: &str) {
        let mut rooms = self.lock();
        member.push_text(hello);
        rooms.entry(ALL.to_owned()).or_default().members.insert(member.number, member.clone());
    }

    /// Makes `member` one of `channel`, and queues `ack` as the first thing it hears of it.
    pub(crate) async fn join(
        &self,
        server: &Arc<Server>,
        channel: &str,
        member: &Arc<Outbox>,
        ack: &str,
    ) -> Result<(), BrokerError> {
        // A live room's subscription may be lost at this moment; an ack would promise what nobody can keep.
        server.broker.listening().await?;
        let Some(mut subscribing) = self.join_live(server, channel, member, ack) else { return Ok(()) };
        let _ = subscribing.wait_for(|answered| *answered).await;
        let mut rooms = self.lock();
        let room = rooms.get_mut(channel).filter(|room| room.subscribing.is_none());
        room.ok_or(BrokerError::Unavailable)?.add(member, ack);
        Ok(())
    }

    /// Joins a live room; otherwise what to wait for.
    fn join_live(
        &self,
        server: &Arc<Server>,
        channel: &str,
        member: &Arc<Outbox>,
        ack: &str,
    ) -> Option<watch::Receiver<bool>> {
        match self.lock().entry(channel.to_owned()) {
            Entry::Occupied(mut room) => match &room.get().subscribing {
                Some(subscribing) => Some(subscribing.clone()),
                None => {
                    room.get_mut().add(member, ack);
                    None
                }
            },
            Entry::Vacant(absent) => {
                let (answered, subscribing) = watch::channel(false);
                absent.insert(Room { subscribing: Some(subscribing.clone()), ..Room::default() });
                // A task of its own: the first to ask may go away, the others still wait.
                server.tasks.spawn(subscribe(server.clone(), channel.to_owned(), answered));
                Some(subscribing)
            }
        }
    }

    /// Ends a membership; `ack` is the last thing `member` hears of it.
    pub(crate) fn leave(&self, channel: &str, member: &Arc<Outbox>, ack: &str) {
        self.lock().get_mut(channel).into_iter().for_each(|room| room.remove(member.number));
        member.push_text(ack);
    }

    /// Ends all memberships of one whose connection is over.
    pub(crate) fn forget<'a>(&self, member: u64, channels: impl Iterator<Item = &'a String>) {
        let mut rooms = self.lock();
        for channel in channels {
            rooms.get_mut(channel).into_iter().for_each(|room| room.remove(member));
        }
        rooms.get_mut(ALL).into_iter().for_each(|room| room.remove(member));
    }

    /// Unsubscribes what has been empty for a while.
    pub(crate) fn sweep(&self, broker: &Broker) {
        let over = |room: &Room| room.empty_since.is_some_and(|since| since.elapsed() >= DRAINING);
        self.lock().retain(|channel, room| channel == ALL || !over(room) || !broker.unsubscribe(channel));
        self.bugs.iter().for_each(Bugs::sweep);
    }

    /// Rooms that somebody here is in.
    pub(crate) fn count(&self) -> usize {
        self.lock().iter().filter(|(channel, room)| *channel != ALL && !room.members.is_empty()).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.rooms.lock().expect("nothing panics while it is held")
    }
}

impl Deliver for Rooms {
    fn deliver(&self, batch: &[Publication]) {
        let rooms = self.lock();
        let mut frame = Vec::new();
        for publication in batch {
            let Some(room) = rooms.get(&publication.channel) else {
                if publication.channel == self.heartbeat {
                    self.health.beat();
                }
                continue;
            };
            frame.clear();
            frame::write_server(&mut frame, opcode::TEXT, publication.text.as_bytes());
            self.metrics.publications.fetch_add(1, Relaxed);
            self.metrics.deliveries.fetch_add(room.members.len() as u64, Relaxed);
            for member in room.members.values() {
                match &self.bugs {
                    None => member.push(&frame),
                    Some(bugs) => bugs.deliver(publication, &frame, member, || outsider(&rooms, room)),
                }
            }
        }
    }
}

impl Room {
    fn add(&mut self, member: &Arc<Outbox>, ack: &str) {
        self.empty_since = None;
        member.push_text(ack);
        self.members.insert(member.number, member.clone());
    }

    fn remove(&mut self, member: u64) {
        if self.members.swap_remove(&member).is_some() && self.members.is_empty() {
            self.empty_since = Some(Instant::now());
        }
    }
}

/// Gets a new room subscribed, and tells those who wait how it went by what has become of the room.
async fn subscribe(server: Arc<Server>, channel: String, answered: watch::Sender<bool>) {
    let subscribed = server.broker.subscribe(&channel).await;
    let mut rooms = server.rooms.lock();
    match (subscribed, rooms.get_mut(&channel)) {
        (Ok(()), Some(room)) => {
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

/// Somebody who is not in `room`.
fn outsider<'a>(rooms: &'a HashMap<String, Room>, room: &Room) -> Option<&'a Arc<Outbox>> {
    let everybody = &rooms.get(ALL)?.members;
    everybody.values().find(|member| !room.members.contains_key(&member.number))
}
