//! What vulcand's users suffered from, or its source shows, and what is not inherited: one test each.

use super::PREFIX;
use super::upstreams::Upstreams;
use crate::support::{Answer, Connection, Flipgate, Keys, TestCertificate, get, shared, until};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An etcd with a listener, servers, and no proxy yet.
struct Scene {
    keys: Keys,
    upstreams: Upstreams,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self { keys: Keys::start().below(PREFIX), upstreams: Upstreams::start() };
        scene.keys.put_listener();
        scene.keys.put("backends/base/backend", &json!({"Type": "http"}));
        let server = scene.server("a");
        scene.keys.put("backends/base/servers/a", &server);
        scene
    }

    fn server(&self, name: &str) -> Value {
        let places = self.upstreams.places();
        let (_, address) = places.iter().find(|(other, _)| *other == name).unwrap();
        json!({"URL": format!("http://{address}")})
    }

    fn frontend(&mut self, id: &str, route: &str, backend: &str, settings: Value) -> i64 {
        let value = json!({"Type": "http", "BackendId": backend, "Route": route, "Settings": settings});
        self.keys.put(&format!("frontends/{id}/frontend"), &value)
    }

    fn start(&self) -> Flipgate {
        Flipgate::on(&self.keys.url()).arguments(&["--prefix", PREFIX]).ready()
    }
}

/// The server that answered; the status where none did.
fn answered(answer: &Answer) -> String {
    answer.field("x-server").map_or_else(|| answer.status.to_string(), str::to_owned)
}

fn ask(flipgate: &Flipgate, host: &str, target: &str) -> String {
    answered(&get(flipgate.address("http"), host, target))
}

#[test]
fn deleting_one_leaves_those_whose_names_begin_so() {
    let _machine = shared();
    let mut scene = Scene::new();
    for id in ["f1", "f10", "f1-canary"] {
        scene.frontend(id, &format!("Host(`{id}.test`)"), "base", json!({}));
    }
    for (backend, server) in [("b1", "s1"), ("b10", "s1"), ("base", "a1"), ("base", "a10")] {
        let value = scene.server("a");
        scene.keys.put(&format!("backends/{backend}/backend"), &json!({"Type": "http"}));
        scene.keys.put(&format!("backends/{backend}/servers/{server}"), &value);
    }
    let certificate = TestCertificate::of(&["example.com"]);
    for host in ["example.com", "example.com.au"] {
        scene.keys.put(&format!("hosts/{host}/host"), &certificate.host(false));
    }
    let flipgate = scene.start();
    for (path, gone, left) in [
        (
            "frontends/f1",
            "frontends/f1/frontend",
            vec!["frontends/f10/frontend", "frontends/f1-canary/frontend"],
        ),
        ("backends/base/servers/a1", "backends/base/servers/a1", vec!["backends/base/servers/a10"]),
        ("backends/b1", "backends/b1/backend", vec!["backends/b10/backend", "backends/b10/servers/s1"]),
        ("hosts/example.com", "hosts/example.com/host", vec!["hosts/example.com.au/host"]),
    ] {
        let answer = flipgate.admin().ask("DELETE", &format!("/v3/{path}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        flipgate.admin().served(answer.json()["revision"].as_i64().unwrap());
        assert_eq!(scene.keys.get(gone), None, "{path}");
        for key in left {
            assert!(scene.keys.get(key).is_some(), "{path} took {key} along");
        }
    }
    assert_eq!(
        ["f1", "f10", "f1-canary"].map(|id| ask(&flipgate, &format!("{id}.test"), "/")),
        ["404", "a", "a"]
    );
}

#[test]
fn a_snapshot_keeps_backends_apart_whose_names_begin_alike() {
    let _machine = shared();
    let mut scene = Scene::new();
    for (backend, server) in [("app-1", "a"), ("app-10", "b"), ("app-1b", "c")] {
        let value = scene.server(server);
        scene.keys.put(&format!("backends/{backend}/backend"), &json!({"Type": "http"}));
        scene.keys.put(&format!("backends/{backend}/servers/{server}"), &value);
        scene.frontend(backend, &format!("Host(`{backend}.test`)"), backend, json!({}));
    }
    // What lies below a prefix that only begins alike is another's.
    let mut other = scene.keys.below("vulcand2");
    other.put(
        "frontends/x/frontend",
        &json!({"Type": "http", "BackendId": "base", "Route": "Host(`x.test`)"}),
    );
    scene.keys = other.below(PREFIX);
    let flipgate = scene.start();
    for (host, server) in [("app-1", "a"), ("app-10", "b"), ("app-1b", "c")] {
        for _ in 0..6 {
            assert_eq!(ask(&flipgate, &format!("{host}.test"), "/"), server, "{host}");
        }
    }
    assert_eq!(ask(&flipgate, "x.test", "/"), "404");
}

#[test]
fn bad_objects_do_not_stop_the_start() {
    let _machine = shared();
    let mut scene = Scene::new();
    scene.frontend("good", "Host(`good.test`)", "base", json!({}));
    scene.frontend("dangling", "Host(`dangling.test`)", "nowhere", json!({}));
    // As it stands in vulcand's own documentation, where its reader wants a string.
    scene
        .keys
        .put("hosts/bad.test/host", &json!({"Settings": {"KeyPair": {"Cert": "no", "Key": "neither"}}}));
    scene.keys.put_bytes("hosts/worse.test/host", b"{".to_vec());
    scene.keys.put_bytes("listeners/bad", b"[]".to_vec());
    let flipgate = scene.start();
    assert_eq!(ask(&flipgate, "good.test", "/"), "a");
    for key in
        ["hosts/bad.test/host", "hosts/worse.test/host", "listeners/bad", "frontends/dangling/frontend"]
    {
        let problem = flipgate.admin().problem(key, |problem| problem["key"] == key);
        assert_eq!(
            (&problem["severity"], &problem["inForce"]),
            (&json!("error"), &json!("none")),
            "{problem}"
        );
    }
}

#[test]
fn a_frontend_may_come_before_its_backend() {
    let _machine = shared();
    let mut scene = Scene::new();
    let flipgate = scene.start();
    flipgate.admin().served(scene.frontend("early", "Host(`early.test`)", "late", json!({})));
    assert_eq!(ask(&flipgate, "early.test", "/"), "404");
    let server = scene.server("b");
    flipgate.admin().served(scene.keys.put("backends/late/servers/b", &server));
    assert_eq!(ask(&flipgate, "early.test", "/"), "b");
    flipgate.admin().served(scene.keys.put("backends/late/backend", &json!({"Type": "http"})));
    assert_eq!(ask(&flipgate, "early.test", "/"), "b");
    assert_eq!(flipgate.admin().problems(), [json!(null); 0]);
}

#[test]
fn settings_change_while_it_runs() {
    let _machine = shared();
    let mut scene = Scene::new();
    scene.frontend("live", "Host(`live.test`)", "base", json!({}));
    let flipgate = scene.start();
    let address = flipgate.address("http");
    let mut connection = Connection::open(address);
    let mut seen = |name: &str| -> Option<String> {
        let told = connection.get("live.test", "/").unwrap().json();
        let fields = told["fields"].as_array().unwrap();
        let found = fields.iter().find(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name));
        found.map(|field| field[1].as_str().unwrap().to_owned())
    };
    let own = scene.server("a")["URL"].as_str().unwrap().trim_start_matches("http://").to_owned();
    assert_eq!((seen("host"), seen("x-forwarded-server")), (Some(own.clone()), None));
    for (settings, host, server) in [
        (json!({"PassHostHeader": true}), "live.test", None),
        (json!({"PassHostHeader": true, "Stream": true, "Hostname": "edge"}), "live.test", Some("edge")),
        (json!({"PassHostHeader": false, "Stream": false}), &*own, None),
    ] {
        flipgate.admin().served(scene.frontend("live", "Host(`live.test`)", "base", settings.clone()));
        assert_eq!(seen("host").as_deref(), Some(host), "{settings}");
        assert_eq!(seen("x-forwarded-server").as_deref(), server, "{settings}");
    }
}

#[test]
fn a_route_changes_and_changes_back_and_never_misses() {
    let _machine = shared();
    let mut scene = Scene::new();
    let routes =
        ["Host(`swap.test`)", "Host(`swap.test`) && Path(`/x`)", "PathRegexp(`^/x`) && Host(`swap.test`)"];
    scene.frontend("swap", routes[0], "base", json!({}));
    let flipgate = scene.start();
    let address = flipgate.address("http");
    let ended = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut connection = Connection::open(address);
            let mut asked = 0;
            while !ended.load(Ordering::SeqCst) {
                let answer = connection.get("swap.test", "/x").unwrap();
                assert_eq!(answered(&answer), "a", "request {asked}");
                asked += 1;
            }
            asked
        });
        for round in 1..=30 {
            flipgate.admin().served(scene.frontend("swap", routes[round % 3], "base", json!({})));
        }
        ended.store(true, Ordering::SeqCst);
        asker.join().unwrap()
    });
    assert!(asked > 30, "{asked} requests");
    assert_eq!(ask(&flipgate, "swap.test", "/other"), "a");
}

#[test]
fn what_a_client_sends_is_no_template() {
    let _machine = shared();
    let mut scene = Scene::new();
    scene.frontend("text", "Host(`text.test`)", "base", json!({}));
    let rewrite = json!({"Type": "rewrite", "Middleware": {"Regexp": "/v1/(.*)", "Replacement": "/$1"}});
    scene.keys.put("frontends/text/middlewares/r", &rewrite);
    let flipgate = scene.start();
    for target in ["/{{.Request.Host}}", "/{{", "/x?q={{.Request.Header}}", "/{{printf_%22x%22}}"] {
        let answer = get(flipgate.address("http"), "text.test", &format!("/v1{target}"));
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(answer.json()["line"], format!("GET {target} HTTP/1.1"));
    }
}

/// A connection with TLS, kept until dropped.
fn secure(address: SocketAddr, certificate: &TestCertificate) -> StreamOwned<ClientConnection, TcpStream> {
    let config = certificate.trusting().with_no_client_auth();
    let name = ServerName::try_from("shop.test").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

/// The first line of the answer to a GET, or why there is none.
fn get_secure(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Result<String, std::io::Error> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer);
        // The body is one JSON object that ends it.
        if read == 0 || text.ends_with('}') {
            return Ok(text.lines().next().unwrap_or_default().to_owned());
        }
    }
}

#[test]
fn a_certificate_changes_and_connections_stay() {
    let _machine = shared();
    let mut scene = Scene::new();
    scene.keys.put("listeners/https", &crate::support::directory::listener("https"));
    scene.frontend("shop", "Host(`shop.test`)", "base", json!({}));
    let (first, second) = (TestCertificate::of(&["shop.test"]), TestCertificate::of(&["shop.test"]));
    let other = TestCertificate::of(&["other.test"]);
    scene.keys.put("hosts/shop.test/host", &first.host(false));
    let flipgate = scene.start();
    let address = flipgate.address("https");
    let mut kept = secure(address, &first);
    assert_eq!(get_secure(&mut kept).unwrap(), "HTTP/1.1 200 Told");
    for revision in [
        scene.keys.put("hosts/other.test/host", &other.host(true)),
        scene.keys.put("hosts/shop.test/host", &second.host(false)),
        scene.keys.delete("hosts/other.test/host"),
    ] {
        flipgate.admin().served(revision);
        assert_eq!(get_secure(&mut kept).unwrap(), "HTTP/1.1 200 Told", "revision {revision}");
    }
    assert_eq!(get_secure(&mut secure(address, &second)).unwrap(), "HTTP/1.1 200 Told");
    assert!(get_secure(&mut secure(address, &first)).is_err(), "the old certificate is still shown");
}

#[test]
fn no_private_key_in_any_answer() {
    let _machine = shared();
    let mut scene = Scene::new();
    let certificate = TestCertificate::of(&["shop.test"]);
    scene.keys.put("hosts/shop.test/host", &certificate.host(true));
    // One that is not in force either.
    let other = TestCertificate::of(&["mixed.test"]);
    let mixed = TestCertificate { certificate: certificate.certificate.clone(), key: other.key.clone() };
    scene.keys.put("hosts/mixed.test/host", &mixed.host(false));
    let flipgate = scene.start();
    flipgate.admin().problem("the mixed pair", |problem| problem["key"] == "hosts/mixed.test/host");
    let description = flipgate.admin().json("/v3/openapi.json");
    let mut paths = description["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    paths.extend(["/v3/hosts/shop.test", "/v3/hosts/mixed.test"].map(str::to_owned));
    paths.extend(
        ["/v2/hosts", "/v2/hosts/shop.test", "/v2/hosts/mixed.test", "/v1/status"].map(str::to_owned),
    );
    let mut told = flipgate.output();
    let mut hosts = 0;
    for path in paths.iter().filter(|path| !path.contains('{')) {
        let text = flipgate.admin().ask("GET", path).text();
        hosts += usize::from(text.contains("shop.test"));
        told.push_str(&text);
    }
    for body in ["{\"Host\":{\"Name\":\"x.test\",\"Settings\":{\"KeyPair\":1}}}", "{"] {
        let value: Value = serde_json::from_str(body).unwrap_or_default();
        told.push_str(&flipgate.admin().send("PUT", "/v3/hosts/shop.test", &[], Some(&value)).text());
    }
    assert!(hosts >= 3, "only {hosts} answers were about hosts");
    assert!(!told.contains("PRIVATE KEY"), "a private key in PEM");
    use base64::Engine;
    for key in [&certificate.key, &other.key] {
        let inner = key.lines().filter(|line| !line.starts_with('-')).max_by_key(|line| line.len()).unwrap();
        assert!(!told.contains(inner), "a private key's body");
        let sealed_not = base64::engine::general_purpose::STANDARD.encode(key);
        assert!(!told.contains(&sealed_not[40..100]), "a private key as it is stored");
    }
}

#[test]
fn ipv6_clients_are_limited_apart() {
    let _machine = shared();
    let mut scene = Scene::new();
    scene.keys.put(
        "listeners/behind",
        &json!({"Protocol": "http", "Address": {"Network": "tcp", "Address": "127.0.0.1:0"},
                "ProxyProtocol": "PROXY_V1", "ProxyProtocolFrom": ["127.0.0.0/8"]}),
    );
    scene.frontend("limited", "Host(`limited.test`)", "base", json!({}));
    let limit = json!({"Requests": 1, "PeriodSeconds": 100, "Burst": 2, "Variable": "client.ip"});
    scene.keys.put("frontends/limited/middlewares/l", &json!({"Type": "ratelimit", "Middleware": limit}));
    let flipgate = scene.start();
    let address = flipgate.address("behind");
    // vulcand counts all of these as one, the client `[2001`.
    for client in ["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db9::1"] {
        let mut connection = Connection::open(address);
        connection.send(format!("PROXY TCP6 {client} 2001:db8::ff 4711 80\r\n").as_bytes());
        let statuses = [0; 3].map(|_| connection.get("limited.test", "/").unwrap().status);
        assert_eq!(statuses, [200, 200, 429], "{client}");
    }
}

#[test]
fn a_rate_limit_holds_while_pods_come_and_go() {
    let _machine = shared();
    let mut scene = Scene::new();
    scene.frontend("limited", "Host(`limited.test`)", "base", json!({}));
    let limit = json!({"Requests": 1, "PeriodSeconds": 1000, "Burst": 5, "Variable": "client.ip"});
    scene.keys.put("frontends/limited/middlewares/l", &json!({"Type": "ratelimit", "Middleware": limit}));
    let flipgate = scene.start();
    let mut served = 0;
    for round in 0..20 {
        let server = scene.server(["b", "c"][round % 2]);
        let key = "backends/base/servers/churn";
        let revision = if round % 3 == 2 { scene.keys.delete(key) } else { scene.keys.put(key, &server) };
        flipgate.admin().served(revision);
        let answer = get(flipgate.address("http"), "limited.test", "/");
        assert!(matches!(answer.status, 200 | 429), "{}", answer.status);
        served += u32::from(answer.status == 200);
    }
    assert_eq!(served, 5, "the limit is 5");
}

/// Waits for nothing that is not there.
#[test]
fn a_lease_takes_a_server_along() {
    let _machine = shared();
    let mut scene = Scene::new();
    scene.frontend("leased", "Host(`leased.test`)", "leased", json!({}));
    let server = scene.server("a");
    scene.keys.put_leased("backends/leased/servers/a", &server, 1);
    let flipgate = scene.start();
    assert_eq!(ask(&flipgate, "leased.test", "/"), "a");
    until("the lease has ended", Duration::from_secs(10), || {
        (ask(&flipgate, "leased.test", "/") != "a").then_some(())
    });
}
