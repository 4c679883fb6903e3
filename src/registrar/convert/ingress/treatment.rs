//! What an Ingress's annotations make of all of its frontends: settings, and middlewares in the order in which nginx has
//! its phases.

use super::super::Converted;
use super::super::form::Filter;
use super::said::Said;
use super::{access, cors, redirects, traffic};
use crate::model::{FrontendId, MiddlewareId, Object, ObjectKey, Severity, Strictness};
use crate::registrar::world::World;
use serde_json::{Map, Value, json};

/// The priorities of middlewares: which of them sees a request first.
pub(super) mod order {
    pub(in super::super) const REFUSE: i64 = 10;
    pub(in super::super) const ELSEWHERE: i64 = 20;
    pub(in super::super) const APP_ROOT: i64 = 30;
    pub(in super::super) const CORS: i64 = 40;
    pub(in super::super) const HTTPS: i64 = 50;
    pub(in super::super) const LIMITS: i64 = 60;
    pub(in super::super) const ADDRESSES: i64 = 70;
    pub(in super::super) const PASSWORDS: i64 = 80;
    pub(in super::super) const ASK: i64 = 90;
    pub(in super::super) const MIRROR: i64 = 100;
    pub(in super::super) const HEADERS: i64 = 110;
    pub(in super::super) const REWRITE: i64 = 120;
}

/// What is done to the requests of every frontend of an Ingress.
#[derive(Debug, Default)]
pub(super) struct Treatment {
    /// Middlewares.
    pub(super) filters: Vec<Filter>,
    /// `Settings`.
    pub(super) settings: Map<String, Value>,
    /// `ClientAuth` of its TLS hosts.
    pub(super) client_auth: Option<Value>,
    refused: bool,
}

impl Treatment {
    /// What the annotations ask for. What they want beside the frontends is wanted already.
    pub(super) fn of(world: &World, said: &Said<'_>, converted: &mut Converted) -> Self {
        let mut treatment = Self::default();
        redirects::read(said, &mut treatment, converted);
        cors::read(said, &mut treatment, converted);
        traffic::read(said, &mut treatment, converted);
        access::read(world, said, &mut treatment, converted);
        traffic::read_mirror(world, said, &mut treatment, converted);
        traffic::read_headers(said, &mut treatment, converted);
        treatment
    }

    /// Nobody gets in: something that should keep people out cannot be done.
    pub(super) fn refuse(&mut self) {
        if !std::mem::replace(&mut self.refused, true) {
            // In front of everything else.
            let refuse = filter("refuse", "respond", order::REFUSE, json!({ "Status": 503 }));
            self.filters.extend(refuse);
        }
    }

    /// Adds a middleware for which the annotation `name` is to blame. False: it is not valid, which is noted.
    pub(super) fn add(
        &mut self,
        said: &Said<'_>,
        name: &str,
        filter: Result<Filter, String>,
        converted: &mut Converted,
    ) -> bool {
        match filter {
            Ok(filter) => {
                self.filters.push(filter);
                true
            }
            Err(reason) => {
                said.error(name, reason, converted);
                false
            }
        }
    }
}

/// A middleware.
///
/// # Errors
/// What is wrong with it, as a predicate.
pub(super) fn filter(
    id: &'static str,
    kind: &'static str,
    priority: i64,
    spec: Value,
) -> Result<Filter, String> {
    let Value::Object(spec) = spec else { return Err("is no object".to_owned()) };
    let filter = Filter { id, kind, priority, spec };
    // The ids are of no concern: what is judged is the value.
    let (Ok(frontend), Ok(middleware)) = (FrontendId::try_from("any"), MiddlewareId::try_from(id)) else {
        return Err("has no id".to_owned());
    };
    let value = filter.clone().into_value().into();
    let key = ObjectKey::OwnMiddleware(frontend, middleware);
    let findings = Object::parse_value(&key, &value, Strictness::Written).findings;
    match findings.into_iter().find(|finding| finding.severity == Severity::Error) {
        Some(finding) => Err(format!("cannot be carried over: `{}` {}", finding.field, finding.reason)),
        None => Ok(filter),
    }
}
