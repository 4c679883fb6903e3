//! The objects of a deployment in the cluster: pure.

mod template;

use super::descriptor::Hook;
use super::record::{Deployment as Record, Made};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use template::{Kind, template};

/// Annotation with the id of the deployment that made an object.
pub(super) const DEPLOYMENT: &str = "flipgate.io/deployment";
/// Annotation with the term of the charge that wrote an object last.
pub(super) const TERM: &str = "flipgate.io/term";

/// Longest name of an object whose pods bear it as a label.
const NAME_CHARS_MAX: usize = 63;
/// How long Kubernetes goes on trying a Job's pod: not at all, a failure ends the deployment.
const BACKOFF_LIMIT: u32 = 0;

/// Which hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Before the flip.
    Before,
    /// After it.
    After,
}

impl When {
    pub(super) const ALL: [Self; 2] = [Self::Before, Self::After];

    fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }

    /// What the descriptor says of it; none: there is none.
    pub(super) fn hook(self, record: &Record) -> Option<&Hook> {
        let hooks = &record.descriptor.hooks;
        match self {
            Self::Before => hooks.before.as_ref(),
            Self::After => hooks.after.as_ref(),
        }
    }
}

/// `APP-VERSION`: the Deployment, and the label `name` of its pods.
pub(super) fn deployment_name(record: &Record) -> String {
    Made::named(&record.descriptor.app(), &record.version).name
}

/// `APP-VERSION-before`; what would be too long ends with a digest.
pub(super) fn job_name(record: &Record, when: When) -> String {
    let name = format!("{}-{}", deployment_name(record), when.as_str());
    if name.len() <= NAME_CHARS_MAX {
        return name;
    }
    let digest = format!("-{:08x}", crc32fast::hash(name.as_bytes()));
    let start: String = name.chars().take(NAME_CHARS_MAX - digest.len()).collect();
    format!("{}{digest}", start.trim_end_matches(['-', '.']))
}

/// The Deployment of a version. `environment` is for all pods of all applications.
///
/// # Errors
/// The pods' description is none, as it stands in the descriptor.
pub(super) fn deployment(
    record: &Record,
    term: u64,
    environment: &BTreeMap<String, String>,
) -> Result<Deployment, String> {
    let labels = labels(record);
    let mut meta = meta(record, term, &deployment_name(record), &labels);
    if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.extend(told(record));
    }
    typed(json!({
        "metadata": meta,
        "spec": {
            "replicas": record.descriptor.replicas,
            "selector": { "matchLabels": labels },
            // Pods that are replaced, as when a node is drained, are there before the old ones go.
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "template": template(record, Kind::Version, &record.descriptor.podspec, &labels, environment),
        },
    }))
}

/// A hook's Job; none: there is no such hook.
///
/// # Errors
/// The pod's description is none, as it stands in the descriptor.
pub(super) fn job(
    record: &Record,
    term: u64,
    environment: &BTreeMap<String, String>,
    when: When,
) -> Result<Option<Job>, String> {
    let Some(hook) = when.hook(record) else { return Ok(None) };
    // Not the labels of the version's pods: nothing may select a hook's pod.
    let labels = json!({ "flipgate.io/hook": when.as_str(), "flipgate.io/app": record.descriptor.app_name });
    let job = typed(json!({
        "metadata": meta(record, term, &job_name(record, when), &labels),
        "spec": {
            "backoffLimit": BACKOFF_LIMIT,
            "activeDeadlineSeconds": hook.timeout.as_secs().max(1),
            "template": template(record, Kind::Hook, &hook.podspec, &labels, environment),
        },
    }))?;
    Ok(Some(job))
}

/// The Service of an application within the cluster, which selects one version. Without a port it has no address of its
/// own, only a name that leads to the pods.
pub(super) fn service(record: &Record, term: u64) -> Service {
    let app = &record.descriptor.app_name;
    let ports = ports(&record.descriptor.podspec);
    let mut spec = json!({ "selector": { "app": app, "version": record.version } });
    if let Some(spec) = spec.as_object_mut() {
        match ports.is_empty() {
            true => spec.insert("clusterIP".into(), "None".into()),
            false => spec.insert("ports".into(), ports.into()),
        };
    }
    let labels = json!({ "persistent": "true", "app": app });
    // Names, numbers and texts of a descriptor that is valid: there is nothing that could fail.
    typed(json!({ "metadata": meta(record, term, app, &labels), "spec": spec })).unwrap_or_default()
}

/// The ports of all containers, each number and protocol once, with names that differ.
fn ports(podspec: &Value) -> Vec<Value> {
    let containers = podspec.get("containers").and_then(Value::as_array).into_iter().flatten();
    let all = containers.filter_map(|container| container.get("ports")?.as_array()).flatten();
    let (mut seen, mut names, mut ports) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for port in all {
        let Some(number) = port.get("containerPort").and_then(Value::as_u64) else { continue };
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        if !seen.insert((number, protocol)) {
            continue;
        }
        let given = port.get("name").and_then(Value::as_str).filter(|name| !names.contains(*name));
        let name = given.map_or_else(|| format!("{}-{number}", protocol.to_lowercase()), str::to_owned);
        names.insert(name.clone());
        ports.push(json!({ "name": name, "port": number, "targetPort": number, "protocol": protocol }));
    }
    ports
}

fn labels(record: &Record) -> Value {
    let app = &record.descriptor.app_name;
    json!({ "name": deployment_name(record), "app": app, "version": record.version })
}

fn meta(record: &Record, term: u64, name: &str, labels: &Value) -> Value {
    json!({
        "name": name,
        "namespace": record.descriptor.namespace,
        "labels": labels,
        "annotations": { DEPLOYMENT: record.id, TERM: term.to_string() },
    })
}

/// What Amdatu's deployer wrote on the object of a version, for those who look there.
fn told(record: &Record) -> Map<String, Value> {
    let descriptor = &record.descriptor;
    let port = descriptor.health_check_port.map(|port| port.to_string()).unwrap_or_default();
    let kind = serde_json::to_value(descriptor.health_check_type).unwrap_or_default();
    let texts = [
        ("deploymentTs", record.created.as_str()),
        ("deploymentId", &record.id),
        ("appName", &descriptor.app_name),
        ("version", &record.version),
        ("useHealthCheck", if descriptor.use_health_check { "true" } else { "false" }),
        ("healthCheckPath", &descriptor.health_check_path),
        ("healthCheckPort", &port),
        ("healthCheckType", kind.as_str().unwrap_or_default()),
        ("frontend", descriptor.frontend.as_deref().unwrap_or_default()),
    ];
    texts.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect()
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// A record of a deployment of version 7 in namespace `shop`, from fields of a descriptor.
#[cfg(test)]
fn record_of(fields: Value) -> Record {
    let mut value = json!({
        "deploymentType": "blue-green", "namespace": "shop", "appName": "web", "newVersion": "#", "replicas": 2,
        "podspec": { "containers": [{ "name": "main", "image": "web:7" }] },
    });
    for (name, field) in fields.as_object().into_iter().flatten() {
        value[name] = field.clone();
    }
    Record {
        id: "d1".into(),
        created: "2026-01-01T00:00:00Z".into(),
        last_modified: String::new(),
        version: "7".into(),
        status: crate::deployer::record::Status::Deploying,
        descriptor: serde_json::from_value(value).unwrap(),
        reason: None,
        position: None,
        facts: crate::deployer::record::Facts::default(),
        made: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_deployment_whose_pods_say_what_they_are() {
        let record = record_of(json!({ "frontend": "shop.example", "useHealthCheck": true }));
        let made = serde_json::to_value(deployment(&record, 3, &BTreeMap::new()).unwrap()).unwrap();
        let labels = json!({ "name": "web-7", "app": "web", "version": "7" });
        assert_eq!(made["metadata"]["name"], "web-7");
        assert_eq!(made["metadata"]["annotations"][DEPLOYMENT], "d1");
        assert_eq!(made["metadata"]["annotations"][TERM], "3");
        assert_eq!(made["metadata"]["annotations"]["frontend"], "shop.example");
        assert_eq!(made["metadata"]["annotations"]["healthCheckType"], "probe");
        assert_eq!(made["spec"]["replicas"], 2);
        assert_eq!(made["spec"]["selector"]["matchLabels"], labels);
        assert_eq!(made["spec"]["template"]["metadata"]["labels"], labels);
    }

    #[test]
    fn a_service_has_all_ports_once() {
        let podspec = json!({ "containers": [
            { "name": "a", "image": "a", "ports": [{ "containerPort": 80, "name": "http" }, { "containerPort": 81 }] },
            { "name": "b", "image": "b", "ports": [
                { "containerPort": 80 }, { "containerPort": 53, "protocol": "UDP" }, { "containerPort": 82, "name": "http" },
            ] },
        ] });
        let made = service(&record_of(json!({ "podspec": podspec })), 1).spec.unwrap();
        let ports: Vec<_> =
            made.ports.unwrap().into_iter().map(|port| (port.name.unwrap(), port.port)).collect();
        let expected = [("http", 80), ("tcp-81", 81), ("udp-53", 53), ("tcp-82", 82)];
        assert_eq!(ports, expected.map(|(name, port)| (name.to_owned(), port)));
        assert_eq!(made.selector.unwrap()["version"], "7");
        let none = service(&record_of(json!({})), 1).spec.unwrap();
        assert_eq!((none.ports, none.cluster_ip.as_deref()), (None, Some("None")));
    }

    #[test]
    fn a_hook_is_a_job_that_runs_once() {
        let podspec = json!({ "containers": [{ "name": "m", "image": "m" }], "restartPolicy": "Never" });
        let record = record_of(json!({ "hooks": { "before": { "podspec": podspec, "timeout": "90s" } } }));
        let made = job(&record, 1, &BTreeMap::new(), When::Before).unwrap().unwrap();
        assert_eq!(made.metadata.name.as_deref(), Some("web-7-before"));
        let spec = made.spec.unwrap();
        assert_eq!((spec.backoff_limit, spec.active_deadline_seconds), (Some(0), Some(90)));
        assert!(!spec.template.metadata.unwrap().labels.unwrap().contains_key("name"));
        assert_eq!(job(&record, 1, &BTreeMap::new(), When::After), Ok(None));
    }

    #[test]
    fn a_jobs_name_fits_a_label() {
        let mut record = record_of(json!({}));
        record.descriptor.app_name = "a".repeat(58);
        let (before, after) = (job_name(&record, When::Before), job_name(&record, When::After));
        assert!(before.len() <= NAME_CHARS_MAX && after.len() <= NAME_CHARS_MAX, "{before}");
        assert_ne!(before, after);
    }
}
