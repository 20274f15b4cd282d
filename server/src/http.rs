//! The handshake (RFC 6455 section 4.2), health and metrics.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{Server, session};

/// Characters of a client's key: 16 bytes in Base64.
const KEY_LEN: usize = 24;

pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/ws", get(websocket))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(server)
}

async fn websocket(State(server): State<Arc<Server>>, mut request: Request) -> Response {
    let accept = match accept_key(&request) {
        Ok(accept) => accept,
        Err((status, why)) => {
            let version = [(header::SEC_WEBSOCKET_VERSION, "13"), (header::UPGRADE, "websocket")];
            return (status, version, why).into_response();
        }
    };
    let Ok(place) = server.places.clone().try_acquire_owned() else {
        server.metrics.refused_connections.fetch_add(1, Relaxed);
        let why = format!("full: this replica takes {} connections\n", server.config.limits.connections);
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], why).into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    server.tasks.spawn(after_upgrade(server.clone(), upgrade, place));
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "upgrade")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Body::empty())
        .expect("the headers are valid")
}

/// The answer to the client's key, if its request is a handshake.
fn accept_key(request: &Request) -> Result<String, (StatusCode, &'static str)> {
    let headers = request.headers();
    let has = |name, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket: connect to it with ws://, see docs/protocol.md\n",
        ));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "only version 13 of WebSocket is spoken here\n"));
    }
    match headers.get(header::SEC_WEBSOCKET_KEY) {
        Some(key) if key.len() == KEY_LEN && request.method() == Method::GET => {
            Ok(derive_accept_key(key.as_bytes()))
        }
        _ => Err((
            StatusCode::BAD_REQUEST,
            "a handshake is a GET with a Sec-WebSocket-Key of 16 bytes in Base64\n",
        )),
    }
}

async fn after_upgrade(server: Arc<Server>, upgrade: OnUpgrade, place: OwnedSemaphorePermit) {
    if let Some((stream, early)) = Box::pin(upgraded(upgrade)).await {
        session::serve(server, stream, early, place).await;
    }
}

/// The bare TCP stream under the upgrade, and what was already read from it.
async fn upgraded(upgrade: OnUpgrade) -> Option<(TcpStream, Vec<u8>)> {
    let upgraded: Upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    let stream = parts.io.into_inner();
    stream.set_nodelay(true).ok()?;
    Some((stream, parts.read_buf.to_vec()))
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
