//! What `flipgate registrar` is told besides the store and the log.

use super::{Layers, on_or_off};
use crate::model::is_host_name;
use std::path::PathBuf;

/// From which cluster, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrarSettings {
    /// A file; absent: where kubectl looks.
    pub kubeconfig: Option<PathBuf>,
    /// Absent: the kubeconfig's current one.
    pub context: Option<String>,
    /// Empty: all.
    pub namespaces: Vec<String>,
    /// Marks the registrar's objects: letters, digits, `.`, `_` and `-`.
    pub cluster: String,
    /// By which pods join a backend.
    pub pod_label: String,
    /// Empty: no Ingress is served.
    pub ingress_classes: Vec<String>,
    /// Namespaces with a host each that is for them; empty: all may have all.
    pub hosts: Vec<(String, String)>,
    /// Whether private keys are written readable where there is no seal key.
    pub plain_keys: bool,
    /// Absent: the registrar's own namespace.
    pub lease_namespace: Option<String>,
    /// Of the Lease.
    pub lease_name: String,
    /// Of the edge; empty: no status is written.
    pub write_status: Vec<String>,
}

impl<E: Fn(&str) -> Option<String>> Layers<E> {
    pub(super) fn registrar(&mut self) -> RegistrarSettings {
        let text = |text: &str| Ok(text.to_owned());
        let classes = self.many("ingress-class", text);
        let classes = classes.iter().flat_map(|classes| classes.split(',')).map(str::trim);
        RegistrarSettings {
            kubeconfig: self.optional("kubeconfig", |text| Ok(PathBuf::from(text))),
            context: self.optional("kube-context", text),
            namespaces: self.many("namespace", kubernetes_name),
            cluster: self.value("cluster", cluster_name),
            pod_label: self.value("pod-label", label_name),
            ingress_classes: classes.filter(|class| !class.is_empty()).map(str::to_owned).collect(),
            hosts: self.many("host-of", host_of_namespace),
            plain_keys: self.value("plain-keys", on_or_off),
            lease_namespace: self.optional("lease-namespace", kubernetes_name),
            lease_name: self.value("lease-name", kubernetes_name),
            write_status: self.many("write-status", text),
        }
    }
}

/// It becomes a part of keys and of the field `Owner`.
fn cluster_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 64 || text.starts_with('.') || !text.chars().all(plain) {
        return Err("is no name of a cluster: up to 64 letters, digits, `.`, `_` and `-` are, not beginning with a dot"
            .to_owned());
    }
    Ok(text.to_owned())
}

/// A namespace or the name of a Lease.
fn kubernetes_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    let ends = |c: char| c.is_ascii_alphanumeric();
    if text.len() > 253 || !text.chars().all(plain) || !text.starts_with(ends) || !text.ends_with(ends) {
        return Err("is no name in Kubernetes: up to 253 small letters, digits, `-` and `.` are, with a letter or digit \
                    at both ends"
            .to_owned());
    }
    Ok(text.to_owned())
}

/// `shop=shop.example`, `shop=*.shop.example`, `edge=*`
fn host_of_namespace(text: &str) -> Result<(String, String), String> {
    let (namespace, host) = text.split_once('=').unwrap_or_default();
    let is_host = host == "*" || is_host_name(host.strip_prefix("*.").unwrap_or(host));
    match kubernetes_name(namespace) {
        Ok(namespace) if is_host => Ok((namespace, host.to_owned())),
        _ => Err("is no namespace with a host: `shop=shop.example`, `shop=*.shop.example` and `edge=*` are"
            .to_owned()),
    }
}

/// `name`, `app.kubernetes.io/name`
fn label_name(text: &str) -> Result<String, String> {
    let name = text.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let ends = |c: char| c.is_ascii_alphanumeric();
    let prefix = text.strip_suffix(name).and_then(|rest| rest.strip_suffix('/')).map(kubernetes_name);
    let is_name =
        name.len() <= 63 && name.chars().all(plain) && name.starts_with(ends) && name.ends_with(ends);
    if !is_name || matches!(prefix, Some(Err(_))) {
        return Err("is no label: `name` and `app.kubernetes.io/name` are".to_owned());
    }
    Ok(text.to_owned())
}
