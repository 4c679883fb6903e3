//! What tests run against: the program, stores, upstream servers, clients and load. Everything is on loopback and on
//! free ports, every wait has an end and is for a state, and every process is ended by whoever started it.

mod admin;
pub mod directory;
pub mod echo;
pub mod etcd;
pub mod fleet;
mod flip;
pub mod flipgate;
pub mod h2raw;
mod haproxy;
mod http;
pub mod keys;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
mod load;
pub mod network;
mod nginx;
pub mod pod;
mod process;
pub mod python;
pub mod recorder;
mod relay;
mod selftest;
mod tls;
mod traffic;

pub use admin::Admin;
pub use directory::Directory;
pub use fleet::Fleet;
pub use flip::{Ended, Flip};
pub use flipgate::Flipgate;
pub use haproxy::Haproxy;
#[cfg(feature = "kubernetes")]
pub use http::try_call;
pub use http::{Answer, Connection, get};
pub use keys::Keys;
pub use load::{H2load, Load, Wrk};
pub use nginx::Nginx;
pub use pod::{Mode, Pod};
pub use process::{Process, cpu_seconds, free_port, resident_bytes};
pub use python::Python;
pub use recorder::Recorder;
pub use relay::Relay;
pub use tls::{TestAuthority, TestCertificate};
pub use traffic::{Colours, Encrypted, Plan, Tally, Traffic};

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// Whether tests run at full length and figures are held to their bounds.
pub fn full() -> bool {
    std::env::var("FLIPGATE_FULL").is_ok_and(|value| value == "1")
}

/// A count that is smaller in the quick run.
pub fn scaled<T>(quick: T, at_full_length: T) -> T {
    if full() { at_full_length } else { quick }
}

/// Asks again and again until there is an answer; fails after `most`.
pub fn until<T>(what: &str, most: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let late = Instant::now() + most;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < late, "not within {most:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says what was measured; whether it is within its bound, which counts at full length only.
#[must_use]
pub fn figure(line: &str, value: f64, unit: &str, details: &str, bound: f64) -> bool {
    let fits = value <= bound;
    let verdict = match (fits, full()) {
        (true, _) => "ok",
        (false, true) => "TOO MUCH",
        (false, false) => "beyond the bound, which counts at full length",
    };
    println!("{line} = {} {unit} ({details}; bound {bound} {unit}) {verdict}", three_digits(value));
    fits || !full()
}

fn three_digits(value: f64) -> String {
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

/// Says what was counted, and whether it is nothing, as it must be.
pub fn nothing(line: &str, counts: &[u64]) {
    let fits = counts.iter().all(|count| *count == 0);
    println!("{line} (bound 0) {}", if fits { "ok" } else { "TOO MUCH" });
}

/// The value that `share` (0 to 1) of the values do not exceed.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

/// Numbers that look random; the seed is printed, and `FLIPGATE_SEED` repeats a run.
pub struct Chance(u64);

impl Chance {
    pub fn new() -> Self {
        let given = std::env::var("FLIPGATE_SEED").ok().and_then(|text| text.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = given.unwrap_or(now.as_nanos() as u64);
        println!("seed: FLIPGATE_SEED={seed}");
        Self(seed)
    }

    /// At least 0, less than `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

static MACHINE: RwLock<()> = RwLock::new(());

/// Held by a test that others may run beside.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test that measures and wants the machine for itself.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}
