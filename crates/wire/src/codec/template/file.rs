//! The file that describes a protocol: what a client says, and what it hears.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Value;

use super::{Rule, Says, Template, What, Where};
use crate::codec::{
    json::{self, Path},
    shape::{Place, Shape},
};

/// A file that describes no protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is not TOML, or has what no template has.
    #[error("{0}")]
    Form(String),
    /// What it says can't be.
    #[error("{part}: {why}")]
    Sense {
        /// Where, as `say.join` or `hear 2`.
        part: String,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    name: String,
    #[serde(default = "root")]
    path: String,
    subprotocol: Option<String>,
    separator: Option<String>,
    #[serde(default)]
    final_codes: Vec<u16>,
    say: Say,
    #[serde(default)]
    hear: Vec<Hear>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Say {
    connect: Option<String>,
    join: String,
    leave: Option<String>,
    send: String,
    all: Option<String>,
    heartbeat: Option<String>,
    heartbeat_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hear {
    is: String,
    text: Option<String>,
    #[serde(default)]
    json: BTreeMap<String, Value>,
    #[serde(default)]
    has: Vec<String>,
    #[serde(default)]
    lacks: Vec<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    room: Option<String>,
    #[serde(default, rename = "room-prefix")]
    room_prefix: String,
    user: Option<String>,
    data: Option<String>,
    node: Option<String>,
    code: Option<String>,
    reply: Option<String>,
}

fn root() -> String {
    "/".into()
}

pub(super) fn parse(text: &str) -> Result<Template, TemplateError> {
    let file: File = toml::from_str(text).map_err(|error| TemplateError::Form(error.to_string()))?;
    let rules: Result<Vec<Rule>, TemplateError> = file
        .hear
        .iter()
        .enumerate()
        .map(|(place, hear)| rule(hear).map_err(|why| sense(&format!("hear {}", place + 1), why)))
        .collect();
    let template = Template {
        text: text.to_owned(),
        name: file.name,
        path: file.path,
        subprotocol: file.subprotocol,
        separator: file.separator,
        final_codes: file.final_codes,
        says: says(&file.say)?,
        rules: rules?,
    };
    if !template.rules.iter().any(|rule| rule.what == What::Delivery) {
        return Err(sense("hear", "there is no rule that is a \"delivery\"".into()));
    }
    Ok(template)
}

fn says(say: &Say) -> Result<Says, TemplateError> {
    let shape = |part: &str, text: &str, places: &[Place]| {
        let shape = Shape::new(text);
        match places.iter().find(|place| !shape.has(**place)) {
            Some(place) => {
                Err(sense(&format!("say.{part}"), format!("it has no place for {}", place.name())))
            }
            None => Ok(shape),
        }
    };
    let optional = |part: &str, text: &Option<String>, places: &[Place]| {
        text.as_deref().map(|text| shape(part, text, places)).transpose()
    };
    Ok(Says {
        connect: optional("connect", &say.connect, &[])?,
        join: shape("join", &say.join, &[Place::Room])?,
        leave: optional("leave", &say.leave, &[Place::Room])?,
        send: shape("send", &say.send, &[Place::Data])?,
        all: optional("all", &say.all, &[Place::Data])?,
        heartbeat: match (&say.heartbeat, say.heartbeat_seconds) {
            (Some(text), Some(seconds @ 1..)) => Some((text.clone(), seconds)),
            (None, None) => None,
            _ => {
                let why = "heartbeat and heartbeat-seconds (1 or more) belong together".into();
                return Err(sense("say.heartbeat", why));
            }
        },
    })
}

fn rule(hear: &Hear) -> Result<Rule, String> {
    let what = What::named(&hear.is)
        .ok_or_else(|| format!("{:?} is nothing that is heard; there are {}", hear.is, What::names()))?;
    let path = |at: &Option<String>| at.as_deref().map(json::pointer).transpose();
    let paths = |all: &[String]| all.iter().map(|at| json::pointer(at)).collect::<Result<Vec<Path>, _>>();
    let place = match &hear.text {
        Some(text) if hear.json.is_empty() && hear.has.is_empty() && hear.lacks.is_empty() => {
            Where::Text(Shape::new(text))
        }
        Some(_) => return Err("a rule is either for text or for JSON".into()),
        None => Where::Json {
            equals: hear
                .json
                .iter()
                .map(|(at, value)| Ok((json::pointer(at)?, json_of(value)?)))
                .collect::<Result<_, String>>()?,
            has: paths(&hear.has)?,
            lacks: paths(&hear.lacks)?,
        },
    };
    let rule = Rule {
        what,
        place,
        reference: path(&hear.reference)?,
        room: path(&hear.room)?,
        room_prefix: hear.room_prefix.clone(),
        user: path(&hear.user)?,
        data: path(&hear.data)?,
        node: path(&hear.node)?,
        code: path(&hear.code)?,
        reply: hear.reply.clone(),
    };
    let needs = |is_there: bool, name: &str| match is_there {
        true => Ok(()),
        false => Err(format!("a rule that is {:?} needs {name}", hear.is)),
    };
    match what {
        What::Delivery | What::ToAll => needs(rule.tells(Place::Data, rule.data.is_some()), "data")?,
        What::Ack | What::Refusal => needs(rule.tells(Place::Reference, rule.reference.is_some()), "ref")?,
        What::Ping => needs(rule.reply.is_some(), "a reply")?,
        What::Hello | What::Joined | What::Left => {}
    }
    Ok(rule)
}

/// A value as JSON text, for a comparison.
fn json_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(serde_json::Value::from(text.as_str()).to_string()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(value) => Ok(value.to_string()),
        other => Err(format!(
            "{} can't be compared with; a string, a whole number, true or false can",
            other.type_str()
        )),
    }
}

fn sense(part: &str, why: String) -> TemplateError {
    TemplateError::Sense { part: part.into(), why }
}
