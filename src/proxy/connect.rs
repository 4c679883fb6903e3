//! The way to a server: a connection that is idle, one that takes another request, or a new one within the limits.

use super::error::Failure;
use super::timer::Timer;
use super::upload::StreamUpload;
use super::worker::{Worker, is_out_of_descriptors};
use crate::telemetry::{Limit, Reason};
use crate::upstream::{Backend, ConnectError, ConnectionPermit, Lent, Multiplexed, Server};
use crate::wire::Wire;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A connection for one request.
pub(super) enum Way {
    /// HTTP/1.1, for this request alone; whether it had requests before.
    Wire(Lent, bool),
    /// HTTP/2, beside others.
    Shared(Multiplexed<StreamUpload>),
}

/// Finds or makes a connection. `within` bounds connecting, over the backend's own timeouts; `http1`: HTTP/2 will not
/// do; `fresh`: a new one is needed.
pub(super) async fn obtain(
    worker: &Rc<Worker>,
    backend: &Arc<Backend>,
    server: &Arc<Server>,
    timer: &Timer,
    within: Duration,
    http1: bool,
    fresh: bool,
) -> Result<Way, Failure> {
    let connector = backend.connector();
    let may_share = connector.may_speak_http2(server) && !http1;
    if may_share && let Some(shared) = worker.pool.borrow_mut().share(server) {
        return Ok(Way::Shared(shared));
    }
    if !fresh && let Some(lent) = worker.pool.borrow_mut().take(server) {
        return Ok(Way::Wire(lent, true));
    }
    // One connects for all whose requests can share a connection, unless the server is known to speak HTTP/1.1 only.
    let turn = if may_share { worker.pool.borrow_mut().connecting(server) } else { None };
    let _turn = match &turn {
        Some(turn) => {
            timer.set(connector.timeouts().0.min(within));
            let Some(turn) = timer.bound(turn.lock()).await else {
                return Err(Failure::of(Reason::Overload));
            };
            if let Some(shared) = worker.pool.borrow_mut().share(server) {
                timer.clear();
                return Ok(Way::Shared(shared));
            }
            if !fresh && let Some(lent) = worker.pool.borrow_mut().take(server) {
                timer.clear();
                return Ok(Way::Wire(lent, true));
            }
            Some(turn)
        }
        None => None,
    };
    let permit = match backend.connection_permit(server) {
        Some(permit) => permit,
        None => match wait(worker, backend, server, timer, within, fresh).await? {
            Waited::Idle(lent) => return Ok(Way::Wire(lent, true)),
            Waited::Permit(permit) => permit,
        },
    };
    let made = make(worker, backend, server, timer, within, http1, permit).await;
    timer.clear();
    made
}

/// What came of waiting for a place within the limits.
enum Waited {
    Idle(Lent),
    Permit(ConnectionPermit),
}

async fn wait(
    worker: &Rc<Worker>,
    backend: &Arc<Backend>,
    server: &Arc<Server>,
    timer: &Timer,
    within: Duration,
    fresh: bool,
) -> Result<Waited, Failure> {
    let full = Failure::of(Reason::Overload);
    let pending = backend.wait_for_permit().map_err(|_| full)?;
    timer.set(backend.settings.limits.pending_timeout.min(within));
    loop {
        // Idle connections of other workers hold places too.
        worker.shared.board.close_idle(server.number());
        if let Some(permit) = backend.connection_permit(server) {
            return Ok(Waited::Permit(permit));
        }
        let idle = worker.pool.borrow_mut().take(server);
        match idle {
            // Its place is what is needed.
            Some(lent) if fresh => {
                drop(lent);
                continue;
            }
            Some(lent) => return Ok(Waited::Idle(lent)),
            None => {}
        }
        if timer.bound(pending.wait()).await.is_none() {
            return Err(full);
        }
    }
}

async fn make(
    worker: &Rc<Worker>,
    backend: &Arc<Backend>,
    server: &Arc<Server>,
    timer: &Timer,
    within: Duration,
    http1: bool,
    permit: ConnectionPermit,
) -> Result<Way, Failure> {
    let connector = backend.connector();
    let (dial, handshake) = connector.timeouts();
    let failed = |error: ConnectError| {
        // A certificate that is not trusted is somebody's mistake, and not the network's.
        match error {
            ConnectError::Tls(..) | ConnectError::Settings(_) => {
                tracing::warn!(backend = %backend.id, server = %server.id, %error, "no connection");
            }
            _ => tracing::debug!(backend = %backend.id, server = %server.id, %error, "no connection"),
        }
        Failure::of(Reason::ConnectFailed)
    };
    let failed = |error: ConnectError| {
        if matches!(&error, ConnectError::Io(_, error) if is_out_of_descriptors(error)) {
            worker.reached(Limit::Descriptors);
            return Failure::at(Limit::Descriptors, Reason::Overload, 503);
        }
        failed(error)
    };
    let late = || Failure::of(Reason::ConnectTimeout);
    timer.set(dial.min(within));
    let stream = timer.bound(connector.dial(server)).await.ok_or_else(late)?.map_err(failed)?;
    timer.set(handshake.min(within));
    let connected = timer.bound(connector.secure(server, stream, http1)).await.ok_or_else(late)?;
    let connected = connected.map_err(failed)?;
    if !connected.http2 {
        if !http1 {
            worker.pool.borrow_mut().note_http1(server);
        }
        return Ok(Way::Wire(Lent { wire: Rc::new(Wire::new(connected.stream)), permit }, false));
    }
    let begun = timer.bound(Multiplexed::begin(connected.stream, permit, worker.now())).await;
    let shared = begun.ok_or_else(late)?.map_err(|error| {
        tracing::debug!(backend = %backend.id, server = %server.id, %error, "no HTTP/2 connection");
        Failure::of(Reason::ConnectFailed)
    })?;
    let age = backend.settings.keep_alive.period;
    worker.pool.borrow_mut().put_shared(server, shared.clone(), age);
    Ok(Way::Shared(shared))
}

/// Connects to `server` ahead of requests, unless that was done already; the connection goes to the pool.
///
/// # Errors
/// Why it cannot be reached, for people.
pub(super) async fn warm(
    worker: &Rc<Worker>,
    backend: &Arc<Backend>,
    server: &Arc<Server>,
) -> Result<(), String> {
    if worker.pool.borrow().is_warm(server) {
        return Ok(());
    }
    let connector = backend.connector();
    if let Some(problem) = connector.problem() {
        return Err(problem.to_owned());
    }
    // A server whose connections are all in use answers.
    let Some(permit) = backend.connection_permit(server) else { return Ok(()) };
    let timer = worker.timer();
    match make(worker, backend, server, &timer, Duration::MAX, false, permit).await {
        Ok(Way::Wire(lent, _)) => {
            let settings = &backend.settings;
            let expires = worker.now() + settings.keep_alive.period;
            let most = worker.idle_connections_max(settings);
            worker.pool.borrow_mut().put(server, lent, most, expires);
            Ok(())
        }
        Ok(Way::Shared(_)) => Ok(()),
        Err(failure) => Err(match failure.reason {
            Reason::ConnectTimeout => "no connection in time".to_owned(),
            _ => "no connection".to_owned(),
        }),
    }
}
