//! The JSON schema of scenario files, made of the types that read them: editors complete and check files by it.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema, transform};
use serde_json::{Value, json};
use ws_wire::codec::socketio::Typed;

use super::{CONTRACTS, Command, Document};
use crate::{fault::Kind, scenario::Arrivals};

/// The schema as a document (JSON Schema draft 7).
#[must_use]
pub fn schema() -> String {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Document>();
    transform::transform_subschemas(&mut without_null, &mut schema);
    schema.insert("title".into(), "A scenario of ws-loadgen and ws-verify".into());
    schema.insert("description".into(), "TOML; what is typed on the command line wins over it.".into());
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is always JSON");
    text.push('\n');
    text
}

/// What a file may leave out is no null: TOML has none.
fn without_null(schema: &mut Schema) {
    transform::transform_subschemas(&mut without_null, schema);
    schema.remove("default");
    schema.remove("format");
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [one] = &types[..] {
            let one = one.clone();
            schema.insert("type".into(), one);
        }
    }
}

pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "examples": ["5s", "300ms", "1m 30s"] })
}

pub(super) fn stages(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "string", "pattern": "^[^:]+:[^:]+$", "examples": ["30s:5000", "0s:10k"] },
    })
}

pub(super) fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["integer", "string"], "minimum": 0, "examples": [128, "128..4k"] })
}

pub(super) fn senders(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "const": "all" }, { "type": "integer", "minimum": 1 }] })
}

pub(super) fn arrivals(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": Arrivals::ALL.map(Arrivals::name) })
}

pub(super) fn contract(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": CONTRACTS })
}

pub(super) fn socketio(_: &mut SchemaGenerator) -> Schema {
    let properties = Typed::NAMES.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" })));
    let properties: Value = properties.collect::<serde_json::Map<_, _>>().into();
    json_schema!({ "type": "object", "additionalProperties": false, "properties": properties })
}

pub(super) fn commands(generator: &mut SchemaGenerator) -> Schema {
    let command = Command::json_schema(generator);
    let properties = Kind::ALL.map(|kind| (kind.name().to_owned(), command.clone().to_value()));
    let properties: Value = properties.into_iter().collect::<serde_json::Map<_, _>>().into();
    json_schema!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// Text or table: the words of both are those of [`crate::fault::Fault`].
pub(super) fn faults(_: &mut SchemaGenerator) -> Schema {
    let kinds = Kind::ALL.map(Kind::name);
    let text = format!("^({}) *@", kinds.join("|"));
    json_schema!({
        "type": "array",
        "items": { "anyOf": [
            { "type": "string", "pattern": text, "examples": ["kill-replica@5s for 3s on app-2"] },
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["kind", "at"],
                "properties": {
                    "kind": { "enum": kinds, "description": "What is done." },
                    "at": { "type": "string", "description": "When, from the start of sending: 5s." },
                    "for": { "type": "string", "description": "From the injection to the heal: 3s." },
                    "on": { "type": "string", "description": "any, all, or a replica's name." },
                    "share": { "type": ["number", "string"], "description": "The part of the client connections that it hits, above 0 and up to 1." },
                    "direction": { "enum": ["in", "out"], "description": "Of half-open: which way swallows what is sent." },
                    "delay": { "type": "string", "description": "Of slow-redis: what it adds each way." },
                    "rate": { "type": ["integer", "string"], "description": "Of slow-redis: bytes a second." },
                },
            },
        ] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fault::Fault, file::parse};

    fn properties(of: &[&str]) -> Vec<String> {
        let whole: Value = serde_json::from_str(&schema()).expect("JSON");
        let table = of.iter().fold(&whole, |table, name| &table["properties"][name]);
        let mut names: Vec<String> =
            table["properties"].as_object().expect("a table").keys().cloned().collect();
        names.sort();
        names
    }

    /// The parser itself says which keys it takes.
    fn taken(table: &str) -> Vec<String> {
        let header = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
        let error = parse(&format!("{header}nonsense = 1"), "x").expect_err("no such key").message;
        let mut names: Vec<String> = error.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        names.retain(|name| name != "nonsense");
        names.sort();
        names
    }

    #[test]
    fn it_has_the_keys_that_are_read() {
        assert_eq!(properties(&[]), taken(""));
        for table in ["cluster", "protocol", "socketio", "load", "check"] {
            assert_eq!(properties(&[table]), taken(table), "{table}");
        }
        assert_eq!(properties(&["command", "storm"]), taken("command.storm"));
    }

    #[test]
    fn the_words_of_a_fault_are_those_that_are_read() {
        let whole: Value = serde_json::from_str(&schema()).expect("JSON");
        let [text, table] =
            &whole["properties"]["fault"]["items"]["anyOf"].as_array().expect("two forms")[..]
        else {
            panic!("two forms")
        };
        assert!(text["pattern"].as_str().expect("a pattern").contains("|kill-pubsub|"));
        let names = table["properties"].as_object().expect("properties").keys();
        for name in names.filter(|name| !["kind", "at"].contains(&name.as_str())) {
            let mut fault: Fault = "slow-redis@5s".parse().expect("a fault");
            let error = fault.set(name, "%").map_err(|error| error.to_string());
            assert!(
                error.as_ref().err().is_none_or(|error| !error.contains("there are")),
                "{name}: {error:?}"
            );
        }
        let mut fault: Fault = "slow-redis@5s".parse().expect("a fault");
        let error = fault.set("until", "9s").expect_err("no such word").to_string();
        for word in ["for", "on", "share", "direction", "delay", "rate"] {
            assert!(error.contains(word) && table["properties"][word].is_object(), "{word}: {error}");
        }
    }

    /// `ws-loadgen schema > docs/scenario.schema.json` makes it anew.
    #[test]
    fn the_published_copy_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/scenario.schema.json");
        let copy = std::fs::read_to_string(path).expect("the copy");
        assert!(copy == schema(), "run: ws-loadgen schema > docs/scenario.schema.json");
    }

    #[test]
    fn nothing_is_null() {
        assert!(!schema().contains("null"), "{}", schema());
    }
}
