//! Raw requests that others have gathered (`tests/cases`), with what a strict reader makes of them.

use crate::support::{Directory, Flipgate, Recorder, shared};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Of Http11Probe, what differs from the expected answer, or is the server's affair.
const PROBE_DIFFERS: &[(&str, &str)] = &[
    ("SMUG-TE-TAB-BEFORE-VALUE", "a tab before the coding is refused, as 400 may be"),
    ("COMP-UNKNOWN-METHOD", "every token is a method, and the server knows its own"),
];

/// Errors of llhttp that are none for a proxy.
const NO_ERRORS: &[(&str, &str)] = &[
    ("Pause on", "not an error: it stops so that its user may look"),
    ("Data after `Connection: close`", "what follows is not read, and reaches nobody"),
    ("Invalid method for HTTP", "every token is a method (RFC 9110 section 9.1), and servers know theirs"),
    ("Expected space after method", "the same: it knows a list of methods"),
];

struct Corpus {
    flipgate: Flipgate,
    server: Recorder,
    _directory: Directory,
}

impl Corpus {
    fn new() -> Self {
        let server = Recorder::with(|seen, stream| {
            let answer = match seen.line.split(' ').next() {
                Some("OPTIONS") => b"HTTP/1.1 204 No Content\r\nAllow: GET\r\n\r\n".to_vec(),
                Some("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n".to_vec(),
                _ => {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                        seen.body.len()
                    );
                    [head.as_bytes(), &seen.body].concat()
                }
            };
            stream.write_all(&answer).is_ok()
        });
        let directory = Directory::with_listener();
        directory.put_way("a", "PathPrefix(`/`)", server.address());
        let flipgate = Flipgate::on(&directory.url()).workers(1).ready();
        Self { flipgate, server, _directory: directory }
    }

    fn address(&self) -> SocketAddr {
        self.flipgate.address("http")
    }
}

/// What came back: whether the connection was closed then, and the final answers.
struct Heard {
    closed: bool,
    text: String,
    statuses: Vec<String>,
}

/// Sends each part and listens until the other side closes, or has been silent for a while.
fn converse(address: SocketAddr, parts: &[Vec<u8>], ends: bool) -> Heard {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    stream.set_nodelay(true).unwrap();
    for part in parts {
        // It may be closed by now.
        let _ = stream.write_all(part);
        std::thread::sleep(Duration::from_millis(10));
    }
    if ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let closed = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break true,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) => break error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines = text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3).map(str::to_owned));
    let statuses = lines.filter(|status| !status.starts_with('1')).collect();
    Heard { closed, text, statuses }
}

fn cases(file: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(file);
    let corpus: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    corpus["cases"].as_array().unwrap().clone()
}

/// A char a byte.
fn bytes(text: &str) -> Vec<u8> {
    // What is no byte was text where it was gathered.
    text.chars().map(|char| u8::try_from(char).ok()).collect::<Option<_>>().unwrap_or_else(|| text.into())
}

fn part(part: &Value) -> Vec<u8> {
    let text = |name: &str| part[name].as_str().unwrap();
    match part.as_str() {
        Some(part) => bytes(part),
        None => {
            let times = part["times"].as_u64().unwrap() as usize;
            [bytes(text("before")), bytes(&text("of").repeat(times)), bytes(text("after"))].concat()
        }
    }
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What is not as expected of a case of Http11Probe.
fn probe_fault(case: &Value, heard: &Heard) -> Option<String> {
    let first = heard.statuses.first().map_or("", String::as_str);
    let is = |expected: &str| match expected.strip_prefix("not ") {
        Some(not) => first != not,
        None => {
            first == expected || expected.strip_suffix("xx").is_some_and(|class| first.starts_with(class))
        }
    };
    let refused = matches!(first, "400" | "501" | "505") || (heard.closed && first.is_empty());
    let expected = texts(&case["expect"]);
    // Where 400 is right, closing is, and so are the statuses that say more.
    let fits = expected.iter().any(|it| is(it)) || (expected.contains(&"400") && refused);
    if !fits {
        return Some(format!("{first:?} is not one of {expected:?}"));
    }
    if refused && !heard.closed {
        return Some(format!("{first:?}, and the connection stays"));
    }
    let body = heard.text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    texts(&case["also"]).into_iter().find_map(|also| {
        let holds = match also {
            "echo" => !body.is_empty(),
            "bodiless" => body.is_empty(),
            "one answer" => heard.statuses.len() <= 1,
            "two answers" => heard.statuses.len() == 2,
            "2xx closes" => !first.starts_with('2') || heard.closed,
            other => panic!("{other}"),
        };
        (!holds).then(|| format!("{also}: {:?}", heard.text))
    })
}

#[test]
fn http11probe() {
    let _shared = shared();
    let corpus = Corpus::new();
    let mut faults = Vec::new();
    let cases = cases("http11probe.json");
    assert_eq!(cases.len(), 100);
    let (mut must, mut others) = (0, 0);
    let address = corpus.address();
    std::thread::scope(|scope| {
        let run = |case: &Value| {
            let parts: Vec<_> = case["sends"].as_array().unwrap().iter().map(part).collect();
            probe_fault(case, &converse(address, &parts, false))
        };
        for chunk in cases.chunks(25) {
            let running: Vec<_> = chunk.iter().map(|case| (case, scope.spawn(move || run(case)))).collect();
            for (case, running) in running {
                let id = case["id"].as_str().unwrap();
                *if case["must"] == true { &mut must } else { &mut others } += 1;
                let fault = running.join().unwrap();
                let differs = PROBE_DIFFERS.iter().any(|(other, _)| *other == id);
                if let Some(fault) = fault.filter(|_| !differs) {
                    faults.push(format!("{id}: {fault}"));
                }
            }
        }
    });
    assert!(faults.is_empty(), "{faults:#?}");
    println!("edge 1: http11probe: {must} cases that MUST hold and {others} others");
}

#[test]
fn llhttp() {
    let _shared = shared();
    let corpus = Corpus::new();
    let mut faults = Vec::new();
    let mut count = 0;
    for case in cases("llhttp.json") {
        let Some(error) = case["error"].as_str() else { continue };
        if NO_ERRORS.iter().any(|(no, _)| error.starts_with(no)) {
            continue;
        }
        // The first of its two requests is well, and answered.
        if case["title"].as_str().is_some_and(|title| title.contains("implicit `keep-alive`")) {
            continue;
        }
        count += 1;
        let raw = with_host(case["bytes"].as_str().unwrap());
        corpus.server.take();
        let heard = converse(corpus.address(), &[bytes(&raw)], true);
        let answered = heard.statuses.first().is_some_and(|status| status < &"400".to_owned());
        let reached = corpus.server.take().into_iter().any(|seen| seen.complete);
        if answered || reached {
            faults.push(format!("{}: {error}: {raw:?}: {:?}", case["title"], heard.text));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    println!("edge 1: llhttp: {count} requests that a strict parser refuses are refused");
}

/// Without one it would be refused for that alone.
fn with_host(raw: &str) -> String {
    match raw.split_once("\r\n") {
        Some((line, rest)) if !raw.to_ascii_lowercase().contains("\nhost:") => {
            format!("{line}\r\nHost: a.example\r\n{rest}")
        }
        _ => raw.to_owned(),
    }
}
