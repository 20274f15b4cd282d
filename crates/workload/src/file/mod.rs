//! A run as a file says it: `ws-verify run --scenario kill-replica.toml`.

mod schema;
mod template;
mod value;

use std::{collections::BTreeMap, ops::Range, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;
use ws_wire::codec::socketio::Typed;

use crate::{
    fault::{self, Fault, FaultError, Kind},
    profile::Stage,
    scenario::{Arrivals, Senders},
    size::Size,
};
pub use schema::schema;
pub use template::TEMPLATE;
use value::{Entry, Word};

/// What a file says; what it leaves out is none. Nothing is checked against anything else but here, so numbers may
/// still not fit together: [`Scenario::validate`](crate::scenario::Scenario::validate) is for that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScenarioFile {
    /// What is tested.
    pub cluster: Cluster,
    /// The language of the servers.
    pub protocol: Language,
    /// How their application speaks Socket.IO.
    pub socketio: Typed,
    /// What is sent.
    pub load: Load,
    /// How it is judged.
    pub check: Check,
    /// What is broken, in the order of the file.
    pub faults: Vec<Fault>,
    /// How faults are carried out on a deployment of one's own.
    pub commands: BTreeMap<Kind, Command>,
}

/// `[cluster]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Replicas to start on this machine.
    pub local: Option<u8>,
    /// What to start for each, in place of our own server: a command for the shell.
    pub serve: Option<String>,
    /// Where that program says by HTTP that it is ready.
    pub ready: Option<String>,
    /// Their broker, by its name.
    pub broker: Option<String>,
}

/// `[protocol]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Language {
    /// Its name: native, socketio or template.
    pub name: Option<String>,
    /// The file that describes it.
    pub template: Option<String>,
    /// The header of a handshake's answer that names the replica.
    pub node_header: Option<String>,
}

/// `[load]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Sockets in all.
    pub connections: Option<u32>,
    /// Sockets opened a second.
    pub connect_rate: Option<f64>,
    /// Where that rate goes from there.
    #[serde(deserialize_with = "value::stages")]
    #[schemars(schema_with = "schema::stages")]
    pub connect_stages: Vec<Stage>,
    /// Members of a room; never beside `rooms`.
    pub room_size: Option<u32>,
    /// Rooms in all.
    pub rooms: Option<u32>,
    /// The exponent of the Zipf law that the sizes of rooms follow.
    pub zipf: Option<f64>,
    /// Messages sent a second, in all.
    pub rate: Option<f64>,
    /// Messages a second of each connection that sends; never beside `rate` and `stages`.
    pub rate_per_client: Option<f64>,
    /// Where the rate goes from there.
    #[serde(deserialize_with = "value::stages")]
    #[schemars(schema_with = "schema::stages")]
    pub stages: Vec<Stage>,
    /// How messages are spread over time.
    #[serde(deserialize_with = "value::arrivals")]
    #[schemars(schema_with = "schema::arrivals")]
    pub arrivals: Option<Arrivals>,
    /// How long messages are sent.
    #[serde(deserialize_with = "value::time")]
    #[schemars(schema_with = "schema::time")]
    pub duration: Option<Duration>,
    /// Bytes of payload a message.
    #[serde(deserialize_with = "value::size")]
    #[schemars(schema_with = "schema::size")]
    pub size: Option<Size>,
    /// Part of the messages that goes to everyone, 0 to 1.
    pub share_all: Option<f64>,
    /// Who sends.
    #[serde(deserialize_with = "value::senders")]
    #[schemars(schema_with = "schema::senders")]
    pub senders: Option<Senders>,
    /// Decides every order that is not given.
    pub seed: Option<u64>,
    /// Members a second that leave their room and join it again.
    pub churn: Option<f64>,
    /// How long a connection lasts in the mean.
    #[serde(deserialize_with = "value::time")]
    #[schemars(schema_with = "schema::time")]
    pub lifetime: Option<Duration>,
}

impl Load {
    fn has_two_rates(&self) -> bool {
        self.rate_per_client.is_some() && (self.rate.is_some() || !self.stages.is_empty())
    }
}

/// `[check]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// What a gap is taken for.
    #[serde(deserialize_with = "value::contract")]
    #[schemars(schema_with = "schema::contract")]
    pub contract: Option<String>,
    /// R: how long after the last heal everything must work again.
    #[serde(deserialize_with = "value::time")]
    #[schemars(schema_with = "schema::time")]
    pub settle: Option<Duration>,
    /// D: a delivery later than this is late.
    #[serde(deserialize_with = "value::time")]
    #[schemars(schema_with = "schema::time")]
    pub deadline: Option<Duration>,
}

/// The contracts by name.
pub const CONTRACTS: [&str; 3] = ["exactly-once", "no-silent-loss", "at-most-once"];

/// `[command.<fault>]`: shell commands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Does it.
    pub inject: String,
    /// Succeeds as soon as the effect is seen; none if it can't be.
    pub proof: Option<String>,
    /// Undoes it; none if that happens by itself.
    pub heal: Option<String>,
}

/// What is wrong with a file, and where: `scenario.toml:7:9: fault 2: there is no fault "unplug"; ...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct FileError {
    /// The name that was given for it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Reads the TOML `text` of a file that messages call `name`.
///
/// # Errors
/// The first thing that is no TOML, unknown, or out of its range.
pub fn parse(text: &str, name: &str) -> Result<ScenarioFile, FileError> {
    read(text).map_err(|Wrong { at, message }| {
        let (line, column) = position(text, at.start);
        FileError { file: name.to_owned(), line, column, message }
    })
}

/// The tables as TOML has them.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Document {
    /// What is tested; URLs are named on the command line.
    cluster: Cluster,
    /// The language of the servers.
    protocol: Language,
    /// How their application speaks Socket.IO: docs/protocols.md.
    #[schemars(schema_with = "schema::socketio")]
    socketio: Typed,
    /// What is sent, as the options of the same names.
    #[schemars(with = "Load")]
    load: Option<Spanned<Load>>,
    /// How it is judged.
    check: Check,
    /// What is broken: docs/scenarios.md. As a list it stands above the first table.
    #[schemars(schema_with = "schema::faults")]
    fault: Vec<Spanned<Entry>>,
    /// How faults are carried out on a deployment of one's own, by fault.
    #[schemars(schema_with = "schema::commands")]
    command: BTreeMap<Kind, Command>,
}

struct Wrong {
    at: Range<usize>,
    message: String,
}

fn read(text: &str) -> Result<ScenarioFile, Wrong> {
    let document: Document = toml::from_str(text)?;
    let load = match document.load {
        Some(load) if load.get_ref().rooms.is_some() && load.get_ref().room_size.is_some() => {
            return Err(wrong(load.span(), "[load] has room_size or rooms, not both"));
        }
        Some(load) if load.get_ref().has_two_rates() => {
            return Err(wrong(load.span(), "[load] has rate_per_client, or rate and stages, not both"));
        }
        load => load.map(Spanned::into_inner).unwrap_or_default(),
    };
    let numbered = document.fault.into_iter().enumerate();
    let faults = numbered.map(|(index, entry)| {
        read_fault(entry)
            .map_err(|Wrong { at, message }| wrong(at, format!("fault {}: {message}", index + 1)))
    });
    Ok(ScenarioFile {
        cluster: document.cluster,
        protocol: document.protocol,
        socketio: document.socketio,
        load,
        check: document.check,
        faults: faults.collect::<Result<_, _>>()?,
        commands: document.command,
    })
}

fn read_fault(entry: Spanned<Entry>) -> Result<Fault, Wrong> {
    let whole = entry.span();
    let mut words = match entry.into_inner() {
        Entry::Text(text) => return text.parse().map_err(|error: FaultError| wrong(whole, error)),
        Entry::Table(words) => words,
    };
    let mut take = |name: &str| {
        let place = words.iter().position(|(word, _)| word.get_ref() == name);
        let value = place.map(|place| words.remove(place).1);
        value.map(|value| (value.span(), value.into_inner())).ok_or_else(|| {
            wrong(
                whole.clone(),
                format!("{name} is missing; one looks like kind = \"kill-replica\", at = \"5s\""),
            )
        })
    };
    let (kind_at, Word(kind)) = take("kind")?;
    let (time_at, Word(time)) = take("at")?;
    let kind = kind.parse().map_err(|error: FaultError| wrong(kind_at, error))?;
    let at = fault::duration("at", &time).map_err(|error| wrong(time_at, error))?;
    let mut fault = Fault::new(kind, at);
    for (word, value) in words {
        fault.set(word.get_ref(), &value.get_ref().0).map_err(|error| wrong(word.span(), error))?;
    }
    Ok(fault)
}

fn wrong(at: Range<usize>, message: impl ToString) -> Wrong {
    Wrong { at, message: message.to_string() }
}

impl From<toml::de::Error> for Wrong {
    fn from(error: toml::de::Error) -> Self {
        let mut message = error.message().replace('\n', ", ").replace("expected f64", "expected a number");
        for (whole, most) in [("u8", u8::MAX.into()), ("u32", u32::MAX.into()), ("u64", u64::MAX)] {
            message = message.replace(&format!("expected {whole}"), &format!("expected 0 to {most}"));
        }
        if message.starts_with("unknown field `fault`") {
            message = "fault = [...] stands above the first [table]; below, write [[fault]]".into();
        }
        wrong(error.span().unwrap_or_default(), message)
    }
}

/// Line and column of a byte.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
fault = ["kill-pubsub@2s", { kind = "slow-redis", at = "3s", delay = "10ms", rate = 5000 }]

[cluster]
local = 3
serve = "node app.js"
ready = "/healthz"
broker = "redis-stream"

[load]
connections = 1_000
connect_rate = 500
connect_stages = ["5s:2000"]
rooms = 100
zipf = 1.1
rate = 0.5
stages = ["30s:5000", "0s:10"]
arrivals = "poisson"
duration = "1m 30s"
size = 256
share_all = 0.01
senders = 2
seed = 7
churn = 5
lifetime = "30s"

[protocol]
name = "socketio"
node_header = "x-replica"

[socketio]
join = 'enter "{room}"'

[check]
contract = "no-silent-loss"
settle = "10s"
deadline = "500ms"

[command.kill-replica]
inject = "docker kill $WS_NODE"
proof = "! docker top $WS_NODE"
heal = "docker start $WS_NODE"

[command.kill-pubsub]
inject = "redis-cli client kill type pubsub"
"#;

    #[test]
    fn a_file_says_everything() {
        let command = |inject: &str, proof: Option<&str>, heal: Option<&str>| Command {
            inject: inject.into(),
            proof: proof.map(Into::into),
            heal: heal.map(Into::into),
        };
        let expected = ScenarioFile {
            cluster: Cluster {
                local: Some(3),
                serve: Some("node app.js".into()),
                ready: Some("/healthz".into()),
                broker: Some("redis-stream".into()),
            },
            protocol: Language {
                name: Some("socketio".into()),
                template: None,
                node_header: Some("x-replica".into()),
            },
            socketio: Typed { join: Some(r#"enter "{room}""#.into()), ..Typed::default() },
            load: Load {
                connections: Some(1000),
                connect_rate: Some(500.0),
                connect_stages: vec!["5s:2000".parse().expect("a stage")],
                room_size: None,
                rooms: Some(100),
                zipf: Some(1.1),
                rate: Some(0.5),
                rate_per_client: None,
                stages: ["30s:5000", "0s:10"].map(|stage| stage.parse().expect(stage)).into(),
                arrivals: Some(Arrivals::Poisson),
                duration: Some(Duration::from_secs(90)),
                size: Some(Size::fixed(256)),
                share_all: Some(0.01),
                senders: Some(Senders::PerRoom(2)),
                seed: Some(7),
                churn: Some(5.0),
                lifetime: Some(Duration::from_secs(30)),
            },
            check: Check {
                contract: Some("no-silent-loss".into()),
                settle: Some(Duration::from_secs(10)),
                deadline: Some(Duration::from_millis(500)),
            },
            faults: ["kill-pubsub@2s", "slow-redis@3s delay 10ms rate 5000"]
                .map(|f| f.parse().expect(f))
                .into(),
            commands: BTreeMap::from([
                (
                    Kind::KillReplica,
                    command(
                        "docker kill $WS_NODE",
                        Some("! docker top $WS_NODE"),
                        Some("docker start $WS_NODE"),
                    ),
                ),
                (Kind::KillPubsub, command("redis-cli client kill type pubsub", None, None)),
            ]),
        };
        assert_eq!(parse(FULL, "x"), Ok(expected));
        assert_eq!(parse("", "x"), Ok(ScenarioFile::default()));
    }

    #[test]
    fn a_fault_is_the_same_as_text_and_as_a_table() {
        let check = |table: &str, text: &str| {
            let file = parse(&format!("[[fault]]\n{table}"), "x").expect(table);
            assert_eq!(file.faults, [text.parse().expect(text)]);
        };
        check(
            "kind = 'kill-replica'\nat = '5s'\nfor = '2s'\non = 'app-2'",
            "kill-replica@5s for 2s on app-2",
        );
        check("on = 'all'\nat = '1500ms'\nkind = 'cut-redis'", "cut-redis@1500ms on all");
        check("kind = 'storm'\nat = '1m 5s'", "storm@65s");
        check(
            "kind = 'half-open'\nat = '5s'\nshare = 1\ndirection = 'out'",
            "half-open@5s share 1 direction out",
        );
        check(
            "kind = 'slow-redis'\nat = '5s'\ndelay = '5ms'\nrate = '100k'",
            "slow-redis@5s delay 5ms rate 100k",
        );
    }

    #[test]
    fn half_a_file_is_an_error_or_half_a_scenario() {
        for (end, _) in FULL.char_indices() {
            if let Err(error) = parse(&FULL[..end], "x") {
                assert!(error.line <= FULL[..end].lines().count() + 1, "{error}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        let check = |text: &str, line: usize, column: usize, why: &str| {
            let error = parse(text, "scenario.toml").expect_err(text).to_string();
            assert!(error.starts_with(&format!("scenario.toml:{line}:{column}: ")), "{text}\n{error}");
            assert!(error.contains(why), "{text}\n{error}");
        };
        // No TOML.
        check("[load]\nrate = = 5", 2, 8, "");
        check("[load]\nrate = 5\nrate = 6", 3, 1, "duplicate key");
        // Unknown.
        check("[lode]", 1, 2, "`load`");
        check("[load]\nrate = 5\nconections = 5", 3, 1, "`connections`");
        check("[cluster]\nlocal = 3\nreplicas = 3", 3, 1, "`local`");
        check("[command.unplug]\ninject = 'true'", 1, 10, "there are kill-replica");
        check("[command.storm]\nheel = 'true'", 2, 1, "`heal`");
        check("[load]\nrate = 5\nfault = ['storm@5s']", 3, 1, "above the first [table]");
        // Out of its range.
        check("[load]\nconnections = -1", 2, 15, "expected 0 to 4294967295");
        check("[load]\nrate = '5'", 2, 8, "a number");
        check("[load]\nduration = 5", 2, 12, "a time like \"5s\"");
        check("[load]\nduration = 'soon'", 2, 12, "a time like \"5s\"");
        check("[load]\nstages = ['30s:5', '30s']", 2, 20, "'30s:5000'");
        check("[load]\nstages = [\n'30s:5',\n5]", 4, 1, "a string");
        check("[load]\nconnect_stages = [\n  '5s']", 3, 3, "'30s:5000'");
        check("[load]\nsize = '9..1'", 2, 8, "128..1024");
        check("[load]\nrate = 5\nrate_per_client = 5", 1, 1, "not both");
        check("[load]\narrivals = 'late'", 2, 12, "uniform");
        check("[load]\nsenders = 'some'", 2, 11, "\"all\"");
        check("[load]\nsenders = -1", 2, 11, "\"all\"");
        check("fault = ['é', true]", 1, 15, "'kill-replica@5s'");
        check("[check]\ncontract = 'most'", 2, 12, "no-silent-loss");
        check("[load]\nrooms = 5\nroom_size = 5", 1, 1, "not both");
        check("[command.storm]\nheal = 'true'", 1, 1, "`inject`");
        // Faults.
        check(
            "fault = [\n  'storm@5s',\n  'unplug@5s']",
            3,
            3,
            "fault 2: there is no fault \"unplug\"; there are",
        );
        check("fault = 'storm@5s'", 1, 9, "sequence");
        check("fault = ['storm@5s', 5]", 1, 22, "'kill-replica@5s'");
        let second = |table: &str| format!("[[fault]]\nkind = 'storm'\nat = '5s'\n\n[[fault]]\n{table}");
        check(&second("at = '5s'"), 5, 1, "fault 2: kind is missing");
        check(&second("kind = 'storm'"), 5, 1, "fault 2: at is missing");
        check(&second("kind = 'unplug'\nat = '5s'"), 6, 8, "fault 2: there is no fault");
        check(&second("kind = 'storm'\nat = 5"), 7, 6, "fault 2: at: ");
        check(&second("kind = 'storm'\nat = '5s'\nshare = 2"), 8, 1, "fault 2: share: ");
        check(&second("kind = 'storm'\nat = '5s'\nuntil = '9s'"), 8, 1, "there are for, on");
        check(&second("kind = 'storm'\nat = true"), 7, 6, "a string or a number");
    }
}
