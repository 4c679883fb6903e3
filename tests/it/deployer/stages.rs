//! Single stages of a deployment, on a real API server with its controllers: what they do, what they undo, and that who
//! was followed by another does no harm.

use crate::support::kubernetes::{Cluster, FLIPGATE, Kubelet, deployment, in_cluster, service};
use crate::support::{shared, until};
use flipgate::deployer::charge::{Charge, Trouble};
use flipgate::deployer::cluster::stamp;
use flipgate::deployer::machine::{Course, Look, Position, Stage, Task};
use flipgate::deployer::record::{
    Application, Deployment, Facts, Previous, Status, application_key, deployment_key,
};
use flipgate::deployer::stages;
use flipgate::deployer::world::World;
use flipgate::kubernetes::{Access, Hosts, Name, connect};
use flipgate::store::memory::MemoryStore;
use flipgate::store::{Area, LeaseChoice, Operation, Store, Transaction};
use flipgate::tls::SealKeys;
use http::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const MOST: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "/api/v1/namespaces/default";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

/// A deployer's world, and what is written down for it.
struct Bench {
    runtime: Runtime,
    world: World,
    store: Arc<MemoryStore>,
    app: Name,
}

impl Bench {
    fn new(cluster: &Cluster) -> Self {
        until("there is a service account", MOST, || {
            cluster.client().get(&format!("{NAMESPACE}/serviceaccounts/default"))
        });
        Self::of(cluster.kubeconfig())
    }

    fn of(kubeconfig: PathBuf) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let access = Access { kubeconfig: Some(kubeconfig), context: None };
        let client = runtime.block_on(connect(&access)).unwrap();
        let store = Arc::new(MemoryStore::new());
        let world = World {
            client,
            store: store.clone(),
            seal_keys: SealKeys::default(),
            plain_keys: true,
            hosts: Hosts::default(),
        };
        Self { runtime, world, store, app: Name::new("default", "web") }
    }

    fn put(&self, area: Area, key: &str, value: &impl serde::Serialize) -> u64 {
        let value = serde_json::to_vec(value).unwrap().into();
        let put = Operation::Put { area, key: key.into(), value, lease: LeaseChoice::Without };
        let transaction = Transaction { expect: Vec::new(), operations: vec![put] };
        self.runtime.block_on(self.store.commit(transaction)).unwrap().0
    }

    fn get(&self, area: Area, key: &str) -> Option<Value> {
        let (_, entry) = self.runtime.block_on(self.store.get(area, key)).unwrap();
        entry.map(|entry| serde_json::from_slice(&entry.value).unwrap())
    }

    /// A new deployment's charge. Its record has to be in the store for each write.
    fn begin(&self, id: &str, version: &str, beside: Value, previous: Option<&Deployment>) -> Charge {
        let mut descriptor = json!({
            "deploymentType": "blue-green", "namespace": "default", "appName": "web", "newVersion": version,
            "replicas": 2, "podspec": {
                "terminationGracePeriodSeconds": 5,
                "containers": [
                    {"name": "main", "image": "none", "ports": [{"name": "http", "containerPort": 8080}]},
                ],
            },
        });
        for (field, value) in beside.as_object().into_iter().flatten() {
            descriptor[field] = value.clone();
        }
        let previous = previous.map(|before| Previous {
            id: before.id.clone(),
            version: before.version.clone(),
            made: before.made.clone().unwrap(),
        });
        let deployment = Deployment {
            id: id.to_owned(),
            created: String::new(),
            last_modified: String::new(),
            version: version.to_owned(),
            status: Status::Deploying,
            descriptor: serde_json::from_value(descriptor).unwrap(),
            reason: None,
            position: Some(Position::first(Task::Deploy, 0)),
            facts: Facts { previous, ..Facts::default() },
            made: None,
        };
        self.put(Area::State, &deployment_key(&self.app, id), &deployment);
        self.take(id, 1)
    }

    /// Takes the application over in this term, with what is written down.
    fn take(&self, id: &str, term: u64) -> Charge {
        let application = Application { open: Some(id.to_owned()), term, ..Application::default() };
        let fence = self.put(Area::State, &application_key(&self.app), &application);
        let key = deployment_key(&self.app, id);
        let (_, entry) = self.runtime.block_on(self.store.get(Area::State, &key)).unwrap();
        let entry = entry.unwrap();
        let deployment = serde_json::from_slice(&entry.value).unwrap();
        let store = self.store.clone();
        Charge::new(store, self.app.clone(), (application, fence), (deployment, entry.version))
    }

    /// The same charge, at another stage.
    fn enter(&self, charge: &Charge, term: u64, stage: Stage, course: Course) -> Charge {
        let mut deployment = charge.deployment().clone();
        let task = if stage == Stage::Detach { Task::Undeploy } else { Task::Deploy };
        deployment.position = Some(Position { stage, course, ..Position::first(task, 0) });
        self.put(Area::State, &deployment_key(&self.app, &deployment.id), &deployment);
        self.take(&deployment.id, term)
    }

    fn look(&self, charge: &mut Charge) -> Result<Look, Trouble> {
        self.runtime.block_on(stages::look(&self.world, charge))
    }

    /// Looks until it does not wait any more.
    fn run(&self, charge: &mut Charge) -> Look {
        let late = Instant::now() + MOST;
        loop {
            match self.look(charge).unwrap() {
                Look::Waits(_) if Instant::now() < late => std::thread::sleep(Duration::from_millis(50)),
                look => return look,
            }
        }
    }

    /// Does, or undoes, one stage.
    fn pass(&self, charge: Charge, stage: Stage, course: Course) -> Charge {
        let mut charge = self.enter(&charge, 1, stage, course);
        assert_eq!(self.run(&mut charge), Look::Done, "{stage} {course:?}");
        charge
    }

    fn forward(&self, charge: Charge, stages: &[Stage]) -> Charge {
        stages.iter().fold(charge, |charge, stage| self.pass(charge, *stage, Course::Forward))
    }

    /// Why a stage fails.
    fn fails(&self, charge: &Charge, stage: Stage) -> String {
        let mut charge = self.enter(charge, 1, stage, Course::Forward);
        match self.run(&mut charge) {
            Look::Failed(reason) => reason,
            look => panic!("{stage}: {look:?}"),
        }
    }
}

fn selector(cluster: &Cluster) -> Option<Value> {
    Some(cluster.client().get(&format!("{NAMESPACE}/services/web"))?["spec"]["selector"].clone())
}

fn annotation(object: &Value, name: &str) -> String {
    object["metadata"]["annotations"][name].as_str().unwrap_or_default().to_owned()
}

fn pods(cluster: &Cluster) -> usize {
    cluster.client().list(&format!("{NAMESPACE}/pods")).len()
}

#[test]
fn versions_come_and_go() {
    let _machine = shared();
    in_cluster(|cluster| {
        let kubelet = Kubelet::start(cluster.kubeconfig());
        cluster.wait_nodes();
        let bench = Bench::new(cluster);
        let all = [Stage::Validate, Stage::Create, Stage::Ready, Stage::Health, Stage::Service];
        let health = json!({"useHealthCheck": true, "healthCheckType": "simple"});
        let first = bench.forward(bench.begin("id-1", "1", health, None), &all);

        let made = cluster.client().get(&format!("{DEPLOYMENTS}/web-1")).unwrap();
        assert_eq!(annotation(&made, "flipgate.io/deployment"), "id-1");
        let recorded = first.deployment().made.clone().unwrap();
        assert_eq!((recorded.backend.as_str(), pods(cluster)), ("default-web-1", 2));
        assert_eq!(recorded.uid.as_deref(), made["metadata"]["uid"].as_str());
        assert!(bench.get(Area::Routing, "backends/default-web-1/backend").is_some());
        assert_eq!(selector(cluster), Some(json!({"app": "web", "version": "1"})));
        // Once more: nothing is made twice.
        let first = bench.forward(first, &all);
        assert_eq!(
            cluster.client().get(&format!("{DEPLOYMENTS}/web-1")).unwrap()["metadata"]["uid"],
            made["metadata"]["uid"]
        );

        // The next version, as far as the Service, and back.
        let begin = || bench.begin("id-2", "2", json!({}), Some(first.deployment()));
        let second = bench.forward(begin(), &all);
        assert_eq!(selector(cluster), Some(json!({"app": "web", "version": "2"})));
        assert_eq!(pods(cluster), 4);
        let second = bench.pass(second, Stage::Service, Course::Back);
        assert_eq!(selector(cluster), Some(json!({"app": "web", "version": "1"})));
        bench.pass(second, Stage::Create, Course::Back);
        assert_eq!((kubelet.pods("default/web-2-").len(), pods(cluster)), (0, 2));
        assert!(cluster.client().get(&format!("{DEPLOYMENTS}/web-2")).is_none());
        assert!(bench.get(Area::Routing, "backends/default-web-2/backend").is_none());

        // And to the end. As long as the alias leads to the old version, that stays.
        let second = bench.forward(begin(), &all);
        bench.put(
            Area::Routing,
            "backends/default-web/backend",
            &json!({"Type": "alias", "Target": "default-web-1"}),
        );
        let mut second = bench.enter(&second, 1, Stage::Destroy, Course::Forward);
        let look = bench.look(&mut second).unwrap();
        assert_eq!(look, Look::Waits("backends/default-web/backend still leads to default-web-1".into()));
        bench.put(
            Area::Routing,
            "backends/default-web/backend",
            &json!({"Type": "alias", "Target": "default-web-2"}),
        );
        // A server that no registrar removes.
        bench.put(Area::Routing, "backends/default-web-1/servers/a", &json!({"URL": "http://10.0.0.1:80"}));
        let (start, second) = (Instant::now(), bench.pass(second, Stage::Destroy, Course::Forward));
        assert!(start.elapsed() > Duration::from_secs(15), "{:?}", start.elapsed());
        assert_eq!(pods(cluster), 2);
        assert!(cluster.client().get(&format!("{DEPLOYMENTS}/web-1")).is_none());
        for key in ["backends/default-web-1/backend", "backends/default-web-1/servers/a"] {
            assert!(bench.get(Area::Routing, key).is_none(), "{key}");
        }
        assert!(second.deployment().made.is_some());
    });
}

#[test]
fn who_was_followed_does_no_harm() {
    let _machine = shared();
    in_cluster(|cluster| {
        let bench = Bench::new(cluster);
        let lost = Trouble::Lost(bench.app.clone());
        let first =
            bench.forward(bench.begin("id-1", "1", json!({}), None), &[Stage::Create, Stage::Service]);
        let mut asleep = bench.enter(&first, 1, Stage::Create, Course::Back);
        let mut changing = bench.enter(&first, 1, Stage::Service, Course::Forward);

        let mut other = bench.take("id-1", 2);
        let stamped = bench.runtime.block_on(stamp(&bench.world, &other)).unwrap();
        assert_eq!(stamped, Look::Done);
        let path = format!("{DEPLOYMENTS}/web-1");
        let made = cluster.client().get(&path).unwrap();
        assert_eq!(annotation(&made, "flipgate.io/term"), "2");
        assert_eq!(bench.look(&mut asleep), Err(lost.clone()));
        assert_eq!(bench.look(&mut changing), Err(lost.clone()));
        let stamped = bench.runtime.block_on(stamp(&bench.world, &asleep));
        assert_eq!(stamped, Err(lost.clone()));
        let after = cluster.client().get(&path).unwrap();
        assert_eq!(
            (&after["metadata"]["uid"], after["metadata"].get("deletionTimestamp")),
            (&made["metadata"]["uid"], None)
        );

        // The one that followed is done with it; who wakes then creates it again, and takes it back.
        other = bench.enter(&other, 2, Stage::Create, Course::Forward);
        let mut waking = bench.enter(&other, 2, Stage::Create, Course::Forward);
        bench.take("id-1", 3);
        cluster.client().delete(&path);
        until("it is gone", MOST, || cluster.client().get(&path).is_none().then_some(()));
        assert_eq!(bench.look(&mut waking), Err(lost.clone()));
        until("it is gone again", MOST, || cluster.client().get(&path).is_none().then_some(()));
        until("no pod is left", MOST, || (pods(cluster) == 0).then_some(()));
        assert_eq!(bench.look(&mut other), Err(lost));
    });
}

#[test]
fn what_one_made_before_its_death_is_adopted() {
    let _machine = shared();
    in_cluster(|cluster| {
        let kubelet = Kubelet::start(cluster.kubeconfig());
        cluster.wait_nodes();
        drop(kubelet);
        let bench = Bench::new(cluster);
        let charge = bench.begin("id-1", "1", json!({}), None);
        let mut made = deployment("web-1", 1, 8080);
        let labels = json!({"name": "web-1", "app": "web", "version": "1"});
        made["metadata"]["labels"] = labels.clone();
        made["spec"]["selector"]["matchLabels"] = labels.clone();
        made["spec"]["template"]["metadata"]["labels"] = labels;
        // Of an earlier deployment of the same version, with a pod less.
        made["metadata"]["annotations"] = json!({"flipgate.io/deployment": "id-0", "flipgate.io/term": "1"});
        let uid = cluster.client().create(&made)["metadata"]["uid"].clone();
        let charge = bench.forward(charge, &[Stage::Validate, Stage::Create]);
        let adopted = cluster.client().get(&format!("{DEPLOYMENTS}/web-1")).unwrap();
        assert_eq!((&adopted["metadata"]["uid"], &adopted["spec"]["replicas"]), (&uid, &json!(2)));
        assert_eq!(annotation(&adopted, "flipgate.io/deployment"), "id-1");
        // Its own, whose uid was not written down; the term is that of who took it over.
        let mut record = charge.deployment().clone();
        record.made.as_mut().unwrap().uid = None;
        bench.put(Area::State, &deployment_key(&bench.app, "id-1"), &record);
        let charge = bench.take("id-1", 7);
        let mut charge = bench.enter(&charge, 7, Stage::Create, Course::Forward);
        assert_eq!(bench.run(&mut charge), Look::Done);
        assert_eq!(charge.deployment().made.as_ref().unwrap().uid.as_deref(), uid.as_str());
        let adopted = cluster.client().get(&format!("{DEPLOYMENTS}/web-1")).unwrap();
        assert_eq!(annotation(&adopted, "flipgate.io/term"), "7");
    });
}

#[test]
fn what_stands_in_the_way_is_named() {
    let _machine = shared();
    in_cluster(|cluster| {
        let kubelet = Kubelet::start(cluster.kubeconfig());
        cluster.wait_nodes();
        drop(kubelet);
        let bench = Bench::new(cluster);
        let check = |beside: Value, said: &[&str]| {
            let charge = bench.begin("id-1", "1", beside, None);
            let reason = bench.fails(&charge, Stage::Validate);
            for text in said {
                assert!(reason.contains(text), "{reason}");
            }
        };
        let nowhere = Bench { app: Name::new("nowhere", "web"), ..Bench::of(cluster.kubeconfig()) };
        let charge = nowhere.begin("id-1", "1", json!({"namespace": "nowhere"}), None);
        let reason = nowhere.fails(&charge, Stage::Validate);
        assert!(reason.contains("no namespace nowhere"), "{reason}");
        let broken = json!({"containers": [{"name": "Main_", "image": "none"}]});
        check(
            json!({"podspec": broken}),
            &["422", "Deployment.apps \"web-1\" is invalid", "containers[0].name"],
        );
        let class = json!({"priorityClassName": "vip", "containers": [{"name": "a", "image": "none"}]});
        check(json!({"podspec": class}), &["no PriorityClass with name vip was found"]);
        let hook = json!({"before": {"timeout": "1m", "podspec": {"restartPolicy": "Always", "containers": [{"name": "a", "image": "none"}]}}});
        check(json!({"hooks": hook}), &["Job.batch", "restartPolicy"]);

        room(cluster, &check);
        cluster.client().create(&service("web", 8080));
        check(json!({}), &["the Service default/web was not made by a deployment"]);
        let labels = json!({"metadata": {"labels": {"persistent": "true"}}});
        cluster.client().patch(&format!("{NAMESPACE}/services/web"), &labels);
        let charge = bench.begin("id-1", "1", json!({}), None);
        bench.forward(charge, &[Stage::Validate]);
        cluster.client().create(&deployment("web-1", 1, 8080));
        check(json!({}), &["the Deployment default/web-1 was not made by a deployment of Flipgate"]);
        let foreign = json!({"metadata": {
            "annotations": {"flipgate.io/deployment": "x"}, "labels": {"app": "web-1", "version": "x"},
        }});
        cluster.client().patch(&format!("{DEPLOYMENTS}/web-1"), &foreign);
        check(json!({}), &["the Deployment default/web-1 is version x of the application web-1"]);
        let charge = bench.begin("id-1", "1", json!({}), None);
        assert!(bench.fails(&charge, Stage::Create).contains("is version x of the application web-1"));
    });
}

/// Two nodes with 8 processors and 16 GiB each.
fn room(cluster: &Cluster, check: &dyn Fn(Value, &[&str])) {
    let asking = |cpu: &str| json!({"containers": [{"name": "a", "image": "none", "resources": {"requests": {"cpu": cpu}}}]});
    let text = "room for 4 of 9 pods: each needs cpu 3500m; nodes one, two: cpu short by 2500m";
    check(json!({"replicas": 9, "podspec": asking("3500m")}), &[text]);
    let limits = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "usual"}, "spec": {
        "limits": [{"type": "Container", "defaultRequest": {"memory": "6Gi"}, "max": {"cpu": "4"}, "default": {"cpu": "1", "memory": "6Gi"}}],
    }});
    cluster.client().create(&limits);
    let text = "room for 4 of 5 pods: each needs cpu 1, memory 6Gi; nodes one, two: memory short by 2Gi";
    let plain = json!({"containers": [{"name": "a", "image": "none"}]});
    // The API server takes notice of it a little later.
    until("the defaults are known", MOST, || {
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(json!({"replicas": 5, "podspec": plain}), &[text]);
        }));
        checked.ok()
    });
    let mut much = asking("5");
    much["containers"][0]["resources"]["limits"] = json!({"cpu": "5"});
    check(json!({"podspec": much}), &["maximum cpu usage per Container is 4"]);
    cluster.client().delete(&format!("{NAMESPACE}/limitranges/usual"));
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "compute"}, "spec": {
        "hard": {"requests.cpu": "2"},
    }});
    cluster.client().create(&quota);
    let used = || {
        cluster.client().get(&format!("{NAMESPACE}/resourcequotas/compute"))?["status"]["used"]
            .get("requests.cpu")
            .cloned()
    };
    until("the quota counts", MOST, used);
    let text = "room for 3 of 4 pods: each needs cpu 600m; quota compute: requests.cpu 0 of 2 used";
    check(json!({"replicas": 4, "podspec": asking("600m")}), &[text]);
    let text = "room for 0 of 2 pods: each needs cpu 3; quota compute: requests.cpu 0 of 2 used";
    check(json!({"podspec": asking("3")}), &[text]);
    cluster.client().delete(&format!("{NAMESPACE}/resourcequotas/compute"));
}

#[test]
fn an_account_need_not_see_the_nodes() {
    let _machine = shared();
    in_cluster(|cluster| {
        Bench::new(cluster);
        let rules = json!([
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "create"]},
            {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "create"]},
        ]);
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "few"}, "rules": rules,
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "few"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "few"},
            "subjects": [{"kind": "User", "name": FLIPGATE, "apiGroup": "rbac.authorization.k8s.io"}],
        });
        cluster.apply(&role.to_string());
        cluster.apply(&binding.to_string());
        let bench = Bench::of(cluster.kubeconfig_of(FLIPGATE));
        let mut charge = bench.begin("id-1", "1", json!({"replicas": 900}), None);
        until("the rights are known", MOST, || (bench.run(&mut charge) == Look::Done).then_some(()));
        let hook = json!({"before": {"timeout": "1m", "podspec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "none"}]}}});
        let charge = bench.begin("id-1", "1", json!({"hooks": hook}), None);
        assert!(bench.fails(&charge, Stage::Validate).contains("cannot create resource \"jobs\""));
    });
}

#[test]
fn hooks_are_jobs_that_run_once() {
    let _machine = shared();
    in_cluster(|cluster| {
        let bench = Bench::new(cluster);
        let hook = json!({"timeout": "1m", "podspec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "none"}]}});
        let hooks = json!({"hooks": {"before": hook}});
        let mut charge = bench.begin("id-1", "1", hooks.clone(), None);
        charge = bench.enter(&charge, 1, Stage::Migrate, Course::Forward);
        assert!(matches!(bench.look(&mut charge), Ok(Look::Waits(_))));
        let job = cluster.client().list(JOBS).remove(0);
        assert_eq!(charge.deployment().facts.migration.as_deref(), job["metadata"]["uid"].as_str());
        // Another one goes on with it.
        charge = bench.enter(&charge, 2, Stage::Migrate, Course::Forward);
        assert_eq!(bench.runtime.block_on(stamp(&bench.world, &charge)), Ok(Look::Done));
        assert!(matches!(bench.look(&mut charge), Ok(Look::Waits(_))));
        assert_eq!(annotation(&cluster.client().list(JOBS)[0], "flipgate.io/term"), "2");
        end_pod(cluster, "Succeeded");
        assert_eq!(bench.run(&mut charge), Look::Done);
        until("the Job is gone", MOST, || cluster.client().list(JOBS).is_empty().then_some(()));
        // Who died before that was written down does not run it again.
        assert_eq!(bench.run(&mut charge), Look::Done);
        assert!(cluster.client().list(JOBS).is_empty());

        let mut charge = bench.begin("id-2", "2", hooks.clone(), None);
        charge = bench.enter(&charge, 2, Stage::Migrate, Course::Forward);
        assert!(matches!(bench.look(&mut charge), Ok(Look::Waits(_))));
        end_pod(cluster, "Failed");
        let Look::Failed(reason) = bench.run(&mut charge) else { panic!("it goes well") };
        assert!(reason.contains("BackoffLimitExceeded"), "{reason}");
        charge = bench.enter(&charge, 2, Stage::Migrate, Course::Back);
        assert_eq!(bench.run(&mut charge), Look::Done);
        assert!(cluster.client().list(JOBS).is_empty());

        // One that somebody removed may have done half of its work.
        let mut charge = bench.begin("id-3", "3", hooks, None);
        charge = bench.enter(&charge, 2, Stage::Migrate, Course::Forward);
        assert!(matches!(bench.look(&mut charge), Ok(Look::Waits(_))));
        let name = cluster.client().list(JOBS)[0]["metadata"]["name"].as_str().unwrap().to_owned();
        let background = json!({"propagationPolicy": "Background"});
        cluster.client().request(Method::DELETE, &format!("{JOBS}/{name}"), Some(&background)).unwrap();
        let Look::Failed(reason) = bench.run(&mut charge) else { panic!("it goes well") };
        assert!(reason.contains("was removed before it ended"), "{reason}");
    });
}

/// The pod of the Job, which no kubelet runs, ends.
fn end_pod(cluster: &Cluster, phase: &str) {
    let path = format!("{NAMESPACE}/pods");
    let open = |pod: &Value| pod["status"]["phase"] == "Pending";
    let pod = until("the Job has a pod", MOST, || cluster.client().list(&path).into_iter().find(open));
    let name = pod["metadata"]["name"].as_str().unwrap();
    cluster.client().patch(&format!("{path}/{name}/status"), &json!({"status": {"phase": phase}}));
}
