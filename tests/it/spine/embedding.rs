//! Line 7, for programs that embed the gate: an axum program with a route of its own sends everything else through it.

use super::streams::{bounded, growth_during, pattern};
use crate::support::{Connection, Python, alone, scaled, shared};
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::routing::get;
use flipgate::app::{Gate, Peer};
use flipgate::store::Area;
use flipgate::store::memory::MemoryStore;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;

/// The program that embeds, on threads of its own.
struct Program {
    runtime: Runtime,
    gate: Gate,
    address: SocketAddr,
}

/// The gate takes the client's address from this extension.
async fn with_peer(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> axum::response::Response {
    request.extensions_mut().insert(Peer(peer));
    next.run(request).await
}

impl Program {
    fn start(server: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (gate, address) = runtime.block_on(async {
            let store = Arc::new(MemoryStore::new());
            let put = |key: &str, value: Value| store.put(Area::Routing, key, value.to_string()).unwrap();
            put("backends/app/backend", json!({"Type": "http"}));
            put("backends/app/servers/a", json!({"URL": format!("http://{server}")}));
            let revision =
                put("frontends/app/frontend", json!({"BackendId": "app", "Route": "PathPrefix(`/`)"}));
            let gate = Gate::builder().store(store.clone()).start().await.unwrap();
            assert!(gate.serving(revision, Duration::from_secs(5)).await);

            let app = Router::new()
                .route("/own", get(|| async { "the program's own" }))
                .fallback_service(gate.clone())
                .layer(axum::middleware::from_fn(with_peer))
                .into_make_service_with_connect_info::<SocketAddr>();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, app).await });
            (gate, address)
        });
        Self { runtime, gate, address }
    }

    fn shut(&self) {
        assert!(self.runtime.block_on(self.gate.shutdown(Duration::from_secs(5))), "everything ends in time");
    }
}

#[test]
fn line_7_an_axum_program_with_a_gate() {
    let _machine = shared();
    let server = Python::upstream();
    let program = Program::start(server.address());
    assert_eq!(crate::support::get(program.address, "a.example", "/own").text(), "the program's own");
    let told = crate::support::get(program.address, "a.example", "/echo").json();
    assert_eq!(told["line"], "GET /echo HTTP/1.1");
    let fields = told["fields"].to_string().to_lowercase();
    assert!(fields.contains("[\"x-forwarded-for\",\"127.0.0.1\"]"), "{fields}");

    let address = program.address;
    let talk = async move {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut socket, _) =
            tokio_tungstenite::client_async("ws://a.example/ws", stream).await.expect("the upgrade");
        for size in [0, 1, 125, 126, 65_536, 1 << 20] {
            let sent = (0..size).map(|at| (at * 7) as u8).collect::<Vec<_>>();
            socket.send(Message::binary(sent.clone())).await.unwrap();
            let got = socket.next().await;
            let Some(Ok(Message::Binary(got))) = got else { panic!("no echo of {size} bytes: {got:?}") };
            assert!(got[..] == sent[..], "{size} bytes come back changed");
        }
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    };
    program
        .runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), talk).await })
        .expect("in time");
    program.shut();
    assert_eq!(
        crate::support::get(program.address, "a.example", "/echo").status,
        503,
        "after the gate is shut"
    );
}

#[test]
fn line_7_a_large_body_through_an_axum_program() {
    let _alone = alone();
    let server = Python::upstream();
    let program = Program::start(server.address());
    let bytes: u64 = scaled(100_000_000, 1_000_000_000);
    let pattern = pattern();
    let mut buffer = vec![0; pattern.len()];

    // The program and its client are this process, so this is the growth of both.
    let growth = growth_during(std::process::id(), || {
        let mut connection = Connection::open(program.address);
        connection
            .send(format!("GET /download?bytes={bytes} HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes());
        assert_eq!(connection.head().unwrap().field("content-length"), Some(bytes.to_string().as_str()));
        let mut left = bytes as usize;
        while left > 0 {
            let piece = &mut buffer[..left.min(pattern.len())];
            connection.read_exact(piece).unwrap();
            assert!(*piece == pattern[..piece.len()], "the body differs {left} bytes before its end");
            left -= piece.len();
        }
        let head = format!("POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Length: {bytes}\r\n\r\n");
        connection.send(head.as_bytes());
        let mut left = bytes as usize;
        while left > 0 {
            let piece = &pattern[..left.min(pattern.len())];
            connection.send(piece);
            left -= piece.len();
        }
        assert_eq!(connection.answer().json()["bytes"], bytes);
    });
    bounded("a download and an upload through an axum program", 2 * bytes, growth);
    program.shut();
}
