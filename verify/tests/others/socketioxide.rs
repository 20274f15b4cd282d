//! A server of Socket.IO in Rust: one replica in this process, so that this needs nothing but Cargo.

use axum::{Router, http::HeaderValue, response::Response};
use serde_json::{Value, json};
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef},
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    cluster::{assert_whole, checked, run},
    tool::Ended,
};

/// A server with the events of the default settings; its URL, and its task.
pub(crate) async fn server(node: Option<&'static str>) -> (String, JoinHandle<()>) {
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", async |socket: SocketRef| {
        socket.on("joinRoom", async |socket: SocketRef, Data::<Value>(data), ack: AckSender| {
            socket.join(text(&data, "room"));
            ack.send(&json!({ "ok": true })).ok();
        });
        socket.on("leaveRoom", async |socket: SocketRef, Data::<Value>(data), ack: AckSender| {
            socket.leave(text(&data, "room"));
            ack.send(&json!({ "ok": true })).ok();
        });
        socket.on("message", async |io: SocketIo, Data::<Value>(data), ack: AckSender| {
            io.to(text(&data, "room")).emit("message", &data).await.ok();
            ack.send(&json!({ "ok": true })).ok();
        });
        socket.on("all", async |io: SocketIo, Data::<Value>(data), ack: AckSender| {
            io.emit("all", &data).await.ok();
            ack.send(&json!({ "ok": true })).ok();
        });
    });
    let name = move |mut response: Response| async move {
        if let Some(node) = node {
            response.headers_mut().insert("x-node-id", HeaderValue::from_static(node));
        }
        response
    };
    let app = Router::new().layer(layer).layer(axum::middleware::map_response(name));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    (url, tokio::spawn(async { axum::serve(listener, app).await.expect("it serves") }))
}

fn text(data: &Value, name: &str) -> String {
    data[name].as_str().expect("the client names it").to_owned()
}

/// A run beside a server in this process.
pub(crate) async fn run_beside(args: &[&str]) -> Ended {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let run = move || run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

#[tokio::test]
async fn it_delivers_everything() {
    let (url, server) = server(Some("oxide-1")).await;
    let leave = ["--socketio", r#"leave=leaveRoom {"room":"{room}"}"#, "--churn", "10", "--share-all", "0.1"];
    let load = ["--replicas", "1", "-c", "30", "-r", "200", "-d", "2s"];
    let ended = run_beside(&[&[&*url], &load[..], &leave[..]].concat()).await;
    server.abort();
    let document = assert_whole(&ended);
    assert_eq!(document["target"]["replicas"][0]["node"], "oxide-1", "{document:#}");
    assert!(checked(&document, "P10") > 10, "{document:#}");
}
