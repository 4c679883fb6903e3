//! How often a member writes: a bucket of tokens, a part of which is kept for what cannot wait.

use std::time::Duration;
use tokio::time::Instant;

const PER_SECOND: f64 = 10.0;
const BURST: f64 = 8.0;
/// What is left for open flips.
const KEPT: f64 = 4.0;

/// Tokens for writes.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: BURST, at: now }
    }

    /// Takes a token; otherwise says how long there is none.
    pub(super) fn take(&mut self, urgent: bool, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * PER_SECOND).min(BURST);
        self.at = now;
        let needed = if urgent { 1.0 } else { 1.0 + KEPT };
        if self.tokens >= needed {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((needed - self.tokens) / PER_SECOND + 0.001))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn writes_are_bounded_and_flips_have_room() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        assert_eq!((0..20).filter(|_| bucket.take(false, now).is_ok()).count(), 4);
        assert_eq!((0..20).filter(|_| bucket.take(true, now).is_ok()).count(), 4);
        let wait = bucket.take(true, now).unwrap_err();
        assert!(bucket.take(true, now + wait).is_ok());
        let later = now + Duration::from_secs(10);
        assert_eq!((0..20).filter(|_| bucket.take(true, later).is_ok()).count(), 8);
    }
}
