//! Instants as meters take them: whole numbers of one clock of the process, never 0.

use std::sync::LazyLock;
use std::time::Instant;

/// A day, in nanoseconds: instants a little before the first look at the clock have a number of their own, too.
const OFFSET: u64 = 86_400_000_000_000;

/// Nanoseconds since a day before the process first asked; at least 1.
pub fn nanos(at: Instant) -> u64 {
    static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);
    let base = *BASE;
    let whole = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    match at.checked_duration_since(base) {
        Some(after) => OFFSET.saturating_add(whole(after)),
        None => OFFSET.saturating_sub(whole(base.duration_since(at))).max(1),
    }
}

/// The same in milliseconds; at least 1.
pub fn millis(at: Instant) -> u64 {
    (nanos(at) / 1_000_000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn instants_keep_their_distance() {
        let now = Instant::now();
        let ms = Duration::from_millis(250);
        assert_eq!(millis(now + ms) - millis(now), 250);
        assert!(millis(now) > 0);
        assert!((249..=251).contains(&(millis(now) - millis(now - ms))));
    }
}
