//! How many deliveries a second a cluster of three replicas carries at p99 < 100 ms, and what each costs.
//!
//! `cargo bench -p ws-loadgen --bench fanout -- redis-stream` (or `redis-pubsub`). 600 sockets; for rooms of 10, 50 and
//! 100 the rate climbs until a run does not pass any more. Server, Redis and generator are processes of their own on one
//! machine, and are measured apart.

use std::process::Command;

use serde_json::Value;

/// Deliveries a second that are tried, in thousands.
const LADDER: [u32; 12] = [50, 75, 100, 125, 150, 175, 200, 250, 300, 350, 400, 500];

/// What a person does not notice yet, in microseconds.
const P99_LIMIT_US: u64 = 100_000;

fn main() {
    println!("room size   deliveries/s   p50 ms   p99 ms   server us   redis us   generator us");
    for room_size in [10, 50, 100] {
        let mut best = None;
        for thousands in LADDER {
            let rate = thousands * 1000 / room_size;
            match carried(room_size, rate) {
                Ok(report) => best = Some(report),
                Err(why) => {
                    eprintln!("rooms of {room_size}, {thousands},000 deliveries a second: {why}");
                    break;
                }
            }
        }
        match best {
            Some(report) => print(room_size, &report),
            None => println!("{room_size:>9}   not even the lowest rate was carried"),
        }
    }
    unloaded();
}

/// One run; why it was too much, if it was.
fn carried(room_size: u32, rate: u32) -> Result<Value, String> {
    let report = run(&format!("-c 600 --room-size {room_size} -r {rate} -d 6s"))?;
    let p99_us = report["latency_us"]["delivery"]["p99"].as_u64().unwrap_or(u64::MAX);
    match report["verdict"].as_str() {
        Some("pass") if p99_us < P99_LIMIT_US => Ok(report),
        Some("pass") => Err(format!("p99 is {} ms", p99_us / 1000)),
        _ => Err(report["reasons"][0].to_string()),
    }
}

fn unloaded() {
    match run("-c 600 --room-size 50 -r 20 -d 6s") {
        Ok(report) => {
            let delivery = &report["latency_us"]["delivery"];
            println!(
                "unloaded, rooms of 50, 20 messages/s: p50 {} us, p99 {} us",
                delivery["p50"], delivery["p99"]
            );
        }
        Err(why) => println!("unloaded: {why}"),
    }
}

fn run(args: &str) -> Result<Value, String> {
    // cargo adds --bench.
    let broker = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let output = Command::new(env!("CARGO_BIN_EXE_ws-loadgen"))
        .args("run --local 3 --seed 1 --quiet --output-format json".split(' '))
        .args(["--broker", broker.as_deref().unwrap_or("redis-stream")])
        .args(args.split(' '))
        .output()
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn print(room_size: u32, report: &Value) {
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let delivered = number("/counts/delivered");
    let each = |pointer: &str| number(pointer) * 1e6 / delivered;
    println!(
        "{room_size:>9}   {:>12.0}   {:>6.1}   {:>6.1}   {:>9.1}   {:>8.1}   {:>12.1}",
        delivered / number("/phases/send_s"),
        number("/latency_us/delivery/p50") / 1000.0,
        number("/latency_us/delivery/p99") / 1000.0,
        each("/cluster/server/cpu_seconds"),
        each("/cluster/redis/cpu_seconds"),
        each("/generator/cpu_seconds"),
    );
}
