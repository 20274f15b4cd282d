//! What Socket.IO clients send and get, and what is published of it: the native delivery, with two fields more where
//! they are needed.

use std::borrow::Cow;

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;
use ws_wire::{
    codec::{
        native,
        socketio::packet::{Engine, Kind, Packet},
    },
    frame::{self, opcode},
    message::Target,
};

use super::{NAMESPACE, written};

/// A publication as it is read again.
#[derive(Deserialize)]
struct Publication<'a> {
    #[serde(borrow)]
    room: Option<&'a RawValue>,
    #[serde(borrow)]
    from: &'a RawValue,
    #[serde(borrow, rename = "userId")]
    user_id: Option<&'a RawValue>,
    /// In Base64.
    #[serde(borrow, default)]
    attachments: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What is published of a message.
pub(super) fn text(
    target: Target<'_>,
    from: &str,
    user_id: Option<&RawValue>,
    attachments: &[Vec<u8>],
    message: &RawValue,
) -> String {
    let mut fields = String::new();
    if let Some(user_id) = user_id {
        fields = format!(r#""userId":{user_id},"#);
    }
    if !attachments.is_empty() {
        fields.push_str(r#""attachments":["#);
        for (number, attachment) in attachments.iter().enumerate() {
            fields.push_str(if number == 0 { "\"" } else { ",\"" });
            BASE64.encode_append(attachment, &mut fields);
            fields.push('"');
        }
        fields.push_str("],");
    }
    native::delivery_with(target, from, &fields, message.get())
}

/// Appends the event that members get, and its attachments.
pub(in crate::dialect) fn delivery(publication: &str, out: &mut Vec<u8>) {
    let Ok(Publication { room, from, user_id, attachments, data }) = serde_json::from_str(publication) else {
        return;
    };
    let attachments: Result<Vec<_>, _> =
        attachments.iter().map(|attachment| BASE64.decode(attachment.as_bytes())).collect();
    let Ok(attachments) = attachments else { return };
    let data = match (room, user_id) {
        (Some(room), user_id) => {
            let user_id = user_id.unwrap_or(from);
            format!(r#"["message",{{"userId":{user_id},"room":{room},"message":{data}}}]"#)
        }
        (None, Some(user_id)) => format!(r#"["all",{{"userId":{user_id},"message":{data}}}]"#),
        (None, None) => format!(r#"["all",{{"message":{data}}}]"#),
    };
    let kind = if attachments.is_empty() { Kind::Event } else { Kind::BinaryEvent };
    let count = u32::try_from(attachments.len()).unwrap_or(u32::MAX);
    let packet = Packet { kind, attachments: count, namespace: NAMESPACE, id: None, data: &data };
    frame::write_server(out, opcode::TEXT, written(&Engine::Message(packet)).as_bytes());
    for attachment in attachments {
        frame::write_server(out, opcode::BINARY, &attachment);
    }
}
