//! Socket.IO, packet by packet.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use ws_server::{BrokerChoice, Config, broker::redis::History};

use crate::{client::Client, peer::Peer, redis::Redis, replica::Replica};

const SHORT: Duration = Duration::from_millis(200);

/// Over redis-stream, where messages have positions.
fn logged(redis: &Redis, number: usize) -> Config {
    let broker = BrokerChoice::RedisStream(redis.url(), History::default());
    Config::new(format!("app-{number}"), broker)
}

#[tokio::test]
async fn the_handshake_says_what_engine_io_has_to() {
    let replica = Replica::alone(|_| {}).await;
    let peer = Peer::open(&replica).await;
    let other = Peer::open(&replica).await;
    assert_eq!(peer.headers["x-node-id"], "app-1");
    let mut open = peer.open.clone();
    let sid = open["sid"].take();
    assert!(sid.as_str().is_some_and(|sid| sid.len() >= 20), "{sid}");
    assert_ne!(sid, other.open["sid"]);
    let expected = json!({"sid": null, "upgrades": [], "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 65_536});
    assert_eq!(open, expected);
}

#[tokio::test]
async fn what_is_no_websocket_gets_engine_ios_errors() {
    let replica = Replica::alone(|_| {}).await;
    let check = async |path: &str, code: u64, what: &str| {
        let answer = replica.get(path).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        let body: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(body["code"], code, "{path}: {body}");
        assert!(body["message"].as_str().is_some_and(|message| message.contains(what)), "{path}: {body}");
    };
    check("/socket.io/?EIO=4&transport=polling&t=abc", 0, "only websocket").await;
    check("/socket.io/?EIO=4&transport=websocket", 3, "Bad request").await;
    check("/socket.io/?EIO=4&transport=websocket&sid=x", 1, "Session ID unknown").await;
}

#[tokio::test]
async fn a_session_from_connect_to_disconnect() {
    let replica = Replica::alone(|_| {}).await;
    let (mut peer, sid) = Peer::connect(&replica).await;
    assert_eq!(sid, "app-1-0");
    assert_eq!(peer.ask("joinRoom", json!({"room": "tea"})).await, json!({"ok": true}));
    let ack = peer.ask("message", json!({"userId": "u1", "room": "tea", "message": "hi"})).await;
    assert_eq!(ack, json!({"ok": true}));
    assert_eq!(peer.event("message").await, json!({"userId": "u1", "room": "tea", "message": "hi"}));
    assert_eq!(peer.ask("all", json!({"message": {"a": [1, null]}})).await, json!({"ok": true}));
    assert_eq!(peer.event("all").await, json!({"message": {"a": [1, null]}}));
    // Without an id there is no ack, and nothing else comes instead.
    peer.say(r#"42["all",{"userId":7,"message":null}]"#).await;
    assert_eq!(peer.event("all").await, json!({"userId": 7, "message": null}));
    assert_eq!(peer.ask("leaveRoom", json!({"room": "tea"})).await, json!({"ok": true}));
    let refused = peer.ask("message", json!({"room": "tea", "message": "hi"})).await;
    assert_eq!(refused["ok"], false);
    assert_eq!(refused["error"], "not_in_room");
    peer.join("tea").await;

    peer.say("41").await;
    let (mut other, _) = Peer::connect(&replica).await;
    other.join("tea").await;
    other.ask("all", json!({"message": "nobody else"})).await;
    // It may come in again, into no room; nothing of what was said meanwhile was for it.
    assert_eq!(peer.enter().await, sid);
    let refused = peer.ask("message", json!({"room": "tea", "message": "hi"})).await;
    assert_eq!(refused["error"], "not_in_room");
}

#[tokio::test]
async fn another_namespace_is_refused_and_the_connection_stays() {
    let replica = Replica::alone(|_| {}).await;
    let (mut peer, _) = Peer::connect(&replica).await;
    peer.say(r#"40/admin,{"token":"x"}"#).await;
    assert_eq!(peer.text().await, r#"44/admin,{"message":"Invalid namespace"}"#);
    peer.join("tea").await;
}

#[tokio::test]
async fn mistakes_are_answered_and_forgiven() {
    let replica = Replica::alone(|_| {}).await;
    let (mut peer, _) = Peer::connect(&replica).await;
    let mut check = async |name: &str, argument: Value, code: &str, what: &str| {
        let answer = peer.ask(name, argument.clone()).await;
        assert_eq!(answer["ok"], false, "{name} {argument}");
        assert_eq!(answer["error"], code, "{name} {argument}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains(what)), "{name}: {answer}");
    };
    check("fly", json!({}), "bad_request", "there are joinRoom").await;
    check("joinRoom", json!("tea"), "bad_request", "").await;
    check("joinRoom", json!({"room": 7}), "bad_request", "string").await;
    check("joinRoom", json!({"room": "tea", "as": "me"}), "bad_request", "unknown field").await;
    check("joinRoom", json!({"room": ""}), "bad_room", "1 to 128 bytes").await;
    check("leaveRoom", json!({"room": "tea"}), "not_in_room", "join it first").await;
    check("message", json!({"room": "tea"}), "bad_request", "message").await;
    check("message", json!({"room": "tea", "message": 1}), "not_in_room", "join it first").await;
    check("all", json!({"userId": {}, "message": 1}), "bad_request", "userId").await;
    check("all", json!({"message": 1, "key": "k".repeat(65)}), "bad_request", "key").await;
    peer.say(r#"4299["all"]"#).await;
    assert_eq!(peer.ack(99).await["error"], "bad_request");
    peer.say(r#"4299["all",{"message":1},2]"#).await;
    assert_eq!(peer.ack(99).await["error"], "bad_request");
    peer.say("4299[7]").await;
    assert_eq!(peer.ack(99).await["error"], "bad_request");
    let deep = format!(r#"4299["all",{{"message":{}1{}}}]"#, "[".repeat(500), "]".repeat(500));
    peer.say(&deep).await;
    assert!(peer.ack(99).await["message"].as_str().is_some_and(|why| why.contains("nested")));
    // Who asks for no ack hears of it all the same.
    peer.say(r#"42["joinRoom",{"room":""}]"#).await;
    assert_eq!(peer.event("error").await["error"], "bad_room");
    peer.join("tea").await;
}

#[tokio::test]
async fn what_is_not_the_protocol_closes_the_connection() {
    let replica = Replica::alone(|config| config.limits.message_bytes = 1000).await;
    for garbage in [
        "",
        "x",
        "9",
        "2",
        "2probe",
        "5",
        "0{}",
        "4",
        "47",
        "42",
        "42{}",
        "42[\"a\"",
        "42[\"a\",]",
        "44{}",
        "40",
    ] {
        let (mut peer, _) = Peer::connect(&replica).await;
        peer.say(garbage).await;
        assert_eq!(peer.closed().await, 1002, "{garbage:?}");
    }
    for early in [r#"42["joinRoom",{"room":"tea"}]"#, "41", r#"42/admin,["a"]"#, "43[]"] {
        let mut peer = Peer::open(&replica).await;
        peer.say(early).await;
        assert_eq!(peer.closed().await, 1002, "{early}");
    }
    let (mut peer, _) = Peer::connect(&replica).await;
    peer.attach(b"of nothing").await;
    assert_eq!(peer.closed().await, 1002);
    let (mut peer, _) = Peer::connect(&replica).await;
    peer.say(r#"451-["all",{"message":{"_placeholder":true,"num":0}}]"#).await;
    peer.say(r#"42["all",{"message":1}]"#).await;
    assert_eq!(peer.closed().await, 1002);
    let (mut peer, _) = Peer::connect(&replica).await;
    peer.say(r#"4511-["all",{"message":1}]"#).await;
    assert_eq!(peer.closed().await, 1002, "more attachments than clients take");
    let (mut peer, _) = Peer::connect(&replica).await;
    peer.say(&"x".repeat(1001)).await;
    assert_eq!(peer.closed().await, 1009);
    let (mut peer, _) = Peer::connect(&replica).await;
    peer.say(r#"452-["all",{"message":1}]"#).await;
    peer.attach(&[0; 700]).await;
    peer.attach(&[0; 700]).await;
    assert_eq!(peer.closed().await, 1009, "attachments count too");
    // What the engine says by itself may come at any time; its own way to say goodbye is one.
    let (mut peer, _) = Peer::connect(&replica).await;
    peer.say(r#"451-7["all",{"message":{"_placeholder":true,"num":0}}]"#).await;
    peer.say("3").await;
    peer.say("6").await;
    peer.attach(b"\0\xff").await;
    assert_eq!(peer.text().await, r#"451-["all",{"message":{"_placeholder":true,"num":0}}]"#);
    assert_eq!(peer.binary().await, b"\0\xff");
    assert_eq!(peer.ack(7).await["ok"], true);
    peer.say("1").await;
    assert_eq!(peer.closed().await, 1000);
}

/// Both protocols in one room, on two replicas, over a log: the same messages in one order.
#[tokio::test]
async fn one_room_in_both_protocols() {
    let redis = Redis::start();
    let (one, two) = (Replica::start(logged(&redis, 1)).await, Replica::start(logged(&redis, 2)).await);
    let (mut here, sid) = Peer::connect(&one).await;
    let (mut there, _) = Peer::connect(&two).await;
    let mut native = Client::connect(&two).await;
    for peer in [&mut here, &mut there] {
        peer.join("r").await;
    }
    native.join("r").await;
    let ack = here.ask("message", json!({"userId": "u1", "room": "r", "message": {"text": "hi"}})).await;
    assert_eq!(ack["ok"], true);
    assert_eq!(ack["position"]["offset"], 1, "{ack}");
    let delivery = native.delivery().await;
    assert_eq!(delivery["position"], ack["position"]);
    assert_eq!(delivery["from"], *sid);
    assert_eq!(delivery["userId"], "u1");
    assert_eq!(delivery["data"], json!({"text": "hi"}));
    native.expect_ack(json!({"op": "send", "room": "r", "data": [1, "\"x\""]})).await;
    for peer in [&mut here, &mut there] {
        assert_eq!(
            peer.event("message").await,
            json!({"userId": "u1", "room": "r", "message": {"text": "hi"}})
        );
        let expected = json!({"userId": native.name(), "room": "r", "message": [1, "\"x\""]});
        assert_eq!(peer.event("message").await, expected);
    }
    native.expect_ack(json!({"op": "send", "all": true, "data": "all of you"})).await;
    for peer in [&mut here, &mut there] {
        assert_eq!(peer.event("all").await, json!({"message": "all of you"}));
    }
    // One message however often it is sent with its key.
    let message = json!({"room": "r", "message": "once", "key": "k1"});
    let first = here.ask("message", message.clone()).await;
    assert_eq!(first, here.ask("message", message).await);
    there.ask("message", json!({"room": "r", "message": "end"})).await;
    let heard = [native.delivery().await, native.delivery().await, native.delivery().await];
    assert_eq!(
        heard.map(|delivery| delivery["data"].clone()),
        [json!([1, "\"x\""]), json!("all of you"), json!("once")]
    );
    assert_eq!(native.delivery().await["data"], "end");
}

#[tokio::test]
async fn attachments_reach_both_protocols() {
    let redis = Redis::start();
    let (one, two) = (Replica::start(logged(&redis, 1)).await, Replica::start(logged(&redis, 2)).await);
    let (mut sender, sid) = Peer::connect(&one).await;
    let (mut member, _) = Peer::connect(&two).await;
    let mut native = Client::connect(&two).await;
    sender.join("r").await;
    member.join("r").await;
    native.join("r").await;
    let place = |num: u64| json!({"_placeholder": true, "num": num});
    let event =
        json!(["message", {"room": "r", "message": {"a": place(1), "b": [place(0), {"base64": "no"}]}}]);
    sender.say(&format!("452-5{event}")).await;
    sender.attach(&[0, 1, 2, 255]).await;
    sender.attach(b"").await;
    assert_eq!(member.text().await, {
        let message = &event[1]["message"];
        format!(r#"452-["message",{{"userId":"{sid}","room":"r","message":{message}}}]"#)
    });
    assert_eq!(member.binary().await, [0, 1, 2, 255]);
    assert_eq!(member.binary().await, b"");
    let delivery = native.delivery().await;
    assert_eq!(delivery["data"], event[1]["message"]);
    assert_eq!(delivery["attachments"], json!(["AAEC/w==", ""]));
    // A placeholder for nothing would make every receiver close.
    for num in [json!(1), json!(-1), json!(null), json!(0.5)] {
        let event = json!(["message", {"room": "r", "message": [{"_placeholder": true, "num": num}]}]);
        sender.say(&format!("451-6{event}")).await;
        sender.attach(b"x").await;
        let packet = sender.wait_for("436[").await;
        assert!(packet.contains("bad_request"), "{packet}");
    }
}

#[tokio::test]
async fn the_limits_are_those_of_the_native_protocol() {
    let replica = Replica::alone(|config| {
        config.limits.rooms = 1;
        config.limits.sends_per_second = 2;
        config.limits.connections = 1;
    })
    .await;
    let (mut peer, _) = Peer::connect(&replica).await;
    peer.join("a").await;
    assert_eq!(peer.ask("joinRoom", json!({"room": "b"})).await["error"], "too_many_rooms");
    let mut limited = 0;
    for _ in 0..20 {
        let ack = peer.ask("message", json!({"room": "a", "message": "x"})).await;
        limited += usize::from(ack["error"] == "rate_limited");
    }
    assert!(limited > 0);
    let stream = TcpStream::connect(replica.address).await.expect("the replica listens");
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", replica.address);
    assert!(client_async(url, stream).await.is_err(), "there is room for one");
}

#[tokio::test]
async fn who_reads_too_slowly_is_closed() {
    let replica = Replica::alone(|config| {
        config.limits.queue_bytes = 50_000;
        config.limits.sends_per_second = 1_000_000;
    })
    .await;
    let (mut slow, _) = Peer::connect(&replica).await;
    let mut quick = Client::connect(&replica).await;
    slow.join("r").await;
    quick.join("r").await;
    let data = "x".repeat(40_000);
    // More than the kernel buffers of a connection, one at a time so that the quick one keeps up.
    while !replica.get("/metrics").await.body.contains("\nws_server_connections 1\n") {
        quick.send("r", &data).await;
        quick.delivery().await;
    }
    assert_eq!(slow.closed().await, 1013);
}

#[tokio::test]
async fn the_server_pings_however_much_is_said() {
    let replica = Replica::alone(|config| {
        config.ping_interval = SHORT;
        config.ping_timeout = SHORT;
    })
    .await;
    let (mut alive, _) = Peer::connect(&replica).await;
    let (dead, _) = Peer::connect(&replica).await;
    assert_eq!(alive.open["pingInterval"], 200);
    // A client counts on a ping in each interval, and takes nothing else for one.
    for _ in 0..3 {
        loop {
            alive.say(r#"42["all",{"message":1}]"#).await;
            if alive.text().await == "2" {
                break;
            }
        }
        alive.say("3").await;
    }
    assert_eq!(dead.closed().await, 4000);
    // Nothing but pongs is life enough.
    for _ in 0..4 {
        alive.wait_for("2").await;
        alive.say("3").await;
    }
    alive.join("r").await;
}

#[tokio::test]
async fn who_never_connects_is_closed() {
    let replica = Replica::alone(|config| {
        config.connect_timeout = SHORT;
        config.ping_timeout = SHORT;
    })
    .await;
    let (mut connected, _) = Peer::connect(&replica).await;
    let mut native = Client::connect(&replica).await;
    let (mut gone, _) = Peer::connect(&replica).await;
    gone.say("41").await;
    assert_eq!(Peer::open(&replica).await.closed().await, 4002);
    assert_eq!(gone.closed().await, 4002);
    connected.join("r").await;
    native.join("r").await;
}

#[tokio::test]
async fn a_replica_at_its_end_says_so() {
    let replica = Replica::alone(|_| {}).await;
    let (peer, _) = Peer::connect(&replica).await;
    replica.shutdown.cancel();
    assert_eq!(peer.closed().await, 1012);
    replica.ended().await.expect("an orderly end");
}

/// Redis lost its data: a member is told which room has a gap.
#[tokio::test]
async fn a_gap_is_told() {
    let mut redis = Redis::start();
    let replica = Replica::start(logged(&redis, 1)).await;
    let (mut peer, _) = Peer::connect(&replica).await;
    peer.join("r").await;
    assert_eq!(peer.ask("message", json!({"room": "r", "message": "before"})).await["ok"], true);
    redis.stop();
    redis.start_again();
    let mut gaps = [peer.event("gap").await, peer.event("gap").await];
    gaps.sort_by_key(ToString::to_string);
    assert_eq!(gaps, [json!({"all": true}), json!({"room": "r"})]);
    peer.join("r").await;
}
