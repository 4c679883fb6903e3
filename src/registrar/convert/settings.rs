//! The settings that a Service's annotations give its frontends and backends. Each annotation is put in its field and read
//! as the store reads it; one that makes the object invalid is noted and left out.

use super::Converted;
use super::annotations::{ANNOTATIONS, Annotation, Entry, Given, Part};
use super::form::{Matches, Rule};
use crate::model::{
    Backend, BackendId, Finding, FrontendId, KeyPairSource, Object, ObjectKey, Scheme, Strictness, edit,
};
use crate::registrar::seen::ServicePort;
use crate::registrar::unit::Source;
use serde_json::{Map, Value, json};

/// Values of `appProtocol` that mean HTTP/2 with prior knowledge.
const HTTP2: [&str; 4] = ["kubernetes.io/h2c", "h2c", "http2", "grpc"];
/// Values of `appProtocol` that mean TLS.
const TLS: [&str; 2] = ["https", "kubernetes.io/wss"];

/// A backend as the annotations for a port have it: its value in canonical spelling.
pub(super) fn backend(
    id: &BackendId,
    about: &Source,
    given: &Given<'_>,
    port: &ServicePort,
    converted: &mut Converted,
) -> Map<String, Value> {
    let mut base = json!({ "Type": "http" });
    if port.app_protocol.as_deref().is_some_and(|protocol| HTTP2.contains(&protocol)) {
        base = json!({ "Type": "http", "Settings": { "Protocol": "http2" } });
    }
    let key = ObjectKey::Backend(id.clone());
    match settle(&key, base, about, (given, Part::Backend, Some(port)), converted) {
        (_, Some(object)) => object.to_value().as_object().cloned().unwrap_or_default(),
        (base, None) => base.as_object().cloned().unwrap_or_default(),
    }
}

/// What is spoken to the servers of a port.
pub(super) fn scheme(
    about: &Source,
    given: &Given<'_>,
    port: Option<&ServicePort>,
    converted: &mut Converted,
) -> Scheme {
    let protocol = port.and_then(|port| port.app_protocol.as_deref());
    let usual =
        if protocol.is_some_and(|protocol| TLS.contains(&protocol)) { Scheme::Https } else { Scheme::Http };
    let Some(entry) = given.closest("scheme", port) else { return usual };
    let known = [Scheme::Http, Scheme::Https].into_iter().find(|scheme| scheme.as_str() == entry.text);
    known.unwrap_or_else(|| {
        let reason = format!("is {:?}; `http` or `https` is expected", entry.text);
        converted.warning(about, entry.key, reason);
        usual
    })
}

/// A frontend as the annotations for a port have it; none if its route is no expression.
pub(super) fn frontend(
    id: &FrontendId,
    backend: &BackendId,
    about: &Source,
    (route, given, port): (Entry<'_>, &Given<'_>, Option<&ServicePort>),
    converted: &mut Converted,
) -> Option<Rule> {
    let key = ObjectKey::Frontend(id.clone());
    let base = json!({
        "Type": "http", "BackendId": backend.as_str(), "Route": route.text, "Settings": { "PassHostHeader": true },
    });
    // Nothing but the route can be wrong yet.
    for finding in Object::parse_value(&key, &base, Strictness::Written).findings {
        converted.note(about, route.key, finding.reason.into(), finding.severity);
    }
    let (_, object) = settle(&key, base, about, (given, Part::Frontend, port), converted);
    let Some(Object::Frontend(frontend)) = object else { return None };
    let value = frontend.to_value();
    let mut rule =
        Rule::new(id.clone(), Matches::Expression(frontend.route.text().to_owned()), backend.clone());
    rule.priority = frontend.priority;
    rule.settings = value.get("Settings").and_then(Value::as_object).cloned().unwrap_or_default();
    // What is not written is the default; here that is another one.
    rule.settings.insert("PassHostHeader".into(), frontend.settings.pass_host_header.into());
    let maintenance = value.get("Maintenance");
    rule.further.extend(maintenance.map(|value| ("Maintenance".to_owned(), value.clone())));
    Some(rule)
}

/// `base` with what is given for a part of it, and the object that this is; none if `base` itself is invalid.
fn settle(
    key: &ObjectKey,
    base: Value,
    about: &Source,
    (given, part, port): (&Given<'_>, Part, Option<&ServicePort>),
    converted: &mut Converted,
) -> (Value, Option<Object>) {
    let mut value = base;
    let read = Object::parse_value(key, &value, Strictness::Written);
    let (mut object, mut known) = (read.object, read.findings);
    if object.is_none() {
        return (value, None);
    }
    for annotation in ANNOTATIONS.iter().filter(|annotation| annotation.part == part) {
        let Some(entry) = given.closest(annotation.name, port) else { continue };
        let changed = match annotation.form.read(entry.text) {
            Ok(new) => edit::merge(&value, &nested(annotation.field, new)),
            Err(reason) => {
                converted.warning(about, entry.key, reason);
                continue;
            }
        };
        let read = Object::parse_value(key, &changed, Strictness::Written);
        for finding in read.findings.iter().filter(|finding| !known.contains(finding)) {
            converted.warning(about, entry.key, reason(annotation, finding));
        }
        if is_unfit_key(read.object.as_ref()) {
            let reason =
                "shows a private key, or names a file of the proxies': only a sealed one can be given here";
            converted.warning(about, entry.key, reason);
        } else if read.object.is_some() {
            (value, object, known) = (changed, read.object, read.findings);
        }
    }
    (value, object)
}

/// An object with a value at a path.
fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, name| Map::from_iter([(name.to_owned(), value)]).into())
}

/// A finding as a predicate that follows the annotation's name.
fn reason(annotation: &Annotation, finding: &Finding) -> String {
    let field = match finding.field.strip_prefix(annotation.field) {
        Some("") => return finding.reason.clone(),
        Some(rest) => rest.strip_prefix('.').unwrap_or(rest),
        None => &finding.field,
    };
    format!("would not do: `{field}` {}", finding.reason)
}

/// Whether a key stands there for all to read, or is the proxies' own, with which the author of a Service would pass for
/// them wherever that Service leads.
fn is_unfit_key(object: Option<&Object>) -> bool {
    let Some(Object::Backend(Backend::Http { settings, .. })) = object else { return false };
    matches!(settings.tls.key_pair, Some(KeyPairSource::Plain { .. } | KeyPairSource::Files { .. }))
}
