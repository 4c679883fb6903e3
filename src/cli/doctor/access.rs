//! What the registrar has to be allowed in Kubernetes, and the manifest that allows what is missing.

use super::report::{Check, Grade};
use crate::config::RegistrarSettings;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One thing that one may do with objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Right {
    /// What it is needed for.
    pub(super) need: Need,
    /// API group; empty: the core's.
    pub(super) group: &'static str,
    /// `services`
    pub(super) resource: &'static str,
    /// `status`, or empty.
    pub(super) subresource: &'static str,
    /// `list`
    pub(super) verb: &'static str,
    /// In which namespace; empty: in all.
    pub(super) namespace: Box<str>,
    /// Of one object; empty: of all.
    pub(super) name: Box<str>,
}

/// What a right is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Following pods, Services and Ingresses.
    Follow,
    /// Being one of several.
    Lead,
    /// `--write-status`
    Status,
    /// Certificates and passwords of Ingresses.
    Secrets,
    /// Telling users with Events on their objects.
    Tell,
}

impl Need {
    /// What is lacking without it, if the rest goes on.
    fn lacking(self) -> Option<&'static str> {
        match self {
            Self::Follow | Self::Lead | Self::Status => None,
            Self::Secrets => Some("certificates and passwords of Ingresses are not read"),
            Self::Tell => Some("Events do not tell users what is wrong"),
        }
    }
}

impl Right {
    /// `ingresses/status`
    fn full_resource(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

/// `list services`, `get leases (coordination.k8s.io) in namespace edge`
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.full_resource())?;
        if !self.group.is_empty() {
            write!(f, " ({})", self.group)?;
        }
        if self.namespace.is_empty() { Ok(()) } else { write!(f, " in namespace {}", self.namespace) }
    }
}

/// All that a registrar with these settings needs, its lease in `lease_namespace`.
pub(super) fn rights(settings: &RegistrarSettings, lease_namespace: &str) -> Vec<Right> {
    use Need::{Follow, Lead, Secrets, Status, Tell};
    const NETWORKING: &str = "networking.k8s.io";
    let follow: &[&str] = &["list", "watch"];
    let mut wanted: Vec<(Need, &str, &str, &str, &[&str])> = vec![
        (Follow, "", "services", "", follow),
        (Follow, "", "pods", "", follow),
        (Follow, "discovery.k8s.io", "endpointslices", "", follow),
        (Tell, "events.k8s.io", "events", "", &["create", "patch"]),
    ];
    if !settings.ingress_classes.is_empty() {
        wanted.push((Follow, NETWORKING, "ingresses", "", follow));
        wanted.push((Follow, NETWORKING, "ingressclasses", "", follow));
        wanted.push((Secrets, "", "secrets", "", follow));
    }
    if !settings.write_status.is_empty() {
        wanted.push((Status, NETWORKING, "ingresses", "status", &["patch"]));
    }
    let all = [String::new()];
    let namespaces = if settings.namespaces.is_empty() { &all } else { settings.namespaces.as_slice() };
    let mut rights = Vec::new();
    for (need, group, resource, subresource, verbs) in wanted {
        // Classes belong to no namespace.
        let namespaces = if resource == "ingressclasses" { &all } else { namespaces };
        for (namespace, verb) in namespaces.iter().flat_map(|it| verbs.iter().map(move |verb| (it, *verb))) {
            let (namespace, name) = (namespace.as_str().into(), "".into());
            rights.push(Right { need, group, resource, subresource, verb, namespace, name });
        }
    }
    for (verb, name) in
        [("get", settings.lease_name.as_str()), ("create", ""), ("update", &settings.lease_name)]
    {
        let (group, resource, subresource) = ("coordination.k8s.io", "leases", "");
        let (namespace, name) = (lease_namespace.into(), name.into());
        rights.push(Right { need: Lead, group, resource, subresource, verb, namespace, name });
    }
    rights
}

/// Judges what one may do.
pub(super) fn judge(user: &str, missing: &[Right]) -> Check {
    let grade = match (missing.is_empty(), missing.iter().all(|right| right.need.lacking().is_some())) {
        (true, _) => Grade::Ok,
        (false, true) => Grade::Warning,
        (false, false) => Grade::Failed,
    };
    let named = missing.iter().map(Right::to_string).collect::<Vec<_>>();
    let detail = match grade {
        Grade::Ok => format!("{user} may do all that the registrar needs"),
        Grade::Warning => {
            let mut lacking = missing.iter().filter_map(|right| right.need.lacking()).collect::<Vec<_>>();
            lacking.dedup();
            format!("{user} may not {}: {}", named.join(", "), lacking.join(", "))
        }
        _ => format!("{user} may not {}, which the registrar needs", named.join(", ")),
    };
    let check = Check::new(grade, "permissions", detail).fact("missing", json!(named));
    match grade {
        Grade::Ok => check,
        _ => check.advise(format!(
            "config/kubernetes/rbac.yaml makes service accounts with these rights; for {user} this allows what is \
             missing:\n{}",
            manifest(user, missing)
        )),
    }
}

/// Roles with the missing rights, bound to a user or service account, as YAML.
fn manifest(user: &str, missing: &[Right]) -> String {
    let mut places: BTreeMap<&str, Vec<&Right>> = BTreeMap::new();
    for right in missing {
        places.entry(&right.namespace).or_default().push(right);
    }
    let roles = places.iter().map(|(namespace, rights)| role(user, namespace, rights)).collect::<Vec<_>>();
    roles.join("---\n").trim_end().to_owned()
}

/// A role and its binding, in a namespace or for all.
fn role(user: &str, namespace: &str, rights: &[&Right]) -> String {
    let mut verbs: BTreeMap<(&str, String, &str), BTreeSet<&str>> = BTreeMap::new();
    for right in rights {
        verbs.entry((right.group, right.full_resource(), &right.name)).or_default().insert(right.verb);
    }
    let rule = |((group, resource, name), verbs): (&(&str, String, &str), &BTreeSet<&str>)| {
        let names =
            if name.is_empty() { String::new() } else { format!("resourceNames: [{}], ", quoted(name)) };
        let verbs = verbs.iter().copied().collect::<Vec<_>>().join(", ");
        format!("- {{apiGroups: [\"{group}\"], resources: [{resource}], {names}verbs: [{verbs}]}}\n")
    };
    let rules: String = verbs.iter().map(rule).collect();
    let (kind, place) = match namespace {
        "" => ("Cluster", String::new()),
        _ => ("", format!(", namespace: {}", quoted(namespace))),
    };
    let api = "apiVersion: rbac.authorization.k8s.io/v1\n";
    let name = "flipgate-registrar-more";
    let metadata = format!("metadata: {{name: {name}{place}}}\n");
    format!(
        "{api}kind: {kind}Role\n{metadata}rules:\n{rules}---\n{api}kind: {kind}RoleBinding\n{metadata}roleRef: \
         {{apiGroup: rbac.authorization.k8s.io, kind: {kind}Role, name: {name}}}\nsubjects: [{}]\n",
        subject(user)
    )
}

fn subject(user: &str) -> String {
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => {
            format!("{{kind: ServiceAccount, namespace: {}, name: {}}}", quoted(namespace), quoted(name))
        }
        None => format!("{{kind: User, apiGroup: rbac.authorization.k8s.io, name: {}}}", quoted(user)),
    }
}

/// A string of JSON is one of YAML.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Partial, Setting};

    fn settings(flags: &[(&str, &str)]) -> RegistrarSettings {
        let mut partial = Partial::default();
        for (flag, value) in flags {
            partial.set(Setting::of(flag).unwrap(), *value);
        }
        Config::resolve(partial, |_| None, None).unwrap().registrar
    }

    const INGRESSES: [(&str, &str); 2] = [("ingress-class", "flipgate"), ("write-status", "192.0.2.7")];

    fn missing(wanted: impl Fn(&Right) -> bool) -> Vec<Right> {
        rights(&settings(&INGRESSES), "edge").into_iter().filter(|right| wanted(right)).collect()
    }

    #[test]
    fn what_is_needed_follows_from_the_settings() {
        let check = |flags: &[(&str, &str)], count, present: &[&str], absent: &[&str]| {
            let all = rights(&settings(flags), "edge").iter().map(Right::to_string).collect::<Vec<_>>();
            assert_eq!(all.len(), count, "{all:?}");
            assert!(present.iter().all(|one| all.iter().any(|right| right == one)), "{all:?}");
            assert!(!absent.iter().any(|part| all.iter().any(|right| right.contains(part))), "{all:?}");
        };
        let lease = "update leases (coordination.k8s.io) in namespace edge";
        check(&[], 11, &["watch services", "list pods", lease], &["ingress", "secrets", "get pods"]);
        check(
            &INGRESSES[..1],
            17,
            &["list ingressclasses (networking.k8s.io)", "watch secrets"],
            &["status"],
        );
        check(&INGRESSES, 18, &["patch ingresses/status (networking.k8s.io)"], &[]);
        check(
            &[INGRESSES[0], ("namespace", "shop"), ("namespace", "blog")],
            29,
            &["list ingressclasses (networking.k8s.io)", "list pods in namespace blog", lease],
            &["list ingressclasses (networking.k8s.io) in"],
        );
    }

    #[test]
    fn some_rights_can_be_done_without() {
        let check = |missing: &[Right], grade, detail: &str| {
            let found = judge("ann", missing);
            assert_eq!((found.grade, found.detail.as_str()), (grade, detail));
        };
        check(&[], Grade::Ok, "ann may do all that the registrar needs");
        check(
            &missing(|right| right.need == Need::Secrets || right.group == "events.k8s.io"),
            Grade::Warning,
            "ann may not create events (events.k8s.io), patch events (events.k8s.io), list secrets, watch secrets: \
             Events do not tell users what is wrong, certificates and passwords of Ingresses are not read",
        );
        check(
            &missing(|right| right.verb == "update" || right.need == Need::Secrets),
            Grade::Failed,
            "ann may not list secrets, watch secrets, update leases (coordination.k8s.io) in namespace edge, which \
             the registrar needs",
        );
    }

    #[test]
    fn what_is_missing_comes_as_a_manifest() {
        let missing = missing(|right| {
            right.resource == "services" || right.need == Need::Lead || right.subresource == "status"
        });
        let found = judge("system:serviceaccount:edge:registrar", &missing);
        let expected = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: flipgate-registrar-more}
rules:
- {apiGroups: [\"\"], resources: [services], verbs: [list, watch]}
- {apiGroups: [\"networking.k8s.io\"], resources: [ingresses/status], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: flipgate-registrar-more}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: flipgate-registrar-more}
subjects: [{kind: ServiceAccount, namespace: \"edge\", name: \"registrar\"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: flipgate-registrar-more, namespace: \"edge\"}
rules:
- {apiGroups: [\"coordination.k8s.io\"], resources: [leases], verbs: [create]}
- {apiGroups: [\"coordination.k8s.io\"], resources: [leases], resourceNames: [\"flipgate-registrar\"], verbs: [get, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: flipgate-registrar-more, namespace: \"edge\"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: flipgate-registrar-more}
subjects: [{kind: ServiceAccount, namespace: \"edge\", name: \"registrar\"}]";
        assert_eq!(found.advice[0].split_once('\n').unwrap().1, expected);
        assert!(subject("ann\": x").contains(r#"name: "ann\": x""#));
    }
}
