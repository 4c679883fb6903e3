//! How things stand with the registrar, as one value: for `/readyz`, `/metrics` and tests.

use super::runner::Known;
use super::world::Kind;
use crate::model::Revision;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Whether this process writes.
    pub leading: bool,
    /// The cluster, by the kinds that are watched.
    pub kinds: BTreeMap<Kind, KindProgress>,
    /// Why the store is not followed; `None`: it is.
    pub store_away: Option<String>,
    /// What the store does not let this process do.
    pub refusal: Option<String>,
    /// The store's, as it is known.
    pub revision: Revision,
    /// Units and keys that are yet to be converted, compared or written.
    pub pending: usize,
    /// What is not in the store as its author wants it.
    pub errors: usize,
    /// What is, without a part.
    pub warnings: usize,
    /// Removals that wait for `flipgate confirm`.
    pub held: usize,
}

/// One kind of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindProgress {
    /// How many are known.
    pub objects: usize,
    /// How well.
    pub known: Known,
}

impl Progress {
    /// Whether cluster and store are both followed, but for what may not be read and can be done without.
    pub fn is_in_sync(&self) -> bool {
        let is_listed = |kind: &KindProgress| matches!(kind.known, Known::Listed | Known::Denied { .. });
        !self.kinds.is_empty() && self.kinds.values().all(is_listed) && self.store_away.is_none()
    }

    /// For people, a line each.
    pub fn text(&self) -> String {
        let mut text = format!("leading: {}\n", if self.leading { "yes" } else { "no" });
        let mut line = |line: std::fmt::Arguments<'_>| {
            // A String takes everything.
            let _ = writeln!(text, "{line}");
        };
        for (kind, KindProgress { objects, known }) in &self.kinds {
            match known {
                Known::Listed => line(format_args!("{}: {objects}", kind.as_str())),
                Known::Not { reason: None } => line(format_args!("{}: not listed yet", kind.as_str())),
                Known::Not { reason: Some(reason) } => {
                    line(format_args!("{}: not listed: {reason}", kind.as_str()));
                }
                Known::Denied { reason } => line(format_args!("{}: not read: {reason}", kind.as_str())),
                Known::Lost { reason } => line(format_args!("{}: {objects}, lost: {reason}", kind.as_str())),
            }
        }
        line(format_args!("pending: {}", self.pending));
        match &self.store_away {
            None => line(format_args!("store: at revision {}", self.revision)),
            Some(reason) => line(format_args!("store: away: {reason}")),
        }
        if let Some(refusal) = &self.refusal {
            line(format_args!("store: {refusal}"));
        }
        if self.held > 0 {
            line(format_args!("held: {} removals, until `flipgate confirm`", self.held));
        }
        line(format_args!("problems: {} errors, {} warnings", self.errors, self.warnings));
        text
    }
}
