//! How many connections may be open to a backend and to each of its servers, and who waits for one.
//!
//! Counts are exact over all workers. A connection counts from before it is made until its permit is dropped, idle or not.

use crate::model::UpstreamLimits;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// A backend's connections, and requests that wait for one.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    open: AtomicU32,
    waiting: AtomicU32,
    released: Arc<Notify>,
}

/// A server's connections. Not within the server's identity: a connection that idles in a pool does not keep that alive.
#[derive(Debug)]
pub(super) struct Connections {
    open: AtomicU32,
    circuit: Arc<Circuit>,
}

/// One open connection to a server. To be kept with the connection and dropped with it.
#[derive(Debug)]
pub struct ConnectionPermit(Arc<Connections>);

/// As many requests wait for a connection as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait for a connection")]
pub struct Full;

/// One request that waits for a connection, from [`Backend::wait_for_permit`](super::Backend::wait_for_permit) on. In
/// a loop: try, then [`wait`](Self::wait).
#[derive(Debug)]
pub struct PendingPermit {
    circuit: Arc<Circuit>,
    /// In the queue even while nobody polls it, so that nothing that is released meanwhile is missed.
    place: Mutex<Pin<Box<OwnedNotified>>>,
    /// The first wait returns at once: what was released before this was in the queue is seen by trying again.
    is_first: AtomicBool,
    /// A release was taken out of the queue.
    woken: AtomicBool,
}

impl Circuit {
    pub(super) fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Lines up, unless `most` wait already.
    pub(super) fn line_up(self: &Arc<Self>, most: u32) -> Result<PendingPermit, Full> {
        if !take(&self.waiting, Some(most)) {
            return Err(Full);
        }
        let (place, woken) = self.place();
        let (is_first, woken) = (AtomicBool::new(true), AtomicBool::new(woken));
        Ok(PendingPermit { circuit: self.clone(), place: Mutex::new(place), is_first, woken })
    }

    /// A place in the queue, and whether its turn is now.
    fn place(&self) -> (Pin<Box<OwnedNotified>>, bool) {
        let mut place = Box::pin(self.released.clone().notified_owned());
        let woken = place.as_mut().enable();
        (place, woken)
    }

    fn wake_one(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.released.notify_one();
        }
    }
}

impl Connections {
    pub(super) fn new(circuit: Arc<Circuit>) -> Self {
        Self { open: AtomicU32::new(0), circuit }
    }

    pub(super) fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.circuit.waiting.load(Relaxed) > 0
    }

    /// Counts one more, where that is within `limits`.
    pub(super) fn permit(self: &Arc<Self>, limits: &UpstreamLimits) -> Option<ConnectionPermit> {
        let fits = |count: &AtomicU32, most: Option<u32>| most.is_none_or(|most| count.load(SeqCst) < most);
        let (own, all) = (limits.server_connections, limits.connections);
        // Looked at before anything is taken: only who lost to somebody that got one has something to give back, so that
        // those who wait cannot wake each other for ever.
        if !fits(&self.open, own) || !fits(&self.circuit.open, all) || !take(&self.open, own) {
            return None;
        }
        if !take(&self.circuit.open, all) {
            self.open.fetch_sub(1, SeqCst);
            self.circuit.wake_one();
            return None;
        }
        Some(ConnectionPermit(self.clone()))
    }
}

/// Counts one more, at most to `most`.
fn take(count: &AtomicU32, most: Option<u32>) -> bool {
    match most {
        None => {
            count.fetch_add(1, SeqCst);
            true
        }
        Some(most) => count
            .fetch_update(SeqCst, SeqCst, |count| (count < most).then(|| count.saturating_add(1)))
            .is_ok(),
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
        self.0.circuit.open.fetch_sub(1, SeqCst);
        self.0.circuit.wake_one();
    }
}

impl PendingPermit {
    /// Returns when it is worth trying again. Nothing that is released after this was made is missed: the first wait
    /// returns at once, a later one also for what was released before it.
    pub async fn wait(&self) {
        if self.is_first.swap(false, Relaxed) {
            return;
        }
        poll_fn(|cx| {
            let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
            ready!(place.as_mut().poll(cx));
            self.woken.store(true, Relaxed);
            // Back in the queue before the next try.
            (*place, _) = self.circuit.place();
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for PendingPermit {
    fn drop(&mut self) {
        self.circuit.waiting.fetch_sub(1, SeqCst);
        // It may leave without having used what it was woken for.
        if self.woken.load(Relaxed) {
            self.circuit.wake_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::time::Duration;

    fn limits(connections: Option<u32>, server_connections: Option<u32>) -> UpstreamLimits {
        UpstreamLimits { connections, server_connections, ..UpstreamLimits::default() }
    }

    fn servers(count: usize) -> (Arc<Circuit>, Vec<Arc<Connections>>) {
        let circuit = Arc::new(Circuit::default());
        let servers = (0..count).map(|_| Arc::new(Connections::new(circuit.clone()))).collect();
        (circuit, servers)
    }

    #[test]
    fn limits_hold_for_each_server_and_for_all() {
        let (circuit, servers) = servers(2);
        let (free, bounded) = (limits(None, None), limits(Some(3), Some(2)));
        let first = servers[0].permit(&bounded).unwrap();
        let second = servers[0].permit(&bounded).unwrap();
        assert!(servers[0].permit(&bounded).is_none());
        let third = servers[1].permit(&bounded).unwrap();
        assert!(servers[1].permit(&bounded).is_none());
        assert_eq!((circuit.open(), servers[0].open(), servers[1].open()), (3, 2, 1));
        // Without limits they are counted all the same.
        drop(servers[1].permit(&free).unwrap());
        drop((first, second, third));
        assert_eq!((circuit.open(), servers[0].open(), servers[1].open()), (0, 0, 0));
    }

    #[test]
    fn who_waits_is_bounded_and_seen() {
        let (circuit, servers) = servers(1);
        let waiting = circuit.line_up(1).unwrap();
        assert_eq!(circuit.line_up(1).unwrap_err(), Full);
        assert!(servers[0].is_wanted());
        drop(waiting);
        assert!(!servers[0].is_wanted());
        assert_eq!(circuit.line_up(0).unwrap_err(), Full);
    }

    #[test]
    fn a_release_before_the_wait_is_not_missed() {
        let (circuit, servers) = servers(1);
        let one = limits(Some(1), None);
        let held = servers[0].permit(&one).unwrap();
        let waiting = circuit.line_up(9).unwrap();
        assert!(waiting.wait().now_or_never().is_some(), "the first wait is one more try");
        assert!(waiting.wait().now_or_never().is_none());
        assert!(servers[0].permit(&one).is_none());
        drop(held);
        assert!(waiting.wait().now_or_never().is_some());
        assert!(waiting.wait().now_or_never().is_none());
        drop(servers[0].permit(&one).unwrap());
    }

    #[test]
    fn a_release_wakes_one_and_goes_on_to_the_next_where_that_one_leaves() {
        let (circuit, servers) = servers(1);
        let two = limits(Some(2), None);
        let held = (servers[0].permit(&two).unwrap(), servers[0].permit(&two).unwrap());
        let waiting: Vec<_> = (0..3).map(|_| circuit.line_up(9).unwrap()).collect();
        waiting.iter().for_each(|it| it.wait().now_or_never().unwrap());
        let woken = || waiting.iter().map(|it| it.wait().now_or_never().is_some()).collect::<Vec<_>>();
        assert_eq!(woken(), [false; 3]);
        drop(held.0);
        assert_eq!(woken(), [true, false, false]);
        let mut waiting = waiting;
        drop(waiting.remove(0));
        assert!(waiting[0].wait().now_or_never().is_some());
        // One that was told but had not looked yet tells the next.
        drop(held.1);
        drop(waiting.remove(1));
        assert!(waiting[0].wait().now_or_never().is_some() || servers[0].permit(&two).is_some());
    }

    #[test]
    fn permits_are_exact_over_threads_and_nobody_is_forgotten() {
        let (circuit, servers) = servers(3);
        let bounded = limits(Some(5), Some(2));
        let (most, now) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8usize {
                let (circuit, servers, most, now, bounded) = (&circuit, &servers, &most, &now, &bounded);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        for round in 0..500usize {
                            let server = &servers[(thread + round) % 3];
                            let work = async {
                                let mut pending = None;
                                loop {
                                    if let Some(permit) = server.permit(bounded) {
                                        break permit;
                                    }
                                    match &mut pending {
                                        None => pending = Some(circuit.line_up(100).unwrap()),
                                        Some(pending) => {
                                            let wait = pending.wait();
                                            // One for another server may be woken: that is what this bound is for.
                                            let _ =
                                                tokio::time::timeout(Duration::from_millis(20), wait).await;
                                        }
                                    }
                                }
                            };
                            let permit = tokio::time::timeout(Duration::from_secs(20), work).await.unwrap();
                            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                            assert!(server.open() <= 2);
                            tokio::task::yield_now().await;
                            now.fetch_sub(1, SeqCst);
                            drop(permit);
                        }
                    });
                });
            }
        });
        assert!(most.into_inner() <= 5);
        assert_eq!((circuit.open(), circuit.waiting()), (0, 0));
    }
}
