//! Error pages and maintenance: what clients read in place of bare words, or of what a server says.

use super::{Scene, frontend, scene};
use crate::support::{Answer, Recorder, shared, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

fn get(scene: &Scene, target: &str) -> Answer {
    scene.ask(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
}

/// Status, type and text of an answer.
fn shown(answer: &Answer) -> (u16, &str, String) {
    (answer.status, answer.field("content-type").unwrap_or_default(), answer.text())
}

/// A server that answers with the status that the path names, a body and what describes it.
fn teller() -> Recorder {
    Recorder::with(|seen, stream| {
        let status = seen.line.split(['/', ' ']).nth(2).unwrap_or("200").to_owned();
        write!(
            stream,
            "HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Encoding: x\r\nETag: \"1\"\r\n\
             Retry-After: 7\r\nContent-Length: 6\r\n\r\nserver"
        )
        .is_ok()
    })
}

const HTML: &str = "text/html; charset=utf-8";

#[test]
fn a_frontends_pages_stand_for_its_own_errors_by_code_class_and_default() {
    let _machine = shared();
    let pages = json!({
        "404": {"Body": "<p>404"}, "503": {"Body": "busy", "ContentType": "text/plain", "Status": 500},
        "4xx": {"Body": "4xx"}, "default": {"Body": "{}", "ContentType": "application/json"},
    });
    let scene = scene(&[], json!({"ErrorPages": pages, "Limits": {"MaxBodyBytes": 1}}));
    assert_eq!(shown(&get(&scene, "/")), (500, "text/plain", "busy".into()));
    let large = scene.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nxx");
    assert_eq!(shown(&large), (413, HTML, "4xx".into()));
    let mut connection = scene.connect();
    connection.send(b"HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let head = connection.answer_to_head();
    assert_eq!((head.status, head.field("content-length")), (500, Some("4")));
    assert_eq!(connection.answer().text(), "busy");
    assert_eq!(scene.curl_http2(&["-w", " %{http_code} %{content_type}"]).1, "busy 500 text/plain");
    let head = scene.curl_http2(&["-I"]).1.to_ascii_lowercase();
    assert!(head.starts_with("http/2 500") && head.contains("content-length: 4\r\n"), "{head}");
    scene.put(&frontend(json!({"ErrorPages": {"default": {"Body": "sorry"}}})));
    assert_eq!(shown(&get(&scene, "/")), (503, HTML, "sorry".into()));
}

#[test]
fn a_servers_errors_are_replaced_only_where_the_page_says_so() {
    let _machine = shared();
    let server = teller();
    let pages = json!({
        "404": {"Body": "not here"},
        "410": {"Body": "gone", "Intercept": true, "Status": 404},
        "5xx": {"Body": "<p>soon", "Intercept": true},
    });
    let scene = scene(&[server.address()], json!({"ErrorPages": pages}));
    let mut connection = scene.connect();
    let mut ask = |status: u16| {
        let answer = connection.get("a.example", &format!("/{status}")).unwrap();
        let described = ["content-encoding", "etag"].iter().any(|name| !answer.all(name).is_empty());
        // What does not describe the body stays.
        assert_eq!(answer.field("retry-after"), Some("7"));
        (answer.status, answer.text(), described)
    };
    for _ in 0..2 {
        assert_eq!(ask(200), (200, "server".into(), true));
        assert_eq!(ask(404), (404, "server".into(), true));
        assert_eq!(ask(410), (404, "gone".into(), false));
        assert_eq!(ask(500), (500, "<p>soon".into(), false));
    }
    assert_eq!(server.connections(), 1, "a small body is passed over, and the connection stays");
    let mut connection = scene.connect();
    connection
        .send(b"HEAD /503 HTTP/1.1\r\nHost: a.example\r\n\r\nGET /503 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(connection.answer_to_head().field("content-length"), Some("7"));
    assert_eq!(connection.answer().text(), "<p>soon");
    let (code, text) = scene.curl_http2(&["-w", " %{http_code} %{content_type}", "--request-target", "/503"]);
    assert_eq!((code, text.as_str()), (Some(0), "<p>soon 503 text/html; charset=utf-8"));
    let (code, text) = scene.curl_http2(&["-w", " %{http_code}", "--request-target", "/404"]);
    assert_eq!((code, text.as_str()), (Some(0), "server 404"));
}

#[test]
fn a_replaced_answer_that_does_not_end_is_cut_at_the_server() {
    let _machine = shared();
    let server = Recorder::early(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 503 X\r\nContent-Length: 1000000000\r\n\r\n");
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
        false
    });
    let scene =
        scene(&[server.address()], json!({"ErrorPages": {"503": {"Body": "soon", "Intercept": true}}}));
    let mut connection = scene.connect();
    for _ in 0..2 {
        let answer = connection.get("a.example", "/").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (503, "soon"), "the client's connection goes on");
    }
    assert_eq!(scene.curl_http2(&[]).1, "soon");
    // A body that the server has not taken: the answer is whole, and nothing of the rest is read as a request.
    let mut connection = scene.connect();
    connection.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\nhalf");
    let answer = connection.answer();
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("soon", Some("close")));
    drop(connection);
    until("the server's connections are cut", Duration::from_secs(5), || {
        (server.open_connections() == 0).then_some(())
    });
}

#[test]
fn the_directory_of_error_pages_is_for_all_and_is_read_again() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    put("404.html", "nobody");
    put("4xx.txt", "no");
    put("5xx.html", "soon");
    put("shop.json", "{}");
    let settings =
        json!({"ErrorPages": {"503": {"File": "shop.json", "Status": 502}, "504": {"File": "none.html"}}});
    let scene = Scene::with(&[], settings, &["--error-pages", dir.path().to_str().unwrap()]);
    let other = json!({"Type": "http", "BackendId": "b", "Route": "Path(`/other`)"});
    scene.directory.put("frontends/other/frontend", &other);
    until("the frontend is served", Duration::from_secs(5), || {
        (get(&scene, "/other").text() == "soon").then_some(())
    });
    assert_eq!(shown(&get(&scene, "/")), (502, "application/json", "{}".into()));
    assert_eq!(shown(&get(&scene, "/other")), (503, HTML, "soon".into()));
    assert_eq!(
        shown(&scene.ask("GET / HTTP/1.1\r\nHost: a b\r\n\r\n")),
        (400, "text/plain; charset=utf-8", "no".into())
    );
    // What no frontend takes.
    scene.put(&json!({"Type": "http", "BackendId": "b", "Route": "Path(`/only`)", "Settings": {"ErrorPages": {"503": {"File": "none.html"}}}}));
    assert_eq!(shown(&get(&scene, "/")), (404, HTML, "nobody".into()));
    // A named file that is not there leaves the next best.
    assert_eq!(shown(&get(&scene, "/only")), (503, HTML, "soon".into()));

    put("404.html", "still nobody");
    put("none.html", "there now");
    scene.flipgate.signal(Signal::SIGHUP);
    until("the files are read again", Duration::from_secs(5), || {
        (get(&scene, "/").text() == "still nobody").then_some(())
    });
    assert_eq!(get(&scene, "/only").text(), "there now");
    // What cannot be read changes nothing.
    put("large.html", &"x".repeat((1 << 20) + 1));
    put("404.html", "third");
    scene.flipgate.signal(Signal::SIGHUP);
    until("it is said that they cannot be read", Duration::from_secs(5), || {
        scene.flipgate.output().contains("large.html").then_some(())
    });
    assert_eq!(get(&scene, "/").text(), "still nobody");
}

#[test]
fn a_directory_that_is_not_there_is_said_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("table")).unwrap();
    let (code, _, error) = crate::support::flipgate::verb(
        &["proxy", "--store", "dir:table", "--data-dir", "data", "--admin", "off", "--error-pages", "none"],
        dir.path(),
    );
    assert!(code == 2 && error.contains("--error-pages: none: No such file"), "{code}: {error}");
}

fn with_maintenance(maintenance: Value) -> Value {
    let mut value = frontend(json!({"ErrorPages": {"503": {"Body": "an error"}}}));
    value["Maintenance"] = maintenance;
    value
}

#[test]
fn maintenance_begins_and_ends_at_once_and_lets_testers_through() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let server = teller();
    let arguments = ["--trusted-proxies", "127.0.0.1", "--error-pages", dir.path().to_str().unwrap()];
    let scene = Scene::with(&[server.address()], json!({}), &arguments);
    let limit = json!({"Type": "redirect", "Priority": 1, "Middleware": {"Scheme": "https"}});
    scene.directory.put("frontends/f/middlewares/https", &limit);
    until("the redirect is served", Duration::from_secs(5), || {
        (get(&scene, "/").status / 100 == 3).then_some(())
    });
    // Before the chain: no redirect.
    scene.put(&with_maintenance(json!(true)));
    assert_eq!(shown(&get(&scene, "/")), (503, HTML, "an error".into()));
    let page = json!({"Body": "<h1>Back at noon", "ContentType": "text/html"});
    scene.put(&with_maintenance(json!({"Page": page, "RetryAfter": "119500ms", "Allow": ["192.0.2.0/24"]})));
    let answer = get(&scene, "/");
    assert_eq!(shown(&answer), (503, "text/html", "<h1>Back at noon".into()));
    assert_eq!(answer.field("retry-after"), Some("120"));
    let text = scene.curl_http2(&["-w", " %{http_code}"]).1;
    assert_eq!(text, "<h1>Back at noon 503");
    let tester = |client: &str| {
        scene
            .ask(format!(
                "GET /200 HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: {client}\r\n\r\n"
            ))
            .status
    };
    assert_eq!((tester("192.0.2.9"), tester("198.51.100.9")), (200, 503));
    let metrics = scene.flipgate.admin().ask("GET", "/metrics").text();
    assert!(metrics.contains("flipgate_refused_total{reason=\"maintenance\"} 4"), "{metrics}");
    scene.put(&with_maintenance(json!(false)));
    assert_eq!(get(&scene, "/").status / 100, 3);
}

#[test]
fn requests_that_were_open_outlast_the_begin_of_maintenance() {
    let _machine = shared();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = Recorder::with(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
        let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(10));
        stream.write_all(b"lf").is_ok()
    });
    let scene = scene(&[server.address()], json!({}));
    let mut open = scene.connect();
    open.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(open.head().unwrap().status, 200);
    scene.put(&with_maintenance(json!(true)));
    assert_eq!(get(&scene, "/").status, 503);
    go.send(()).unwrap();
    let mut body = [0; 4];
    open.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"half");
    assert_eq!(open.get("a.example", "/").unwrap().text(), "an error");
}
