//! The events that clients may emit: `joinRoom`, `leaveRoom`, `message` and `all`, each with one object.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use ws_wire::{codec::native, message::Target};

use super::{Close, publication, wrong};
use crate::dialect::{MAX_KEY, Request};

/// Of `joinRoom` and `leaveRoom`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    room: String,
}

/// Of `message`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToRoom<'a> {
    room: String,
    #[serde(borrow, rename = "userId")]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    message: &'a RawValue,
    key: Option<String>,
}

/// Of `all`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToAll<'a> {
    #[serde(borrow, rename = "userId")]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    message: &'a RawValue,
    key: Option<String>,
}

/// Reads an event of the session called `from`, whose answer has the `id`.
pub(super) fn request(
    id: Option<u64>,
    data: &str,
    attachments: &[Vec<u8>],
    from: &str,
) -> Result<Request, Close> {
    let elements: Vec<&RawValue> = serde_json::from_str(data).map_err(|error| wrong(error.to_string()))?;
    Ok(parse(id, &elements, attachments, from).unwrap_or_else(|why| Request::Bad { reference: id, why }))
}

fn parse(
    id: Option<u64>,
    elements: &[&RawValue],
    attachments: &[Vec<u8>],
    from: &str,
) -> Result<Request, String> {
    let (name, arguments) = elements.split_first().ok_or("an event has a name")?;
    let name: String = serde_json::from_str(name.get()).map_err(|_| "a name of an event is a string here")?;
    if !matches!(&*name, "joinRoom" | "leaveRoom" | "message" | "all") {
        return Err(format!("unknown event {name:?}; there are joinRoom, leaveRoom, message and all"));
    }
    let [argument] = arguments else { return Err(format!("{name} takes one object")) };
    Ok(match &*name {
        "joinRoom" => Request::Join { reference: id, room: read::<Place>(argument)?.room, since: None },
        "leaveRoom" => Request::Leave { reference: id, room: read::<Place>(argument)?.room },
        "message" => {
            let ToRoom { room, user_id, message, key } = read(argument)?;
            check(user_id, message, key.as_deref(), attachments.len())?;
            let target = Target::Room(&room);
            let publication = publication::text(target, from, user_id, attachments, message);
            Request::Send { reference: id, room: Some(room), key, publication }
        }
        _ => {
            let ToAll { user_id, message, key } = read(argument)?;
            check(user_id, message, key.as_deref(), attachments.len())?;
            let publication = publication::text(Target::All, from, user_id, attachments, message);
            Request::Send { reference: id, room: None, key, publication }
        }
    })
}

fn read<'a, T: Deserialize<'a>>(argument: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(argument.get()).map_err(|error| error.to_string())
}

/// Whether it may be published: what is wrong with it would harm those who get it.
fn check(
    user_id: Option<&RawValue>,
    message: &RawValue,
    key: Option<&str>,
    attachments: usize,
) -> Result<(), String> {
    if user_id.is_some_and(|user_id| {
        !user_id.get().starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
    }) {
        return Err("userId is a string or a number".into());
    }
    if key.is_some_and(|key| key.len() > MAX_KEY) {
        return Err(format!("the key is longer than {MAX_KEY} bytes"));
    }
    if native::is_too_deep(message) {
        return Err("the message is nested too deeply".into());
    }
    if attachments > 0 {
        let message = read(message)?;
        if !places_are_known(&message, attachments) {
            return Err("a placeholder is for no attachment".into());
        }
    }
    Ok(())
}

/// Whether each placeholder in `message` is for one of so many attachments: clients close when one is not.
fn places_are_known(message: &Value, attachments: usize) -> bool {
    match message {
        Value::Array(elements) => elements.iter().all(|element| places_are_known(element, attachments)),
        Value::Object(fields) if fields.get("_placeholder") == Some(&Value::Bool(true)) => {
            fields.get("num").and_then(Value::as_u64).is_some_and(|num| num < attachments as u64)
        }
        Value::Object(fields) => fields.values().all(|value| places_are_known(value, attachments)),
        _ => true,
    }
}
