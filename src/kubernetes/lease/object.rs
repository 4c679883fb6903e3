//! The lease as the API has it: how it is read, and what is written.

use crate::kubernetes::{Name, explain};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use std::future::Future;
use std::time::Duration;

/// What matters of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Empty: nobody's.
    pub holder: String,
    /// How long it holds unless it is renewed, as its holder says.
    pub duration: Option<Duration>,
    /// When its holder says that it renewed it, in microseconds: only whether it changes matters.
    pub renewed: Option<i64>,
    /// How often it changed hands.
    pub term: i64,
}

/// Why the lease was not read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is not as it was when it was read.
    Conflict,
    /// Something else, for people.
    Other(String),
}

/// Where the lease is kept.
pub(super) trait Objects: Send + Sync + 'static {
    /// The lease as it is now.
    fn read(&self) -> impl Future<Output = Result<Option<Lease>, Failure>> + Send;

    /// Writes the lease if it still has the version that it was read with, or creates it where it has none.
    fn write(&self, lease: Lease) -> impl Future<Output = Result<Lease, Failure>> + Send;
}

/// A lease of the Kubernetes API.
pub(super) struct KubeLease {
    api: Api<Lease>,
    name: Name,
}

impl KubeLease {
    pub(super) fn new(client: kube::Client, name: &Name) -> Self {
        Self { api: Api::namespaced(client, &name.namespace), name: name.clone() }
    }

    fn failure(&self, verb: &str, error: &kube::Error) -> Failure {
        let kube::Error::Api(status) = error else { return Failure::Other(explain(error)) };
        let namespace = &self.name.namespace;
        match (status.code, verb) {
            (409, _) | (404, "update") => Failure::Conflict,
            (404, "create") => Failure::Other(format!("the namespace {namespace} is not there")),
            (403, _) => Failure::Other(format!(
                "this account may not {verb} leases in the namespace {namespace}; a Role has to allow get, create and \
                 update on leases.coordination.k8s.io"
            )),
            _ => Failure::Other(explain(error)),
        }
    }
}

impl Objects for KubeLease {
    async fn read(&self) -> Result<Option<Lease>, Failure> {
        self.api.get_opt(&self.name.name).await.map_err(|error| self.failure("get", &error))
    }

    async fn write(&self, lease: Lease) -> Result<Lease, Failure> {
        let parameters = PostParams::default();
        if lease.metadata.resource_version.is_none() {
            return self
                .api
                .create(&parameters, &lease)
                .await
                .map_err(|error| self.failure("create", &error));
        }
        let written = self.api.replace(&self.name.name, &parameters, &lease).await;
        written.map_err(|error| self.failure("update", &error))
    }
}

impl Record {
    /// What matters of a lease; what is not there or makes no sense is as if not said.
    pub(super) fn of(lease: &Lease) -> Self {
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
        Self {
            holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
            duration: u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs),
            renewed: spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0.as_microsecond()),
            term: spec.and_then(|spec| spec.lease_transitions).unwrap_or(0).max(0).into(),
        }
    }
}

/// The lease with this process as its holder. Everything else that it says stays.
pub(super) fn held(
    over: Option<Lease>,
    name: &Name,
    me: &str,
    term: i64,
    duration: Duration,
    now: Timestamp,
) -> Lease {
    let mut lease = over.unwrap_or_default();
    lease.metadata.name = Some(name.name.to_string());
    lease.metadata.namespace = Some(name.namespace.to_string());
    let before = Record::of(&lease);
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if before.holder != me || before.term != term {
        spec.acquire_time = Some(MicroTime(now));
    }
    spec.holder_identity = Some(me.to_owned());
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX));
    spec.lease_transitions = Some(i32::try_from(term).unwrap_or(i32::MAX));
    lease
}

/// The lease with nobody as its holder.
pub(super) fn released(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    // An empty name would not be accepted.
    spec.holder_identity = None;
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = Some(1);
    lease
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lease(spec: serde_json::Value) -> Lease {
        let metadata =
            json!({ "name": "l", "namespace": "n", "resourceVersion": "7", "labels": { "a": "b" } });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
    }

    #[test]
    fn leases_are_read_whatever_they_say() {
        let check = |spec, holder: &str, seconds: Option<u64>, term| {
            let record = Record::of(&lease(spec));
            assert_eq!(record.holder, holder);
            assert_eq!(record.duration, seconds.map(Duration::from_secs));
            assert_eq!(record.term, term);
        };
        check(json!(null), "", None, 0);
        check(json!({}), "", None, 0);
        check(json!({ "holderIdentity": "", "leaseDurationSeconds": 0 }), "", None, 0);
        check(
            json!({ "holderIdentity": "a", "leaseDurationSeconds": -5, "leaseTransitions": -1 }),
            "a",
            None,
            0,
        );
        let whole = json!({ "holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 3,
            "renewTime": "2026-01-01T00:00:00.000001Z" });
        check(whole, "a", Some(15), 3);
    }

    #[test]
    fn what_is_written_keeps_what_others_wrote() {
        let name = Name::new("n", "l");
        let (first, second): (Timestamp, Timestamp) =
            ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-01-01T00:00:02Z".parse().unwrap());
        let over = lease(json!({ "holderIdentity": "other", "preferredHolder": "x", "leaseTransitions": 3 }));
        let taken = held(Some(over), &name, "me", 4, Duration::from_secs(10), first);
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(taken.metadata.labels.as_ref().unwrap().len(), 1);
        let renewed = held(Some(taken), &name, "me", 4, Duration::from_secs(10), second);
        let spec = renewed.spec.clone().unwrap();
        assert_eq!(spec.preferred_holder.as_deref(), Some("x"));
        assert_eq!(spec.acquire_time, Some(MicroTime(first)));
        assert_eq!(spec.renew_time, Some(MicroTime(second)));
        assert_eq!(spec.lease_transitions, Some(4));
        let free = released(renewed, second);
        assert_eq!(Record::of(&free), Record { holder: String::new(), ..Record::of(&free) });
        assert_eq!(Record::of(&free).term, 4);
    }
}
