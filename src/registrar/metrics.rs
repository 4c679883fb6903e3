//! What the registrar counts, and the text that `/metrics` answers with.

use super::progress::Progress;
use crate::store::StoreError;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

type Labels = [(&'static str, &'static str); 1];

/// Upper bounds in seconds.
const LAG_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Counters of a process, and gauges that are set when they are read.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    transactions: Family<Labels, Counter>,
    conflicts: Counter,
    lag: Histogram,
    objects: Family<Labels, Gauge>,
    problems: Family<Labels, Gauge>,
    held: Gauge,
    leading: Gauge,
    in_sync: Gauge,
}

impl Default for Meters {
    fn default() -> Self {
        let mut meters = Self {
            registry: Registry::default(),
            transactions: Family::default(),
            conflicts: Counter::default(),
            lag: Histogram::new(LAG_BUCKETS),
            objects: Family::default(),
            problems: Family::default(),
            held: Gauge::default(),
            leading: Gauge::default(),
            in_sync: Gauge::default(),
        };
        let Self { registry, transactions, conflicts, lag, objects, problems, held, leading, in_sync } =
            &mut meters;
        registry.register("flipgate_registrar_transactions", "Transactions by outcome", transactions.clone());
        let help = "Transactions that found a key changed";
        registry.register("flipgate_registrar_conflicts", help, conflicts.clone());
        let help = "From reading a change of the cluster to the store's revision";
        registry.register("flipgate_registrar_lag_seconds", help, lag.clone());
        let help = "Objects of the cluster that are known";
        registry.register("flipgate_registrar_objects", help, objects.clone());
        let help = "What is not as its author wants it";
        registry.register("flipgate_registrar_problems", help, problems.clone());
        registry.register("flipgate_registrar_held", "Removals that are held until confirmed", held.clone());
        registry.register("flipgate_registrar_leading", "1 while this process writes", leading.clone());
        let help = "1 while every kind and the store are followed";
        registry.register("flipgate_registrar_in_sync", help, in_sync.clone());
        meters
    }
}

impl Meters {
    /// A transaction took place.
    pub fn committed(&self) {
        self.count("committed");
    }

    /// A transaction did not.
    pub fn failed(&self, error: &StoreError) {
        self.count(match error {
            StoreError::Conflict { .. } => {
                self.conflicts.inc();
                "conflict"
            }
            StoreError::Unavailable(_) => "unavailable",
            StoreError::Refused(_) | StoreError::Denied(_) | StoreError::Unsupported(_) => "refused",
        });
    }

    /// So long after it was read a change of the cluster stood in the store.
    pub fn lag(&self, time: Duration) {
        self.lag.observe(time.as_secs_f64());
    }

    /// OpenMetrics 1.0.
    pub fn render(&self, progress: &Progress) -> String {
        for (kind, known) in &progress.kinds {
            self.objects.get_or_create(&[("kind", kind.as_str())]).set(number(known.objects));
        }
        self.problems.get_or_create(&[("severity", "error")]).set(number(progress.errors));
        self.problems.get_or_create(&[("severity", "warning")]).set(number(progress.warnings));
        self.held.set(number(progress.held));
        self.leading.set(progress.leading.into());
        self.in_sync.set(progress.is_in_sync().into());
        let mut text = String::new();
        // A String takes everything.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn count(&self, outcome: &'static str) {
        self.transactions.get_or_create(&[("outcome", outcome)]).inc();
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registrar::Kind;
    use crate::registrar::progress::KindProgress;
    use crate::registrar::runner::Known;

    #[test]
    fn what_is_told_is_what_the_readme_says() {
        let meters = Meters::default();
        meters.committed();
        for error in [
            StoreError::Conflict { key: "k".into() },
            StoreError::Unavailable("away".to_owned()),
            StoreError::Refused("no".to_owned()),
        ] {
            meters.failed(&error);
        }
        meters.lag(Duration::from_millis(30));
        let pods = KindProgress { objects: 7, known: Known::Listed };
        let kinds = [(Kind::Pod, pods)].into();
        let progress =
            Progress { leading: true, kinds, errors: 2, warnings: 3, held: 5, ..Progress::default() };
        let text = meters.render(&progress);
        for line in [
            "flipgate_registrar_objects{kind=\"pods\"} 7",
            "flipgate_registrar_lag_seconds_bucket{le=\"0.05\"} 1",
            "flipgate_registrar_transactions_total{outcome=\"committed\"} 1",
            "flipgate_registrar_transactions_total{outcome=\"conflict\"} 1",
            "flipgate_registrar_transactions_total{outcome=\"unavailable\"} 1",
            "flipgate_registrar_transactions_total{outcome=\"refused\"} 1",
            "flipgate_registrar_conflicts_total 1",
            "flipgate_registrar_problems{severity=\"error\"} 2",
            "flipgate_registrar_problems{severity=\"warning\"} 3",
            "flipgate_registrar_held 5",
            "flipgate_registrar_leading 1",
            "flipgate_registrar_in_sync 1",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
        let readme = include_str!("../../README.md");
        for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = name.split(' ').next().unwrap();
            assert!(readme.contains(&format!("`{name}")), "the README does not know {name}");
        }
    }
}
