//! Who stands out among several.

/// For each value whether it stands out: whether it is above `threshold` times the median of all plus their median
/// distance from it. An even number of values gets a 0 beside them, so that of two the worse can stand out. This is
/// oxy's rule (`memmetrics.SplitFloat64`).
pub fn stand_out(values: &[f64], threshold: f64) -> Vec<bool> {
    let mut all = values.to_vec();
    if all.len().is_multiple_of(2) {
        all.push(0.0);
    }
    let middle = median(&mut all);
    let mut distances: Vec<f64> = all.iter().map(|value| (value - middle).abs()).collect();
    let bound = (middle + median(&mut distances)) * threshold;
    values.iter().map(|value| *value > bound).collect()
}

/// Of an odd number of values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_ones_stand_out() {
        let cases: &[(&[f64], &[bool])] = &[
            (&[], &[]),
            (&[0.0], &[false]),
            (&[0.5], &[false]),
            (&[0.0, 0.0], &[false, false]),
            (&[0.1, 0.1], &[false, false]),
            (&[0.0, 0.5], &[false, true]),
            (&[0.1, 0.5], &[false, true]),
            (&[0.0, 0.0, 0.01], &[false, false, true]),
            (&[0.2, 0.3, 0.25], &[false, false, false]),
            (&[0.1, 0.1, 0.9, 0.1], &[false, false, true, false]),
        ];
        for (values, expected) in cases {
            assert_eq!(stand_out(values, 1.5), *expected, "{values:?}");
        }
    }
}
