//! `forwardauth`: another service decides who gets through.

use super::{field_name_error, is_path_byte};
use crate::model::BackendId;
use crate::model::duration;
use crate::model::fields::{Fields, quote};
use serde_json::{Map, Value};
use std::time::Duration;

/// Whom to ask, and what to tell and to take over.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardAuthSpec {
    /// `BackendId`: the auth service.
    pub backend: BackendId,
    /// `Path`: where it is asked, with a query if need be; default `/`.
    pub path: Box<str>,
    /// `RequestHeaders`: what it sees of the request; default `Authorization` and `Cookie`.
    pub request_headers: Vec<Box<str>>,
    /// `ResponseHeaders`: what the server sees of its answer, in place of whatever the client sent under these names.
    pub response_headers: Vec<Box<str>>,
    /// `Timeout`: for its whole answer; default 5 s.
    pub timeout: Duration,
    /// `FailOpen`: let requests through while it gives no answer; default false.
    pub fail_open: bool,
}

const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
const REQUEST_HEADERS: [&str; 2] = ["Authorization", "Cookie"];

/// Names that the proxy fills in itself, in what it asks or in what goes on.
const OWN: [&str; 12] = [
    "forwarded",
    "host",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-uri",
    "x-original-method",
    "x-original-url",
    "x-real-ip",
];

pub(super) fn read(fields: &mut Fields<'_>) -> Option<ForwardAuthSpec> {
    let backend = read_backend(fields, "the auth service");
    let path = fields.text("Path").unwrap_or("/");
    if !path.starts_with('/') || !path.bytes().all(|byte| is_path_byte(byte) || byte == b'?') {
        fields.error("Path", format!("is {}; a path is expected, like `/verify`", quote(path)));
    }
    let given = fields.value("RequestHeaders").is_some();
    let mut request_headers = read_names(fields, "RequestHeaders");
    if !given {
        request_headers = REQUEST_HEADERS.iter().map(|name| (*name).into()).collect();
    }
    let response_headers = read_names(fields, "ResponseHeaders");
    let timeout = fields.duration("Timeout", TIMEOUT_MAX).unwrap_or(TIMEOUT);
    let fail_open = fields.boolean("FailOpen").unwrap_or(false);
    Some(ForwardAuthSpec {
        backend: backend?,
        path: path.into(),
        request_headers,
        response_headers,
        timeout,
        fail_open,
    })
}

/// `BackendId`, which must be there.
pub(super) fn read_backend(fields: &mut Fields<'_>, what: &str) -> Option<BackendId> {
    let text = fields.required_text("BackendId", &format!("the id of {what}'s backend is expected"))?;
    match BackendId::try_from(text) {
        Ok(id) => Some(id),
        Err(error) => {
            fields.error("BackendId", format!("{} {error}", quote(text)));
            None
        }
    }
}

fn read_names(fields: &mut Fields<'_>, list: &'static str) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = Vec::new();
    for (path, name) in fields.texts(list) {
        let own = || OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
        let own = || own().then_some("is filled in by the proxy itself");
        match field_name_error(name).or_else(own) {
            Some(reason) => fields.report().error(path, format!("{} {reason}", quote(name))),
            None => names.push(name.into()),
        }
    }
    names
}

impl ForwardAuthSpec {
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        value.insert("BackendId".into(), self.backend.as_str().into());
        if &*self.path != "/" {
            value.insert("Path".into(), (&*self.path).into());
        }
        let names = |list: &[Box<str>]| Value::from(list.iter().map(|name| &**name).collect::<Vec<_>>());
        if !self.request_headers.iter().map(|name| &**name).eq(REQUEST_HEADERS) {
            value.insert("RequestHeaders".into(), names(&self.request_headers));
        }
        if !self.response_headers.is_empty() {
            value.insert("ResponseHeaders".into(), names(&self.response_headers));
        }
        if self.timeout != TIMEOUT {
            value.insert("Timeout".into(), duration::format(self.timeout).into());
        }
        if self.fail_open {
            value.insert("FailOpen".into(), true.into());
        }
        value
    }
}
