//! Servers that ask for a certificate of ours.

use super::curl;
use crate::support::echo::Echo;
use crate::support::{Directory, Flipgate, TestAuthority, TestCertificate, shared, until};
use base64::Engine;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::Duration;

const MOST: Duration = Duration::from_secs(10);

fn encoded(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn plain(pair: &TestCertificate) -> Value {
    json!({"Cert": encoded(&pair.certificate), "Key": encoded(&pair.key)})
}

/// A backend whose servers are asked how they are, over TLS too.
fn backend(server: &TestCertificate, protocol: &str, pair: Option<Value>) -> Value {
    let mut tls = json!({"CA": server.certificate, "ServerName": "server.example"});
    if let Some(pair) = pair {
        tls["KeyPair"] = pair;
    }
    json!({"Type": "http", "Settings": {"Protocol": protocol, "TLS": tls, "Health": {"Interval": "100ms"}}})
}

#[test]
fn servers_that_ask_for_a_certificate_get_the_backends() {
    let _machine = shared();
    let (ours, theirs) = (TestAuthority::new("ours"), TestAuthority::new("theirs"));
    let server = TestCertificate::of(&["server.example"]);
    let (good, wrong) = (ours.client("proxy", 30), theirs.client("proxy", 30));
    let directory = Directory::with_listener();
    let dir = directory.path().parent().unwrap().to_owned();
    let secrets = dir.join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    let write = |pair: &TestCertificate| {
        std::fs::write(secrets.join("crt"), &pair.certificate).unwrap();
        std::fs::write(secrets.join("key"), &pair.key).unwrap();
    };
    write(&good);
    std::fs::write(dir.join("seal.key"), "07".repeat(32)).unwrap();
    let files = json!({"CertFile": "crt", "KeyFile": "key"});
    let _echoes = [("http1", false), ("http2", true)].map(|(protocol, http2)| {
        let echo = Echo::mutual(&server, &ours, http2);
        for (id, pair) in [
            ("none", None),
            ("wrong", Some(plain(&wrong))),
            ("good", Some(plain(&good))),
            ("files", Some(files.clone())),
        ] {
            let id = format!("{protocol}{id}");
            directory.put_way(&id, &format!("Path(`/{id}`)"), echo.address());
            directory.put(&format!("backends/{id}/backend"), &backend(&server, protocol, pair));
            let url = json!({"URL": format!("https://{}", echo.address())});
            directory.put(&format!("backends/{id}/servers/a"), &url);
        }
        echo
    });
    let flipgate = Flipgate::on(&directory.url())
        .arguments(&["--secrets-dir", secrets.to_str().unwrap()])
        .arguments(&["--seal-key-file", dir.join("seal.key").to_str().unwrap()])
        .ready();
    let address = flipgate.address("http");
    let status = |id: &str| curl(&[format!("http://{address}/{id}")]).status;
    let standing = |id: &str| {
        let routes = flipgate.admin().json(&format!("/v3/routes?frontend={id}"));
        routes["routes"][0]["servers"][0]["standing"].as_str().map(str::to_owned)
    };
    let becomes = |id: &str, expected: &str| {
        until(&format!("{id} is {expected}"), MOST, || (standing(id)? == expected).then_some(()));
    };
    for protocol in ["http1", "http2"] {
        for id in ["good", "files"] {
            becomes(&format!("{protocol}{id}"), "well");
            assert_eq!(status(&format!("{protocol}{id}")), 200);
        }
        for id in ["none", "wrong"] {
            becomes(&format!("{protocol}{id}"), "unwell");
            assert!(status(&format!("{protocol}{id}")) >= 502);
        }
    }

    // Through the API the pair is sealed on its way in, and never comes out.
    let value = backend(&server, "http1", Some(plain(&good)));
    let put = flipgate.admin().send("PUT", "/v3/backends/http1none", &[], Some(&value));
    assert_eq!(put.status, 200, "{}", put.text());
    until("the sealed pair is in force", MOST, || (status("http1none") == 200).then_some(()));
    becomes("http1none", "well");
    let stored = std::fs::read_to_string(directory.path().join("backends/http1none/backend.json")).unwrap();
    assert!(!stored.contains(&encoded(&good.key)), "{stored}");
    let shown = flipgate.admin().ask("GET", "/v3/backends").text();
    assert!(!shown.contains(&encoded(&good.key)) && shown.contains("\"sealed\""), "{shown}");

    // Files are read again when the process is told to.
    write(&wrong);
    flipgate.signal(Signal::SIGHUP);
    becomes("http1files", "unwell");
    write(&good);
    flipgate.signal(Signal::SIGHUP);
    becomes("http1files", "well");
}
