//! Answers of the proxy's own: what a middleware replies, and what a failure is told as.

use super::error::{Failure, body_of};
use super::passage::Passage;
use crate::message::{Method, ResponseHead};
use crate::middleware::Reply;
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
        Own::Failure(Failure { reason, status }) => {
            Reply { reason: Some(reason), ..Reply::of(if status == 0 { 499 } else { status }) }
        }
    };
    let Reply { status, reason, fields, passed, body } = reply;
    let mut head = ResponseHead::new(status, &mut passage.worker.spare.borrow_mut());
    let body = body.or_else(|| {
        let (kind, body) = body_of(Failure::with_status(reason?, status), passage.id);
        Some((kind.into(), body))
    });
    let body = body.map_or_else(Bytes::new, |(kind, body)| {
        head.fields.set_with("Content-Type", |out| out.extend_from_slice(kind.as_bytes()));
        body
    });
    for (name, value) in &fields {
        head.fields.set_with(name, |out| out.extend_from_slice(value.as_bytes()));
    }
    for (name, value) in &passed {
        // They were read as fields.
        let _ = head.fields.add(name, value);
    }
    passage.reason = reason.or(passage.reason);
    passage.on_response(&mut head);
    passage.status = head.status;
    passage.bytes_out = if passage.head.method_kind == Method::Head { 0 } else { body.len() as u64 };
    (head, body)
}
