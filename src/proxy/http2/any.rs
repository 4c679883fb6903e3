//! What must hold of the meter whatever bytes pass it. Panics are the verdict.
#![allow(clippy::panic)]

use super::budget::Rates;
use super::meter::{Meter, MeterLimits};
use std::time::{Duration, Instant};

/// Times between the pieces of one connection.
const PAUSES_MS: [u64; 4] = [0, 7, 900, 31_000];

/// A meter has one verdict however what passes it is cut. The input is what both sides say in turn: each piece stands
/// behind one byte for who speaks and after what pause, and one for its length.
pub fn check(raw: &[u8]) {
    let whole = told(raw, usize::MAX);
    for step in [1, 3] {
        assert_eq!(whole, told(raw, step));
    }
}

/// What the meter said after each piece, up to the limit that ends the connection.
fn told(raw: &[u8], step: usize) -> Vec<String> {
    let mut now = Instant::now();
    let limits = MeterLimits {
        rates: Rates { per_second: 5, burst: 10 },
        streams: 4,
        fields: 20,
        block_bytes: 1000,
        head_time: Duration::from_secs(10),
        stall_time: Duration::from_secs(30),
    };
    let (mut meter, mut rest, mut said) = (Meter::new(limits, now), raw, Vec::new());
    while let [how, length, behind @ ..] = rest {
        let (piece, behind) = behind.split_at_checked(usize::from(*length)).unwrap_or((behind, &[]));
        rest = behind;
        now +=
            Duration::from_millis(PAUSES_MS.iter().cycle().nth(usize::from(how >> 2)).copied().unwrap_or(0));
        for part in piece.chunks(step.min(piece.len().max(1))) {
            match how & 3 {
                0 | 1 => meter.received(part, now),
                _ => meter.sent(part, now),
            }
        }
        match how & 3 {
            3 => meter.blocked(now),
            _ => meter.flushed(),
        }
        if let Some(limit) = meter.breach() {
            said.push(format!("{limit:?}"));
            break;
        }
        let overdue = meter.overdue(now);
        said.push(format!(
            "{overdue:?} {:?} {} {} {} {}",
            meter.breach(),
            meter.last_stream(),
            meter.is_busy(),
            meter.between_received(),
            meter.between_sent(),
        ));
        if meter.breach().is_some() {
            break;
        }
    }
    said
}
