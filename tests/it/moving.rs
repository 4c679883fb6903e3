//! From vulcand to here: its order of routes, its keys in etcd, its seal keys.

use crate::support::etcd::Etcd;
use crate::support::flipgate::{command, verb};
use crate::support::{Connection, Directory, Flipgate, Process, Python, free_port, shared, until};
use crate::vulcand::{vctl_program, vulcand_program};
use ::flipgate::model::{Host, Object, ObjectKey, Strictness};
use ::flipgate::tls::{Certificate, SealKeys};
use base64::Engine;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn the_order_of_routes_is_a_choice() {
    let _machine = shared();
    let server = Python::upstream();
    let directory = Directory::with_listener();
    directory.put_way("exact", "Path(`/42`)", server.address());
    directory.put_way("any", "Path(`/<id>`)", server.address());
    for (order, first) in [("flipgate", "exact"), ("vulcand", "any")] {
        let flipgate = Flipgate::on(&directory.url()).arguments(&["--route-order", order]).ready();
        let routes = flipgate.admin().json("/v3/routes");
        assert_eq!(routes["order"], *order);
        assert_eq!(routes["routes"][0]["frontend"], *first, "{routes}");
        let admin = format!("http://{}", flipgate.admin().address());
        let (code, out, _) = verb(&["explain", "GET", "http://a/42", "--admin", &admin], Path::new("/"));
        assert_eq!(code, 0);
        assert!(out.contains(&format!("frontend  {first}")), "{out}");
        assert_eq!(out.contains("in vulcand's order"), order == "vulcand", "{out}");
    }
}

#[tokio::test]
async fn keys_come_over_from_another_prefix() {
    let _machine = shared();
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    let frontend = r#"{"Id":"f","Type":"http","BackendId":"b","Route":"Path(`/`)","Stray":1}"#;
    let lease = client.lease_grant(60, None).await.unwrap().id();
    client.put("vulcand/frontends/f/frontend", frontend, None).await.unwrap();
    client.put("vulcand/frontends/f2/frontend", "{", None).await.unwrap();
    client.put("vulcand2/frontends/other/frontend", frontend, None).await.unwrap();
    let leased = etcd_client::PutOptions::new().with_lease(lease);
    let server = r#"{"URL":"http://10.0.0.1:80"}"#;
    client.put("vulcand/backends/b/servers/s", server, Some(leased)).await.unwrap();
    let store = format!("etcd://{}", etcd.endpoint().trim_start_matches("http://"));
    let import = |more: &[&str]| {
        let base = ["import", "vulcand", "--from", &store, "--store", &store];
        verb(&[&base[..], more].concat(), Path::new("/"))
    };
    let (code, out, error) = import(&["--output", "json"]);
    assert_eq!(code, 1, "one of them cannot be carried over: {error}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["carried"], json!(["frontends/f/frontend", "backends/b/servers/s"]));
    let notes = told["notes"].to_string();
    for said in ["frontends/f2/frontend", "Stray", "is written to last", "begin with another"] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
    let kept = client.get("/flipgate/frontends/f/frontend", None).await.unwrap();
    assert!(kept.kvs().is_empty(), "nothing is written without --write");
    assert_eq!(import(&["--write"]).0, 1);
    let kept = client.get("/flipgate/frontends/f/frontend", None).await.unwrap();
    let value: Value = serde_json::from_slice(kept.kvs()[0].value()).unwrap();
    assert_eq!((&value["BackendId"], &value["Stray"]), (&"b".into(), &Value::Null));
    let kept = client.get("/flipgate/backends/b/servers/s", None).await.unwrap();
    assert_eq!(kept.kvs()[0].lease(), 0);
    // The other spelling of the prefix is told.
    let (code, _, error) = import(&["--from-prefix", "/vulcand"]);
    assert!(code == 1 && error.contains("`vulcand`") || error.contains("vulcand/"), "{error}");
}

/// Either makes the key, either seals, and the other opens.
#[tokio::test]
async fn seal_keys_and_sealed_pairs_are_vulcands() {
    let (Some(vctl), Some(vulcand)) = (vctl_program(), vulcand_program()) else { return };
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    fs::write(file("cert.pem"), pair.cert.pem()).unwrap();
    fs::write(file("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    let (cert, private) = (file("cert.pem"), file("key.pem"));
    let printed = |mut command: Command, arguments: &[&str]| {
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let made =
        [printed(Command::new(&vctl), &["secret", "new_key"]), printed(command(), &["secret", "new-key"])];
    for key in made.iter().map(|key| key.trim()) {
        fs::write(file("seal.key"), key).unwrap();
        let theirs = printed(
            Command::new(&vctl),
            &["secret", "seal_keypair", "-sealKey", key, "-cert", &cert, "-privateKey", &private],
        );
        let ours = printed(
            command(),
            &["secret", "seal", "--seal-key-file", &file("seal.key"), "--cert", &cert, "--key", &private],
        );
        let fields = |text: &str| -> Vec<String> {
            let value: Value = serde_json::from_str(text).unwrap();
            let inner = value["Value"].as_object().unwrap().keys().cloned();
            value.as_object().unwrap().keys().cloned().chain(inner).collect()
        };
        assert_eq!(fields(&ours), fields(&theirs));
        for sealed in [&ours, &theirs] {
            let host = ObjectKey::parse("hosts/a.example").unwrap();
            let value = json!({ "Settings": { "KeyPair": serde_json::from_str::<Value>(sealed).unwrap() } });
            let parsed = Object::parse_value(&host, &value, Strictness::Written).object;
            let Some(Object::Host(Host { key_pair: Some(source), .. })) = parsed else { panic!("{sealed}") };
            let certificate = Certificate::load(&source, &SealKeys::parse(&[key]).unwrap(), None).unwrap();
            assert_eq!(&*certificate.names()[0], "a.example");
            let other = SealKeys::parse(&["07".repeat(32).as_str()]).unwrap();
            assert!(Certificate::load(&source, &other, None).is_err());
        }
    }
    vulcand_opens(&vulcand, &dir, made[1].trim(), (&cert, &private)).await;
}

/// A host's value that we made is what vulcand shows it has unsealed.
async fn vulcand_opens(vulcand: &Path, dir: &tempfile::TempDir, key: &str, (cert, private): (&str, &str)) {
    let etcd = Etcd::start().await;
    let seal_key = dir.path().join("seal.key");
    fs::write(&seal_key, key).unwrap();
    let (code, value, error) = verb(
        &[
            "secret",
            "seal",
            "--host",
            "--cert",
            cert,
            "--key",
            private,
            "--seal-key-file",
            seal_key.to_str().unwrap(),
        ],
        Path::new("/"),
    );
    assert_eq!(code, 0, "{error}");
    etcd.client().await.put("vulcand/hosts/a.example/host", value.trim(), None).await.unwrap();
    let (port, admin_port) = (free_port(), free_port());
    let mut command = Command::new(vulcand);
    command
        .env_clear()
        .arg(format!("-etcd={}", etcd.endpoint()))
        .args(["-interface=127.0.0.1", "-apiInterface=127.0.0.1", "-sealKey", key])
        .arg(format!("-port={port}"))
        .arg(format!("-apiPort={admin_port}"));
    let _vulcand = Process::start(&mut command, &dir.path().join("vulcand-output"));
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], admin_port));
    let shown = until("vulcand shows the host", Duration::from_secs(20), || {
        let answer = Connection::try_open(admin).ok()?.get("vulcand", "/v2/hosts/a.example").ok()?;
        (answer.status == 200).then(|| answer.text())
    });
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let pem = fs::read(cert).unwrap();
    assert_eq!(shown["Settings"]["KeyPair"]["Cert"], base64::engine::general_purpose::STANDARD.encode(pem));
}
