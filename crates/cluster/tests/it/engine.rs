//! As much of a Docker engine as faults use: it listens on a socket of its own, keeps containers in memory and writes down
//! what it was asked to do.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use ws_cluster::backend::compose::{ComposeOptions, Project};

/// One that answers until the test ends.
pub(crate) struct Engine {
    folder: TempDir,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    containers: Mutex<BTreeMap<String, Fake>>,
    calls: Mutex<Vec<String>>,
    /// Whoever holds it lets kills wait.
    kills: tokio::sync::Mutex<()>,
    execs: Mutex<Vec<Vec<String>>>,
    marker: Mutex<String>,
}

#[derive(Clone)]
struct Fake {
    service: String,
    number: u32,
    status: String,
    is_running: bool,
    is_paused: bool,
    exit_code: i64,
    networks: BTreeMap<String, Value>,
}

impl Engine {
    /// Three replicas `app-1` to `app-3` on the networks `front` and `back`, and `redis-1` on `back`.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("docker.sock")).expect("a socket");
        let shared = Arc::new(Shared::default());
        for name in ["app-1", "app-2", "app-3"] {
            shared.add(name, 1, &["back", "front"]);
        }
        shared.add("redis", 1, &["back"]);
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = serving.clone();
                std::thread::spawn(move || shared.answer(stream));
            }
        });
        Self { folder, shared }
    }

    pub(crate) fn options(&self) -> ComposeOptions {
        ComposeOptions {
            project: "ws".into(),
            replicas: "app-*".into(),
            redis: "redis-1".into(),
            docker_host: Some(format!("unix://{}/docker.sock", self.folder.path().display())),
        }
    }

    pub(crate) async fn project(&self) -> Arc<Project> {
        Arc::new(Project::find(self.options()).await.expect("it is there"))
    }

    /// One more container.
    pub(crate) fn add(&self, service: &str, number: u32, networks: &[&str]) {
        self.shared.add(service, number, networks);
    }

    /// Its health checks fail.
    pub(crate) fn sicken(&self, id: &str) {
        let mut containers = self.shared.containers.lock().expect("no panic");
        containers.get_mut(id).expect("it is there").status = "Up 2 hours (unhealthy)".into();
    }

    /// What was done since the last time; not what was looked at.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.calls.lock().expect("no panic"))
    }

    /// Kills wait while this is held.
    pub(crate) async fn hold_kills(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.shared.kills.lock().await
    }

    /// As a Redis that keeps nothing.
    pub(crate) fn forget(&self) {
        self.shared.marker.lock().expect("no panic").clear();
    }

    /// Whether everything is as it was made.
    pub(crate) fn is_whole(&self) -> bool {
        let networks = |fake: &Fake| if fake.service == "redis" { 1 } else { 2 };
        let is_whole =
            |fake: &Fake| fake.is_running && !fake.is_paused && fake.networks.len() == networks(fake);
        self.shared.containers.lock().expect("no panic").values().all(is_whole)
    }
}

impl Shared {
    fn add(&self, service: &str, number: u32, networks: &[&str]) {
        let endpoint = |name: &&str| {
            let aliases =
                json!({ "NetworkID": format!("id-{name}"), "Aliases": [service], "IPAddress": "10.0.0.2" });
            ((*name).to_owned(), aliases)
        };
        let networks = networks.iter().map(endpoint).collect();
        let fake = Fake {
            service: service.into(),
            number,
            status: "Up 2 hours (healthy)".into(),
            is_running: true,
            is_paused: false,
            exit_code: 0,
            networks,
        };
        self.containers.lock().expect("no panic").insert(format!("{service}-{number}"), fake);
    }

    fn answer(&self, stream: UnixStream) {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("a request");
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).expect("headers");
            if let Some(value) = header.strip_prefix("Content-Length: ") {
                length = value.trim().parse().expect("a number");
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let mut words = line.split(' ');
        let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
        if method == "POST" && !path.contains("exec") {
            let what = body["EndpointConfig"]
                .as_object()
                .map(|config| json!(config).to_string())
                .unwrap_or_default();
            let who = body["Container"].as_str().unwrap_or_default();
            let call = format!("{path} {who} {what}");
            self.calls.lock().expect("no panic").push(call.trim().to_owned());
        }
        let (status, answer) = self
            .carried_out(path, &body)
            .unwrap_or_else(|(status, why)| (status, json!({ "message": why }).to_string().into_bytes()));
        let mut stream = reader.into_inner();
        let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n");
        // Whoever asked may be gone.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer));
    }

    fn carried_out(&self, path: &str, body: &Value) -> Result<(u16, Vec<u8>), (u16, String)> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match words[..] {
            ["containers", "json"] => Ok((200, self.list(query))),
            ["containers", id, "exec"] => {
                let command = body["Cmd"].as_array().expect("a command").iter();
                let command = command.map(|word| word.as_str().expect("text").to_owned()).collect();
                let mut execs = self.execs.lock().expect("no panic");
                execs.push(command);
                assert!(id.starts_with("redis"), "{id}");
                Ok((201, json!({ "Id": (execs.len() - 1).to_string() }).to_string().into_bytes()))
            }
            ["exec", id, "start"] => {
                let said =
                    self.redis(&self.execs.lock().expect("no panic")[id.parse::<usize>().expect("an id")]);
                let length = u8::try_from(said.len()).expect("short");
                Ok((200, [&[1, 0, 0, 0, 0, 0, 0, length], said.as_bytes()].concat()))
            }
            ["exec", _, "json"] => Ok((200, br#"{"ExitCode":0}"#.to_vec())),
            ["containers", id, what] => {
                let _wait = (what == "kill").then(|| self.kills.blocking_lock());
                self.container(id, |fake| fake.done(what))
            }
            ["networks", network, what] => {
                self.container(body["Container"].as_str().expect("an id"), |fake| {
                    let name = network.strip_prefix("id-").expect("an id").to_owned();
                    let is_on = match what {
                        "disconnect" => fake.networks.remove(&name).is_some(),
                        _ => fake.networks.insert(name, body["EndpointConfig"].clone()).is_none(),
                    };
                    if is_on { Ok(Vec::new()) } else { Err("it is so already".into()) }
                })
            }
            _ => Err((404, "page not found".into())),
        }
    }

    fn container(
        &self,
        id: &str,
        done: impl FnOnce(&mut Fake) -> Result<Vec<u8>, String>,
    ) -> Result<(u16, Vec<u8>), (u16, String)> {
        let mut containers = self.containers.lock().expect("no panic");
        let fake = containers.iter_mut().find(|(full, _)| full.starts_with(id));
        let (_, fake) = fake.ok_or_else(|| (404, format!("No such container: {id}")))?;
        done(fake).map(|answer| (200, answer)).map_err(|why| (409, why))
    }

    fn list(&self, query: &str) -> Vec<u8> {
        let containers = self.containers.lock().expect("no panic");
        let one = |(id, fake): (&String, &Fake)| {
            json!({ "Id": id, "Status": fake.status, "NetworkSettings": { "Networks": fake.networks }, "Labels": {
                "com.docker.compose.project": "ws",
                "com.docker.compose.service": fake.service,
                "com.docker.compose.container-number": fake.number.to_string(),
                "com.docker.compose.oneoff": "False",
            } })
        };
        let is_asked = query.contains("project%3Dws%22") || !query.contains("project%3D");
        json!(containers.iter().filter(|_| is_asked).map(one).collect::<Vec<_>>()).to_string().into_bytes()
    }

    /// What its client prints.
    fn redis(&self, command: &[String]) -> String {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words[..] {
            ["redis-cli", "SET", _, value, "EX", _] => {
                value.clone_into(&mut self.marker.lock().expect("no panic"));
                "OK\n".into()
            }
            ["redis-cli", "GET", _] => format!("{}\n", self.marker.lock().expect("no panic")),
            ["redis-cli", "CLIENT", "KILL", "TYPE", "pubsub"] => "3\n".into(),
            _ => panic!("{words:?}"),
        }
    }
}

impl Fake {
    fn done(&mut self, what: &str) -> Result<Vec<u8>, String> {
        let is_as_it_should = match what {
            "json" => {
                let state = json!({ "Running": self.is_running, "Paused": self.is_paused, "ExitCode": self.exit_code,
                    "Restarting": false, "Health": { "Status": "healthy" } });
                return Ok(json!({ "State": state, "NetworkSettings": { "Networks": self.networks } })
                    .to_string()
                    .into_bytes());
            }
            "start" => !std::mem::replace(&mut self.is_running, true),
            "pause" => self.is_running && !std::mem::replace(&mut self.is_paused, true),
            "unpause" => std::mem::replace(&mut self.is_paused, false),
            _ => {
                self.exit_code = if what == "kill" { 137 } else { 0 };
                self.is_paused = false;
                std::mem::replace(&mut self.is_running, false)
            }
        };
        if is_as_it_should { Ok(Vec::new()) } else { Err(format!("{what}: it is not so")) }
    }
}
