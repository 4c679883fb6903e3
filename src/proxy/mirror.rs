//! Sends copies of requests to other backends. Nothing waits for them, and nothing fails with them.

use super::ask::{answer_of, discard};
use super::body::{Aborted, Body, Broken, Piece};
use super::choice;
use super::client::Client;
use super::passage::Passage;
use super::worker::Worker;
use crate::message::{BodyLength, Limits, RequestHead};
use crate::middleware::{Mirror, Ticket};
use crate::upstream::Backend;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How long a copy may take from its whole request to its answer's head.
const TIME_MAX: Duration = Duration::from_secs(10);

/// A copy that waits for its body.
struct Copy {
    worker: Rc<Worker>,
    client: Rc<Client>,
    head: RequestHead,
    host: Option<Box<str>>,
    backend: Arc<Backend>,
    /// Of the table that its request loaded.
    generation: Option<u64>,
    body_bytes_max: usize,
    ticket: Ticket,
}

/// A request's body that is copied while it is handed on.
pub(super) struct Copied {
    source: Body,
    /// What was handed on so far, while any copy can take it.
    data: Vec<u8>,
    copies: Vec<Copy>,
}

/// Begins the copies that were decided on. Returns the body to be sent on, from which they get theirs.
pub(super) fn begin(passage: &mut Passage, body: Body) -> Body {
    if passage.mirrors.is_empty() || passage.head.upgrade {
        return body;
    }
    let mirrors = std::mem::take(&mut passage.mirrors);
    let known = if body.is_empty() { Some(0) } else { body.remaining() };
    let fits = |most: usize| known.is_none_or(|length| length <= most as u64);
    let mirrors = mirrors.into_iter().filter(|(mirror, _)| fits(mirror.body_bytes_max));
    let copies: Vec<Copy> = mirrors.map(|(mirror, backend)| Copy::of(passage, mirror, backend)).collect();
    if body.is_empty() {
        copies.into_iter().for_each(|copy| copy.send(Bytes::new()));
        return body;
    }
    if copies.is_empty() {
        return body;
    }
    Body::Copied(Box::new(Copied { source: body, data: Vec::new(), copies }))
}

impl Copy {
    fn of(passage: &Passage, mirror: Mirror, backend: Arc<Backend>) -> Self {
        let mut head = passage.head.clone();
        head.expect_continue = false;
        head.fields.set_with("X-Mirrored", |out| out.extend_from_slice(b"true"));
        let passes_host =
            passage.frontend.as_ref().is_some_and(|frontend| frontend.object.settings.pass_host_header);
        let host = match passage.visit.host() {
            None if passes_host => Some(head.authority()).filter(|authority| !authority.is_empty()),
            host => host,
        };
        Self {
            worker: passage.worker.clone(),
            client: passage.client.clone(),
            host: host.map(Into::into),
            head,
            backend,
            generation: passage.generation,
            body_bytes_max: mirror.body_bytes_max,
            ticket: mirror.ticket,
        }
    }

    fn send(mut self, body: Bytes) {
        let worker = self.worker.clone();
        if worker.is_past(self.generation) {
            // Nothing begins any more from a table that was said to be past.
            worker.shared.mirror_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (length, body) = match body.len() {
            0 => (BodyLength::None, Body::Empty),
            length => {
                let whole = Full::new(body).map_err(|never| -> Aborted { match never {} });
                (BodyLength::Known(length as u64), Body::Program(whole.boxed_unsync()))
            }
        };
        self.head.body = length;
        let Self { client, head, host, backend, generation, ticket, .. } = self;
        let mut beside = Passage::aside(&worker, client, head, &backend, generation);
        beside.visit.set_host(host);
        choice::note(&mut beside, &backend);
        worker.tasks.spawn_local(async move {
            let deadline = beside.worker.timer();
            deadline.set(TIME_MAX);
            if let Some(Ok((exchange, head))) =
                deadline.bound(answer_of(&mut beside, &backend, body, None)).await
            {
                discard(beside, exchange, head.keep_alive).await;
            }
            drop(ticket);
        });
    }
}

impl Copied {
    pub(super) fn source(&self) -> &Body {
        &self.source
    }

    /// The next piece of the source, of which the copies take note.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
    ) -> Poll<Result<Piece, Broken>> {
        let piece = ready!(self.source.poll_piece(cx, limits))?;
        if self.copies.is_empty() {
            return Poll::Ready(Ok(piece));
        }
        let more = match &piece {
            Piece::OnWire(length) => *length,
            Piece::Own(data) => data.len(),
            Piece::End(_) => 0,
        };
        let length = self.data.len() + more;
        self.copies.retain(|copy| length <= copy.body_bytes_max);
        match &piece {
            _ if self.copies.is_empty() => self.data = Vec::new(),
            Piece::OnWire(length) => {
                if let Some(wire) = self.source.wire() {
                    self.data.extend_from_slice(wire.input().bytes().get(..*length).unwrap_or_default());
                }
            }
            Piece::Own(data) => self.data.extend_from_slice(data),
            Piece::End(_) => {}
        }
        // The end of a body of known length is not asked for.
        if matches!(piece, Piece::End(_)) || self.source.is_done() {
            let data = Bytes::from(std::mem::take(&mut self.data));
            std::mem::take(&mut self.copies).into_iter().for_each(|copy| copy.send(data.clone()));
        }
        Poll::Ready(Ok(piece))
    }
}
