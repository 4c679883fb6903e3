//! A descriptor as a client sends it. Names are read without regard to case, as Go does; everything that is wrong is
//! said at once.

mod names;
mod parts;
mod podspec;
mod times;

use super::{Descriptor, Wrong};
use crate::model::Strictness;
use crate::model::fields::{Fields, Report, not_one_of};
use parts::Health;
use podspec::Purpose;
use serde_json::{Map, Value};

/// Longest descriptor, in bytes.
pub const BYTES_MAX: usize = 1024 * 1024;
/// Most pods of one version.
pub const REPLICAS_MAX: u32 = 1_000;
/// The one kind of deployment.
const BLUE_GREEN: &str = "blue-green";

/// Fields of Amdatu's that are kept and have no effect.
const KEPT: [&str; 7] = [
    "email",
    "webhooks",
    "useExternalHealthCheck",
    "externalHealthCheckPath",
    "readinessPort",
    "deployedVersion",
    "deploymentTs",
];

pub(super) fn read(text: &[u8]) -> Result<Descriptor, Vec<Wrong>> {
    let refuse = |reason: String| Err(vec![Wrong { field: String::new(), reason }]);
    if text.len() > BYTES_MAX {
        return refuse(format!("has {} bytes; at most {BYTES_MAX} are read", text.len()));
    }
    let value: Value = match serde_json::from_slice(text) {
        Ok(value) => value,
        Err(error) => return refuse(format!("is not JSON: {error}")),
    };
    let report = Report::new(Strictness::Written);
    let descriptor = Fields::read(&report, "", &value, descriptor).flatten();
    // Nobody reads warnings of an API: what is doubtful is wrong here.
    let wrong = |finding: crate::model::Finding| Wrong { field: finding.field, reason: finding.reason };
    let wrong: Vec<Wrong> = report.into_findings().into_iter().map(wrong).collect();
    match descriptor.filter(|_| wrong.is_empty()) {
        Some(descriptor) => Ok(descriptor),
        None if wrong.is_empty() => refuse("cannot be read".to_owned()),
        None => Err(wrong),
    }
}

/// None: something that is reported is missing.
fn descriptor(fields: &mut Fields<'_>) -> Option<Descriptor> {
    let deployment_type = deployment_type(fields);
    let namespace = names::namespace(fields);
    let app_name = names::app(fields);
    let new_version = names::version(fields, app_name.as_deref());
    let replicas = replicas(fields);
    let podspec = podspec(fields, Purpose::Version);
    let frontend = names::host(fields, "frontend");
    let redirect_www = redirect_www(fields, frontend.as_deref());
    let Health { use_health_check, path, port, kind, ignore } = parts::health(fields);
    fields.satisfied(&["password"]);
    if fields.value("vulcanFrontend").is_some() {
        fields.error(
            "vulcanFrontend",
            "is of the deployer for vulcand: `frontend` with the host is expected in its place",
        );
    }
    Some(Descriptor {
        id: fields.text("id").unwrap_or_default().to_owned(),
        created: fields.text("created").unwrap_or_default().to_owned(),
        last_modified: fields.text("lastModified").unwrap_or_default().to_owned(),
        tls_secret_name: names::secret(fields, "tlsSecretName"),
        environment: parts::environment(fields),
        use_compression: fields.boolean("useCompression").unwrap_or(false),
        use_sticky_sessions: fields.boolean("useStickySessions").unwrap_or(false),
        addition_http_headers: parts::headers(fields),
        flip: parts::flip(fields, replicas),
        hooks: parts::hooks(fields),
        timeouts: times::timeouts(fields),
        kept: kept(fields),
        use_health_check,
        health_check_path: path,
        health_check_port: port,
        health_check_type: kind,
        ignore_health_check: ignore,
        frontend,
        redirect_www,
        deployment_type,
        namespace,
        replicas,
        app_name: app_name?,
        new_version: new_version?,
        podspec: podspec?,
    })
}

fn deployment_type(fields: &mut Fields<'_>) -> String {
    if let Some(other) = fields.text("deploymentType").filter(|text| *text != BLUE_GREEN) {
        fields.error("deploymentType", not_one_of(other, &[BLUE_GREEN]));
    }
    BLUE_GREEN.to_owned()
}

fn replicas(fields: &mut Fields<'_>) -> u32 {
    let number = fields.integer("replicas", i64::MIN..=i64::MAX).unwrap_or(1).max(1);
    match u32::try_from(number).ok().filter(|number| *number <= REPLICAS_MAX) {
        Some(number) => number,
        None => {
            fields.error("replicas", format!("is {number}; at most {REPLICAS_MAX} are allowed"));
            1
        }
    }
}

fn redirect_www(fields: &mut Fields<'_>, host: Option<&str>) -> bool {
    let asked = fields.boolean("redirectWww").unwrap_or(false);
    let given = fields.value("frontend").is_some_and(|value| value != "");
    match host {
        _ if !asked => {}
        None if given => {}
        None => {
            fields.error("redirectWww", "stands without `frontend`: the host to lead to is expected there")
        }
        Some(host) if host.starts_with("www.") => {
            let reason = "leads from `www.` to the host, which begins with `www.` itself: the host without it is \
                          expected in `frontend`";
            fields.error("redirectWww", reason);
        }
        Some(host) if host.len() + "www.".len() > names::HOST_BYTES_MAX => {
            fields
                .error("redirectWww", "leaves no room for `www.`: a shorter host is expected in `frontend`");
        }
        Some(_) => {}
    }
    asked
}

/// The PodSpec of an object that is being read, in its field `podspec`.
fn podspec(fields: &mut Fields<'_>, purpose: Purpose) -> Option<Value> {
    match fields.value("podspec") {
        Some(value) => podspec::read(fields.report(), &fields.path_of("podspec"), value, purpose),
        None => {
            fields.error("podspec", "is missing: a PodSpec of Kubernetes is expected, with `containers`");
            None
        }
    }
}

fn kept(fields: &mut Fields<'_>) -> Map<String, Value> {
    let mut kept = Map::new();
    for name in KEPT {
        if let Some(value) = fields.value(name) {
            kept.insert(name.to_owned(), value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests;
