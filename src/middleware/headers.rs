//! Edits of header fields.

use super::Outcome;
use crate::message::{Fields, RequestHead, ResponseHead};
use crate::model::HeaderEdits;

pub(super) fn on_request(edits: &HeaderEdits, request: &mut RequestHead) -> Outcome {
    apply(edits, &mut request.fields);
    let host =
        edits.set.iter().rfind(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, value)| value.clone());
    Outcome::Changed { host }
}

pub(super) fn on_response(edits: &HeaderEdits, response: &mut ResponseHead) {
    apply(edits, &mut response.fields);
}

/// Names and values were checked when the middleware was read, so no edit is refused.
fn apply(edits: &HeaderEdits, fields: &mut Fields) {
    for name in &edits.remove {
        fields.remove(name);
    }
    for (name, value) in edits.set.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        let _ = fields.set(name, value.as_bytes());
    }
    for (name, value) in &edits.add {
        let _ = fields.add(name, value.as_bytes());
    }
}
