//! Names that Kubernetes and the table have to take.

use crate::model::fields::{Fields, quote};
use crate::model::is_host_name;

/// Longest host.
pub(super) const HOST_BYTES_MAX: usize = 253;
/// Longest name of an object, as its pods bear it in a label.
const LABEL_BYTES_MAX: usize = 63;
/// Room that is kept for a version that is counted up.
const NUMBER_BYTES_MAX: usize = 10;

/// `default` where there is none.
pub(super) fn namespace(fields: &mut Fields<'_>) -> String {
    let namespace = fields.text("namespace").unwrap_or("default");
    if !is_label(namespace) {
        let reason = "a DNS label is expected: at most 63 lower-case letters, digits and hyphens";
        fields.error("namespace", format!("is {}; {reason}", quote(namespace)));
    }
    namespace.to_owned()
}

/// In lower case, with hyphens for dots and underscores.
pub(super) fn app(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.required_text("appName", "the application's name is expected, like `web`")?;
    let name = hyphenated(text);
    if !is_label(&name) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        let reason = "a DNS label that begins with a letter is expected: at most 63 lower-case letters, digits and \
                      hyphens, none at the end";
        fields.error("appName", format!("is {}; {reason}", quote(text)));
        return None;
    }
    Some(name)
}

/// A label, or `#`. `app`, where it is known, has to fit before it.
pub(super) fn version(fields: &mut Fields<'_>, app: Option<&str>) -> Option<String> {
    let expected = "a version is expected, like `7`, or `#` for the next number";
    let version = fields.required_text("newVersion", expected)?;
    if version != "#" && !is_label(version) {
        let mut reason = format!(
            "is {}; `#` or a DNS label is expected: lower-case letters, digits and hyphens, none at an end",
            quote(version)
        );
        let near = hyphenated(version);
        if is_label(&near) {
            reason.push_str(&format!("; `{near}` is one"));
        }
        fields.error("newVersion", reason);
        return None;
    }
    let length = if version == "#" { NUMBER_BYTES_MAX } else { version.len() };
    if let Some(app) = app.filter(|app| app.len() + 1 + length > LABEL_BYTES_MAX) {
        let has = app.len() + 1 + length;
        let reason = format!(
            "makes a name of {has} characters with `appName` before it; at most {LABEL_BYTES_MAX} are allowed"
        );
        fields.error("newVersion", reason);
    }
    Some(version.to_owned())
}

/// A host in lower case. What is none is reported.
pub(super) fn host(fields: &mut Fields<'_>, name: &'static str) -> Option<String> {
    let text = fields.text(name)?;
    let reason = if text.contains("://") {
        "has a scheme; the host alone is expected"
    } else if text.contains(['/', '?', '#']) {
        "has a path; the host alone is expected"
    } else if text.contains(':') {
        "has a port; the host alone is expected"
    } else if text.contains('*') {
        "is for many hosts; one is expected"
    } else if !is_host_name(text) || text.ends_with('.') {
        "is no host name; labels of letters, digits and hyphens are expected, with dots between them"
    } else {
        return Some(text.to_ascii_lowercase());
    };
    fields.error(name, format!("{} {reason}, like `shop.example`", quote(text)));
    None
}

/// The name of a Secret.
pub(super) fn secret(fields: &mut Fields<'_>, name: &'static str) -> Option<String> {
    let text = fields.text(name)?;
    if text.len() > HOST_BYTES_MAX || !text.split('.').all(is_label) {
        let reason = "the name of a Secret is expected: DNS labels with dots between them";
        fields.error(name, format!("is {}; {reason}", quote(text)));
    }
    Some(text.to_owned())
}

/// Whether Kubernetes takes a variable of this name everywhere.
pub(super) fn is_variable(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let first = name.bytes().next();
    first.is_some_and(|first| !first.is_ascii_digit())
        && name.len() <= HOST_BYTES_MAX
        && name.bytes().all(fits)
}

/// RFC 1123, in lower case.
pub(super) fn is_label(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LABEL_BYTES_MAX).contains(&text.len())
        && text.bytes().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn hyphenated(text: &str) -> String {
    text.to_lowercase().replace(['.', '_'], "-")
}
