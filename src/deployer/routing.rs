//! The objects of a deployment in the table: pure.

use super::descriptor::{Descriptor, HttpHeader, Timeouts};
use crate::expr::literal;
use crate::kubernetes::Name;
use crate::model::{Kind, ObjectKey, duration};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The status of the redirect from `www.`: for good, with the request's method, path and query.
const MOVED: u16 = 308;

/// The value of a version's backend.
pub(super) fn backend(descriptor: &Descriptor) -> String {
    let mut settings = Map::new();
    let drain = descriptor.timeouts.drain;
    if drain != Timeouts::default().drain && !drain.is_zero() {
        settings.insert("Timeouts".into(), json!({ "Drain": duration::format(drain) }));
    }
    if descriptor.use_sticky_sessions {
        settings.insert("Sticky".into(), json!({}));
    }
    let mut value = json!({ "Type": "http" });
    if let Some(value) = value.as_object_mut().filter(|_| !settings.is_empty()) {
        value.insert("Settings".into(), settings.into());
    }
    value.to_string()
}

/// `NAMESPACE-APP`: the alias and the frontend.
pub(super) fn alias_id(app: &Name) -> String {
    format!("{}-{}", app.namespace, app.name)
}

/// `NAMESPACE-APP-VERSION`.
pub(super) fn backend_id(app: &Name, version: &str) -> String {
    format!("{}-{version}", alias_id(app))
}

/// Where a backend or an alias is written.
pub(super) fn backend_key(id: &str) -> String {
    format!("backends/{id}/backend")
}

/// Whether a key is a frontend's own.
pub(super) fn is_frontend(key: &str) -> bool {
    ObjectKey::parse(key).is_some_and(|key| key.kind() == Kind::Frontend)
}

/// What is to stand before the backends, by key: the frontend with its middlewares, and the one that leads there from
/// `www.`. Nothing for an application without a host.
pub(super) fn wanted(app: &Name, descriptor: &Descriptor) -> BTreeMap<String, Value> {
    let Some(host) = &descriptor.frontend else { return BTreeMap::new() };
    let id = alias_id(app);
    let settings = json!({ "PassHostHeader": true });
    let frontend = |host: &str| json!({ "Type": "http", "BackendId": id, "Route": format!("Host({})", literal(host)), "Settings": settings });
    let mut wanted = BTreeMap::from([(format!("frontends/{id}/frontend"), frontend(host))]);
    if descriptor.use_compression {
        wanted.insert(format!("frontends/{id}/middlewares/compress"), middleware("compress", json!({})));
    }
    if !descriptor.addition_http_headers.is_empty() {
        let spec = json!({ "Response": edits(&descriptor.addition_http_headers) });
        wanted.insert(format!("frontends/{id}/middlewares/headers"), middleware("headers", spec));
    }
    if descriptor.redirect_www {
        wanted.insert(format!("frontends/{id}-www/frontend"), frontend(&format!("www.{host}")));
        let spec = json!({ "Host": host, "Code": MOVED });
        wanted.insert(format!("frontends/{id}-www/middlewares/redirect"), middleware("redirect", spec));
    }
    wanted
}

fn middleware(kind: &str, spec: Value) -> Value {
    json!({ "Type": kind, "Middleware": spec })
}

/// A field takes the place of the server's; one that is named again is added to it.
fn edits(headers: &[HttpHeader]) -> Value {
    let (mut set, mut add) = (Map::new(), Map::new());
    for HttpHeader { header, value } in headers {
        let named = set.keys().find(|name| name.eq_ignore_ascii_case(header)).cloned();
        match named {
            None => drop(set.insert(header.clone(), value.as_str().into())),
            Some(name) => match add.entry(name).or_insert_with(|| json!([])) {
                Value::Array(values) => values.push(value.as_str().into()),
                other => *other = value.as_str().into(),
            },
        }
    }
    let mut edits = json!({ "Set": set });
    if let Some(edits) = edits.as_object_mut().filter(|_| !add.is_empty()) {
        edits.insert("Add".into(), add.into());
    }
    edits
}

/// The hosts whose requests come here.
pub(super) fn hosts(descriptor: &Descriptor) -> Vec<String> {
    let Some(host) = &descriptor.frontend else { return Vec::new() };
    let www = descriptor.redirect_www.then(|| format!("www.{host}"));
    std::iter::once(host.clone()).chain(www).collect()
}

/// Secrets that may have the certificate, the most fitting first: the one that was named, the host, and its last two
/// labels, as Amdatu's deployer has it.
pub(super) fn tls_secret_names(descriptor: &Descriptor) -> Vec<String> {
    let host = descriptor.frontend.as_deref();
    let domain = host.map(|host| match host.rmatch_indices('.').nth(1) {
        Some((at, _)) => host.get(at + 1..).unwrap_or(host),
        None => host,
    });
    let mut names: Vec<String> = Vec::new();
    for name in [descriptor.tls_secret_name.as_deref(), host, domain].into_iter().flatten() {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Object, Strictness};

    fn descriptor(fields: Value) -> Descriptor {
        let mut value = json!({
            "deploymentType": "blue-green", "namespace": "shop", "appName": "web", "newVersion": "7", "replicas": 1,
            "podspec": { "containers": [{ "name": "main", "image": "web:7" }] },
        });
        for (name, field) in fields.as_object().unwrap() {
            value[name] = field.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    /// The object as a strict reader of the table takes it.
    #[track_caller]
    fn object(key: &str, value: &str) -> Object {
        let place = ObjectKey::parse(key).expect(key);
        assert_eq!(place.canonical(), key);
        let parsed = Object::parse(&place, value.as_bytes(), Strictness::Written);
        assert_eq!(parsed.findings, [], "{key} {value}");
        parsed.object.unwrap()
    }

    #[test]
    fn a_backend_is_as_its_descriptor_says() {
        let check = |fields: Value, expected: Value| {
            let value = backend(&descriptor(fields));
            assert_eq!(serde_json::from_str::<Value>(&value).unwrap(), expected);
            object("backends/shop-web-7/backend", &value);
        };
        check(json!({}), json!({ "Type": "http" }));
        check(json!({ "useStickySessions": true }), json!({ "Type": "http", "Settings": { "Sticky": {} } }));
        check(
            json!({ "timeouts": { "drain": "10m" } }),
            json!({ "Type": "http", "Settings": { "Timeouts": { "Drain": "10m0s" } } }),
        );
        check(json!({ "timeouts": { "drain": "0s" } }), json!({ "Type": "http" }));
    }

    #[track_caller]
    fn check_wanted(fields: Value, expected: Value) {
        let descriptor = descriptor(fields);
        let wanted = wanted(&descriptor.app(), &descriptor);
        for (key, value) in &wanted {
            object(key, &value.to_string());
        }
        assert_eq!(serde_json::to_value(&wanted).unwrap(), expected);
    }

    #[test]
    fn without_a_host_nothing_stands_before_the_backends() {
        let fields =
            json!({ "useCompression": true, "additionHttpHeaders": [{ "Header": "A", "Value": "a" }] });
        check_wanted(fields, json!({}));
    }

    #[test]
    fn a_host_is_a_frontend_with_its_middlewares() {
        let fields = json!({
            "frontend": "shop.example", "useCompression": true, "redirectWww": true,
            "additionHttpHeaders": [
                { "Header": "X-Frame-Options", "Value": "DENY" }, { "Header": "Link", "Value": "<a>" },
                { "Header": "link", "Value": "<b>" }, { "Header": "LINK", "Value": "<c>" },
            ],
        });
        let edits =
            json!({ "Set": { "X-Frame-Options": "DENY", "Link": "<a>" }, "Add": { "Link": ["<b>", "<c>"] } });
        let frontend = |route: &str| json!({ "Type": "http", "BackendId": "shop-web", "Route": route, "Settings": { "PassHostHeader": true } });
        let redirect = json!({ "Host": "shop.example", "Code": 308 });
        let expected = json!({
            "frontends/shop-web/frontend": frontend("Host(`shop.example`)"),
            "frontends/shop-web/middlewares/compress": { "Type": "compress", "Middleware": {} },
            "frontends/shop-web/middlewares/headers": { "Type": "headers", "Middleware": { "Response": edits } },
            "frontends/shop-web-www/frontend": frontend("Host(`www.shop.example`)"),
            "frontends/shop-web-www/middlewares/redirect": { "Type": "redirect", "Middleware": redirect },
        });
        check_wanted(fields, expected);
    }

    #[test]
    fn secrets_are_looked_for_from_the_most_fitting_on() {
        let check = |fields: Value, expected: &[&str]| {
            assert_eq!(tls_secret_names(&descriptor(fields)), expected);
        };
        check(json!({}), &[]);
        check(json!({ "frontend": "a.shop.example" }), &["a.shop.example", "shop.example"]);
        check(json!({ "frontend": "shop.example" }), &["shop.example"]);
        check(json!({ "frontend": "shop" }), &["shop"]);
        let named = json!({ "frontend": "a.b.shop.example", "tlsSecretName": "own" });
        check(named, &["own", "a.b.shop.example", "shop.example"]);
    }

    #[test]
    fn the_hosts_are_those_of_the_frontends() {
        let both = descriptor(json!({ "frontend": "shop.example", "redirectWww": true }));
        assert_eq!(hosts(&both), ["shop.example", "www.shop.example"]);
        assert!(hosts(&descriptor(json!({ "redirectWww": true }))).is_empty());
    }
}
