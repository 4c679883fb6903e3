//! An API server for tests that knows how to list, create and merge objects, and counts what it was asked.

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// A clone is the same server.
#[derive(Clone, Default)]
pub(super) struct MockApi(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By path.
    objects: BTreeMap<String, Value>,
    /// `POST /apis/...`
    requests: Vec<String>,
    /// What is answered to requests whose line has this text.
    refusals: Vec<(&'static str, u16)>,
}

impl MockApi {
    pub(super) fn client(&self) -> Client {
        let api = self.clone();
        let serve = move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        };
        Client::new(tower::service_fn(serve), "default")
    }

    pub(super) fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().objects.insert(path.to_owned(), object);
    }

    pub(super) fn get(&self, path: &str) -> Value {
        self.0.lock().unwrap().objects.get(path).cloned().unwrap_or_default()
    }

    /// All objects directly below a path.
    pub(super) fn list(&self, path: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        let below = |key: &&String| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        state.objects.keys().filter(below).map(|key| state.objects[key].clone()).collect()
    }

    /// How many requests so far had this in their line.
    pub(super) fn count(&self, text: &str) -> usize {
        self.0.lock().unwrap().requests.iter().filter(|line| line.contains(text)).count()
    }

    /// From now on requests whose line has the text are refused; 0: no longer.
    pub(super) fn refuse(&self, text: &'static str, code: u16) {
        let mut state = self.0.lock().unwrap();
        state.refusals.retain(|(other, _)| *other != text);
        if code != 0 {
            state.refusals.push((text, code));
        }
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (code, value) =
            self.act(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), body);
        let mut response = Response::new(Body::from(value.to_string().into_bytes()));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        response
    }

    fn act(&self, method: &Method, path: &str, query: &str, body: Value) -> (u16, Value) {
        let mut state = self.0.lock().unwrap();
        let line = format!("{method} {path} {query}");
        let refused = state.refusals.iter().find(|(text, _)| line.contains(text)).map(|(_, code)| *code);
        state.requests.push(line);
        if let Some(code) = refused {
            return status(code);
        }
        match *method {
            Method::GET => {
                // No more than what `only` asks for.
                let name = query.split("metadata.name%3D").nth(1).unwrap().split('&').next().unwrap();
                let items: Vec<Value> =
                    state.objects.get(&format!("{path}/{name}")).cloned().into_iter().collect();
                (200, json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items }))
            }
            Method::POST => {
                let key = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                if state.objects.contains_key(&key) {
                    return status(409);
                }
                state.objects.insert(key, body.clone());
                (201, body)
            }
            Method::PATCH => match state.objects.get_mut(path.trim_end_matches("/status")) {
                Some(object) => {
                    merge(object, &body);
                    (200, object.clone())
                }
                None => status(404),
            },
            _ => status(405),
        }
    }
}

fn status(code: u16) -> (u16, Value) {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "AlreadyExists",
        _ => "InternalError",
    };
    let value = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "refused",
            "reason": reason, "code": code });
    (code, value)
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(name)),
            value => merge(&mut target[name], value),
        }
    }
}

/// Waits until something is so, without letting real time pass where time is paused.
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
