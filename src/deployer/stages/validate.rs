//! Whether it could be done, before anything is.

use super::{create, route, service};
use crate::deployer::capacity::{self, Asked};
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::cluster::{Cluster, Pods, Stop, settle};
use crate::deployer::machine::Look;
use crate::deployer::objects::{self, When};
use crate::deployer::world::World;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What of the new version is there already.
#[derive(Debug, Default, Clone, Copy)]
struct There {
    deployment: bool,
    service: bool,
    pods: u32,
}

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    settle(run(world, charge).await)
}

async fn run(world: &World, charge: &mut Charge) -> Result<Look, Stop> {
    let cluster = Cluster::of(world, charge);
    cluster.check_namespace().await?;
    route::check(world, charge).await?.map_err(Stop::failed)?;
    let there = there(charge, &cluster).await?;
    let template = try_all(world, charge, &cluster).await?;
    let (spec, refused) = effective(charge, &cluster, template).await?;
    check_room(charge, &cluster, &spec, there).await?;
    // A quota that the calculation does not know.
    refused.map_or(Ok(Look::Done), |reason| Err(Stop::failed(reason)))
}

/// Looks for what stands in the way, and what is there already.
async fn there(charge: &Charge, cluster: &Cluster) -> Result<There, Stop> {
    let name = objects::deployment_name(&charge.deployment);
    let deployment = cluster.get::<Deployment>(&name).await?;
    let own = cluster.get::<Service>(&charge.app.name).await?;
    let in_the_way = deployment.as_ref().and_then(|found| create::foreign(charge, found));
    let in_the_way = in_the_way.or_else(|| own.as_ref().and_then(|found| service::foreign(charge, found)));
    if let Some(reason) = in_the_way {
        return Err(Stop::failed(reason));
    }
    let pods = match &deployment {
        Some(_) => Pods::of(cluster, &name).await?.current.len(),
        None => 0,
    };
    let pods = u32::try_from(pods).unwrap_or(u32::MAX);
    Ok(There { deployment: deployment.is_some(), service: own.is_some(), pods })
}

/// The API server looks at all objects and says what is wrong with them. The pods' template.
async fn try_all(world: &World, charge: &Charge, cluster: &Cluster) -> Result<PodTemplateSpec, Stop> {
    let environment = super::environment(world).await?;
    let (record, term) = (&charge.deployment, charge.application.term);
    let deployment = objects::deployment(record, term, &environment).map_err(Stop::failed)?;
    let made = cluster.try_create(&deployment).await?;
    cluster.try_create(&objects::service(record, term)).await?;
    for when in When::ALL {
        if let Some(job) = objects::job(record, term, &environment, when).map_err(Stop::failed)? {
            cluster.try_create(&job).await?;
        }
    }
    Ok(made.spec.map(|spec| spec.template).unwrap_or_default())
}

/// What the cluster makes of a pod: with the defaults of its namespace. Where a quota leaves no room for even one, also
/// the server's words.
async fn effective(
    charge: &mut Charge,
    cluster: &Cluster,
    template: PodTemplateSpec,
) -> Result<(PodSpec, Option<String>), Stop> {
    let meta = template.metadata.unwrap_or_default();
    let pod = Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", objects::deployment_name(&charge.deployment))),
            labels: meta.labels,
            annotations: meta.annotations,
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    };
    let as_written = || pod.spec.clone().unwrap_or_default();
    match cluster.try_create(&pod).await {
        Ok(made) => Ok((made.spec.unwrap_or_else(as_written), None)),
        Err(Stop::Look(Look::Failed(reason))) if reason.contains("cannot create resource \"pods\"") => {
            charge.say(format!("the defaults of the namespace for pods are not known: {reason}"));
            Ok((as_written(), None))
        }
        Err(Stop::Look(Look::Failed(reason))) if reason.contains("exceeded quota") => {
            Ok((as_written(), Some(reason)))
        }
        Err(other) => Err(other),
    }
}

async fn check_room(
    charge: &mut Charge,
    cluster: &Cluster,
    spec: &PodSpec,
    there: There,
) -> Result<(), Stop> {
    let hooks = &charge.deployment.descriptor.hooks;
    let jobs = u32::from(hooks.before.is_some() || hooks.after.is_some());
    let (deployments, services) = (u32::from(!there.deployment), u32::from(!there.service));
    let objects = [
        ("count/deployments.apps", deployments),
        ("count/replicasets.apps", deployments),
        ("services", services),
        ("count/services", services),
        ("count/jobs.batch", jobs),
    ];
    let previous = charge.deployment.facts.previous.as_ref();
    let asked = Asked {
        spec,
        pods: charge.deployment.descriptor.replicas.saturating_sub(there.pods),
        objects: &objects,
        beside: previous.map_or(String::new(), |previous| format!(" beside version {}", previous.version)),
    };
    let mut unknown = Vec::new();
    let quotas = cluster.quotas().await?.unwrap_or_else(|reason| {
        unknown.push(format!("the quotas of the namespace are not known: {reason}"));
        Vec::new()
    });
    let nodes = cluster.nodes().await?.map_err(|reason| {
        unknown.push(format!("what nodes have room for is not known: {reason}"));
    });
    for line in unknown {
        charge.say(line);
    }
    let nodes = nodes.as_ref().ok().map(|(nodes, taken)| (nodes.as_slice(), taken));
    capacity::check(&asked, nodes, &quotas).map_err(Stop::failed)
}
