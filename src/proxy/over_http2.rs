//! One request on a stream of a server's HTTP/2 connection.

use super::body::Body;
use super::error::Failure;
use super::exchange::Lost;
use super::upload::{Intake, StreamUpload, Untouched, UploadError};
use super::worker::Worker;
use crate::message::{Method, ResponseHead};
use crate::telemetry::Reason;
use crate::upstream::{Multiplexed, StreamGuard};
use hyper::body::Incoming;
use std::error::Error as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// What hyper makes of a request; where it was not sent at all, the second says so.
type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Incoming>, (hyper::Error, bool)>>>>;

/// A request on a stream of its own.
pub(super) struct OverHttp2 {
    upload: StreamUpload,
    /// `None` once it has come.
    answer: Option<Answer>,
    body: Body,
    held: bool,
    _stream: StreamGuard,
}

impl OverHttp2 {
    /// Sends `head` on `connection`. `held`: the client waits to be told that it may send its body.
    pub(super) fn new(
        mut connection: Multiplexed<StreamUpload>,
        head: http::Request<()>,
        intake: Intake,
        held: bool,
        worker: &Worker,
        now: Instant,
    ) -> Self {
        let stream = connection.enter(now);
        let upload = StreamUpload::new(intake, worker.settings().limits.clone());
        if held {
            upload.hold();
        }
        let sent = connection.sender().try_send_request(head.map(|()| upload.clone()));
        let answer = async move {
            let answer = sent.await.map_err(|mut error| {
                let unsent = error.take_message().is_some();
                (error.into_error(), unsent)
            });
            // The connection stays as long as the stream may need it.
            drop(connection);
            answer
        };
        Self { upload, answer: Some(Box::pin(answer)), body: Body::Empty, held, _stream: stream }
    }

    /// hyper takes the body by itself; what became of that.
    pub(super) fn look_at_upload(&mut self, cx: &Context<'_>) -> Poll<Result<(), UploadError>> {
        self.upload.watch(cx);
        match self.upload.take_failure() {
            Some(failure) => Poll::Ready(Err(failure)),
            None if self.is_source_ended() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        method: Method,
    ) -> Poll<Result<ResponseHead, Lost>> {
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        let answered = ready!(answer.as_mut().poll(cx));
        self.answer = None;
        Poll::Ready(match answered {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let ended = http_body::Body::is_end_stream(&body);
                let (spare, limits) = (&mut worker.spare.borrow_mut(), &worker.settings().limits);
                self.body = if ended { Body::Empty } else { Body::Hyper(body) };
                ResponseHead::from_http(&parts, ended, method, spare, limits).map_err(|error| {
                    tracing::debug!(?error, "bad answer");
                    Lost::Failed(Failure::of(Reason::BadAnswer))
                })
            }
            Err((error, unsent)) => Err(self.lost(&error, unsent)),
        })
    }

    fn lost(&self, error: &hyper::Error, unsent: bool) -> Lost {
        // What broke the body broke the stream.
        match self.upload.take_failure() {
            Some(UploadError::ClientGone) => return Lost::Final(Failure::of(Reason::ClientGone)),
            Some(UploadError::Truncated) => {
                return Lost::Final(Failure::with_status(Reason::ClientGone, 400));
            }
            Some(UploadError::TooLarge) => return Lost::Final(Failure::of(Reason::BodyTooLarge)),
            Some(UploadError::BadFraming) => return Lost::Final(Failure::of(Reason::BadRequest)),
            Some(UploadError::Refused(_)) | None => {}
        }
        tracing::debug!(%error, unsent, "no answer on an HTTP/2 stream");
        if unsent || was_not_run(error) {
            return Lost::Unsent;
        }
        Lost::Failed(Failure::of(Reason::UpstreamReset))
    }

    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    pub(super) fn release(&mut self) {
        self.held = false;
        self.upload.release();
    }

    pub(super) fn bytes(&self) -> Option<u64> {
        self.upload.look(|intake| intake.bytes())
    }

    pub(super) fn is_source_ended(&self) -> bool {
        self.upload.look(|intake| intake.is_ended()).unwrap_or(true)
    }

    pub(super) fn waits_for_client(&self) -> bool {
        !self.held && self.upload.look(|intake| intake.waits()).unwrap_or(false)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.upload.look(|intake| intake.is_whole()).unwrap_or(false)
    }

    pub(super) fn into_untouched(self) -> Option<Untouched> {
        self.upload.detach()
    }

    pub(super) fn forget_copy(&mut self) {
        self.upload.look(Intake::forget_copy);
    }

    pub(super) fn commit(&mut self) -> Body {
        self.forget_copy();
        std::mem::replace(&mut self.body, Body::Empty)
    }
}

impl Drop for OverHttp2 {
    fn drop(&mut self) {
        // hyper's own task may still wait for the client's bytes, which are not this request's any more.
        drop(self.upload.detach());
    }
}

/// Whether the server said that it did nothing for the request: REFUSED_STREAM, or GOAWAY below it (RFC 9113 section
/// 8.7).
fn was_not_run(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_remote()
                && (error.reason() == Some(h2::Reason::REFUSED_STREAM)
                    || error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR));
        }
        cause = error.source();
    }
    false
}
