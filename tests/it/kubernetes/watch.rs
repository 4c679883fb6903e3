//! What comes from a real API server into the registrar, and who leads.

use crate::support::kubernetes::{Cluster, NOBODY, in_cluster, services_of_slices};
use flipgate::kubernetes::lease::{Hold, Leadership, Timings, hold};
use flipgate::kubernetes::{Access, Name, connect};
use flipgate::registrar::watch::{Scope, Seen, watch};
use flipgate::registrar::{Kind, World};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest time until anything is told.
const TOLD_MAX: Duration = Duration::from_secs(30);

fn client(runtime: &Runtime, kubeconfig: PathBuf) -> kube::Client {
    let access = Access { kubeconfig: Some(kubeconfig), context: None };
    runtime.block_on(connect(&access)).unwrap()
}

/// A world that follows a cluster, as the registrar has it.
struct Follower {
    runtime: Runtime,
    seen: mpsc::Receiver<Seen>,
    world: World,
    listed: BTreeSet<Kind>,
    lost: BTreeMap<Kind, String>,
    /// Services that are there all the time.
    steady: Vec<Name>,
}

impl Follower {
    fn start(kubeconfig: PathBuf) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = client(&runtime, kubeconfig);
        let scope = Scope { namespaces: Vec::new(), pod_label: "name".into(), kinds: Kind::ALL.to_vec() };
        let guard = runtime.enter();
        let seen = watch(client, scope);
        drop(guard);
        let (world, listed, lost) = (World::default(), BTreeSet::new(), BTreeMap::new());
        Self { runtime, seen, world, listed, lost, steady: Vec::new() }
    }

    fn step(&mut self) {
        let seen = self.runtime.block_on(async { timeout(TOLD_MAX, self.seen.recv()).await });
        match seen.expect("nothing is told any more").expect("it goes on for ever") {
            Seen::Changed(change, _) => drop(self.world.apply(change)),
            Seen::Listed(kind, names) => {
                self.world.retain(kind, &names);
                self.listed.insert(kind);
            }
            Seen::Lost { kind, reason, .. } => drop(self.lost.insert(kind, reason)),
            Seen::Found { kind } => drop(self.lost.remove(&kind)),
        }
        for name in &self.steady {
            assert!(self.world.service(name).is_some(), "{name} was removed");
            assert!(self.world.slices(name).count() > 0, "the endpoints of {name} were removed");
        }
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            self.step();
        }
        println!("{what} after {:.2?}", start.elapsed());
    }

    fn knows(&self, service: &str) -> bool {
        self.world.slices(&Name::new("default", service)).next().is_some()
    }
}

/// Makes a Service with endpoints and waits until the follower knows it; then the same without it.
fn come_and_go(cluster: &Cluster, follower: &mut Follower, name: &str) {
    let service = format!("{name}-0");
    cluster.client().create_all(&services_of_slices(name, 1, 3));
    follower.until("an addition is known", |follower| follower.knows(&service));
    cluster.kubectl(&["delete", "service", &service]);
    cluster.kubectl(&["delete", "endpointslice", "-l", &format!("kubernetes.io/service-name={service}")]);
    follower.until("a removal is known", |follower| {
        !follower.knows(&service) && follower.world.service(&Name::new("default", &service)).is_none()
    });
}

#[test]
fn the_world_follows_whatever_befalls_the_server() {
    in_cluster(|cluster| {
        cluster.client().create_all(&services_of_slices("steady", 30, 10));
        cluster.client().create_all(&services_of_slices("old", 1, 3));
        let mut follower = Follower::start(cluster.kubeconfig());
        follower.until("all kinds are listed", |follower| follower.listed.len() == Kind::ALL.len());
        assert!(follower.lost.is_empty(), "{:?}", follower.lost);
        follower.steady = (0..30).map(|at| Name::new("default", &format!("steady-{at}"))).collect();
        assert!(follower.knows("old-0"));
        come_and_go(cluster, &mut follower, "first");

        cluster.kill_server();
        follower.until("all kinds are lost", |follower| follower.lost.len() == Kind::ALL.len());
        assert!(follower.knows("old-0"), "all is kept while the server is away");
        cluster.restart_server();
        cluster.kubectl(&["delete", "service", "old-0"]);
        follower.until("all kinds are found", |follower| follower.lost.is_empty());
        let old = Name::new("default", "old-0");
        follower.until("a removal is known", |follower| follower.world.service(&old).is_none());
        come_and_go(cluster, &mut follower, "second");

        cluster.expire_watches();
        come_and_go(cluster, &mut follower, "third");
    });
}

#[test]
fn an_account_without_rights_is_told_what_it_lacks() {
    in_cluster(|cluster| {
        let mut follower = Follower::start(cluster.kubeconfig_of(NOBODY));
        follower.until("all kinds are lost", |follower| follower.lost.len() == Kind::ALL.len());
        for (kind, reason) in &follower.lost {
            let start =
                format!("this account may not list {} in the whole cluster; a ClusterRole", kind.as_str());
            assert!(reason.starts_with(&start), "{reason}");
        }
        assert!(follower.listed.is_empty());
    });
}

/// A process that holds the lease, or waits for it.
struct Candidate {
    runtime: Runtime,
    hold: Hold,
}

impl Candidate {
    fn start(cluster: &Cluster, holder: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = client(&runtime, cluster.kubeconfig());
        let guard = runtime.enter();
        let hold = hold(client, &Name::new("default", "registrar"), holder.to_owned(), Timings::default());
        drop(guard);
        Self { runtime, hold }
    }

    fn wait(&self, most: Duration, holds: impl FnMut(&Leadership) -> bool) -> Leadership {
        let mut leadership = self.hold.leadership();
        let wait = async { timeout(most, leadership.wait_for(holds)).await.map(|now| now.unwrap().clone()) };
        self.runtime.block_on(wait).expect("the leadership changes in time")
    }

    fn wait_lead(&self, most: Duration) -> i64 {
        let now = self.wait(most, |now| matches!(now, Leadership::Leads { .. }));
        let Leadership::Leads { term, .. } = now else { unreachable!() };
        term
    }

    fn wait_follow(&self, leader: &str) {
        self.wait(TOLD_MAX, |now| *now == Leadership::Follows { holder: leader.to_owned() });
    }

    /// As kill -9: nothing is given back.
    fn die(self) {
        drop(self.runtime);
    }
}

#[test]
fn one_leads_and_the_next_takes_over() {
    in_cluster(|cluster| {
        let first = Candidate::start(cluster, "first");
        assert_eq!(first.wait_lead(TOLD_MAX), 1);
        let second = Candidate::start(cluster, "second");
        second.wait_follow("first");
        first.runtime.block_on(first.hold.release());
        assert_eq!(second.wait_lead(Duration::from_secs(4)), 2);

        // Nobody can renew a lease that nobody answers for.
        cluster.freeze_server();
        second.wait(Duration::from_secs(9), |now| *now == Leadership::Unknown);
        cluster.thaw_server();
        assert!(second.wait_lead(TOLD_MAX) > 2);

        let third = Candidate::start(cluster, "third");
        third.wait_follow("second");
        let start = Instant::now();
        second.die();
        third.wait_lead(Duration::from_secs(15));
        println!("taken over after {:.1?}", start.elapsed());
    });
}
