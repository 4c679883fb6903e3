//! A connection that a proxy before us made: it begins with the address of the client (PROXY protocol), before TLS.

use super::client::Client;
use super::listeners::Accepted;
use super::worker::Worker;
use crate::model::ProxyVersions;
use crate::telemetry::{Limit, Reason};
use crate::wire::{InvalidProxyHeader, ProxyHeader, read_proxy_header};
use std::io;
use tokio::io::AsyncReadExt;

/// Bytes looked at in one go: all of most headers.
const PEEK_BYTES: usize = 256;

/// Why there is no header.
enum Missing {
    /// The peer went away, or said nothing until the process drained: no fault of anybody's.
    Gone,
    /// It did not come in time.
    Late,
    /// What came is none.
    Invalid(InvalidProxyHeader),
}

/// Takes the header off the connection of a peer that is trusted with it, and notes the client it names. Nothing behind
/// the header is read. False: the connection is to be closed, which is counted unless the peer just left.
pub(super) async fn take_header(
    worker: &Worker,
    client: &mut Client,
    socket: &mut Accepted,
    versions: ProxyVersions,
) -> bool {
    let reason = match read(worker, socket, versions).await {
        Ok(header) => {
            if header.source.is_some() {
                client.set_peer(header.source);
            }
            return true;
        }
        Err(Missing::Gone) => return false,
        Err(Missing::Late) => {
            worker.reached(Limit::ProxyHeaderTime);
            "the PROXY header did not come in time".to_owned()
        }
        Err(Missing::Invalid(error)) => error.to_string(),
    };
    worker.shared.refused.at(worker.index).record(Reason::BadRequest);
    tracing::debug!(listener = %client.listener.id, peer = %client.address_text, reason, "connection refused");
    false
}

async fn read(
    worker: &Worker,
    socket: &mut Accepted,
    versions: ProxyVersions,
) -> Result<ProxyHeader, Missing> {
    let timer = worker.timer();
    timer.set(worker.settings().head_timeout);
    let mut seen = Vec::with_capacity(PEEK_BYTES);
    loop {
        let before = seen.len();
        seen.resize(before + PEEK_BYTES, 0);
        let room = seen.get_mut(before..).unwrap_or_default();
        let peeked = match before {
            0 => timer.bound_idle(socket.peek(room)).await,
            _ => timer.bound(socket.peek(room)).await,
        };
        let count = match peeked {
            Some(Ok(count @ 1..)) => count,
            Some(Ok(0) | Err(_)) => return Err(Missing::Gone),
            None if before == 0 && worker.is_draining() => return Err(Missing::Gone),
            None => return Err(Missing::Late),
        };
        seen.truncate(before + count);
        let header = read_proxy_header(&seen, versions).map_err(Missing::Invalid)?;
        // All that was looked at belongs to a header that is not whole.
        let end = header.map_or(seen.len(), |header| header.length);
        let taken = seen.get_mut(before..end).unwrap_or_default();
        timer.bound(read_exact(socket, taken)).await.ok_or(Missing::Late)?.map_err(|_| Missing::Gone)?;
        if let Some(header) = header {
            return Ok(header);
        }
    }
}

async fn read_exact(socket: &mut Accepted, buffer: &mut [u8]) -> io::Result<()> {
    socket.read_exact(buffer).await.map(|_| ())
}
