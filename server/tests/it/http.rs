//! What is answered without a WebSocket.

use serde_json::{Value, json};
use ws_server::healthcheck;

use crate::{
    redis::Redis,
    replica::{Replica, over},
};

#[tokio::test]
async fn a_healthy_replica() {
    let replica = Replica::alone(|_| {}).await;
    assert_eq!(replica.get("/livez").await.status, 200);
    let ready = replica.get("/readyz").await;
    let body: Value = serde_json::from_str(&ready.body).expect("JSON");
    let expected = json!({"ready": true, "reason": null, "node": "app-1", "broker": "memory", "bugs": []});
    assert_eq!(body, expected);
    assert_eq!(replica.get("/nothing").await.status, 404);
    let metrics = replica.get("/metrics").await;
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    assert!(metrics.body.contains("\nws_server_ready 1\n"), "{}", metrics.body);
}

#[tokio::test]
async fn the_page_runs_nothing_but_its_own_script() {
    let replica =
        Replica::alone(|config| config.peers = vec!["app-2:8080".into(), "app-3:8080".into()]).await;
    let page = replica.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html"), "{}", page.head);
    let (_, policy) = page.head.split_once("content-security-policy: ").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'nonce-"), "{policy}");
    let (_, nonce) = policy.split_once("'nonce-").expect("a nonce");
    let (nonce, _) = nonce.split_once('\'').expect("its end");
    assert!(page.body.contains(&format!("<script nonce=\"{nonce}\">")), "{}", page.head);
    assert!(page.body.contains(r#"data-peers="app-2:8080 app-3:8080""#));
    assert!(!page.body.contains("{{"), "a mark was left");
    assert!(page.body.len() < 15_000);
    assert_ne!(page.body, replica.get("/").await.body, "the next nonce is another");
}

#[tokio::test]
async fn a_health_check_from_outside() {
    let replica = Replica::alone(|_| {}).await;
    let url = healthcheck::url(replica.address);
    healthcheck::check(&url).await.expect("it is ready");
    let unready = Replica::start_unready(over(&Redis::stopped(), 1)).await;
    let why = healthcheck::check(&healthcheck::url(unready.address)).await.expect_err("no Redis").to_string();
    assert!(why.contains("503") && why.contains("no message of its own"), "{why}");
    let free = Redis::stopped().address();
    let why = healthcheck::check(&healthcheck::url(free)).await.expect_err("nobody").to_string();
    assert!(why.contains("can't ask"), "{why}");
    for url in ["https://127.0.0.1/", "127.0.0.1:80", "http://", "/readyz"] {
        let why = healthcheck::check(url).await.expect_err("no such URL").to_string();
        assert!(why.contains("http://"), "{why}");
    }
    // Somebody takes the connection and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = healthcheck::url(mute.local_addr().expect("it is bound"));
    let why = healthcheck::check(&url).await.expect_err("nothing comes").to_string();
    assert!(why.contains("no answer"), "{why}");
}

#[tokio::test]
async fn a_replica_without_redis() {
    let mut redis = Redis::stopped();
    let replica = Replica::start_unready(over(&redis, 1)).await;
    assert_eq!(replica.get("/livez").await.status, 200, "Redis is not this process's life");
    let ready = replica.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("no message of its own"), "{}", ready.body);
    redis.start_again();
    replica.until_ready(true).await;
}

/// Sends `lines` as the request; the answer must have `status` and say `what`.
async fn check(replica: &Replica, lines: &[&str], status: u16, what: &str) {
    let request = format!("{}\r\nHost: test\r\n\r\n", lines.join("\r\n"));
    let close = request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    let answer = replica.request(&close).await;
    assert_eq!(answer.status, status, "{request}{answer:?}");
    assert!(answer.body.contains(what), "{request}{answer:?}");
}

#[tokio::test]
async fn what_is_not_a_handshake() {
    let replica = Replica::alone(|_| {}).await;
    let (get, upgrade) = ("GET /ws HTTP/1.1", "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket");
    let (version, key) = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==");
    check(&replica, &[get], 426, "ws://").await;
    check(&replica, &[get, upgrade, key], 426, "version 13").await;
    check(&replica, &[get, upgrade, key, "Sec-WebSocket-Version: 8"], 426, "version 13").await;
    check(&replica, &[get, upgrade, version], 400, "Sec-WebSocket-Key").await;
    check(&replica, &[get, upgrade, version, "Sec-WebSocket-Key: short"], 400, "Sec-WebSocket-Key").await;
    check(&replica, &["POST /ws HTTP/1.1", upgrade, version, key], 405, "").await;
}
