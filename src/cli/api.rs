//! A client of our own APIs, of a proxy's and of a deployer's: one request, one connection.

use crate::tls::{ClientTls, Trust, client_config};
use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a whole answer, beyond what the request itself asks to wait for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// Largest line of an answer of lines, in bytes.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// An answer that is JSON, or an empty value.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Answer {
    /// The API's own words for what went wrong.
    pub(super) fn message(&self) -> String {
        let message = self.body.get("message").and_then(Value::as_str);
        message.map_or_else(|| format!("the answer is {}", self.status), str::to_owned)
    }

    /// The problems that it lists, a line each.
    pub(super) fn problems(&self) -> String {
        let mut lines = String::new();
        for problem in self.body.get("problems").and_then(Value::as_array).into_iter().flatten() {
            let part = |name| problem.get(name).and_then(Value::as_str).unwrap_or_default();
            lines.push_str(&format!("\n  {}: {} {}", part("key"), part("field"), part("reason")));
        }
        lines
    }
}

/// Which API, in messages.
#[derive(Debug)]
pub(super) struct Words {
    /// What it is: `the admin API`.
    name: &'static str,
    /// The flags with its URL and with the file of the token.
    flags: (&'static str, &'static str),
    /// Where it is by default.
    example: &'static str,
    /// Who does not answer: `no proxy`.
    nobody: &'static str,
    /// What to do then.
    advice: &'static str,
    /// What to do where its certificate is not trusted.
    trust: &'static str,
}

/// A proxy's.
pub(super) const ADMIN: Words = Words {
    name: "the admin API",
    flags: ("--admin", "--admin-token-file"),
    example: "http://127.0.0.1:8182",
    nobody: "no proxy",
    advice: "start one with `flipgate proxy`, or name another with --admin URL, or a store with --store dir:PATH or \
             --store etcd://HOST:PORT",
    trust: "it is spoken to in plain HTTP",
};

/// A deployer's.
#[cfg(feature = "kubernetes")]
pub(super) const DEPLOYER: Words = Words {
    name: "the deployer",
    flags: ("--deployer", "--deployer-token-file"),
    example: "http://127.0.0.1:8000",
    nobody: "no deployer",
    advice: "start one with `flipgate deployer`, or name another with --deployer URL",
    trust: "--deployer-ca FILE names the authorities that its certificate may come from",
};

impl Words {
    /// Where it is by default.
    fn port(&self) -> u16 {
        self.example.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(80)
    }
}

/// Speaks to an API.
pub(super) struct ApiClient {
    words: &'static Words,
    host: String,
    authority: String,
    port: u16,
    token: Option<HeaderValue>,
    tls: Option<Arc<ClientConfig>>,
}

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl ApiClient {
    /// `http://HOST:PORT`, or `HOST:PORT`; the token is that of `token_file`, which may also hold several: the one
    /// that may write is taken. With `authorities`, a reader of those whose servers are trusted, `https` is spoken, too.
    ///
    /// # Errors
    /// The URL is not of that form; a file cannot be read or holds no token.
    pub(super) fn new(
        words: &'static Words,
        url: &str,
        token_file: Option<&Path>,
        authorities: Option<&dyn Fn() -> anyhow::Result<Trust>>,
    ) -> anyhow::Result<Self> {
        let (flag, name, example) = (words.flags.0, words.name, words.example);
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let wrong = || anyhow!("{flag} {url}: this is no URL of {name}, like {example}");
        let uri: Uri = with_scheme.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let tls = match (uri.scheme_str(), authorities) {
            (Some("http"), _) => None,
            (Some("https"), Some(authorities)) => {
                let tls = ClientTls { trust: authorities()?, ..ClientTls::default() };
                Some(client_config(&tls)?)
            }
            (Some("https"), None) => bail!(
                "{flag} {url}: {name} is spoken to in plain HTTP; put a tunnel in front and name its end"
            ),
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if !matches!(uri.path(), "" | "/") || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let token = token_file.map(|path| read_token(words.flags.1, path)).transpose()?;
        let usual = if tls.is_some() { 443 } else { words.port() };
        let port = authority.port_u16().unwrap_or(usual);
        Ok(Self { words, host, authority: authority.to_string(), port, token, tls })
    }

    /// `http://HOST:PORT`, for messages.
    pub(super) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// `GET`
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, None, Duration::ZERO).await
    }

    /// Any method, with a body and header fields.
    #[cfg(feature = "kubernetes")]
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        fields: &[(HeaderName, HeaderValue)],
    ) -> anyhow::Result<Answer> {
        self.exchange(method, path, body, fields, Duration::ZERO).await
    }

    /// `GET`, with time for the API to wait for something.
    pub(super) async fn get_waiting(&self, path: &str, wait: Duration) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, None, wait).await
    }

    /// `POST` of a JSON value.
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, Some(body), Duration::ZERO).await
    }

    /// `DELETE`
    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::DELETE, path, None, Duration::ZERO).await
    }

    /// `POST` of a JSON value that is answered with lines of JSON as they come, or with a refusal.
    pub(super) async fn post_lines(&self, path: &str, body: &Value) -> anyhow::Result<Result<Lines, String>> {
        let stream = self.connect().await?;
        let asked = self.ask(stream, Method::POST, path, Some(body), &[]);
        let Ok(response) = tokio::time::timeout(ANSWER_TIMEOUT, asked).await else {
            bail!("{} took the request and did not answer in time", self.url());
        };
        let (response, connection) = response.with_context(|| self.url())?;
        if !response.status().is_success() {
            let answer = self.collect(response).await?;
            if answer.status == StatusCode::CONFLICT {
                return Ok(Err(answer.message()));
            }
            bail!("{}: {}{}", self.url(), answer.message(), answer.problems());
        }
        Ok(Ok(Lines { body: response.into_body(), buffer: Vec::new(), _connection: connection }))
    }

    /// `GET` of lines as they come, whatever they are.
    #[cfg(feature = "kubernetes")]
    pub(super) async fn get_lines(
        &self,
        path: &str,
        fields: &[(HeaderName, HeaderValue)],
    ) -> anyhow::Result<Lines> {
        let stream = self.connect().await?;
        let asked = self.ask(stream, Method::GET, path, None, fields);
        let Ok(response) = tokio::time::timeout(ANSWER_TIMEOUT, asked).await else {
            bail!("{} took the request and did not answer in time", self.url());
        };
        let (response, connection) = response.with_context(|| self.url())?;
        if !response.status().is_success() {
            let answer = self.collect(response).await?;
            bail!("{}: {}", self.url(), answer.message());
        }
        Ok(Lines { body: response.into_body(), buffer: Vec::new(), _connection: connection })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        wait: Duration,
    ) -> anyhow::Result<Answer> {
        self.exchange(method, path, body, &[], wait).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        fields: &[(HeaderName, HeaderValue)],
        wait: Duration,
    ) -> anyhow::Result<Answer> {
        let url = self.url();
        let stream = self.connect().await?;
        let exchange = async {
            let (response, _connection) = self.ask(stream, method, path, body, fields).await?;
            self.collect(response).await
        };
        match tokio::time::timeout(ANSWER_TIMEOUT + wait, exchange).await {
            Ok(answer) => answer.with_context(|| url),
            Err(_) => bail!("{url} took the request and did not answer in time"),
        }
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        let url = self.url();
        match tokio::time::timeout(CONNECT_TIMEOUT, self.open()).await {
            Ok(Ok(stream)) => Ok(stream),
            // Somebody answers, and TLS does not come about.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                bail!("no TLS with {url}: {error}; {}", self.words.trust)
            }
            Ok(Err(error)) => bail!("{} answers at {url}: {error}; {}", self.words.nobody, self.words.advice),
            Err(_) => bail!("{} answers at {url} within {CONNECT_TIMEOUT:?}", self.words.nobody),
        }
    }

    async fn open(&self) -> std::io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
        Ok(Box::new(TlsConnector::from(tls.clone()).connect(name, stream).await?))
    }

    async fn ask(
        &self,
        stream: Box<dyn Stream>,
        method: Method,
        path: &str,
        body: Option<&Value>,
        fields: &[(HeaderName, HeaderValue)],
    ) -> anyhow::Result<(Response<Incoming>, Connection)> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = Connection(tokio::spawn(async move { drop(connection.await) }));
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        if fields.iter().all(|(name, _)| *name != header::ACCEPT) {
            request = request.header(header::ACCEPT, "application/json");
        }
        for (name, value) in fields {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let response = sender.send_request(request.body(Full::new(Bytes::from(bytes)))?).await?;
        Ok((response, connection))
    }

    async fn collect(&self, response: Response<Incoming>) -> anyhow::Result<Answer> {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
        let body = match serde_json::from_slice(&body) {
            Ok(body) => body,
            Err(_) if !status.is_success() || body.is_empty() => json!({}),
            Err(_) => bail!("what answers is not {} of Flipgate: the answer is not JSON", self.words.name),
        };
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let answer = Answer { status, body };
                bail!("{}; name the file with the token: {} FILE", answer.message(), self.words.flags.1)
            }
            _ => Ok(Answer { status, body }),
        }
    }
}

/// The task that moves the bytes; ends when this is dropped.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lines of JSON that come one by one.
pub(super) struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    _connection: Connection,
}

impl Lines {
    /// The next one, read as JSON; none: that was all.
    ///
    /// # Errors
    /// The answer broke off, or a line is no JSON.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        let Some(line) = self.next_bytes().await? else { return Ok(None) };
        Ok(Some(serde_json::from_slice(&line).context("the answer is not lines of JSON")?))
    }

    /// The next one with its end; none: that was all.
    ///
    /// # Errors
    /// The answer broke off.
    pub(super) async fn next_bytes(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.buffer.drain(..=end).collect()));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                bail!("a line of the answer has more than {LINE_BYTES_MAX} bytes");
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => bail!("the answer broke off: {error}"),
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.buffer.extend_from_slice(bytes);
                    }
                }
            }
        }
    }
}

/// The first token that may write, else the first one.
fn read_token(flag: &str, path: &Path) -> anyhow::Result<HeaderValue> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| anyhow!("{flag} {shown}: {error}"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    // A deployer's file has namespaces in between, and names of certificates.
    let lines = lines.filter(|line| !line.contains(" CN="));
    let tokens: Vec<(&str, &str)> = lines
        .filter_map(|line| {
            Some((
                line.split_once(char::is_whitespace).map_or("write", |(role, _)| role),
                line.split_whitespace().next_back()?,
            ))
        })
        .collect();
    let token = tokens.iter().find(|(role, _)| *role == "write").or(tokens.first());
    let Some((_, token)) = token else { bail!("{flag} {shown}: there is no token in it") };
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
        .map_err(|_| anyhow!("{flag} {shown}: the token has characters that cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A part of a path or a query with everything escaped that is not plainly harmless.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte))
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_in_full_and_short_form() {
        let url = |text: &str| {
            ApiClient::new(&ADMIN, text, None, None).map(|client| (client.url(), client.host, client.port))
        };
        let is = |url: &str, host: &str, port| (url.to_owned(), host.to_owned(), port);
        assert_eq!(url("http://127.0.0.1:8182/").unwrap(), is("http://127.0.0.1:8182", "127.0.0.1", 8182));
        assert_eq!(url("gate:1").unwrap(), is("http://gate:1", "gate", 1));
        assert_eq!(url("http://[::1]:8182").unwrap(), is("http://[::1]:8182", "::1", 8182));
        assert_eq!(url("http://gate").unwrap().2, 8182);
        for wrong in ["", "https://a", "ftp://a", "http://a/b", "http://u:p@a", "http://a b"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_token_that_may_write_is_taken() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, token) in [
            ("secret\n", Some("Bearer secret")),
            ("# who\nread r\nwrite w\n", Some("Bearer w")),
            ("read r\n", Some("Bearer r")),
            ("# nobody\n", None),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let read = read_token("--admin-token-file", file.path());
            assert_eq!(read.ok().as_ref().and_then(|value| value.to_str().ok()), token, "{text:?}");
        }
    }

    #[test]
    fn ids_are_escaped() {
        assert_eq!(escape("*.a/b c%"), "%2A.a%2Fb%20c%25");
    }
}
