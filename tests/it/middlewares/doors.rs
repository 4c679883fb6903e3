//! Who is let in: passwords, addresses; and answers that no server gives.

use crate::support::echo::Echo;
use crate::support::{Answer, Connection, Directory, Flipgate, get, shared, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

const HOST: &str = "shop.example";
/// Of `secret`, as crypt(3) makes it, at a cost that takes a while.
const HASH: &str = "$2b$10$R9h/cIPz0gi.URNNX3kh2O8jE/.0JdNsA3yB6tHRy1bP9ldMaEStO";

struct Scene {
    flipgate: Flipgate,
    directory: Directory,
    _echo: Echo,
}

impl Scene {
    fn new(kind: &str, spec: &Value) -> Self {
        Self::with_workers(2, kind, spec)
    }

    fn with_workers(workers: usize, kind: &str, spec: &Value) -> Self {
        let (directory, echo) = (Directory::with_listener(), Echo::plain(false));
        directory.put_way("shop", &format!("Host(`{HOST}`)"), echo.address());
        directory.put("frontends/shop/middlewares/m", &json!({"Type": kind, "Middleware": spec}));
        let flipgate = Flipgate::on(&directory.url()).workers(workers).ready();
        Self { flipgate, directory, _echo: echo }
    }

    fn address(&self) -> SocketAddr {
        self.flipgate.address("http")
    }

    fn ask(&self, fields: &str) -> Answer {
        let mut connection = Connection::open(self.address());
        connection.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n").as_bytes());
        connection.answer()
    }

    /// What curl gets with a name and a password.
    fn curl(&self, user: &str) -> u16 {
        let done = Command::new("curl")
            .args(["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", "-u", user, "-H"])
            .arg(format!("Host: {HOST}"))
            .arg(format!("http://{}/", self.address()))
            .output()
            .unwrap();
        String::from_utf8(done.stdout).unwrap().parse().unwrap()
    }
}

#[test]
fn a_name_and_its_password_are_asked_for() {
    let _shared = shared();
    let scene =
        Scene::new("basicauth", &json!({"Username": "ann", "Password": "a b", "Users": {"bob": HASH}}));
    let refused = scene.ask("");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.field("WWW-Authenticate"), Some("Basic realm=\"Restricted\", charset=\"UTF-8\""));
    assert!(refused.text().starts_with("401 Unauthorized\n"), "{}", refused.text());
    for (user, status) in [
        ("ann:a b", 200),
        ("ann:ab", 401),
        ("bob:secret", 200),
        ("bob:secret", 200),
        ("bob:wrong", 401),
        ("cy:secret", 401),
        ("bob:", 401),
    ] {
        assert_eq!(scene.curl(user), status, "{user}");
    }
    // The server does not see it, and the log of the proxy does not either.
    let passed = scene.ask("Authorization: Basic YW5uOmEgYg==\r\n");
    assert_eq!((passed.status, passed.field("x-seen-authorization")), (200, None));
    assert!(!scene.flipgate.output().contains("YW5uOmEgYg"));

    // The API shows neither password nor hash, and what it shows can be edited and written.
    let (admin, path) = (scene.flipgate.admin(), "/v3/frontends/shop/middlewares/m");
    let mut shown = admin.json(path);
    let list = admin.ask("GET", "/v3/frontends/shop/middlewares").text();
    for text in [shown.to_string(), list] {
        assert!(text.contains("ann") && !text.contains("a b") && !text.contains("$2b$"), "{text}");
    }
    shown["Middleware"]["Realm"] = "Shop".into();
    let written = admin.send("PUT", path, &[], Some(&shown));
    assert_eq!(written.status, 200, "{}", written.text());
    until("the edit is served", Duration::from_secs(5), || {
        let refused = scene.ask("");
        refused.field("WWW-Authenticate")?.contains("Shop").then_some(())
    });
    assert_eq!((scene.curl("ann:a b"), scene.curl("bob:secret")), (200, 200));
    shown["Middleware"]["Users"]["cy"] = "(hidden)".into();
    let refused = admin.send("PUT", path, &[], Some(&shown));
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(refused.json()["problems"][0]["field"], "Middleware.Users.cy");

    // Whoever tries too many is asked to come back; a known pair goes on.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                until("checks are limited", Duration::from_secs(30), || {
                    let answer = scene.ask("Authorization: Basic ZXZlOng=\r\n");
                    assert!(matches!(answer.status, 401 | 429), "{}", answer.status);
                    (answer.status == 429).then(|| assert_eq!(answer.field("Retry-After"), Some("1")))
                });
            });
        }
    });
    assert_eq!((scene.curl("bob:secret"), scene.curl("ann:a b")), (200, 200));

    scene.directory.put(
        "frontends/shop/middlewares/m",
        &json!({"Type": "auth", "Middleware": {"Username": "ann", "Password": "new", "PassAuthorization": true}}),
    );
    until("the edit is served", Duration::from_secs(5), || (scene.curl("ann:new") == 200).then_some(()));
    assert_eq!((scene.curl("ann:a b"), scene.curl("bob:secret")), (401, 401));
    let passed = scene.ask("Authorization: Basic YW5uOm5ldw==\r\n");
    assert_eq!(passed.field("x-seen-authorization"), Some("Basic YW5uOm5ldw=="));
}

#[test]
fn a_hash_that_takes_long_holds_nobody_up() {
    let _shared = shared();
    let slow = HASH.replace("$10$", "$12$");
    let scene = Scene::with_workers(
        1,
        "basicauth",
        &json!({"Username": "ann", "Password": "a b", "Users": {"bob": slow}}),
    );
    let mut waiting = Connection::open(scene.address());
    let request =
        |pair: &str| format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Basic {pair}\r\n\r\n");
    // `bob:wrong`, and `ann:a b` behind it on the same thread.
    waiting.send(request("Ym9iOndyb25n").as_bytes());
    let refused = std::thread::spawn(move || (waiting.answer().status, Instant::now()));
    let let_in =
        (0..5).map(|_| scene.ask("Authorization: Basic YW5uOmEgYg==\r\n").status).collect::<Vec<_>>();
    let done = Instant::now();
    let (status, at) = refused.join().unwrap();
    assert_eq!((let_in, status), (vec![200; 5], 401));
    assert!(done < at, "five requests waited for another's password");
}

#[test]
fn addresses_are_let_in_or_not() {
    let _shared = shared();
    let scene = Scene::new("ipfilter", &json!({"Allow": ["127.0.0.0/8"]}));
    assert_eq!(scene.ask("").status, 200);
    let filter = json!({"Type": "ipfilter", "Middleware": {"Allow": ["127.0.0.0/8"], "Deny": ["127.0.0.1"]}});
    scene.directory.put("frontends/shop/middlewares/m", &filter);
    let refused = until("the edit is served", Duration::from_secs(5), || {
        Some(scene.ask("")).filter(|a| a.status != 200)
    });
    assert_eq!(refused.status, 403);
    let metrics = scene.flipgate.admin().ask("GET", "/metrics").text();
    assert!(metrics.contains(r#"flipgate_refused_total{reason="forbidden"}"#), "{metrics}");
}

#[test]
fn an_answer_needs_no_server() {
    let _shared = shared();
    let directory = Directory::with_listener();
    let spec = json!({"Status": 503, "Body": "<p>Back soon</p>", "ContentType": "text/html",
                      "Headers": {"Retry-After": ["60"], "X-A": ["1", "2"]}});
    directory.put("backends/none/backend", &json!({"Type": "http"}));
    directory.put(
        "frontends/f/frontend",
        &json!({"Type": "http", "BackendId": "none", "Route": format!("Host(`{HOST}`)")}),
    );
    directory.put("frontends/f/middlewares/r", &json!({"Type": "respond", "Middleware": spec}));
    let flipgate = Flipgate::on(&directory.url()).ready();
    let address = flipgate.address("http");
    let answer = get(address, HOST, "/any/thing");
    assert_eq!((answer.status, answer.text()), (503, "<p>Back soon</p>".to_owned()));
    assert_eq!((answer.field("Content-Type"), answer.field("Retry-After")), (Some("text/html"), Some("60")));
    assert_eq!(answer.all("X-A"), [b"1", b"2"]);
    let mut connection = Connection::open(address);
    connection.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
    let head = connection.answer_to_head();
    assert_eq!((head.status, head.field("Content-Length")), (503, Some("16")));
}
