//! The Service within the cluster.

use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::cluster::{Change, Cluster, Fate, Mark, Stop, Which, record, settle, whose};
use crate::deployer::machine::Look;
use crate::deployer::objects::{self, DEPLOYMENT};
use crate::deployer::record::{Deployment, ServiceBefore};
use crate::deployer::world::World;
use crate::store::Transaction;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Map, Value, json};

/// The label that Amdatu's deployer, too, gives to the Services that stay while versions change.
const PERSISTENT: &str = "persistent";

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    settle(run(world, charge).await)
}

/// It selects what it selected before; it is gone where there was none.
pub(super) async fn undo(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    settle(put_back(world, charge).await)
}

/// Removes the Service, if it is the application's own.
pub(super) async fn remove(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    let gone = async {
        let cluster = Cluster::of(world, charge);
        let found = cluster.get::<Service>(&charge.app.name).await?;
        let Some(service) = found.filter(|service| foreign(charge, service).is_none()) else {
            return Ok(Look::Done);
        };
        let uid = service.metadata.uid.clone().unwrap_or_default();
        match cluster.remove::<Service>(&charge.app.name, Which::Uid(&uid), Fate::Later).await? {
            true => Ok(Look::Done),
            false => Ok(Look::Waits(format!("the Service {} is being removed", charge.app))),
        }
    };
    settle(gone.await)
}

/// Why a Service of the application's name is not to be touched; none: it is.
pub(super) fn foreign(charge: &Charge, found: &Service) -> Option<String> {
    let labels = found.metadata.labels.as_ref();
    let is_persistent = labels.and_then(|labels| labels.get(PERSISTENT)).is_some_and(|value| value == "true");
    (whose(&found.metadata) == Mark::Foreign && !is_persistent).then(|| {
        format!(
            "the Service {} was not made by a deployment; remove it, or give it the label {PERSISTENT}=true to have its \
             selector changed",
            charge.app
        )
    })
}

async fn run(world: &World, charge: &mut Charge) -> Result<Look, Stop> {
    let cluster = Cluster::of(world, charge);
    let found = cluster.get::<Service>(&charge.app.name).await?;
    if let Some(reason) = found.as_ref().and_then(|service| foreign(charge, service)) {
        return Err(Stop::failed(reason));
    }
    remember(charge, found.as_ref()).await?;
    let wanted = objects::service(&charge.deployment, charge.application.term);
    match found {
        None => create(charge, &cluster, &wanted).await,
        Some(service) if service.metadata.deletion_timestamp.is_some() => {
            Err(Stop::waits(format!("an earlier Service {} is being removed", charge.app)))
        }
        Some(service) => select(charge, &cluster, &service, &wanted).await,
    }
}

/// How it was is written down before anything is changed.
async fn remember(charge: &mut Charge, found: Option<&Service>) -> Result<(), Stop> {
    if charge.deployment.facts.service.is_some() {
        return Ok(());
    }
    let before = ServiceBefore {
        uid: found.and_then(|service| service.metadata.uid.clone()),
        spec: found.map(|service| {
            let spec = service.spec.as_ref();
            json!({
                "selector": spec.and_then(|spec| spec.selector.as_ref()),
                "ports": spec.and_then(|spec| spec.ports.as_ref()),
            })
        }),
    };
    record(charge, |deployment| deployment.facts.service = Some(before), Transaction::default()).await?;
    Ok(())
}

async fn create(charge: &mut Charge, cluster: &Cluster, wanted: &Service) -> Result<Look, Stop> {
    let Some(created) = cluster.create(wanted).await? else {
        return Err(Stop::waits(format!("the Service {} was changed meanwhile", charge.app)));
    };
    charge.say(format!("created the Service {}", charge.app.name));
    match keep(charge, &created).await {
        Err(Stop::Trouble(Trouble::Lost(app))) => {
            cluster.take_back(&created).await;
            Err(Trouble::Lost(app).into())
        }
        kept => kept.map(|()| Look::Done),
    }
}

/// Writes down which one was created.
async fn keep(charge: &mut Charge, created: &Service) -> Result<(), Stop> {
    let uid = created.metadata.uid.clone();
    let change = |deployment: &mut Deployment| {
        if let Some(before) = &mut deployment.facts.service {
            before.uid = uid;
        }
    };
    record(charge, change, Transaction::default()).await?;
    Ok(())
}

async fn select(
    charge: &mut Charge,
    cluster: &Cluster,
    service: &Service,
    wanted: &Service,
) -> Result<Look, Stop> {
    let spec = wanted.spec.as_ref();
    let (selector, ports) =
        (spec.and_then(|spec| spec.selector.as_ref()), spec.and_then(|spec| spec.ports.as_ref()));
    let change = Change {
        annotations: [(DEPLOYMENT.to_owned(), json!(charge.deployment.id))].into_iter().collect(),
        labels: [(PERSISTENT.to_owned(), json!("true"))].into_iter().collect(),
        spec: selection(&json!(selector), json!(ports), service),
    };
    let Some(changed) = cluster.change(service, change).await? else {
        return Err(Stop::waits(format!("the Service {} was changed meanwhile", charge.app)));
    };
    charge.say(format!("the Service {} selects version {}", charge.app.name, charge.deployment.version));
    // It was created by this deployment, and its maker died before that was written down.
    let is_unknown = charge.deployment.facts.service.as_ref().is_some_and(|before| before.uid.is_none());
    if is_unknown {
        keep(charge, &changed).await?;
    }
    Ok(Look::Done)
}

/// The part of a Service's `spec` that says where requests go.
fn selection(selector: &Value, ports: Value, service: &Service) -> Map<String, Value> {
    let selector = Value::Object(exactly(selector, service));
    [("selector".to_owned(), selector), ("ports".to_owned(), ports)].into_iter().collect()
}

/// A patch that leaves nothing else in the selector.
fn exactly(selector: &Value, service: &Service) -> Map<String, Value> {
    let mut fields = selector.as_object().cloned().unwrap_or_default();
    let stands = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    for key in stands.into_iter().flatten().map(|(key, _)| key) {
        fields.entry(key.clone()).or_insert(Value::Null);
    }
    fields
}

async fn put_back(world: &World, charge: &mut Charge) -> Result<Look, Stop> {
    let Some(before) = charge.deployment.facts.service.clone() else { return Ok(Look::Done) };
    let (cluster, name) = (Cluster::of(world, charge), charge.app.name.clone());
    let Some(spec) = before.spec else {
        let id = charge.deployment.id.clone();
        let which = before.uid.as_deref().map_or(Which::Of(&id), Which::Uid);
        return match cluster.remove::<Service>(&name, which, Fate::Later).await? {
            true => Ok(Look::Done),
            false => Ok(Look::Waits(format!("the Service {} is being removed", charge.app))),
        };
    };
    let found = cluster.get::<Service>(&name).await?;
    // Another one has its place by now, or none: there is nothing to put back.
    let Some(service) = found.filter(|found| found.metadata.uid == before.uid) else { return Ok(Look::Done) };
    if whose(&service.metadata) != Mark::Of(&charge.deployment.id) {
        return Ok(Look::Done);
    }
    let previous = charge.deployment.facts.previous.as_ref().map(|previous| previous.id.clone());
    let field = |name: &str| spec.get(name).cloned().unwrap_or_default();
    let change = Change {
        annotations: [(DEPLOYMENT.to_owned(), json!(previous))].into_iter().collect(),
        spec: selection(&field("selector"), field("ports"), &service),
        ..Change::default()
    };
    match cluster.change(&service, change).await? {
        Some(_) => Ok(Look::Done),
        None => Err(Stop::waits(format!("the Service {} was changed meanwhile", charge.app))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_else_stays_in_a_selector() {
        let service: Service =
            serde_json::from_value(json!({"spec": {"selector": {"app": "web", "tier": "front"}}})).unwrap();
        let wanted = json!({"app": "web", "version": "2"});
        assert_eq!(
            Value::from(exactly(&wanted, &service)),
            json!({"app": "web", "version": "2", "tier": null})
        );
        assert_eq!(Value::from(exactly(&Value::Null, &service)), json!({"app": null, "tier": null}));
    }
}
