//! What a client may ask for, and the answers.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use ws_wire::{codec::native::OUTCOME_UNKNOWN, message::Position};

use super::{Client, NEVER};
use crate::{
    broker::{BrokerError, Publication},
    bug::{Bugs, Fate},
    dialect::Request,
    outbox::Outbox,
    rooms::{self, Join},
};

/// Why a request was refused: the stable code and a word for people.
struct Refusal(&'static str, String);

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        let code = match error {
            BrokerError::Unavailable => "broker_unavailable",
            BrokerError::Unknown => OUTCOME_UNKNOWN,
        };
        Self(code, error.to_string())
    }
}

impl Client {
    pub(super) async fn answer(&mut self, request: Request) {
        if let Request::Enter { since } = request {
            // Boxed: once a connection, and only who resumes waits.
            return Box::pin(self.enter(since)).await;
        }
        self.server.metrics.requests.fetch_add(1, Relaxed);
        self.session.last_request_ms.store(self.server.sessions.now_ms(), Relaxed);
        let (reference, answer) = match request {
            Request::Join { reference, .. }
            | Request::Leave { reference, .. }
            | Request::Send { reference, .. }
                if self.server.rooms.refuses_all() =>
            {
                (reference, Err(BrokerError::Unavailable.into()))
            }
            // Boxed: rare next to sends, and their futures are larger.
            Request::Join { reference, room, since } => {
                (reference, Box::pin(self.join(reference, room, since)).await)
            }
            Request::Leave { reference, room } => (reference, self.leave(reference, &room)),
            Request::Send { reference, room, key, publication } => {
                (reference, self.send(reference, room.as_deref(), key, publication).await)
            }
            Request::Bad { reference, why } => (reference, Err(Refusal("bad_request", why))),
            Request::Answered(answer) => return self.session.outbox.push_text(&answer),
            Request::Goodbye(code) => return self.session.outbox.goodbye(code),
            Request::Exit => return self.exit(),
            Request::Enter { .. } => unreachable!("answered above"),
        };
        if let Err(refusal) = answer {
            self.server.metrics.errors.fetch_add(1, Relaxed);
            refuse(&self.session.outbox, reference, &refusal);
        }
    }

    /// Says hello, and makes the client one of all.
    async fn enter(&mut self, since: Option<Position>) {
        let server = &self.server;
        let outbox = &self.session.outbox;
        self.session.outside_since_ms.store(NEVER, Relaxed);
        let answer =
            |position, recovered| Some(outbox.dialect.hello(server, &outbox.name, position, recovered));
        let join = Join { channel: rooms::ALL.to_owned(), since, answer: &answer };
        if server.rooms.enter(server, join, outbox).await.is_err() {
            outbox.close(1013, "the broker can't be reached: come back with the same since");
        }
    }

    /// Ends all memberships; the client may come in again.
    fn exit(&mut self) {
        self.server.rooms.forget(self.session.outbox.number, self.channels.iter());
        self.channels.clear();
        self.session.outside_since_ms.store(self.server.sessions.now_ms(), Relaxed);
    }

    async fn join(
        &mut self,
        reference: Option<u64>,
        room: String,
        since: Option<Position>,
    ) -> Result<(), Refusal> {
        let channel = self.channel(&room)?;
        let limits = &self.server.config.limits;
        if self.channels.len() >= limits.rooms && !self.channels.contains(&channel) {
            let why = format!("a connection may be in {} rooms; leave one first", limits.rooms);
            return Err(Refusal("too_many_rooms", why));
        }
        let dialect = self.session.outbox.dialect;
        let answer = |position, recovered| dialect.ack(reference, position, recovered);
        let join = Join { channel: channel.clone(), since, answer: &answer };
        self.server.rooms.join(&self.server, join, &self.session.outbox).await?;
        self.channels.insert(channel);
        Ok(())
    }

    /// The channel of a room by its name, if it is one.
    fn channel(&self, room: &str) -> Result<String, Refusal> {
        let most = self.server.config.limits.room_name_bytes;
        if room.is_empty() || room.len() > most {
            let why = format!("a room name has 1 to {most} bytes, this one {}", room.len());
            return Err(Refusal("bad_room", why));
        }
        Ok(rooms::channel(room))
    }

    fn leave(&mut self, reference: Option<u64>, room: &str) -> Result<(), Refusal> {
        let channel = self.channel(room)?;
        if !self.channels.remove(&channel) {
            return Err(not_in(room));
        }
        let outbox = &self.session.outbox;
        self.server.rooms.leave(&channel, outbox, outbox.dialect.ack(reference, None, None));
        Ok(())
    }

    async fn send(
        &mut self,
        reference: Option<u64>,
        room: Option<&str>,
        key: Option<String>,
        publication: String,
    ) -> Result<(), Refusal> {
        let channel = match room {
            None => rooms::ALL.to_owned(),
            Some(room) => {
                let channel = self.channel(room)?;
                if !self.channels.contains(&channel) {
                    return Err(not_in(room));
                }
                channel
            }
        };
        if let Err(wait) = self.bucket.take(Instant::now()) {
            let limit = self.server.config.limits.sends_per_second;
            let ms = wait.as_millis() + 1;
            let why = format!("more than {limit} sends a second; not sent, send it again in {ms} ms");
            return Err(Refusal("rate_limited", why));
        }
        let outbox = self.session.outbox.clone();
        let fate = self.server.rooms.bugs.as_ref().map_or(Fate::Usual, Bugs::fate);
        if fate != Fate::Usual {
            let refused = fate == Fate::RefusedAndSent;
            answer_send(&outbox, reference, if refused { Err(BrokerError::Unavailable) } else { Ok(None) });
        }
        if fate == Fate::AckedAndLost {
            return Ok(());
        }
        let reply = Box::new(move |result| {
            if fate == Fate::Usual {
                answer_send(&outbox, reference, result);
            }
        });
        self.server.broker.publish(Publication { channel, text: publication }, key, reply).await;
        Ok(())
    }
}

fn answer_send(outbox: &Arc<Outbox>, reference: Option<u64>, result: Result<Option<Position>, BrokerError>) {
    match result {
        Ok(position) => outbox.push_answer(outbox.dialect.ack(reference, position, None)),
        Err(error) => refuse(outbox, reference, &error.into()),
    }
}

fn refuse(outbox: &Arc<Outbox>, reference: Option<u64>, Refusal(code, why): &Refusal) {
    outbox.push_text(&outbox.dialect.refusal(reference, code, why));
}

fn not_in(room: &str) -> Refusal {
    Refusal("not_in_room", format!("not a member of room {room:?}; join it first"))
}

/// How much a connection may still send: so many a second, over a burst of as many.
pub(super) struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(rate: u32) -> Self {
        let rate = f64::from(rate.max(1));
        Self { rate, tokens: rate, filled: Instant::now() }
    }

    /// Takes one, or says how long the next one takes.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let earned = (now - self.filled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + earned).min(self.rate);
        self.filled = now;
        if self.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.tokens) / self.rate));
        }
        self.tokens -= 1.0;
        Ok(())
    }
}
