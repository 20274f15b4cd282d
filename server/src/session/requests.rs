//! What a client may ask for, and the answers.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use ws_wire::{
    codec::native::{self, ClientFrame, OUTCOME_UNKNOWN, ServerFrame},
    message::{Position, Target},
};

use super::{Client, text};
use crate::{
    broker::{BrokerError, Publication},
    bug::{Bugs, Fate},
    outbox::Outbox,
    rooms::{self, Join},
};

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 64;

/// A request, free of the buffer it was read from.
pub(super) enum Request {
    Join { reference: u64, room: String, since: Option<Position> },
    Leave { reference: u64, room: String },
    Send { reference: u64, room: Option<String>, key: Option<String>, delivery: String },
    Bad { reference: Option<u64>, why: String },
    Goodbye(Option<u16>),
}

impl Request {
    /// Reads a frame of the session called `from`. A send becomes the delivery that its receivers get.
    pub(super) fn parse(text: &str, from: &str) -> Self {
        match ClientFrame::parse(text) {
            Ok(ClientFrame::Join { reference, room, since }) => Self::Join { reference, room, since },
            Ok(ClientFrame::Leave { reference, room }) => Self::Leave { reference, room },
            Ok(ClientFrame::Send(send)) if send.key.as_ref().is_some_and(|key| key.len() > MAX_KEY) => {
                let why = format!("the key is longer than {MAX_KEY} bytes");
                Self::Bad { reference: Some(send.reference), why }
            }
            Ok(ClientFrame::Send(send)) => {
                let target = send.room.as_deref().map_or(Target::All, Target::Room);
                let delivery = native::delivery(target, from, send.data.get());
                Self::Send { reference: send.reference, room: send.room, key: send.key, delivery }
            }
            Err(error) => Self::Bad { reference: error.reference, why: error.why },
        }
    }
}

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
        self.server.metrics.requests.fetch_add(1, Relaxed);
        self.session.last_request_ms.store(self.server.sessions.now_ms(), Relaxed);
        let (reference, answer) = match request {
            Request::Join { reference, .. }
            | Request::Leave { reference, .. }
            | Request::Send { reference, .. }
                if self.server.rooms.refuses_all() =>
            {
                (Some(reference), Err(BrokerError::Unavailable.into()))
            }
            // Boxed: rare next to sends, and their futures are larger.
            Request::Join { reference, room, since } => {
                (Some(reference), Box::pin(self.join(reference, room, since)).await)
            }
            Request::Leave { reference, room } => (Some(reference), self.leave(reference, &room)),
            Request::Send { reference, room, key, delivery } => {
                (Some(reference), self.send(reference, room.as_deref(), key, delivery).await)
            }
            Request::Bad { reference, why } => (reference, Err(Refusal("bad_request", why))),
            Request::Goodbye(code) => {
                self.session.outbox.goodbye(code);
                return;
            }
        };
        if let Err(Refusal(code, message)) = answer {
            self.server.metrics.errors.fetch_add(1, Relaxed);
            self.session.outbox.push_text(&text(&ServerFrame::Error { reference, code, message: &message }));
        }
    }

    async fn join(&mut self, reference: u64, room: String, since: Option<Position>) -> Result<(), Refusal> {
        let channel = self.channel(&room)?;
        let limits = &self.server.config.limits;
        if self.channels.len() >= limits.rooms && !self.channels.contains(&channel) {
            let why = format!("a connection may be in {} rooms; leave one first", limits.rooms);
            return Err(Refusal("too_many_rooms", why));
        }
        let answer = |position, recovered| text(&ServerFrame::Ack { reference, position, recovered });
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

    fn leave(&mut self, reference: u64, room: &str) -> Result<(), Refusal> {
        let channel = self.channel(room)?;
        if !self.channels.remove(&channel) {
            return Err(not_in(room));
        }
        self.server.rooms.leave(&channel, &self.session.outbox, &ack(reference));
        Ok(())
    }

    async fn send(
        &mut self,
        reference: u64,
        room: Option<&str>,
        key: Option<String>,
        delivery: String,
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
        self.server.broker.publish(Publication { channel, text: delivery }, key, reply).await;
        Ok(())
    }
}

fn answer_send(outbox: &Arc<Outbox>, reference: u64, result: Result<Option<Position>, BrokerError>) {
    match result {
        Ok(None) => outbox.push_text(&ack(reference)),
        Ok(position) => {
            outbox.push_text(&text(&ServerFrame::Ack { reference, position, recovered: None }));
        }
        Err(error) => {
            let Refusal(code, message) = error.into();
            let reference = Some(reference);
            outbox.push_text(&text(&ServerFrame::Error { reference, code, message: &message }));
        }
    }
}

fn ack(reference: u64) -> String {
    format!(r#"{{"op":"ack","ref":{reference}}}"#)
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
