//! HTTP/1.1 by hand: little work for a request, so that the load leaves the machine to what is measured.

use super::wire::{Wire, connect};
use super::{Pace, Plan, Question, Shared};
use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(super) struct Client {
    proxy: SocketAddr,
    keeps: bool,
    stream: Option<Wire>,
    buffer: BytesMut,
    head: String,
}

pub(super) async fn run(shared: Arc<Shared>, mut pace: Pace, mut client: Client) {
    while shared.goes_on() {
        pace.wait().await;
        let question = shared.question();
        if shared.plan.reconnects {
            client.look();
        }
        if !shared.note(&question, client.ask(&shared.plan, &question)).await {
            client.stream = None;
        }
    }
}

impl Client {
    pub(super) fn new(proxy: SocketAddr, keeps: bool) -> Self {
        Self { proxy, keeps, stream: None, buffer: BytesMut::new(), head: String::new() }
    }

    /// Lets go of a connection that the proxy has closed.
    fn look(&mut self) {
        let is_open = |stream: &mut Wire| stream.read(&mut [0]).now_or_never().is_none();
        if !self.stream.as_mut().is_some_and(is_open) {
            self.stream = None;
        }
    }

    async fn ask(&mut self, plan: &Plan, question: &Question) -> Result<(u16, Vec<u8>), String> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = connect(plan, self.proxy, false).await?;
                self.buffer.clear();
                stream
            }
        };
        self.head.clear();
        let Question { number, is_post, body } = question;
        let host = &plan.host;
        let method = if *is_post { "POST" } else { "GET" };
        let close = if self.keeps { "" } else { "Connection: close\r\n" };
        let _ = write!(
            self.head,
            "{method} /shop/{number} HTTP/1.1\r\nHost: {host}\r\nX-Request-Number: {number}\r\n{close}"
        );
        if *is_post {
            let _ = write!(self.head, "Content-Length: {}\r\n", body.len());
        }
        self.head.push_str("\r\n");
        let mut request = Buf::chain(self.head.as_bytes(), body.as_slice());
        let mut sent = stream.write_all_buf(&mut request).await;
        if sent.is_ok() {
            sent = stream.flush().await;
        }
        // What was answered before the request was sent is worth more than that it could not be sent.
        let (status, body, closes) = match (answer(&mut stream, &mut self.buffer).await, sent) {
            (Ok(answer), _) => answer,
            (Err(_), Err(error)) => return Err(format!("send: {error}")),
            (Err(reason), Ok(())) => return Err(reason),
        };
        if self.keeps && !closes {
            self.stream = Some(stream);
        }
        Ok((status, body))
    }
}

/// Status, body, and whether the connection ends with it.
async fn answer(stream: &mut Wire, buffer: &mut BytesMut) -> Result<(u16, Vec<u8>, bool), String> {
    let (status, length, closes) = loop {
        if let Some(head) = head(buffer)? {
            break head;
        }
        more(stream, buffer).await?;
    };
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    Ok((status, buffer.split_to(length).to_vec(), closes))
}

fn head(buffer: &mut BytesMut) -> Result<Option<(u16, usize, bool)>, String> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Response::new(&mut fields);
    let bytes = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("answer: {error}")),
    };
    let (mut length, mut closes) = (None, false);
    for field in parsed.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(field.value).ok().and_then(|text| text.parse().ok());
        } else if field.name.eq_ignore_ascii_case("connection") {
            closes = field.value.eq_ignore_ascii_case(b"close");
        }
    }
    let status = parsed.code.unwrap_or(0);
    let length = length.ok_or_else(|| format!("{status} without a length"))?;
    buffer.advance(bytes);
    Ok(Some((status, length, closes)))
}

async fn more(stream: &mut Wire, buffer: &mut BytesMut) -> Result<(), String> {
    match stream.read_buf(buffer).await {
        Ok(0) if buffer.is_empty() => Err("closed without an answer".to_owned()),
        Ok(0) => Err(format!("closed after {} bytes of the answer", buffer.len())),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("receive: {error}")),
    }
}
