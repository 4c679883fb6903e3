//! Whether the new side fails more than the old side did: a test that may look again and again and still sends a sound
//! new side back at most once in 10,000 flips.
//!
//! Let the old side's last minute have `n0` attempts of which `k0` failed, and the new side so far `n1` and `k1`. If both
//! fail with the same probability, whatever that is, then given `k0 + k1` the number that fell to the new side is
//! hypergeometric, and its upper tail is the exact one-sided p-value (Fisher's). The new side is *worse* if that is below
//! `ALPHA / LOOKS_MAX`, its ratio is at least 1.5 times the old side's and at least half a percentage point above it. The
//! last two keep apart what matters from what is merely measurable, and make reverts only rarer.
//!
//! Looks are taken when `n1` first reaches 100, 125, 156, ..., each a quarter more than the one before, and once at the
//! end of the bake: at most [`LOOKS_MAX`] together, with room for a take-over of the flip, which costs one. By the union
//! bound the probability that any look sends back a side that is no worse is at most [`ALPHA`] = 1e-4 a flip.
//!
//! An old side with fewer than 500 attempts in its last minute, none of which failed, says too little: then the new
//! side is worse if its failures have a probability below the same level under a ratio of 1 % (exact binomial). The rate
//! of false reverts then holds for new sides that fail at most 1 %.
//!
//! Power: a new side that fails 2 % against an old side that never does is sent back within its first 1,000 attempts
//! when the old side's minute had 3,000 attempts or more, and nine of ten times within 2,500 when it had 1,000.

use super::record::Totals;

/// Most flips of a sound new side that are sent back, of one.
pub const ALPHA: f64 = 1e-4;
/// Most looks at one flip.
pub const LOOKS_MAX: u32 = 80;
/// Attempts of the new side at the first look.
const FIRST_LOOK: u64 = 100;
/// Attempts of the old side's last minute that say enough without a failure.
const BASELINE_MIN: u64 = 500;
/// What is tolerated where the old side says too little.
const TOLERATED: f64 = 0.01;

/// The looks at one flip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looks {
    next_at: u64,
    taken: u32,
}

/// No side has more attempts, as far as the test goes.
const COUNT_MAX: u64 = 1 << 40;

impl Default for Looks {
    fn default() -> Self {
        Self { next_at: FIRST_LOOK, taken: 0 }
    }
}

impl Looks {
    /// Looks, if it is time to: the new side has enough attempts for the next look, or it is the `last` one. Says why the
    /// new side is worse, if it is.
    pub fn look(&mut self, old: Totals, new: Totals, last: bool) -> Option<String> {
        if self.taken >= LOOKS_MAX || (new.attempts < self.next_at && !last) {
            return None;
        }
        // What a store holds may be any number.
        let (old, new) = (bounded(old), bounded(new));
        while self.next_at <= new.attempts {
            self.next_at += (self.next_at / 4).max(1);
        }
        self.taken += 1;
        is_worse(old, new).then(|| {
            format!(
                "{} of {} requests failed on the new side, {} of {} in the old side's last minute",
                new.failures, new.attempts, old.failures, old.attempts
            )
        })
    }
}

fn bounded(totals: Totals) -> Totals {
    let attempts = totals.attempts.min(COUNT_MAX);
    Totals { attempts, failures: totals.failures.min(attempts), ..totals }
}

/// One look.
fn is_worse(old: Totals, new: Totals) -> bool {
    let (k1, n1) = (new.failures.min(new.attempts), new.attempts);
    let (k0, n0) = (old.failures.min(old.attempts), old.attempts);
    let level = ALPHA / f64::from(LOOKS_MAX);
    let (before, now) = (ratio(k0, n0), ratio(k1, n1));
    if n1 == 0 || now < before * 1.5 || now < before + 0.005 {
        return false;
    }
    if n0 < BASELINE_MIN && k0 == 0 {
        return now > TOLERATED && binomial_tail(k1, n1, TOLERATED) < level;
    }
    hypergeometric_tail(k1, n1, k0 + k1, n0 + n1) < level
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Probability that at least `k` of `n` draws fail, when `marked` of all `size` fail and draws are not put back. Meant for
/// `k` above the mean, where terms fall.
fn hypergeometric_tail(k: u64, n: u64, marked: u64, size: u64) -> f64 {
    let others = size.saturating_sub(n);
    let ln = ln_choose(n, k) + ln_choose(others, marked.saturating_sub(k)) - ln_choose(size, marked);
    sum_from(ln, k, marked.min(n), |x| {
        let up = (n - x) as f64 * (marked - x) as f64;
        let down = (x + 1) as f64 * (others as f64 - marked as f64 + x as f64 + 1.0);
        up / down
    })
}

/// Probability that at least `k` of `n` fail, each with probability `p`. Meant for `k` above the mean.
fn binomial_tail(k: u64, n: u64, p: f64) -> f64 {
    let ln = ln_choose(n, k) + k as f64 * p.ln() + (n - k) as f64 * (1.0 - p).ln();
    sum_from(ln, k, n, |x| (n - x) as f64 / (x + 1) as f64 * p / (1.0 - p))
}

/// Adds up terms from the one at `from`, whose logarithm is `ln`, each `step(x)` times the one before.
fn sum_from(ln: f64, from: u64, to: u64, step: impl Fn(u64) -> f64) -> f64 {
    let mut term = ln.exp();
    let mut sum = term;
    for x in from..to {
        term *= step(x);
        sum += term;
        // Also where there is nothing to add, or no number.
        if term.is_nan() || term <= sum * 1e-12 {
            break;
        }
    }
    sum.min(1.0)
}

fn ln_choose(n: u64, k: u64) -> f64 {
    if k > n {
        return f64::NEG_INFINITY;
    }
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// Stirling's series, good to 1e-10 from 20 on.
fn ln_factorial(n: u64) -> f64 {
    if n < 20 {
        return (2..=n).map(|i| (i as f64).ln()).sum();
    }
    let n = n as f64;
    let series = 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3)) + 1.0 / (1260.0 * n.powi(5));
    n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn totals(failures: u64, attempts: u64) -> Totals {
        Totals { attempts, failures, micros: 0 }
    }

    #[test]
    fn tails_are_right() {
        let near = |found: f64, expected: f64| {
            assert!((found / expected - 1.0).abs() < 1e-6, "{found} is not {expected}");
        };
        // All of 20 marked ones fall to one half of 40.
        near(hypergeometric_tail(20, 20, 20, 40), 7.254_444_551_924_844e-12);
        // 3 of 4 cups or more: (16 + 1) / 70.
        near(hypergeometric_tail(3, 4, 4, 8), 17.0 / 70.0);
        near(binomial_tail(3, 3, 0.1), 1e-3);
        near(binomial_tail(2, 3, 0.1), 0.028);
        near(ln_factorial(25).exp(), 1.551_121_004_333_098_6e25);
    }

    #[test]
    fn what_is_worse() {
        for (old, new, worse) in [
            ((0, 5_000), (20, 1_000), true),
            ((0, 5_000), (3, 1_000), false),
            ((50, 5_000), (20, 1_000), false),
            ((50, 5_000), (60, 1_000), true),
            ((0, 0), (5, 100), false),
            ((0, 0), (15, 100), true),
            ((0, 0), (0, 0), false),
            ((5, 100), (6, 100), false),
            // Measurable, and of no matter.
            ((0, 10_000_000), (400, 100_000), false),
        ] {
            assert_eq!(is_worse(totals(old.0, old.1), totals(new.0, new.1)), worse, "{old:?} {new:?}");
        }
    }

    /// Failures among `n` attempts that each fail with probability `p`, by the gaps between failures.
    fn failures(rng: &mut StdRng, n: u64, p: f64) -> u64 {
        let (mut at, mut count) = (0.0, 0);
        loop {
            at += (rng.random::<f64>().ln() / (1.0 - p).ln()).floor() + 1.0;
            if at > n as f64 {
                return count;
            }
            count += 1;
        }
    }

    /// Attempts at which the new side is sent back.
    fn simulate(rng: &mut StdRng, minute: u64, old: f64, new: f64, attempts: u64) -> Option<u64> {
        let baseline = totals(failures(rng, minute, old), minute);
        let mut looks = Looks::default();
        let mut so_far = totals(0, 0);
        while so_far.attempts < attempts {
            so_far = so_far.plus(totals(failures(rng, 50, new), 50));
            let last = so_far.attempts >= attempts;
            if looks.look(baseline, so_far, last).is_some() {
                return Some(so_far.attempts);
            }
        }
        None
    }

    #[test]
    fn a_sound_side_stays() {
        let seed = 7;
        let mut rng = StdRng::seed_from_u64(seed);
        for minute in [300, 2_000, 20_000] {
            let reverts =
                (0..10_000).filter(|_| simulate(&mut rng, minute, 0.01, 0.01, 5_000).is_some()).count();
            // One is expected at the most; that there are five has a probability below 1 in 250.
            assert!(reverts <= 4, "{reverts} of 10,000 at a minute of {minute} attempts, seed {seed}");
        }
    }

    #[test]
    fn a_side_that_fails_two_percent_is_sent_back_within_a_thousand() {
        let seed = 11;
        let mut rng = StdRng::seed_from_u64(seed);
        for (minute, within, least) in [(20_000, 1_000, 995), (3_000, 1_000, 850), (1_000, 2_500, 900)] {
            let sent =
                (0..1_000).filter(|_| simulate(&mut rng, minute, 1e-5, 0.02, within).is_some()).count();
            assert!(sent >= least, "{sent} of 1,000 at a minute of {minute} attempts, seed {seed}");
        }
    }
}
