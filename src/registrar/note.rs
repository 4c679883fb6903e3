//! What the author of one object must know.

use super::unit::Source;
use crate::model::Severity;
use serde_json::{Value, json};

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

impl Note {
    /// For people, in one sentence without the object: `nginx.ingress.kubernetes.io/x is not known`.
    pub fn sentence(&self) -> String {
        match &*self.field {
            "" => self.reason.to_string(),
            field => format!("{field} {}", self.reason),
        }
    }

    /// Whether the object, or the part of it that this is about, is not in the store.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Whether it is about a key in the store that somebody else has: another hand, or an older object.
    pub(super) fn is_about_a_held_key(&self) -> bool {
        ["is held by ", "is wanted "].iter().any(|said| self.reason.starts_with(said))
    }
}

/// As `GET /problems` of the registrar answers: `{"problems": [{"about", "field", "reason", "severity"}]}`, errors first,
/// then by what they are about.
pub fn problems<'n>(notes: impl IntoIterator<Item = &'n Note>) -> Value {
    let mut notes: Vec<&Note> = notes.into_iter().collect();
    notes.sort_by_key(|note| (std::cmp::Reverse(note.severity), *note));
    let one = |note: &Note| {
        let Note { about, field, reason, severity } = note;
        json!({ "about": about.to_string(), "field": field, "reason": reason, "severity": severity })
    };
    json!({ "problems": notes.into_iter().map(one).collect::<Vec<Value>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::Name;

    fn note(name: &str, reason: &str, severity: Severity) -> Note {
        let about = Source::Ingress(Name::new("shop", name));
        Note { about, field: "spec".into(), reason: reason.into(), severity }
    }

    #[test]
    fn problems_are_listed_errors_first() {
        let notes = [note("a", "is odd", Severity::Warning), note("b", "is bad", Severity::Error)];
        assert_eq!(
            problems(&notes).to_string(),
            r#"{"problems":[{"about":"ingress/shop/b","field":"spec","reason":"is bad","severity":"error"},"#
                .to_owned()
                + r#"{"about":"ingress/shop/a","field":"spec","reason":"is odd","severity":"warning"}]}"#
        );
    }
}
