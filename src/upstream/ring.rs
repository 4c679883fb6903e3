//! The ring of the policy `hash`: each server has many points on it, a key belongs to the next point.
//!
//! All active servers stand on it, also those that are not well: a key whose server gets no requests walks on, and comes
//! back once it does. So few keys move whatever happens, and in every process the same ones.

use super::clock::mix;

/// Points of the server with the largest weight, as long as all together stay below [`POINTS_MAX`].
const POINTS: usize = 200;
/// Points of all servers together.
const POINTS_MAX: usize = 1 << 16;

/// Points in order, each with the index of its server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ring {
    points: Box<[(u32, u16)]>,
    /// What it was made of.
    servers: Box<[(u64, u16)]>,
}

impl Ring {
    /// The ring of servers given by hash and weight; those of weight 0 have no points.
    pub(super) fn new(servers: Box<[(u64, u16)]>) -> Self {
        let heaviest = usize::from(servers.iter().map(|(_, weight)| *weight).max().unwrap_or(0)).max(1);
        let full = POINTS.min(POINTS_MAX / servers.len().max(1)).max(1);
        let mut points = Vec::new();
        for ((hash, weight), index) in servers.iter().zip(0..=u16::MAX) {
            let count = match *weight {
                0 => 0,
                weight => (full * usize::from(weight) / heaviest).max(1),
            };
            points.extend((0..count as u64).map(|number| ((mix(hash ^ mix(number)) >> 32) as u32, index)));
        }
        points.sort_unstable();
        Self { points: points.into(), servers }
    }

    /// Whether it was made of these servers.
    pub(super) fn is_of(&self, servers: &[(u64, u16)]) -> bool {
        *self.servers == *servers
    }

    /// The servers' indexes from the key's point on, once around; each as often as it has points.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = u16> {
        let at = (mix(key) >> 32) as u32;
        let start = self.points.partition_point(|(point, _)| *point < at);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|(_, index)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(names: std::ops::Range<u64>) -> Box<[(u64, u16)]> {
        names.map(|name| (mix(name), 1)).collect()
    }

    fn owner(ring: &Ring, key: u64) -> u64 {
        ring.servers[usize::from(ring.walk(key).next().unwrap())].0
    }

    const KEYS: u64 = 20_000;

    #[test]
    fn few_keys_move_when_a_server_leaves_or_comes() {
        let ten = Ring::new(servers(0..10));
        for other in [Ring::new(servers(1..10)), Ring::new(servers(0..11))] {
            let moved = (0..KEYS).filter(|key| owner(&ten, *key) != owner(&other, *key)).count();
            assert!(moved as u64 * 100 <= 15 * KEYS, "{moved} of {KEYS}");
            assert!(moved as u64 * 100 >= 5 * KEYS, "{moved} of {KEYS}");
        }
    }

    #[test]
    fn shares_follow_weights() {
        let ring = Ring::new(Box::new([(mix(1), 10), (mix(2), 20), (mix(3), 10), (mix(4), 0)]));
        let mut hits = [0u64; 4];
        (0..KEYS).for_each(|key| hits[usize::from(ring.walk(key).next().unwrap())] += 1);
        assert_eq!(hits[3], 0);
        for (hits, share) in hits.iter().zip([25, 50, 25]) {
            let percent = hits * 100 / KEYS;
            assert!(percent.abs_diff(share) <= 6, "{percent} for {share}");
        }
    }

    #[test]
    fn a_ring_may_be_empty_and_is_bounded() {
        assert_eq!(Ring::new(Box::new([])).walk(7).next(), None);
        let large = Ring::new(servers(0..5_000));
        assert!(large.points.len() <= POINTS_MAX, "{}", large.points.len());
        assert_eq!(large.walk(u64::MAX).count(), large.points.len());
    }
}
