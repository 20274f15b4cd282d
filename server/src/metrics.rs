//! Counters for Prometheus.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Sums since the start.
#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) sessions: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) publications: AtomicU64,
    pub(crate) deliveries: AtomicU64,
}

impl Metrics {
    /// The text of `/metrics`; `open` sessions, `rooms` with somebody in them.
    pub(crate) fn render(&self, open: usize, rooms: usize, ready: bool) -> String {
        let mut text = String::new();
        let mut add = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = write!(
                text,
                "# HELP ws_server_{name} {help}\n# TYPE ws_server_{name} {kind}\nws_server_{name} {value}\n"
            );
        };
        add("connections", "gauge", "WebSocket connections open.", open as u64);
        add("rooms", "gauge", "Rooms that somebody here is in.", rooms as u64);
        add("ready", "gauge", "1 if /readyz says so.", ready.into());
        let counters = [
            ("sessions_total", "WebSocket connections opened.", &self.sessions),
            (
                "connections_refused_total",
                "Connections refused because there were too many.",
                &self.refused_connections,
            ),
            ("requests_total", "Requests of clients.", &self.requests),
            ("errors_total", "Requests answered by an error.", &self.errors),
            ("publications_total", "Messages received from the broker.", &self.publications),
            ("deliveries_total", "Messages queued for a client.", &self.deliveries),
        ];
        for (name, help, counter) in counters {
            add(name, "counter", help, counter.load(Relaxed));
        }
        text
    }
}
