//! Numbers for monitoring: as text for Prometheus to fetch, as OTLP JSON to be pushed.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use crate::report::{Report, Summary};

/// One number under its name, or several that differ in their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Without a unit or `_total` behind it.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Of UCUM: `s`, `By`, or empty for a count.
    pub unit: &'static str,
    /// Whether it only grows.
    pub is_counter: bool,
    /// Labels and values.
    pub points: Vec<(Labels, f64)>,
}

/// Names and values.
pub type Labels = Vec<(&'static str, String)>;

impl Metric {
    /// What only grows.
    #[must_use]
    pub fn counter(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { is_counter: true, ..Self::gauge(name, help, value) }
    }

    /// What comes and goes.
    #[must_use]
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, unit: "", is_counter: false, points: vec![(Vec::new(), value)] }
    }

    /// In this unit.
    #[must_use]
    pub fn in_unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// As Prometheus wants to have it: with its unit, and what it is.
    fn full_name(&self) -> String {
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let total = if self.is_counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.name)
    }
}

/// Who measures: the labels of all numbers.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The tool.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// What else tells this run from others: seed, machine.
    pub labels: Labels,
    /// When the run started, in nanoseconds since 1970.
    pub started_ns: u128,
}

/// The text exposition format, 0.0.4.
#[must_use]
pub fn prometheus(source: &Source, metrics: &[Metric]) -> String {
    let mut text = String::new();
    let labels = [("tool", source.tool.clone()), ("version", source.version.clone())];
    let info = Metric {
        points: vec![(labels.into_iter().chain(source.labels.clone()).collect(), 1.0)],
        ..Metric::gauge("ws_run_info", "Which run this is.", 1.0)
    };
    for metric in [&info].into_iter().chain(metrics) {
        exposed(metric, &mut text).expect("a string takes everything");
    }
    text
}

fn exposed(metric: &Metric, out: &mut String) -> fmt::Result {
    let name = metric.full_name();
    let kind = if metric.is_counter { "counter" } else { "gauge" };
    writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help)?;
    for (labels, value) in &metric.points {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(out, "{name}{labels} {value}")?;
    }
    Ok(())
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The body of a request to `/v1/metrics` (OTLP/HTTP, JSON), as of `now_ns` since 1970.
#[must_use]
pub fn otlp(source: &Source, metrics: &[Metric], now_ns: u128) -> Value {
    let attribute = |name: &str, value: &str| json!({ "key": name, "value": { "stringValue": value } });
    let attributes = |labels: &Labels| -> Vec<Value> {
        labels.iter().map(|(name, value)| attribute(name, value)).collect()
    };
    let mut resource =
        vec![attribute("service.name", &source.tool), attribute("service.version", &source.version)];
    resource.extend(attributes(&source.labels));
    let point = |(labels, value): &(Labels, f64)| {
        json!({
            "attributes": attributes(labels),
            "startTimeUnixNano": source.started_ns.to_string(),
            "timeUnixNano": now_ns.to_string(),
            "asDouble": value,
        })
    };
    let metric = |metric: &Metric| {
        let points: Vec<Value> = metric.points.iter().map(point).collect();
        let unit = if metric.unit.is_empty() { "1" } else { metric.unit };
        let mut json = json!({ "name": metric.name, "description": metric.help, "unit": unit });
        match metric.is_counter {
            // Cumulative.
            true => {
                json["sum"] =
                    json!({ "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points });
            }
            false => json["gauge"] = json!({ "dataPoints": points }),
        }
        json
    };
    json!({ "resourceMetrics": [{
        "resource": { "attributes": resource },
        "scopeMetrics": [{
            "scope": { "name": source.tool, "version": source.version },
            "metrics": metrics.iter().map(metric).collect::<Vec<_>>(),
        }],
    }] })
}

/// What is known at the end: the verdict, the losses, and the percentiles.
#[must_use]
pub fn of_report(report: &Report) -> Vec<Metric> {
    let verdict = format!("{:?}", report.verdict).to_lowercase();
    let latency = &report.latency_us;
    let times = [
        ("connect", latency.connect),
        ("ack", latency.ack),
        ("delivery", latency.delivery),
        ("fanout_first", latency.fanout_first),
        ("fanout_last", latency.fanout_last),
        ("schedule_lag", report.generator.schedule_lag_us),
    ];
    let quantiles = times.iter().filter(|(_, summary)| summary.count > 0).flat_map(|(of, summary)| {
        let Summary { p50, p90, p99, p999, max, .. } = *summary;
        let points = [("0.5", p50), ("0.9", p90), ("0.99", p99), ("0.999", p999), ("1", max)];
        points.map(|(share, us)| {
            (vec![("of", (*of).to_owned()), ("quantile", share.to_owned())], float(us) / 1e6)
        })
    });
    vec![
        Metric {
            points: vec![(vec![("verdict", verdict)], 1.0)],
            ..Metric::gauge("ws_run_verdict", "How the run ended.", 1.0)
        },
        Metric::gauge("ws_run_lost", "Deliveries that never came.", float(report.counts.lost)),
        Metric {
            points: quantiles.collect(),
            ..Metric::gauge("ws_run_latency", "From the intended time, over the whole run.", 0.0).in_unit("s")
        },
    ]
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            tool: "ws-loadgen".into(),
            version: "1.2.3".into(),
            labels: vec![("os", "a \"b\"\\\nc".into())],
            started_ns: 1_000,
        }
    }

    #[test]
    fn prometheus_reads_names_units_and_escapes() {
        let metrics = [
            Metric::counter("ws_run_cpu", "CPU time.", 1.5).in_unit("s"),
            Metric::gauge("ws_run_connections", "Open.", 3.0),
        ];
        let text = prometheus(&source(), &metrics);
        assert_eq!(
            text,
            "# HELP ws_run_info Which run this is.\n# TYPE ws_run_info gauge\n\
             ws_run_info{tool=\"ws-loadgen\",version=\"1.2.3\",os=\"a \\\"b\\\"\\\\\\nc\"} 1\n\
             # HELP ws_run_cpu_seconds_total CPU time.\n# TYPE ws_run_cpu_seconds_total counter\n\
             ws_run_cpu_seconds_total 1.5\n\
             # HELP ws_run_connections Open.\n# TYPE ws_run_connections gauge\nws_run_connections 3\n"
        );
    }

    #[test]
    fn otlp_has_sums_and_gauges() {
        let metrics = [
            Metric::counter("ws_run_cpu", "CPU time.", 1.5).in_unit("s"),
            Metric::gauge("ws_run_connections", "Open.", 3.0),
        ];
        let body = otlp(&source(), &metrics, 2_000);
        let resource = &body["resourceMetrics"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "ws-loadgen");
        let metrics = &resource["scopeMetrics"][0]["metrics"];
        assert_eq!((&metrics[0]["unit"], &metrics[1]["unit"]), (&json!("s"), &json!("1")));
        assert_eq!(metrics[0]["sum"]["aggregationTemporality"], 2);
        let point = &metrics[1]["gauge"]["dataPoints"][0];
        assert_eq!((&point["asDouble"], &point["timeUnixNano"]), (&json!(3.0), &json!("2000")));
    }
}
