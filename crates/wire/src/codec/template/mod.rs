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
    /// The file's text.
    text: String,
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
    /// What stands before the room's name where it is heard.
    room_prefix: String,
    user: Option<Path>,
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

    pub(super) fn text(&self) -> &str {
        &self.text
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
                let room = format!("{}{room}", rule.room_prefix);
                let mut message = Value::Null;
                let parse = |json: &str| serde_json::from_str(json).expect("it was made as JSON");
                has.iter().for_each(|path| json::put(&mut message, path, true.into()));
                equals.iter().for_each(|(path, value)| json::put(&mut message, path, parse(value)));
                rule.room.iter().for_each(|path| json::put(&mut message, path, room.as_str().into()));
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
    /// The numbers of a join and of a leave without an answer: not every protocol says which one an answer is for.
    join: Option<u64>,
    leave: Option<u64>,
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
                self.join = Some(reference);
                (Some(&says.join), Fill { room, reference, ..Fill::default() })
            }
            Request::Leave { reference, room } => {
                self.leave = Some(reference);
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
        &mut self,
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
        &mut self,
        template: &Template,
        text: &str,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        for rule in &template.rules {
            if let Some(found) = rule.matches(text) {
                let event = self.event(rule, text, &found)?;
                let is_heard = event != Event::Other;
                sink(event);
                match rule.what {
                    What::Joined if is_heard => self.join = None,
                    What::Left if is_heard => self.leave = None,
                    _ => {}
                }
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
        let room = || {
            let room = value(Place::Room, &rule.room)?;
            Some(room.strip_prefix(rule.room_prefix.as_str()).unwrap_or(room))
        };
        // Others join and leave too, and some servers tell everybody.
        let is_own = || {
            let user = value(Place::User, &rule.user);
            room().is_none_or(|room| room == self.room)
                && user.is_none_or(|user| user.strip_prefix('u') == Some(&self.user.to_string()))
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
            What::Joined => self.join.filter(|_| is_own()).map_or(Event::Other, ack),
            What::Left => self.leave.filter(|_| is_own()).map_or(Event::Other, ack),
            What::Delivery => {
                let room = room().unwrap_or(&self.room);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Protocol;

    const SOCKETCLUSTER: &str = include_str!("../../../../../docs/templates/socketcluster.toml");
    const CENTRIFUGO: &str = include_str!("../../../../../docs/templates/centrifugo.toml");

    fn template(file: &str) -> Template {
        Template::parse(file).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a session says: at first, to join r1, to send "d" into it, to leave it.
    fn says(template: &Template) -> [String; 4] {
        let mut dialogue = Dialogue::new(7);
        let mut begin = String::new();
        dialogue.begin(template, &mut begin);
        let send = Request::Send { reference: 3, target: Target::Room("r1"), key: "k", data: "d" };
        let requests = [
            Request::Join { reference: 2, room: "r1", since: None },
            send,
            Request::Leave { reference: 4, room: "r1" },
        ];
        let [join, send, leave] = requests.map(|request| {
            let mut out = String::new();
            dialogue.ask(template, &request, &mut out);
            out
        });
        [begin, join, send, leave]
    }

    /// The events in a frame that a new session hears, shortened.
    fn hears(template: &Template, text: &str) -> String {
        hears_as(&mut Dialogue::new(7), template, text)
    }

    fn hears_as(dialogue: &mut Dialogue, template: &Template, text: &str) -> String {
        let mut events = Vec::new();
        let mut sink = |event: Event<'_>| {
            events.push(match event {
                Event::Hello(hello) => format!("hello {}", hello.node),
                Event::Ack { reference, .. } => format!("ack {reference}"),
                Event::Error { reference, code, .. } => format!("error {reference:?} {code}"),
                Event::Delivery { target: Target::Room(room), data, .. } => format!("{data} in {room}"),
                Event::Say(text) => format!("say {text}"),
                other => format!("{other:?}"),
            });
        };
        dialogue.hear(template, Frame::Text(text), &mut sink).expect("a frame");
        events.join(", ")
    }

    /// Presence of others confirmed joins and leaves once, and a leave that nobody asked for acked message 0.
    #[test]
    fn only_ones_own_joins_and_leaves_are_answers() {
        let presence = template(
            r#"
            name = "presence"
            [say]
            join = "JOIN {room}"
            leave = "LEAVE {room}"
            send = "SAY {room} {data}"
            [[hear]]
            is = "joined"
            json = { "/event" = "joined" }
            room = "/topic"
            room-prefix = "room:"
            user = "/user"
            [[hear]]
            is = "left"
            json = { "/event" = "left" }
            user = "/user"
            [[hear]]
            is = "delivery"
            has = ["/text"]
            room = "/topic"
            room-prefix = "room:"
            data = "/text"
            "#,
        );
        let mut dialogue = Dialogue::new(7);
        let mut check = |asked: Option<Request<'_>>, text: &str, expected: &str| {
            if let Some(request) = asked {
                dialogue.ask(&presence, &request, &mut String::new());
            }
            assert_eq!(hears_as(&mut dialogue, &presence, text), expected, "{text}");
        };
        let mine = r#"{"event":"joined","topic":"room:r1","user":"u7"}"#;
        check(None, mine, "Other");
        let join = Request::Join { reference: 10, room: "r1", since: None };
        check(Some(join), r#"{"event":"joined","topic":"room:r1","user":"u8"}"#, "Other");
        check(None, r#"{"event":"joined","topic":"room:r2","user":"u7"}"#, "Other");
        check(None, mine, "ack 10");
        check(None, mine, "Other");
        check(None, r#"{"topic":"room:r1","text":"d"}"#, "d in r1");
        check(None, r#"{"event":"left","user":"u7"}"#, "Other");
        let leave = Request::Leave { reference: 11, room: "r1" };
        check(Some(leave), r#"{"event":"left","user":"u8"}"#, "Other");
        check(None, r#"{"event":"left","user":"u7"}"#, "ack 11");
    }

    #[test]
    fn centrifugo_as_its_documents_write_it() {
        let centrifugo = template(CENTRIFUGO);
        assert_eq!(
            says(&centrifugo),
            [
                r#"{"id":4294967295,"connect":{}}"#,
                r#"{"id":2,"subscribe":{"channel":"r1"}}"#,
                r#"{"id":3,"publish":{"channel":"r1","data":{"message":"d"}}}"#,
                r#"{"id":4,"unsubscribe":{"channel":"r1"}}"#,
            ]
        );
        let check = |text: &str, expected: &str| assert_eq!(hears(&centrifugo, text), expected, "{text}");
        check(r#"{"id":4294967295,"connect":{"client":"c","ping":25,"pong":true}}"#, "hello ");
        check(r#"{"id":4294967295,"connect":{"client":"c","node":"n1"}}"#, "hello n1");
        let subscribed =
            r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"x7","offset":15}}"#;
        check(subscribed, "ack 2");
        check(r#"{"push":{"channel":"r1","pub":{"data":{"message":"d"},"offset":16}}}"#, "d in r1");
        check(
            r#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#,
            "error Some(3) permission denied",
        );
        check("{}", "say {}");
        check(r#"{"push":{"channel":"r1","join":{"info":{}}}}"#, "Other");
        let two = [r#"{"id":3,"publish":{}}"#, r#"{"push":{"channel":"r2","pub":{"data":{"message":"e"}}}}"#];
        check(&format!("{}\n", two.join("\n")), "ack 3, e in r2");
        let protocol = Protocol::Template(centrifugo.into());
        assert_eq!(protocol.after_close(Some(3500)), crate::codec::Comeback::Never);
        assert_ne!(protocol.after_close(Some(3012)), crate::codec::Comeback::Never);
    }

    /// verify/tests/others asks the server itself.
    #[test]
    fn socketcluster_as_its_server_speaks() {
        let socketcluster = template(SOCKETCLUSTER);
        assert_eq!(says(&socketcluster)[3], r##"{"event":"#unsubscribe","data":"r1","cid":4}"##);
        let check = |text: &str, expected: &str| assert_eq!(hears(&socketcluster, text), expected, "{text}");
        check(r#"{"rid":0,"data":{"id":"a","pingTimeout":30000,"isAuthenticated":false}}"#, "hello ");
        check(r#"{"rid":2}"#, "ack 2");
        check(r##"{"event":"#publish","data":{"channel":"r1","data":"d"}}"##, "d in r1");
        check(r#"{"rid":3,"error":{"message":"no","name":"BrokerError"}}"#, "error Some(3) BrokerError");
        check("", "say ");
    }

    #[test]
    fn what_a_template_writes_as_a_delivery_it_reads() {
        for file in [SOCKETCLUSTER, CENTRIFUGO] {
            let template = template(file);
            assert_eq!(hears(&template, &template.delivery("r9", r#""hi""#)), "hi in r9");
        }
    }

    #[test]
    fn rules_for_text_and_answers_without_a_number() {
        let lines = template(
            "name = 'lines'\n[say]\njoin = 'JOIN {room}'\nsend = 'SAY {data}'\n\
             [[hear]]\nis = 'joined'\ntext = 'OK {user}'\n[[hear]]\nis = 'delivery'\ntext = 'MSG {room} {data}'\n",
        );
        assert_eq!((lines.join_answers(), lines.send_answers()), (Answers::Always, Answers::Never));
        let mut dialogue = Dialogue::new(7);
        dialogue.ask(&lines, &Request::Join { reference: 5, room: "r1", since: None }, &mut String::new());
        let mut events = Vec::new();
        dialogue
            .hear(&lines, Frame::Text("OK u7"), &mut |event| events.push(format!("{event:?}")))
            .expect("fine");
        assert!(events[0].starts_with("Ack { reference: 5"), "{events:?}");
        assert_eq!(hears(&lines, "MSG r1 a b"), "a b in r1");
        assert_eq!(hears(&lines, "whatever"), "Other");
    }

    #[test]
    fn a_file_that_describes_no_protocol_is_told_why() {
        let check = |file: &str, why: &str| {
            let error = Template::parse(file).expect_err(file).to_string();
            assert!(error.contains(why), "{error}");
        };
        let says = "name = 'x'\n[say]\njoin = '{room}'\nsend = '{data}'\n";
        check("", "missing field `name`");
        check(says, "no rule that is a \"delivery\"");
        check("name = 'x'\n[say]\njoin = 'J'\nsend = '{data}'\n", "say.join: it has no place for {room}");
        check(&format!("{says}heartbeat = 'h'\n"), "belong together");
        check(&format!("{says}[[hear]]\nis = 'noise'\n"), "hear 1: \"noise\" is nothing that is heard");
        check(&format!("{says}[[hear]]\nis = 'delivery'\n"), "needs data");
        check(&format!("{says}[[hear]]\nis = 'ping'\ntext = ''\n"), "needs a reply");
        check(
            &format!("{says}[[hear]]\nis = 'ack'\ntext = '{{ref}}'\nhas = ['/x']\n"),
            "either for text or for JSON",
        );
    }
}
