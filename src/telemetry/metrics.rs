//! The text that `/metrics` answers with: OpenMetrics 1.0, which Prometheus reads.
//!
//! A [`Scrape`] gathers values from whoever holds counters and is rendered once. A family without series is left out.

use super::counters::{
    BUCKET_MICROS, BUCKETS, BackendCounters, Durations, FrontendCounters, FrontendTotals, ListenerCounters,
    RefusedCounters, WorkerSlots, backend_outcomes, limits_reached, listener_connections, malformed,
    refusals,
};
use super::panics::PanicIn;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

/// The media type of [`Scrape::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Frontends with series of their own; the traffic of all others is added up under [`OTHER`].
pub const FRONTENDS_MAX: usize = 10_000;

/// The label of frontends beyond [`FRONTENDS_MAX`], and of status codes beyond those a frontend tells apart.
pub const OTHER: &str = "other";

/// Remembers between scrapes which frontends have series of their own, so that none moves from `other` to a name:
/// both counters would jump.
#[derive(Debug)]
pub struct FrontendLabels {
    named: HashSet<Box<str>>,
    others: HashSet<Box<str>>,
    max: usize,
}

impl Default for FrontendLabels {
    fn default() -> Self {
        Self::with_max(FRONTENDS_MAX)
    }
}

impl FrontendLabels {
    fn with_max(max: usize) -> Self {
        Self { named: HashSet::new(), others: HashSet::new(), max }
    }

    fn is_named(&mut self, frontend: &str) -> bool {
        if self.named.contains(frontend) {
            return true;
        }
        if self.named.len() < self.max && !self.others.contains(frontend) {
            return self.named.insert(frontend.into());
        }
        if !self.others.contains(frontend) {
            self.others.insert(frontend.into());
        }
        false
    }

    /// Forgets frontends that are gone; their places go to frontends that have had no traffic yet.
    pub fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.named.retain(|frontend| exists(frontend));
        self.others.retain(|frontend| exists(frontend));
    }
}

/// The values of one moment. Fill it, then [`render`](Self::render).
#[derive(Debug, Default)]
pub struct Scrape {
    frontends: Vec<(Box<str>, FrontendTotals)>,
    other: FrontendTotals,
    upstream: Vec<(Box<str>, &'static str, u64)>,
    in_flight: Vec<(Box<str>, u64)>,
    servers: Vec<(Box<str>, Box<str>, bool)>,
    connections: Vec<(Box<str>, u64)>,
    refused: Vec<(&'static str, u64)>,
    limits_reached: Vec<(&'static str, u64)>,
    malformed: Vec<(&'static str, u64)>,
    table_revision: Option<u64>,
    swaps: (u64, Duration),
    store_connected: Option<bool>,
    store_in_sync: Option<Duration>,
    problems: Option<(u64, u64)>,
    certificates: Vec<(Box<str>, i64)>,
    access_log_dropped: Option<u64>,
    mirror_dropped: u64,
    trace_dropped: u64,
}

impl Scrape {
    /// A frontend's requests. Without traffic it leaves no trace.
    pub fn frontend(&mut self, id: &str, slots: &WorkerSlots<FrontendCounters>, labels: &mut FrontendLabels) {
        if slots.iter().next().is_none() {
            return;
        }
        if labels.is_named(id) {
            self.frontends.push((id.into(), FrontendTotals::of(slots)));
        } else {
            slots.iter().for_each(|slot| slot.add_to(&mut self.other));
        }
    }

    /// A backend's attempts by outcome and its open requests. Without traffic it leaves no trace.
    pub fn backend(&mut self, id: &str, slots: &WorkerSlots<BackendCounters>, in_flight: u64) {
        let outcomes = backend_outcomes(slots);
        if !outcomes.is_empty() || in_flight > 0 {
            self.in_flight.push((id.into(), in_flight));
        }
        self.upstream.extend(outcomes.into_iter().map(|(outcome, count)| (id.into(), outcome, count)));
    }

    /// Whether a server gets requests as far as health goes; only for servers that are observed.
    pub fn server(&mut self, backend: &str, server: &str, healthy: bool) {
        self.servers.push((backend.into(), server.into(), healthy));
    }

    /// A listener's open connections. One that never accepted leaves no trace.
    pub fn listener(&mut self, id: &str, slots: &WorkerSlots<ListenerCounters>) {
        let (accepted, open) = listener_connections(slots);
        if accepted > 0 {
            self.connections.push((id.into(), open));
        }
    }

    /// What the proxy answered or ended by itself.
    pub fn refused(&mut self, slots: &WorkerSlots<RefusedCounters>) {
        self.refused.extend(refusals(slots).into_iter().map(|(reason, count)| (reason.as_str(), count)));
        self.limits_reached.extend(limits_reached(slots).into_iter().map(|(it, count)| (it.as_str(), count)));
        self.malformed.extend(malformed(slots));
    }

    /// The revision that every worker serves.
    pub fn table_revision(&mut self, revision: u64) {
        self.table_revision = Some(revision);
    }

    /// How many tables were swapped in, and how long that took all together.
    pub fn swaps(&mut self, count: u64, total: Duration) {
        self.swaps = (count, total);
    }

    /// Whether the store answers, and the time since it last did and nothing was missed.
    pub fn store(&mut self, connected: bool, in_sync: Option<Duration>) {
        self.store_connected = Some(connected);
        self.store_in_sync = in_sync;
    }

    /// How many problems are listed.
    pub fn problems(&mut self, errors: u64, warnings: u64) {
        self.problems = Some((errors, warnings));
    }

    /// Seconds until a host's certificate expires; negative once it has.
    pub fn certificate(&mut self, host: &str, expires_in_seconds: i64) {
        self.certificates.push((host.into(), expires_in_seconds));
    }

    /// Lines that the access log could not keep.
    pub fn access_log_dropped(&mut self, lines: u64) {
        self.access_log_dropped = Some(lines);
    }

    /// Copies of requests that were not sent because too many were on their way.
    pub fn mirror_dropped(&mut self, copies: u64) {
        self.mirror_dropped = copies;
    }

    /// Traces that could not be kept.
    pub fn trace_dropped(&mut self, records: u64) {
        self.trace_dropped = records;
    }

    /// The text, ended by `# EOF`.
    pub fn render(self) -> String {
        let mut registry = Registry::default();
        let series = self.frontends.len() * (BUCKETS + 4) + self.servers.len() + self.upstream.len();
        registry.register_collector(Box::new(self));
        let mut out = String::with_capacity(4096 + series * 96);
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_upstream(&mut encoder)?;
        self.encode_edge(&mut encoder)?;
        self.encode_control(&mut encoder)
    }
}

impl Scrape {
    fn all_frontends(&self) -> impl Iterator<Item = (&str, &FrontendTotals)> {
        let other = (self.other.requests() > 0).then_some((OTHER, &self.other));
        self.frontends.iter().map(|(id, totals)| (&**id, totals)).chain(other)
    }

    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if self.all_frontends().next().is_none() {
            return Ok(());
        }
        let help = "Requests that ended, by frontend and status sent downstream";
        let mut family = encoder.encode_descriptor("flipgate_requests", help, None, MetricType::Counter)?;
        for (id, totals) in self.all_frontends() {
            for (code, count) in &totals.codes {
                counter(
                    &mut family,
                    &[("frontend", id), ("code", itoa::Buffer::new().format(*code))],
                    *count,
                )?;
            }
            if totals.further > 0 {
                counter(&mut family, &[("frontend", id), ("code", OTHER)], totals.further)?;
            }
        }
        let help = "Time from a request's first byte to its answer's last";
        let name = "flipgate_request_duration_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (id, totals) in self.all_frontends() {
            histogram(&mut family, &[("frontend", id)], &totals.durations)?;
        }
        Ok(())
    }

    fn encode_upstream(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if !self.upstream.is_empty() {
            let help = "Attempts at servers, by backend and how they ended";
            let name = "flipgate_upstream_requests";
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (backend, outcome, count) in &self.upstream {
                counter(&mut family, &[("backend", backend), ("outcome", outcome)], *count)?;
            }
        }
        if !self.in_flight.is_empty() {
            let help = "Requests and tunnels open to a backend";
            let mut family =
                encoder.encode_descriptor("flipgate_in_flight", help, None, MetricType::Gauge)?;
            for (backend, count) in &self.in_flight {
                gauge(&mut family, &[("backend", backend)], count)?;
            }
        }
        if !self.servers.is_empty() {
            let help = "1 while a server is thought healthy";
            let name = "flipgate_server_healthy";
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (backend, server, healthy) in &self.servers {
                gauge(&mut family, &[("backend", backend), ("server", server)], &u64::from(*healthy))?;
            }
        }
        Ok(())
    }

    fn encode_edge(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if !self.connections.is_empty() {
            let help = "Open connections of a listener";
            let mut family =
                encoder.encode_descriptor("flipgate_connections", help, None, MetricType::Gauge)?;
            for (listener, count) in &self.connections {
                gauge(&mut family, &[("listener", listener)], count)?;
            }
        }
        let refused = "Requests and connections that the proxy answered or ended by itself";
        let limits = "Connections, streams and requests that reached a limit";
        let problems = "Messages of clients that were malformed or ambiguous";
        for (name, help, label, counts) in [
            ("flipgate_refused", refused, "reason", &self.refused),
            ("flipgate_limit_reached", limits, "limit", &self.limits_reached),
            ("flipgate_malformed", problems, "problem", &self.malformed),
        ] {
            if !counts.is_empty() {
                let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                for (value, count) in counts {
                    counter(&mut family, &[(label, value)], *count)?;
                }
            }
        }
        let caught: Vec<_> = PanicIn::ALL.iter().map(|task| (task.as_str(), task.counted())).collect();
        if caught.iter().any(|(_, count)| *count > 0) {
            let help = "Panics that were caught, each a defect";
            let mut family = encoder.encode_descriptor("flipgate_panics", help, None, MetricType::Counter)?;
            for (task, count) in caught.into_iter().filter(|(_, count)| *count > 0) {
                counter(&mut family, &[("task", task)], count)?;
            }
        }
        if let Some(lines) = self.access_log_dropped.filter(|lines| *lines > 0) {
            let help = "Lines that the access log could not keep";
            let name = "flipgate_access_log_dropped";
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter(&mut family, &[], lines)?;
        }
        let mirrors = "Copies of requests that were not sent because too many were on their way";
        let traces = "Traces that could not be kept";
        for (name, help, count) in [
            ("flipgate_mirror_dropped", mirrors, self.mirror_dropped),
            ("flipgate_trace_dropped", traces, self.trace_dropped),
        ] {
            if count > 0 {
                let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                counter(&mut family, &[], count)?;
            }
        }
        Ok(())
    }

    fn encode_control(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(revision) = self.table_revision {
            single_gauge(
                encoder,
                "flipgate_table_revision",
                "The revision that every worker serves",
                &revision,
            )?;
        }
        if let (count @ 1.., total) = self.swaps {
            let help = "Time from a change's arrival to the swap of its table";
            let mut family =
                encoder.encode_descriptor("flipgate_swap_seconds", help, None, MetricType::Histogram)?;
            family.encode_histogram::<NoLabelSet>(
                total.as_secs_f64(),
                count,
                &[(f64::INFINITY, count)],
                None,
            )?;
        }
        if let Some(connected) = self.store_connected {
            let help = "1 while the store answers";
            single_gauge(encoder, "flipgate_store_connected", help, &u64::from(connected))?;
        }
        if let Some(age) = self.store_in_sync {
            let help = "Time since the store last answered and nothing was missed";
            single_gauge(encoder, "flipgate_store_in_sync_seconds", help, &age.as_secs_f64())?;
        }
        if let Some((errors, warnings)) = self.problems {
            let help = "Problems of objects in the store";
            let mut family = encoder.encode_descriptor("flipgate_problems", help, None, MetricType::Gauge)?;
            gauge(&mut family, &[("severity", "error")], &errors)?;
            gauge(&mut family, &[("severity", "warning")], &warnings)?;
        }
        if !self.certificates.is_empty() {
            let help = "Time until a host's certificate expires; negative once it has";
            let name = "flipgate_certificate_expiry_seconds";
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (host, seconds) in &self.certificates {
                gauge(&mut family, &[("host", host)], seconds)?;
            }
        }
        Ok(())
    }
}

type Labels<'a> = &'a [(&'a str, &'a str)];

fn with_labels(
    family: &mut MetricEncoder<'_>,
    labels: Labels<'_>,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { encode(family) } else { encode(&mut family.encode_family(&labels)?) }
}

fn counter(family: &mut MetricEncoder<'_>, labels: Labels<'_>, value: u64) -> fmt::Result {
    with_labels(family, labels, |metric| metric.encode_counter::<NoLabelSet, u64, u64>(&value, None))
}

fn gauge(family: &mut MetricEncoder<'_>, labels: Labels<'_>, value: &impl EncodeGaugeValue) -> fmt::Result {
    with_labels(family, labels, |metric| metric.encode_gauge(value))
}

fn single_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: &impl EncodeGaugeValue,
) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)
}

fn histogram(family: &mut MetricEncoder<'_>, labels: Labels<'_>, durations: &Durations) -> fmt::Result {
    let bounds = BUCKET_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(durations.buckets).collect();
    let sum = durations.sum_micros as f64 / 1e6;
    with_labels(family, labels, |metric| {
        metric.encode_histogram::<NoLabelSet>(sum, durations.count(), &buckets, None)
    })
}

#[cfg(test)]
mod tests {
    use super::super::counters::Outcome;
    use super::super::limit::Limit;
    use super::super::reason::Reason;
    use super::*;

    #[test]
    fn nothing_counted_gives_no_series() {
        let mut scrape = Scrape::default();
        scrape.frontend("shop", &WorkerSlots::new(2), &mut FrontendLabels::default());
        scrape.backend("shop", &WorkerSlots::new(2), 0);
        scrape.listener("http", &WorkerSlots::new(2));
        scrape.refused(&WorkerSlots::new(2));
        scrape.access_log_dropped(0);
        assert_eq!(scrape.render(), "# EOF\n");
    }

    #[test]
    fn every_name_of_the_contract_appears() {
        let frontends = WorkerSlots::<FrontendCounters>::new(2);
        frontends.at(0).record(200, 700);
        frontends.at(1).record(404, 61_000_000);
        let backends = WorkerSlots::<BackendCounters>::new(2);
        backends.at(0).record(Outcome::Status(200), 1);
        backends.at(1).record(Outcome::Failed(Reason::ConnectFailed), 1);
        let listeners = WorkerSlots::<ListenerCounters>::new(2);
        listeners.at(1).opened();
        let refused = WorkerSlots::<RefusedCounters>::new(2);
        refused.at(0).record(Reason::NoRoute);
        refused.at(1).reached(Limit::HeadTime);
        refused.at(1).malformed("host");
        let mut scrape = Scrape::default();
        scrape.frontend("a\"b", &frontends, &mut FrontendLabels::default());
        scrape.backend("shop-blue", &backends, 3);
        scrape.server("shop-blue", "a", true);
        scrape.listener("http", &listeners);
        scrape.refused(&refused);
        scrape.table_revision(42);
        scrape.swaps(2, Duration::from_millis(3));
        scrape.store(true, Some(Duration::from_millis(1500)));
        scrape.problems(1, 2);
        scrape.certificate("example.com", -5);
        scrape.access_log_dropped(7);
        scrape.mirror_dropped(8);
        scrape.trace_dropped(9);
        let text = scrape.render();
        let lines = [
            "# TYPE flipgate_requests counter",
            r#"flipgate_requests_total{frontend="a\"b",code="200"} 1"#,
            r#"flipgate_requests_total{frontend="a\"b",code="404"} 1"#,
            "# TYPE flipgate_request_duration_seconds histogram",
            r#"flipgate_request_duration_seconds_sum{frontend="a\"b"} 61.0007"#,
            r#"flipgate_request_duration_seconds_count{frontend="a\"b"} 2"#,
            r#"flipgate_request_duration_seconds_bucket{le="0.0005",frontend="a\"b"} 0"#,
            r#"flipgate_request_duration_seconds_bucket{le="0.001",frontend="a\"b"} 1"#,
            r#"flipgate_request_duration_seconds_bucket{le="60.0",frontend="a\"b"} 1"#,
            r#"flipgate_request_duration_seconds_bucket{le="+Inf",frontend="a\"b"} 2"#,
            r#"flipgate_upstream_requests_total{backend="shop-blue",outcome="2xx"} 1"#,
            r#"flipgate_upstream_requests_total{backend="shop-blue",outcome="connect_failed"} 1"#,
            r#"flipgate_in_flight{backend="shop-blue"} 3"#,
            r#"flipgate_server_healthy{backend="shop-blue",server="a"} 1"#,
            r#"flipgate_connections{listener="http"} 1"#,
            r#"flipgate_refused_total{reason="no_route"} 1"#,
            r#"flipgate_limit_reached_total{limit="head_time"} 1"#,
            r#"flipgate_malformed_total{problem="host"} 1"#,
            "flipgate_table_revision 42",
            "flipgate_swap_seconds_sum 0.003",
            "flipgate_swap_seconds_count 2",
            "flipgate_store_connected 1",
            "flipgate_store_in_sync_seconds 1.5",
            r#"flipgate_problems{severity="error"} 1"#,
            r#"flipgate_problems{severity="warning"} 2"#,
            r#"flipgate_certificate_expiry_seconds{host="example.com"} -5"#,
            "flipgate_access_log_dropped_total 7",
            "flipgate_mirror_dropped_total 8",
            "flipgate_trace_dropped_total 9",
            "# EOF",
        ];
        for line in lines {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn beyond_the_limit_frontends_share_a_label_for_good() {
        let counted = |n: u64| {
            let slots = WorkerSlots::<FrontendCounters>::new(1);
            (0..n).for_each(|_| slots.at(0).record(200, 1));
            slots
        };
        let mut labels = FrontendLabels::with_max(2);
        let scrape = |ids: &[(&str, u64)], labels: &mut FrontendLabels| {
            let mut scrape = Scrape::default();
            ids.iter().for_each(|(id, n)| scrape.frontend(id, &counted(*n), labels));
            let text = scrape.render();
            let lines = text.lines().filter(|l| l.starts_with("flipgate_requests_total"));
            lines.map(|l| l["flipgate_requests_total".len()..].to_owned()).collect::<Vec<_>>()
        };
        let first = scrape(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)], &mut labels);
        let expected = [r#"{frontend="a",code="200"} 1"#, r#"{frontend="b",code="200"} 2"#];
        assert_eq!(first[..2], expected);
        assert_eq!(first[2..], [r#"{frontend="other",code="200"} 7"#]);
        labels.retain(|id| id != "a");
        let second = scrape(&[("b", 2), ("c", 3), ("d", 4), ("e", 5)], &mut labels);
        assert_eq!(second.len(), 3);
        assert_eq!(second[1], r#"{frontend="e",code="200"} 5"#);
        assert_eq!(second[2], r#"{frontend="other",code="200"} 7"#);
    }
}
