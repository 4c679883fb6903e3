//! The form between the cluster's objects and the store's: hosts, and rules of matches, filters and weighted backends,
//! as in an HTTPRoute of the Gateway API.

use super::Converted;
use crate::expr::literal;
use crate::model::{BackendId, FrontendId, MiddlewareId, ObjectKey};
use serde_json::{Map, Value, json};

/// One frontend to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    /// Its id in the store.
    pub id: FrontendId,
    /// Which requests are its own.
    pub matches: Matches,
    /// `Priority` of the frontend.
    pub priority: i64,
    /// What happens to them on their way.
    pub filters: Vec<Filter>,
    /// Where they go; at least one.
    pub backends: Vec<BackendRef>,
    /// What tells the clients of a split apart: `cookie:NAME`, ...; absent: each request is drawn by itself.
    pub split_by: Option<String>,
    /// The frontend's `Settings`, in canonical spelling.
    pub settings: Map<String, Value>,
    /// The frontend's further fields, such as `Maintenance`.
    pub further: Map<String, Value>,
}

/// Which requests are a rule's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Matches {
    /// An expression as its author wrote it.
    Expression(String),
    /// A host and a path.
    Place {
        /// `shop.example`, `*.shop.example`; absent: every host.
        host: Option<String>,
        /// Which paths.
        path: PathMatch,
    },
}

/// Which paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PathMatch {
    /// All.
    Any,
    /// This one.
    Exact(String),
    /// It and what is below it, by whole segments.
    Prefix(String),
}

/// One middleware to be, a frontend's own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    /// Its id below the frontend.
    pub id: &'static str,
    /// `Type`, as in the store.
    pub kind: &'static str,
    /// Smaller runs first.
    pub priority: i64,
    /// The field `Middleware`.
    pub spec: Map<String, Value>,
}

/// A backend with its share of the requests.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BackendRef {
    /// Its id.
    pub id: BackendId,
    /// Its share of the requests that no pin decides; 0 beside pins: none, and no part for it.
    pub weight: u32,
    /// `("Header" or "Cookie", "NAME=VALUE")`: requests that say so come here.
    pub pins: Vec<(&'static str, String)>,
}

impl BackendRef {
    /// All requests.
    pub(super) fn whole(id: BackendId) -> Self {
        Self { id, weight: 1, pins: Vec::new() }
    }
}

impl Filter {
    /// The middleware as it is stored.
    pub(super) fn into_value(self) -> Map<String, Value> {
        Map::from_iter([
            ("Type".to_owned(), self.kind.into()),
            ("Priority".to_owned(), self.priority.into()),
            ("Middleware".to_owned(), self.spec.into()),
        ])
    }
}

impl Rule {
    /// A rule that sends all of its requests to one backend.
    pub(super) fn new(id: FrontendId, matches: Matches, backend: BackendId) -> Self {
        Self {
            id,
            matches,
            priority: 0,
            filters: Vec::new(),
            backends: vec![BackendRef::whole(backend)],
            split_by: None,
            settings: Map::new(),
            further: Map::new(),
        }
    }

    /// Wants the frontend and its middlewares. `PassHostHeader` is true unless the settings say otherwise: servers in a
    /// cluster are written for the host that clients ask for.
    pub(super) fn put(self, converted: &mut Converted) {
        let mut value = Map::new();
        value.insert("Type".into(), "http".into());
        match self.backends.as_slice() {
            [BackendRef { id, pins, .. }] if pins.is_empty() => {
                value.insert("BackendId".into(), id.as_str().into());
            }
            backends => {
                let parts: Vec<Value> = backends.iter().flat_map(parts).collect();
                value.insert("Split".into(), parts.into());
                if let Some(by) = self.split_by {
                    value.insert("SplitBy".into(), by.into());
                }
            }
        }
        value.insert("Route".into(), self.matches.expression().into());
        if self.priority != 0 {
            value.insert("Priority".into(), self.priority.into());
        }
        let mut settings = self.settings;
        settings.entry("PassHostHeader").or_insert(true.into());
        value.insert("Settings".into(), settings.into());
        value.extend(self.further);
        converted.put(ObjectKey::Frontend(self.id.clone()), value);
        for filter in self.filters {
            let Ok(id) = MiddlewareId::try_from(filter.id) else { continue };
            let key = ObjectKey::OwnMiddleware(self.id.clone(), id);
            converted.put(key, filter.into_value());
        }
    }
}

/// The pins first, as parts that get nothing else.
fn parts(backend: &BackendRef) -> impl Iterator<Item = Value> + '_ {
    let id = backend.id.as_str();
    let pins =
        backend.pins.iter().map(move |(field, pin)| json!({ "BackendId": id, "Weight": 0, *field: pin }));
    let by_weight = backend.weight > 0 || backend.pins.is_empty();
    pins.chain(by_weight.then(|| json!({ "BackendId": id, "Weight": backend.weight })))
}

impl Matches {
    /// As in the field `Route`.
    pub(super) fn expression(&self) -> String {
        let Self::Place { host, path } = self else {
            let Self::Expression(text) = self else { return String::new() };
            return text.clone();
        };
        let path = match path {
            PathMatch::Any => "PathPrefix(`/`)".to_owned(),
            PathMatch::Exact(path) => format!("Path({})", literal(path)),
            PathMatch::Prefix(path) => format!("PathPrefix({})", literal(path)),
        };
        match host {
            Some(host) => format!("Host({}) && {path}", literal(host)),
            None => path,
        }
    }
}
