//! What is wrong with an object, and which form of it is in force.

use super::id::Revision;
use std::time::SystemTime;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object is in force.
    Warning,
    /// The object is not in force, or its previous form is.
    Error,
}

/// Which form of an object requests see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InForce {
    /// The object takes no part.
    None,
    /// Its last good form.
    Previous,
    /// The form that the store holds.
    This,
}

/// One thing that reading a value found: the field's path in vulcand's spelling (empty for the whole value) and what
/// would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `Settings.Timeouts.Read`, or empty.
    pub field: String,
    /// What is wrong and what would be right, in one sentence.
    pub reason: String,
    /// Whether the object can be in force with it.
    pub severity: Severity,
}

/// A finding with the object it is about, as `GET /v3/problems` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key as stored, below the prefix; empty when it is about the store as a whole.
    pub key: String,
    /// The field's path, or empty.
    pub field: String,
    /// One sentence.
    pub reason: String,
    /// Whether the object is in force with it.
    pub severity: Severity,
    /// The revision that brought it.
    pub revision: Revision,
    /// When this process first saw it.
    pub since: SystemTime,
    /// Which form is in force.
    pub in_force: InForce,
}
