//! Whatever a server says, the client's side of Socket.IO survives it.
//!
//! In crates/wire: `RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none socketio -- -max_total_time=60`
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use ws_wire::{
    codec::{Frame, Protocol, socketio::Typed},
    message::{Event, Request, Target},
};

static PROTOCOLS: LazyLock<[Protocol; 2]> = LazyLock::new(|| {
    let named = Typed {
        namespace: Some("/x".into()),
        hear: Some(r#"m "{room}", ["{data}"]"#.into()),
        node: Some(r#"n "{data}""#.into()),
        binary: Some("yes".into()),
        ..Typed::default()
    };
    [Typed::default(), named].map(|typed| Protocol::SocketIo(Arc::new(typed.resolve().expect("settings"))))
});

// Frames are told apart by newlines; one that begins with B is binary, C begins a new connection.
fuzz_target!(|data: &[u8]| {
    for protocol in PROTOCOLS.iter() {
        let mut dialogue = protocol.dialogue(7);
        let mut out = String::new();
        let join = Request::Join { reference: 1, room: "r1", since: None };
        let send = Request::Send { reference: 2, target: Target::Room("r1"), key: "k", data: "d" };
        for request in [join, send] {
            let _ = dialogue.ask(&request, &mut out);
        }
        for frame in data.split(|byte| *byte == b'\n') {
            let mut sink = |_: Event<'_>| {};
            let _ = match frame {
                [b'C', ..] => {
                    dialogue.begin(&mut out);
                    Ok(())
                }
                [b'B', bytes @ ..] => dialogue.hear(Frame::Binary(bytes), &mut sink),
                text => match std::str::from_utf8(text) {
                    Ok(text) => dialogue.hear(Frame::Text(text), &mut sink),
                    Err(_) => Ok(()),
                },
            };
        }
    }
});
