//! A connection that changed protocols: bytes go both ways as they are, until both sides have ended.

use super::exchange::Exchange;
use super::passage::Passage;
use super::worker::Worker;
use crate::message::RequestHead;
use crate::telemetry::Limit;
use crate::wire::{Stream, Wire};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How often a tunnel is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Protocols a client may change to. Others are served as plain requests (RFC 9110 section 7.8).
const ALLOWED: [&str; 1] = ["websocket"];

/// Whether the request asks for a protocol that is let through.
pub(super) fn is_allowed(head: &RequestHead) -> bool {
    head.upgrade_token()
        .is_some_and(|token| ALLOWED.iter().any(|allowed| token.eq_ignore_ascii_case(allowed)))
}

/// Carries bytes between a server and what HTTP's stack of the client's side hands over.
pub(super) async fn over_upgrade(
    worker: Rc<Worker>,
    mut passage: Passage,
    exchange: Exchange,
    upgrade: OnUpgrade,
) {
    let timer = worker.timer();
    timer.set(worker.settings().idle_timeout);
    let Some(Ok(upgraded)) = timer.bound_idle(upgrade).await else { return };
    let client = Wire::new(Stream::Upgraded(Box::new(TokioIo::new(upgraded))));
    // Only a connection of its own can change protocols.
    let Some(server) = exchange.wire() else { return };
    let (inward, outward) = between_wires(&worker, &client, &exchange, server).await;
    passage.bytes_in = inward;
    passage.bytes_out = outward;
}

/// One direction of a tunnel.
#[derive(Default)]
struct Direction {
    bytes: u64,
    ended: bool,
    shut: bool,
}

/// Copies until both sides have ended, one broke, nothing moved for the tunnel timeout, or the server has got nothing new
/// for its backend's drain timeout. Returns the bytes from the client and to it.
pub(super) async fn between_wires(
    worker: &Worker,
    client: &Wire,
    exchange: &Exchange,
    server: &Wire,
) -> (u64, u64) {
    let timer = worker.timer();
    let timeout = worker.settings().tunnel_timeout;
    let look = LOOK_EVERY.min(timeout);
    let mut silent = Duration::ZERO;
    timer.set(look);
    let (mut inward, mut outward) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let before = inward.bytes + outward.bytes;
        let polled = (inward.poll(cx, client, server), outward.poll(cx, server, client));
        if inward.bytes + outward.bytes != before {
            silent = Duration::ZERO;
        }
        match polled {
            (Poll::Ready(Err(())), _) | (_, Poll::Ready(Err(()))) => Poll::Ready(()),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
            // A process that drains ends its tunnels.
            _ => {
                ready!(timer.poll_idle(cx));
                silent += look;
                if silent >= timeout {
                    worker.reached(Limit::TunnelTime);
                }
                if worker.is_draining() || silent >= timeout || exchange.is_overdue() {
                    return Poll::Ready(());
                }
                timer.set(look);
                timer.poll_idle(cx)
            }
        }
    })
    .await;
    (inward.bytes, outward.bytes)
}

impl Direction {
    fn poll(&mut self, cx: &mut Context<'_>, from: &Wire, to: &Wire) -> Poll<Result<(), ()>> {
        loop {
            if self.shut {
                return Poll::Ready(Ok(()));
            }
            let count = {
                let input = from.input();
                if input.is_empty() { 0 } else { ready!(to.poll_write(cx, input.bytes())).map_err(drop)? }
            };
            if count > 0 {
                from.input().consume(count);
                self.bytes += count as u64;
                continue;
            }
            if self.ended {
                ready!(to.poll_shutdown(cx)).map_err(drop)?;
                self.shut = true;
                continue;
            }
            match from.poll_fill_room(cx, 16 * 1024) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                Poll::Pending => {
                    ready!(to.poll_flush(cx)).map_err(drop)?;
                    return Poll::Pending;
                }
            }
        }
    }
}
