//! Asks a service of the table what becomes of a request, while the request waits.

use super::body::{Body, Piece};
use super::error::Failure;
use super::exchange::{Exchange, Next};
use super::passage::Passage;
use super::request::{self, Decision, Pending};
use super::{choice, forward, headers};
use crate::message::{Known, RequestHead, ResponseHead};
use crate::middleware::{Ask, PasswordCheck, Question, ServiceAnswer, Told};
use crate::telemetry::Reason;
use crate::upstream::Backend;
use crate::wire::Wire;
use bytes::Bytes;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::ready;

/// Longest body of an answer that is passed on, in bytes; in place of a longer one stands the proxy's own text.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Asks as often as the chain wants, until it has decided. Nothing of the request's body is read meanwhile, but what lies
/// on the wire of a client whose end is watched.
pub(super) async fn decided(
    passage: &mut Passage,
    mut pending: Box<Pending>,
    client: Option<&Rc<Wire>>,
) -> Decision {
    loop {
        let told = match &pending.ask {
            Ask::Password(check) => password(check.clone()).await,
            Ask::Service(question) => match service(passage, question, pending.asked(question), client).await
            {
                Ok(told) => Some(Told::Service(told)),
                // A question that its client made impossible is no silence of the service, which may let requests through.
                Err(failure)
                    if matches!(
                        failure.reason,
                        Reason::ClientGone | Reason::BadRequest | Reason::HeadTooLarge
                    ) =>
                {
                    return Decision::Fail(failure);
                }
                Err(failure) => {
                    let (backend, reason) = (&question.backend, failure.reason.as_str());
                    tracing::warn!(%backend, reason, "the auth service gave no answer");
                    None
                }
            },
        };
        match request::resume(passage, *pending, told) {
            Ok(decision) => return decision,
            Err(next) => pending = next,
        }
    }
}

/// Computes a password's hash beside the workers. `None`: the process ends.
async fn password(check: Arc<PasswordCheck>) -> Option<Told> {
    tokio::task::spawn_blocking(move || check.run()).await.ok().map(Told::Password)
}

async fn service(
    passage: &Passage,
    question: &Question,
    backend: Option<&Arc<Backend>>,
    client: Option<&Rc<Wire>>,
) -> Result<ServiceAnswer, Failure> {
    let backend = backend.ok_or(Failure::of(Reason::NoBackend))?;
    let worker = &passage.worker;
    let client_of = passage.client.clone();
    let mut beside = Passage::aside(worker, client_of, head(passage, question)?, backend, passage.generation);
    choice::note(&mut beside, backend);
    let deadline = worker.timer();
    deadline.set(question.timeout);
    let answer = deadline.bound(converse(beside, backend, client.cloned())).await;
    answer.unwrap_or(Err(Failure::of(Reason::UpstreamTimeout)))
}

fn head(passage: &Passage, question: &Question) -> Result<RequestHead, Failure> {
    let worker = &passage.worker;
    let mut request = http::Request::builder().uri(&*question.path).header("Host", "auth");
    for (name, value) in &question.fields {
        request = request.header(&**name, &**value);
    }
    // A question that comes back to a proxy that has asked it is not asked for ever.
    for via in headers::vias(passage) {
        request = request.header("Via", via);
    }
    let (mut parts, ()) = request.body(()).map_err(|_| Failure::of(Reason::BadRequest))?.into_parts();
    parts.version = http::Version::HTTP_11;
    let limits = &worker.settings().limits;
    RequestHead::from_http(&parts, None, true, &mut worker.spare.borrow_mut(), limits)
        .map_err(|error| Failure::of_head(&error))
}

/// The final answer to a request that goes along with another one.
pub(super) async fn answer_of(
    beside: &mut Passage,
    backend: &Arc<Backend>,
    body: Body,
    client: Option<Rc<Wire>>,
) -> Result<(Exchange, ResponseHead), Failure> {
    let timer = Rc::new(beside.worker.timer());
    let (mut exchange, mut next) = forward::send(beside, backend, body, client, &timer, false).await?;
    loop {
        match next {
            Next::Head(head) if head.status == 101 => {
                beside.failed(Reason::BadAnswer);
                return Err(Failure::of(Reason::BadAnswer));
            }
            Next::Head(head) if head.is_interim() => head.recycle(&mut beside.worker.spare.borrow_mut()),
            Next::Continue => exchange.release_body(),
            Next::Head(head) => {
                beside.answered(head.status);
                beside.settle();
                exchange.commit(&head);
                return Ok((exchange, head));
            }
        }
        next = exchange.next().await.inspect_err(|failure| beside.failed(failure.reason))?;
    }
}

async fn converse(
    mut beside: Passage,
    backend: &Arc<Backend>,
    client: Option<Rc<Wire>>,
) -> Result<ServiceAnswer, Failure> {
    let (mut exchange, mut head) = answer_of(&mut beside, backend, Body::Empty, client).await?;
    let worker = beside.worker.clone();
    let keep = head.keep_alive;
    head.fields.remove_hop_by_hop();
    let kind = head.fields.known(Known::ContentType).and_then(|kind| std::str::from_utf8(kind).ok());
    let kind = kind.unwrap_or("application/octet-stream").to_owned();
    let fields = head.fields.iter().filter(|field| {
        !matches!(field.known, Known::ContentType | Known::ContentLength | Known::Date | Known::Trailer)
    });
    let mut fields: Vec<(Box<str>, Box<[u8]>)> =
        fields.map(|field| (field.name.into(), field.value.into())).collect();
    let status = head.status;
    head.recycle(&mut worker.spare.borrow_mut());
    if (200..300).contains(&status) {
        if exchange.is_answer_done() {
            exchange.finish(keep);
            return Ok(ServiceAnswer { status, fields, body: None });
        }
        // Nobody is to wait for a body that nobody reads.
        worker.tasks.spawn_local(async move { discard(beside, exchange, keep).await });
        return Ok(ServiceAnswer { status, fields, body: None });
    }
    let body = read(&mut exchange).await.map(|bytes| (kind.into(), bytes));
    if body.is_some() {
        exchange.finish(keep);
    } else {
        // It told of the body that the proxy's own text stands in place of.
        fields.retain(|(name, _)| !name.eq_ignore_ascii_case("Content-Encoding"));
    }
    Ok(ServiceAnswer { status, fields, body })
}

/// Reads an answer to its end where that is near, so that its connection can be used again.
pub(super) async fn discard(beside: Passage, mut exchange: Exchange, keep: bool) {
    let deadline = beside.worker.timer();
    deadline.set(exchange.idle_timeout());
    if let Some(Some(_)) = deadline.bound(read(&mut exchange)).await {
        exchange.finish(keep);
    }
}

/// The whole body. `None`: it is too long, or broken.
async fn read(exchange: &mut Exchange) -> Option<Bytes> {
    let mut body = Vec::new();
    poll_fn(|cx| {
        loop {
            let _ = exchange.poll_upload_beside(cx);
            match ready!(exchange.poll_answer(cx)) {
                Ok(Piece::OnWire(length)) => {
                    let Some(wire) = exchange.answer_wire() else { return None.into() };
                    let mut input = wire.input();
                    body.extend_from_slice(input.bytes().get(..length).unwrap_or_default());
                    input.consume(length);
                }
                Ok(Piece::Own(data)) => body.extend_from_slice(&data),
                Ok(Piece::End(_)) => return Some(Bytes::from(std::mem::take(&mut body))).into(),
                Err(_) => return None.into(),
            }
            if body.len() > BODY_BYTES_MAX {
                return None.into();
            }
        }
    })
    .await
}
