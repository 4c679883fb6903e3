//! Answers of the proxy's own: what a middleware replies, what a failure is told as, and what stands in place of a server's
//! answer.

use super::choice;
use super::error::Failure;
use super::pages::{self, Told};
use super::passage::Passage;
use crate::message::{BodyLength, Method, ResponseHead};
use crate::middleware::Reply;
use crate::telemetry::Reason;
use bytes::Bytes;

/// An answer of the proxy's own.
pub(super) enum Own {
    /// A middleware's.
    Reply(Reply),
    /// Of what could not be done.
    Failure(Failure),
}

/// Its head and body, once the chain has seen the head. Status, reason and bytes are noted in the passage, which begins
/// no further attempt, however long its client takes to read this.
pub(super) fn answer(passage: &mut Passage, own: Own) -> (ResponseHead, Bytes) {
    passage.settle();
    let reply = match own {
        Own::Reply(reply) => reply,
        Own::Failure(Failure { reason, status, detail }) => {
            passage.detail = detail.or(passage.detail);
            Reply { reason: Some(reason), ..Reply::of(if status == 0 { 499 } else { status }) }
        }
    };
    let Reply { status, reason, fields, passed, body } = reply;
    let told = match (body, reason) {
        (Some((content_type, body)), _) => Some(Told { status, content_type, body }),
        (None, Some(reason)) => Some(pages::of_failure(passage, Failure::with_status(reason, status))),
        (None, None) => None,
    };
    let status = told.as_ref().map_or(status, |told| told.status);
    let mut head = ResponseHead::new(status, &mut passage.worker.spare.borrow_mut());
    let body = told.map_or_else(Bytes::new, |told| {
        head.fields.set_with("Content-Type", |out| out.extend_from_slice(told.content_type.as_bytes()));
        head.body = BodyLength::Known(told.body.len() as u64);
        told.body
    });
    for (name, value) in &fields {
        head.fields.set_with(name, |out| out.extend_from_slice(value.as_bytes()));
    }
    for (name, value) in &passed {
        // They were read as fields.
        let _ = head.fields.add(name, value);
    }
    match reason {
        Some(Reason::Maintenance) => retry_after(passage, &mut head),
        // The process itself, and not a server's limit.
        Some(Reason::Overload) if passage.frontend.is_none() => {
            head.fields.set_with("Retry-After", |out| out.extend_from_slice(b"1"));
        }
        _ => {}
    }
    passage.reason = reason.or(passage.reason);
    passage.visit.keep_body();
    passage.on_response(&mut head);
    note(passage, &head, &body);
    (head, body)
}

/// Puts a page in the place of what a server's answer with this head holds; what it says of itself besides stays. The
/// page's body, once the chain has seen the head.
pub(super) fn replace(passage: &mut Passage, head: &mut ResponseHead, told: Told) -> Bytes {
    head.fields.remove_hop_by_hop();
    head.replace_body(told.status, told.body.len() as u64);
    head.fields.set_with("Content-Type", |out| out.extend_from_slice(told.content_type.as_bytes()));
    choice::bind(passage, head);
    passage.visit.keep_body();
    passage.on_response(head);
    note(passage, head, &told.body);
    told.body
}

fn note(passage: &mut Passage, head: &ResponseHead, body: &Bytes) {
    passage.status = head.status;
    passage.bytes_out = if passage.head.method_kind == Method::Head { 0 } else { body.len() as u64 };
}

/// Says when to come again, where the frontend does.
fn retry_after(passage: &Passage, head: &mut ResponseHead) {
    let settings = passage.frontend.as_ref().map(|frontend| &frontend.object.settings);
    let time = settings.and_then(|settings| settings.maintenance.as_ref()?.retry_after);
    if let Some(time) = time {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        head.fields.set_with("Retry-After", |out| {
            out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes())
        });
    }
}
