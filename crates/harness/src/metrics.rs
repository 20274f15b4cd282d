//! A run as monitoring sees it: an endpoint for Prometheus, and a push over OTLP.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use tokio::{net::TcpListener, task::JoinHandle};
use ws_analysis::{
    metrics::{self, Metric, Source},
    report::{Environment, Report},
};
use ws_cluster::process::own_usage;
use ws_swarm::{Monitor, Seen, Step};

use crate::{Tool, config::Config, run::say};

/// How often numbers are pushed.
const PUSH_EVERY: Duration = Duration::from_secs(5);

/// How long a collector may take for an answer.
const PUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Shows a run to monitoring until it is dropped.
pub(crate) struct Exporter {
    run: Arc<Run>,
    otlp: Option<Arc<Collector>>,
    tasks: Vec<JoinHandle<()>>,
}

/// What is shown.
struct Run {
    source: Source,
    monitor: Arc<Monitor>,
    step: Mutex<Option<Step>>,
}

impl Exporter {
    /// Opens the endpoint and begins to push, as far as it was asked for.
    ///
    /// # Errors
    /// The address of the endpoint can't be had.
    pub(crate) async fn start(
        tool: &Tool,
        config: &Config,
        environment: &Environment,
        monitor: Arc<Monitor>,
    ) -> anyhow::Result<Self> {
        let run =
            Arc::new(Run { source: source(tool, config, environment), monitor, step: Mutex::default() });
        let mut tasks = Vec::new();
        if let Some(address) = config.output.metrics {
            tasks.push(serve(run.clone(), address, config.output.quiet).await?);
        }
        let otlp = config.output.otlp.as_deref().map(|url| Arc::new(Collector::new(url)));
        if let Some(collector) = &otlp {
            tasks.push(tokio::spawn(push(run.clone(), collector.clone())));
        }
        Ok(Self { run, otlp, tasks })
    }

    /// A step begins.
    pub(crate) fn begins(&self, step: Step) {
        *self.run.step.lock().expect("nothing panics while it is held") = Some(step);
    }

    /// Pushes the end of the run, with its result.
    pub(crate) async fn finish(&mut self, report: &Report) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(collector) = self.otlp.take() {
            let metrics = [self.run.metrics(), metrics::of_report(report)].concat();
            collector.send(&self.run.source, &metrics).await;
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Seed and machine are in all that a run says.
fn source(tool: &Tool, config: &Config, environment: &Environment) -> Source {
    Source {
        tool: tool.name.into(),
        version: tool.version.into(),
        labels: vec![
            ("seed", config.scenario.seed.to_string()),
            ("protocol", config.protocol.codec.name().into()),
            ("os", environment.os.clone()),
            ("cpus", environment.cpus.to_string()),
        ],
        started_ns: now_ns(),
    }
}

fn now_ns() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

impl Run {
    fn metrics(&self) -> Vec<Metric> {
        let step = *self.step.lock().expect("nothing panics while it is held");
        of_run(&self.monitor.read(), step)
    }
}

/// The one place where the counters of a run get their names; docs/results.md has them.
fn of_run(seen: &Seen, step: Option<Step>) -> Vec<Metric> {
    let used = own_usage();
    let open = seen.connected.saturating_sub(seen.ended);
    let step = step.map_or("start", |step| match step {
        Step::Connect => "connect",
        Step::Join => "join",
        Step::Send => "send",
        Step::Settle => "settle",
        Step::Drain => "drain",
        Step::Done => "done",
    });
    vec![
        Metric {
            points: vec![(vec![("step", step.into())], 1.0)],
            ..Metric::gauge("ws_run_step", "What the run is doing.", 1.0)
        },
        Metric::gauge("ws_run_connections", "Open sockets.", float(open)),
        Metric::counter("ws_run_connects", "Sockets that got their hello.", float(seen.connected)),
        Metric::counter("ws_run_joins", "Sockets that joined their room.", float(seen.joined)),
        Metric::gauge(
            "ws_run_connections_gone",
            "Sockets that ended early and are not back.",
            float(seen.ended),
        ),
        Metric::counter("ws_run_messages_sent", "Messages sent.", float(seen.sent)),
        Metric::counter("ws_run_deliveries", "Deliveries of them.", float(seen.delivered)),
        Metric::counter(
            "ws_run_violations",
            "Violations so far; losses show at the end.",
            float(seen.violations),
        ),
        Metric::counter("ws_run_cpu", "CPU time of the generator.", used.cpu_seconds).in_unit("s"),
        Metric::gauge("ws_run_memory", "Resident memory of the generator.", float(used.rss_bytes))
            .in_unit("By"),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

async fn serve(run: Arc<Run>, address: SocketAddr, quiet: bool) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("--metrics {address}"))?;
    if !quiet {
        let address = listener.local_addr().with_context(|| format!("--metrics {address}"))?;
        say(&format!("metrics     http://{address}/metrics"));
    }
    let text = move || async move {
        let text = metrics::prometheus(&run.source, &run.metrics());
        ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
    };
    let app = Router::new().route("/metrics", get(text));
    Ok(tokio::spawn(async move {
        // It ends with the run.
        let _ = axum::serve(listener, app).await;
    }))
}

async fn push(run: Arc<Run>, collector: Arc<Collector>) {
    let mut ticks = tokio::time::interval(PUSH_EVERY);
    loop {
        ticks.tick().await;
        collector.send(&run.source, &run.metrics()).await;
    }
}

/// Where numbers are pushed to.
struct Collector {
    url: String,
    agent: ureq::Agent,
    /// Whether it was said that it does not take them.
    complained: Mutex<bool>,
}

impl Collector {
    fn new(url: &str) -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(PUSH_TIMEOUT)).build().into();
        Self { url: format!("{}/v1/metrics", url.trim_end_matches('/')), agent, complained: Mutex::default() }
    }

    /// A run is not worse for a collector that is away: it is said once.
    async fn send(self: &Arc<Self>, source: &Source, metrics: &[Metric]) {
        let body = metrics::otlp(source, metrics, now_ns()).to_string();
        let collector = self.clone();
        let sent = tokio::task::spawn_blocking(move || collector.post(&body)).await;
        if let Ok(Err(error)) = sent {
            let mut complained = self.complained.lock().expect("nothing panics while it is held");
            if !std::mem::replace(&mut *complained, true) {
                say(&format!("--otlp {}: {error}; the run goes on without it", self.url));
            }
        }
    }

    fn post(&self, body: &str) -> Result<(), ureq::Error> {
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        for (name, value) in headers(&std::env::var("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default()) {
            request = request.header(name, value);
        }
        request.send(body).map(drop)
    }
}

/// `name=value,name=value`, as OpenTelemetry has it.
fn headers(text: &str) -> Vec<(&str, &str)> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect()
}

/// A URL of HTTP.
pub(crate) fn collector(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(char::is_whitespace) => Ok(text.to_owned()),
        _ => Err("a collector is a URL like http://127.0.0.1:4318; /v1/metrics is added".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_their_names() {
        let seen = Seen { connected: 5, ended: 2, sent: 7, ..Seen::default() };
        let metrics = of_run(&seen, Some(Step::Send));
        let value = |name: &str| metrics.iter().find(|it| it.name == name).map(|it| it.points[0].1);
        assert_eq!((value("ws_run_connections"), value("ws_run_messages_sent")), (Some(3.0), Some(7.0)));
        assert_eq!(metrics[0].points[0].0, [("step", "send".to_owned())]);
    }

    #[test]
    fn headers_and_urls() {
        assert_eq!(headers("a=b, c = d=e,"), [("a", "b"), ("c", "d=e")]);
        assert!(collector("http://127.0.0.1:4318").is_ok());
        assert!(collector("127.0.0.1:4318").is_err() && collector("http://").is_err());
    }
}
