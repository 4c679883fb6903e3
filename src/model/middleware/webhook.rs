//! Calls that are made when something happened.

use super::content::{FieldList, body_to_value, pairs_to_value, read_body, read_fields, read_pairs};
use crate::model::duration;
use crate::model::fields::{Fields, quote};
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// How long a call may take unless it says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// `{"URL","Method","Headers","Form","Body","Timeout"}`
#[derive(Clone, PartialEq)]
pub struct Webhook {
    /// `URL`: `http` or `https`.
    pub url: http::Uri,
    /// `Method`: default POST.
    pub method: http::Method,
    /// `Headers`.
    pub fields: FieldList,
    /// `Form`: what is sent as `application/x-www-form-urlencoded`, before any body.
    pub form: FieldList,
    /// `Body`.
    pub body: Box<[u8]>,
    /// `Timeout` (new): from the call to its answer's head; 5 seconds unless it is given, at most 60.
    pub timeout: Duration,
}

impl fmt::Debug for Webhook {
    /// What it sends may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.url)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<Webhook> {
    let method = fields.text("Method").unwrap_or("POST");
    let method = match http::Method::from_bytes(method.as_bytes()) {
        Ok(method) if method != http::Method::CONNECT => method,
        _ => {
            fields.error("Method", format!("is {}; a method is expected, like POST", quote(method)));
            http::Method::POST
        }
    };
    let headers = read_fields(fields, "Headers");
    let form = read_pairs(fields, "Form");
    let body = read_body(fields, "Body").unwrap_or_default();
    let timeout = fields.duration("Timeout", TIMEOUT_MAX).unwrap_or(TIMEOUT_DEFAULT);
    let text = fields.required_text("URL", "an address is expected, like `http://hooks.example/breaker`")?;
    let Some(url) = read_url(text) else {
        let reason = "is no address: `http://` or `https://`, a host and a path are expected";
        fields.error("URL", reason);
        return None;
    };
    Some(Webhook { url, method, fields: headers, form, body, timeout })
}

/// An absolute URL of `http` or `https` without a user's name.
pub(super) fn read_url(text: &str) -> Option<http::Uri> {
    let url: http::Uri = text.parse().ok()?;
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    let named = url.host().is_some_and(|host| !host.is_empty());
    let plain = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (known && named && plain).then_some(url)
}

impl Webhook {
    /// What is sent, and its type where the form decides it.
    pub fn content(&self) -> (Vec<u8>, Option<&'static str>) {
        if self.form.is_empty() {
            return (self.body.to_vec(), None);
        }
        let pairs = self.form.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        let text = pairs.collect::<Vec<_>>().join("&");
        (text.into_bytes(), Some("application/x-www-form-urlencoded"))
    }

    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        value.insert("URL".into(), self.url.to_string().into());
        value.insert("Method".into(), self.method.as_str().into());
        for (name, pairs) in [("Headers", &self.fields), ("Form", &self.form)] {
            if !pairs.is_empty() {
                value.insert(name.into(), pairs_to_value(pairs));
            }
        }
        if !self.body.is_empty() {
            value.insert("Body".into(), body_to_value(&self.body));
        }
        if self.timeout != TIMEOUT_DEFAULT {
            value.insert("Timeout".into(), duration::format(self.timeout).into());
        }
        value
    }
}

/// As forms are encoded.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(byte.into()),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        assert_eq!(encode("a b&c=\u{e4}*%"), "a+b%26c%3D%C3%A4*%25");
    }
}
