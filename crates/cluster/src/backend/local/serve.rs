//! Somebody else's server program as the replicas.

use std::{net::SocketAddr, path::Path, process::Command};

use super::{LocalOptions, StartError};
use crate::{RedisChoice, child};

/// A server program. Each replica is one run of it, which finds in its environment, beside that of the tool: `PORT`, `HOST`
/// and both as `LISTEN` (where to listen), `NODE_ID` (its name) and `REDIS_URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// For `sh -c`. It stays in the foreground, and listens with `SO_REUSEADDR`.
    pub command: String,
    /// Asked for by GET: the program is ready when the answer is 2xx, or 404 or 426 where it has no such path.
    pub ready_path: String,
}

/// What does not go together with a program of somebody else's.
pub(super) fn check(options: &LocalOptions) -> Result<(), StartError> {
    let Some(serve) = &options.serve else { return Ok(()) };
    let why = match options {
        _ if serve.command.trim().is_empty() => "--serve: there is no command",
        _ if !serve.ready_path.starts_with('/') || serve.ready_path.contains(char::is_whitespace) => {
            "--ready is a path like /healthz"
        }
        LocalOptions { redis: RedisChoice::Embedded, .. } => {
            "--redis embedded is for replicas in this process; --serve starts programs of their own, and gives them a Redis"
        }
        LocalOptions { broker: Some(_), .. } => {
            "--broker is for our own server; configure that of --serve by its command"
        }
        LocalOptions { bugs, .. } if !bugs.is_empty() => {
            "--bug breaks our own server, and not that of --serve"
        }
        _ => return Ok(()),
    };
    Err(StartError::Usage(why.into()))
}

impl Serve {
    /// The command line of the replica `node`.
    pub(super) fn command(&self, tool: &Path, node: &str, address: SocketAddr, redis_url: &str) -> Command {
        let mut command = child::guarded_shell(tool, &self.script());
        command
            .env("HOST", address.ip().to_string())
            .env("PORT", address.port().to_string())
            .env("LISTEN", address.to_string())
            .env("NODE_ID", node)
            .env("REDIS_URL", redis_url);
        command
    }

    /// Standard output is ours, so all that it says goes the way of its errors. One plain command takes the shell's place:
    /// it is told of a SIGTERM, and its end is the replica's.
    fn script(&self) -> String {
        let command = self.command.trim();
        let first = command.split_whitespace().next().unwrap_or_default();
        let is_plain = !command.contains(['&', ';', '|', '(', ')', '{', '}', '\n'])
            && !first.contains('=')
            && first != "exec";
        format!("exec 1>&2\n{}{command}", if is_plain { "exec " } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_command_takes_the_place_of_the_shell() {
        let check = |command: &str, script: &str| {
            let serve = Serve { command: command.into(), ready_path: "/".into() };
            assert_eq!(serve.script(), format!("exec 1>&2\n{script}"));
        };
        check(" node app.js --port $PORT", "exec node app.js --port $PORT");
        check("cd app && exec node app.js", "cd app && exec node app.js");
        check("WORKERS=1 node app.js", "WORKERS=1 node app.js");
        check("node app.js > log", "exec node app.js > log");
        check("exec node app.js", "exec node app.js");
    }
}
