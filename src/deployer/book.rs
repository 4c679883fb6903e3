//! What the store says of all applications, descriptors and deployments, as this process last heard.

use super::record::{Application, Deployment, LogLine, StoredDescriptor};
use crate::kubernetes::Name;
use crate::model::Revision;
use std::collections::BTreeMap;

/// Everything below `deployer/` of the state area.
#[derive(Debug, Default)]
pub struct Book {
    /// How far it was heard.
    pub revision: Revision,
    /// By name.
    pub applications: BTreeMap<Name, Kept<Application>>,
    /// By application and id.
    pub descriptors: BTreeMap<(Name, Box<str>), Kept<StoredDescriptor>>,
    /// By application and id.
    pub deployments: BTreeMap<(Name, Box<str>), Kept<Deployment>>,
    /// By application, deployment and number.
    pub logs: BTreeMap<(Name, Box<str>, u64), LogLine>,
    /// What pods said of their health: by application, deployment and pod.
    pub health: BTreeMap<(Name, Box<str>, Box<str>), Box<str>>,
    /// Applications whose one in charge is alive.
    pub locks: BTreeMap<Name, Box<str>>,
    /// Variables for all pods.
    pub environment: BTreeMap<Box<str>, Box<str>>,
}

/// A record with its version, which is also its `ETag`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<T> {
    /// As read.
    pub value: T,
    /// Compared by expectations.
    pub version: u64,
}

impl Book {
    /// A deployment of a namespace by its id alone, as Amdatu's clients name it.
    pub fn deployment(&self, namespace: &str, id: &str) -> Option<(&Name, &Kept<Deployment>)> {
        let is_it = |(app, own): &&(Name, Box<str>)| &*app.namespace == namespace && **own == *id;
        self.deployments.iter().find(|(key, _)| is_it(key)).map(|((app, _), kept)| (app, kept))
    }

    /// A descriptor of a namespace by its id alone.
    pub fn descriptor(&self, namespace: &str, id: &str) -> Option<(&Name, &Kept<StoredDescriptor>)> {
        let is_it = |(app, own): &&(Name, Box<str>)| &*app.namespace == namespace && **own == *id;
        self.descriptors.iter().find(|(key, _)| is_it(key)).map(|((app, _), kept)| (app, kept))
    }

    /// A deployment's log, oldest first.
    pub fn log(&self, app: &Name, id: &str) -> impl Iterator<Item = (u64, &LogLine)> {
        let (first, last) = ((app.clone(), id.into(), 0), (app.clone(), id.into(), u64::MAX));
        self.logs.range(first..=last).map(|((_, _, number), line)| (*number, line))
    }
}
