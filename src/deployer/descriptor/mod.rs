//! What is to be deployed, as a pipeline says it: Amdatu's descriptor with its names, and beside them how the flip is
//! done, hooks, and times.

mod read;

pub use read::{BYTES_MAX, REPLICAS_MAX};

use crate::kubernetes::Name;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A descriptor that is valid, with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its own id where it was stored; empty otherwise.
    #[serde(default)]
    pub id: String,
    /// When it was stored, RFC 3339; may be empty.
    #[serde(default)]
    pub created: String,
    /// When it last changed, RFC 3339; may be empty.
    #[serde(default)]
    pub last_modified: String,
    /// `blue-green`.
    pub deployment_type: String,
    /// The namespace.
    pub namespace: String,
    /// The application, a DNS label.
    pub app_name: String,
    /// The version, or `#` for the next number.
    pub new_version: String,
    /// Pods, at least 1.
    pub replicas: u32,
    /// The host whose requests it gets; none: it is reached by the alias and within the cluster alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend: Option<String>,
    /// `www.` before the host leads to it.
    #[serde(default)]
    pub redirect_www: bool,
    /// A PodSpec of Kubernetes, with Amdatu's defaults filled in.
    pub podspec: Value,
    /// Variables for the pods of this deployment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Answers are compressed.
    #[serde(default)]
    pub use_compression: bool,
    /// A client stays with one pod.
    #[serde(default)]
    pub use_sticky_sessions: bool,
    /// A Secret with the host's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret_name: Option<String>,
    /// Header fields of all answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addition_http_headers: Vec<HttpHeader>,
    /// Pods are asked for their health before the flip.
    #[serde(default)]
    pub use_health_check: bool,
    /// Where.
    #[serde(default = "default_health_path")]
    pub health_check_path: String,
    /// At which port; none: the one named `healthcheck`, else the first, else 9999.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_port: Option<u16>,
    /// How.
    #[serde(default)]
    pub health_check_type: HealthCheckType,
    /// They are not asked after all.
    #[serde(default)]
    pub ignore_health_check: bool,
    /// How the flip is done.
    #[serde(default)]
    pub flip: FlipPlan,
    /// Jobs before and after it.
    #[serde(default)]
    pub hooks: Hooks,
    /// How long stages may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Fields of Amdatu's that are kept and have no effect: `email`, `webhooks`, `useExternalHealthCheck` and the like.
    /// A `password` is never kept.
    #[serde(default, flatten)]
    pub kept: serde_json::Map<String, Value>,
}

/// A field of an answer's head. The names are Amdatu's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Its name.
    #[serde(rename = "Header")]
    pub header: String,
    /// Its value.
    #[serde(rename = "Value")]
    pub value: String,
}

/// How a pod is asked for its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthCheckType {
    /// It answers JSON with `"healthy": true`.
    #[default]
    Probe,
    /// It answers `GET` with a status from 200 to 299.
    Simple,
}

/// How the flip is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FlipPlan {
    /// How many of the pods must be well in the eyes of every proxy: `2` or `50%`.
    pub min_healthy: String,
    /// How long the new side is compared with the old one before it counts as good.
    #[serde(with = "go_duration")]
    pub bake: Duration,
    /// A condition that also sends it back, as with `flipgate flip --rollback-on`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_on: Option<String>,
    /// How long the old version stays after that.
    #[serde(with = "go_duration")]
    pub keep_warm: Duration,
}

/// Jobs beside the flip.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Before anything of the new version is created; its failure ends the deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Hook>,
    /// Once the new version has proved itself; its failure sends it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Hook>,
}

/// A Job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// A PodSpec of Kubernetes.
    pub podspec: Value,
    /// How long it may take.
    #[serde(with = "go_duration")]
    pub timeout: Duration,
}

/// How long stages may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// All pods ready.
    #[serde(with = "go_duration")]
    pub ready: Duration,
    /// All pods healthy, beyond that.
    #[serde(with = "go_duration")]
    pub health: Duration,
    /// One question to one pod.
    #[serde(with = "go_duration")]
    pub probe: Duration,
    /// The proxies ready for the flip, and the flip written.
    #[serde(with = "go_duration")]
    pub flip: Duration,
    /// Requests open on the old version, before it counts as drained all the same.
    #[serde(with = "go_duration")]
    pub drain: Duration,
    /// What came through the Service within the cluster, which nobody counts.
    #[serde(with = "go_duration")]
    pub cluster_drain: Duration,
}

impl Default for FlipPlan {
    fn default() -> Self {
        Self {
            min_healthy: "100%".to_owned(),
            bake: Duration::ZERO,
            rollback_on: None,
            keep_warm: Duration::ZERO,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            ready: Duration::from_secs(300),
            health: Duration::from_secs(60),
            probe: Duration::from_secs(5),
            flip: Duration::from_secs(60),
            drain: Duration::from_secs(300),
            cluster_drain: Duration::from_secs(15),
        }
    }
}

fn default_health_path() -> String {
    "health".to_owned()
}

/// One thing that is wrong with a descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// Where: `podspec.containers[0].image`.
    pub field: String,
    /// What, and what would be right.
    pub reason: String,
}

impl Descriptor {
    /// Reads what a pipeline sent: fills in defaults, and says everything that is wrong at once.
    ///
    /// # Errors
    /// All of it.
    pub fn read(text: &[u8]) -> Result<Self, Vec<Wrong>> {
        read::read(text)
    }

    /// The application.
    pub fn app(&self) -> Name {
        Name::new(&self.namespace, &self.app_name)
    }

    /// What the API shows. Keys of webhooks, which let their bearer in elsewhere, are left out.
    pub fn public(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        for hook in value.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(fields) = hook.as_object_mut() {
                fields.retain(|name, _| !name.eq_ignore_ascii_case("key"));
            }
        }
        value
    }
}

/// Durations as they are stored and shown: in Go's form.
mod go_duration {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&crate::model::duration::format(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        crate::model::duration::parse(&text).map_err(serde::de::Error::custom)
    }
}
