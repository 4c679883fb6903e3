//! How a flip comes out.

use serde_json::{Value, json};

/// How it came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was changed, and why.
    Refused(String),
    /// It is written and safe (or nobody is there), and its record is closed or left to the proxies to close.
    Done {
        /// The revision of the write.
        revision: u64,
    },
    /// It is written, and not safe in time; who and what is missing.
    NotSafe {
        /// The revision of the write.
        revision: u64,
        /// For people.
        reason: String,
    },
    /// The new side was worse, and the values before are written again.
    RolledBack(String),
    /// Another flip or a rollback took its targets on before it was safe.
    Superseded {
        /// The revision of the write.
        revision: u64,
        /// For people.
        reason: String,
    },
}

impl Outcome {
    /// As in `{"event":"end","outcome":...}`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Done { .. } => "done",
            Self::NotSafe { .. } => "notSafe",
            Self::RolledBack(_) => "rolledBack",
            Self::Superseded { .. } => "superseded",
        }
    }

    /// What is to be said of it beside what was told on the way.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Refused(reason) => Some(format!("refused: {reason}")),
            Self::NotSafe { revision, reason } => {
                Some(format!("written at revision {revision}, but not yet safe: {reason}"))
            }
            Self::Superseded { revision, reason } => {
                Some(format!("written at revision {revision}, and not waited for any longer: {reason}"))
            }
            Self::Done { .. } | Self::RolledBack(_) => None,
        }
    }

    /// For programs; the last line of a flip.
    pub fn to_json(&self, flip: &str) -> Value {
        let (revision, reason) = match self {
            Self::Refused(reason) | Self::RolledBack(reason) => (None, Some(reason)),
            Self::Done { revision } => (Some(revision), None),
            Self::NotSafe { revision, reason } | Self::Superseded { revision, reason } => {
                (Some(revision), Some(reason))
            }
        };
        json!({
            "event": "end", "flip": flip, "outcome": self.as_str(), "revision": revision, "reason": reason,
        })
    }
}
