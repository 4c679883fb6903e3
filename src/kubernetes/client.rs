//! A client for the Kubernetes API: where the server is, who we are, and how long anything may take.
//!
//! The connections are our own rather than kube's, so that one whose other end is gone without a word is found dead by
//! TCP within [`SILENCE_MAX`], and a watch is not waited on in vain.

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tower::{BoxError, Layer, ServiceExt};

/// How long connecting may take, the TLS handshake included.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long sent bytes may stay unacknowledged, and a silent connection without an answer to TCP's own questions.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long nothing may come where something is awaited. Servers send a bookmark about every minute on a watch.
const READ_MAX: Duration = Duration::from_secs(150);
/// How long sending may stand still.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// How somebody said to find the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file. Absent: those in `KUBECONFIG`, else the pod's service account, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; absent: its current one. With a context, a pod's service account is not looked at.
    pub context: Option<String>,
}

/// A cluster's API server, with what it takes to talk to it.
#[derive(Debug, Clone)]
pub struct Target {
    config: Config,
    place: String,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig cannot be used.
    #[error(
        "{place}: {error}; it must be a kubeconfig with clusters, users and contexts, as kubectl reads it"
    )]
    Kubeconfig {
        /// Which one.
        place: String,
        /// What is wrong with it.
        error: KubeconfigError,
    },
    /// The pod's service account cannot be used.
    #[error(
        "the service account of this pod: {0}; it must be mounted at /var/run/secrets/kubernetes.io/serviceaccount"
    )]
    ServiceAccount(InClusterError),
    /// There is no sign of a cluster.
    #[error(
        "no Kubernetes cluster is known: give --kubeconfig FILE, set KUBECONFIG, run in a pod with a service account, \
         or write {}", .0.display()
    )]
    Nothing(PathBuf),
    /// The cluster is named, but its address, certificates or credentials cannot be used.
    #[error("{place}: {error}")]
    Unusable {
        /// Where the cluster was found.
        place: String,
        /// What is wrong.
        error: String,
    },
}

/// A client for the cluster that is meant. Nothing is asked of the API server yet.
pub async fn connect(access: &Access) -> Result<Client, ConnectError> {
    Target::find(access).await?.client()
}

impl Target {
    /// Looks for the cluster that is meant.
    pub async fn find(access: &Access) -> Result<Self, ConnectError> {
        let (place, kubeconfig) = match &access.kubeconfig {
            Some(path) => (path.display().to_string(), Kubeconfig::read_from(path)),
            None => match Kubeconfig::from_env().transpose() {
                Some(read) => ("KUBECONFIG".to_owned(), read),
                None if access.context.is_none() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
                    let config = Config::incluster().map_err(ConnectError::ServiceAccount)?;
                    return Ok(Self::new(config, "the service account of this pod".to_owned()));
                }
                None => {
                    let path = default_kubeconfig();
                    if !path.is_file() {
                        return Err(ConnectError::Nothing(path));
                    }
                    (path.display().to_string(), Kubeconfig::read_from(&path))
                }
            },
        };
        let wrong = |error| ConnectError::Kubeconfig { place: place.clone(), error };
        let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
        let config =
            Config::from_custom_kubeconfig(kubeconfig.map_err(wrong)?, &options).await.map_err(wrong)?;
        Ok(Self::new(config, place))
    }

    /// The API server's address, for people.
    pub fn server_url(&self) -> String {
        self.config.cluster_url.to_string()
    }

    /// Where the cluster was found, for people: a file, `KUBECONFIG` or the pod's service account.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The namespace that is meant where none is given: the context's, or the pod's own.
    pub fn namespace(&self) -> &str {
        &self.config.default_namespace
    }

    /// A client. Nothing is asked of the API server yet.
    pub fn client(&self) -> Result<Client, ConnectError> {
        let unusable = |error: String| ConnectError::Unusable { place: self.place.clone(), error };
        let config = &self.config;
        if config.proxy_url.is_some() {
            return Err(unusable(
                "a proxy-url is not supported: the API server has to be reachable".to_owned(),
            ));
        }
        let failed = |error: kube::Error| unusable(explain(&error));
        let connector = config.rustls_https_connector_with_connector(tcp()).map_err(failed)?;
        let mut connector = TimeoutConnector::new(connector);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_read_timeout(Some(READ_MAX));
        connector.set_write_timeout(Some(WRITE_MAX));
        // A connection may have been idle for long before it is used again.
        connector.set_reset_reader_on_write(true);
        let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(connector);
        let headers = config.extra_headers_layer().map_err(failed)?.layer(http.map_err(BoxError::from));
        let namespace = config.default_namespace.clone();
        let base = config.base_uri_layer();
        Ok(match config.auth_layer().map_err(failed)? {
            Some(auth) => Client::new(base.layer(auth.layer(headers)), namespace),
            None => Client::new(base.layer(headers), namespace),
        })
    }

    fn new(mut config: Config, place: String) -> Self {
        let agent = http::HeaderValue::from_static(concat!("flipgate/", env!("CARGO_PKG_VERSION")));
        config.headers.push((http::header::USER_AGENT, agent));
        Self { config, place }
    }
}

/// What went wrong with a request, in one line for people, with all its causes.
pub fn explain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        let message = if status.message.is_empty() { &status.reason } else { &status.message };
        return format!("the API server answers {}: {}", status.code, message.trim());
    }
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let line = error.to_string();
        // Many errors repeat their cause.
        if !text.contains(&line) {
            text = if text.is_empty() { line } else { format!("{text}: {line}") };
        }
        cause = error.source();
    }
    text
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // The layer above makes TLS of it.
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(SILENCE_MAX / 2));
    connector.set_keepalive_interval(Some(SILENCE_MAX / 4));
    connector.set_keepalive_retries(Some(2));
    connector.set_tcp_user_timeout(Some(SILENCE_MAX));
    connector
}

fn default_kubeconfig() -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_default();
    Path::new(&home).join(".kube").join("config")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: 'https://10.0.0.1:6443'}}]
users: [{name: me, user: {token: secret-of-mine}}]
contexts:
- {name: first, context: {cluster: here, user: me, namespace: shop}}
- {name: broken, context: {cluster: nowhere, user: me}}
current-context: first
";

    async fn find(text: &str, context: Option<&str>) -> Result<Target, ConnectError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let access = Access { kubeconfig: Some(file.path().into()), context: context.map(str::to_owned) };
        Target::find(&access).await
    }

    #[tokio::test]
    async fn a_kubeconfig_says_where_the_server_is() {
        let target = find(KUBECONFIG, None).await.unwrap();
        assert_eq!(target.server_url(), "https://10.0.0.1:6443/");
        assert_eq!(target.namespace(), "shop");
        target.client().unwrap();
    }

    #[tokio::test]
    async fn errors_say_which_file_and_what_would_be_right() {
        let check = async |text: &str, context: Option<&str>, said: &str| {
            let error = match find(text, context).await {
                Ok(target) => target.client().err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            let error = error.unwrap();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("secret-of-mine"), "{error}");
            assert!(error.starts_with('/'), "{error}");
        };
        check("", None, "as kubectl reads it").await;
        check("[1, 2]", None, "as kubectl reads it").await;
        check(KUBECONFIG, Some("absent"), "absent").await;
        check(KUBECONFIG, Some("broken"), "nowhere").await;
        let behind = KUBECONFIG.replace("server:", "proxy-url: 'http://proxy:1', server:");
        check(&behind, None, "proxy-url").await;
        let missing = Access { kubeconfig: Some("/nonexistent/config".into()), context: None };
        let error = Target::find(&missing).await.unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/config: "), "{error}");
    }
}
