//! A canary: violations planted in a shadow room, in the bytes of frames, must be found by what judges the run.
//!
//! Whatever blinds the pipeline (a reader that skips, a codec that declines, a check that can never fail) blinds it
//! here too, and the run is an error of the tool and never a pass.

use ws_analysis::{
    contract::{Contract, Rules},
    judge,
    ledger::{Arrival, Ledger, Setup, To},
    property::Property,
    timeline::Timeline,
};
use ws_wire::{
    codec::{Frame, Protocol},
    frame::{self, Message, MessageReader, Role, opcode},
    message::{Event, Request},
    stamp::{Kind, Stamp},
};
use ws_workload::topology::Topology;

/// The shadow room's members; the second one's deliveries are tampered with.
const MEMBERS: u32 = 3;
const VICTIM: u32 = 1;

/// What is done to the victim's deliveries, and the one property that this breaks.
const PLANTED: [(Tampering, Property); 5] = [
    (Tampering::Drop, Property::Loss),
    (Tampering::Repeat, Property::Duplication),
    (Tampering::Swap, Property::Fifo),
    (Tampering::Damage, Property::Integrity),
    (Tampering::Invent, Property::Creation),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Tampering {
    Drop,
    Repeat,
    Swap,
    Damage,
    Invent,
}

/// Plants each violation on its own, and looks for it.
///
/// # Errors
/// What was planted and not found, or found and not planted.
pub fn find(protocol: &Protocol) -> Result<(), String> {
    if protocol.is_one_way() {
        // Nothing is judged.
        return Ok(());
    }
    for (tampering, property) in PLANTED {
        let broken = broken_by(Some(tampering), protocol);
        if broken != [property] {
            return Err(format!("{tampering:?} in the shadow room broke {broken:?} instead of {property:?}"));
        }
    }
    match &broken_by(None, protocol)[..] {
        [] => Ok(()),
        broken => Err(format!("nothing in the shadow room broke {broken:?}")),
    }
}

fn broken_by(tampering: Option<Tampering>, protocol: &Protocol) -> Vec<Property> {
    let mut ledger = shadow();
    let sent: Vec<(u32, String)> = (0..4).map(|number| send(&mut ledger, number)).collect();
    for member in 0..MEMBERS {
        let mut frames = Vec::new();
        for text in protocol.greeting() {
            frame::write_server(&mut frames, opcode::TEXT, text.as_bytes());
        }
        let tampering = tampering.filter(|_| member == VICTIM);
        for payload in deliveries(&sent, tampering) {
            // Frames of a server, as it writes them, without a position.
            let data = serde_json::to_string(&payload).expect("a string is always JSON");
            let text = protocol.delivery("shadow-0", &data);
            frame::write_server(&mut frames, opcode::TEXT, text.as_bytes());
        }
        hear(&mut ledger, member, &mut frames, protocol);
    }
    let findings = judge::judge(vec![ledger], &Timeline::default());
    let broken = findings.properties.iter().filter(|(_, _, tally)| tally.violations > 0);
    broken.map(|(property, ..)| *property).collect()
}

fn shadow() -> Ledger {
    let mut ledger = Ledger::new(Setup {
        run: 0x00ca_0a17,
        worker: 0,
        topology: Topology::even(MEMBERS, 1, 1),
        room_prefix: "shadow-".into(),
        follow_all: false,
        nodes: vec!["shadow".into()],
        deadline_us: 1,
        has_ways_back: false,
        rules: Rules { contract: Contract::ExactlyOnce, ..Rules::default() },
    });
    for member in 0..MEMBERS {
        ledger.connected(member, 0);
        ledger.join_invoked(member);
        ledger.joined(member, None, None, 0);
    }
    ledger
}

/// Acked, as all the shadow room's messages are.
fn send(ledger: &mut Ledger, number: u32) -> (u32, String) {
    let stamp = ledger.send(0, To::Room, Kind::Work, number.into(), number.into());
    ledger.acked(0, To::Room, stamp.index, number.into());
    let mut payload = String::new();
    stamp.write(120, &mut payload);
    (stamp.index, payload)
}

fn deliveries(sent: &[(u32, String)], tampering: Option<Tampering>) -> Vec<String> {
    let mut payloads: Vec<String> = sent.iter().map(|(_, payload)| payload.clone()).collect();
    match tampering {
        None => {}
        Some(Tampering::Drop) => drop(payloads.remove(2)),
        Some(Tampering::Repeat) => payloads.push(payloads[2].clone()),
        Some(Tampering::Swap) => payloads.swap(1, 2),
        Some(Tampering::Damage) => payloads[2].replace_range(119.., "!"),
        Some(Tampering::Invent) => payloads.push(invented(&payloads[2])),
    }
    payloads
}

fn invented(like: &str) -> String {
    let stamp = Stamp::parse(like).expect("it was just written");
    let mut payload = String::new();
    Stamp { index: 1000, ..stamp }.write(120, &mut payload);
    payload
}

/// The way of every byte that a socket reads.
fn hear(ledger: &mut Ledger, member: u32, bytes: &mut [u8], protocol: &Protocol) {
    let mut reader = MessageReader::new(Role::Client, 1 << 16);
    let mut dialogue = protocol.dialogue(member);
    // Its room is known to a session from its join.
    let join = Request::Join { reference: 0, room: "shadow-0", since: None };
    dialogue.ask(&join, &mut String::new());
    let read = reader.read(bytes, |message| {
        if let Message::Text(text) = message {
            let heard = dialogue.hear(Frame::Text(text), &mut |event| {
                if let Event::Delivery { target, data, position } = event {
                    ledger.delivered(member, Arrival::read(target, data, position), 1);
                }
            });
            // What can't be read is not found, and that is told.
            let _ = heard;
        }
        true
    });
    let _ = read;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ws_wire::codec::{socketio::Typed, template::Template};

    use super::*;

    #[test]
    fn everything_that_is_planted_is_found() {
        let template = "name = 'x'\n[say]\njoin = 'J {room}'\nsend = 'S {room} {data}'\n[[hear]]\nis = 'delivery'\n\
            text = 'D {room} {data}'";
        let template = Template::parse(template).expect("a template");
        let protocols =
            [Protocol::Native, Protocol::SocketIo(Arc::default()), Protocol::Template(Arc::new(template))];
        let named = Typed { node: Some("hello \"{data}\"".into()), ..Typed::default() };
        let named = Protocol::SocketIo(Arc::new(named.resolve().expect("settings")));
        for protocol in protocols.into_iter().chain([named]) {
            assert_eq!(find(&protocol), Ok(()), "{}", protocol.name());
        }
    }
}
