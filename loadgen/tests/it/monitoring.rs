//! What monitoring sees of a run.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::run;

#[test]
fn a_running_run_is_read_by_prometheus() {
    let load = "run --local 2 --redis embedded -c 20 -r 100 -d 60s --seed 77 --metrics 127.0.0.1:0";
    let mut child = Command::new(env!("CARGO_BIN_EXE_ws-loadgen"))
        .args(load.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let url = said.find_map(|line| line.split_once("http://").map(|(_, url)| url.to_owned())).expect("a URL");
    let address = url.strip_suffix("/metrics").expect("the path");
    // Progress says when messages are sent.
    said.find(|line| line.starts_with("sending")).expect("it sends");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    for line in [
        "ws_run_step{step=\"send\"} 1",
        "ws_run_connections 20",
        "ws_run_connects_total 20",
        "# TYPE ws_run_messages_sent_total counter",
        "seed=\"77\",protocol=\"native\",os=\"linux ",
    ] {
        assert!(answer.contains(line), "{line}: {answer}");
    }
    child.kill().and_then(|()| child.wait()).expect("it ends");
}

#[test]
fn an_address_that_is_taken_is_told_before_the_run() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let output = run(&format!("run --local 2 --redis embedded -c 20 -d 1s --metrics {address}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains(&format!("--metrics {address}: Address already in use")), "{said}");
}

/// Reads one request, answers it, and returns its first line and its body.
fn received(listener: &TcpListener) -> (String, Value) {
    let (stream, _) = listener.accept().expect("a connection");
    let mut reader = BufReader::new(&stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).expect("a line");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    (&stream)
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        .expect("an answer");
    (first, serde_json::from_slice(&body).expect("JSON"))
}

#[test]
fn counters_and_results_are_pushed_to_a_collector() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let collector = thread::spawn(move || {
        loop {
            let (first, body) = received(&listener);
            assert_eq!(first, "POST /v1/metrics HTTP/1.1\r\n");
            // The last one has the verdict.
            if body.to_string().contains("ws_run_verdict") {
                return body;
            }
        }
    });
    let output = run(&format!("run --local 2 --redis embedded -c 20 -r 100 -d 1s --seed 78 -q --otlp {url}"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let body = collector.join().expect("the end was pushed");
    let resource = &body["resourceMetrics"][0];
    let text = resource["resource"].to_string();
    assert!(text.contains("ws-loadgen") && text.contains("\"78\""), "{text}");
    let metrics = resource["scopeMetrics"][0]["metrics"].as_array().expect("metrics");
    let value = |name: &str| {
        let metric = metrics.iter().find(|metric| metric["name"] == name).expect(name);
        let kind = if metric["sum"].is_object() { "sum" } else { "gauge" };
        metric[kind]["dataPoints"][0]["asDouble"].as_f64()
    };
    assert_eq!((value("ws_run_messages_sent"), value("ws_run_lost")), (Some(100.0), Some(0.0)));
    assert_eq!(value("ws_run_deliveries"), Some(1000.0));
}

#[test]
fn a_collector_that_is_away_is_told_once_and_costs_nothing() {
    // Whoever had this port has given it back.
    let url = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let output = run(&format!("run --local 2 --redis embedded -c 20 -r 100 -d 1s -q --otlp {url}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.matches("--otlp").count()), (Some(0), 1), "{said}");
    let output = run("run --local 2 --otlp 127.0.0.1:4318");
    assert_eq!(output.status.code(), Some(2));
}
