//! What an application makes of Socket.IO: the names of its events and the shapes of their arguments.

use serde::Deserialize;
use serde_json::Value;

use crate::codec::{
    Answers,
    json::{self, Path, Step},
    shape::{Place, Shape},
};

/// How the servers' application speaks. The defaults are those of the chat server that Socket.IO's users begin with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What they were made of.
    typed: Typed,
    pub(super) namespace: String,
    /// JSON that goes with the CONNECT.
    pub(super) auth: Option<String>,
    pub(super) join: Call,
    pub(super) leave: Option<Call>,
    pub(super) send: Call,
    pub(super) all: Option<Call>,
    pub(super) hear: Listen,
    pub(super) hear_all: Option<Listen>,
    /// The event by which a server says that messages may be lost: of the room that it names, or to all.
    pub(super) gap: String,
    pub(super) node: Option<Listen>,
    /// Whether requests ask for an ack.
    pub(super) acks: bool,
    /// Whether a lost connection asks for its session back.
    pub(super) recovery: bool,
    /// Whether payloads go as attachments.
    pub(super) binary: bool,
}

/// An event that we emit.
#[derive(Clone, Debug)]
pub(super) struct Call(pub(super) Shape);

/// An event that we hear.
#[derive(Clone, Debug)]
pub(super) struct Listen {
    pub(super) event: String,
    /// Where its value stands in the array of name and arguments: the payload, or the replica's name.
    pub(super) value: Path,
    pub(super) room: Option<Path>,
}

/// The settings by name, as typed or from a file; what is not named is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Typed {
    /// The namespace to connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// JSON to send with the CONNECT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    /// The event that joins a room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<String>,
    /// The event that leaves a room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leave: Option<String>,
    /// The event that sends into a room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// The event that sends to everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<String>,
    /// The event by which a room's message arrives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hear: Option<String>,
    /// The event by which a message to everyone arrives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hear_all: Option<String>,
    /// The event by which a server says who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The event by which a server says that messages may be lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
    /// Whether the application acks, `yes` or `no`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acks: Option<String>,
    /// Whether a session is to be recovered, `yes` or `no`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<String>,
    /// Whether payloads are binary, `yes` or `no`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary: Option<String>,
}

/// A setting that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("socketio {name}: {why}")]
pub struct SettingError {
    name: &'static str,
    why: String,
}

impl Typed {
    /// The names of all settings.
    pub const NAMES: [&str; 13] = [
        "namespace",
        "auth",
        "join",
        "leave",
        "send",
        "all",
        "hear",
        "hear-all",
        "gap",
        "node",
        "acks",
        "recovery",
        "binary",
    ];

    /// Takes `name=value`.
    ///
    /// # Errors
    /// There is no such setting.
    pub fn set(&mut self, setting: &str) -> Result<(), String> {
        let wrong = || format!("{setting:?} is no setting; there are {}", Self::NAMES.join(", "));
        let (name, value) = setting.split_once('=').ok_or_else(wrong)?;
        let place = match name.trim() {
            "namespace" => &mut self.namespace,
            "auth" => &mut self.auth,
            "join" => &mut self.join,
            "leave" => &mut self.leave,
            "send" => &mut self.send,
            "all" => &mut self.all,
            "hear" => &mut self.hear,
            "hear-all" => &mut self.hear_all,
            "gap" => &mut self.gap,
            "node" => &mut self.node,
            "acks" => &mut self.acks,
            "recovery" => &mut self.recovery,
            "binary" => &mut self.binary,
            _ => return Err(wrong()),
        };
        *place = Some(value.trim().to_owned());
        Ok(())
    }

    /// These settings, and `others` where these say nothing.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            namespace: self.namespace.or(others.namespace),
            auth: self.auth.or(others.auth),
            join: self.join.or(others.join),
            leave: self.leave.or(others.leave),
            send: self.send.or(others.send),
            all: self.all.or(others.all),
            hear: self.hear.or(others.hear),
            hear_all: self.hear_all.or(others.hear_all),
            gap: self.gap.or(others.gap),
            node: self.node.or(others.node),
            acks: self.acks.or(others.acks),
            recovery: self.recovery.or(others.recovery),
            binary: self.binary.or(others.binary),
        }
    }

    /// Resolves them.
    ///
    /// # Errors
    /// A setting that can't be, by its name.
    pub fn resolve(&self) -> Result<Settings, SettingError> {
        let binary = switch("binary", self.binary.as_deref(), false)?;
        let call = |name, typed: &Option<String>, default: &str, places: &[Place]| {
            Call::new(name, typed.as_deref().unwrap_or(default), places, binary)
        };
        let listen = |name, typed: &Option<String>, default: &str| {
            Listen::new(name, typed.as_deref().unwrap_or(default), Place::Data)
        };
        // An empty one says that there is none.
        let is_none = |typed: &Option<String>| typed.as_deref() == Some("");
        let namespace = self.namespace.clone().unwrap_or_else(|| "/".into());
        if !namespace.starts_with('/') || namespace.contains(',') {
            return Err(wrong("namespace", format!("{namespace:?} does not look like /admin")));
        }
        if let Some(auth) = &self.auth {
            let is_object = serde_json::from_str(auth).is_ok_and(|auth: Value| auth.is_object());
            if !is_object {
                return Err(wrong("auth", format!("{auth} is no JSON object like {{\"token\":\"..\"}}")));
            }
        }
        let leave = self.leave.as_ref().filter(|leave| !leave.is_empty());
        let settings = Settings {
            typed: self.clone(),
            namespace,
            auth: self.auth.clone(),
            join: call("join", &self.join, r#"joinRoom {"room":"{room}"}"#, &[Place::Room])?,
            leave: leave.map(|leave| Call::new("leave", leave, &[Place::Room], false)).transpose()?,
            send: call(
                "send",
                &self.send,
                r#"message {"userId":"{user}","room":"{room}","message":"{data}"}"#,
                &[Place::Room, Place::Data],
            )?,
            all: match is_none(&self.all) {
                true => None,
                false => Some(call("all", &self.all, r#"all {"message":"{data}"}"#, &[Place::Data])?),
            },
            hear: listen("hear", &self.hear, r#"message {"room":"{room}","message":"{data}"}"#)?,
            hear_all: match is_none(&self.hear_all) {
                true => None,
                false => Some(listen("hear-all", &self.hear_all, r#"all {"message":"{data}"}"#)?),
            },
            gap: self.gap.clone().unwrap_or_else(|| "gap".into()),
            node: self.node.as_deref().map(|node| Listen::new("node", node, Place::Data)).transpose()?,
            acks: switch("acks", self.acks.as_deref(), true)?,
            recovery: switch("recovery", self.recovery.as_deref(), true)?,
            binary,
        };
        settings.check_names()?;
        Ok(settings)
    }
}

impl Settings {
    /// What is heard is told apart by the event's name alone.
    fn check_names(&self) -> Result<(), SettingError> {
        let heard = [
            ("hear", Some(self.hear.event.as_str())),
            ("hear-all", self.hear_all.as_ref().map(|hear| hear.event.as_str())),
            ("gap", Some(self.gap.as_str())),
            ("node", self.node.as_ref().map(|node| node.event.as_str())),
        ];
        for (place, (name, event)) in heard.iter().enumerate() {
            let same = heard[..place].iter().find(|(_, other)| event.is_some() && other == event);
            if let Some((other, _)) = same {
                return Err(wrong(
                    name,
                    format!("it has the same event as {other}, and nobody could tell them apart"),
                ));
            }
        }
        Ok(())
    }

    pub(in crate::codec) fn answers(&self) -> Answers {
        if self.acks { Answers::Perhaps } else { Answers::Never }
    }

    pub(in crate::codec) fn can_leave(&self) -> bool {
        self.leave.is_some()
    }

    pub(in crate::codec) fn can_send_to_all(&self) -> bool {
        self.all.is_some() && self.hear_all.is_some()
    }
}

impl Settings {
    /// What they were made of.
    pub(in crate::codec) fn typed(&self) -> &Typed {
        &self.typed
    }
}

impl Default for Settings {
    fn default() -> Self {
        Typed::default().resolve().expect("the defaults are right")
    }
}

impl Call {
    fn new(name: &'static str, typed: &str, places: &[Place], binary: bool) -> Result<Self, SettingError> {
        let mut array = array(name, typed)?;
        if let Some(place) = places.iter().find(|place| !array.contains(place.name())) {
            return Err(wrong(name, format!("{typed} has no place for {}", place.name())));
        }
        if binary && array.contains("{data}") {
            let with = array.replacen(r#""{data}""#, r#"{"_placeholder":true,"num":0}"#, 1);
            if with.contains("{data}") {
                return Err(wrong(
                    name,
                    format!("binary: {typed} has no {{data}} alone in its string, or several"),
                ));
            }
            array = with;
        }
        Ok(Self(Shape::new(&array)))
    }
}

impl Listen {
    fn new(name: &'static str, typed: &str, value: Place) -> Result<Self, SettingError> {
        let shape = Shape::new(&array(name, typed)?);
        let path = shape.path(value).ok_or_else(|| {
            wrong(name, format!("{typed} has no {} in quotes, alone in its string", value.name()))
        })?;
        let event = typed.split_whitespace().next().unwrap_or_default().to_owned();
        Ok(Self { event, value: path, room: shape.path(Place::Room) })
    }

    /// The array of a delivery, as a server would write it; `value` is JSON.
    pub(super) fn write(&self, room: &str, value: &str) -> String {
        let mut array = Value::Null;
        json::put(&mut array, &[Step::Index(0)], Value::String(self.event.clone()));
        json::put(&mut array, &self.value, serde_json::from_str(value).expect("a payload is JSON"));
        if let Some(path) = &self.room {
            json::put(&mut array, path, Value::String(room.to_owned()));
        }
        array.to_string()
    }
}

/// `name arguments` as the array of a packet, and whether it is one.
fn array(name: &'static str, typed: &str) -> Result<String, SettingError> {
    let typed = typed.trim();
    let (event, arguments) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
    let mut array = String::from("[\"");
    json::push_escaped(&mut array, event);
    array.push('"');
    if !arguments.trim().is_empty() {
        array.push(',');
        array.push_str(arguments.trim());
    }
    array.push(']');
    let plain = array.replace("{ref}", "0");
    match serde_json::from_str::<Vec<Value>>(&plain) {
        Ok(_) if !event.is_empty() => Ok(array),
        Ok(_) => Err(wrong(name, "an event needs a name".into())),
        Err(error) => Err(wrong(
            name,
            format!(
                "{typed} is no event with arguments in JSON, like joinRoom {{\"room\":\"{{room}}\"}}: {error}"
            ),
        )),
    }
}

fn switch(name: &'static str, typed: Option<&str>, default: bool) -> Result<bool, SettingError> {
    match typed {
        None => Ok(default),
        Some("yes" | "true") => Ok(true),
        Some("no" | "false") => Ok(false),
        Some(other) => Err(wrong(name, format!("{other:?} is neither yes nor no"))),
    }
}

fn wrong(name: &'static str, why: String) -> SettingError {
    SettingError { name, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(settings: &[&str]) -> Typed {
        let mut typed = Typed::default();
        settings.iter().for_each(|setting| typed.set(setting).expect("a setting"));
        typed
    }

    #[test]
    fn what_can_not_be_is_told_by_name() {
        let check = |setting: &str, why: &str| {
            let error = typed(&[setting]).resolve().expect_err(setting).to_string();
            assert!(error.contains(why), "{setting}: {error}");
        };
        check("join=", "an event needs a name");
        check("join=enter", "no place for {room}");
        check("join=enter {room}", "no event with arguments in JSON");
        check(r#"send=say "{room}""#, "no place for {data}");
        check(r#"hear=said "x {data}""#, "alone in its string");
        check("namespace=admin", "/admin");
        check("auth=token", "no JSON object");
        check("acks=maybe", "neither yes nor no");
        check(r#"hear-all=message "{data}""#, "the same event as hear");
        check("gap=all", "the same event as hear-all");
        let inside = typed(&["binary=yes", r#"all=all "x {data}""#]).resolve().expect_err("inside a string");
        assert!(inside.to_string().contains("alone in its string"), "{inside}");
        assert!(Typed::default().set("colour=red").expect_err("no setting").contains("namespace, auth"));
        assert!(Typed::default().set("join").is_err());
    }

    #[test]
    fn a_delivery_is_found_where_its_shape_says() {
        let check = |hear: &str, event: &str, value: &str, room: Option<&str>| {
            let Settings { hear, .. } = typed(&[&format!("hear={hear}")]).resolve().expect("fine");
            assert_eq!(hear.event, event);
            assert_eq!(hear.value, json::pointer(value).expect("a pointer"));
            assert_eq!(hear.room, room.map(|room| json::pointer(room).expect("a pointer")));
        };
        check(r#"message {"message":"{data}"}"#, "message", "/1/message", None);
        check(r#"chat "{room}", ["{data}"]"#, "chat", "/2/0", Some("/1"));
        check(r#"x "{data}""#, "x", "/1", None);
    }

    #[test]
    fn names_are_the_fields_names() {
        let all: Vec<String> = Typed::NAMES.iter().map(|name| format!("{name}=x")).collect();
        let all = typed(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let json = serde_json::to_value(&all).expect("JSON");
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(Typed::NAMES.len()));
        assert_eq!(all.clone().or(Typed::default()), all);
        assert_eq!(Typed::default().or(all.clone()), all);
    }
}
