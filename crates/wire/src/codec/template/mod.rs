//! A protocol that a file describes: what to say to join, leave and send, and by which rules to hear the answers.
//!
//! docs/protocols.md says how such a file is written.

mod file;

use std::time::Duration;

use serde_json::Value;

use super::{
    Answers, DecodeError, Frame,
    json::{self, Path},
    shape::{Fill, Place, Shape},
};
use crate::message::{Event, Hello, Request, Target};
pub use file::TemplateError;

/// A protocol, as its file describes it.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    path: String,
    subprotocol: Option<String>,
    /// Between the messages of a frame.
    separator: Option<String>,
    /// Close codes after which nobody comes back.
    final_codes: Vec<u16>,
    says: Says,
    /// The first one that a message matches counts.
    rules: Vec<Rule>,
}

/// What a client says.
#[derive(Clone, Debug)]
struct Says {
    connect: Option<Shape>,
    join: Shape,
    leave: Option<Shape>,
    send: Shape,
    all: Option<Shape>,
    /// With its period in seconds.
    heartbeat: Option<(String, u64)>,
}

/// What a message is, if it looks like this.
#[derive(Clone, Debug)]
struct Rule {
    what: What,
    place: Where,
    reference: Option<Path>,
    room: Option<Path>,
    data: Option<Path>,
    node: Option<Path>,
    code: Option<Path>,
    reply: Option<String>,
}

/// How a message is told from others.
#[derive(Clone, Debug)]
enum Where {
    Text(Shape),
    Json { equals: Vec<(Path, String)>, has: Vec<Path>, lacks: Vec<Path> },
}

/// What a message can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Hello,
    Ack,
    Joined,
    Left,
    Delivery,
    ToAll,
    Refusal,
    Ping,
}

impl What {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Hello, "hello"),
        (Self::Ack, "ack"),
        (Self::Joined, "joined"),
        (Self::Left, "left"),
        (Self::Delivery, "delivery"),
        (Self::ToAll, "delivery-to-all"),
        (Self::Refusal, "error"),
        (Self::Ping, "ping"),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(what, _)| what)
    }

    fn names() -> String {
        Self::ALL.map(|(_, name)| name).join(", ")
    }
}

impl Template {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        file::parse(text)
    }

    /// How often a client says something to stay alive, and what.
    #[must_use]
    pub fn heartbeat(&self) -> Option<(&str, Duration)> {
        self.says.heartbeat.as_ref().map(|(text, seconds)| (text.as_str(), Duration::from_secs(*seconds)))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    pub(super) fn can_leave(&self) -> bool {
        self.says.leave.is_some()
    }

    pub(super) fn can_send_to_all(&self) -> bool {
        self.says.all.is_some() && self.hears(What::ToAll)
    }

    pub(super) fn has_hello(&self) -> bool {
        self.hears(What::Hello)
    }

    pub(super) fn is_final(&self, code: u16) -> bool {
        self.final_codes.contains(&code)
    }

    pub(super) fn join_answers(&self) -> Answers {
        let by_number = self.hears(What::Ack) && self.says.join.has(Place::Reference);
        if by_number || self.hears(What::Joined) { Answers::Always } else { Answers::Never }
    }

    pub(super) fn send_answers(&self) -> Answers {
        let by_number = self.hears(What::Ack) && self.says.send.has(Place::Reference);
        if by_number { Answers::Always } else { Answers::Never }
    }

    /// A delivery that the first rule for one takes for one; `data` is JSON.
    pub(super) fn delivery(&self, room: &str, data: &str) -> String {
        let rule = self.rules.iter().find(|rule| rule.what == What::Delivery).expect("a template has one");
        match &rule.place {
            Where::Text(shape) => {
                let mut text = String::new();
                shape.write(&Fill { room, data: json::unquoted(data), ..Fill::default() }, &mut text);
                text
            }
            Where::Json { equals, has, .. } => {
                let mut message = Value::Null;
                let parse = |json: &str| serde_json::from_str(json).expect("it was made as JSON");
                has.iter().for_each(|path| json::put(&mut message, path, true.into()));
                equals.iter().for_each(|(path, value)| json::put(&mut message, path, parse(value)));
                rule.room.iter().for_each(|path| json::put(&mut message, path, room.into()));
                rule.data.iter().for_each(|path| json::put(&mut message, path, parse(data)));
                message.to_string()
            }
        }
    }

    fn hears(&self, what: What) -> bool {
        self.rules.iter().any(|rule| rule.what == what)
    }
}

/// What one session remembers.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    user: u32,
    room: String,
    /// The number of the last join and of the last leave: not every protocol says which one an answer is for.
    join: u64,
    leave: u64,
}

impl Dialogue {
    pub(super) fn new(user: u32) -> Self {
        Self { user, ..Self::default() }
    }

    pub(super) fn begin(&self, template: &Template, out: &mut String) {
        if let Some(connect) = &template.says.connect {
            connect.write(&Fill { user: self.user, ..Fill::default() }, out);
        }
    }

    pub(super) fn ask(&mut self, template: &Template, request: &Request<'_>, out: &mut String) {
        let says = &template.says;
        let user = self.user;
        let (shape, fill) = match *request {
            Request::Join { reference, room, .. } => {
                room.clone_into(&mut self.room);
                self.join = reference;
                (Some(&says.join), Fill { room, reference, ..Fill::default() })
            }
            Request::Leave { reference, room } => {
                self.leave = reference;
                (says.leave.as_ref(), Fill { room, reference, ..Fill::default() })
            }
            Request::Send { reference, target: Target::Room(room), key, data } => {
                (Some(&says.send), Fill { room, reference, key, data, ..Fill::default() })
            }
            Request::Send { reference, target: Target::All, key, data } => {
                (says.all.as_ref(), Fill { reference, key, data, ..Fill::default() })
            }
        };
        if let Some(shape) = shape {
            shape.write(&Fill { user, ..fill }, out);
        }
    }

    pub(super) fn hear(
        &self,
        template: &Template,
        frame: Frame<'_>,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        let text = match frame {
            Frame::Text(text) => text,
            Frame::Binary(bytes) => std::str::from_utf8(bytes).map_err(|error| malformed(&error))?,
        };
        match &template.separator {
            None => self.message(template, text, sink),
            Some(separator) => {
                let messages = text.split(separator.as_str()).filter(|message| !message.is_empty());
                messages.into_iter().try_for_each(|message| self.message(template, message, sink))
            }
        }
    }

    fn message(
        &self,
        template: &Template,
        text: &str,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        for rule in &template.rules {
            if let Some(found) = rule.matches(text) {
                sink(self.event(rule, text, &found)?);
                return Ok(());
            }
        }
        sink(Event::Other);
        Ok(())
    }

    fn event<'a>(
        &'a self,
        rule: &'a Rule,
        text: &'a str,
        found: &[(Place, &'a str)],
    ) -> Result<Event<'a>, DecodeError> {
        let value = |place: Place, path: &Option<Path>| {
            let captured = found.iter().find(|(here, _)| *here == place).map(|(_, value)| *value);
            captured.or_else(|| json::at(text, path.as_ref()?).map(json::unquoted))
        };
        let data = || {
            value(Place::Data, &rule.data)
                .ok_or_else(|| malformed(&format!("a delivery without data: {text}")))
        };
        let reference = || value(Place::Reference, &rule.reference).and_then(|number| number.parse().ok());
        let ack = |reference| Event::Ack { reference, position: None, recovered: None };
        Ok(match rule.what {
            What::Hello => Event::Hello(Hello {
                node: rule
                    .node
                    .as_ref()
                    .and_then(|path| json::at(text, path))
                    .map(json::unquoted)
                    .unwrap_or_default()
                    .into(),
                ..Hello::default()
            }),
            What::Ack => {
                ack(reference().ok_or_else(|| malformed(&format!("an ack without a number: {text}")))?)
            }
            What::Joined => ack(self.join),
            What::Left => ack(self.leave),
            What::Delivery => {
                let room = value(Place::Room, &rule.room).unwrap_or(&self.room);
                Event::Delivery { target: Target::Room(room), position: None, data: data()? }
            }
            What::ToAll => Event::Delivery { target: Target::All, position: None, data: data()? },
            What::Refusal => {
                let code = rule.code.as_ref().and_then(|path| json::at(text, path)).map(json::unquoted);
                Event::Error {
                    reference: reference(),
                    code: code.unwrap_or("refused"),
                    outcome_unknown: false,
                }
            }
            What::Ping => Event::Say(rule.reply.as_deref().unwrap_or_default()),
        })
    }
}

impl Rule {
    /// What was captured, if it matches.
    fn matches<'a>(&self, text: &'a str) -> Option<Vec<(Place, &'a str)>> {
        match &self.place {
            Where::Text(shape) => shape.read(text),
            Where::Json { equals, has, lacks } => {
                let is_there = |path: &Path| json::at(text, path).is_some();
                let is_so = equals.iter().all(|(path, value)| json::at(text, path) == Some(value))
                    && has.iter().all(is_there)
                    && !lacks.iter().any(is_there);
                is_so.then(Vec::new)
            }
        }
    }

    /// Whether a message tells what belongs in this place: by the shape of a text, or where a pointer leads.
    fn tells(&self, place: Place, points: bool) -> bool {
        match &self.place {
            Where::Text(shape) => shape.has(place),
            Where::Json { .. } => points,
        }
    }
}

fn malformed(why: &dyn std::fmt::Display) -> DecodeError {
    DecodeError::malformed("template", why)
}
