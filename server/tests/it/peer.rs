//! A client that speaks Socket.IO packet by packet: tungstenite, and what is said is written out.

use std::collections::VecDeque;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, http::HeaderMap},
};

use crate::replica::{PATIENCE, Replica};

/// One connection, before or in the namespace.
pub(crate) struct Peer {
    pub(crate) open: Value,
    pub(crate) headers: HeaderMap,
    socket: WebSocketStream<TcpStream>,
    /// Text frames that came while another was waited for.
    seen: VecDeque<String>,
    next_id: u64,
}

impl Peer {
    /// Up to the open packet.
    pub(crate) async fn open(replica: &Replica) -> Self {
        let stream = TcpStream::connect(replica.address).await.expect("the replica listens");
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", replica.address);
        let (socket, response) = client_async(url, stream).await.expect("a handshake");
        let headers = response.headers().clone();
        let mut peer = Self { open: Value::Null, headers, socket, seen: VecDeque::new(), next_id: 0 };
        let open = peer.text().await;
        let json = open.strip_prefix('0').unwrap_or_else(|| panic!("no open packet but {open}"));
        peer.open = serde_json::from_str(json).expect("JSON");
        peer
    }

    /// Up to the namespace; with the session's name.
    pub(crate) async fn connect(replica: &Replica) -> (Self, String) {
        let mut peer = Self::open(replica).await;
        let sid = peer.enter().await;
        (peer, sid)
    }

    pub(crate) async fn enter(&mut self) -> String {
        self.say(r#"40{"token":"ignored"}"#).await;
        let connected = self.text().await;
        let json = connected.strip_prefix("40").unwrap_or_else(|| panic!("no CONNECT but {connected}"));
        let json: Value = serde_json::from_str(json).expect("JSON");
        json["sid"].as_str().expect("a sid").to_owned()
    }

    pub(crate) async fn say(&mut self, packet: &str) {
        self.socket.send(Message::text(packet)).await.expect("the connection is open");
    }

    pub(crate) async fn attach(&mut self, bytes: &'static [u8]) {
        self.socket.send(Message::binary(bytes)).await.expect("the connection is open");
    }

    /// Emits an event, and returns the first argument of its ack.
    pub(crate) async fn ask(&mut self, name: &str, argument: Value) -> Value {
        let id = self.emit(name, argument).await;
        self.ack(id).await
    }

    pub(crate) async fn emit(&mut self, name: &str, argument: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.say(&format!("42{id}{}", json!([name, argument]))).await;
        id
    }

    pub(crate) async fn ack(&mut self, id: u64) -> Value {
        let packet = self.wait_for(&format!("43{id}[")).await;
        let arguments: Value =
            serde_json::from_str(&packet[packet.find('[').expect("just seen")..]).expect("JSON");
        assert_eq!(arguments.as_array().map(Vec::len), Some(1), "{packet}");
        arguments[0].clone()
    }

    pub(crate) async fn join(&mut self, room: &str) {
        assert_eq!(self.ask("joinRoom", json!({"room": room})).await["ok"], true);
    }

    /// The argument of the next event called `name`.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        let packet = self.wait_for(&format!("42[\"{name}\"")).await;
        let event: Value = serde_json::from_str(&packet[2..]).expect("JSON");
        event[1].clone()
    }

    /// The next text that begins so; attachments before it are not of interest.
    pub(crate) async fn wait_for(&mut self, start: &str) -> String {
        if let Some(found) = self.seen.iter().position(|packet| packet.starts_with(start)) {
            return self.seen.remove(found).expect("just found");
        }
        loop {
            match self.message().await {
                Message::Text(text) if text.starts_with(start) => return text.to_string(),
                Message::Text(text) => self.seen.push_back(text.to_string()),
                _ => {}
            }
        }
    }

    pub(crate) async fn text(&mut self) -> String {
        match self.message().await {
            Message::Text(text) => text.to_string(),
            other => panic!("no text but {other:?}"),
        }
    }

    pub(crate) async fn binary(&mut self) -> Vec<u8> {
        match self.message().await {
            Message::Binary(bytes) => bytes.to_vec(),
            other => panic!("no attachment but {other:?}"),
        }
    }

    async fn message(&mut self) -> Message {
        let next = timeout(PATIENCE, self.socket.next()).await.expect("a frame comes");
        next.expect("the connection is open").expect("in order")
    }

    /// The code by which the server closes, whatever comes before.
    pub(crate) async fn closed(mut self) -> u16 {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("the server closes") {
                Some(Ok(Message::Close(Some(close)))) => return close.code.into(),
                Some(Ok(_)) => {}
                end => panic!("no close frame but {end:?}"),
            }
        }
    }
}
