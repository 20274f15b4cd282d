//! A text with places in it to fill: how a request looks in a protocol that is described and not programmed.
//!
//! The places are `{room}`, `{data}`, `{user}`, `{key}` and `{ref}`; every other brace stands for itself.

use std::fmt::Write as _;

use super::json::{self, Path, Step};

/// A text with places to fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

/// What can be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The room's name.
    Room,
    /// The payload.
    Data,
    /// The sender's name, `u` and its number.
    User,
    /// The same for every try of one message.
    Key,
    /// A number that comes back in the answer.
    Reference,
}

/// What fills the places.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fill<'a> {
    /// The room's name.
    pub room: &'a str,
    /// The payload.
    pub data: &'a str,
    /// The session's number.
    pub user: u32,
    /// The message's key.
    pub key: &'a str,
    /// The request's number.
    pub reference: u64,
}

impl Place {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Room, "{room}"),
        (Self::Data, "{data}"),
        (Self::User, "{user}"),
        (Self::Key, "{key}"),
        (Self::Reference, "{ref}"),
    ];

    /// As it is written in a shape.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(place, _)| *place == self).map_or("", |(_, name)| name)
    }
}

impl Shape {
    /// Reads a shape.
    #[must_use]
    pub fn new(mut text: &str) -> Self {
        let mut pieces = Vec::new();
        let first = |text: &str| {
            let places = Place::ALL.into_iter();
            places
                .filter_map(|(place, name)| Some((text.find(name)?, place, name)))
                .min_by_key(|found| found.0)
        };
        while let Some((at, place, name)) = first(text) {
            if at > 0 {
                pieces.push(Piece::Text(text[..at].to_owned()));
            }
            pieces.push(Piece::Place(place));
            text = &text[at + name.len()..];
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        Self(pieces)
    }

    /// Whether it has this place.
    #[must_use]
    pub fn has(&self, place: Place) -> bool {
        self.0.contains(&Piece::Place(place))
    }

    /// Appends the text with its places filled, as the inside of JSON strings where that makes a difference.
    pub fn write(&self, fill: &Fill<'_>, out: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Place(Place::Room) => json::push_escaped(out, fill.room),
                Piece::Place(Place::Data) => json::push_escaped(out, fill.data),
                Piece::Place(Place::Key) => json::push_escaped(out, fill.key),
                Piece::Place(Place::User) => {
                    let _ = write!(out, "u{}", fill.user);
                }
                Piece::Place(Place::Reference) => {
                    let _ = write!(out, "{}", fill.reference);
                }
            }
        }
    }

    /// What stands at each place of `text`, if it has this shape: the first text that ends a place ends it.
    #[must_use]
    pub fn read<'a>(&self, text: &'a str) -> Option<Vec<(Place, &'a str)>> {
        let mut found = Vec::new();
        let mut rest = text;
        for (number, piece) in self.0.iter().enumerate() {
            match (piece, self.0.get(number + 1)) {
                (Piece::Text(text), _) => rest = rest.strip_prefix(text.as_str())?,
                (Piece::Place(place), Some(Piece::Text(end))) => {
                    let (value, _) = rest.split_once(end.as_str())?;
                    found.push((*place, value));
                    rest = &rest[value.len()..];
                }
                (Piece::Place(place), _) => {
                    found.push((*place, rest));
                    rest = "";
                }
            }
        }
        rest.is_empty().then_some(found)
    }

    /// Where `place` stands, if this is the shape of a JSON value and the place a string of its own.
    #[must_use]
    pub fn path(&self, place: Place) -> Option<Path> {
        let mut text = String::new();
        // A mark that no shape has: it is found again in the parsed value.
        let mark = "\u{1}";
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Place(here) if *here == place => text.push_str(r"\u0001"),
                Piece::Place(_) => text.push('0'),
            }
        }
        let value = serde_json::from_str(&text).ok()?;
        let mut path = Path::new();
        find(&value, mark, &mut path).then_some(path)
    }
}

/// Makes `path` the way to the string `mark`.
fn find(value: &serde_json::Value, mark: &str, path: &mut Path) -> bool {
    let mut inside = |step: Step, value: &serde_json::Value| {
        path.push(step);
        let found = find(value, mark, path);
        if !found {
            path.pop();
        }
        found
    };
    match value {
        serde_json::Value::String(text) => text == mark,
        serde_json::Value::Array(items) => {
            items.iter().enumerate().any(|(index, item)| inside(Step::Index(index), item))
        }
        serde_json::Value::Object(members) => {
            members.iter().any(|(key, member)| inside(Step::Key(key.clone()), member))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled() {
        let check = |shape: &str, expected: &str| {
            let fill = Fill { room: "r\"1", data: "d", user: 7, key: "k", reference: 12 };
            let mut out = String::new();
            Shape::new(shape).write(&fill, &mut out);
            assert_eq!(out, expected, "{shape}");
        };
        check(r#"["join",{"room":"{room}"}]"#, r#"["join",{"room":"r\"1"}]"#);
        check("MSG {room} {data}", r#"MSG r\"1 d"#);
        check(r#"{"id":{ref},"u":"{user}","k":"{key}"}{}"#, r#"{"id":12,"u":"u7","k":"k"}{}"#);
        check("", "");
    }

    #[test]
    fn a_text_is_read_by_its_shape() {
        let shape = Shape::new("MSG {room} {data}");
        assert_eq!(shape.read("MSG a b c"), Some(vec![(Place::Room, "a"), (Place::Data, "b c")]));
        assert_eq!(shape.read("MSG a"), None);
        assert_eq!(shape.read("PING"), None);
        assert_eq!(Shape::new("ok").read("ok"), Some(vec![]));
        assert_eq!(Shape::new("ok").read("ok!"), None);
    }

    #[test]
    fn places_are_found_in_json() {
        let shape = Shape::new(r#"["message",{"room":"{room}","n":{ref},"message":"{data}"}]"#);
        let key = |key: &str| Some(vec![Step::Index(1), Step::Key(key.into())]);
        assert_eq!(shape.path(Place::Room), key("room"));
        assert_eq!(shape.path(Place::Data), key("message"));
        assert_eq!(shape.path(Place::Key), None);
        assert_eq!(Shape::new(r#""{data}""#).path(Place::Data), Some(vec![]));
        assert_eq!(Shape::new("{data}").path(Place::Data), None);
    }
}
