//! `rewrite`: vulcand's, on the full URL.

use super::is_path_byte;
use crate::expr::Pattern;
use crate::model::fields::{Fields, quote};
use crate::model::template::{Part, Replacement};
use serde_json::{Map, Value};

/// `{"Regexp","Replacement","RewriteBody","Redirect","PathOnly"}` on the full URL `scheme://host/target`, or on its path.
/// The request's text is never evaluated, whatever it contains.
#[derive(Debug, Clone, PartialEq)]
pub struct RewriteSpec {
    /// Searched anywhere in the URL; every match is replaced.
    pub regexp: Pattern,
    /// `$1`, `${name}`, `$$`; its own text has only bytes that may stand in a URL.
    pub replacement: Replacement,
    /// Answer 302 with the new URL instead of forwarding.
    pub redirect: bool,
    /// `PathOnly` (new): searched in the path alone; scheme, host and query stay, and what is replaced may add to the
    /// query. Default false.
    pub path_only: bool,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<RewriteSpec> {
    let regexp = fields.required_text("Regexp", "a regular expression on `scheme://host/target` is expected");
    let regexp = regexp.and_then(|text| match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            fields.error("Regexp", format!("is {error}"));
            None
        }
    });
    let text = fields.text_or_empty("Replacement").unwrap_or_default();
    let redirect = fields.boolean("Redirect").unwrap_or(false);
    let path_only = fields.boolean("PathOnly").unwrap_or(false);
    fields.inert(&["RewriteBody"]);
    if text.contains("{{") {
        fields.error("Replacement", "has `{{`, but templates are never evaluated; `$1` and `${name}` are");
    }
    let regexp = regexp?;
    let replacement = Replacement::parse(text, regexp.group_count(), |name| regexp.has_group(name));
    let replacement = match replacement {
        Ok(replacement) => replacement,
        Err(error) => {
            fields.error("Replacement", format!("{} {error}", quote(text)));
            return None;
        }
    };
    let is_url = |part: &Part| match part {
        Part::Text(text) => text.bytes().all(|byte| is_path_byte(byte) || b"?\"{|}^[]".contains(&byte)),
        Part::Group(_) | Part::Named(_) => true,
    };
    if !replacement.parts().iter().all(is_url) {
        fields.error("Replacement", format!("is {}; a URL has only visible ASCII characters", quote(text)));
    }
    Some(RewriteSpec { regexp, replacement, redirect, path_only })
}

impl RewriteSpec {
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        value.insert("Regexp".into(), self.regexp.as_str().into());
        value.insert("Replacement".into(), self.replacement.text().into());
        if self.redirect {
            value.insert("Redirect".into(), true.into());
        }
        if self.path_only {
            value.insert("PathOnly".into(), true.into());
        }
        value
    }
}
