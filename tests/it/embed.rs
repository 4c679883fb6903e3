//! What a program that holds a gate can rely on. What is large, and WebSocket, stand in `spine/embedding.rs`.

use crate::support::{Answer, Connection, Python, shared, until};
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::routing::get;
use bytes::Bytes;
use flipgate::app::{Gate, GateError, Peer};
use flipgate::store::Area;
use flipgate::store::memory::MemoryStore;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(10);

/// A program that answers `/own` itself; everything else for `a.example` goes through its gate.
struct Program {
    runtime: Runtime,
    gate: Gate,
    address: SocketAddr,
}

async fn tell_peer(ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
    request.extensions_mut().insert(Peer(peer));
    request
}

impl Program {
    fn start(server: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let store = Arc::new(MemoryStore::new());
        let (gate, address) = runtime.block_on(async {
            let put =
                |key, value: serde_json::Value| store.put(Area::Routing, key, value.to_string()).unwrap();
            put("backends/app/backend", json!({"Type": "http"}));
            put("backends/app/servers/a", json!({"URL": format!("http://{server}")}));
            let revision =
                put("frontends/app/frontend", json!({"BackendId": "app", "Route": "Host(`a.example`)"}));
            let gate = Gate::builder().store(store).workers(2).start().await.unwrap();
            assert!(gate.serving(revision, PATIENCE).await);
            let app = Router::new()
                .route("/own", get(|| async { "the program's own" }))
                .nest_service("/nested", gate.clone())
                .fallback_service(gate.clone())
                .layer(axum::middleware::map_request(tell_peer))
                .into_make_service_with_connect_info::<SocketAddr>();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, app).await });
            (gate, address)
        });
        Self { runtime, gate, address }
    }

    /// Sends a request as it is written and reads the answer.
    fn ask(&self, text: &str) -> Answer {
        let mut connection = Connection::open(self.address);
        connection.send(text.as_bytes());
        connection.try_answer(text.starts_with("HEAD")).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    fn begin(&self, text: &str) -> Connection {
        let mut connection = Connection::open(self.address);
        connection.send(text.as_bytes());
        connection
    }

    fn is_shut(&self) -> bool {
        let request = http::Request::get("http://unmatched.example/").body(Full::<Bytes>::default()).unwrap();
        let answer = self.runtime.block_on(self.gate.handle(request));
        answer.is_err_and(|error| error == GateError::Shut)
    }

    fn shut(&self) {
        assert!(self.runtime.block_on(self.gate.shutdown(PATIENCE)), "everything ends in time");
        assert!(self.is_shut());
    }
}

/// A server that says what it sees of each connection: its head when it came, and how it ended.
struct Watcher {
    address: SocketAddr,
    seen: Receiver<Seen>,
    go: watch::Sender<bool>,
    _runtime: Runtime,
}

#[derive(Debug, PartialEq)]
enum Seen {
    /// The path of a request whose head came.
    Began(String),
    /// The connection ended or broke, and these bytes had come behind the head.
    Ended(String),
}

impl Watcher {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, seen) = channel();
        let (go, going) = watch::channel(false);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(watch_one(stream, sender.clone(), going.clone()));
            }
        });
        Self { address, seen, go, _runtime: runtime }
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("something happens at the server")
    }

    fn began(&self, path: &str) {
        assert_eq!(self.next(), Seen::Began(path.to_owned()));
    }
}

async fn watch_one(mut stream: TcpStream, seen: Sender<Seen>, mut going: watch::Receiver<bool>) {
    let mut text = Vec::new();
    let end = loop {
        if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
            return;
        }
        if let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let mut body = text.split_off(end);
    let path = String::from_utf8(text).unwrap().split(' ').nth(1).unwrap().to_owned();
    let _ = seen.send(Seen::Began(path.clone()));
    let answer: &[u8] = match path.as_str() {
        "/stream" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        "/length" => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "/chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "/held" => {
            let _ = going.wait_for(|go| *go).await;
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nheld"
        }
        _ => b"",
    };
    let _ = stream.write_all(answer).await;
    while stream.read_buf(&mut body).await.unwrap_or(0) > 0 {}
    let _ = seen.send(Seen::Ended(String::from_utf8(body).unwrap()));
}

fn get_of(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

#[test]
fn requests_and_answers_pass_whole() {
    let _machine = shared();
    let server = Python::upstream();
    let program = Program::start(server.address());
    assert_eq!(program.ask(&get_of("/own")).text(), "the program's own");
    assert_eq!(program.ask(&get_of("/nested/echo?a=b")).json()["line"], "GET /echo?a=b HTTP/1.1");

    // Fields of the client's connection end here, and are no reason to refuse the request.
    let told = program
        .ask(
            "POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTE: gzip, trailers\r\n\
             Connection: Upgrade, HTTP2-Settings, X-Hop\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\
             Keep-Alive: timeout=5\r\nX-Hop: 1\r\nX-Whole: 2\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        )
        .json();
    assert_eq!(
        (told["line"].as_str(), told["body"].as_str()),
        (Some("POST /echo HTTP/1.1"), Some("hello world"))
    );
    let fields = told["fields"].to_string().to_lowercase();
    assert!(fields.contains("[\"x-whole\",\"2\"]") && fields.contains("[\"x-forwarded-for\",\"127.0.0.1\"]"));
    for gone in ["x-hop", "h2c", "http2-settings", "keep-alive"] {
        assert!(!fields.contains(gone), "{gone} in {fields}");
    }

    let unmatched = program.ask("GET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert_eq!((unmatched.status, unmatched.text().as_str()), (404, r#"{"error":"not found"}"#));
    // A body that no server wants is not asked for.
    let refused = program
        .ask("POST / HTTP/1.1\r\nHost: b.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!((refused.status, refused.interim.len()), (404, 0));
    assert_eq!(program.ask("HEAD / HTTP/1.1\r\nHost: b.example\r\n\r\n").status, 404);
    assert_eq!(program.ask("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n").status, 405);
    program.shut();
    assert_eq!(program.ask(&get_of("/echo")).status, 503);
    assert_eq!(program.ask(&get_of("/own")).status, 200, "the program goes on without its gate");
}

#[test]
fn an_answer_to_head_keeps_its_length_and_gets_none() {
    let _machine = shared();
    let watcher = Watcher::start();
    let program = Program::start(watcher.address);
    let length = |path| {
        let answer = program.ask(&format!("HEAD {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!(answer.status, 200);
        answer.field("content-length").map(str::to_owned)
    };
    assert_eq!(length("/length").as_deref(), Some("5"));
    assert_eq!(length("/chunked"), None);
    program.shut();
}

#[test]
fn trailers_reach_a_client_of_http2() {
    let _machine = shared();
    let server = Python::upstream();
    let program = Program::start(server.address());
    program.runtime.block_on(async {
        let stream = TcpStream::connect(program.address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request =
            http::Request::get("http://a.example/trailer").header("te", "trailers").body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let mut text = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            text.extend_from_slice(&data);
        }
        assert_eq!(text, b"onetwo");
        assert_eq!(body.trailers().await.unwrap().expect("trailers")["x-sum"], "6");
    });
    program.shut();
}

#[test]
fn a_broken_answer_is_not_taken_for_a_whole_one() {
    let _machine = shared();
    let server = Python::upstream();
    let program = Program::start(server.address());
    let mut connection = program.begin(&get_of("/truncate"));
    let error = connection.try_answer(false).expect_err("the answer is cut");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);

    program.runtime.block_on(async {
        let request = http::Request::get("http://a.example/truncate").body(Full::<Bytes>::default()).unwrap();
        let body = program.gate.handle(request).await.unwrap().into_body();
        assert!(body.collect().await.is_err());
    });
    program.shut();
}

#[test]
fn a_client_that_leaves_ends_the_request() {
    let _machine = shared();
    let watcher = Watcher::start();
    let program = Program::start(watcher.address);
    let ended = |body: &str| assert_eq!(watcher.next(), Seen::Ended(body.to_owned()));

    // Before the answer's head.
    let waiting = program.begin(&get_of("/silent"));
    watcher.began("/silent");
    drop(waiting);
    ended("");
    // Within the answer's body, while the server is silent.
    let mut reading = program.begin(&get_of("/stream"));
    watcher.began("/stream");
    assert_eq!(reading.head().unwrap().status, 200);
    assert_eq!(reading.chunk().unwrap().as_deref(), Some(b"first".as_slice()));
    drop(reading);
    ended("");
    // Within the request's body: the server must not take it for whole.
    let sending = program
        .begin("POST /silent HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    watcher.began("/silent");
    drop(sending);
    ended("4\r\nhalf\r\n");
    program.shut();
}

#[test]
fn a_program_that_lets_go_ends_the_request() {
    let _machine = shared();
    let watcher = Watcher::start();
    let program = Program::start(watcher.address);
    let request = |path: &str| {
        let uri = format!("http://a.example{path}");
        http::Request::get(uri).body(Full::<Bytes>::default()).unwrap()
    };
    let gate = program.gate.clone();
    let asking = program.runtime.spawn(async move { gate.handle(request("/silent")).await.is_ok() });
    watcher.began("/silent");
    asking.abort();
    assert_eq!(watcher.next(), Seen::Ended(String::new()));

    let answer = program.runtime.block_on(program.gate.handle(request("/stream"))).unwrap();
    watcher.began("/stream");
    drop(answer);
    assert_eq!(watcher.next(), Seen::Ended(String::new()));
    program.shut();
}

#[test]
fn a_body_that_does_not_keep_its_word_is_not_sent_on() {
    let _machine = shared();
    let watcher = Watcher::start();
    let program = Program::start(watcher.address);
    let status = |request: http::request::Builder, pieces: Vec<Result<&'static str, &'static str>>| {
        let frames =
            pieces.into_iter().map(|piece| piece.map(|text| http_body::Frame::data(Bytes::from(text))));
        let request = request.uri("http://a.example/silent").method("POST");
        let request = request.body(StreamBody::new(stream::iter(frames))).unwrap();
        let answer = program.runtime.block_on(program.gate.handle(request)).unwrap();
        watcher.began("/silent");
        answer.status()
    };
    let of_length = |length: &str| http::Request::builder().header("content-length", length);
    assert_eq!(status(of_length("3"), vec![Ok("ab"), Ok("cd")]), 400, "longer than announced");
    assert_eq!(watcher.next(), Seen::Ended("ab".to_owned()));
    assert_eq!(status(of_length("3"), vec![Ok("ab")]), 400, "shorter than announced");
    assert_eq!(watcher.next(), Seen::Ended("ab".to_owned()));
    status(http::Request::builder(), vec![Ok("ab"), Err("broken")]);
    assert_eq!(watcher.next(), Seen::Ended("2\r\nab\r\n".to_owned()), "no last chunk");
    program.shut();
}

#[test]
fn a_shutdown_lets_open_requests_end() {
    let _machine = shared();
    let watcher = Watcher::start();
    let program = Program::start(watcher.address);
    let mut open = program.begin(&get_of("/held"));
    watcher.began("/held");
    let gate = program.gate.clone();
    let shutting = program.runtime.spawn(async move { gate.shutdown(PATIENCE).await });
    until("the gate takes no more", PATIENCE, || program.is_shut().then_some(()));
    assert!(!shutting.is_finished(), "a request is open");
    watcher.go.send_replace(true);
    assert_eq!(open.answer().text(), "held");
    assert!(program.runtime.block_on(shutting).unwrap(), "it ended in time");
    assert!(program.runtime.block_on(program.gate.shutdown(PATIENCE)), "nothing is left to do");
}

#[test]
fn a_shutdown_cuts_off_at_its_deadline() {
    let _machine = shared();
    let watcher = Watcher::start();
    let program = Program::start(watcher.address);
    let mut open = program.begin(&get_of("/stream"));
    watcher.began("/stream");
    assert_eq!(open.head().unwrap().status, 200);
    assert_eq!(open.chunk().unwrap().as_deref(), Some(b"first".as_slice()));
    assert!(!program.runtime.block_on(program.gate.shutdown(Duration::from_millis(50))));
    assert!(open.chunk().is_err(), "what is cut off does not look whole");
    assert_eq!(watcher.next(), Seen::Ended(String::new()));
    assert!(program.is_shut());
}

#[test]
fn a_gate_that_is_dropped_leaves_nothing_behind() {
    let _machine = shared();
    let runtime = Runtime::new().unwrap();
    let store = Arc::new(MemoryStore::new());
    let gate = runtime.block_on(Gate::builder().store(store.clone()).start()).unwrap();
    drop(gate.clone());
    let request = http::Request::get("http://a.example/").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(runtime.block_on(gate.handle(request)).unwrap().status(), 404);
    drop(gate);
    until("nobody holds the store", PATIENCE, || (Arc::strong_count(&store) == 1).then_some(()));
}
