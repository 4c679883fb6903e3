//! Frontends and hosts.

use super::{Fixture, paper};
use crate::deployer::machine::{Course, Look, Stage};
use crate::model::edit::set_path;
use crate::store::Area;
use crate::tls::SealKeys;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const FRONTEND: &str = "frontends/shop-web/frontend";
const HOST: &str = "hosts/shop.example/host";
const SECRET: &str = "/api/v1/namespaces/shop/secrets/shop.example";

fn descriptor() -> Value {
    json!({ "frontend": "shop.example" })
}

#[track_caller]
fn failed(look: Look) -> String {
    match look {
        Look::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// A Secret with a certificate for a host.
fn secret(host: &str) -> Value {
    use base64::Engine as _;
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "tls", "namespace": "shop" },
        "type": "kubernetes.io/tls",
        "data": { "tls.crt": encode(made.cert.pem()), "tls.key": encode(made.signing_key.serialize_pem()) },
    })
}

#[tokio::test(start_paused = true)]
async fn a_frontend_is_made_and_taken_away_again() {
    let mut fixture = Fixture::new(false, descriptor()).await;
    let (_paper, _running) = paper::start(&fixture.memory);
    assert_eq!(fixture.run(Stage::Route, Course::Forward).await, Look::Done);
    let value = fixture.value(FRONTEND).unwrap();
    assert_eq!(value["BackendId"], "shop-web");
    assert!(value["Route"].as_str().unwrap().contains("shop.example"), "{value}");
    assert!(fixture.log().contains("no certificate was found"), "{}", fixture.log());
    assert!(fixture.keys(Area::Routing, "hosts/").is_empty());
    let mut fixture = fixture.taken_over();
    let revision = fixture.memory.snapshot(Area::Routing).entries;
    assert_eq!(fixture.run(Stage::Route, Course::Forward).await, Look::Done);
    assert_eq!(fixture.memory.snapshot(Area::Routing).entries, revision);
    assert_eq!(fixture.run(Stage::Route, Course::Back).await, Look::Done);
    assert_eq!(fixture.value(FRONTEND), None);
    assert_eq!(fixture.run(Stage::Route, Course::Back).await, Look::Done);
}

#[tokio::test(start_paused = true)]
async fn what_people_added_to_a_frontend_stays() {
    let mut fixture = Fixture::new(true, descriptor()).await;
    let before = json!({
        "mine": 1, "Type": "http", "backendid": "elsewhere", "Route": "Host(`old.example`)",
        "Settings": { "Hostname": "h" },
    });
    fixture.put(FRONTEND, &before);
    fixture.charge.application.keys = vec![FRONTEND.into()];
    assert_eq!(fixture.run(Stage::Route, Course::Forward).await, Look::Done);
    let mut value = fixture.value(FRONTEND).unwrap();
    assert_eq!((&value["mine"], &value["Settings"]["Hostname"]), (&json!(1), &json!("h")));
    assert_eq!(value["backendid"], "shop-web");
    // Somebody puts it into maintenance meanwhile.
    set_path(&mut value, "Maintenance", true.into()).unwrap();
    fixture.put(FRONTEND, &value);
    assert_eq!(fixture.run(Stage::Route, Course::Back).await, Look::Done);
    let mut expected = before;
    set_path(&mut expected, "Maintenance", true.into()).unwrap();
    let found = fixture.value(FRONTEND).unwrap();
    let id =
        |value: &Value| crate::model::edit::last_spelled(value.as_object().unwrap(), "BackendId").cloned();
    assert_eq!(id(&found), Some(json!("elsewhere")));
    for field in ["mine", "Route", "Settings", "Maintenance", "Type"] {
        assert_eq!(found[field], expected[field], "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_version_before_had_and_this_one_has_not_goes() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let old = json!({ "Type": "http", "BackendId": "shop-web", "Route": "Host(`shop.example`)" });
    fixture.put(FRONTEND, &old);
    fixture.charge.application.keys =
        vec![FRONTEND.into(), "backends/shop-web/backend".into(), "hosts/gone/host".into()];
    assert_eq!(fixture.run(Stage::Route, Course::Forward).await, Look::Done);
    assert_eq!(fixture.value(FRONTEND), None);
    assert!(fixture.alias().is_some());
    assert_eq!(fixture.run(Stage::Route, Course::Back).await, Look::Done);
    assert_eq!(fixture.value(FRONTEND), Some(old));
}

#[tokio::test(start_paused = true)]
async fn what_is_somebody_elses_is_not_taken() {
    let foreign = json!({ "Type": "http", "BackendId": "x", "Route": "Path(`/`)" });
    let same = json!({ "Type": "http", "BackendId": "x", "Route": "Host(\"shop.example\")" });
    for (key, value, host, part) in [
        (FRONTEND, &foreign, "shop.example", "no deployment of shop/web has made it"),
        ("frontends/shop-web", &foreign, "shop.example", "no deployment of shop/web has made it"),
        ("frontends/other/frontend", &same, "shop.example", "the frontend other has the route"),
        ("frontends/other/frontend", &foreign, "bank.example", "may not have the host shop.example"),
    ] {
        let mut fixture = Fixture::new(true, descriptor()).await;
        fixture.world.hosts = [("shop", host)].into_iter().collect();
        fixture.put(key, value);
        let reason = failed(fixture.run(Stage::Route, Course::Forward).await);
        assert!(reason.contains(part), "{reason}");
        let checked = super::super::route::check(&fixture.world, &fixture.charge).await.unwrap();
        assert_eq!(checked, Err(reason));
        assert_eq!(fixture.value(key).as_ref(), Some(value));
        assert_eq!(fixture.keys(Area::Routing, "frontends/"), [key]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_sealed_once_and_renewed() {
    const SEAL: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let objects = BTreeMap::from([(SECRET, secret("shop.example"))]);
    let mut fixture = Fixture::with_objects(false, descriptor(), objects).await;
    fixture.world.seal_keys = SealKeys::parse(&[SEAL]).unwrap();
    assert_eq!(fixture.run(Stage::Route, Course::Forward).await, Look::Done);
    let first = fixture.value(HOST).unwrap();
    let sealed = crate::model::Object::parse(
        &crate::model::ObjectKey::parse(HOST).unwrap(),
        first.to_string().as_bytes(),
        crate::model::Strictness::Stored,
    );
    let pair = sealed.object.as_ref().and_then(crate::model::Object::key_pair);
    assert!(matches!(pair, Some(crate::model::KeyPairSource::Sealed { .. })));
    assert_eq!(fixture.run(Stage::Route, Course::Forward).await, Look::Done);
    assert_eq!(fixture.value(HOST), Some(first.clone()));
    fixture.world.client = super::client(BTreeMap::from([(SECRET, secret("shop.example"))]));
    assert_eq!(fixture.run(Stage::Route, Course::Forward).await, Look::Done);
    let second = fixture.value(HOST);
    assert!(second.is_some() && second != Some(first));
    // Without the Secret it keeps what it has.
    fixture.charge.application.keys = vec![HOST.into()];
    fixture.world.client = super::client(BTreeMap::new());
    assert_eq!(fixture.run(Stage::Route, Course::Forward).await, Look::Done);
    assert_eq!(fixture.value(HOST), second);
    assert_eq!(fixture.run(Stage::Route, Course::Back).await, Look::Done);
    assert_eq!(fixture.value(HOST), None);
}

#[tokio::test(start_paused = true)]
async fn certificates_that_are_not_there_or_not_ours() {
    let named = json!({ "frontend": "shop.example", "tlsSecretName": "tls" });
    let path = "/api/v1/namespaces/shop/secrets/tls";
    let mut opaque = secret("shop.example");
    opaque["type"] = "Opaque".into();
    for (objects, part) in [
        (BTreeMap::new(), "the Secret shop/tls does not exist"),
        (BTreeMap::from([(path, opaque)]), "the Secret shop/tls is not of the type kubernetes.io/tls"),
    ] {
        let mut fixture = Fixture::with_objects(false, named.clone(), objects).await;
        let reason = failed(fixture.run(Stage::Route, Course::Forward).await);
        assert!(reason.contains(part), "{reason}");
    }
    // One that is for something else is not shown, unless it was asked for.
    for (descriptor, path, expected) in [(descriptor(), SECRET, false), (named.clone(), path, true)] {
        let objects = BTreeMap::from([(path, secret("bank.example"))]);
        let mut fixture = Fixture::with_objects(false, descriptor, objects).await;
        assert_eq!(fixture.run(Stage::Route, Course::Forward).await, Look::Done);
        assert_eq!(fixture.value(HOST).is_some(), expected);
        assert!(fixture.log().contains("is not for shop.example"), "{}", fixture.log());
    }
    let objects = BTreeMap::from([(path, secret("shop.example"))]);
    let mut fixture = Fixture::with_objects(false, named, objects).await;
    let theirs = json!({ "Settings": { "Default": true } });
    fixture.put(HOST, &theirs);
    assert_eq!(fixture.run(Stage::Route, Course::Forward).await, Look::Done);
    assert_eq!(fixture.value(HOST), Some(theirs.clone()));
    assert!(fixture.log().contains("somebody else's"), "{}", fixture.log());
    assert_eq!(fixture.run(Stage::Route, Course::Back).await, Look::Done);
    assert_eq!(fixture.value(HOST), Some(theirs));
    // Nothing readable is written unless that may be.
    let objects = BTreeMap::from([(SECRET, secret("shop.example"))]);
    let mut fixture = Fixture::with_objects(false, descriptor(), objects).await;
    fixture.world.plain_keys = false;
    let reason = failed(fixture.run(Stage::Route, Course::Forward).await);
    assert!(reason.contains("there is no seal key"), "{reason}");
}
