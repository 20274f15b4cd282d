//! Behind a balancer: nginx, which sends a client by its address to one replica, always the same.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ws_server::{BrokerChoice, Config};

use crate::{
    cluster::{assert_whole, checked},
    socketioxide,
};

/// Ended with its test.
struct Nginx {
    url: String,
    child: Child,
    /// Open until it ends: else what it says would end it.
    _says: BufReader<ChildStderr>,
    _folder: TempDir,
}

impl Nginx {
    /// In front of servers at these addresses, with more lines for its location.
    fn start(servers: &[String], more: &str) -> Self {
        // A free port may be taken before nginx has it.
        (0..5).find_map(|_| Self::try_start(servers, more)).expect("nginx starts")
    }

    fn try_start(servers: &[String], more: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration(folder.path(), &free.to_string(), servers, more))
            .expect("written");
        let mut child = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nginx is there");
        let mut says = BufReader::new(child.stderr.take().expect("piped"));
        // It listens before it says how it will wait for events.
        let is_up = says.by_ref().lines().map_while(Result::ok).any(|line| line.contains("event method"));
        let nginx = Self { url: format!("ws://{free}"), child, _says: says, _folder: folder };
        is_up.then_some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It has no other process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(folder: &Path, listen: &str, servers: &[String], more: &str) -> String {
    let servers: String = servers.iter().map(|server| format!("server {server}; ")).collect();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {}/{name}; ", folder.display()))
        .collect();
    format!(
        "daemon off; master_process off; pid {}/nginx.pid; error_log stderr notice;
         events {{ worker_connections 1024; }}
         http {{
             access_log off; {paths}
             upstream app {{ ip_hash; {servers} }}
             server {{
                 listen {listen};
                 location / {{
                     proxy_pass http://app;
                     proxy_http_version 1.1;
                     proxy_set_header Upgrade $http_upgrade;
                     proxy_set_header Connection upgrade;
                     proxy_read_timeout 1h;
                     {more}
                 }}
             }}
         }}",
        folder.display()
    )
}

/// Three replicas of ws-server over one broker.
struct Replicas {
    addresses: Vec<String>,
    shutdown: CancellationToken,
    servers: TaskTracker,
}

impl Replicas {
    async fn start() -> Self {
        let (hub, shutdown, servers) =
            (std::sync::Arc::default(), CancellationToken::new(), TaskTracker::new());
        let mut addresses = Vec::new();
        for number in 1..=3 {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            addresses.push(listener.local_addr().expect("bound").to_string());
            let broker = BrokerChoice::Memory(std::sync::Arc::clone(&hub));
            let config = Config::new(format!("app-{number}"), broker);
            servers.spawn(ws_server::run(listener, config, shutdown.clone()));
        }
        servers.close();
        Self { addresses, shutdown, servers }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.servers.wait().await;
    }
}

/// ip_hash looks at the first three numbers of an address, and neighbours fall to other replicas.
const SOURCES: [&str; 6] =
    ["--source-ip", "127.0.1.1", "--source-ip", "127.0.2.1", "--source-ip", "127.0.3.1"];

const LOAD: [&str; 8] = ["--replicas", "3", "-c", "60", "-r", "300", "-d", "2s"];

#[tokio::test]
#[ignore = "needs nginx: ./test installs it"]
async fn clients_of_several_networks_reach_all_replicas() {
    let replicas = Replicas::start().await;
    let nginx = Nginx::start(&replicas.addresses, "");
    let ended = socketioxide::run_beside(&[&[&*nginx.url], &LOAD[..], &SOURCES[..]].concat()).await;
    replicas.stop().await;
    let document = assert_whole(&ended);
    let mut nodes: Vec<_> = document["target"]["replicas"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|replica| (replica["node"].as_str().expect("a name"), replica["connections"].as_u64()))
        .collect();
    nodes.sort_unstable();
    assert_eq!(nodes, [("app-1", Some(20)), ("app-2", Some(20)), ("app-3", Some(20))], "{document:#}");
    assert_eq!(document["replica_matrix"].as_array().map(Vec::len), Some(9), "{document:#}");
}

#[tokio::test]
#[ignore = "needs nginx: ./test installs it"]
async fn clients_of_one_network_reach_one_replica_and_prove_nothing() {
    let replicas = Replicas::start().await;
    let nginx = Nginx::start(&replicas.addresses, "");
    let ended = socketioxide::run_beside(&[&[&*nginx.url], &LOAD[..]].concat()).await;
    replicas.stop().await;
    let document = ended.document();
    assert_eq!((ended.exit, &document["verdict"]), (Some(3), &"inconclusive".into()), "{document:#}");
    let node = document["target"]["replicas"][0]["node"].as_str().expect("a name");
    let reason = format!("all sockets reached one replica, {node}, so nothing is proved");
    assert!(document["reasons"].to_string().contains(&reason), "{document:#}");
}

/// Socket.IO has no word for who answers: so it is taken for the balancer itself.
#[tokio::test]
#[ignore = "needs nginx: ./test installs it"]
async fn replicas_without_a_name_can_not_be_told_apart() {
    let (url, server) = socketioxide::server(None).await;
    let nginx = Nginx::start(&[url.replace("ws://", "")], "");
    let load = [&LOAD[..], &SOURCES[..], &["--protocol", "socketio"]].concat();
    let ended = socketioxide::run_beside(&[&[&*nginx.url], &load[..]].concat()).await;
    server.abort();
    let document = ended.document();
    assert_eq!((ended.exit, &document["verdict"]), (Some(3), &"inconclusive".into()), "{document:#}");
    let balancer = nginx.url.replace("ws://", "");
    let reason = format!("all sockets reached one replica, {balancer}, so nothing is proved");
    assert!(document["reasons"].to_string().contains(&reason), "{document:#}");
}

/// The header that docs/protocols.md recommends where the servers can't be changed.
#[tokio::test]
#[ignore = "needs nginx: ./test installs it"]
async fn nginx_may_name_the_replicas() {
    let (url, server) = socketioxide::server(None).await;
    let address = url.replace("ws://", "");
    let nginx = Nginx::start(std::slice::from_ref(&address), "add_header X-Node-Id $upstream_addr always;");
    let load = ["--replicas", "1", "-c", "20", "-r", "100", "-d", "1s", "--protocol", "socketio"];
    let ended = socketioxide::run_beside(&[&[&*nginx.url], &load[..]].concat()).await;
    server.abort();
    let document = assert_whole(&ended);
    assert_eq!(document["target"]["replicas"][0]["node"], *address, "{document:#}");
    assert!(checked(&document, "P3") > 0, "{document:#}");
}
