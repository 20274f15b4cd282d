//! Values that say in their errors what would be right.

use std::{fmt, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};
use toml::Spanned;

use super::CONTRACTS;
use crate::{
    fault::Kind,
    profile::Stage,
    scenario::{Arrivals, Senders},
};

/// One of the file's faults, in either form.
pub(super) enum Entry {
    Text(String),
    Table(Vec<(Spanned<String>, Spanned<Word>)>),
}

/// A string, or a number as one writes it.
pub(super) struct Word(pub(super) String);

pub(super) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    one_of(from, "a time like \"5s\" or \"300ms\"", |word| humantime::parse_duration(word).ok())
}

pub(super) fn stages<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Stage>, D::Error> {
    Vec::<Text<Stage>>::deserialize(from).map(|stages| stages.into_iter().map(|Text(stage)| stage).collect())
}

pub(super) fn arrivals<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arrivals>, D::Error> {
    Text::deserialize(from).map(|Text(arrivals)| Some(arrivals))
}

pub(super) fn senders<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Senders>, D::Error> {
    one_of(from, "\"all\", or how many of each room send, from 1", |word| match word {
        "all" => Some(Senders::All),
        _ => word.parse().ok().filter(|senders| *senders > 0).map(Senders::PerRoom),
    })
}

pub(super) fn contract<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let expected = format!("one of {}", CONTRACTS.join(", "));
    one_of(from, &expected, |word| CONTRACTS.contains(&word).then(|| word.to_owned()))
}

/// What is read from a string, and says itself what is wrong with it.
struct Text<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// A value that is there; the keys around it default to none.
fn one_of<'de, D: Deserializer<'de>, T>(
    from: D,
    expected: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, D::Error> {
    let Word(word) = Word::deserialize(from)?;
    read(&word).map(Some).ok_or_else(|| D::Error::custom(format!("expected {expected}, not {word:?}")))
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct AnyWord;

        impl Visitor<'_> for AnyWord {
            type Value = Word;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.to_owned()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }
        }

        from.deserialize_any(AnyWord)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct AnyEntry;

        impl<'de> Visitor<'de> for AnyEntry {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a fault like 'kill-replica@5s' or { kind = 'kill-replica', at = '5s' }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Entry, E> {
                Ok(Entry::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
                let mut words = vec![];
                while let Some(entry) = map.next_entry()? {
                    words.push(entry);
                }
                Ok(Entry::Table(words))
            }
        }

        from.deserialize_any(AnyEntry)
    }
}
