//! Whose turn comes when: one whole round of smooth weighted round robin.

/// Longest rotation; weights whose sum is larger are scaled down to it, none below 1.
const ROTATION_MAX: usize = 4096;

/// One whole round of smooth weighted round robin over `weights`: each index as often as its weight, divided by what
/// all have in common, and spread as evenly as can be.
pub(super) fn rotation(weights: &[u16]) -> Box<[u16]> {
    let common = weights.iter().fold(0, |a, b| greatest_common_divisor(a, *b)).max(1);
    let mut shares: Vec<i64> = weights.iter().map(|weight| i64::from(weight / common)).collect();
    let sum: i64 = shares.iter().sum();
    if sum > ROTATION_MAX as i64 {
        for share in shares.iter_mut().filter(|share| **share > 0) {
            *share = (*share * ROTATION_MAX as i64 / sum).max(1);
        }
    }
    let sum: i64 = shares.iter().sum();
    if shares.iter().all(|share| *share <= 1) {
        let present = shares.iter().zip(0..).filter(|(share, _)| **share == 1);
        return present.map(|(_, index)| index).collect();
    }
    let mut credit = vec![0; shares.len()];
    let turns = (0..sum).filter_map(|_| {
        credit.iter_mut().zip(&shares).for_each(|(credit, share)| *credit += share);
        let (best, _) = credit.iter().zip(&shares).enumerate().filter(|(_, (_, share))| **share > 0).fold(
            (None, i64::MIN),
            |(best, most), (index, (credit, _))| {
                if *credit > most { (Some(index), *credit) } else { (best, most) }
            },
        );
        *credit.get_mut(best?)? -= sum;
        u16::try_from(best?).ok()
    });
    turns.collect()
}

fn greatest_common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::rotation;

    #[test]
    fn a_round_gives_each_server_its_share_spread_out() {
        let check = |weights: &[u16], round: &[u16]| assert_eq!(&*rotation(weights), round, "{weights:?}");
        check(&[], &[]);
        check(&[0, 0], &[]);
        check(&[1, 1, 1], &[0, 1, 2]);
        check(&[7, 7], &[0, 1]);
        check(&[1, 0, 1], &[0, 2]);
        check(&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]);
        check(&[10, 20], &[1, 0, 1]);
    }

    #[test]
    fn a_round_stays_bounded() {
        let weights: Vec<u16> = (0..5000).map(|i| 1 + i % 1000).collect();
        assert!(rotation(&weights).len() <= super::ROTATION_MAX + weights.len());
    }
}
