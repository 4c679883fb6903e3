//! All pods are ready.

use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::cluster::{Cluster, Pods, Stop, is_ready, settle, trouble_of};
use crate::deployer::machine::Look;
use crate::deployer::world::World;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::jiff::Timestamp;

/// Most pods that a text names.
const NAMED_MAX: usize = 3;

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    settle(run(world, charge).await)
}

async fn run(world: &World, charge: &mut Charge) -> Result<Look, Stop> {
    let Some(made) = charge.deployment.made.clone() else {
        return Err(Stop::failed("nothing was created"));
    };
    let cluster = Cluster::of(world, charge);
    let found = cluster.get::<Deployment>(&made.name).await?;
    let Some(deployment) = found.filter(|found| found.metadata.uid == made.uid) else {
        return Err(Stop::failed(format!("the Deployment {} was removed by somebody", made.name)));
    };
    let pods = Pods::of(&cluster, &made.name).await?;
    Ok(judge(&deployment, &pods, charge.deployment.descriptor.replicas, Timestamp::now()))
}

/// What a version's pods come to: pure.
fn judge(deployment: &Deployment, pods: &Pods, replicas: u32, now: Timestamp) -> Look {
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    let (ready, status) = (pods.ready().count(), deployment.status.as_ref());
    let is_seen = status.and_then(|status| status.observed_generation) >= deployment.metadata.generation;
    // Pods of an earlier form may be there beside those of this one.
    let is_current = status.and_then(|status| status.updated_replicas) == i32::try_from(replicas).ok();
    if ready == wanted && pods.current.len() == wanted && is_seen && is_current {
        return Look::Done;
    }
    let mut text = format!("{ready} of {wanted} pods are ready");
    if pods.current.len() > wanted {
        text.push_str(&format!(", {} of an earlier form are there", pods.current.len() - wanted));
    }
    if ready == wanted && pods.current.len() == wanted {
        text.push_str("; the Deployment's status does not say so yet");
    }
    for reason in failures(deployment).into_iter().chain(troubles(pods, now)) {
        text.push_str("; ");
        text.push_str(&reason);
    }
    Look::Waits(text)
}

/// Why pods are not even created.
fn failures(deployment: &Deployment) -> Option<String> {
    let mut conditions = deployment.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let failure = conditions.find(|one| one.type_ == "ReplicaFailure" && one.status == "True")?;
    Some(failure.message.clone().or_else(|| failure.reason.clone()).unwrap_or_default())
}

fn troubles(pods: &Pods, now: Timestamp) -> Vec<String> {
    let unready = pods.current.iter().filter(|pod| !is_ready(pod));
    let told = unready.filter_map(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        Some(format!("{name}: {}", trouble_of(pod, now)?))
    });
    told.take(NAMED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    fn pod(name: &str, ready: &str, waiting: Option<&str>) -> Pod {
        let state = waiting.map_or(json!({"running": {}}), |reason| json!({"waiting": {"reason": reason}}));
        serde_json::from_value(json!({"metadata": {"name": name}, "status": {
            "phase": if waiting.is_some() { "Pending" } else { "Running" },
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{
                "name": "a", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state,
            }],
        }}))
        .unwrap()
    }

    fn check(status: Value, pods: Vec<Pod>, expected: Look) {
        let deployment = json!({"metadata": {"name": "web-2", "generation": 2}, "status": status});
        let deployment = serde_json::from_value(deployment).unwrap();
        let pods = Pods { current: pods, ending: Vec::new() };
        assert_eq!(judge(&deployment, &pods, 2, Timestamp::UNIX_EPOCH), expected);
    }

    #[test]
    fn it_waits_until_all_are_ready() {
        let two = || vec![pod("a", "True", None), pod("b", "True", None)];
        let full = json!({"observedGeneration": 2, "updatedReplicas": 2});
        let waits = |text: &str| Look::Waits(text.to_owned());
        check(full.clone(), two(), Look::Done);
        let unseen = "2 of 2 pods are ready; the Deployment's status does not say so yet";
        check(json!({"observedGeneration": 1, "updatedReplicas": 2}), two(), waits(unseen));
        check(json!({"observedGeneration": 2, "updatedReplicas": 1}), two(), waits(unseen));
        let mut three = two();
        three.push(pod("c", "False", Some("ContainerCreating")));
        check(full.clone(), three, waits("2 of 2 pods are ready, 1 of an earlier form are there"));
        let one = vec![pod("a", "True", None), pod("b", "False", Some("ImagePullBackOff"))];
        check(full.clone(), one, waits("1 of 2 pods are ready; b: ImagePullBackOff"));
        let refused = json!({"conditions": [
            {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: compute"},
        ]});
        check(refused, Vec::new(), waits("0 of 2 pods are ready; exceeded quota: compute"));
    }
}
