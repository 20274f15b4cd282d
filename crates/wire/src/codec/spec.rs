//! A protocol by the texts that it was made of, to be told to another process.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Protocol, socketio::Typed, template::Template};

/// What a [`Protocol`] is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Spec {
    Native,
    /// The settings that were typed, as JSON.
    SocketIo(String),
    /// The template's file.
    Template(String),
}

impl From<Protocol> for Spec {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Native => Self::Native,
            Protocol::SocketIo(settings) => {
                Self::SocketIo(serde_json::to_string(settings.typed()).expect("settings are always JSON"))
            }
            Protocol::Template(template) => Self::Template(template.text().to_owned()),
        }
    }
}

impl TryFrom<Spec> for Protocol {
    type Error = String;

    fn try_from(spec: Spec) -> Result<Self, String> {
        match spec {
            Spec::Native => Ok(Self::Native),
            Spec::SocketIo(typed) => {
                let typed: Typed = serde_json::from_str(&typed).map_err(|error| error.to_string())?;
                Ok(Self::SocketIo(Arc::new(typed.resolve().map_err(|error| error.to_string())?)))
            }
            Spec::Template(text) => {
                Ok(Self::Template(Arc::new(Template::parse(&text).map_err(|error| error.to_string())?)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_the_same_at_the_other_end() {
        let typed = Typed { namespace: Some("/chat".into()), binary: Some("yes".into()), ..Typed::default() };
        let template = "name = 'x'\n[say]\njoin = 'J {room}'\nsend = 'S {room} {data}'\n[[hear]]\nis = 'delivery'\n\
            text = 'D {room} {data}'";
        let protocols = [
            Protocol::Native,
            Protocol::SocketIo(Arc::new(typed.resolve().expect("settings"))),
            Protocol::Template(Arc::new(Template::parse(template).expect("a template"))),
        ];
        for protocol in protocols {
            let told = serde_json::to_string(&protocol).expect("it is JSON");
            let heard: Protocol = serde_json::from_str(&told).expect("what was told");
            assert_eq!(format!("{heard:?}"), format!("{protocol:?}"));
        }
    }
}
