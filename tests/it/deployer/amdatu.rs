//! A client written for Amdatu's deployer: the calls of its documentation in the order in which a pipeline and its
//! people make them, held to the documented answers. It sends no token, as that deployer knew none, and no type with its
//! bodies.
//!
//! The calls are data (`amdatu.json`); whoever walks them brings a way to make a call. The unit tests of the API walk
//! them over its router, `tests/it/deployer` over a whole process.

use serde_json::{Map, Value};
use std::collections::HashMap;
use std::time::Duration;

const CALLS: &str = include_str!("amdatu.json");

/// How often a status is asked for until it is as expected; with [`PAUSE`] between, as such a client does.
const POLLS_MAX: usize = 600;
const PAUSE: Duration = Duration::from_millis(200);

/// One call to be made.
pub struct Call {
    pub method: String,
    /// With its query.
    pub path: String,
    pub body: String,
}

/// What it came to.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: String,
}

/// Makes all calls within a namespace, with `fields` in the place of those of the documented descriptor.
pub fn walk(namespace: &str, fields: &Map<String, Value>, ask: &mut dyn FnMut(&Call) -> Answer) {
    let calls: Value = serde_json::from_str(CALLS).unwrap();
    let mut descriptor = calls["descriptor"].as_object().unwrap().clone();
    descriptor.extend(fields.clone());
    let names = HashMap::from([("ns".to_owned(), namespace.to_owned())]);
    let mut walk = Walk { descriptor, replaced: fields, names, ask };
    let steps = calls["steps"].as_array().unwrap();
    assert!(steps.len() > 30, "the calls were not found");
    for step in steps {
        walk.step(step);
    }
}

struct Walk<'a> {
    descriptor: Map<String, Value>,
    /// Fields of the documented descriptor that the setting has replaced.
    replaced: &'a Map<String, Value>,
    /// Ids by the names that the data gives them.
    names: HashMap<String, String>,
    ask: &'a mut dyn FnMut(&Call) -> Answer,
}

impl Walk<'_> {
    fn step(&mut self, step: &Value) {
        let call = self.call(step);
        let what = format!("{} {}", call.method, call.path);
        let until = step["until"].as_str();
        let mut answer = (self.ask)(&call);
        for _ in 0..POLLS_MAX {
            if until.is_none_or(|until| is_at(&answer, until)) {
                break;
            }
            assert!(!is_at(&answer, "FAILURE"), "{what}: {answer:?}");
            std::thread::sleep(PAUSE);
            answer = (self.ask)(&call);
        }
        assert!(until.is_none_or(|until| is_at(&answer, until)), "{what}: {answer:?}");
        assert_eq!(Some(u64::from(answer.status)), step["status"].as_u64(), "{what}: {answer:?}");
        if let Some(text) = step["text"].as_str() {
            assert!(answer.body.contains(text), "{what}: {answer:?}");
        }
        if let Some(kind) = step["location"].as_str() {
            let id = self.located(&answer, kind);
            self.names.insert(step["as"].as_str().unwrap().to_owned(), id);
        }
        self.compare(step, &answer, &what);
    }

    fn call(&self, step: &Value) -> Call {
        let line = self.filled(step["call"].as_str().unwrap());
        let (method, path) = line.split_once(' ').unwrap();
        let body = match step["body"].as_str() {
            None => String::new(),
            Some("broken") => r#"{"namespace": 7, "appName": ["#.to_owned(),
            Some(_) => {
                let mut descriptor = self.descriptor.clone();
                descriptor.extend(step["with"].as_object().cloned().unwrap_or_default());
                self.filled(&Value::Object(descriptor).to_string())
            }
        };
        Call { method: method.into(), path: path.into(), body }
    }

    fn filled(&self, text: &str) -> String {
        self.names
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// The id in `/KIND/ID/?namespace=NAMESPACE`, with or without scheme and host before.
    fn located(&self, answer: &Answer, kind: &str) -> String {
        let location = answer.location.as_deref().unwrap_or_default();
        let id =
            location.split_once(&format!("/{kind}/")).and_then(|(_, rest)| rest.split_once("/?namespace="));
        let (id, namespace) = id.unwrap_or_else(|| panic!("{answer:?}"));
        assert_eq!(namespace, self.names["ns"]);
        id.to_owned()
    }

    fn compare(&self, step: &Value, answer: &Answer, what: &str) {
        let json =
            || serde_json::from_str::<Value>(&answer.body).unwrap_or_else(|_| panic!("{what}: {answer:?}"));
        for (name, expected) in step["has"].as_object().into_iter().flatten() {
            // What the setting replaces is as the setting says.
            let replaced = self.replaced.get(name).filter(|_| step["has"]["appName"].is_string());
            let expected = replaced.unwrap_or(expected).to_string();
            assert_eq!(json()[name].to_string(), self.filled(&expected), "{what}: {name}");
        }
        if let Some(expected) = step["lists"].as_array() {
            let mut expected: Vec<String> =
                expected.iter().map(|id| self.filled(id.as_str().unwrap())).collect();
            let list = json();
            let mut ids: Vec<String> =
                list.as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
            expected.sort();
            ids.sort();
            assert_eq!(ids, expected, "{what}");
        }
        if let Some(count) = step["count"].as_u64() {
            assert_eq!(json().as_array().unwrap().len() as u64, count, "{what}");
        }
    }
}

/// Whether an answer has this status, of HTTP or of the deployment in it.
fn is_at(answer: &Answer, until: &str) -> bool {
    answer.status.to_string() == until
        || serde_json::from_str::<Value>(&answer.body).is_ok_and(|body| body["status"] == until)
}
