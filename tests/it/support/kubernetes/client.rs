//! The API of a cluster for tests: paths and JSON in, JSON out, and it waits for the answer.

use futures_util::{StreamExt, stream};
use http::{Method, Request};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Longest silence of the API server.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Requests at a time where there are many.
const AT_ONCE: usize = 64;

/// Why a request was refused: a status such as 409, and the words; status 0 if there was no answer.
#[derive(Debug)]
pub struct Refused {
    pub status: u16,
    pub message: String,
}

/// A client with a token. It stays usable while the API server comes and goes.
pub struct Client {
    runtime: Runtime,
    client: kube::Client,
}

impl Client {
    /// One that does as a kubeconfig file says.
    pub fn of(kubeconfig: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(connected(kubeconfig, Some(SILENCE_MAX)));
        Self { runtime, client }
    }

    /// Any request.
    pub fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Refused> {
        self.runtime.block_on(request(&self.client, method, path, body))
    }

    /// What an API path has, an object or a list; `None` if there is none.
    pub fn get(&self, path: &str) -> Option<Value> {
        match self.request(Method::GET, path, None) {
            Ok(value) => Some(value),
            Err(refused) if refused.status == 404 => None,
            Err(refused) => panic!("GET {path}: {refused:?}"),
        }
    }

    /// The items of a list.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let mut list = self.get(path).unwrap_or_else(|| panic!("no list at {path}"));
        serde_json::from_value(list["items"].take()).unwrap()
    }

    /// Creates an object; the object as it is then.
    pub fn create(&self, object: &Value) -> Value {
        let path = collection_path(object);
        let created = self.request(Method::POST, &path, Some(object));
        created.unwrap_or_else(|refused| panic!("POST {path}: {refused:?}"))
    }

    /// Creates many, beside each other.
    pub fn create_all(&self, objects: &[Value]) {
        let created = stream::iter(objects).map(|object| async move {
            let path = collection_path(object);
            let created = request(&self.client, Method::POST, &path, Some(object)).await;
            created.unwrap_or_else(|refused| panic!("POST {path}: {refused:?}"));
        });
        self.runtime.block_on(created.buffer_unordered(AT_ONCE).for_each(|()| async {}));
    }

    /// Changes an object, by a merge patch; the object as it is then.
    pub fn patch(&self, path: &str, patch: &Value) -> Value {
        let patched = self.request(Method::PATCH, path, Some(patch));
        patched.unwrap_or_else(|refused| panic!("PATCH {path}: {refused:?}"))
    }

    /// Deletes an object, in the background if others belong to it.
    pub fn delete(&self, path: &str) {
        let deleted = self.request(Method::DELETE, path, None);
        deleted.unwrap_or_else(|refused| panic!("DELETE {path}: {refused:?}"));
    }

    /// A text such as that of `/readyz`.
    pub fn text(&self, path: &str) -> Option<String> {
        let request = Request::get(path).body(Vec::new()).unwrap();
        self.runtime.block_on(self.client.request_text(request)).ok()
    }
}

/// A client for the calling runtime. Without `silence_max` it waits for ever, as a watch must.
pub async fn connected(kubeconfig: &Path, silence_max: Option<Duration>) -> kube::Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.read_timeout = silence_max;
    kube::Client::try_from(config).unwrap()
}

/// One request. A body of PATCH is a merge patch.
pub async fn request(
    client: &kube::Client,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Refused> {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request =
        Request::builder().method(method).uri(path).header("content-type", kind).body(bytes).unwrap();
    client.request(request).await.map_err(|error| match error {
        kube::Error::Api(status) => Refused { status: status.code, message: status.message.clone() },
        error => Refused { status: 0, message: format!("{error:?}") },
    })
}

/// Where objects of its kind are, as `/api/v1/namespaces/default/pods`. What names no namespace is in `default`, unless
/// its kind has none.
pub fn collection_path(object: &Value) -> String {
    const WITHOUT_NAMESPACE: [&str; 6] = [
        "Namespace",
        "Node",
        "ClusterRole",
        "ClusterRoleBinding",
        "IngressClass",
        "CustomResourceDefinition",
    ];
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let root = if version.contains('/') { "apis" } else { "api" };
    let plural = match kind.to_lowercase() {
        name if name == "endpoints" => name,
        name if name.ends_with('s') => format!("{name}es"),
        name => format!("{name}s"),
    };
    if WITHOUT_NAMESPACE.contains(&kind) {
        return format!("/{root}/{version}/{plural}");
    }
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    format!("/{root}/{version}/namespaces/{namespace}/{plural}")
}
