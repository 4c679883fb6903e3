//! What the cluster as a whole has: namespaces, quotas, nodes. An account need not have the right to see it.

use super::objects::pages;
use super::{Cluster, Stop};
use crate::deployer::capacity::Taken;
use crate::kubernetes::{Refusal, in_time};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ResourceQuota};
use kube::api::{Api, ListParams};

/// What is seen, or why it may not be.
type Seen<T> = Result<T, String>;

impl Cluster {
    /// # Errors
    /// There is no such namespace, or it is about to go.
    pub(in crate::deployer) async fn check_namespace(&self) -> Result<(), Stop> {
        let name = &*self.app.namespace;
        let found = in_time(Api::<Namespace>::all(self.client.clone()).get_opt(name)).await;
        match found {
            Ok(None) => Err(Stop::failed(format!("there is no namespace {name}"))),
            Ok(Some(namespace)) if namespace.metadata.deletion_timestamp.is_some() => {
                Err(Stop::failed(format!("the namespace {name} is being removed")))
            }
            // Whether it is there shows with the first object.
            Ok(Some(_)) | Err(Refusal::Forbidden(_)) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The quotas of the namespace.
    pub(in crate::deployer) async fn quotas(&self) -> Result<Seen<Vec<ResourceQuota>>, Stop> {
        let mut all = Vec::new();
        let seen = seen(pages(&self.api(), ListParams::default(), |page| all.extend(page)).await)?;
        Ok(seen.map(|()| all))
    }

    /// All nodes, and what pods take of them.
    pub(in crate::deployer) async fn nodes(&self) -> Result<Seen<(Vec<Node>, Taken)>, Stop> {
        let (mut nodes, mut taken) = (Vec::new(), Taken::default());
        let api = Api::<Node>::all(self.client.clone());
        let listed = pages(&api, ListParams::default(), |page| nodes.extend(page)).await;
        if let Err(reason) = seen(listed)? {
            return Ok(Err(reason));
        }
        let live = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
        let api = Api::<Pod>::all(self.client.clone());
        let seen = seen(pages(&api, live, |page| page.iter().for_each(|pod| taken.add(pod))).await)?;
        Ok(seen.map(|()| (nodes, taken)))
    }
}

fn seen(listed: Result<(), Refusal>) -> Result<Seen<()>, Stop> {
    match listed {
        Ok(()) => Ok(Ok(())),
        Err(Refusal::Forbidden(reason)) => Ok(Err(reason)),
        Err(refusal) => Err(refusal.into()),
    }
}
