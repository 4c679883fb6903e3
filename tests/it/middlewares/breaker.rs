//! A circuit breaker between real clients and servers, with real webhooks.

use crate::support::echo::Echo;
use crate::support::{Directory, Flipgate, free_port, get, shared, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const HOST: &str = "shop.example";

/// A server of webhooks: the first line, the head and the body of each call.
fn hooks() -> (SocketAddr, Receiver<(String, String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut line) = (String::new(), String::new());
            while stream.read_line(&mut line).unwrap() > 2 {
                head.push_str(&line);
                line.clear();
            }
            let lower = head.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            stream.read_exact(&mut body).unwrap();
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            let first = head.lines().next().unwrap().to_owned();
            if sender.send((first, lower, String::from_utf8(body).unwrap())).is_err() {
                return;
            }
        }
    });
    (address, receiver)
}

fn scene(server: SocketAddr, spec: &Value) -> (Flipgate, Directory) {
    let directory = Directory::with_listener();
    directory.put_way("shop", &format!("Host(`{HOST}`)"), server);
    // Nothing but the breaker keeps requests from a server that does badly.
    let outlier = json!({"ConsecutiveFailures": 0, "ConnectFailures": 0});
    directory.put("backends/shop/backend", &json!({"Type": "http", "Settings": {"Outlier": outlier}}));
    directory.put("frontends/shop/middlewares/cb", &json!({"Type": "cbreaker", "Middleware": spec}));
    (Flipgate::on(&directory.url()).workers(2).ready(), directory)
}

#[test]
fn a_breaker_answers_for_a_server_that_is_gone_and_tells_of_it() {
    let _shared = shared();
    let (hooks, calls) = hooks();
    let gone = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let webhook = |path: &str, more: Value| {
        let mut action = json!({"URL": format!("http://{hooks}{path}")});
        action.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"Type": "webhook", "Action": action})
    };
    let spec = json!({
        "Condition": "NetworkErrorRatio() > 0.5",
        "Fallback": {"Type": "response", "Action": {"StatusCode": 418, "ContentType": "text/html", "Body": "Come back later"}},
        "OnTripped": webhook("/tripped?x=1", json!({"Method": "PUT", "Form": {"who": ["shop & co"]}, "Headers": {"X-Token": ["t"]}})),
        "OnStandby": webhook("/standby", json!({"Body": {"all": "well"}})).to_string(),
        "FallbackDuration": 300_000_000, "RecoveryDuration": "300ms", "CheckPeriod": 1_000_000,
    });
    let (flipgate, directory) = scene(gone, &spec);
    let address = flipgate.address("http");
    let ask = || get(address, HOST, "/");
    assert_eq!(ask().status, 502, "the first request meets the server");
    let (first, head, body) = calls.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!((&*first, &*body), ("PUT /tripped?x=1 HTTP/1.1", "who=shop+%26+co"));
    assert!(
        head.contains("content-type: application/x-www-form-urlencoded\r\n")
            && head.contains("x-token: t\r\n")
    );
    assert!(head.contains(&format!("host: {hooks}\r\n")), "{head}");
    let fallback = ask();
    assert_eq!((fallback.status, fallback.text()), (418, "Come back later".to_owned()));
    assert_eq!(fallback.field("Content-Type"), Some("text/html"));

    // The server comes, and so does standby.
    let echo = Echo::plain(false);
    directory.put("backends/shop/servers/a", &json!({"URL": format!("http://{}", echo.address())}));
    let mut statuses = Vec::new();
    let call = until("the breaker stands by", Duration::from_secs(10), || {
        statuses.push(ask().status);
        calls.try_recv().ok().filter(|(first, ..)| first.contains("standby"))
    });
    assert_eq!((&*call.0, &*call.2), ("POST /standby HTTP/1.1", r#"{"all":"well"}"#));
    assert!(statuses.contains(&418) && (0..50).all(|_| ask().status == 200), "{statuses:?}");
    let metrics = flipgate.admin().ask("GET", "/metrics").text();
    assert!(metrics.contains(r#"flipgate_refused_total{reason="tripped"}"#), "{metrics}");
}

#[test]
fn a_breaker_stays_tripped_while_others_change() {
    let _shared = shared();
    let echo = Echo::plain(false);
    echo.ail(5);
    let spec = json!({
        "Condition": "ResponseCodeRatio(500, 600, 0, 600) >= 0.5",
        "Fallback": {"Type": "redirect", "Action": {"URL": "https://sorry.example/x", "PreservePath": true}},
        "FallbackDuration": "1h",
    });
    let (flipgate, directory) = scene(echo.address(), &spec);
    let address = flipgate.address("http");
    let ask = || get(address, HOST, "/a?b=c");
    until("the breaker trips", Duration::from_secs(5), || (ask().status == 302).then_some(()));
    let before = flipgate.admin().status()["revision"].as_u64().unwrap();
    directory.put("backends/shop/servers/b", &json!({"URL": format!("http://{}", echo.address())}));
    let served = || flipgate.admin().status()["revision"].as_u64().filter(|revision| *revision > before);
    until("the edit is served", Duration::from_secs(5), served);
    let asked = echo.requests();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(300) {
        let answer = ask();
        assert_eq!((answer.status, answer.field("Location")), (302, Some("https://sorry.example/x/a")));
    }
    assert_eq!(echo.requests(), asked);
}
