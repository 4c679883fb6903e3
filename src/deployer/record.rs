//! What a deployer writes down, in the store's state area, and where.
//!
//! | key, below `deployer/` | |
//! | --- | --- |
//! | `applications/NAMESPACE/APP` | [`Application`]: which deployment is live, which is under way, and in whose charge. Whoever takes an application into their charge writes it; every later write of theirs expects it as they wrote it |
//! | `locks/NAMESPACE/APP` | under a lease: who has it in their charge is alive |
//! | `descriptors/NAMESPACE/APP/ID` | a [`StoredDescriptor`] |
//! | `deployments/NAMESPACE/APP/ID` | a [`Deployment`] |
//! | `logs/NAMESPACE/APP/ID/NUMBER` | a [`LogLine`] of it |
//! | `health/NAMESPACE/APP/ID/POD` | what a pod said of its health beside that it is well |
//! | `asks/NAMESPACE/APP` | an [`Asked`], until it is taken up |
//! | `environment/NAME` | a variable for all pods |
//! | `calls/NAMESPACE/DIGEST` | the answer to a call with an idempotency key |

use super::descriptor::Descriptor;
use super::machine::{Ask, Position, Stage};
use super::routing::backend_id;
use crate::kubernetes::Name;
use crate::telemetry::rfc3339;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The root of everything, within the state area.
pub const ROOT: &str = "deployer/";

/// How a deployment is, in Amdatu's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// It is on its way.
    Deploying,
    /// It is live.
    Deployed,
    /// It is being taken away.
    Undeploying,
    /// It was live.
    Undeployed,
    /// It never went live, or was rolled back.
    Failure,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Deploying, Self::Deployed, Self::Undeploying, Self::Undeployed, Self::Failure];

    /// As stored and shown: `DEPLOYED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploying => "DEPLOYING",
            Self::Deployed => "DEPLOYED",
            Self::Undeploying => "UNDEPLOYING",
            Self::Undeployed => "UNDEPLOYED",
            Self::Failure => "FAILURE",
        }
    }

    /// Whether nothing of it is left: it is neither live nor under way.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Undeployed | Self::Failure)
    }

    /// Whether somebody is at work on it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Deploying | Self::Undeploying)
    }
}

/// An application's state over all its deployments.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// The deployment that is live.
    #[serde(default)]
    pub live: Option<String>,
    /// The deployment that is under way.
    #[serde(default)]
    pub open: Option<String>,
    /// Who has it in their charge, or had last.
    #[serde(default)]
    pub holder: String,
    /// How often that has changed hands. Objects in the cluster are stamped with it.
    #[serde(default)]
    pub term: u64,
    /// Routing keys that this application's deployments have made.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The highest version given by `#`.
    #[serde(default)]
    pub last_number: u64,
}

/// A deployment as stored. [`Deployment::public`] is what the API shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Its id.
    pub id: String,
    /// When it was first asked for, RFC 3339.
    pub created: String,
    /// When its status or stage last changed, RFC 3339.
    pub last_modified: String,
    /// The version, with `#` resolved.
    pub version: String,
    /// How it is.
    pub status: Status,
    /// As it was when the deployment was asked for.
    pub descriptor: Descriptor,
    /// Why it failed, or what went wrong and is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it is, while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What its stages have to remember, while it is open.
    #[serde(default)]
    pub facts: Facts,
    /// What of it is in the cluster and in the table, while it is live, warm or being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
}

/// A version's own objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// The Deployment's name, which is also the label `name` of its pods: `APP-VERSION`.
    pub name: String,
    /// The Deployment's uid, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The backend: `NAMESPACE-APP-VERSION`.
    pub backend: String,
}

impl Made {
    /// The objects of a version as they are to be called.
    pub fn named(app: &Name, version: &str) -> Self {
        Self { name: format!("{}-{version}", app.name), uid: None, backend: backend_id(app, version) }
    }
}

/// What stages remember.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// The version that was live when it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Uid of the Job before the flip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<String>,
    /// Uid of the Job after the flip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow_up: Option<String>,
    /// The flip's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<String>,
    /// The id of the flip that undoes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undoing: Option<String>,
    /// Routing objects as they were before this deployment wrote them; none: they did not exist.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub before: BTreeMap<String, Option<String>>,
    /// The Service before its selector was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceBefore>,
    /// The stages of hooks whose Job succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finished: Vec<Stage>,
    /// When the pods of the version that goes were first seen gone, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<u64>,
}

/// The version that was live before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Previous {
    /// Its deployment.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its objects.
    pub made: Made,
}

/// The Service before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBefore {
    /// Its uid; none: not known yet.
    pub uid: Option<String>,
    /// Its `spec.selector` and `spec.ports`, as JSON; none: there was no Service.
    pub spec: Option<serde_json::Value>,
}

/// A descriptor that was stored by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredDescriptor(pub Descriptor);

/// One line of a deployment's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, RFC 3339.
    pub at: String,
    /// For people, in one line.
    pub text: String,
}

/// What somebody asked of a deployment under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Which.
    pub deployment: String,
    /// What.
    pub ask: Ask,
    /// Who asks.
    pub by: String,
}

impl Deployment {
    /// What the API shows: the fields of Amdatu's, with `stage`, `course` and `reason` beside. Nothing of it is secret.
    pub fn public(&self) -> serde_json::Value {
        let mut value = serde_json::json!({
            "id": self.id, "created": self.created, "lastModified": self.last_modified, "version": self.version,
            "status": self.status, "descriptor": self.descriptor.public(),
        });
        if let Some(fields) = value.as_object_mut() {
            if let Some(position) = &self.position {
                fields.insert("stage".into(), position.stage.as_str().into());
                fields.insert("course".into(), serde_json::json!(position.course));
            }
            let reason = self.reason.as_ref().or(self.position.as_ref().and_then(|it| it.reason.as_ref()));
            if let Some(reason) = reason {
                fields.insert("reason".into(), reason.as_str().into());
            }
        }
        value
    }

    /// Notes that it changed.
    pub fn touch(&mut self, now: SystemTime) {
        self.last_modified = rfc3339(now);
    }
}

/// Where an application's state is.
pub fn application_key(app: &Name) -> Box<str> {
    key("applications", app)
}

/// Where the sign of life of the one in charge is.
pub fn lock_key(app: &Name) -> Box<str> {
    key("locks", app)
}

/// Where what is asked of the deployment under way is.
pub fn ask_key(app: &Name) -> Box<str> {
    key("asks", app)
}

/// Where a descriptor is.
pub fn descriptor_key(app: &Name, id: &str) -> Box<str> {
    format!("{}/{id}", key("descriptors", app)).into()
}

/// Where a deployment is.
pub fn deployment_key(app: &Name, id: &str) -> Box<str> {
    format!("{}/{id}", key("deployments", app)).into()
}

/// Where a line of a deployment's log is; counted from 1.
pub fn log_key(app: &Name, id: &str, number: u64) -> Box<str> {
    format!("{}/{id}/{number:06}", key("logs", app)).into()
}

/// Where what a pod said of its health is.
pub fn health_key(app: &Name, id: &str, pod: &str) -> Box<str> {
    format!("{}/{id}/{pod}", key("health", app)).into()
}

fn key(kind: &str, app: &Name) -> Box<str> {
    format!("{ROOT}{kind}/{}/{}", app.namespace, app.name).into()
}
