//! What ingress-nginx looks at, from manifests or from a cluster.

use crate::cli::context::Context;
use crate::cli::value;
use crate::kubernetes::{Name, explain};
use crate::registrar::seen;
use crate::registrar::{Change, World};
use anyhow::{anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::ListParams;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Deepest directory of manifests that is looked into.
const DEPTH_MAX: usize = 16;
/// Most files of a directory.
const FILES_MAX: usize = 10_000;
/// How many objects the API server tells at a time.
const PAGE: u32 = 500;
/// Where an object stands that names no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) world: World,
    /// The keys of ConfigMaps, by their names.
    pub(super) configmaps: BTreeMap<Name, BTreeMap<String, String>>,
    /// What could not be read, a sentence each.
    pub(super) remarks: Vec<String>,
    /// Empty: all.
    namespaces: Vec<String>,
}

impl Cluster {
    /// From manifests: files, directories with files that end in `.yaml`, `.yml` or `.json`, or standard input.
    ///
    /// # Errors
    /// One of them cannot be read, or is neither YAML nor JSON.
    pub(super) fn from_files(
        context: &mut Context<'_, '_>,
        paths: &[PathBuf],
        namespaces: Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut cluster = Self { namespaces, ..Self::default() };
        let mut files = Vec::new();
        for path in paths {
            match path.is_dir() {
                true => walk(path, 0, &mut files)?,
                false => files.push(path.clone()),
            }
        }
        for path in files {
            let name = path.display().to_string();
            for value in value::parse(&name, &context.read(&path)?)? {
                cluster.take(&name, value);
            }
        }
        Ok(cluster)
    }

    /// From an API server; of Secrets only those that Ingresses name.
    ///
    /// # Errors
    /// Ingresses, Services or their endpoints cannot be read.
    pub(super) async fn from_api(
        client: &Client,
        namespaces: Vec<String>,
        configmap: &Name,
    ) -> anyhow::Result<Self> {
        let mut cluster = Self { namespaces, ..Self::default() };
        for ingress in cluster.list::<Ingress>(client).await? {
            cluster.ingress(&ingress);
        }
        for service in cluster.list::<Service>(client).await? {
            cluster.service(&service);
        }
        for slice in cluster.list::<EndpointSlice>(client).await? {
            cluster.slice(&slice);
        }
        match pages::<IngressClass>(&Api::all(client.clone())).await {
            Ok(classes) => classes.iter().for_each(|class| cluster.class(class)),
            Err(error) => cluster.remark("IngressClasses", &error),
        }
        let secrets: BTreeSet<Name> =
            cluster.world.ingresses().flat_map(|ingress| ingress.secrets().collect::<Vec<Name>>()).collect();
        for name in secrets {
            match Api::<Secret>::namespaced(client.clone(), &name.namespace).get_opt(&name.name).await {
                Ok(Some(secret)) => cluster.secret(secret),
                Ok(None) => {}
                Err(error) => cluster.remark(&format!("the Secret {name}"), &error),
            }
        }
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &configmap.namespace);
        match api.get_opt(&configmap.name).await {
            Ok(Some(found)) => cluster.configmap(found),
            Ok(None) => {}
            Err(error) => cluster.remark(&format!("the ConfigMap {configmap}"), &error),
        }
        Ok(cluster)
    }

    /// One object of a file, or a list of them.
    fn take(&mut self, origin: &str, mut object: Value) {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind.ends_with("List")
            && let Some(items) = object.get_mut("items").and_then(Value::as_array_mut)
        {
            for mut item in std::mem::take(items) {
                // Of a list of one kind the items need not say theirs.
                if let Some(fields) = item.as_object_mut().filter(|_| kind != "List") {
                    fields.entry("kind").or_insert_with(|| kind.trim_end_matches("List").into());
                    fields.entry("apiVersion").or_insert_with(|| version.as_str().into());
                }
                self.take(origin, item);
            }
            return;
        }
        let took = match (version.as_str(), kind.as_str()) {
            ("v1", "Service") => read(object).map(|object| self.service(&object)),
            ("v1", "Secret") => read(object).map(|object| self.secret(object)),
            ("v1", "ConfigMap") => read(object).map(|object| self.configmap(object)),
            ("networking.k8s.io/v1", "Ingress") => read(object).map(|object| self.ingress(&object)),
            ("networking.k8s.io/v1", "IngressClass") => read(object).map(|object| self.class(&object)),
            ("discovery.k8s.io/v1", "EndpointSlice") => read(object).map(|object| self.slice(&object)),
            (_, "Ingress") => Err(format!(
                "is of {version}; only networking.k8s.io/v1 is read, which `kubectl get -o yaml` gives"
            )),
            _ => Ok(()),
        };
        if let Err(reason) = took {
            self.remarks.push(format!("{origin}: an object of kind {kind:?} {reason}"));
        }
    }

    fn ingress(&mut self, ingress: &Ingress) {
        let seen = seen::Ingress::from_api(ingress).filter(|seen| self.is_wanted(&seen.meta.name));
        if let Some(mut seen) = seen {
            settle(&mut seen.meta.name);
            self.world.apply(Change::Ingress(seen.meta.name.clone(), Some(Box::new(seen))));
        }
    }

    fn service(&mut self, service: &Service) {
        if let Some(mut seen) = seen::Service::from_api(service) {
            settle(&mut seen.meta.name);
            self.world.apply(Change::Service(seen.meta.name.clone(), Some(seen)));
        }
    }

    fn slice(&mut self, slice: &EndpointSlice) {
        if let Some(mut seen) = seen::Slice::from_api(slice) {
            settle(&mut seen.name);
            self.world.apply(Change::Slice(seen.name.clone(), Some(seen)));
        }
    }

    fn class(&mut self, class: &IngressClass) {
        if let Some(seen) = seen::IngressClass::from_api(class) {
            self.world.apply(Change::Class(seen.name.clone(), Some(seen)));
        }
    }

    fn secret(&mut self, secret: Secret) {
        if let Some(mut seen) = seen::Secret::from_api(&secret) {
            settle(&mut seen.name);
            self.world.apply(Change::Secret(seen.name.clone(), Some(seen)));
        }
    }

    fn configmap(&mut self, configmap: ConfigMap) {
        let Some(name) = configmap.metadata.name else { return };
        let mut name = Name::new(&configmap.metadata.namespace.unwrap_or_default(), &name);
        settle(&mut name);
        self.configmaps.insert(name, configmap.data.unwrap_or_default());
    }

    fn is_wanted(&self, name: &Name) -> bool {
        let mut name = name.clone();
        settle(&mut name);
        self.namespaces.is_empty() || self.namespaces.iter().any(|namespace| **namespace == *name.namespace)
    }

    fn remark(&mut self, what: &str, error: &kube::Error) {
        self.remarks.push(format!("{what} cannot be read: {}", explain(error)));
    }

    async fn list<K>(&self, client: &Client) -> anyhow::Result<Vec<K>>
    where
        K: k8s_openapi::Resource<Scope = NamespaceResourceScope>
            + k8s_openapi::Metadata<Ty = kube::core::ObjectMeta>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let mut apis: Vec<Api<K>> =
            self.namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect();
        if apis.is_empty() {
            apis.push(Api::all(client.clone()));
        }
        let mut found = Vec::new();
        for api in apis {
            let items = pages(&api).await;
            found.extend(
                items.map_err(|error| {
                    anyhow!("{} cannot be read: {}", K::URL_PATH_SEGMENT, explain(&error))
                })?,
            );
        }
        Ok(found)
    }
}

/// All of a kind, page by page.
async fn pages<K: Clone + DeserializeOwned + std::fmt::Debug>(api: &Api<K>) -> Result<Vec<K>, kube::Error> {
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// An object as the API has it. `stringData` of a Secret is what a server would make of it.
fn read<K: DeserializeOwned>(mut object: Value) -> Result<K, String> {
    if let Some(fields) = object.as_object_mut()
        && let Some(Value::Object(texts)) = fields.shift_remove("stringData")
        && let Some(data) =
            fields.entry("data").or_insert_with(|| Value::Object(Default::default())).as_object_mut()
    {
        for (field, text) in texts {
            data.insert(field, BASE64.encode(text.as_str().unwrap_or_default()).into());
        }
    }
    serde_json::from_value(object).map_err(|error| format!("cannot be read: {error}"))
}

fn settle(name: &mut Name) {
    if name.namespace.is_empty() {
        name.namespace = DEFAULT_NAMESPACE.into();
    }
}

/// Manifests below a directory, in the order of their names.
fn walk(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let failed = |error: std::io::Error| anyhow!("{}: {error}", directory.display());
    let mut entries =
        std::fs::read_dir(directory).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort_by_key(|entry| entry.file_name());
    for path in entries.into_iter().map(|entry| entry.path()) {
        let is_manifest = path.extension().is_some_and(|ending| {
            ["yaml", "yml", "json"].iter().any(|known| ending.eq_ignore_ascii_case(known))
        });
        if path.is_dir() {
            match depth < DEPTH_MAX {
                true => walk(&path, depth + 1, files)?,
                false => bail!("{} is more than {DEPTH_MAX} directories deep", path.display()),
            }
        } else if is_manifest {
            files.push(path);
        }
    }
    match files.len() {
        ..=FILES_MAX => Ok(()),
        _ => bail!("{} has more than {FILES_MAX} manifests", directory.display()),
    }
}
