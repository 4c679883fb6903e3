//! METER: what happened of late, in memory of a fixed size.
//!
//! Pure: time comes in as milliseconds of any clock that never goes back, the same one for who records and who reads.
//!
//! [`RoundTrips`] and its parts have one writer, and any number of readers on other threads: plain relaxed loads and
//! stores count exactly then. With several writers a count may be lost now and then, and nothing worse.

mod anomaly;
mod breaker;
mod bucket;
mod clock;
mod keyed;
mod quantiles;
mod rolling;
mod trips;

pub use anomaly::stand_out;
pub use breaker::{Admission, Breaker, BreakerTimes};
pub use bucket::{Buckets, Rate};
pub use clock::{millis, nanos};
pub use keyed::{KEYS_MAX, Key, Keyed, Keys};
pub use quantiles::{Latencies, MICROS_MAX, Quantiles};
pub use rolling::{Rolling, SECONDS};
pub use trips::{CODES_MAX, RoundTrips, Trips};
