//! What happened in Kubernetes and in the store, as their etcds tell it, whoever was away meanwhile: was anything ever
//! taken from the store that the cluster had and that was ready?

use super::expected::is_pod_ready;
use crate::support::keys::KeyChange;
use crate::support::{Keys, until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// A removal may be so much later than the last moment at which it was right: it takes its time on a machine that others
/// use too.
const LATE_MAX: Duration = Duration::from_secs(5);

/// What happened later may be told so much earlier, since there are two who tell.
const SKEW_MAX: Duration = Duration::from_secs(1);

/// Longest time until what happened is told.
const TOLD_MAX: Duration = Duration::from_secs(30);

/// A key of no meaning: once its change is told, everything before has been.
const MARK: &str = "mark";

/// Both histories.
pub struct History {
    kubernetes: Receiver<KeyChange>,
    store: Receiver<KeyChange>,
    cluster: Objects,
    needed: BTreeSet<Needed>,
    /// Since when each is needed, or is not.
    times: BTreeMap<Needed, Vec<(Instant, bool)>>,
    /// What was taken from the store, and not judged yet.
    taken: Vec<(Needed, KeyChange)>,
    revisions: BTreeSet<i64>,
    /// The last revision that was told, of Kubernetes and of the store.
    told: [i64; 2],
}

/// What must not be taken from the store as long as it is so in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Needed {
    /// A Service with a route is there.
    Service(String),
    /// An endpoint of such a Service is ready.
    Endpoint(String, IpAddr),
    /// A pod that is a server by its label is ready.
    Pod(IpAddr),
}

/// The cluster at one revision.
#[derive(Default)]
struct Objects {
    /// Those with a route.
    services: BTreeSet<String>,
    /// The Service of each slice, and its endpoints that are ready.
    slices: BTreeMap<String, (String, Vec<IpAddr>)>,
    /// Those that are ready.
    pods: BTreeMap<String, IpAddr>,
}

impl History {
    /// From now on. The cluster has to store its objects as JSON.
    pub fn of(cluster: &Keys, store: &Keys) -> Self {
        Self {
            kubernetes: cluster.history("registry/"),
            store: store.history(""),
            cluster: Objects::default(),
            needed: BTreeSet::new(),
            times: BTreeMap::new(),
            taken: Vec::new(),
            revisions: BTreeSet::new(),
            told: [0; 2],
        }
    }

    /// How much was taken from the store since the last judgement, and which keys of it while the cluster had them. Both
    /// histories are whole up to now then.
    pub fn judge(&mut self, cluster: &mut Keys, store: &mut Keys) -> (usize, Vec<String>) {
        let now = [cluster.put(&format!("registry/{MARK}"), &Value::Null), store.put(MARK, &Value::Null)];
        until("both histories are told up to now", TOLD_MAX, || {
            self.read();
            (self.told[0] >= now[0] && self.told[1] >= now[1]).then_some(())
        });
        let taken = std::mem::take(&mut self.taken);
        let wrong = taken.iter().filter(|(needed, change)| self.was_needed(needed, change.at));
        (taken.len(), wrong.map(|(_, change)| change.key.clone()).collect())
    }

    /// How many transactions on routes there were after a revision, until the last judgement.
    pub fn transactions_after(&self, revision: i64) -> usize {
        self.revisions.range(revision + 1..).count()
    }

    fn read(&mut self) {
        while let Some(change) = next(&self.kubernetes) {
            self.told[0] = change.revision;
            let at = change.at;
            self.cluster.take(change);
            let needed = self.cluster.needed();
            for changed in self.needed.symmetric_difference(&needed) {
                let is_needed = needed.contains(changed);
                self.times.entry(changed.clone()).or_default().push((at, is_needed));
            }
            self.needed = needed;
        }
        while let Some(change) = next(&self.store) {
            self.told[1] = change.revision;
            if change.key == MARK {
                continue;
            }
            self.revisions.insert(change.revision);
            let is_draining = change.value.as_ref().is_some_and(|value| !value["State"].is_null());
            if (change.value.is_none() || is_draining)
                && let Some(needed) = Needed::of(&change.key)
            {
                self.taken.push((needed, change));
            }
        }
    }

    /// Whether the cluster had it all the time around a moment.
    fn was_needed(&self, needed: &Needed, at: Instant) -> bool {
        let times = self.times.get(needed).map_or(&[][..], Vec::as_slice);
        let before = times.iter().rev().find(|(time, _)| *time + LATE_MAX <= at);
        let mut around = times.iter().filter(|(time, _)| *time + LATE_MAX > at && *time <= at + SKEW_MAX);
        before.is_some_and(|(_, is_needed)| *is_needed) && around.all(|(_, is_needed)| *is_needed)
    }
}

/// The next that was told already.
fn next(changes: &Receiver<KeyChange>) -> Option<KeyChange> {
    match changes.try_recv() {
        Ok(change) => Some(change),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Disconnected) => panic!("a history broke off"),
    }
}

impl Needed {
    /// Who needs a key of the store.
    fn of(key: &str) -> Option<Self> {
        let service =
            |id: &str| id.strip_prefix("default-").map(|name| name.trim_end_matches("-80").to_owned());
        match key.split('/').collect::<Vec<_>>()[..] {
            ["frontends", id, "frontend"] | ["backends", id, "backend"] => service(id).map(Self::Service),
            ["backends", id, "servers", server] => {
                let address = server.parse::<SocketAddr>().unwrap().ip();
                if id == "default-live" {
                    return Some(Self::Pod(address));
                }
                service(id).map(|service| Self::Endpoint(service, address))
            }
            _ => None,
        }
    }
}

impl Objects {
    fn take(&mut self, change: KeyChange) {
        let object = change.value.as_ref();
        match change.key.split('/').collect::<Vec<_>>()[..] {
            ["registry", "services", "specs", "default", name] => {
                let has_route =
                    |service: &Value| !service["metadata"]["annotations"]["flipgate.io/route"].is_null();
                self.services.remove(name);
                self.services.extend(object.filter(|it| has_route(it)).map(|_| name.to_owned()));
            }
            ["registry", "endpointslices", "default", name] => {
                self.slices.remove(name);
                let service =
                    object.and_then(|it| it["metadata"]["labels"]["kubernetes.io/service-name"].as_str());
                if let (Some(slice), Some(service)) = (object, service) {
                    self.slices.insert(name.to_owned(), (service.to_owned(), ready_of(slice)));
                }
            }
            ["registry", "pods", "default", name] => {
                let is_live = |pod: &&Value| {
                    let metadata = &pod["metadata"];
                    metadata["labels"]["name"] == "live" && metadata["deletionTimestamp"].is_null()
                };
                self.pods.remove(name);
                let ready = object.filter(is_live).filter(|pod| is_pod_ready(pod));
                let address = ready.and_then(|pod| pod["status"]["podIP"].as_str());
                self.pods.extend(address.map(|address| (name.to_owned(), address.parse().unwrap())));
            }
            _ => {}
        }
    }

    fn needed(&self) -> BTreeSet<Needed> {
        let services = self.services.iter().cloned().map(Needed::Service);
        let slices = self.slices.values().filter(|(service, _)| self.services.contains(service));
        let endpoints = slices.flat_map(|(service, ready)| {
            ready.iter().map(|address| Needed::Endpoint(service.clone(), *address))
        });
        services.chain(endpoints).chain(self.pods.values().copied().map(Needed::Pod)).collect()
    }
}

fn ready_of(slice: &Value) -> Vec<IpAddr> {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
    ready.map(|endpoint| endpoint["addresses"][0].as_str().unwrap().parse().unwrap()).collect()
}
