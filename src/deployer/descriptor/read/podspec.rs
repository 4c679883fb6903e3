//! A PodSpec: its types, what every container needs, and Amdatu's defaults. The rest is the API server's to judge.

use super::names::is_label;
use crate::model::fields::{Report, nearest, quote, show};
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Map, Value, json};
use serde_path_to_error::{Path, Segment};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Most fields of a wrong type that are looked for in one PodSpec.
const TYPES_WRONG_MAX: usize = 32;
/// What a container's port may be.
const PORTS: RangeInclusive<i64> = 1..=65_535;
/// The lists of containers, and whether there has to be one.
const LISTS: [(&str, bool); 2] = [("containers", true), ("initContainers", false)];

/// What the pods are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The version's, which are there for good.
    Version,
    /// A hook's, which end.
    Hook,
}

impl Purpose {
    /// What `restartPolicy` may be; the first is the default.
    fn policies(self) -> &'static [&'static str] {
        match self {
            Self::Version => &["Always"],
            Self::Hook => &["Never", "OnFailure"],
        }
    }
}

/// The PodSpec with its defaults. What is wrong with it is reported; none: it is no object.
pub(super) fn read(report: &Report, path: &str, value: &Value, purpose: Purpose) -> Option<Value> {
    let Value::Object(fields) = value else {
        report.error(path, format!("is {}; a PodSpec of Kubernetes is expected", show(value)));
        return None;
    };
    let mut spec = fields.clone();
    check_types(report, path, value);
    restart(report, path, &mut spec, purpose);
    default(&mut spec, "dnsPolicy", "ClusterFirst");
    let mut names = BTreeSet::new();
    for (list, required) in LISTS {
        let at = format!("{path}.{list}");
        match spec.get_mut(list) {
            Some(Value::Array(items)) if !items.is_empty() => {
                for (index, item) in items.iter_mut().enumerate() {
                    container(report, &format!("{at}[{index}]"), item, &mut names);
                }
            }
            None | Some(Value::Null | Value::Array(_)) if required => {
                report.error(at, "is missing: at least one container is expected, with `name` and `image`");
            }
            // Of another type, which is reported, or none.
            _ => {}
        }
    }
    Some(spec.into())
}

fn restart(report: &Report, path: &str, spec: &mut Map<String, Value>, purpose: Purpose) {
    let policies = purpose.policies();
    if let Some(first) = policies.first() {
        default(spec, "restartPolicy", first);
    }
    if let Some(other) =
        spec.get("restartPolicy").and_then(Value::as_str).filter(|policy| !policies.contains(policy))
    {
        let expected = policies.join("` or `");
        report
            .error(format!("{path}.restartPolicy"), format!("is {}; `{expected}` is expected", quote(other)));
    }
}

/// Sets a text where there is none.
fn default(fields: &mut Map<String, Value>, name: &str, text: &str) {
    let absent = |value: &Value| value.is_null() || value.as_str() == Some("");
    if fields.get(name).is_none_or(absent) {
        fields.insert(name.to_owned(), text.into());
    }
}

fn container(report: &Report, path: &str, container: &mut Value, names: &mut BTreeSet<String>) {
    // Of another type, which is reported.
    let Some(container) = container.as_object_mut() else { return };
    default(container, "imagePullPolicy", "Always");
    let missing =
        |value: Option<&Value>| value.is_none_or(|value| value.is_null() || value.as_str() == Some(""));
    if missing(container.get("image")) {
        report.error(
            format!("{path}.image"),
            "is missing: an image is expected, like `registry.example/web:7`",
        );
    }
    let at = format!("{path}.name");
    match container.get("name").and_then(Value::as_str) {
        _ if missing(container.get("name")) => {
            report.error(at, "is missing: a DNS label is expected, like `web`")
        }
        Some(name) if !is_label(name) => {
            let reason = "a DNS label is expected: at most 63 lower-case letters, digits and hyphens";
            report.error(at, format!("is {}; {reason}", quote(name)));
        }
        Some(name) if !names.insert(name.to_owned()) => {
            report.error(at, format!("is {}, as that of another container; each has its own", quote(name)));
        }
        _ => {}
    }
    let list = container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
    for (index, item) in list.enumerate() {
        port(report, &format!("{path}.ports[{index}]"), item);
    }
}

fn port(report: &Report, path: &str, port: &mut Value) {
    let Some(port) = port.as_object_mut() else { return };
    default(port, "protocol", "TCP");
    let at = format!("{path}.containerPort");
    match port.get("containerPort") {
        None | Some(Value::Null) => report.error(at, "is missing: a port is expected, like 8080"),
        Some(number) if number.as_i64().is_some_and(|number| !PORTS.contains(&number)) => {
            report.error(at, format!("is {number}; from 1 to 65535 is allowed"));
        }
        // Of another type, which is reported.
        Some(_) => {}
    }
}

/// Reports what has a type that Kubernetes does not take there, or a name that it does not know.
fn check_types(report: &Report, path: &str, spec: &Value) {
    let mut left = spec.clone();
    for _ in 0..TYPES_WRONG_MAX {
        match serde_path_to_error::deserialize::<_, PodSpec>(&left) {
            Ok(known) => return unknown(report, path, &left, &json!(known)),
            Err(error) => {
                let place = shown(path, error.path());
                let message = error.inner().to_string();
                let expected = message.rsplit_once("expected ").map(|(_, expected)| kind(expected));
                let Some(found) = take(&mut left, error.path(), expected.unwrap_or_default()) else {
                    return report.error(place, format!("cannot be read: {message}"));
                };
                let reason = match expected {
                    Some(expected) => format!("is {}; {expected} is expected", show(&found)),
                    None => format!("is {}, which Kubernetes does not take here", show(&found)),
                };
                report.error(place, reason);
            }
        }
    }
}

/// What a reader calls a type, in the words of JSON.
fn kind(expected: &str) -> &str {
    match expected {
        "a string" | "string" => "a string",
        "a boolean" | "bool" => "true or false",
        "i32" | "i64" | "u16" | "u32" | "u64" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "an object",
        "Quantity" => "a quantity like \"500m\" or \"1Gi\"",
        "IntOrString" | "int or string" => "a whole number or a string",
        // The name of a type of Kubernetes.
        other if other.starts_with(|first: char| first.is_ascii_uppercase()) => "an object",
        other => other,
    }
}

/// `podspec.containers[0].image`
fn shown(start: &str, path: &Path) -> String {
    let mut shown = start.to_owned();
    for segment in path {
        match segment {
            Segment::Seq { index } => shown.push_str(&format!("[{index}]")),
            Segment::Map { key } => shown.push_str(&format!(".{key}")),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    shown
}

/// Takes the value at a path away, so that what else is wrong is found. None: there is no such place, or what would take
/// it stands there already.
fn take(spec: &mut Value, path: &Path, expected: &str) -> Option<Value> {
    let steps: Vec<&Segment> =
        path.iter().filter(|it| matches!(it, Segment::Seq { .. } | Segment::Map { .. })).collect();
    let (last, before) = steps.split_last()?;
    let mut place = spec;
    for step in before {
        place = match step {
            Segment::Seq { index } => place.get_mut(*index)?,
            Segment::Map { key } => place.get_mut(key)?,
            Segment::Enum { .. } | Segment::Unknown => return None,
        };
    }
    match last {
        Segment::Map { key } => place.as_object_mut()?.remove(key),
        Segment::Seq { index } => {
            // Something else in its place: the others keep their numbers.
            let item = place.get_mut(*index)?;
            let stand_in = match expected {
                "a string" => json!(""),
                "a whole number" | "a number" => json!(0),
                "a list" => json!([]),
                _ => json!({}),
            };
            (*item != stand_in).then(|| std::mem::replace(item, stand_in))
        }
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// Reports fields that were lost on the way through the types, which would never reach the API server.
fn unknown(report: &Report, path: &str, given: &Value, known: &Value) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given {
                let at = format!("{path}.{}", name.chars().take(60).collect::<String>());
                match known.get(name) {
                    Some(known) => unknown(report, &at, value, known),
                    None if says_nothing(value) => {}
                    None => report.error(at, no_field(name)),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                unknown(report, &format!("{path}[{index}]"), given, known);
            }
        }
        _ => {}
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn no_field(name: &str) -> String {
    const COMMON: [&str; 26] = [
        "activeDeadlineSeconds",
        "affinity",
        "args",
        "command",
        "containerPort",
        "containers",
        "dnsPolicy",
        "env",
        "envFrom",
        "image",
        "imagePullPolicy",
        "imagePullSecrets",
        "initContainers",
        "lifecycle",
        "livenessProbe",
        "name",
        "nodeSelector",
        "ports",
        "protocol",
        "readinessProbe",
        "resources",
        "restartPolicy",
        "securityContext",
        "serviceAccountName",
        "volumeMounts",
        "volumes",
    ];
    let reason = "is no field that Kubernetes 1.33 has here";
    match nearest(name, COMMON.into_iter()).filter(|near| *near != name) {
        Some(near) => format!("{reason}; did you mean `{near}`?"),
        None => reason.to_owned(),
    }
}
