//! From a request to a WebSocket (RFC 6455 section 4.2), in either protocol.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use ws_wire::message::Position;

use crate::{
    Server,
    dialect::Dialect,
    session::{self, Entrance},
};

/// Characters of a client's key: 16 bytes in Base64.
const KEY_LEN: usize = 24;

/// Says which replica answers, where no hello does.
const NODE: HeaderName = HeaderName::from_static("x-node-id");

/// `/ws`.
pub(super) async fn native(State(server): State<Arc<Server>>, request: Request) -> Response {
    // First what is no handshake at all, whatever its query.
    let accept = match accept_key(&request) {
        Ok(accept) => accept,
        Err((status, why)) => {
            let version = [(header::SEC_WEBSOCKET_VERSION, "13"), (header::UPGRADE, "websocket")];
            return (status, version, why).into_response();
        }
    };
    match since(request.uri().query().unwrap_or_default()) {
        Ok(since) => upgrade(server, request, &accept, Entrance { dialect: Dialect::Native, since }),
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

/// `/socket.io/`, with the errors of Engine.IO.
pub(super) async fn socket_io(State(server): State<Arc<Server>>, request: Request) -> Response {
    let accept = accept_key(&request);
    match engine_error(request.method(), request.uri().query().unwrap_or_default(), accept.is_ok()) {
        Some((code, message)) => {
            let error = json!({ "code": code, "message": message });
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
        None => {
            let entrance = Entrance { dialect: Dialect::SocketIo, since: None };
            upgrade(server, request, &accept.unwrap_or_default(), entrance)
        }
    }
}

/// What is wrong with an Engine.IO handshake, in the reference's order and with its codes.
fn engine_error(method: &Method, query: &str, is_websocket: bool) -> Option<(u8, &'static str)> {
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
    };
    if value("transport") != Some("websocket") {
        return Some((0, "Transport unknown: here is only websocket, transports: [\"websocket\"]"));
    }
    if value("sid").is_some() {
        return Some((1, "Session ID unknown"));
    }
    if method != Method::GET {
        return Some((2, "Bad handshake method"));
    }
    if !is_websocket {
        return Some((3, "Bad request"));
    }
    (value("EIO") != Some("4")).then_some((5, "Unsupported protocol version"))
}

/// Answers a handshake, if there is a place.
fn upgrade(server: Arc<Server>, mut request: Request, accept: &str, entrance: Entrance) -> Response {
    let Ok(place) = server.places.clone().try_acquire_owned() else {
        server.metrics.refused_connections.fetch_add(1, Relaxed);
        let why = format!("full: this replica takes {} connections\n", server.config.limits.connections);
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], why).into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "upgrade")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Body::empty())
        .expect("the headers are valid");
    // A name that no header can hold is in the hello all the same.
    if let Ok(node) = HeaderValue::from_bytes(server.config.node.as_bytes()) {
        response.headers_mut().insert(NODE, node);
    }
    server.tasks.spawn(after_upgrade(server.clone(), upgrade, entrance, place));
    response
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
    entrance: Entrance,
    place: OwnedSemaphorePermit,
) {
    if let Some((stream, early)) = Box::pin(upgraded(upgrade)).await {
        session::serve(server, stream, early, entrance, place).await;
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

    #[test]
    fn handshakes_of_engine_io_that_are_refused() {
        let check = |method: Method, query: &str, is_websocket: bool, expected: Option<u8>| {
            let code = engine_error(&method, query, is_websocket).map(|(code, _)| code);
            assert_eq!(code, expected, "{method} {query}");
        };
        check(Method::GET, "EIO=4&transport=websocket", true, None);
        check(Method::GET, "t=x&transport=websocket&EIO=4", true, None);
        for transport in ["", "EIO=4", "EIO=4&transport=polling", "transport=webtransport"] {
            check(Method::GET, transport, false, Some(0));
        }
        check(Method::GET, "EIO=4&transport=websocket&sid=x", true, Some(1));
        check(Method::POST, "EIO=4&transport=websocket", true, Some(2));
        check(Method::GET, "EIO=4&transport=websocket", false, Some(3));
        for version in ["transport=websocket", "EIO=3&transport=websocket", "EIO=&transport=websocket"] {
            check(Method::GET, version, true, Some(5));
        }
    }
}
