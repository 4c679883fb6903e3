//! Line 7: what is large, slow or goes both ways passes through, and costs no memory.

use crate::support::{
    Connection, Directory, Flipgate, Python, TestCertificate, alone, figure, resident_bytes, scaled, shared,
};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

const MIB: usize = 1 << 20;

struct Scene {
    flipgate: Flipgate,
    server: Python,
    directory: Directory,
    certificate: TestCertificate,
}

impl Scene {
    fn new() -> Self {
        let server = Python::upstream();
        let directory = Directory::new();
        let listener = |protocol: &str, settings| {
            let address = json!({"Network": "tcp", "Address": "127.0.0.1:0"});
            json!({"Protocol": protocol, "Address": address, "Settings": settings})
        };
        directory.put("listeners/http", &listener("http", json!({"H2C": true})));
        directory.put("listeners/https", &listener("https", json!({})));
        let certificate = TestCertificate::of(&["a.example"]);
        directory.put("hosts/a.example/host", &certificate.host(true));
        directory.put_way("a", "Host(`a.example`)", server.address());
        let flipgate = Flipgate::on(&directory.url()).ready();
        Self { flipgate, server, directory, certificate }
    }

    fn http(&self) -> SocketAddr {
        self.flipgate.address("http")
    }

    /// curl over TLS with HTTP/2; what it prints.
    fn curl(&self, arguments: &[&str], path: &str) -> String {
        let https = self.flipgate.address("https");
        let trusted = self.certificate.write(&self.directory.path().join(".."), "trusted.pem");
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--http2", "--max-time", "300", "--cacert"])
            .arg(trusted)
            .args(["--resolve", &format!("a.example:{}:127.0.0.1", https.port())])
            .args(arguments)
            .arg(format!("https://a.example:{}{path}", https.port()))
            .output()
            .unwrap();
        assert!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// The largest growth of a process's memory while something runs, in bytes.
pub(super) fn growth_during(pid: u32, act: impl FnOnce()) -> u64 {
    let ended = Arc::new(AtomicBool::new(false));
    let for_thread = ended.clone();
    let before = resident_bytes(pid);
    let watcher = std::thread::spawn(move || {
        let mut most = before;
        while !for_thread.load(Ordering::SeqCst) {
            most = most.max(resident_bytes(pid));
            std::thread::sleep(Duration::from_millis(10));
        }
        most
    });
    // Ends the watcher also when the act fails.
    struct Ends(Arc<AtomicBool>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    {
        let _ends = Ends(ended);
        act();
    }
    watcher.join().unwrap() - before
}

pub(super) fn bounded(what: &str, bytes: u64, growth: u64) {
    let details = format!("{:.1} GB", bytes as f64 / 1e9);
    let _ = figure(&format!("spine 7: memory growth of {what}"), growth as f64 / 1e6, "MB", &details, 32.0);
    // Memory does not depend on the machine, so the bound counts in the quick run too.
    assert!(growth < 32_000_000, "{what} grew by {growth} bytes");
}

/// What `upstream.py` sends.
pub(super) fn pattern() -> Vec<u8> {
    (0..MIB).map(|at| (at % 256) as u8).collect()
}

#[test]
fn line_7_a_large_download_and_upload_in_bounded_memory() {
    let _alone = alone();
    let scene = Scene::new();
    let bytes: u64 = scaled(200_000_000, 5_000_000_000);
    let pattern = pattern();

    let growth = growth_during(scene.flipgate.pid(), || {
        let mut connection = Connection::open(scene.http());
        connection
            .send(format!("GET /download?bytes={bytes} HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes());
        let head = connection.head().unwrap();
        assert_eq!((head.status, head.field("content-length")), (200, Some(bytes.to_string().as_str())));
        let (mut left, mut buffer) = (bytes as usize, vec![0; MIB]);
        while left > 0 {
            let piece = &mut buffer[..left.min(MIB)];
            connection.read_exact(piece).unwrap();
            assert!(*piece == pattern[..piece.len()], "the body differs {left} bytes before its end");
            left -= piece.len();
        }
    });
    bounded("a download", bytes, growth);

    let growth = growth_during(scene.flipgate.pid(), || {
        let mut connection = Connection::open(scene.http());
        connection.send(
            format!("POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Length: {bytes}\r\n\r\n").as_bytes(),
        );
        let (mut left, mut sum) = (bytes as usize, crc32fast::Hasher::new());
        while left > 0 {
            let piece = &pattern[..left.min(MIB)];
            sum.update(piece);
            connection.send(piece);
            left -= piece.len();
        }
        let told = connection.answer().json();
        assert_eq!((&told["bytes"], &told["crc32"]), (&json!(bytes), &json!(sum.finalize())), "{told}");
    });
    bounded("an upload", bytes, growth);
}

#[test]
fn line_7_http2_bodies_in_bounded_memory() {
    let _alone = alone();
    let scene = Scene::new();
    let bytes: u64 = scaled(50_000_000, 1_000_000_000);
    let growth = growth_during(scene.flipgate.pid(), || {
        let told = scene.curl(
            &["--output", "/dev/null", "--write-out", "%{http_version} %{size_download}"],
            &format!("/download?bytes={bytes}"),
        );
        assert_eq!(told, format!("2 {bytes}"));
    });
    bounded("a download over HTTP/2", bytes, growth);

    let file = scene.flipgate.file("upload");
    std::fs::File::create(&file).unwrap().set_len(bytes).unwrap();
    let growth = growth_during(scene.flipgate.pid(), || {
        let told = scene.curl(&["--upload-file", file.to_str().unwrap(), "--request", "POST"], "/upload");
        assert!(told.contains(&format!("\"bytes\": {bytes},")), "{told}");
    });
    bounded("an upload over HTTP/2", bytes, growth);
}

#[test]
fn line_7_clients_that_do_not_read_cost_no_memory() {
    let _alone = alone();
    let scene = Scene::new();
    let growth = growth_during(scene.flipgate.pid(), || {
        let mut connections = (0..16).map(|_| Connection::open(scene.http())).collect::<Vec<_>>();
        for connection in &mut connections {
            connection.send(b"GET /download?bytes=1000000000 HTTP/1.1\r\nHost: a.example\r\n\r\n");
            assert_eq!(connection.head().unwrap().status, 200);
        }
        // While the watcher measures: whatever does not wait for the clients would arrive within this time.
        std::thread::sleep(Duration::from_secs(2));
    });
    bounded("16 stalled downloads", 16_000_000_000, growth);
}

#[test]
fn line_7_a_websocket_echoes() {
    let _machine = shared();
    let scene = Scene::new();
    let address = scene.http();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let talk = async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut socket, answer) =
            tokio_tungstenite::client_async("ws://a.example/ws", stream).await.expect("the upgrade");
        assert_eq!(answer.status(), 101);
        let mut echoed = 0;
        for size in (0..40).map(|number| number * number * 400 + number).chain([MIB, 3]) {
            let sent = (0..size).map(|at| (at * 31 + size) as u8).collect::<Vec<_>>();
            socket.send(Message::binary(sent.clone())).await.unwrap();
            let Some(Ok(Message::Binary(got))) = socket.next().await else {
                panic!("no echo of {size} bytes")
            };
            assert!(got[..] == sent[..], "{size} bytes come back changed");
            echoed += size;
        }
        assert!(echoed > 8 * MIB, "{echoed}");
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), talk).await }).expect("in time");
}

#[test]
fn line_7_server_sent_events_come_at_once() {
    let _machine = shared();
    let scene = Scene::new();
    // The server sends an event only when it is told to, and is told when the one before has come: nothing is held
    // back, whatever the machine's speed.
    let mut events = Connection::open(scene.http());
    events.send(b"GET /events HTTP/1.1\r\nHost: a.example\r\nAccept: text/event-stream\r\n\r\n");
    let head = events.head().unwrap();
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
    let mut text = Vec::new();
    for number in 0..20 {
        let wanted = format!("data: {number}\n\n");
        while !text.ends_with(wanted.as_bytes()) {
            let chunk = events.chunk().unwrap().expect("the stream goes on");
            text.extend_from_slice(&chunk);
        }
        let path = if number == 19 { "/events/next?last=1" } else { "/events/next" };
        crate::support::get(scene.server.address(), "a.example", path);
    }
    assert_eq!(events.chunk().unwrap(), None);
}

#[test]
fn line_7_trailers_and_interim_answers_pass() {
    let _machine = shared();
    let scene = Scene::new();
    let mut connection = Connection::open(scene.http());
    connection.send(b"GET /trailer HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let answer = connection.answer();
    assert_eq!(answer.text(), "onetwo");
    assert_eq!(answer.trailers, [("X-Sum".to_owned(), b"6".to_vec())], "{:?}", answer.fields);

    connection.send(b"GET /hints HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let answer = connection.answer();
    assert_eq!(answer.text(), "hinted\n");
    let link = ("Link".to_owned(), b"</style.css>; rel=preload".to_vec());
    assert_eq!(answer.interim, [(103, vec![link])]);

    connection.send(b"GET /progress HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let statuses = connection.answer().interim.into_iter().map(|(status, _)| status).collect::<Vec<_>>();
    assert_eq!(statuses, [102, 103, 103]);

    // HTTP/1.0 knows no interim answers.
    let mut old = Connection::open(scene.http());
    old.send(b"GET /progress HTTP/1.0\r\nHost: a.example\r\n\r\n");
    let answer = old.answer();
    assert_eq!((answer.interim.len(), answer.text().as_str()), (0, "done\n"));

    connection.send(
        b"POST /upload HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
          3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n",
    );
    assert_eq!(connection.answer().json()["bytes"], 3);
}

#[test]
fn line_7_trailers_pass_to_http2() {
    let _machine = shared();
    let scene = Scene::new();
    let address = scene.http();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let talk = async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let driver = tokio::spawn(connection);
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
        let trailers = body.trailers().await.unwrap().expect("trailers");
        assert_eq!(trailers.get("x-sum").unwrap(), "6");
        driver.abort();
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), talk).await }).expect("in time");
}
