//! The new version's Deployment and backend.

use super::destroy::{self, Version};
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::cluster::{Cluster, Mark, Stop, record, routing, settle, whose};
use crate::deployer::machine::Look;
use crate::deployer::record::{Deployment as Record, Made};
use crate::deployer::world::World;
use crate::deployer::{objects, routing as table};
use crate::store::{Area, Expected, LeaseChoice, Operation, Transaction};
use k8s_openapi::api::apps::v1::Deployment;

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    settle(run(world, charge).await)
}

/// Neither Deployment, nor pods, servers, backend.
pub(super) async fn undo(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    settle(match Version::own(charge) {
        Some(version) => destroy::remove(world, charge, &version).await,
        None => Ok(Look::Done),
    })
}

async fn run(world: &World, charge: &mut Charge) -> Result<Look, Stop> {
    let backend = write_down(world, charge).await?;
    let cluster = Cluster::of(world, charge);
    match cluster.get::<Deployment>(&objects::deployment_name(&charge.deployment)).await? {
        None => create(world, charge, &cluster).await,
        Some(found) => adopt(world, charge, &cluster, found, &backend).await,
    }
}

/// What is about to be made is written down before it is made; the backend in the same transaction. Its name.
async fn write_down(world: &World, charge: &mut Charge) -> Result<String, Stop> {
    let named = || Made::named(&charge.app, &charge.deployment.version);
    let made = charge.deployment.made.clone().unwrap_or_else(named);
    let key: Box<str> = table::backend_key(&made.backend).into();
    let (stands, wanted) = (routing(world, &key).await?, table::backend(&charge.deployment.descriptor));
    let is_written = stands.as_ref().is_some_and(|entry| *entry.value == *wanted.as_bytes());
    if is_written && charge.deployment.made.is_some() {
        return Ok(made.backend);
    }
    let is_own = charge.application.keys.iter().any(|own| **own == *key)
        || charge.deployment.facts.before.contains_key(&*key);
    // Also one with the same settings: its servers, and what leads to it, are somebody else's.
    if stands.is_some() && !is_own {
        return Err(Stop::failed(format!(
            "the backend {} is in the table already, and no deployment of {} has made it; remove it, or choose another \
             version",
            made.backend, charge.app
        )));
    }
    let expected = stands.as_ref().map_or(Expected::Absent, |entry| Expected::Version(entry.version));
    let put = Operation::Put {
        area: Area::Routing,
        key: key.clone(),
        value: wanted.into(),
        lease: LeaseChoice::Without,
    };
    let also = Transaction {
        expect: vec![(Area::Routing, key.clone(), expected)],
        operations: if is_written { Vec::new() } else { vec![put] },
    };
    let before = stands.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
    let backend = made.backend.clone();
    let change = |deployment: &mut Record| {
        deployment.facts.before.entry(key.into()).or_insert(before);
        deployment.made = Some(made);
    };
    record(charge, change, also).await?;
    Ok(backend)
}

async fn create(world: &World, charge: &mut Charge, cluster: &Cluster) -> Result<Look, Stop> {
    let wanted = wanted(world, charge).await?;
    let Some(created) = cluster.create(&wanted).await? else {
        return Err(Stop::waits(format!("the Deployment {} was changed meanwhile", name(&wanted))));
    };
    charge.say(format!("created the Deployment {}", name(&created)));
    match keep(charge, &created).await {
        Err(Stop::Trouble(Trouble::Lost(app))) => {
            cluster.take_back(&created).await;
            Err(Trouble::Lost(app).into())
        }
        kept => kept.map(|()| Look::Done),
    }
}

/// One that is there: made by this deployment before its maker died, or by an earlier one of the same version.
async fn adopt(
    world: &World,
    charge: &mut Charge,
    cluster: &Cluster,
    found: Deployment,
    backend: &str,
) -> Result<Look, Stop> {
    if let Some(reason) = foreign(charge, &found) {
        return Err(Stop::failed(reason));
    }
    cluster.check_term(&found.metadata)?;
    if found.metadata.deletion_timestamp.is_some() {
        return Err(Stop::waits(format!("an earlier Deployment {} is being removed", name(&found))));
    }
    let is_own = whose(&found.metadata) == Mark::Of(&charge.deployment.id);
    let adopted = if is_own {
        cluster.stamp(found).await?
    } else {
        if destroy::leads_to(world, charge, backend).await? {
            return Err(Stop::failed(format!("version {} is live already", charge.deployment.version)));
        }
        charge.say(format!("takes over the Deployment {} of an earlier deployment", name(&found)));
        cluster.replace(&found, &wanted(world, charge).await?).await?
    };
    let Some(adopted) = adopted else { return Err(Stop::waits("the Deployment was changed meanwhile")) };
    keep(charge, &adopted).await?;
    Ok(Look::Done)
}

/// Why a Deployment of the name that the new version's is to have stands in its way; none: it does not.
pub(super) fn foreign(charge: &Charge, found: &Deployment) -> Option<String> {
    let labels = found.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let reason = if whose(&found.metadata) == Mark::Foreign {
        "was not made by a deployment of Flipgate".to_owned()
    } else if label("app") != Some(&charge.app.name) || label("version") != Some(&charge.deployment.version) {
        let (app, version) = (label("app").unwrap_or("?"), label("version").unwrap_or("?"));
        format!("is version {version} of the application {app}")
    } else {
        return None;
    };
    let name = charge.app.beside(name(found));
    Some(format!("the Deployment {name} {reason}; remove it, or choose another version"))
}

/// Writes down which Deployment it is.
async fn keep(charge: &mut Charge, made: &Deployment) -> Result<(), Stop> {
    let uid = made.metadata.uid.clone();
    if charge.deployment.made.as_ref().is_some_and(|made| made.uid != uid) {
        let change = |deployment: &mut Record| {
            if let Some(made) = &mut deployment.made {
                made.uid = uid;
            }
        };
        record(charge, change, Transaction::default()).await?;
    }
    Ok(())
}

async fn wanted(world: &World, charge: &Charge) -> Result<Deployment, Stop> {
    let environment = super::environment(world).await?;
    objects::deployment(&charge.deployment, charge.application.term, &environment).map_err(Stop::failed)
}

fn name(deployment: &Deployment) -> &str {
    deployment.metadata.name.as_deref().unwrap_or_default()
}
