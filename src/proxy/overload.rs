//! Whether the process takes on anything new: not while it holds too much memory or a worker's event loop is behind.
//! What is on its way goes on; health checks and the admin API are on another runtime.

use super::worker::{Shared, until_drain};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Shares of the limit, in percent: from where on nothing new is taken on, and below which it is again.
const FULL_FROM: u64 = 85;
const FULL_UNTIL: u64 = 75;
/// How long it stays below the larger one until that is enough.
const CALM: Duration = Duration::from_secs(3);
/// Late ticks until a worker is behind, and further ones that count.
const BEHIND_FROM: u32 = 3;
const BEHIND_MOST: u32 = 10;

/// How much memory the process may hold, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryMost {
    /// Resident.
    pub resident: Option<u64>,
    /// Of its address space.
    pub address_space: Option<u64>,
}

/// What a process holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    resident: u64,
    address_space: u64,
}

impl Held {
    /// Of this process, as the machine says.
    fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/self/statm").ok()?;
        Self::of(&text, page_bytes()?)
    }

    fn of(statm: &str, page: u64) -> Option<Self> {
        let mut pages = statm.split(' ').map(|pages| pages.parse::<u64>().ok());
        Some(Self { address_space: pages.next()?? * page, resident: pages.next()?? * page })
    }
}

fn page_bytes() -> Option<u64> {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??.try_into().ok()
}

/// Whether memory is full: from a share of its limit on, until it has come below a smaller one, or was `calm` for long
/// enough: what an allocator keeps must not keep clients out.
fn is_full(was: bool, calm: bool, held: Held, most: MemoryMost) -> bool {
    let share = if was && !calm { FULL_UNTIL } else { FULL_FROM };
    let past = |held: u64, most: Option<u64>| most.is_some_and(|most| held / 100 * 100 >= most / 100 * share);
    past(held.resident, most.resident) || past(held.address_space, most.address_space)
}

/// Whether memory is full, for all workers.
#[derive(Debug, Default)]
pub(super) struct Memory(AtomicBool);

impl Memory {
    /// Costs one load.
    pub(super) fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Looks at the process's memory until it drains. Without a limit there is nothing to look at.
pub(super) async fn watch(shared: Arc<Shared>) {
    let most = shared.settings.memory_max;
    if most == MemoryMost::default() {
        return;
    }
    let mut draining = shared.draining.clone();
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // When it was last above the larger share.
    let mut risen = Instant::now();
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = until_drain(&mut draining) => return,
        }
        let Some(held) = Held::read() else { continue };
        let was = shared.memory.is_full();
        let now = Instant::now();
        if !was || is_full(false, false, held, most) {
            risen = now;
        }
        let full = is_full(was, now - risen >= CALM, held, most);
        shared.memory.0.store(full, Ordering::Relaxed);
        if full != was {
            let Held { resident, address_space } = held;
            tracing::warn!(resident, address_space, full, "memory: nothing new is taken on while it is full");
        }
    }
}

/// How far behind one worker's event loop is.
#[derive(Debug, Default)]
pub(super) struct Lag {
    late: u32,
    behind: bool,
}

impl Lag {
    /// A tick came so `late`; whether the worker is behind: once several were later than `most`, until as many came in
    /// time. Zero: any lateness is allowed.
    pub(super) fn tick(&mut self, late: Duration, most: Duration) -> bool {
        if !most.is_zero() && late > most {
            self.late = (self.late + 1).min(BEHIND_MOST);
        } else {
            self.late = self.late.saturating_sub(1);
        }
        self.behind = if self.behind { self.late > 0 } else { self.late >= BEHIND_FROM };
        self.behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn memory_is_full_from_one_share_on_and_until_another() {
        let most = MemoryMost { resident: Some(100 * MIB), address_space: Some(1000 * MIB) };
        let check = |was, resident: u64, address_space: u64, full| {
            let held = Held { resident: resident * MIB, address_space: address_space * MIB };
            assert_eq!(is_full(was, false, held, most), full, "{was} {held:?}");
        };
        check(false, 84, 100, false);
        check(false, 86, 100, true);
        check(true, 80, 100, true);
        check(true, 74, 100, false);
        check(false, 10, 900, true);
        let held = Held { resident: u64::MAX, address_space: u64::MAX };
        assert!(!is_full(false, false, held, MemoryMost::default()));
        let kept = Held { resident: 80 * MIB, address_space: 0 };
        assert!(is_full(true, false, kept, most) && !is_full(true, true, kept, most));
    }

    #[test]
    fn memory_is_read_in_pages() {
        let held = Held::of("2048 512 100 10 0 300 0\n", 4096);
        assert_eq!(held, Some(Held { address_space: 8 * MIB, resident: 2 * MIB }));
        assert_eq!(Held::of("none", 4096), None);
        assert!(Held::read().is_some_and(|held| held.resident > MIB));
    }

    #[test]
    fn a_worker_is_behind_after_several_late_ticks_until_as_many_in_time() {
        let most = Duration::from_millis(500);
        let mut lag = Lag::default();
        let ticks = [600, 0, 600, 600, 600, 0, 0, 600, 0, 0, 0, 0];
        let behind = ticks.map(|late| lag.tick(Duration::from_millis(late), most));
        assert_eq!(
            behind,
            [false, false, false, false, true, true, true, true, true, false, false, false],
            "{lag:?}"
        );
        let mut any = Lag::default();
        assert!(!(0..10).any(|_| any.tick(Duration::from_secs(9), Duration::ZERO)));
    }
}
