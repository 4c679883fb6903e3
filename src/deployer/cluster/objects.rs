//! Objects of one kind: read, created, changed, removed.

use super::Stop;
use super::mark::{self, Mark, whose};
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::objects::TERM;
use crate::deployer::world::World;
use crate::kubernetes::{Name, Refusal, explain, in_time};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fmt::Debug;

/// How often in one look something is done again because others write the object, too.
const TRIES_MAX: u32 = 5;

/// Most objects of one answer.
const PAGE: u32 = 500;

/// A kind of objects in namespaces.
pub(in crate::deployer) trait Kind:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
{
}

impl<K> Kind for K where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
{
}

/// An application's objects in the cluster, in the hands of one charge.
pub(in crate::deployer) struct Cluster {
    pub(in crate::deployer) client: kube::Client,
    pub(super) app: Name,
    pub(super) term: u64,
}

/// Fields with other values; `null` removes one.
#[derive(Debug, Default)]
pub(in crate::deployer) struct Change {
    pub(in crate::deployer) annotations: Map<String, Value>,
    pub(in crate::deployer) labels: Map<String, Value>,
    pub(in crate::deployer) spec: Map<String, Value>,
}

/// Which object of a name is meant.
#[derive(Debug, Clone, Copy)]
pub(in crate::deployer) enum Which<'a> {
    /// The one with this uid.
    Uid(&'a str),
    /// The one that this deployment made.
    Of(&'a str),
}

/// What becomes of what a removed object has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deployer) enum Fate {
    /// It goes first.
    First,
    /// It goes later.
    Later,
}

/// What the API server says to a request that concerns one object.
enum Answer<T> {
    Is(T),
    /// There is no such thing.
    Missing(String),
    /// It exists, or is not as it was.
    Conflict,
}

impl Cluster {
    pub(in crate::deployer) fn of(world: &World, charge: &Charge) -> Self {
        Self { client: world.client.clone(), app: charge.app.clone(), term: charge.application.term }
    }

    pub(in crate::deployer) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.app.namespace)
    }

    /// The object of a name.
    pub(in crate::deployer) async fn get<K: Kind>(&self, name: &str) -> Result<Option<K>, Stop> {
        Ok(in_time(self.api::<K>().get_opt(name)).await?)
    }

    /// All objects that are selected.
    pub(in crate::deployer) async fn list<K: Kind>(&self, params: ListParams) -> Result<Vec<K>, Stop> {
        let mut all = Vec::new();
        pages(&self.api::<K>(), params, |page| all.extend(page)).await?;
        Ok(all)
    }

    /// Creates an object; none: there is one of this name, or the server was asked for too much at once. The next look
    /// finds out.
    pub(in crate::deployer) async fn create<K: Kind>(&self, object: &K) -> Result<Option<K>, Stop> {
        let api = self.api();
        match answer(api.create(&PostParams::default(), object)).await? {
            Answer::Is(created) => Ok(Some(created)),
            Answer::Missing(reason) => Err(Stop::failed(reason)),
            Answer::Conflict => Ok(None),
        }
    }

    /// What the API server would make of an object. Nothing is created. Where there is one of this name already, another
    /// name is taken.
    pub(in crate::deployer) async fn try_create<K: Kind>(&self, object: &K) -> Result<K, Stop> {
        let (api, mut object) = (self.api(), object.clone());
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        for _ in 0..TRIES_MAX {
            match answer(api.create(&parameters, &object)).await? {
                Answer::Is(made) => return Ok(made),
                Answer::Missing(reason) => return Err(Stop::failed(reason)),
                Answer::Conflict => {
                    let meta = object.meta_mut();
                    meta.generate_name =
                        meta.name.take().map(|name| format!("{name}-")).or(meta.generate_name.take());
                }
            }
        }
        Err(Stop::waits("others write as well"))
    }

    /// Changes an object as it was read; none: it was changed or removed meanwhile.
    pub(in crate::deployer) async fn change<K: Kind>(
        &self,
        read: &K,
        change: Change,
    ) -> Result<Option<K>, Stop> {
        let (meta, Change { mut annotations, labels, spec }) = (read.meta(), change);
        self.check_term(meta)?;
        annotations.insert(TERM.to_owned(), self.term.to_string().into());
        let patch = Patch::Merge(json!({
            "metadata": {
                "uid": meta.uid, "resourceVersion": meta.resource_version,
                "annotations": annotations, "labels": labels,
            },
            "spec": spec,
        }));
        let (api, name) = (self.api::<K>(), meta.name.as_deref().unwrap_or_default());
        match answer(api.patch(name, &PatchParams::default(), &patch)).await? {
            Answer::Is(changed) => Ok(Some(changed)),
            Answer::Missing(_) | Answer::Conflict => Ok(None),
        }
    }

    /// Puts `wanted` in the place of an object as it was read; none: it was changed or removed meanwhile.
    pub(in crate::deployer) async fn replace<K: Kind>(
        &self,
        read: &K,
        wanted: &K,
    ) -> Result<Option<K>, Stop> {
        self.check_term(read.meta())?;
        let mut wanted = wanted.clone();
        wanted.meta_mut().uid.clone_from(&read.meta().uid);
        wanted.meta_mut().resource_version.clone_from(&read.meta().resource_version);
        let (api, name) = (self.api(), read.meta().name.as_deref().unwrap_or_default());
        match answer(api.replace(name, &PostParams::default(), &wanted)).await? {
            Answer::Is(changed) => Ok(Some(changed)),
            Answer::Missing(_) | Answer::Conflict => Ok(None),
        }
    }

    /// Sees to it that an object bears this charge's term; none: it was removed, or others write it all the time.
    pub(in crate::deployer) async fn stamp<K: Kind>(&self, read: K) -> Result<Option<K>, Stop> {
        let mut read = read;
        for _ in 0..TRIES_MAX {
            self.check_term(read.meta())?;
            if mark::term(read.meta()) == self.term {
                return Ok(Some(read));
            }
            if let Some(stamped) = self.change(&read, Change::default()).await? {
                return Ok(Some(stamped));
            }
            let (name, uid) = (read.meta().name.clone().unwrap_or_default(), read.meta().uid.clone());
            match self.get::<K>(&name).await? {
                Some(again) if again.meta().uid == uid => read = again,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Removes an object; whether it is gone.
    pub(in crate::deployer) async fn remove<K: Kind>(
        &self,
        name: &str,
        which: Which<'_>,
        fate: Fate,
    ) -> Result<bool, Stop> {
        for _ in 0..TRIES_MAX {
            let Some(object) = self.get::<K>(name).await?.filter(|object| which.is(object.meta())) else {
                return Ok(true);
            };
            let meta = object.meta();
            self.check_term(meta)?;
            if meta.deletion_timestamp.is_some() {
                return Ok(false);
            }
            match answer(self.api::<K>().delete(name, &fate.parameters(meta))).await? {
                // It may be gone at once, or once what it made is.
                Answer::Is(_) => {
                    return Ok(self.get::<K>(name).await?.is_none_or(|object| !which.is(object.meta())));
                }
                Answer::Missing(_) => return Ok(true),
                Answer::Conflict => {}
            }
        }
        Ok(false)
    }

    /// Takes back what this charge has just created, after it was followed by another. Where that one has it already,
    /// it stays. What this charge cannot do any more is not an error.
    pub(in crate::deployer) async fn take_back<K: Kind>(&self, created: &K) {
        if let (Some(name), Some(uid)) = (&created.meta().name, &created.meta().uid) {
            let _ = self.remove::<K>(name, Which::Uid(uid), Fate::Later).await;
        }
    }

    /// # Errors
    /// Another charge has written the object since this one's term.
    pub(in crate::deployer) fn check_term(&self, meta: &ObjectMeta) -> Result<(), Stop> {
        match mark::term(meta) > self.term {
            true => Err(Stop::Trouble(Trouble::Lost(self.app.clone()))),
            false => Ok(()),
        }
    }
}

impl Which<'_> {
    pub(in crate::deployer) fn is(self, meta: &ObjectMeta) -> bool {
        match self {
            Self::Uid(uid) => meta.uid.as_deref() == Some(uid),
            Self::Of(id) => whose(meta) == Mark::Of(id),
        }
    }
}

impl Fate {
    /// Of the removal of an object as it was read.
    pub(in crate::deployer) fn parameters(self, meta: &ObjectMeta) -> DeleteParams {
        let policy = match self {
            Self::First => PropagationPolicy::Foreground,
            Self::Later => PropagationPolicy::Background,
        };
        DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
            }),
            ..DeleteParams::default()
        }
    }
}

/// Takes all that is selected, page by page.
pub(super) async fn pages<K: Clone + Debug + DeserializeOwned>(
    api: &Api<K>,
    params: ListParams,
    mut take: impl FnMut(Vec<K>),
) -> Result<(), Refusal> {
    let mut params = params.limit(PAGE);
    loop {
        let page = in_time(api.list(&params)).await?;
        take(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

async fn answer<T>(asked: impl Future<Output = Result<T, kube::Error>>) -> Result<Answer<T>, Stop> {
    let sorted = async {
        match asked.await {
            Ok(value) => Ok(Answer::Is(value)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Answer::Conflict),
            Err(error) if matches!(&error, kube::Error::Api(status) if status.code == 404) => {
                Ok(Answer::Missing(explain(&error)))
            }
            Err(error) => Err(error),
        }
    };
    Ok(in_time(sorted).await?)
}
