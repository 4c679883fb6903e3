//! Deadlines that cost a store to set: a worker's one coarse tick looks at all of them.
//!
//! Every connection or stream of a worker has one [`Timer`], which has at most one deadline at a time. A deadline
//! passes at the first tick at or after it, so up to [`TICK`] late, never early.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How often deadlines are looked at.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// Idle waits that are remembered, to be ended one after the other.
const EVICTED_AT_ONCE: usize = 256;

/// A step as long as this is no step: the process was stopped, or its machine was.
const STOOD_STILL: Duration = Duration::from_secs(2);

/// A worker's timers.
#[derive(Default)]
pub(super) struct Timers {
    slots: RefCell<Vec<Option<Rc<Slot>>>>,
    free: RefCell<Vec<usize>>,
    ticks: Cell<u64>,
    draining: Cell<bool>,
    /// Idle ones, the oldest last, as they were at `looked`.
    oldest: RefCell<Vec<(u64, Rc<Slot>)>>,
    looked: Cell<u64>,
}

#[derive(Default)]
struct Slot {
    /// In ticks; 0 is none.
    deadline: Cell<u64>,
    passed: Cell<bool>,
    /// Since which tick it waits idly; 0: it does not.
    idle_since: Cell<u64>,
    evicted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One deadline at a time, of one task.
pub(super) struct Timer {
    timers: Rc<Timers>,
    index: usize,
    slot: Rc<Slot>,
}

impl Timers {
    /// A timer without a deadline.
    pub(super) fn timer(self: &Rc<Self>) -> Timer {
        let slot = Rc::new(Slot::default());
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or(slots.len());
        match slots.get_mut(index) {
            Some(place) => *place = Some(slot.clone()),
            None => slots.push(Some(slot.clone())),
        }
        Timer { timers: self.clone(), index, slot }
    }

    /// From now on idle waits end at once, those that wait now included.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        for slot in self.slots.borrow().iter().flatten() {
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    /// Whether [`drain`](Self::drain) was called.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Ends the idle wait that is the longest; false: nobody is known to wait. Whom to end is looked up for many at once,
    /// at most once a tick.
    pub(super) fn evict_idle(&self) -> bool {
        let mut oldest = self.oldest.borrow_mut();
        let now = self.ticks.get() + 1;
        if oldest.is_empty() && self.looked.replace(now) != now {
            let slots = self.slots.borrow();
            let idle = slots.iter().flatten().filter(|slot| slot.is_evictable());
            oldest.extend(idle.map(|slot| (slot.idle_since.get(), slot.clone())));
            oldest.sort_unstable_by_key(|(since, _)| std::cmp::Reverse(*since));
            let excess = oldest.len().saturating_sub(EVICTED_AT_ONCE);
            oldest.drain(..excess);
        }
        while let Some((since, slot)) = oldest.pop() {
            if slot.is_evictable() && slot.idle_since.get() == since {
                slot.evict();
                return true;
            }
        }
        false
    }

    /// Ends every idle wait.
    pub(super) fn evict_all(&self) {
        for slot in self.slots.borrow().iter().flatten().filter(|slot| slot.is_evictable()) {
            slot.evict();
        }
    }

    /// Wakes those whose deadline is `now` ticks after the start or earlier.
    fn tick(&self, now: u64) {
        self.ticks.set(now);
        for slot in self.slots.borrow().iter().flatten() {
            let deadline = slot.deadline.get();
            if deadline != 0 && deadline <= now {
                slot.deadline.set(0);
                slot.passed.set(true);
                if let Some(waker) = slot.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    /// Ticks for ever.
    pub(super) async fn run(&self) {
        let (mut ran, mut looked) = (Duration::ZERO, Instant::now());
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            let now = Instant::now();
            // While the process stood still nothing could arrive: that is nobody's silence.
            ran += Some(now - looked).filter(|step| *step < STOOD_STILL).unwrap_or(TICK);
            looked = now;
            self.tick((ran.as_millis() / TICK.as_millis()) as u64);
        }
    }
}

impl Slot {
    fn is_evictable(&self) -> bool {
        self.idle_since.get() != 0 && !self.evicted.get()
    }

    fn evict(&self) {
        self.evicted.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Timer {
    /// Whether its idle wait was ended for another connection's sake.
    pub(super) fn is_evicted(&self) -> bool {
        self.slot.evicted.get()
    }

    /// Sets the deadline to `after` from now, in place of any other.
    pub(super) fn set(&self, after: Duration) {
        let ticks = after.as_millis().div_ceil(TICK.as_millis()) as u64;
        self.slot.passed.set(false);
        self.slot.deadline.set(self.timers.ticks.get() + ticks + 1);
    }

    /// Takes the deadline back.
    pub(super) fn clear(&self) {
        self.slot.deadline.set(0);
        self.slot.passed.set(false);
    }

    /// Ready once the deadline has passed, until the next `set` or `clear`.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.slot.passed.get() {
            return Poll::Ready(());
        }
        let mut waker = self.slot.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// As [`poll`](Self::poll), and ready too once the worker drains.
    pub(super) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.poll(cx);
        if self.timers.draining.get() || self.slot.evicted.get() { Poll::Ready(()) } else { polled }
    }

    /// As [`bound`](Self::bound), and `None` too once the worker drains or the wait is ended for another's sake.
    pub(super) async fn bound_idle<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        self.slot.idle_since.set(self.timers.ticks.get() + 1);
        let value = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.poll_idle(cx).map(|()| None),
        })
        .await;
        self.slot.idle_since.set(0);
        value
    }

    /// As [`bound`](Self::bound), and `None` too once the worker drains.
    pub(super) async fn bound_undrained<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.timers.draining.get() => Poll::Ready(None),
            Poll::Pending => self.poll(cx).map(|()| None),
        })
        .await
    }

    /// Runs `future` until it is done or the deadline has passed (`None`).
    pub(super) async fn bound<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.poll(cx).map(|()| None),
        })
        .await
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.slot.idle_since.set(0);
        if let Some(place) = self.timers.slots.borrow_mut().get_mut(self.index) {
            *place = None;
            self.timers.free.borrow_mut().push(self.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true, flavor = "local")]
    async fn a_deadline_passes_at_its_time_and_not_before() {
        let timers = Rc::new(Timers::default());
        let ticking = timers.clone();
        tokio::task::spawn_local(async move { ticking.run().await });
        let timer = timers.timer();
        timer.set(Duration::from_millis(500));
        let early =
            tokio::time::timeout(Duration::from_millis(480), timer.bound(std::future::pending::<()>()));
        assert!(early.await.is_err());
        let late =
            tokio::time::timeout(Duration::from_millis(100), timer.bound(std::future::pending::<()>()));
        assert_eq!(late.await, Ok(None));
        timer.clear();
        assert_eq!(timer.bound(std::future::ready(7)).await, Some(7));
    }

    #[tokio::test(start_paused = true, flavor = "local")]
    async fn the_wait_that_is_idle_longest_is_ended_first() {
        let timers = Rc::new(Timers::default());
        let (first, second, busy) = (timers.timer(), timers.timer(), timers.timer());
        let mut waits = [
            Box::pin(first.bound_idle(std::future::pending::<()>()))
                as std::pin::Pin<Box<dyn Future<Output = _>>>,
            Box::pin(second.bound_idle(std::future::pending())),
            Box::pin(busy.bound(std::future::pending())),
        ];
        let mut cx = Context::from_waker(Waker::noop());
        for (wait, now) in waits.iter_mut().zip(1..) {
            timers.tick(now);
            assert!(wait.as_mut().poll(&mut cx).is_pending());
        }
        assert!(timers.evict_idle());
        assert!(first.is_evicted() && !second.is_evicted());
        assert!(timers.evict_idle());
        assert!(second.is_evicted() && !busy.is_evicted());
        assert!(!timers.evict_idle());
    }

    #[test]
    fn slots_are_used_again() {
        let timers = Rc::new(Timers::default());
        for _ in 0..10 {
            drop(timers.timer());
        }
        assert_eq!(timers.slots.borrow().len(), 1);
    }
}
