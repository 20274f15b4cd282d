//! The language of the servers, from what was typed.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum as _;
use ws_wire::codec::{Protocol, socketio::Typed, template::Template};
use ws_workload::{file::ScenarioFile, scenario::Scenario};

use crate::args::{ProtocolName, RunArgs};

/// Names the replica in a handshake's answer, unless another one is said to.
const NODE_HEADER: &str = "x-node-id";

/// The language of the servers.
#[derive(Clone, Debug)]
pub struct Speech {
    /// What reads and writes it.
    pub codec: Protocol,
    /// The settings of Socket.IO that were given.
    pub socketio: Typed,
    /// The file of a template.
    pub template: Option<PathBuf>,
    /// The header of a handshake's answer that names the replica.
    pub node_header: String,
}

impl Speech {
    /// What was typed wins over the file; a setting of one protocol chooses that protocol.
    ///
    /// # Errors
    /// Two protocols at once, a setting that can't be, a template that is none.
    pub(super) fn new(args: &RunArgs, file: &ScenarioFile) -> anyhow::Result<Self> {
        let mut typed = Typed::default();
        for setting in &args.socketio {
            typed.set(setting).map_err(anyhow::Error::msg).context("--socketio")?;
        }
        let socketio = typed.or(file.socketio.clone());
        let template = args.template.clone().or_else(|| file.protocol.template.as_ref().map(PathBuf::from));
        let named = match (args.protocol, &file.protocol.name) {
            (Some(name), _) => Some(name),
            (None, Some(name)) => Some(ProtocolName::from_str(name, false).map_err(anyhow::Error::msg)?),
            (None, None) => None,
        };
        let has_settings = socketio != Typed::default();
        let name = named.unwrap_or(match (&template, has_settings) {
            (Some(_), _) => ProtocolName::Template,
            (None, true) => ProtocolName::Socketio,
            (None, false) => ProtocolName::Native,
        });
        ensure!(
            name == ProtocolName::Socketio || !has_settings,
            "settings of Socket.IO are for --protocol socketio"
        );
        ensure!(
            name == ProtocolName::Template || template.is_none(),
            "--template is for --protocol template"
        );
        let codec = match (name, &template) {
            (ProtocolName::Native, _) => Protocol::Native,
            (ProtocolName::Socketio, _) => Protocol::SocketIo(Arc::new(socketio.resolve()?)),
            (ProtocolName::Template, None) => {
                bail!(
                    "--protocol template needs a file that describes it: --template FILE (docs/protocols.md)"
                )
            }
            (ProtocolName::Template, Some(path)) => {
                let text = std::fs::read_to_string(path);
                let text = text.with_context(|| format!("--template {}", path.display()))?;
                let template = Template::parse(&text);
                let template = template.with_context(|| format!("--template {}", path.display()))?;
                Protocol::Template(Arc::new(template))
            }
        };
        let node_header = args.node_header.clone().or(file.protocol.node_header.clone());
        let node_header = node_header.unwrap_or_else(|| NODE_HEADER.into());
        Ok(Self { codec, socketio, template, node_header })
    }

    /// Whether the protocol has what the scenario wants.
    ///
    /// # Errors
    /// It has not; says what to do.
    pub(super) fn check(&self, scenario: &Scenario) -> anyhow::Result<()> {
        let hint = match self.codec {
            Protocol::SocketIo(_) => "say which event does it, with --socketio",
            _ => "describe it in the template",
        };
        let name = self.codec.name();
        ensure!(
            scenario.churn == 0.0 && scenario.lifetime.is_none() || self.codec.can_leave(),
            "--churn and --lifetime: {name} as it is set has nothing to leave a room with; {hint} (leave)"
        );
        ensure!(
            scenario.share_all == 0.0 || self.codec.can_send_to_all(),
            "--share-all: {name} as it is set has nothing to send to all with; {hint} (all, hear-all)"
        );
        Ok(())
    }
}
