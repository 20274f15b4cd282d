//! A real cluster of two, and whether it works.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use ws_cluster::{
    RedisChoice,
    backend::local::{LocalCluster, LocalOptions},
    fault::{Injected, Nemesis},
    redis::OwnRedis,
    service::Service,
};
use ws_workload::fault::Fault;

/// Everything that should happen does within.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const TOOL: &str = env!("CARGO_BIN_EXE_ws-cluster-child");

pub(crate) fn options(faults: &[&str]) -> LocalOptions {
    LocalOptions {
        replicas: 2,
        redis: RedisChoice::Auto,
        serve: None,
        broker: None,
        bugs: Vec::new(),
        faults: faults.iter().map(|fault| self::fault(fault)).collect(),
        tool: PathBuf::from(TOOL),
        sends_per_second: 1000,
    }
}

pub(crate) fn fault(text: &str) -> Fault {
    text.parse().expect(text)
}

pub(crate) struct World {
    pub(crate) cluster: Arc<LocalCluster>,
    pub(crate) nemesis: Nemesis,
}

impl World {
    pub(crate) async fn new(faults: &[&str]) -> Self {
        Self::of(options(faults)).await
    }

    pub(crate) async fn of(options: LocalOptions) -> Self {
        let cluster = Arc::new(LocalCluster::start(options).await.expect("starts"));
        Self { nemesis: Nemesis::Local(cluster.clone()), cluster }
    }

    pub(crate) async fn inject(&self, text: &str) -> Injected {
        self.nemesis.inject(&fault(text), 0).await.expect(text)
    }

    /// Injects, and returns when it is in effect, with the evidence.
    pub(crate) async fn effective(&self, text: &str) -> (Injected, String) {
        let mut injected = self.inject(text).await;
        let evidence = timeout(PATIENCE, injected.effective()).await.expect("takes hold");
        (injected, evidence)
    }

    pub(crate) async fn refusal(&self, text: &str) -> String {
        self.nemesis.inject(&fault(text), 0).await.expect_err(text).to_string()
    }

    pub(crate) fn redis(&self) -> &OwnRedis {
        self.cluster.redis().and_then(|redis| redis.own()).expect("it is ours")
    }

    pub(crate) fn service(&self, index: usize) -> &Service {
        self.cluster.replicas()[index].service().expect("a process")
    }

    /// Every replica is ready, and each hears what the other's client says.
    pub(crate) async fn works(&self) {
        let ready = async {
            for replica in self.cluster.replicas() {
                let is_ready = async || {
                    let answer = replica.readyz(Duration::from_secs(1)).await;
                    answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
                };
                while !is_ready().await {
                    sleep(Duration::from_millis(10)).await;
                }
            }
        };
        timeout(PATIENCE, ready).await.expect("ready");
        let urls = self.cluster.replicas().iter().map(|replica| replica.url.as_str()).collect::<Vec<_>>();
        let crossed = async {
            // Who comes while the broker is still away is told so, and tries again.
            while !crosses(urls[0], urls[1]).await || !crosses(urls[1], urls[0]).await {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, crossed).await.expect("a message crosses");
        assert_eq!(self.cluster.dead(), Vec::<String>::new());
    }
}

/// Whether a message from a client at `from` comes to one at `to`.
async fn crosses(from: &str, to: &str) -> bool {
    let crossing = async {
        let mut receiver = member(to).await?;
        let mut sender = member(from).await?;
        hears(&mut sender, r#"{"op":"send","ref":2,"room":"r","data":"hello"}"#, r#""ref":2"#).await?;
        hears(&mut receiver, r#"{"op":"leave","ref":9,"room":"other"}"#, r#""hello""#).await
    };
    timeout(Duration::from_secs(3), crossing).await.ok().flatten().is_some()
}

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn member(url: &str) -> Option<Client> {
    let (mut client, _) = connect_async(format!("{url}/ws")).await.ok()?;
    hears(&mut client, r#"{"op":"join","ref":1,"room":"r"}"#, r#""ref":1"#).await?;
    Some(client)
}

/// Says it, and waits for an answer that holds `expected` and no error.
async fn hears(client: &mut Client, says: &str, expected: &str) -> Option<()> {
    client.send(Message::text(says)).await.ok()?;
    loop {
        let heard = client.next().await?.ok()?;
        let text = heard.to_text().unwrap_or_default();
        if text.contains(expected) {
            return (!text.contains("error")).then_some(());
        }
    }
}
