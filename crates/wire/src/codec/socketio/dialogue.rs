//! One client's side of Socket.IO v5 over Engine.IO v4.

use super::{
    packet::{Engine, Kind, Packet},
    settings::{Listen, Settings},
};
use crate::{
    codec::{
        DecodeError,
        json::{self, Step},
        shape::{Fill, Shape},
    },
    message::{Event, Hello, Request, Target},
};

/// Events before the answer to the CONNECT that are kept: more than any server remembers of a session.
const MAX_EARLY: usize = 100_000;

/// What one session remembers, from packet to packet and from connection to connection.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    /// The session's number, which is its user's name.
    user: u32,
    /// The room of the session: most servers do not name it in what they deliver.
    room: String,
    /// Who may come back as who was there before.
    session: Option<Recovery>,
    /// What it was when this connection began.
    asked: bool,
    /// The server has said yes.
    is_connected: bool,
    /// It has, but not yet who it is.
    is_unnamed: Option<Hello>,
    /// Events that came before: what a recovered session missed comes even before the yes.
    early: Vec<(String, Vec<Vec<u8>>)>,
    /// A packet whose attachments are not all there.
    parts: Option<Box<Parts>>,
}

/// What a session is recovered by: https://socket.io/docs/v4/connection-state-recovery.
#[derive(Clone, Debug)]
struct Recovery {
    pid: String,
    /// Of the last packet that came.
    offset: String,
}

/// A packet that waits for attachments.
#[derive(Clone, Debug)]
struct Parts {
    text: String,
    missing: u32,
    attachments: Vec<Vec<u8>>,
}

impl Dialogue {
    pub(in crate::codec) fn new(user: u32) -> Self {
        Self { user, ..Self::default() }
    }

    /// A new connection: nothing of the last one counts but what recovers it.
    pub(in crate::codec) fn begin(&mut self) {
        self.parts = None;
        self.is_connected = false;
        self.is_unnamed = None;
        self.early.clear();
    }

    /// Appends the packet that carries `request`; the payload follows in a binary frame if it is returned.
    pub(in crate::codec) fn ask<'a>(
        &mut self,
        settings: &Settings,
        request: &Request<'a>,
        out: &mut String,
    ) -> Option<&'a str> {
        let (shape, fill) = match *request {
            Request::Join { reference, room, .. } => {
                room.clone_into(&mut self.room);
                (&settings.join.0, Fill { reference, room, ..Fill::default() })
            }
            Request::Leave { reference, room } => {
                let leave = settings.leave.as_ref()?;
                (&leave.0, Fill { reference, room, ..Fill::default() })
            }
            Request::Send { reference, target, key, data } => {
                let fill = Fill { reference, key, data, ..Fill::default() };
                match target {
                    Target::Room(room) => (&settings.send.0, Fill { room, ..fill }),
                    Target::All => (&settings.all.as_ref()?.0, fill),
                }
            }
        };
        let fill = Fill { user: self.user, ..fill };
        let attachment = match request {
            Request::Send { data, .. } if settings.binary => Some(*data),
            _ => None,
        };
        write_event(settings, shape, &fill, attachment.is_some(), out);
        attachment
    }

    /// Reads a text frame.
    pub(in crate::codec) fn hear(
        &mut self,
        settings: &Settings,
        text: &str,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        match Engine::parse(text).map_err(|error| malformed(&error))? {
            Engine::Open(_) => sink(Event::Say(&self.connect(settings))),
            Engine::Ping(probe) => {
                let mut pong = String::new();
                Engine::Pong(probe).write(&mut pong);
                sink(Event::Say(&pong));
            }
            Engine::Message(packet) if packet.namespace == settings.namespace => {
                if packet.attachments == 0 {
                    return self.packet(settings, &packet, &[], sink);
                }
                let parts =
                    Parts { text: text.to_owned(), missing: packet.attachments, attachments: Vec::new() };
                self.parts = Some(Box::new(parts));
            }
            Engine::Close | Engine::Pong(_) | Engine::Upgrade | Engine::Noop | Engine::Message(_) => {
                sink(Event::Other);
            }
        }
        Ok(())
    }

    /// Reads a binary frame, which is an attachment of the packet before it.
    pub(in crate::codec) fn hear_binary(
        &mut self,
        settings: &Settings,
        bytes: &[u8],
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        let parts = self.parts.as_mut().ok_or_else(|| malformed(&"a binary frame belongs to no packet"))?;
        parts.attachments.push(bytes.to_owned());
        parts.missing -= 1;
        if parts.missing > 0 {
            return Ok(());
        }
        let parts = self.parts.take().expect("it was there just now");
        match Engine::parse(&parts.text).map_err(|error| malformed(&error))? {
            Engine::Message(packet) => self.packet(settings, &packet, &parts.attachments, sink),
            _ => unreachable!("only messages have attachments"),
        }
    }

    /// The CONNECT packet, with what recovers the session if there was one.
    fn connect(&mut self, settings: &Settings) -> String {
        self.asked = self.session.is_some();
        let mut auth: serde_json::Map<_, _> =
            settings.auth.as_deref().and_then(|auth| serde_json::from_str(auth).ok()).unwrap_or_default();
        if let Some(Recovery { pid, offset }) = &self.session {
            auth.insert("pid".into(), pid.as_str().into());
            auth.insert("offset".into(), offset.as_str().into());
        }
        let data = if auth.is_empty() { String::new() } else { serde_json::Value::from(auth).to_string() };
        plain(settings, Kind::Connect, &data)
    }

    fn packet(
        &mut self,
        settings: &Settings,
        packet: &Packet<'_>,
        attachments: &[Vec<u8>],
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        match packet.kind {
            Kind::Connect => return self.connected(settings, packet.data, sink),
            Kind::ConnectError => {
                let why = field(packet.data, "message").unwrap_or(packet.data);
                return Err(DecodeError::Ended(format!("the server refused the CONNECT: {why}")));
            }
            Kind::Disconnect => {
                return Err(DecodeError::Ended("the server disconnected us from its namespace".into()));
            }
            Kind::Ack | Kind::BinaryAck => {
                let reference = packet.id.ok_or_else(|| malformed(&"an ack needs an id"))?;
                sink(answer(reference, packet.data));
            }
            Kind::Event | Kind::BinaryEvent if self.is_early(settings, packet.data) => {
                if self.early.len() == MAX_EARLY {
                    return Err(malformed(&"too many events came before the CONNECT was answered"));
                }
                self.early.push((packet.data.to_owned(), attachments.to_vec()));
            }
            Kind::Event | Kind::BinaryEvent => return self.event(settings, packet.data, attachments, sink),
        }
        Ok(())
    }

    fn is_early(&self, settings: &Settings, array: &str) -> bool {
        let names = || settings.node.as_ref().is_some_and(|node| node.event == name(array));
        !self.is_connected || self.is_unnamed.is_some() && !names()
    }

    fn connected(
        &mut self,
        settings: &Settings,
        data: &str,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        self.is_connected = true;
        let pid = field(data, "pid").filter(|_| settings.recovery);
        // The reference client's rule: the same pid again is the same session again.
        let recovered = pid.is_some() && pid == self.session.as_ref().map(|session| session.pid.as_str());
        if !recovered {
            self.session = pid.map(|pid| Recovery { pid: pid.to_owned(), offset: String::new() });
        }
        let hello = Hello { restored: self.asked.then_some(recovered), ..Hello::default() };
        let Some(node) = &settings.node else { return self.greet(settings, hello, sink) };
        // A server may say who it is even before it says yes.
        match self.early.iter().find(|(array, _)| name(array) == node.event) {
            Some((array, _)) => {
                let node = named(node, array)?;
                self.greet(settings, Hello { node, ..hello }, sink)
            }
            None => {
                self.is_unnamed = Some(hello);
                Ok(())
            }
        }
    }

    /// Says hello, and then what came before it.
    fn greet(
        &mut self,
        settings: &Settings,
        hello: Hello,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        sink(Event::Hello(hello));
        let early = std::mem::take(&mut self.early);
        // One that can't be read is no reason to lose those behind it.
        let mut wrong = None;
        for (array, attachments) in &early {
            wrong = wrong.or(self.event(settings, array, attachments, sink).err());
        }
        wrong.map_or(Ok(()), Err)
    }

    fn event(
        &mut self,
        settings: &Settings,
        array: &str,
        attachments: &[Vec<u8>],
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError> {
        let name = name(array);
        if name == settings.hear.event {
            let data = payload(value(&settings.hear, array)?, attachments)?;
            let room =
                settings.hear.room.as_ref().and_then(|path| json::at(array, path)).and_then(json::plain);
            let target = Target::Room(room.unwrap_or(&self.room));
            sink(Event::Delivery { target, position: None, data });
        } else if let Some(hear) = settings.hear_all.as_ref().filter(|hear| hear.event == name) {
            let data = payload(value(hear, array)?, attachments)?;
            sink(Event::Delivery { target: Target::All, position: None, data });
        } else if name == settings.gap && !name.is_empty() {
            let field = |key: &str| json::at(array, &[Step::Index(1), Step::Key(key.to_owned())]);
            // Whatever else an application calls so excuses nothing.
            sink(match (field("room").and_then(json::plain), field("all")) {
                (Some(room), _) => Event::Gap { target: Target::Room(room), position: None },
                (None, Some("true")) => Event::Gap { target: Target::All, position: None },
                (None, _) => Event::Other,
            });
        } else if let Some(listen) = settings.node.as_ref().filter(|node| node.event == name)
            && let Some(hello) = self.is_unnamed.take()
        {
            let node = named(listen, array)?;
            self.greet(settings, Hello { node, ..hello }, sink)?;
        } else {
            sink(Event::Other);
        }
        self.reach(array);
        Ok(())
    }

    /// Keeps the offset of an event, its last argument, where the session can be recovered.
    fn reach(&mut self, array: &str) {
        if let Some(session) = &mut self.session
            && let Some(offset) = json::last(array).and_then(json::plain)
        {
            offset.clone_into(&mut session.offset);
        }
    }
}

/// The frames before a server's first delivery.
pub(in crate::codec) fn greeting(settings: &Settings) -> Vec<String> {
    let hello = settings.node.as_ref().map(|node| node.write("", r#""canary""#));
    let connected = plain(settings, Kind::Connect, r#"{"sid":"canary"}"#);
    [connected].into_iter().chain(hello.map(|hello| plain(settings, Kind::Event, &hello))).collect()
}

/// A delivery as a server writes it; `data` is JSON.
pub(in crate::codec) fn delivery(settings: &Settings, room: &str, data: &str) -> String {
    plain(settings, Kind::Event, &settings.hear.write(room, data))
}

fn plain(settings: &Settings, kind: Kind, data: &str) -> String {
    let packet = Packet { kind, attachments: 0, namespace: &settings.namespace, id: None, data };
    let mut text = String::new();
    Engine::Message(packet).write(&mut text);
    text
}

fn write_event(settings: &Settings, shape: &Shape, fill: &Fill<'_>, binary: bool, out: &mut String) {
    let kind = if binary { Kind::BinaryEvent } else { Kind::Event };
    let id = settings.acks.then_some(fill.reference);
    let packet =
        Packet { kind, attachments: u32::from(binary), namespace: &settings.namespace, id, data: "" };
    // The array is written behind it: so it is written once.
    Engine::Message(packet).write(out);
    shape.write(fill, out);
}

/// The name of the event in an array.
fn name(array: &str) -> &str {
    json::at(array, &[Step::Index(0)]).and_then(json::plain).unwrap_or_default()
}

/// What an event has where its value stands.
fn value<'a>(listen: &Listen, array: &'a str) -> Result<&'a str, DecodeError> {
    json::at(array, &listen.value)
        .ok_or_else(|| malformed(&format!("a {} event has nothing where its value should be", listen.event)))
}

/// The replica that an event names.
fn named(listen: &Listen, array: &str) -> Result<String, DecodeError> {
    Ok(json::unquoted(value(listen, array)?).to_owned())
}

/// What an ack says: an application that refuses says so in its first argument.
fn answer(reference: u64, array: &str) -> Event<'_> {
    let first = json::at(array, &[Step::Index(0)]).unwrap_or_default();
    let error = field(first, "error").filter(|error| *error != "null" && *error != "false");
    let is_refused = error.is_some() || json::at(first, &[Step::Key("ok".into())]) == Some("false");
    match is_refused {
        true => Event::Error {
            reference: Some(reference),
            code: error.unwrap_or("refused"),
            outcome_unknown: error == Some(crate::codec::native::OUTCOME_UNKNOWN),
        },
        false => Event::Ack { reference, position: None, recovered: None },
    }
}

/// A payload's text: a string, or the attachment that a placeholder stands for.
fn payload<'a>(value: &'a str, attachments: &'a [Vec<u8>]) -> Result<&'a str, DecodeError> {
    if attachments.is_empty() || !value.starts_with('{') {
        return Ok(json::unquoted(value));
    }
    let number = json::at(value, &[Step::Key("num".into())]).and_then(|number| number.parse::<usize>().ok());
    let bytes = number.and_then(|number| attachments.get(number));
    let bytes = bytes.ok_or_else(|| malformed(&"a placeholder stands for no attachment"))?;
    // Bytes that are no text are nobody's payload, and that is told where stamps are read.
    Ok(std::str::from_utf8(bytes).unwrap_or_default())
}

/// What stands at `key` of an object.
fn field<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    json::at(json, &[Step::Key(key.to_owned())]).map(json::unquoted)
}

fn malformed(why: &dyn std::fmt::Display) -> DecodeError {
    DecodeError::malformed("socketio", why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{codec::socketio::Typed, message::Position};

    fn settings(typed: &[&str]) -> Settings {
        let mut all = Typed::default();
        typed.iter().for_each(|setting| all.set(setting).expect("a setting"));
        all.resolve().expect("settings")
    }

    /// What a text frame brings, as `Debug` writes it.
    fn hear(dialogue: &mut Dialogue, settings: &Settings, text: &str) -> Result<Vec<String>, DecodeError> {
        let mut events = Vec::new();
        dialogue.hear(settings, text, &mut |event| events.push(format!("{event:?}")))?;
        Ok(events)
    }

    /// Connected, and in room r1.
    fn in_room(settings: &Settings) -> Dialogue {
        let mut dialogue = Dialogue { is_connected: true, ..Dialogue::new(7) };
        let join = Request::Join { reference: 12, room: "r1", since: None::<&Position> };
        dialogue.ask(settings, &join, &mut String::new());
        dialogue
    }

    fn say(settings: &Settings, request: &Request<'_>) -> String {
        let mut text = String::new();
        Dialogue::new(7).ask(settings, request, &mut text);
        text
    }

    #[test]
    fn requests_are_the_applications_events() {
        let default = Settings::default();
        let send = |target| Request::Send { reference: 3, target, key: "k", data: "hi" };
        assert_eq!(
            say(&default, &Request::Join { reference: 12, room: "r1", since: None }),
            r#"4212["joinRoom",{"room":"r1"}]"#
        );
        assert_eq!(
            say(&default, &send(Target::Room("r1"))),
            r#"423["message",{"userId":"u7","room":"r1","message":"hi"}]"#
        );
        assert_eq!(say(&default, &send(Target::All)), r#"423["all",{"message":"hi"}]"#);
        let other = settings(&[
            "namespace=/chat",
            "acks=no",
            r#"send=say "{room}","{data}""#,
            "leave=bye {\"r\":\"{room}\"}",
        ]);
        assert_eq!(say(&other, &send(Target::Room("r1"))), r#"42/chat,["say","r1","hi"]"#);
        assert_eq!(
            say(&other, &Request::Leave { reference: 1, room: "r1" }),
            r#"42/chat,["bye",{"r":"r1"}]"#
        );
        let binary = settings(&["binary=yes"]);
        assert_eq!(
            say(&binary, &send(Target::All)),
            r#"451-3["all",{"message":{"_placeholder":true,"num":0}}]"#
        );
    }

    #[test]
    fn a_connection_begins_with_open_and_connect() {
        let settings = settings(&[r#"auth={"token":"x"}"#]);
        let mut dialogue = Dialogue::new(7);
        let open =
            r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        let said = hear(&mut dialogue, &settings, open).expect("open");
        assert_eq!(said, [r#"Say("40{\"token\":\"x\"}")"#]);
        let hello = hear(&mut dialogue, &settings, r#"40{"sid":"b"}"#).expect("connect");
        assert!(hello[0].starts_with("Hello("), "{hello:?}");
        assert_eq!(hear(&mut dialogue, &settings, "2").expect("ping"), [r#"Say("3")"#]);
        assert_eq!(
            hear(&mut dialogue, &settings, r#"44{"message":"no"}"#),
            Err(DecodeError::Ended("the server refused the CONNECT: no".into()))
        );
    }

    #[test]
    fn deliveries_name_their_room_or_mean_the_sessions() {
        let settings = Settings::default();
        let mut dialogue = in_room(&settings);
        let mut check = |text: &str, target: &str| {
            let heard = hear(&mut dialogue, &settings, text).expect(text);
            assert_eq!(heard, [format!("Delivery {{ target: {target}, position: None, data: \"hi\" }}")]);
        };
        check(r#"42["message",{"userId":"u","message":"hi"}]"#, r#"Room("r1")"#);
        check(r#"42["message",{"message":"hi","room":"other"}]"#, r#"Room("other")"#);
        check(r#"42["all",{"message":"hi"}]"#, "All");
        assert_eq!(
            hear(&mut dialogue, &settings, r#"42["typing",{"message":"hi"}]"#).expect("other"),
            ["Other"]
        );
        assert!(hear(&mut dialogue, &settings, r#"42["message",{"text":"hi"}]"#).is_err());
    }

    #[test]
    fn a_gap_is_of_a_room_or_of_all() {
        let settings = Settings::default();
        let mut dialogue = in_room(&settings);
        let mut check = |text: &str, target: &str| {
            let heard = hear(&mut dialogue, &settings, text).expect(text);
            assert_eq!(heard, [format!("Gap {{ target: {target}, position: None }}")]);
        };
        check(r#"42["gap",{"room":"r1"}]"#, r#"Room("r1")"#);
        check(r#"42["gap",{"all":true}]"#, "All");
        let other = r#"42["gap",{"width":3}]"#;
        assert_eq!(hear(&mut dialogue, &settings, other).expect("other"), ["Other"]);
    }

    #[test]
    fn acks_say_yes_or_no() {
        let settings = Settings::default();
        let mut dialogue = Dialogue::new(7);
        let mut check = |text: &str, starts: &str| {
            let heard = hear(&mut dialogue, &settings, text).expect(text);
            assert!(heard[0].starts_with(starts), "{text}: {heard:?}");
        };
        check(r#"4312[{"ok":true}]"#, "Ack { reference: 12");
        check("4312[]", "Ack { reference: 12");
        check(r#"4312[{"ok":true,"error":null}]"#, "Ack { reference: 12");
        check(r#"4312[{"ok":false,"error":"full"}]"#, r#"Error { reference: Some(12), code: "full""#);
        check(r#"4312[{"ok":false}]"#, r#"Error { reference: Some(12), code: "refused""#);
    }

    #[test]
    fn attachments_are_put_where_their_placeholders_stand() {
        let settings = Settings::default();
        let mut dialogue = in_room(&settings);
        let text =
            r#"452-["message",{"x":{"_placeholder":true,"num":0},"message":{"_placeholder":true,"num":1}}]"#;
        assert_eq!(hear(&mut dialogue, &settings, text).expect("its text"), Vec::<String>::new());
        let mut events = Vec::new();
        let mut sink = |event: Event<'_>| events.push(format!("{event:?}"));
        dialogue.hear_binary(&settings, b"no", &mut sink).expect("the first");
        dialogue.hear_binary(&settings, b"hi", &mut sink).expect("the second");
        assert_eq!(events, [r#"Delivery { target: Room("r1"), position: None, data: "hi" }"#]);
        assert!(dialogue.hear_binary(&settings, b"hi", &mut |_| {}).is_err());
    }

    #[test]
    fn a_session_is_asked_back_by_pid_and_offset() {
        let settings = Settings::default();
        let mut dialogue = in_room(&settings);
        let restored = |dialogue: &mut Dialogue, text: &str| {
            let mut seen = None;
            let mut sink = |event: Event<'_>| {
                if let Event::Hello(hello) = event {
                    seen = Some(hello.restored);
                }
            };
            dialogue.hear(&settings, text, &mut sink).expect(text);
            seen.expect("a hello")
        };
        hear(&mut dialogue, &settings, "0{}").expect("open");
        assert_eq!(restored(&mut dialogue, r#"40{"sid":"a","pid":"p"}"#), None);
        hear(&mut dialogue, &settings, r#"42["message",{"message":"hi"},"7-1"]"#).expect("a delivery");
        dialogue.begin();
        let said = hear(&mut dialogue, &settings, "0{}").expect("open");
        assert_eq!(said, [r#"Say("40{\"offset\":\"7-1\",\"pid\":\"p\"}")"#]);
        assert_eq!(restored(&mut dialogue, r#"40{"sid":"a","pid":"p"}"#), Some(true));
        dialogue.begin();
        hear(&mut dialogue, &settings, "0{}").expect("open");
        assert_eq!(restored(&mut dialogue, r#"40{"sid":"b","pid":"q"}"#), Some(false));
        dialogue.begin();
        let missed = r#"42["message",{"message":"hi"},"7-2"]"#;
        assert!(hear(&mut dialogue, &settings, missed).expect("a delivery").is_empty(), "it has to wait");
        let heard = hear(&mut dialogue, &settings, r#"40{"sid":"b","pid":"q"}"#).expect("connect");
        assert!(heard[0].starts_with("Hello(") && heard[1].starts_with("Delivery"), "{heard:?}");
        dialogue.begin();
        for text in [r#"42["message",{"text":"no data"}]"#, missed] {
            assert!(hear(&mut dialogue, &settings, text).expect("it waits").is_empty());
        }
        let mut deliveries = 0;
        let read = dialogue.hear(&settings, r#"40{"sid":"b","pid":"q"}"#, &mut |event| {
            deliveries += u32::from(matches!(event, Event::Delivery { .. }));
        });
        assert!(read.is_err(), "the first is told");
        assert_eq!(deliveries, 1, "and the second is heard all the same");
        let no = Typed { recovery: Some("no".into()), ..Typed::default() }.resolve().expect("settings");
        let mut dialogue = in_room(&no);
        hear(&mut dialogue, &no, r#"40{"sid":"a","pid":"p"}"#).expect("connect");
        dialogue.begin();
        assert_eq!(hear(&mut dialogue, &no, "0{}").expect("open"), [r#"Say("40")"#]);
    }

    #[test]
    fn a_replica_may_be_named_before_the_connect_is_answered() {
        let settings = settings(&[r#"node=welcome {"node":"{data}"}"#]);
        let mut dialogue = Dialogue::new(7);
        assert_eq!(hear(&mut dialogue, &settings, r#"42["welcome",{"node":"app-1"}]"#), Ok(vec![]));
        let events = hear(&mut dialogue, &settings, r#"40{"sid":"x"}"#).expect("fine");
        assert_eq!(events.len(), 2, "{events:?}");
        assert!(events[0].starts_with("Hello") && events[0].contains("app-1"), "{events:?}");
        assert_eq!(events[1], "Other");
    }

    #[test]
    fn a_server_may_name_itself_by_an_event() {
        let settings = settings(&[r#"node=hello {"node":"{data}"}"#]);
        let mut dialogue = Dialogue::new(7);
        assert!(hear(&mut dialogue, &settings, r#"40{"sid":"b"}"#).expect("connect").is_empty());
        let hello = hear(&mut dialogue, &settings, r#"42["hello",{"node":"app-2"}]"#).expect("hello");
        assert!(hello[0].contains(r#"node: "app-2""#), "{hello:?}");
    }

    #[test]
    fn a_servers_delivery_is_heard_as_one() {
        for typed in [vec![], vec!["namespace=/x"], vec![r#"hear=chat "{room}", {"m":["{data}"]}"#]] {
            let settings = settings(&typed);
            let text = delivery(&settings, "r9", r#""hi""#);
            let heard = hear(&mut in_room(&settings), &settings, &text).expect("a delivery");
            assert!(heard[0].contains(r#"data: "hi""#), "{text}: {heard:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_is_delivered(room in "[a-z0-9-]{1,12}", data in "[ -~é]{0,40}") {
            let settings = Settings::default();
            let send = Request::Send { reference: 5, target: Target::Room(&room), key: "k", data: &data };
            // A server that hands the argument on as it is.
            let said = say(&settings, &send).replacen("425[", "42[", 1);
            let mut dialogue = in_room(&settings);
            let mut heard = None;
            dialogue.hear(&settings, &said, &mut |event| {
                if let Event::Delivery { target: Target::Room(room), data, .. } = event {
                    heard = Some((room.to_owned(), data.to_owned()));
                }
            }).expect("a delivery");
            let json = serde_json::to_string(&data).expect("JSON");
            prop_assert_eq!(heard, Some((room, json::unquoted(&json).to_owned())));
        }

        #[test]
        fn garbage_is_told_and_survived(frames in prop::collection::vec(("[0-9]{0,3}-?(/x,)?[\\[\\]{}\":,a-m0-9é]{0,30}", any::<bool>()), 0..8)) {
            let settings = Settings::default();
            let mut dialogue = in_room(&settings);
            for (text, binary) in frames {
                let mut sink = |_: Event<'_>| {};
                let _ = match binary {
                    true => dialogue.hear_binary(&settings, text.as_bytes(), &mut sink),
                    false => dialogue.hear(&settings, &text, &mut sink),
                };
            }
        }
    }
}
