//! What the registrar has to be allowed in Kubernetes, and the manifest that allows what is missing.

use super::report::{Check, Grade};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One thing that one may do with one kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
}

/// What a right is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Following the cluster, in all namespaces.
    Follow,
    /// Being one of several, in the namespace of the lease.
    Lead,
    /// Telling users with Events.
    Tell,
    /// Certificates of Ingresses.
    Certificates,
    /// `--write-status`
    Status,
}

impl Right {
    /// Whether it is about one namespace only.
    pub(super) fn is_local(&self) -> bool {
        self.need == Need::Lead
    }

    /// `ingresses/status`
    fn full_resource(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

/// `list services`, `patch ingresses/status (networking.k8s.io)`
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.full_resource())?;
        if self.group.is_empty() { Ok(()) } else { write!(f, " ({})", self.group) }
    }
}

/// All that the registrar needs.
pub(super) fn rights(with_status: bool) -> Vec<Right> {
    const ALL: [(Need, &str, &str, &str, &[&str]); 9] = [
        (Need::Follow, "", "services", "", &["list", "watch"]),
        (Need::Follow, "", "pods", "", &["list", "watch"]),
        (Need::Follow, "discovery.k8s.io", "endpointslices", "", &["list", "watch"]),
        (Need::Follow, "networking.k8s.io", "ingresses", "", &["list", "watch"]),
        (Need::Follow, "networking.k8s.io", "ingressclasses", "", &["list", "watch"]),
        (Need::Lead, "coordination.k8s.io", "leases", "", &["get", "create", "update"]),
        (Need::Tell, "events.k8s.io", "events", "", &["create", "patch"]),
        (Need::Certificates, "", "secrets", "", &["list", "watch"]),
        (Need::Status, "networking.k8s.io", "ingresses", "status", &["patch"]),
    ];
    let wanted = ALL.into_iter().filter(|(need, ..)| with_status || *need != Need::Status);
    let each = |(need, group, resource, subresource, verbs): (Need, _, _, _, &'static [&'static str])| {
        verbs.iter().map(move |verb| Right { need, group, resource, subresource, verb })
    };
    wanted.flat_map(each).collect()
}

/// Judges what one may do: `missing` of all rights, the lease's in `namespace`.
pub(super) fn judge(user: &str, namespace: &str, missing: &[Right]) -> Check {
    let is_vital = |right: &&Right| right.need != Need::Certificates;
    let grade = match (missing.is_empty(), missing.iter().any(|right| is_vital(&right))) {
        (true, _) => Grade::Ok,
        (false, false) => Grade::Warning,
        (false, true) => Grade::Failed,
    };
    let named = missing.iter().map(|right| match right.is_local() {
        true => format!("{right} in namespace {namespace}"),
        false => right.to_string(),
    });
    let named = named.collect::<Vec<_>>();
    let detail = match grade {
        Grade::Ok => format!("{user} may do all that the registrar needs"),
        Grade::Warning => {
            format!("{user} may not {}: certificates of Ingresses cannot be read", named.join(", "))
        }
        _ => format!("{user} may not {}, which the registrar needs", named.join(", ")),
    };
    let check = Check::new(grade, "permissions", detail).fact("missing", json!(named));
    match grade {
        Grade::Ok => check,
        _ => check.advise(format!(
            "`kubectl apply -f config/kubernetes/rbac.yaml` makes service accounts with these rights; for {user} this \
             allows what is missing:\n{}",
            manifest(user, namespace, missing)
        )),
    }
}

/// Roles with the missing rights, bound to a user or service account, as YAML.
fn manifest(user: &str, namespace: &str, missing: &[Right]) -> String {
    let (local, wide): (Vec<&Right>, Vec<&Right>) = missing.iter().partition(|right| right.is_local());
    let mut documents = Vec::new();
    if !wide.is_empty() {
        documents.push(role(user, "Cluster", "", &wide));
    }
    if !local.is_empty() {
        documents.push(role(user, "", &format!(", namespace: {}", quoted(namespace)), &local));
    }
    documents.join("---\n").trim_end().to_owned()
}

/// A role and its binding. `kind` is what stands before `Role`.
fn role(user: &str, kind: &str, place: &str, rights: &[&Right]) -> String {
    let mut verbs: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
    for right in rights {
        verbs.entry((right.group, right.full_resource())).or_default().insert(right.verb);
    }
    let rule = |((group, resource), verbs): (&(&str, String), &BTreeSet<&str>)| {
        let verbs = verbs.iter().copied().collect::<Vec<_>>().join(", ");
        format!("- {{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [{verbs}]}}\n")
    };
    let rules: String = verbs.iter().map(rule).collect();
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

    fn of(wanted: impl Fn(&Right) -> bool) -> Vec<Right> {
        rights(true).into_iter().filter(|right| wanted(right)).collect()
    }

    #[test]
    fn only_secrets_can_be_done_without() {
        let check = |missing: &[Right], grade, detail: &str| {
            let found = judge("ann", "edge", missing);
            assert_eq!((found.grade, found.detail.as_str()), (grade, detail));
        };
        check(&[], Grade::Ok, "ann may do all that the registrar needs");
        check(
            &of(|right| right.need == Need::Certificates),
            Grade::Warning,
            "ann may not list secrets, watch secrets: certificates of Ingresses cannot be read",
        );
        check(
            &of(|right| {
                right.verb == "update" || right.resource == "secrets" || right.subresource == "status"
            }),
            Grade::Failed,
            "ann may not update leases (coordination.k8s.io) in namespace edge, list secrets, watch secrets, patch \
             ingresses/status (networking.k8s.io), which the registrar needs",
        );
        assert!(rights(false).iter().all(|right| right.subresource.is_empty()));
    }

    #[test]
    fn what_is_missing_comes_as_a_manifest() {
        let missing =
            of(|right| right.resource == "services" || right.verb == "get" || right.need == Need::Status);
        let found = judge("system:serviceaccount:edge:registrar", "edge", &missing);
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
- {apiGroups: [\"coordination.k8s.io\"], resources: [leases], verbs: [get]}
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
