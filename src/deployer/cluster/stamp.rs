//! Whoever takes an application over writes their term on its objects, before anything else.

use super::objects::{Cluster, Kind};
use super::{Mark, Stop, settle, whose};
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::machine::Look;
use crate::deployer::objects;
use crate::deployer::world::World;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;

/// Writes the term of this charge on the application's objects in the cluster. From then on nobody who had the
/// application before can change or remove them. To be called again until it is done.
///
/// # Errors
/// Another one has taken the application over since.
pub async fn stamp(world: &World, charge: &Charge) -> Result<Look, Trouble> {
    settle(all(world, charge).await)
}

async fn all(world: &World, charge: &Charge) -> Result<Look, Stop> {
    let cluster = Cluster::of(world, charge);
    let deployment = &charge.deployment;
    // What it makes is looked up by name: it may be there before its uid was written down.
    let mut names = vec![objects::deployment_name(deployment)];
    let previous = deployment.facts.previous.as_ref();
    names.extend(previous.map(|previous| previous.made.name.clone()));
    for name in names {
        one::<Deployment>(&cluster, &name).await?;
    }
    for hook in objects::When::ALL {
        one::<Job>(&cluster, &objects::job_name(deployment, hook)).await?;
    }
    one::<Service>(&cluster, &charge.app.name).await?;
    Ok(Look::Done)
}

async fn one<K: Kind>(cluster: &Cluster, name: &str) -> Result<(), Stop> {
    let Some(object) = cluster.get::<K>(name).await? else { return Ok(()) };
    if whose(object.meta()) == Mark::Foreign {
        return Ok(());
    }
    match cluster.stamp(object).await? {
        Some(_) => Ok(()),
        // Removed, or written by others all the time: the next look sees which.
        None => Err(Stop::waits(format!("{name} is changed by others all the time"))),
    }
}
