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
use ws_wire::message::Position;

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
    let since = match since(request.uri().query().unwrap_or_default()) {
        Ok(since) => since,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let Ok(place) = server.places.clone().try_acquire_owned() else {
        server.metrics.refused_connections.fetch_add(1, Relaxed);
        let why = format!("full: this replica takes {} connections\n", server.config.limits.connections);
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], why).into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    server.tasks.spawn(after_upgrade(server.clone(), upgrade, since, place));
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

/// The position in `since=EPOCH:OFFSET`. Epochs need no escapes; the colon may have one.
fn since(query: &str) -> Result<Option<Position>, &'static str> {
    let Some(value) = query.split('&').find_map(|pair| pair.strip_prefix("since=")) else { return Ok(None) };
    let value = value.replace("%3A", ":").replace("%3a", ":");
    let position = value.rsplit_once(':').and_then(|(epoch, offset)| {
        let known = epoch.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !epoch.is_empty();
        Some(Position { epoch: known.then(|| epoch.to_owned())?, offset: offset.parse().ok()? })
    });
    position.map(Some).ok_or("since is the position of the last message to all: ?since=EPOCH:OFFSET\n")
}

async fn after_upgrade(
    server: Arc<Server>,
    upgrade: OnUpgrade,
    since: Option<Position>,
    place: OwnedSemaphorePermit,
) {
    if let Some((stream, early)) = Box::pin(upgraded(upgrade)).await {
        session::serve(server, stream, early, since, place).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_read() {
        let check = |query: &str, expected: Result<Option<(&str, u64)>, ()>| {
            let position = |(epoch, offset): (&str, u64)| Position { epoch: epoch.into(), offset };
            assert_eq!(since(query).map_err(|_| ()), expected.map(|some| some.map(position)), "{query}");
        };
        check("", Ok(None));
        check("x=1&y", Ok(None));
        check("since=5f2c01aa:41", Ok(Some(("5f2c01aa", 41))));
        check("x=1&since=5f2c01aa%3a0", Ok(Some(("5f2c01aa", 0))));
        for wrong in ["since=", "since=41", "since=:41", "since=e:", "since=e:-1", "since=e%20:1"] {
            check(wrong, Err(()));
        }
    }
}
