//! From the cluster to the store: which objects one unit wants to stand there. Pure: a function of the [`World`] and of
//! [`Classes`].
//!
//! Sources speak to the store's objects through `form`, which is shaped like an HTTPRoute of the Gateway API: hosts,
//! and rules of matches, filters and weighted backends.

pub mod annotations;
mod form;
pub mod ingress;
mod labelled;
mod servers;
mod service;
mod settings;
#[cfg(test)]
mod tests;

use super::note::Note;
use super::unit::{Source, Unit};
use super::world::World;
use crate::kubernetes::Hosts;
use crate::model::{ObjectKey, Severity};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

/// What of the cluster is this registrar's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remit {
    /// `--ingress-class`: of which Ingresses.
    pub classes: Classes,
    /// `--host-of`: which namespaces may have which hosts.
    pub hosts: Hosts,
}

/// `--ingress-class`: the classes whose Ingresses are this registrar's own. Of none: none are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Classes(BTreeSet<Box<str>>);

/// What one unit wants.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Converted {
    /// By key; the field `Owner` is not among the values yet.
    pub objects: BTreeMap<ObjectKey, Desired>,
    /// Keys whose object stays as it is, if it is the registrar's: what its author wrote last cannot be read.
    pub kept: BTreeSet<ObjectKey>,
    /// What its author must know.
    pub notes: BTreeSet<Note>,
}

/// What is to stand at a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Desired {
    /// This value, with its canonical spelling.
    Value(Map<String, Value>),
    /// A host with this certificate, which is sealed when it is written.
    Certificate {
        /// The host's further fields.
        value: Map<String, Value>,
        /// PEM, leaf first.
        certificate: Zeroizing<Vec<u8>>,
        /// PEM.
        key: Zeroizing<Vec<u8>>,
        /// Where it comes from, for problems.
        secret: Source,
    },
}

/// What a unit wants to stand in the store now. A unit that is gone wants nothing.
pub fn convert(world: &World, unit: &Unit, remit: &Remit) -> Converted {
    let mut converted = Converted::default();
    match unit {
        Unit::Labelled(backend) => labelled::convert(world, backend, &mut converted),
        Unit::Service(name) => service::convert(world, name, &remit.hosts, &mut converted),
        Unit::Ingress(name) => ingress::convert(world, name, remit, &mut converted),
    }
    converted
}

impl Classes {
    /// Of these names.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// Whether a class is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

impl Converted {
    /// Wants a value at a key.
    pub fn put(&mut self, key: ObjectKey, value: Map<String, Value>) {
        self.objects.insert(key, Desired::Value(value));
    }

    /// Wants nothing new at a key, and what stands there to stay.
    pub fn keep(&mut self, key: ObjectKey) {
        self.kept.insert(key);
    }

    /// Says that an object, or a part of it, is not in the store.
    pub fn error(&mut self, about: &Source, field: &str, reason: impl Into<Box<str>>) {
        self.note(about, field, reason.into(), Severity::Error);
    }

    /// Says that something of an object is not carried over.
    pub fn warning(&mut self, about: &Source, field: &str, reason: impl Into<Box<str>>) {
        self.note(about, field, reason.into(), Severity::Warning);
    }

    fn note(&mut self, about: &Source, field: &str, reason: Box<str>, severity: Severity) {
        self.notes.insert(Note { about: about.clone(), field: field.into(), reason, severity });
    }
}
