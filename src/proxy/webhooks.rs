//! Calls that middlewares make when something happened: off the way of requests, few at once, each within its time.

use crate::middleware::Effect;
use crate::model::Webhook;
use crate::tls::{ClientTls, client_config};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore, mpsc};
use tokio_rustls::TlsConnector;

/// Calls that wait to be made; more are dropped.
const WAITING_MAX: usize = 256;
/// Calls that are made at once.
const AT_ONCE: usize = 16;

/// Where workers leave what is to be done.
pub(super) struct Effects(mpsc::Sender<Effect>);

/// Does it, on the control runtime.
pub(super) struct Calls(mpsc::Receiver<Effect>);

/// Both ends of a queue.
pub(super) fn queue() -> (Effects, Calls) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Effects(sender), Calls(receiver))
}

impl Effects {
    /// Never waits: where too much does already, the effect is dropped, and the log says so.
    pub(super) fn send(&self, effect: Effect) {
        if let Err(error) = self.0.try_send(effect) {
            let effect = error.into_inner();
            tracing::error!(middleware = %effect.middleware, event = effect.event, "a webhook is not called: too many wait");
        }
    }
}

impl Calls {
    /// Ends once all workers have.
    pub(super) async fn run(mut self) {
        let (room, tls) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(OnceCell::new()));
        while let Some(effect) = self.0.recv().await {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let tls = tls.clone();
            tokio::spawn(async move {
                let _permit = permit;
                perform(&effect, &tls).await;
            });
        }
    }
}

type Tls = OnceCell<TlsConnector>;

async fn perform(effect: &Effect, tls: &Tls) {
    let Effect { middleware, event, webhook } = effect;
    match tokio::time::timeout(webhook.timeout, call(webhook, tls)).await {
        Ok(Ok(status)) if status.is_success() || status.is_redirection() => {
            tracing::info!(%middleware, event, status = status.as_u16(), "webhook called");
        }
        Ok(Ok(status)) => {
            tracing::warn!(%middleware, event, status = status.as_u16(), "webhook answered with an error");
        }
        Ok(Err(error)) => tracing::warn!(%middleware, event, error, "webhook failed"),
        Err(_) => {
            tracing::warn!(%middleware, event, timeout = ?webhook.timeout, "webhook did not answer in time")
        }
    }
}

async fn call(webhook: &Webhook, tls: &Tls) -> Result<http::StatusCode, String> {
    let host = webhook.url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let secure = webhook.url.scheme_str() == Some("https");
    let port = webhook.url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream =
        TcpStream::connect((host, port)).await.map_err(|error| format!("cannot connect: {error}"))?;
    if !secure {
        return send(stream, webhook).await;
    }
    let connector = tls.get_or_try_init(connector).await?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let stream = connector.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
    send(stream, webhook).await
}

async fn connector() -> Result<TlsConnector, String> {
    let made = tokio::task::spawn_blocking(|| client_config(&ClientTls::default())).await;
    let config = made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    Ok(TlsConnector::from(config))
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    webhook: &Webhook,
) -> Result<http::StatusCode, String> {
    let request = request(webhook).map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends with the call: nobody reads the answer's body.
    let connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    drop(connection);
    Ok(answer.status())
}

fn request(webhook: &Webhook) -> Result<http::Request<Full<Bytes>>, http::Error> {
    let (body, kind) = webhook.content();
    let target = webhook.url.path_and_query().map_or("/", |target| target.as_str());
    let authority = webhook.url.authority().map_or("", |authority| authority.as_str());
    let mut builder = http::Request::builder()
        .method(webhook.method.clone())
        .uri(target)
        .header(http::header::HOST, authority)
        .header(http::header::USER_AGENT, "flipgate");
    for (name, value) in &webhook.fields {
        builder = builder.header(&**name, &**value);
    }
    let mut request = builder.body(Full::new(Bytes::from(body)))?;
    if let Some(kind) = kind {
        request.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    }
    Ok(request)
}
