//! One request on a server's HTTP/1.1 connection.

use super::body::Body;
use super::error::Failure;
use super::exchange::Lost;
use super::upload::{Untouched, UploadError, WireUpload};
use super::worker::Worker;
use crate::message::{Limits, Method, ResponseHead, Scan};
use crate::telemetry::Reason;
use crate::upstream::{Lent, Server};
use crate::wire::Wire;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Interim answers (1xx) to one request; a server that sends more is broken.
const INTERIM_MAX: u32 = 16;

/// A request on a connection that nobody else uses meanwhile.
pub(super) struct OverHttp1 {
    lent: Lent,
    upload: WireUpload,
    scan: Scan,
    reused: bool,
    /// The server takes no more of the request; what it may have said before is still read.
    refused: bool,
    interim: u32,
    /// How many idle connections are kept beside it, and how long it is.
    keep: (usize, Duration),
}

impl OverHttp1 {
    pub(super) fn new(lent: Lent, upload: WireUpload, reused: bool, keep: (usize, Duration)) -> Self {
        Self { lent, upload, scan: Scan::default(), reused, refused: false, interim: 0, keep }
    }

    pub(super) fn wire(&self) -> &Rc<Wire> {
        &self.lent.wire
    }

    pub(super) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
    ) -> Poll<Result<(), UploadError>> {
        if self.refused {
            return Poll::Pending;
        }
        let polled = self.upload.poll(cx, &self.lent.wire, limits);
        self.refused = matches!(polled, Poll::Ready(Err(UploadError::Refused(_))));
        polled
    }

    /// An answer's head.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        method: Method,
    ) -> Poll<Result<ResponseHead, Lost>> {
        let bad = || Poll::Ready(Err(Lost::Failed(Failure::of(Reason::BadAnswer))));
        loop {
            let mut input = self.lent.wire.input();
            if !input.is_empty() {
                let spare = &mut worker.spare.borrow_mut();
                let limits = &worker.settings().limits;
                match ResponseHead::read(input.front(), &mut self.scan, spare, limits, method) {
                    Ok(Some(head)) => {
                        self.scan = Scan::default();
                        self.interim += u32::from(head.is_interim());
                        if self.interim > INTERIM_MAX {
                            tracing::debug!("interim answers without end");
                            return bad();
                        }
                        return Poll::Ready(Ok(head));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(?error, "bad answer");
                        return bad();
                    }
                }
            }
            let nothing_came = input.is_empty();
            drop(input);
            match self.lent.wire.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) if nothing_came => return Poll::Ready(Err(self.lost())),
                Poll::Ready(Ok(_) | Err(_)) => {
                    return Poll::Ready(Err(Lost::Failed(Failure::of(Reason::UpstreamReset))));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The server closed without a byte of an answer.
    fn lost(&self) -> Lost {
        match self.reused {
            _ if !self.upload.anything_written() => Lost::Unsent,
            true if self.interim == 0 => Lost::StaleConnection,
            _ => Lost::Failed(Failure::of(Reason::UpstreamReset)),
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.upload.is_held()
    }

    pub(super) fn release(&mut self) {
        self.upload.release();
    }

    pub(super) fn bytes(&self) -> Option<u64> {
        Some(self.upload.intake.bytes())
    }

    pub(super) fn is_source_ended(&self) -> bool {
        self.upload.intake.is_ended()
    }

    pub(super) fn waits_for_client(&self) -> bool {
        self.upload.intake.waits() && !self.upload.is_held() && !self.refused
    }

    pub(super) fn is_whole(&self) -> bool {
        self.upload.intake.is_whole()
    }

    pub(super) fn may_have_run(&self) -> bool {
        self.upload.anything_written()
    }

    pub(super) fn into_untouched(self) -> Option<Untouched> {
        self.upload.into_untouched()
    }

    pub(super) fn forget_copy(&mut self) {
        self.upload.intake.forget_copy();
    }

    pub(super) fn commit(&mut self, head: &ResponseHead, limits: &Limits) -> Body {
        self.forget_copy();
        Body::on_wire(&self.lent.wire, head.body, limits)
    }

    pub(super) fn finish(self, worker: &Worker, server: &Arc<Server>, keep: bool) {
        worker.spare.borrow_mut().keep_buffer(self.upload.into_buffer());
        let wire = &self.lent.wire;
        if keep && wire.input().is_empty() && !wire.ended() {
            wire.shrink();
            let (most, age) = self.keep;
            let expires = worker.now() + age;
            worker.pool.borrow_mut().put(server, self.lent, most, expires);
        }
    }
}
