//! Removes what is left of deployments that are over: of a create that a process sent long after others had gone on, or
//! of a record that somebody changed by hand. What no known deployment has made is never touched.

use crate::deployer::book::Book;
use crate::deployer::charge::{put_state, read};
use crate::deployer::cluster::Fate;
use crate::deployer::desk::Desk;
use crate::deployer::objects::DEPLOYMENT;
use crate::deployer::record::{Application, Deployment, Status, application_key, deployment_key};
use crate::deployer::routing::{alias_id, backend_key};
use crate::deployer::stages::alias::{self, Alias};
use crate::kubernetes::{Name, Refusal, explain, in_time};
use crate::store::{Area, Expected, Operation, StoreError, Transaction};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment as Workload;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Objects of one page of a list.
const PAGE: u32 = 500;
/// Pages that are read.
const PAGES_MAX: usize = 100;
/// After the end of a deployment, so that those of others are swept with it.
const REST: Duration = Duration::from_secs(1);

/// Sweeps at once, every so often, and whenever woken.
pub(super) async fn run(desk: Desk, woken: Arc<Notify>, every: Duration) {
    let mut changes = desk.changes();
    // Nothing is known before the first.
    let _ = changes.changed().await;
    loop {
        sweep(&desk).await;
        sleep(REST.min(every)).await;
        tokio::select! {
            () = woken.notified() => {}
            () = sleep(every) => {}
        }
    }
}

/// Sweeps once.
pub(super) async fn sweep(desk: &Desk) {
    let namespaces: BTreeSet<Box<str>> = {
        let book = desk.book();
        book.applications.keys().map(|app| app.namespace.clone()).collect()
    };
    for namespace in namespaces {
        if let Err(refusal) = objects::<Workload>(desk, &namespace, What::Workload).await {
            log_refusal(&namespace, &refusal);
        }
        if let Err(refusal) = objects::<Job>(desk, &namespace, What::Job).await {
            log_refusal(&namespace, &refusal);
        }
    }
    let idle = idle(&desk.book());
    for app in idle {
        if let Err(error) = backends(desk, &app).await {
            tracing::debug!(%app, %error, "its backends could not be swept");
        }
    }
}

fn log_refusal(namespace: &str, refusal: &Refusal) {
    match refusal {
        Refusal::Forbidden(reason) | Refusal::Final(reason) => {
            tracing::warn!(namespace, reason, "what is left of deployments cannot be looked for");
        }
        Refusal::Later(reason) => tracing::debug!(namespace, reason, "it is swept later"),
    }
}

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Workload,
    Job,
}

/// The deployment that has made an object, with its record's version, if the deployment is over and does not want it.
fn unwanted(book: &Book, what: What, namespace: &str, meta: &ObjectMeta) -> Option<(Name, String, u64)> {
    let id = meta.annotations.as_ref()?.get(DEPLOYMENT)?;
    let (app, kept) = book.deployment(namespace, id)?;
    let record = &kept.value;
    let is_wanted = match (record.status, what) {
        (Status::Deploying | Status::Undeploying, _) => true,
        (Status::Deployed, What::Workload) => match &record.made {
            Some(made) => Some(&made.name) == meta.name.as_ref(),
            None => true,
        },
        (Status::Failure | Status::Undeployed, What::Workload) => record.made.is_some(),
        (_, What::Job) => false,
    };
    (!is_wanted).then(|| (app.clone(), id.clone(), kept.version))
}

async fn objects<K>(desk: &Desk, namespace: &str, what: What) -> Result<(), Refusal>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(desk.client().clone(), namespace);
    let mut parameters = ListParams::default().limit(PAGE);
    for _ in 0..PAGES_MAX {
        let page = in_time(api.list_metadata(&parameters)).await?;
        for object in &page.items {
            let found = unwanted(&desk.book(), what, namespace, &object.metadata);
            if let Some((app, id, version)) = found {
                remove(desk, &api, &object.metadata, (&app, &id, version)).await;
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(()),
        }
    }
    Ok(())
}

async fn remove<K>(desk: &Desk, api: &Api<K>, meta: &ObjectMeta, (app, id, version): (&Name, &str, u64))
where
    K: Clone + DeserializeOwned + Debug,
{
    let Some(name) = &meta.name else { return };
    if meta.deletion_timestamp.is_some() {
        return;
    }
    // It may have been begun again, which the book has not heard of yet.
    match read::<Deployment>(&**desk.store(), &deployment_key(app, id)).await {
        Ok(Some((_, found))) if found == version => {}
        _ => return,
    }
    match api.delete(name, &Fate::Later.parameters(meta)).await {
        Ok(_) => {
            tracing::warn!(%app, deployment = id, name, "removed: it was left of a deployment that is over")
        }
        Err(error) => tracing::debug!(%app, name, reason = explain(&error), "it is removed later"),
    }
}

/// Applications with nothing under way.
fn idle(book: &Book) -> Vec<Name> {
    let is_idle = |application: &Application| application.open.is_none() && !application.keys.is_empty();
    let idle = book.applications.iter().filter(|(_, kept)| is_idle(&kept.value));
    idle.map(|(app, _)| app.clone()).collect()
}

/// Removes backends of versions that are over, as long as nothing is under way.
async fn backends(desk: &Desk, app: &Name) -> Result<(), StoreError> {
    let key = application_key(app);
    let Some((mut application, version)) = read::<Application>(&**desk.store(), &key).await? else {
        return Ok(());
    };
    let is_known = desk.book().applications.get(app).is_some_and(|kept| kept.version == version);
    if application.open.is_some() || !is_known {
        return Ok(());
    }
    let (target, alias, its_own) = match alias::of(&**desk.store(), app).await? {
        Alias::To { target, version, key } => (Some(target), key, Expected::Version(version)),
        Alias::Absent => (None, backend_key(&alias_id(app)).into(), Expected::Absent),
        Alias::Other => return Ok(()),
    };
    let wanted = wanted(&desk.book(), app, target.as_deref());
    let over: BTreeSet<String> =
        application.keys.iter().filter(|key| is_over(key, &alias, app, &wanted)).cloned().collect();
    if over.is_empty() {
        return Ok(());
    }
    application.keys.retain(|key| !over.contains(key));
    let expect =
        vec![(Area::State, key.clone(), Expected::Version(version)), (Area::Routing, alias.clone(), its_own)];
    let delete = |key: &String| Operation::Delete { area: Area::Routing, key: key.as_str().into() };
    let mut operations: Vec<Operation> = over.iter().map(delete).collect();
    operations.push(put_state(key, &application));
    desk.store().commit(Transaction { expect, operations }).await?;
    tracing::info!(%app, keys = ?over, "removed: they were left of versions that are over");
    Ok(())
}

fn wanted(book: &Book, app: &Name, target: Option<&str>) -> BTreeSet<String> {
    let own = book.deployments.iter().filter(|((of, _), _)| of == app);
    let made = own.filter_map(|(_, kept)| kept.value.made.as_ref()).map(|made| made.backend.as_str());
    made.chain(target).map(backend_key).collect()
}

/// Whether a key is the backend of a version that is not wanted.
fn is_over(key: &str, alias: &str, app: &Name, wanted: &BTreeSet<String>) -> bool {
    let is_version = key
        .strip_prefix(&format!("backends/{}-", alias_id(app)))
        .and_then(|rest| rest.strip_suffix("/backend"))
        .is_some_and(|version| !version.is_empty() && !version.contains('/'));
    is_version && key != alias && !wanted.contains(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployer::record::Made;
    use crate::deployer::testing::{app, cluster, descriptor, desk, desk_of, until};
    use crate::store::memory::MemoryStore;
    use crate::store::{LeaseChoice, Store};
    use serde_json::{Value, json};
    use std::sync::Mutex;

    fn store() -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }

    fn made(version: &str) -> Made {
        let backend = format!("prod-shop-{version}");
        Made { name: format!("shop-{version}"), uid: Some("uid".into()), backend }
    }

    /// Deploys a version and ends it. Its id.
    async fn run(desk: &Desk, version: &str, status: Status) -> String {
        let begun = desk.deploy(descriptor(&app(), version), None, "me").await.unwrap();
        let mut charge = desk.take_begun().pop().unwrap();
        charge.deployment.made = Some(made(version));
        charge.finish(status, None).await.unwrap();
        until("it is heard", async || desk.book().revision.0 >= charge.fence).await;
        begun.id
    }

    fn meta(name: &str, id: &str) -> Value {
        json!({ "name": name, "namespace": "prod", "uid": format!("uid-of-{name}"), "resourceVersion": "7",
            "annotations": { DEPLOYMENT: id } })
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_a_deployment_that_is_over_has_made_is_unwanted() {
        let store = store();
        let (desk, _pump) = desk(&store);
        let undeployed = run(&desk, "1", Status::Deployed).await;
        let live = run(&desk, "2", Status::Deployed).await;
        let failed = run(&desk, "3", Status::Failure).await;
        let open = desk.deploy(descriptor(&app(), "4"), None, "me").await.unwrap().id;
        let book = desk.book();
        let check = |what, name: &str, id: &str, expected: bool| {
            let meta: ObjectMeta = serde_json::from_value(meta(name, id)).unwrap();
            assert_eq!(unwanted(&book, what, "prod", &meta).is_some(), expected, "{what:?} {name} {id}");
            assert!(unwanted(&book, what, "other", &meta).is_none(), "ids are of one namespace");
        };
        for (id, name, workload, job) in [
            (&undeployed, "shop-1", true, true),
            (&failed, "shop-3", true, true),
            (&live, "shop-2", false, true),
            (&live, "shop-1", true, true),
            (&open, "shop-4", false, false),
            (&open, "shop-1", false, false),
            (&"unknown".to_owned(), "shop-1", false, false),
        ] {
            check(What::Workload, name, id, workload);
            check(What::Job, name, id, job);
        }
        assert!(unwanted(&book, What::Job, "prod", &ObjectMeta::default()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_removed_as_it_was_seen() {
        let store = store();
        let (objects, removed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (listed, deleted) = (objects.clone(), removed.clone());
        let client = cluster(move |method, path, body| {
            if method == "DELETE" {
                deleted.lock().unwrap().push((path.to_owned(), body["preconditions"].clone()));
                return (200, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }));
            }
            let is_workload = path.ends_with("/deployments");
            let items: Vec<Value> = match is_workload {
                true => listed.lock().unwrap().clone(),
                false => Vec::new(),
            };
            let list = json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {},
                "items": items });
            (200, list)
        });
        let (desk, _pump) = desk_of(&store, client);
        let failed = run(&desk, "3", Status::Failure).await;
        let live = run(&desk, "4", Status::Deployed).await;
        *objects.lock().unwrap() = [("shop-3", &failed), ("shop-4", &live)]
            .map(|(name, id)| json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta(name, id) }))
            .to_vec();
        sweep(&desk).await;
        let path = "/apis/apps/v1/namespaces/prod/deployments/shop-3".to_owned();
        let only = json!({ "uid": "uid-of-shop-3", "resourceVersion": "7" });
        assert_eq!(*removed.lock().unwrap(), [(path, only)]);
    }

    #[tokio::test(start_paused = true)]
    async fn backends_of_versions_that_are_over_are_removed() {
        let store = store();
        let (desk, _pump) = desk(&store);
        run(&desk, "2", Status::Deployed).await;
        let key = application_key(&app());
        let (mut application, _) = read::<Application>(&*store, &key).await.unwrap().unwrap();
        let names = ["prod-shop-0", "prod-shop-1", "prod-shop-2", "prod-shop", "prod-shopping"];
        application.keys = names.map(|name| format!("backends/{name}/backend")).to_vec();
        let put = |key: &str, value: &str| Operation::Put {
            area: Area::Routing,
            key: key.into(),
            value: value.to_owned().into(),
            lease: LeaseChoice::Without,
        };
        let mut operations: Vec<Operation> = application.keys.iter().map(|key| put(key, "{}")).collect();
        // Somebody led the alias back by hand.
        operations[3] = put("backends/prod-shop/backend", r#"{"type": "alias", "target": "prod-shop-1"}"#);
        operations.push(put("backends/prod-shop-00/backend", "{}"));
        operations.push(put_state(key.clone(), &application));
        let at = store.commit(Transaction { operations, ..Transaction::default() }).await.unwrap();
        until("it is heard", async || desk.book().revision >= at).await;
        backends(&desk, &app()).await.unwrap();
        let left = store.list(Area::Routing).await.unwrap().entries;
        let left: Vec<&str> = left.iter().map(|entry| &*entry.key).collect();
        let kept = ["prod-shop-00", "prod-shop-1", "prod-shop-2", "prod-shop", "prod-shopping"];
        assert_eq!(left, kept.map(|name| format!("backends/{name}/backend")));
        let (application, _) = read::<Application>(&*store, &key).await.unwrap().unwrap();
        assert!(!application.keys.contains(&"backends/prod-shop-0/backend".to_owned()));
        assert_eq!(application.keys.len(), 4);
    }
}
