//! A deployer, and where it is.

use crate::cli::api::{ApiClient, DEPLOYER, Lines, escape};
use crate::tls::Trust;
use anyhow::{anyhow, bail};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;
use std::path::PathBuf;

/// Where a deployer is by default.
const URL_DEFAULT: &str = "http://127.0.0.1:8000";
/// The namespace where none is said, as in Amdatu's descriptors.
const NAMESPACE_DEFAULT: &str = "default";

/// Which deployer, and of what namespace.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct CallFlags {
    /// URL of the deployer's API
    #[arg(long, value_name = "URL", default_value = URL_DEFAULT, env = "FLIPGATE_DEPLOYER", help_heading = "Deployer")]
    deployer: String,
    /// File with the token that it asks for
    #[arg(long, value_name = "FILE", env = "FLIPGATE_DEPLOYER_TOKEN_FILE", help_heading = "Deployer")]
    deployer_token_file: Option<PathBuf>,
    /// Authorities of its certificate, in place of those that the system trusts
    #[arg(long, value_name = "FILE", env = "FLIPGATE_DEPLOYER_CA", help_heading = "Deployer")]
    deployer_ca: Option<PathBuf>,
    /// The namespace; default: the descriptor's, else `default`
    #[arg(short, long, value_name = "NAME", env = "FLIPGATE_DEPLOYER_NAMESPACE", help_heading = "Deployer")]
    namespace: Option<String>,
}

impl CallFlags {
    /// The deployer; `own`: the namespace that a descriptor names.
    ///
    /// # Errors
    /// A URL or a file is not as it has to be; the namespace is not the descriptor's.
    pub(super) fn open(&self, own: Option<&str>) -> anyhow::Result<Deployer> {
        if let (Some(given), Some(own)) = (&self.namespace, own)
            && given != own
        {
            bail!("--namespace {given}: the descriptor says {own}");
        }
        let trust = || match &self.deployer_ca {
            None => Ok(Trust::System),
            Some(path) => std::fs::read(path)
                .map(|text| Trust::Authorities(text.into()))
                .map_err(|error| anyhow!("--deployer-ca {}: {error}", path.display())),
        };
        let token_file = self.deployer_token_file.as_deref();
        let client = ApiClient::new(&DEPLOYER, &self.deployer, token_file, Some(&trust))?;
        let namespace = self.namespace.as_deref().or(own).unwrap_or(NAMESPACE_DEFAULT).to_owned();
        Ok(Deployer { client, namespace })
    }
}

/// A deployer, asked about one namespace.
pub(super) struct Deployer {
    client: ApiClient,
    namespace: String,
}

impl Deployer {
    /// A path with its query.
    pub(super) fn path(&self, path: &str, query: &[(&str, &str)]) -> String {
        let mut text = format!("{path}?namespace={}", escape(&self.namespace));
        for (name, value) in query {
            text.push_str(&format!("&{name}={}", escape(value)));
        }
        text
    }

    /// The flag that says the namespace, where one has to.
    pub(super) fn place(&self) -> String {
        if self.namespace == NAMESPACE_DEFAULT { String::new() } else { format!(" -n {}", self.namespace) }
    }

    /// The path of a deployment.
    pub(super) fn deployment(&self, id: &str, below: &str) -> String {
        self.path(&format!("/deployments/{}/{below}", escape(id)), &[])
    }

    /// `GET`; none: there is no such thing.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let answer = self.client.get(path).await?;
        match answer.status {
            // Others' servers say nothing with it.
            StatusCode::NOT_FOUND if answer.body.get("message").is_some() => Ok(None),
            status if status.is_success() => Ok(Some(answer.body)),
            _ => bail!("{}: {}", self.client.url(), answer.message()),
        }
    }

    /// Any call that changes something.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        fields: &[(HeaderName, HeaderValue)],
    ) -> anyhow::Result<Value> {
        let answer = self.client.call(method, path, body, fields).await?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let mut message = answer.message();
        for problem in answer.body.get("problems").and_then(Value::as_array).into_iter().flatten() {
            let part = |name| problem.get(name).and_then(Value::as_str).unwrap_or_default();
            message.push_str(&format!("\n  {}: {}", part("field"), part("reason")));
        }
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => {
                Err(Refused(message).into())
            }
            _ => bail!("{}: {message}", self.client.url()),
        }
    }

    /// The log from behind a line on, as Server-Sent Events.
    pub(super) async fn events(&self, id: &str, seen: u64) -> anyhow::Result<Lines> {
        let fields = [
            (http::header::ACCEPT, HeaderValue::from_static("text/event-stream")),
            (HeaderName::from_static("last-event-id"), HeaderValue::from(seen)),
        ];
        self.client.get_lines(&self.deployment(id, "logs"), &fields).await
    }

    /// The log as it is now, line by line.
    pub(super) async fn text(&self, id: &str) -> anyhow::Result<Lines> {
        let fields = [(http::header::ACCEPT, HeaderValue::from_static("text/plain"))];
        self.client.get_lines(&self.deployment(id, "logs"), &fields).await
    }

    /// The deployment that is under way of an application.
    pub(super) async fn open_of(&self, app: &str) -> anyhow::Result<Option<String>> {
        let all = self.get(&self.path("/applications/", &[])).await?.unwrap_or_default();
        let is_it = |one: &&Value| one.get("appName").and_then(Value::as_str) == Some(app);
        let found = all.as_array().into_iter().flatten().find(is_it);
        let id = found.and_then(|app| app.pointer("/open/id")).and_then(Value::as_str);
        Ok(id.map(str::to_owned))
    }

    /// The newest deployment of an application; or, if there is none, what is taken for a deployment's id.
    pub(super) async fn newest_or_id(&self, text: &str) -> anyhow::Result<String> {
        let found = self.get(&self.path("/deployments/", &[("limit", "1"), ("appname", text)])).await?;
        let id = found.as_ref().and_then(|all| all.pointer("/0/id")).and_then(Value::as_str);
        Ok(id.unwrap_or(text).to_owned())
    }

    /// The live deployment of an application; or, if there is none of that name, what is taken for a deployment's id.
    pub(super) async fn live_or_id(&self, text: &str) -> anyhow::Result<String> {
        let all = self.get(&self.path("/applications/", &[])).await?.unwrap_or_default();
        let is_it = |app: &&Value| app.get("appName").and_then(Value::as_str) == Some(text);
        let Some(app) = all.as_array().into_iter().flatten().find(is_it) else { return Ok(text.to_owned()) };
        let of = |which: &str| app.get(which).and_then(|it| it.get("id")).and_then(Value::as_str);
        match (of("live"), of("open")) {
            (Some(id), _) => Ok(id.to_owned()),
            (None, Some(id)) => {
                bail!("{text} has no version that is live; deployment {id} of it is under way")
            }
            (None, None) => bail!("{text} has no version that is live"),
        }
    }
}

/// What a deployer will not do as things are. The text is its own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::cli) struct Refused(pub(super) String);
