//! One kind in one namespace: list, watch, and begin anew whenever that breaks.

use super::Report;
use super::kinds::{Selectors, Watched};
use super::read::{self, Event, Lines};
use crate::kubernetes::{Name, Pauses, explain};
use crate::registrar::world::Change;
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, Status};
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// How many objects a part of a list has at most.
const PAGE_OBJECTS: u32 = 500;
/// The largest part of a list, in bytes: as many of etcd's largest objects would be more, but no cluster has them.
const PAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long a part of a list, or the beginning of a watch, may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a watch may say nothing: servers send a bookmark about every minute.
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// After how long the server is asked to end a watch, in seconds, from and to: not all at once.
const WATCH_SECONDS: (u32, u32) = (240, 300);
/// A watch that ends so much earlier broke.
const EARLY: Duration = Duration::from_secs(10);
/// A watch that lasted so long was none that fails at once.
const STEADY: Duration = Duration::from_secs(10);

/// What one task follows.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Which of its kind it is.
    pub index: usize,
    /// Absent: all, or none.
    pub namespace: Option<String>,
    pub pod_label: Box<str>,
    pub pauses: Pauses,
}

/// Follows one kind in one namespace.
pub(super) struct Follow<K> {
    client: Client,
    part: Part,
    request: Request,
    selectors: Selectors,
    tell: mpsc::Sender<(usize, Report)>,
    kind: PhantomData<fn(K)>,
}

/// Why it has to begin anew.
#[derive(Debug)]
enum Broken {
    /// Nobody takes what is told.
    Unheard,
    /// It cannot be read.
    Lost(String),
    /// It may not be read.
    Denied(String),
    /// A watch that was well broke off after so long.
    Off(String, Duration),
}

impl<K: Watched> Follow<K> {
    pub(super) fn new(client: Client, part: Part, tell: mpsc::Sender<(usize, Report)>) -> Self {
        let request = Request::new(K::url_path(&(), part.namespace.as_deref()));
        let selectors = Selectors::of(K::WHICH, &part.pod_label);
        Self { client, part, request, selectors, tell, kind: PhantomData }
    }

    /// For ever.
    pub(super) async fn run(self) {
        let mut failures = 0;
        loop {
            let broken = match self.round().await {
                Ok(never) => match never {},
                Err(broken) => broken,
            };
            match broken {
                Broken::Unheard => return,
                Broken::Lost(reason) => {
                    if self.tell(Report::Lost { reason, is_denied: false }).await.is_err() {
                        return;
                    }
                }
                Broken::Denied(reason) => {
                    if self.tell(Report::Lost { reason, is_denied: true }).await.is_err() {
                        return;
                    }
                }
                Broken::Off(reason, lasted) => {
                    tracing::info!(kind = K::WHICH.as_str(), namespace = self.place(), reason, "listed anew");
                    if lasted >= STEADY {
                        failures = 0;
                    }
                }
            }
            sleep(self.part.pauses.after(failures, rand::random())).await;
            failures = failures.saturating_add(1);
        }
    }

    /// A list, and watches from there on until one breaks.
    async fn round(&self) -> Result<std::convert::Infallible, Broken> {
        let mut version = self.list().await?;
        loop {
            self.watch(&mut version).await?;
        }
    }

    /// Tells all objects; the version up to which they are all.
    async fn list(&self) -> Result<String, Broken> {
        let mut names = BTreeSet::new();
        let mut parameters = ListParams {
            label_selector: self.selectors.labels.clone(),
            field_selector: self.selectors.fields.clone(),
            limit: Some(PAGE_OBJECTS),
            ..ListParams::default()
        };
        loop {
            let page = timeout(ANSWER_MAX, self.page(&parameters)).await;
            let page = page.unwrap_or_else(|_| Err(unanswered()))?;
            let at = Instant::now();
            for (name, change) in page.items {
                names.insert(name.clone());
                self.tell_change(name, true, change, at).await?;
            }
            for (name, reason) in page.unreadable {
                self.warn(&name, &reason);
                names.insert(name);
            }
            match page.next {
                Some(next) => parameters.continue_token = Some(next),
                None => {
                    self.tell(Report::Listed(names)).await?;
                    return Ok(page.version);
                }
            }
        }
    }

    async fn page(&self, parameters: &ListParams) -> Result<read::Page, Broken> {
        let request = self.request.list(parameters).map_err(|error| Broken::Lost(error.to_string()))?;
        let body = self.ask(request, "list").await?;
        let bytes = Limited::new(body, PAGE_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| Broken::Lost(format!("a list of {} breaks off: {error}", K::WHICH.as_str())))?;
        read::page::<K>(&bytes.to_bytes(), &self.part.pod_label).map_err(|error| {
            Broken::Lost(format!("a list of {} cannot be understood: {error}", K::WHICH.as_str()))
        })
    }

    /// Tells changes until the server ends the watch in time. `version` follows.
    async fn watch(&self, version: &mut String) -> Result<(), Broken> {
        let seconds = rand::random_range(WATCH_SECONDS.0..WATCH_SECONDS.1);
        let parameters = WatchParams {
            label_selector: self.selectors.labels.clone(),
            field_selector: self.selectors.fields.clone(),
            timeout: Some(seconds),
            ..WatchParams::default()
        };
        let request =
            self.request.watch(&parameters, version).map_err(|error| Broken::Lost(error.to_string()))?;
        let started = Instant::now();
        let body = timeout(ANSWER_MAX, self.ask(request, "watch")).await;
        let mut body = body.unwrap_or_else(|_| Err(unanswered()))?;
        self.tell(Report::Found).await?;
        let off = |reason: String| Broken::Off(reason, started.elapsed());
        let mut lines = Lines::default();
        loop {
            match timeout(SILENCE_MAX, body.frame()).await {
                Err(_) => return Err(off("the watch says nothing".to_owned())),
                Ok(Some(Err(error))) => return Err(off(explain(&error))),
                Ok(None) if started.elapsed() + EARLY >= Duration::from_secs(seconds.into()) => return Ok(()),
                Ok(None) => return Err(off("the watch ends early".to_owned())),
                Ok(Some(Ok(frame))) => {
                    lines.push(&frame.into_data().unwrap_or_default());
                }
            }
            while let Some(line) = lines.next() {
                self.take(&line, version).await.map_err(|broken| match broken {
                    Broken::Lost(reason) => off(reason),
                    other => other,
                })?;
            }
            if lines.is_too_long() {
                return Err(off("the watch sends a line that is longer than any object".to_owned()));
            }
        }
    }

    /// Tells what a line of a watch says.
    async fn take(&self, line: &[u8], followed: &mut String) -> Result<(), Broken> {
        let at = Instant::now();
        let event = read::event::<K>(line, &self.part.pod_label)
            .map_err(|error| Broken::Lost(format!("an event cannot be understood: {error}")))?;
        match event {
            Event::Changed { name, is_there, change, version } => {
                *followed = version;
                self.tell_change(name, is_there, change, at).await
            }
            Event::Unreadable { name, version, reason } => {
                *followed = version;
                self.warn(&name, &reason);
                Ok(())
            }
            Event::Bookmark { version } => {
                *followed = version;
                Ok(())
            }
            Event::Ended(status) => Err(Broken::Lost(explain(&kube::Error::Api(status)))),
        }
    }

    /// The answer's body, where it is a good one.
    async fn ask(&self, request: http::Request<Vec<u8>>, verb: &str) -> Result<Body, Broken> {
        let lost = |error: &kube::Error| match error {
            kube::Error::Api(status) if status.code == 403 => Broken::Denied(self.reason(verb, error)),
            _ => Broken::Lost(self.reason(verb, error)),
        };
        let answer = self.client.send(request.map(Body::from)).await.map_err(|error| lost(&error))?;
        let code = answer.status();
        if code.is_success() {
            return Ok(answer.into_body());
        }
        let body = Limited::new(answer.into_body(), 64 * 1024).collect().await;
        let text = body.map(|body| body.to_bytes()).unwrap_or_default();
        let status = serde_json::from_slice::<Status>(&text)
            .unwrap_or_else(|_| Status::failure(&String::from_utf8_lossy(&text), ""));
        Err(lost(&kube::Error::Api(status.with_code(code.as_u16()).boxed())))
    }

    /// Why the kind cannot be read, and what would be right.
    fn reason(&self, verb: &str, error: &kube::Error) -> String {
        let kind = K::WHICH.as_str();
        let text = explain(error);
        let kube::Error::Api(status) = error else {
            return format!("the API server cannot be asked for {kind}: {text}");
        };
        match (status.code, &self.part.namespace) {
            (403, Some(namespace)) => format!(
                "this account may not {verb} {kind} in the namespace {namespace}; a Role there has to allow list and \
                 watch ({text})"
            ),
            (403, None) => format!(
                "this account may not {verb} {kind} in the whole cluster; a ClusterRole has to allow list and watch \
                 ({text})"
            ),
            (404, _) => {
                format!("the API server has no {kind} of {}; it is too old ({text})", K::api_version(&()))
            }
            _ => format!("the API server does not {verb} {kind}: {text}"),
        }
    }

    /// What it had before, if anything, stays.
    fn warn(&self, name: &Name, reason: &str) {
        let kind = K::WHICH.as_str();
        tracing::warn!(kind, %name, reason, "an object cannot be understood and is passed over");
    }

    fn place(&self) -> &str {
        self.part.namespace.as_deref().unwrap_or("")
    }

    async fn tell_change(
        &self,
        name: Name,
        is_there: bool,
        change: Change,
        at: Instant,
    ) -> Result<(), Broken> {
        self.tell(Report::Changed { name, is_there, change, at }).await
    }

    async fn tell(&self, report: Report) -> Result<(), Broken> {
        self.tell.send((self.part.index, report)).await.map_err(|_| Broken::Unheard)
    }
}

fn unanswered() -> Broken {
    Broken::Lost(format!("the API server does not answer within {} s", ANSWER_MAX.as_secs()))
}
