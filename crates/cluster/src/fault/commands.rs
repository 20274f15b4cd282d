//! Faults of any deployment, by the user's own commands.

mod shell;

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use tokio::time::sleep;
use ws_workload::fault::{Fault, Kind, On};

use super::{Boxed, Held, Injection};
use shell::{Cancelled, Running};

/// How often the proof is asked for.
const POLL: Duration = Duration::from_millis(100);

/// The commands of one kind of fault, each for `sh -c`. They are told the fault in `WS_FAULT` (its name), `WS_NODE` (`any`,
/// `all` or a replica's name) and `WS_SECONDS`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandFault {
    /// Breaks it, and ends with 0 when that is done.
    pub inject: String,
    /// Ends with 0 once the fault has taken hold; its first line is the evidence. Asked again and again.
    pub proof: Option<String>,
    /// Undoes it, and ends with 0 when the target is back.
    pub heal: Option<String>,
}

/// The user's commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands(pub BTreeMap<Kind, CommandFault>);

/// A fault that is healed by a command, at the latest when this is dropped.
struct Commanded {
    command: CommandFault,
    env: Env,
    is_healed: bool,
}

/// What the commands are told.
type Env = [(&'static str, String); 3];

impl Commands {
    /// Whether there are commands for `fault` that prove what they do.
    pub(super) fn supports(&self, fault: &Fault) -> Result<(), String> {
        let kind = fault.kind;
        match self.0.get(&kind) {
            None => Err(format!(
                "{kind}: there is no command for it; give one to inject, one for the proof, one to heal"
            )),
            Some(CommandFault { proof: None, .. }) => Err(format!(
                "{kind}: it has no proof command, so nobody would know that it happened; give one that ends with 0 once \
                 it has taken hold"
            )),
            Some(_) => Ok(()),
        }
    }

    pub(super) async fn inject(&self, fault: &Fault) -> Injection {
        let command = self.0.get(&fault.kind).ok_or("there is no command for it")?.clone();
        let on = on(&fault.on);
        // Before the injection: what failed or was cancelled half-way is healed as well.
        let held = Commanded { env: env(fault), command, is_healed: false };
        let mut inject = Running::start(&held.command.inject, &held.env, Cancelled::End)?;
        inject.succeeds("inject").await?;
        Ok((vec![on], Box::new(held)))
    }
}

impl Held for Commanded {
    fn effective(&mut self) -> Boxed<'_, String> {
        Box::pin(async {
            loop {
                if let Some(evidence) = self.proof().await {
                    return evidence;
                }
                sleep(POLL).await;
            }
        })
    }

    fn heal(mut self: Box<Self>) -> Boxed<'static, Result<String, String>> {
        Box::pin(async move {
            self.is_healed = true;
            let Some(heal) = &self.command.heal else { return Ok("there is no heal command".into()) };
            let mut heal = Running::start(heal, &self.env, Cancelled::Leave)?;
            let said = heal.succeeds("heal").await?;
            Ok(said.unwrap_or_else(|| "the heal command ended with 0".into()))
        })
    }
}

impl Commanded {
    /// The evidence, if the proof command finds any now.
    async fn proof(&self) -> Option<String> {
        let proof = self.command.proof.as_ref()?;
        let mut proof = Running::start(proof, &self.env, Cancelled::End).ok()?;
        let said = proof.succeeds("proof").await.ok()?;
        Some(said.unwrap_or_else(|| "the proof command ended with 0".into()))
    }
}

impl Drop for Commanded {
    fn drop(&mut self) {
        if let (false, Some(heal)) = (self.is_healed, &self.command.heal) {
            // It can't be said to anybody any more.
            let _ = Running::start(heal, &self.env, Cancelled::Leave);
        }
    }
}

fn env(fault: &Fault) -> Env {
    [
        ("WS_FAULT", fault.kind.name().to_owned()),
        ("WS_NODE", on(&fault.on)),
        ("WS_SECONDS", fault.lasts.as_secs_f64().to_string()),
    ]
}

fn on(on: &On) -> String {
    match on {
        On::Any => "any".into(),
        On::All => "all".into(),
        On::Node(node) => node.clone(),
    }
}
