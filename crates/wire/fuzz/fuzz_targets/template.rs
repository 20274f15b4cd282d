//! Whatever a template says, it is one or it is told why not; and whatever a server says then, it is survived.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ws_wire::{
    codec::{Frame, Protocol, template::Template},
    message::{Event, Request, Target},
};

const TEMPLATES: [&str; 2] = [
    include_str!("../../../../docs/templates/socketcluster.toml"),
    include_str!("../../../../docs/templates/centrifugo.toml"),
];

// Behind a zero byte are frames, told apart by newlines; before it a template, or the number of one of ours.
fuzz_target!(|data: &[u8]| {
    let place = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (file, frames) = (&data[..place], data.get(place + 1..).unwrap_or_default());
    let file = match file {
        [number @ (b'0' | b'1')] => TEMPLATES[usize::from(number - b'0')],
        text => match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(_) => return,
        },
    };
    let Ok(template) = Template::parse(file) else { return };
    let protocol = Protocol::Template(Arc::new(template));
    let mut dialogue = protocol.dialogue(7);
    let mut out = String::new();
    dialogue.begin(&mut out);
    let requests = [
        Request::Join { reference: 1, room: "r1", since: None },
        Request::Send { reference: 2, target: Target::Room("r1"), key: "k", data: "d" },
        Request::Leave { reference: 3, room: "r1" },
    ];
    for request in requests {
        let _ = dialogue.ask(&request, &mut out);
    }
    let mut sink = |_: Event<'_>| {};
    for frame in frames.split(|byte| *byte == b'\n') {
        let _ = match std::str::from_utf8(frame) {
            Ok(text) => dialogue.hear(Frame::Text(text), &mut sink),
            Err(_) => dialogue.hear(Frame::Binary(frame), &mut sink),
        };
    }
    // What the protocol writes as a delivery, it reads, whatever it makes of it.
    let delivery = protocol.delivery("r1", r#""d""#);
    let _ = dialogue.hear(Frame::Text(&delivery), &mut sink);
});
