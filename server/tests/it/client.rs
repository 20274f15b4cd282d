//! A client that shares no code with the server: tungstenite.

use std::{collections::VecDeque, net::SocketAddr};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message},
};

use crate::replica::{PATIENCE, Replica};

/// One connection.
pub(crate) struct Client {
    pub(crate) hello: Value,
    socket: WebSocketStream<TcpStream>,
    /// Frames that came while something else was waited for.
    seen: VecDeque<Value>,
    next_reference: u64,
}

impl Client {
    pub(crate) async fn connect(replica: &Replica) -> Self {
        Self::connect_to(replica.address).await.expect("a handshake")
    }

    /// Asks for what was sent to all after `since`.
    pub(crate) async fn resume(replica: &Replica, since: &Value) -> Self {
        let epoch = since["epoch"].as_str().expect("a position");
        let path = format!("/ws?since={epoch}:{}", since["offset"]);
        Self::handshake(replica.address, &path).await.expect("a handshake")
    }

    /// The code by which a connection is closed that gets no hello.
    pub(crate) async fn refused(replica: &Replica, path: &str) -> u16 {
        let stream = TcpStream::connect(replica.address).await.expect("the replica listens");
        let url = format!("ws://{}{path}", replica.address);
        let (mut socket, _) = client_async(url, stream).await.expect("a handshake");
        match timeout(PATIENCE, socket.next()).await.expect("the server closes") {
            Some(Ok(Message::Close(Some(close)))) => close.code.into(),
            other => panic!("no close frame but {other:?}"),
        }
    }

    /// With the error of a handshake that was refused.
    pub(crate) async fn connect_to(address: SocketAddr) -> Result<Self, Error> {
        Self::handshake(address, "/ws").await
    }

    async fn handshake(address: SocketAddr, path: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await.expect("the replica listens");
        let (socket, _) = client_async(format!("ws://{address}{path}"), stream).await?;
        let mut client = Self { hello: Value::Null, socket, seen: VecDeque::new(), next_reference: 1 };
        client.hello = client.next().await;
        assert_eq!(client.hello["op"], "hello");
        Ok(client)
    }

    pub(crate) fn name(&self) -> &str {
        self.hello["session"].as_str().expect("the hello names the session")
    }

    pub(crate) async fn say(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.expect("the connection is open");
    }

    /// Adds a `ref` to `request`, sends it, and returns the answer with that `ref`.
    pub(crate) async fn ask(&mut self, request: Value) -> Value {
        let reference = self.request(request).await;
        self.answer(reference).await
    }

    /// Sends without waiting for the answer.
    pub(crate) async fn request(&mut self, mut request: Value) -> u64 {
        let reference = self.next_reference;
        self.next_reference += 1;
        request["ref"] = reference.into();
        self.say(request.to_string()).await;
        reference
    }

    /// The answer to request `reference`.
    pub(crate) async fn answer(&mut self, reference: u64) -> Value {
        self.wait_for(|frame| frame["ref"] == reference).await
    }

    pub(crate) async fn join(&mut self, room: &str) {
        self.expect_ack(json!({"op": "join", "room": room})).await;
    }

    pub(crate) async fn send(&mut self, room: &str, data: &str) {
        self.expect_ack(json!({"op": "send", "room": room, "data": data})).await;
    }

    pub(crate) async fn expect_ack(&mut self, request: Value) {
        let answer = self.ask(request.clone()).await;
        assert_eq!(answer["op"], "ack", "{request}: {answer}");
    }

    /// The next error, of whatever request.
    pub(crate) async fn error(&mut self) -> Value {
        self.wait_for(|frame| frame["op"] == "error").await
    }

    /// The next delivery.
    pub(crate) async fn delivery(&mut self) -> Value {
        self.wait_for(|frame| frame["op"] == "message").await
    }

    /// The notice that messages in `room` may have been lost.
    pub(crate) async fn gap(&mut self, room: &str) -> Value {
        self.wait_for(|frame| frame["op"] == "gap" && frame["room"] == room).await
    }

    /// The same of messages to all.
    pub(crate) async fn gap_to_all(&mut self) -> Value {
        self.wait_for(|frame| frame["op"] == "gap" && frame.get("room").is_none()).await
    }

    /// The data of the deliveries up to the one that says `last`, inclusive.
    pub(crate) async fn data_until(&mut self, last: &str) -> Vec<String> {
        let mut data = Vec::new();
        loop {
            let delivery = self.delivery().await;
            data.push(delivery["data"].as_str().expect("a string").to_owned());
            if delivery["data"] == last {
                return data;
            }
        }
    }

    /// Whether a frame with `op` came while others were waited for.
    pub(crate) fn has_seen(&self, op: &str) -> bool {
        self.seen.iter().any(|frame| frame["op"] == op)
    }

    /// The code and reason by which the server closes, whatever comes before.
    pub(crate) async fn closed(mut self) -> (u16, String) {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("the server closes") {
                Some(Ok(Message::Close(Some(close)))) => {
                    return (close.code.into(), close.reason.to_string());
                }
                Some(Ok(_)) => {}
                end => panic!("no close frame but {end:?}"),
            }
        }
    }

    /// All frames up to the server's close frame, and its code.
    pub(crate) async fn rest(mut self) -> (Vec<Value>, u16) {
        let mut frames = Vec::from(std::mem::take(&mut self.seen));
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("the server closes") {
                Some(Ok(Message::Text(text))) => {
                    frames.push(serde_json::from_str(&text).expect("every frame is JSON"));
                }
                Some(Ok(Message::Close(Some(close)))) => return (frames, close.code.into()),
                Some(Ok(_)) => {}
                end => panic!("no close frame but {end:?}"),
            }
        }
    }

    /// Sends bytes past the WebSocket library.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).await.expect("the connection is open");
    }

    /// All bytes that come until the server hangs up, unanswered.
    pub(crate) async fn raw_to_end(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let reading = self.socket.get_mut().read_to_end(&mut bytes);
        timeout(PATIENCE, reading).await.expect("the server hangs up").expect("in order");
        bytes
    }

    /// Says goodbye; returns the code that comes back.
    pub(crate) async fn goodbye(mut self) -> u16 {
        self.socket.close(None).await.expect("the connection is open");
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("the server answers") {
                Some(Ok(Message::Close(close))) => return close.map_or(1005, |close| close.code.into()),
                Some(Ok(_)) => {}
                end => panic!("no close frame but {end:?}"),
            }
        }
    }

    async fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(found) = self.seen.iter().position(&wanted) {
            return self.seen.remove(found).expect("just found");
        }
        loop {
            let frame = self.next().await;
            if wanted(&frame) {
                return frame;
            }
            self.seen.push_back(frame);
        }
    }

    async fn next(&mut self) -> Value {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("a frame comes") {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).expect("every frame is JSON");
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no frame but {other:?}"),
            }
        }
    }
}
