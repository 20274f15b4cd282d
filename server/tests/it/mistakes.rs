//! What clients do wrong: each mistake has its answer, and costs nobody else anything.

use serde_json::{Value, json};
use ws_wire::frame::{opcode, write_client};

use crate::{client::Client, replica::Replica};

/// The mask of a raw frame.
const KEY: [u8; 4] = [7, 3, 9, 1];

/// Says `text`; the answer must be the error `code` for `reference`, and the connection stay.
async fn check(client: &mut Client, text: &str, reference: impl Into<Value>, code: &str) {
    client.say(text).await;
    let reference = reference.into();
    let error = client.error().await;
    assert_eq!(error["code"], code, "{text}: {error}");
    assert_eq!(error["ref"], reference, "{text}: {error}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{text}: {error}");
}

#[tokio::test]
async fn a_bad_request_is_answered_and_forgiven() {
    let replica = Replica::alone(|_| {}).await;
    let mut client = Client::connect(&replica).await;
    let none = Value::Null;
    check(&mut client, "", none.clone(), "bad_request").await;
    check(&mut client, "hi", none.clone(), "bad_request").await;
    check(&mut client, "[1,2]", none.clone(), "bad_request").await;
    check(&mut client, r#"{"op":"join","room":"r"}"#, none.clone(), "bad_request").await;
    check(&mut client, r#"{"op":"join","ref":-1,"room":"r"}"#, none.clone(), "bad_request").await;
    check(&mut client, r#"{"op":"fly","ref":1}"#, 1, "bad_request").await;
    check(&mut client, r#"{"op":"join","ref":2}"#, 2, "bad_request").await;
    check(&mut client, r#"{"op":"join","ref":3,"room":["r"]}"#, 3, "bad_request").await;
    check(&mut client, r#"{"op":"send","ref":4,"room":"r"}"#, 4, "bad_request").await;
    check(&mut client, r#"{"op":"send","ref":5,"data":"x"}"#, 5, "bad_request").await;
    check(&mut client, r#"{"op":"send","ref":6,"room":"r","dta":"x"}"#, 6, "bad_request").await;
    let long_key = "k".repeat(65);
    let text = json!({"op": "send", "ref": 7, "all": true, "key": long_key, "data": 1}).to_string();
    check(&mut client, &text, 7, "bad_request").await;
    let deep =
        format!(r#"{{"op":"send","ref":8,"all":true,"data":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    check(&mut client, &deep, 8, "bad_request").await;
    client.join("r").await;
    client.send("r", "forgiven").await;
    assert_eq!(client.delivery().await["data"], "forgiven");
}

#[tokio::test]
async fn rooms_that_are_not_ones_own() {
    let replica = Replica::alone(|_| {}).await;
    let mut client = Client::connect(&replica).await;
    check(&mut client, r#"{"op":"send","ref":1,"room":"r","data":1}"#, 1, "not_in_room").await;
    check(&mut client, r#"{"op":"leave","ref":2,"room":"r"}"#, 2, "not_in_room").await;
    check(&mut client, r#"{"op":"join","ref":3,"room":""}"#, 3, "bad_room").await;
    for op in ["join", "leave"] {
        let text = json!({"op": op, "ref": 4, "room": "r".repeat(129)}).to_string();
        check(&mut client, &text, 4, "bad_room").await;
    }
    client.join(&"r".repeat(128)).await;
}

/// Sends `bytes` past the WebSocket library, in a room with somebody else, who must not notice.
async fn check_close(bytes: &[u8], code: u16) {
    let replica = Replica::alone(|config| config.limits.message_bytes = 1000).await;
    let mut other = Client::connect(&replica).await;
    other.join("r").await;
    let mut client = Client::connect(&replica).await;
    client.join("r").await;
    client.raw(bytes).await;
    let (closed, reason) = client.closed().await;
    assert_eq!(closed, code, "{bytes:x?}: {reason}");
    assert!(!reason.is_empty(), "{bytes:x?}");
    other.send("r", "unharmed").await;
    assert_eq!(other.delivery().await["data"], "unharmed");
}

#[tokio::test]
async fn what_is_not_the_protocol_closes_the_connection() {
    let frame = |opcode, payload: &[u8]| {
        let mut frame = Vec::new();
        write_client(&mut frame, opcode, payload, KEY);
        frame
    };
    check_close(&frame(opcode::BINARY, b"{}"), 1003).await;
    check_close(&frame(opcode::TEXT, &[b'x'; 1001]), 1009).await;
    check_close(&frame(opcode::TEXT, &[0xff, 0xfe]), 1007).await;
    check_close(&frame(opcode::CONTINUATION, b"x"), 1002).await;
    check_close(&frame(opcode::CLOSE, &[0x03, 0xed]), 1002).await;
    check_close(b"\x81\x01x", 1002).await;
    check_close(b"\x83\x80\0\0\0\0", 1002).await;
    check_close(b"\xc1\x80\0\0\0\0", 1002).await;
    // Only the announcement of 2^62 bytes.
    check_close(b"\x81\xff\x40\0\0\0\0\0\0\0\0\0\0\0", 1009).await;
    // Fragments that are too large together.
    let mut fragments = frame(opcode::TEXT, &[b'x'; 600]);
    fragments[0] &= 0x7f;
    fragments.extend(frame(opcode::CONTINUATION, &[b'x'; 600]));
    check_close(&fragments, 1009).await;
}

#[tokio::test]
async fn the_clients_own_close_code_comes_back() {
    let replica = Replica::alone(|_| {}).await;
    let mut client = Client::connect(&replica).await;
    let mut frame = Vec::new();
    write_client(&mut frame, opcode::CLOSE, &[0x0f, 0xa5, b'b', b'y', b'e'], KEY);
    client.raw(&frame).await;
    assert_eq!(client.closed().await, (4005, String::new()));
}

#[tokio::test]
async fn a_request_in_pieces_is_a_request() {
    let replica = Replica::alone(|_| {}).await;
    let mut client = Client::connect(&replica).await;
    let mut frame = Vec::new();
    write_client(&mut frame, opcode::TEXT, br#"{"op":"join","ref":900,"room":"r"}"#, KEY);
    for byte in frame {
        client.raw(&[byte]).await;
    }
    assert_eq!(client.answer(900).await["op"], "ack");
}
