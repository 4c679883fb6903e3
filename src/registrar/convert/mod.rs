//! From the cluster to the store: which objects one unit wants to stand there. Pure: a function of the [`World`] and of
//! [`Rules`].
//!
//! Sources speak to the store's objects through [`form`], which is shaped like an HTTPRoute of the Gateway API: hosts,
//! and rules of matches, filters and weighted backends.

pub mod annotations;
pub mod form;
mod hosts;
pub mod ingress;
mod labelled;
pub mod servers;
mod service;
mod settings;
#[cfg(test)]
mod tests;

pub use hosts::Hosts;
pub use service::put_backend;

use super::unit::{Source, Unit};
use super::world::World;
use crate::model::{ObjectKey, Severity};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

/// How this registrar was told to read the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// `--ingress-class`: the classes whose Ingresses are its own; empty: none are.
    pub ingress_classes: Vec<Box<str>>,
    /// The label by which pods join a backend: `name`.
    pub pod_label: Box<str>,
    /// `--host-of`: the hosts that are for certain namespaces alone.
    pub hosts: Hosts,
}

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

/// What is wrong with an object of the cluster, or not carried over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Which object.
    pub about: Source,
    /// The annotation or field: `spec.rules[0].http.paths[1]`, `nginx.ingress.kubernetes.io/lua-resty-waf`.
    pub field: Box<str>,
    /// What is wrong, and what would be right, as a predicate that follows the field.
    pub reason: Box<str>,
    /// `error`: the object, or this part of it, is not in the store; `warning`: it is, without this.
    pub severity: Severity,
}

/// What a unit wants to stand in the store now. A unit that is gone wants nothing.
pub fn convert(world: &World, unit: &Unit, rules: &Rules) -> Converted {
    let mut converted = Converted::default();
    match unit {
        Unit::Labelled(backend) => labelled::convert(world, backend, &mut converted),
        Unit::Service(name) => service::convert(world, name, &rules.hosts, &mut converted),
        Unit::Ingress(name) => ingress::convert(world, name, rules, &mut converted),
    }
    converted
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
