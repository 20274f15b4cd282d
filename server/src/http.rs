//! What is asked over HTTP: the handshakes, health, metrics, and a page to try it all.

mod handshake;
mod page;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use serde_json::json;

use crate::Server;

pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/ws", get(handshake::native))
        .route("/socket.io/", any(handshake::socket_io))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(server)
}

async fn readyz(State(server): State<Arc<Server>>) -> Response {
    let trouble = server.health.trouble();
    let status = if trouble.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": trouble.is_none(),
        "reason": trouble,
        "node": server.config.node,
        "broker": server.broker.name(),
        "bugs": server.config.bugs.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    (status, Json(body)).into_response()
}

async fn metrics(State(server): State<Arc<Server>>) -> impl axum::response::IntoResponse {
    let ready = server.health.trouble().is_none();
    let text = server.metrics.render(server.sessions.count(), server.rooms.count(), ready);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
