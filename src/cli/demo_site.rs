//! The demo's two sites: a page of one colour each.

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Most open connections of a site.
const CONNECTIONS_MAX: usize = 1_000;

/// A site's colour, which is all there is to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// The one that serves at first.
    Blue,
    /// The next one.
    Green,
}

impl Colour {
    fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Blue => "#1d4ed8",
            Self::Green => "#15803d",
        }
    }

    /// For browsers. It loads itself anew every second, so that a flip is seen.
    fn page(self) -> String {
        let (name, code) = (self.name(), self.code());
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta http-equiv=\"refresh\" content=\"1\">\n\
             <title>{name}</title>\n\
             <style>body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: {code}; \
             color: #fff; font: 600 12vmin system-ui, sans-serif }}</style>\n<p>{name}</p>\n</html>\n"
        )
    }
}

/// A running site. Dropping it ends it.
pub(super) struct Site {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Site {
    /// Serves on a listener. Called within a Tokio runtime.
    pub(super) fn start(colour: Colour, listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        Ok(Self { address, accepting: tokio::spawn(accept(colour, listener)) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(colour: Colour, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, mostly.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        tokio::spawn(async move {
            let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(colour, &request)) });
            // A connection that breaks off is its client's matter.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(120))
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

fn answer(colour: Colour, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let (kind, body) = match accept {
        Some(accept) if accept.contains("text/html") => ("text/html; charset=utf-8", colour.page()),
        _ => ("text/plain; charset=utf-8", format!("{}\n", colour.name())),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let fields = response.headers_mut();
    for (name, value) in
        [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store"), (header::VARY, "accept")]
    {
        fields.insert(name, header::HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_page_for_browsers_and_a_word_for_curl() {
        let site = Site::start(Colour::Green, std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        for (accept, part) in [("*/*", "\r\n\r\ngreen\n"), ("text/html,*/*", "<p>green</p>")] {
            let mut stream = tokio::net::TcpStream::connect(site.address()).await.unwrap();
            let request =
                format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(part), "{answer}");
        }
    }
}
