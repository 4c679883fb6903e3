//! Numbers that choosing a server works with: durations in milliseconds, spread bits, places.

use std::time::Duration;

/// A duration in whole milliseconds.
pub(super) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Spreads the bits of a number: neighbours end far apart (the finaliser of SplitMix64).
pub fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// A place among `length` for a random number; 0 where there is none.
pub(super) fn place(random: u64, length: usize) -> usize {
    ((u128::from(random) * length as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_cover_their_range_evenly() {
        let mut hits = [0u32; 3];
        (0..3000u64).for_each(|seed| hits[place(mix(seed), 3)] += 1);
        assert!(hits.iter().all(|count| (900..1100).contains(count)), "{hits:?}");
        assert_eq!(place(u64::MAX, 7), 6);
        assert_eq!(place(u64::MAX, 0), 0);
    }
}
