//! The objects of a deployment in the cluster.

use super::record;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const DEPLOYMENT: &str = "flipgate.io/deployment";
pub(super) const TERM: &str = "flipgate.io/term";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Before,
    After,
}

impl When {
    pub(super) const ALL: [Self; 2] = [Self::Before, Self::After];
}

pub(super) fn deployment_name(record: &record::Deployment) -> String {
    format!("{}-{}", record.descriptor.app_name, record.version)
}

pub(super) fn job_name(record: &record::Deployment, when: When) -> String {
    let word = if when == When::Before { "before" } else { "after" };
    format!("{}-{word}", deployment_name(record))
}

fn meta(record: &record::Deployment, term: u64, name: &str, labels: Value) -> Value {
    json!({
        "name": name, "namespace": record.descriptor.namespace, "labels": labels,
        "annotations": {DEPLOYMENT: record.id, TERM: term.to_string()},
    })
}

fn labels(record: &record::Deployment) -> Value {
    json!({"name": deployment_name(record), "app": record.descriptor.app_name, "version": record.version})
}

pub(super) fn deployment(
    record: &record::Deployment,
    term: u64,
    _environment: &BTreeMap<String, String>,
) -> Result<Deployment, String> {
    let labels = labels(record);
    serde_json::from_value(json!({
        "metadata": meta(record, term, &deployment_name(record), labels.clone()),
        "spec": {
            "replicas": record.descriptor.replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": record.descriptor.podspec},
        },
    }))
    .map_err(|error| error.to_string())
}

pub(super) fn job(
    record: &record::Deployment,
    term: u64,
    _environment: &BTreeMap<String, String>,
    when: When,
) -> Result<Option<Job>, String> {
    let hooks = &record.descriptor.hooks;
    let hook = if when == When::Before { &hooks.before } else { &hooks.after };
    let Some(hook) = hook else { return Ok(None) };
    let labels = json!({"app": record.descriptor.app_name, "version": record.version});
    serde_json::from_value(json!({
        "metadata": meta(record, term, &job_name(record, when), labels.clone()),
        "spec": {
            "backoffLimit": 0, "activeDeadlineSeconds": hook.timeout.as_secs(),
            "template": {"metadata": {"labels": labels}, "spec": hook.podspec},
        },
    }))
    .map(Some)
    .map_err(|error| error.to_string())
}

pub(super) fn service(record: &record::Deployment, term: u64) -> Service {
    let value = json!({
        "metadata": meta(record, term, &record.descriptor.app_name, json!({"persistent": "true"})),
        "spec": {
            "selector": {"app": record.descriptor.app_name, "version": record.version},
            "ports": [{"name": "http", "port": 80}],
        },
    });
    serde_json::from_value(value).unwrap_or_default()
}
