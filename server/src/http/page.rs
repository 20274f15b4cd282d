//! The page at `/`: clients side by side, by hand.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{Html, IntoResponse, Response},
};
use rand::Rng as _;

use crate::Server;

/// With marks for the nonce of its script and style, the replica's name and its peers.
const PAGE: &str = include_str!("page.html");

pub(super) async fn page(State(server): State<Arc<Server>>) -> Response {
    let nonce = format!("{:032x}", rand::rng().random::<u128>());
    let page = PAGE
        .replace("{{nonce}}", &nonce)
        .replace("{{node}}", &escaped(&server.config.node))
        .replace("{{peers}}", &escaped(&server.config.peers.join(" ")));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src ws: wss:; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store".into()),
        (header::REFERRER_POLICY, "no-referrer".into()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
    ];
    (headers, Html(page)).into_response()
}

/// Text for inside an element or an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
