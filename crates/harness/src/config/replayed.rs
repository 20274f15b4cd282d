//! The command line that repeats a run, from the report that it wrote.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::ValueEnum;
use serde_json::Value;
use ws_cluster::RedisChoice;
use ws_wire::codec::socketio::Typed;
use ws_workload::{scenario::Senders, size::Size};

use super::resolved::HIDDEN;
use crate::args::{
    RunArgs,
    proof::{OrderName, ProofArgs},
};

/// The command line that repeats the run whose report holds `config`; what `typed` says besides wins.
///
/// # Errors
/// What is missing or has another form, by the name of its field.
pub(crate) fn replayed(
    config: &Value,
    typed: RunArgs,
    proof: ProofArgs,
) -> Result<(RunArgs, ProofArgs), String> {
    let old = Old(config);
    let args = target(&old, load(&old, typed)?)?;
    let args = RunArgs {
        faults: match args.faults {
            none if none.is_empty() && proof.chaos.is_none() => old.parsed("faults")?,
            typed => typed,
        },
        settle: args.settle.or(Some(old.time("settle_s")?)),
        thresholds: if args.thresholds.is_empty() { old.parsed("thresholds")? } else { args.thresholds },
        ..args
    };
    let proof = proved(&old, proof, args.local.is_some())?;
    Ok((args, proof))
}

fn target(old: &Old<'_>, typed: RunArgs) -> Result<RunArgs, String> {
    let target = Old(&old.0["target"]);
    let is_typed = !typed.urls.is_empty() || typed.local.is_some();
    let is_local = typed.urls.is_empty();
    let is_ours = typed.serve.is_none();
    let redis = match target.text("redis").as_deref() {
        Some("url") if typed.redis.is_none() && !is_typed => {
            return Err("the run used a Redis of its own URL: give it again with --redis".into());
        }
        Some("embedded") => Some(RedisChoice::Embedded),
        _ => None,
    };
    let small = |value: &Value| value.as_u64().and_then(|count| u8::try_from(count).ok());
    let urls = target.0["urls"].as_array().into_iter().flatten();
    Ok(RunArgs {
        urls: if is_typed {
            typed.urls
        } else {
            urls.filter_map(|url| Some(url.as_str()?.to_owned())).collect()
        },
        local: if is_typed { typed.local } else { small(&target.0["local"]) },
        serve: typed.serve.or_else(|| target.text("serve").filter(|_| is_local)),
        ready: typed.ready.or_else(|| target.text("ready").filter(|_| is_local)),
        redis: typed.redis.or(redis),
        broker: typed.broker.or(target.named("broker")?.filter(|_| is_ours)),
        bugs: if typed.bugs.is_empty() && is_ours { target.parsed("bugs")? } else { typed.bugs },
        protocol: typed.protocol.or(old.named("protocol")?),
        // What is typed comes last, and the last one counts.
        socketio: [socketio_settings(old.0, &typed.socketio)?, typed.socketio].concat(),
        template: typed.template.or(old.text("template").map(PathBuf::from)),
        node_header: typed.node_header.or(old.text("node_header")),
        replicas: typed.replicas.or(small(&old.0["replicas"])),
        insecure: typed.insecure || old.0["insecure"] == true,
        ..typed
    })
}

fn load(old: &Old<'_>, typed: RunArgs) -> Result<RunArgs, String> {
    let senders = match &old.0["senders"] {
        Value::String(_) => Senders::All,
        _ => Senders::PerRoom(old.count("senders")?),
    };
    let size = match &old.0["size"] {
        Value::String(range) => range.parse().map_err(|_| old.wrong("size"))?,
        _ => Size::fixed(old.count("size")?),
    };
    // A course belongs to the rate that it begins with.
    let is_rate_typed = typed.rate.is_some() || !typed.stages.is_empty();
    let rate_per_client = match typed.rate_per_client {
        None if !is_rate_typed => old.optional("rate_per_client")?,
        each => each,
    };
    let is_connect_rate_typed = typed.connect_rate.is_some() || !typed.connect_stages.is_empty();
    Ok(RunArgs {
        connections: typed.connections.or(Some(old.count("connections")?)),
        connect_rate: typed.connect_rate.or(Some(old.number("connect_rate")?)),
        connect_stages: if is_connect_rate_typed {
            typed.connect_stages
        } else {
            old.parsed("connect_stages")?
        },
        rooms: match typed.room_size {
            Some(_) => typed.rooms,
            None => typed.rooms.or(Some(old.count("rooms")?)),
        },
        zipf: typed.zipf.or(old.optional("zipf")?),
        rate: typed.rate.or(Some(old.number("rate")?).filter(|_| rate_per_client.is_none())),
        rate_per_client,
        stages: if is_rate_typed { typed.stages } else { old.parsed("stages")? },
        arrivals: match typed.arrivals {
            None => {
                old.text("arrivals").map(|law| law.parse().map_err(|_| old.wrong("arrivals"))).transpose()?
            }
            law => law,
        },
        duration: typed.duration.or(Some(old.time("duration_s")?)),
        size: typed.size.or(Some(size)),
        share_all: typed.share_all.or(Some(old.number("share_all")?)),
        senders: typed.senders.or(Some(senders)),
        churn: typed.churn.or(Some(old.number("churn")?)),
        lifetime: match typed.lifetime {
            None if !old.0["lifetime_s"].is_null() => Some(old.time("lifetime_s")?),
            lifetime => lifetime,
        },
        seed: typed.seed.or(old.0["seed"].as_u64()),
        workers: typed.workers.or(Some(old.count("workers")?)),
        ..typed
    })
}

fn proved(old: &Old<'_>, typed: ProofArgs, is_local: bool) -> Result<ProofArgs, String> {
    let contract = old.text("contract").map(|name| name.parse().map_err(|_| old.wrong("contract")));
    let mut orders = typed.orders;
    let wanted = [("total_order", OrderName::Total), ("causal_order", OrderName::Causal)];
    orders.extend(wanted.into_iter().filter(|(name, _)| old.0[*name] == true).map(|(_, order)| order));
    // Their names belong together: of another project they are others.
    let compose = Old(if typed.compose.is_some() || is_local { &Value::Null } else { &old.0["compose"] });
    Ok(ProofArgs {
        compose: typed.compose.or_else(|| compose.text("project")),
        compose_replicas: typed.compose_replicas.or_else(|| compose.text("replicas")),
        compose_redis: typed.compose_redis.or_else(|| compose.text("redis")),
        contract: typed.contract.or(contract.transpose()?),
        orders,
        deadline: typed.deadline.or(Some(old.time("deadline_s")?)),
        ..typed
    })
}

/// The settings of Socket.IO as they are typed.
fn socketio_settings(config: &Value, typed: &[String]) -> Result<Vec<String>, String> {
    let settings = &config["socketio"];
    if settings["auth"] == HIDDEN && !typed.iter().any(|setting| setting.starts_with("auth=")) {
        return Err("the run had an auth of Socket.IO: give it again with --socketio auth=...".into());
    }
    let names = Typed::NAMES.iter().filter(|name| settings[**name] != HIDDEN);
    let value = |name: &&str| Some(format!("{name}={}", settings[name].as_str()?));
    Ok(names.filter_map(value).collect())
}

/// A part of a report's config, read by the names of its fields.
struct Old<'a>(&'a Value);

impl Old<'_> {
    fn wrong(&self, name: &str) -> String {
        format!("the report's config.{name} is not as this version writes it")
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0[name].as_str().map(str::to_owned)
    }

    fn number(&self, name: &str) -> Result<f64, String> {
        self.0[name].as_f64().ok_or_else(|| self.wrong(name))
    }

    fn optional(&self, name: &str) -> Result<Option<f64>, String> {
        if self.0[name].is_null() { Ok(None) } else { self.number(name).map(Some) }
    }

    fn count(&self, name: &str) -> Result<u32, String> {
        self.0[name].as_u64().and_then(|count| u32::try_from(count).ok()).ok_or_else(|| self.wrong(name))
    }

    fn time(&self, name: &str) -> Result<Duration, String> {
        Duration::try_from_secs_f64(self.number(name)?).map_err(|_| self.wrong(name))
    }

    /// One of a few names, if there is one.
    fn named<T: ValueEnum>(&self, name: &str) -> Result<Option<T>, String> {
        self.text(name).map(|text| T::from_str(&text, false).map_err(|_| self.wrong(name))).transpose()
    }

    /// A list of texts, each of which is read.
    fn parsed<T: FromStr>(&self, name: &str) -> Result<Vec<T>, String> {
        let texts = self.0[name].as_array();
        texts
            .and_then(|texts| texts.iter().map(|text| text.as_str()?.parse().ok()).collect())
            .ok_or_else(|| self.wrong(name))
    }
}
