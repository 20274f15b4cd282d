//! The Docker Engine API over its socket, as far as faults need it: a few short calls in JSON.
//!
//! Blocking, and by hand. A heal has to work while it is dropped, where nothing can be awaited; and a request in HTTP/1.0
//! has an answer that ends with the connection, so there is nothing to parse that would be worth a crate.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

/// How long one call may be silent: longer than a container has to stop.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where an engine is unless `$DOCKER_HOST` says otherwise.
const SOCKET: &str = "/var/run/docker.sock";

/// An engine.
#[derive(Debug)]
pub(crate) struct Engine {
    socket: PathBuf,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `$DOCKER_HOST` names no socket.
    #[error("DOCKER_HOST={0}: only an engine on this machine can be used, by unix:///path/of/its.sock")]
    Host(String),
    /// Nobody answers there.
    #[error("no Docker engine answers at {}: {why}; is it running, and may this user use it? ($DOCKER_HOST)", socket.display())]
    NoAnswer {
        /// Where it was looked for.
        socket: PathBuf,
        /// The system's word.
        why: io::Error,
    },
    /// It said no.
    #[error("the Docker engine refuses {call}: {message} ({status})")]
    Refused {
        /// What was asked.
        call: String,
        /// Of HTTP.
        status: u16,
        /// In its own words.
        message: String,
    },
    /// What it said is nothing that an engine says.
    #[error("the answer to {0} is not as a Docker engine gives it")]
    Answer(String),
    /// A program in a container failed.
    #[error("{command} failed ({code}): {said}")]
    Exec {
        /// With its arguments.
        command: String,
        /// Its exit code.
        code: i64,
        /// On both outputs.
        said: String,
    },
}

impl Engine {
    /// The one at `host`, which is the value of `$DOCKER_HOST`, or at the usual place.
    pub(crate) fn at(host: Option<&str>) -> Result<Self, EngineError> {
        let socket = match host.filter(|host| !host.is_empty()) {
            None => SOCKET,
            Some(host) => host.strip_prefix("unix://").ok_or_else(|| EngineError::Host(host.to_owned()))?,
        };
        Ok(Self { socket: Path::new(socket).to_owned() })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, EngineError> {
        self.json("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, EngineError> {
        self.json("POST", path, body)
    }

    /// Runs `command` in a container: what it said. It has to end with 0.
    pub(crate) fn exec(&self, container: &str, command: &[&str]) -> Result<String, EngineError> {
        let made = self.post(
            &format!("/containers/{container}/exec"),
            Some(&json!({ "AttachStdout": true, "AttachStderr": true, "Cmd": command })),
        )?;
        let not_so = || EngineError::Answer("exec".into());
        let id = made["Id"].as_str().ok_or_else(not_so)?;
        let start = json!({ "Detach": false, "Tty": false });
        let said = self.ask("POST", &format!("/exec/{id}/start"), Some(&start))?;
        let said = String::from_utf8_lossy(&demultiplexed(&said)).trim().to_owned();
        match self.get(&format!("/exec/{id}/json"))?["ExitCode"].as_i64() {
            Some(0) => Ok(said),
            Some(code) => Err(EngineError::Exec { command: command.join(" "), code, said }),
            None => Err(not_so()),
        }
    }

    fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, EngineError> {
        let answer = self.ask(method, path, body)?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer).map_err(|_| EngineError::Answer(format!("{method} {path}")))
    }

    /// The body of the answer.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Vec<u8>, EngineError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut answer = Vec::new();
        let mut talk = || -> io::Result<()> {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            stream.write_all(request.as_bytes())?;
            stream.read_to_end(&mut answer).map(drop)
        };
        talk().map_err(|why| EngineError::NoAnswer { socket: self.socket.clone(), why })?;
        let call = || format!("{method} {}", path.split('?').next().unwrap_or_default());
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.ok_or_else(|| EngineError::Answer(call()))?;
        let body = answer.split_off(end + 4);
        let status = std::str::from_utf8(&answer).ok().and_then(|head| head.split(' ').nth(1)?.parse().ok());
        match status {
            // 304: it was so already.
            Some(200..=299 | 304) => Ok(body),
            Some(status) => Err(EngineError::Refused { call: call(), status, message: message(&body) }),
            None => Err(EngineError::Answer(call())),
        }
    }
}

fn message(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).ok();
    let said = said.and_then(|said| said["message"].as_str().map(str::to_owned));
    said.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}

/// Both outputs of a program come as frames: a byte that says which, three zeros, the length, the bytes.
fn demultiplexed(mut frames: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    while let Some((head, rest)) = frames.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
        said.extend_from_slice(&rest[..length]);
        frames = &rest[length..];
    }
    said
}

/// `text` as the value of a parameter in a path.
pub(crate) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_on_this_machine() {
        let socket = |host: Option<&str>| Engine::at(host).map(|engine| engine.socket);
        assert_eq!(socket(None).expect("the usual one"), Path::new(SOCKET));
        assert_eq!(socket(Some("")).expect("the usual one"), Path::new(SOCKET));
        assert_eq!(
            socket(Some("unix:///run/user/1/docker.sock")).expect("it"),
            Path::new("/run/user/1/docker.sock")
        );
        assert!(socket(Some("tcp://10.0.0.1:2375")).expect_err("far away").to_string().contains("unix://"));
    }

    #[test]
    fn both_outputs_are_one_text() {
        let frames = [
            &[1, 0, 0, 0, 0, 0, 0, 2][..],
            b"3\n",
            &[2, 0, 0, 0, 0, 0, 0, 1],
            b"!",
            &[1, 0, 0, 0, 0, 0, 0, 9],
            b"cut",
        ];
        assert_eq!(demultiplexed(&frames.concat()), b"3\n!cut");
        assert_eq!(demultiplexed(b""), b"");
    }

    #[test]
    fn what_is_no_letter_is_escaped() {
        assert_eq!(escaped(r#"{"a-b":["é"]}"#), "%7B%22a-b%22%3A%5B%22%C3%A9%22%5D%7D");
    }
}
