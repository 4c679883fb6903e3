//! What one change costs among a thousand services with ten endpoints each.

use super::scene::{core, endpoint_lists, lists, service};
use crate::control::image::Now;
use crate::kubernetes::Name;
use crate::model::Revision;
use crate::registrar::plan::{Act, Step};
use crate::registrar::runner::Core;
use crate::registrar::watch::Seen;
use crate::registrar::{Change, Kind};
use crate::store::{self, Batch, Entry, Event, Snapshot};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SERVICES: usize = 1_000;
const ENDPOINTS: usize = 10;

fn endpoints(n: usize, ready: usize) -> Change {
    let endpoint = |e: usize| {
        let readiness = if e < ready { "ready" } else { "ending" };
        format!("10.{}.{}.{e} {readiness}", n / 250, n % 250)
    };
    let all: Vec<String> = (0..ENDPOINTS).map(endpoint).collect();
    endpoint_lists(&format!("s{n}"), &all.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The store as it is once the steps are taken.
fn echo(core: &mut Core, revision: u64, steps: Vec<Step>) {
    let change = |step: Step| match step.act {
        Act::Put(value) => {
            store::Change::Put(Entry { key: step.path, value, version: revision, created: 1, lease: None })
        }
        Act::Delete => store::Change::Delete { key: step.path },
    };
    let changes = steps.into_iter().map(change).collect();
    core.follow(Event::Batch(Batch { revision: Revision(revision), changes }));
}

fn see(core: &mut Core, change: Change) {
    core.see(Seen::Changed(change, tokio::time::Instant::now()));
}

#[tokio::test]
async fn one_change_costs_no_more_than_itself() {
    let mut core = core();
    core.follow(Event::Snapshot(Snapshot { revision: Revision(1), entries: Vec::new() }));
    let mut cluster = BTreeMap::new();
    for n in 0..SERVICES {
        let name = Name::new("shop", &format!("s{n}"));
        cluster.insert(
            (Kind::Service, name),
            service(&format!("s{n}"), Some(&format!("Host(`s{n}.example`)")), 1),
        );
        let name = Name::new("shop", &format!("s{n}-x"));
        cluster.insert((Kind::Slice, name), endpoints(n, ENDPOINTS));
    }
    cluster.values().for_each(|change| see(&mut core, change.clone()));
    lists(&cluster).into_iter().for_each(|seen| core.see(seen));
    let transactions = core.plan(Now::read(), 127);
    // Ten services of twelve keys fit into each.
    assert_eq!(transactions.len(), SERVICES / 10);
    assert!(transactions.iter().all(|steps| steps.len() == 120));
    echo(&mut core, 2, transactions.into_iter().flatten().collect());
    assert!(core.plan(Now::read(), 127).is_empty());

    let mut times = Vec::new();
    for n in 0..SERVICES {
        let begin = Instant::now();
        see(&mut core, endpoints(n, ENDPOINTS - 1));
        let transactions = core.plan(Now::read(), 127);
        assert_eq!(transactions.iter().map(Vec::len).collect::<Vec<_>>(), [1]);
        echo(&mut core, 3 + n as u64, transactions.into_iter().flatten().collect());
        assert!(core.plan(Now::read(), 127).is_empty());
        times.push(begin.elapsed());
    }
    times.sort();
    let median = times[SERVICES / 2];
    // Unoptimised, and on a machine with other work: what grows with the cluster would take far longer.
    assert!(median < Duration::from_millis(20), "{median:?}");
}
