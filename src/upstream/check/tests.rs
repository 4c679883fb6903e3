//! Checks against servers on the loopback.

use super::*;
use crate::model::{self, BackendId, Statuses};
use crate::upstream::Backend;
use axum::Router;
use axum::body::Body;
use axum::routing::{any, post};
use http::{HeaderValue, Uri};
use http_body::Frame;
use http_body_util::StreamBody;
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Serves HTTP/1.1 and HTTP/2 with prior knowledge.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn ask(address: &str, settings: BackendSettings) -> Result<(), String> {
    let id: BackendId = "shop".parse().unwrap();
    let object = model::Server {
        backend: id.clone(),
        id: "a".parse().unwrap(),
        url: if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
            .parse()
            .unwrap(),
        weight: 1,
        state: model::ServerState::Active,
        zone: None,
    };
    let checker = Checker::new(&settings, None).unwrap();
    assert!(checker.is_for(&settings, None));
    let backend = Backend::compile(&id, settings.into(), None, [&object].into_iter(), None, 1);
    checker.check(&backend.servers()[0]).await.map_err(|failure| failure.to_string())
}

fn asking(probe: Probe) -> BackendSettings {
    let health = HealthCheck { probe, timeout: Duration::from_secs(5), ..HealthCheck::default() };
    BackendSettings { health: Some(health), ..BackendSettings::default() }
}

fn http(path: &str) -> HttpProbe {
    HttpProbe { path: path.into(), ..HttpProbe::default() }
}

fn site() -> Router {
    let echo = async |method: Method, uri: Uri, headers: HeaderMap| {
        let host = headers.get(HOST).map_or("", |host| host.to_str().unwrap()).to_owned();
        format!("{method} {uri} {host} all is well")
    };
    Router::new()
        .route("/echo", any(echo))
        .route("/sick", any(async || StatusCode::SERVICE_UNAVAILABLE))
        .route("/long", any(async || "x".repeat(BODY_BYTES_MAX) + "end"))
        .route("/probe", post(async || r#"{"healthy":true,"since":3}"#))
        .route("/unwell", post(async || r#"{"healthy":false}"#))
        .route("/never", any(async || std::future::pending::<()>().await))
}

#[tokio::test]
async fn http_answers_are_judged() {
    let address = serve(site()).await.to_string();
    let check = async |probe: HttpProbe, expected: Result<(), &str>| {
        let shown = format!("{probe:?}");
        assert_eq!(
            ask(&address, asking(Probe::Http(probe))).await,
            expected.map_err(str::to_owned),
            "{shown}"
        );
    };
    let text = |probe: HttpProbe, text: &str| HttpProbe { body: Some(text.into()), ..probe };
    let missing = Err("the answer does not contain the text that is expected");
    check(http("/echo"), Ok(())).await;
    check(text(http("/echo?a=b"), "GET /echo?a=b 127.0.0.1:"), Ok(())).await;
    check(text(HttpProbe { method: "PUT".into(), ..http("/echo") }, "PUT"), Ok(())).await;
    check(text(HttpProbe { host: Some("shop.example".into()), ..http("/echo") }, " shop.example "), Ok(()))
        .await;
    check(text(http("/echo"), "all is lost"), missing).await;
    check(text(http("/long"), "end"), missing).await;
    check(http("/sick"), Err("answered 503 Service Unavailable")).await;
    let statuses = Statuses::new(vec![503..=503]);
    check(HttpProbe { statuses, ..http("/sick") }, Ok(())).await;
}

#[tokio::test]
async fn other_probes_and_protocols() {
    let address = serve(site()).await.to_string();
    let amdatu = |path: &str| asking(Probe::Amdatu { path: path.into() });
    assert_eq!(ask(&address, amdatu("/probe")).await, Ok(()));
    let unwell = Err("the answer is not {\"healthy\":true}".to_owned());
    assert_eq!(ask(&address, amdatu("/unwell")).await, unwell);
    assert_eq!(ask(&address, amdatu("/echo")).await, unwell);
    assert_eq!(ask(&address, asking(Probe::Tcp)).await, Ok(()));
    let http2 = BackendSettings {
        protocol: UpstreamProtocol::Http2,
        ..asking(Probe::Http(HttpProbe { body: Some("GET http://".into()), ..http("/echo") }))
    };
    assert_eq!(ask(&address, http2).await, Ok(()));
    // Another port than the server's own.
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut elsewhere = asking(Probe::Http(http("/echo")));
    elsewhere.health.as_mut().unwrap().port = Some(port);
    assert_eq!(ask("127.0.0.1:9", elsewhere).await, Ok(()));
}

#[tokio::test]
async fn silence_and_refusal_are_no_answers() {
    let address = serve(site()).await.to_string();
    let mut hurried = asking(Probe::Http(http("/never")));
    hurried.health.as_mut().unwrap().timeout = Duration::from_millis(50);
    assert_eq!(ask(&address, hurried).await, Err("no answer within 50ms".to_owned()));
    // Bound, so that nobody else answers there, but not listening.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refusing = taken.local_addr().unwrap().to_string();
    for probe in [Probe::Tcp, Probe::Http(http("/"))] {
        let failure = ask(&refusing, asking(probe)).await.unwrap_err();
        assert!(failure.starts_with(&format!("connect to {refusing}: ")), "{failure}");
    }
}

#[tokio::test]
async fn tls_servers_prove_who_they_are() {
    let made = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    let check =
        async |tls: UpstreamTls| ask(&url, BackendSettings { tls, ..asking(Probe::Http(http("/"))) }).await;
    let authorities = Some(made.cert.pem().into());
    let server_name = Some("shop.example".into());
    assert_eq!(check(UpstreamTls { insecure: true, ..UpstreamTls::default() }).await, Ok(()));
    assert_eq!(
        check(UpstreamTls { authorities: authorities.clone(), server_name, ..UpstreamTls::default() }).await,
        Ok(())
    );
    for tls in [
        UpstreamTls { authorities, ..UpstreamTls::default() },
        UpstreamTls { authorities: Some("nothing".into()), ..UpstreamTls::default() },
    ] {
        let failure = check(tls).await.unwrap_err();
        assert!(failure.contains("TLS handshake") || failure.contains("authorit"), "{failure}");
    }
}

#[tokio::test]
async fn grpc_is_spoken() {
    let answer = async |body: axum::body::Bytes| {
        let status = match body.len() {
            5 => 1,
            _ if body.ends_with(b"shop") => 2,
            _ => 0,
        };
        let frames = [
            Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status])),
            Frame::trailers(HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            )])),
        ];
        let frames = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
        http::Response::new(Body::new(StreamBody::new(frames)))
    };
    let router = Router::new().route(grpc::PATH, post(answer));
    let address = serve(router).await.to_string();
    let grpc = |service: &str| asking(Probe::Grpc { service: service.into() });
    assert_eq!(ask(&address, grpc("")).await, Ok(()));
    assert_eq!(ask(&address, grpc("shop")).await, Err("answered NOT_SERVING".to_owned()));
    assert_eq!(ask(&address, grpc("cart")).await, Err("answered UNKNOWN".to_owned()));
}
