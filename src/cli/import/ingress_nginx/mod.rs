//! `flipgate import ingress-nginx`: what would become of everybody's Ingresses, before anything moves.

mod cluster;
mod configmap;
mod report;
mod weigh;

use super::{Writing, finish};
use crate::cli::context::{Context, Exit};
use crate::cli::flags::{ClusterFlags, TargetFlags, access};
use crate::cli::plan::plan;
use crate::cli::target::objects;
use crate::config::RegistrarSettings;
use crate::kubernetes::{Name, connect};
use crate::registrar::convert::ingress::Support;
use crate::registrar::convert::{Classes, Remit};
use anyhow::anyhow;
use cluster::Cluster;
use report::Report;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

/// The class whose Ingresses are ingress-nginx's.
const CLASS: &str = "nginx";

/// What becomes of Ingresses that ingress-nginx serves
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate import ingress-nginx --dry-run                            the cluster that kubectl is pointed at
  flipgate import ingress-nginx --dry-run --namespace shop --output json
  flipgate import ingress-nginx --dry-run --file manifests/          without a cluster
  kubectl get ingress,service,configmap -A -o yaml | flipgate import ingress-nginx --dry-run --file -

Says of each Ingress which frontends, backends and hosts it becomes, of each annotation whether it is carried over, partly \
or not, and of each key of the ConfigMap what corresponds to it. Services, Secrets and EndpointSlices that \
Ingresses need have to be among the manifests. The conversion is that of `flipgate registrar`, which \
follows the cluster; whoever goes on without a registrar may --write the objects to a store as their own, with the \
servers that there are now. Exits with 1 if anything cannot be carried over.")]
pub(super) struct IngressNginx {
    /// Manifests in place of a cluster; `-` is standard input (repeatable)
    #[arg(long, value_name = "FILE|DIR", conflicts_with_all = ["kubeconfig", "kube-context"])]
    file: Vec<PathBuf>,
    /// ingress-nginx's own settings
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "ingress-nginx/ingress-nginx-controller")]
    configmap: FullName,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(flatten)]
    target: TargetFlags,
}

#[derive(Debug, Clone)]
struct FullName(Name);

impl FromStr for FullName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if ![namespace, name].contains(&"") && !name.contains('/') => {
                Ok(Self(Name::new(namespace, name)))
            }
            _ => Err("a namespace and a name are expected, with a slash between them".to_owned()),
        }
    }
}

impl IngressNginx {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let settings = self.cluster.settings(context)?;
        let cluster = self.gather(context, &settings).await?;
        for remark in &cluster.remarks {
            context.note(format_args!("warning: {remark}"));
        }
        let weighed = weigh::weigh(&cluster, &remit(&settings));
        let data = cluster.configmaps.get(&self.configmap.0);
        let keys = data.map(configmap::report).unwrap_or_default();
        let is_whole = weighed.is_whole()
            && cluster.remarks.is_empty()
            && !keys.iter().any(|row| row.support == Some(Support::No));
        let seal = self.target.seal_keys(context)?;
        let mut documents = weighed.documents.clone();
        let is_sealed = !seal.is_empty() || settings.plain_keys;
        if !is_sealed {
            documents.retain(|key, _| !weighed.certificates.contains_key(key));
        }
        let named = self.target.is_given() || self.target.store_named(context)?;
        let target = if named { Some(context.target(&self.target)?) } else { None };
        let stored = match &target {
            Some(target) => objects(target.list().await?).0,
            None => BTreeMap::new(),
        };
        let plan = plan(&documents, &stored, false, &seal)?;
        let report = Report {
            weighed: &weighed,
            configmap: (&self.configmap.0, data.is_some(), &keys),
            changes: target.as_ref().map(|target| (target, &plan)),
        };
        report.print(context)?;
        if !is_sealed && !weighed.certificates.is_empty() && named {
            context.note(
                "warning: hosts with certificates are left out, since there is no seal key: give --seal-key-file, or \
                 --plain-keys to store them readable",
            );
        }
        if weighed.ingresses.is_empty() {
            context.note("there is nothing to import");
            return Ok(Exit::No);
        }
        finish(context, &plan, target.as_ref(), self.writing, if is_whole { Exit::Done } else { Exit::No })
            .await
    }

    async fn gather(
        &self,
        context: &mut Context<'_, '_>,
        settings: &RegistrarSettings,
    ) -> anyhow::Result<Cluster> {
        let namespaces = settings.namespaces.clone();
        if !self.file.is_empty() {
            return Cluster::from_files(context, &self.file, namespaces);
        }
        let client = connect(&access(settings))
            .await
            .map_err(|error| anyhow!("{error}, or name manifests with --file"))?;
        Cluster::from_api(&client, namespaces, &self.configmap.0).await
    }
}

/// Of the classes that are named, else of ingress-nginx's.
fn remit(settings: &RegistrarSettings) -> Remit {
    let classes = match settings.ingress_classes.as_slice() {
        [] => Classes::new([CLASS]),
        named => Classes::new(named.iter().map(String::as_str)),
    };
    let hosts = settings.hosts.iter().map(|(namespace, host)| (&**namespace, &**host)).collect();
    Remit { classes, hosts }
}
