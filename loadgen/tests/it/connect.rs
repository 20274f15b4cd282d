//! Where sockets come from, and servers that only take messages.

use std::{
    net::TcpListener,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
};

use tokio_tungstenite::tungstenite::{Message, accept};

use super::{document, run};

/// A run in a network of its own, where an address has a hundred ephemeral ports.
fn run_with_few_ports(args: &str) -> Output {
    let few = "ip link set lo up && echo 40000 40099 > /proc/sys/net/ipv4/ip_local_port_range";
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c"])
        .arg(format!("{few} && exec {} {args}", env!("CARGO_BIN_EXE_ws-loadgen")))
        .output()
        .expect("util-linux has unshare")
}

#[test]
fn source_addresses_are_planned_from_the_ports() {
    let output = run_with_few_ports(
        "run --local 1 --redis embedded --connect-rate max -c 150 -r 100 -d 1s --output-format json -q",
    );
    // 150 sockets don't fit 100 ports, so that they all opened is proof of the addresses.
    let report = document(&output);
    assert_eq!((output.status.code(), &report["verdict"]), (Some(0), &"pass".into()), "{report:#}");
    assert_eq!(report["target"]["replicas"][0]["connections"], 150);
    let note = report["notes"][0].as_str().expect("a note");
    assert!(note.starts_with("connections came from 4 addresses in turn, 127.0.1.1 to 127.0.4.1"), "{note}");

    let output = run_with_few_ports("run ws://10.0.0.1:80 -c 150");
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(
        error.contains("need 2 source addresses") && error.contains("--source-ip IP --source-ip IP;"),
        "{error}"
    );
}

#[test]
fn a_server_that_only_takes_messages_gets_them_and_owes_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let taken = Arc::new(AtomicU32::new(0));
    let count = taken.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let count = count.clone();
            thread::spawn(move || {
                // The run begins with a connection that says nothing.
                let Ok(mut socket) = accept(stream) else { return };
                while let Ok(message) = socket.read() {
                    count.fetch_add(u32::from(matches!(message, Message::Text(_))), Relaxed);
                }
            });
        }
    });
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/templates/one-way.toml");
    let load = "-c 20 -r 100 -d 1s --output-format json -q";
    let output = run(&format!("run ws://{address} --template {template} {load}"));
    let report = document(&output);
    assert_eq!((output.status.code(), &report["verdict"]), (Some(0), &"pass".into()), "{report:#}");
    assert_eq!((&report["counts"]["sent"], &report["counts"]["expected"]), (&100.into(), &0.into()));
    // The closing handshakes are over, so all that was sent was read before.
    assert_eq!(taken.load(Relaxed), 100);
    let checked = report["properties"].as_array().expect("all").iter().map(|property| &property["checked"]);
    assert!(checked.into_iter().all(|checked| *checked == 0), "{report:#}");
    let note = report["notes"][0].as_str().expect("a note");
    assert!(note.contains("only take messages"), "{note}");
}
