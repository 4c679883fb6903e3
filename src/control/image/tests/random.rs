//! Random histories: after every event the image agrees with itself and with what its records restore ([`Stage`]
//! checks that), and restored or not it goes on alike.

use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn value(random: &mut StdRng, key: &str) -> String {
    let backend = |random: &mut StdRng| format!("b{}", random.random_range(0..5));
    if random.random_range(0..8) == 0 {
        return "{".into();
    }
    match ObjectKey::parse(key) {
        Some(ObjectKey::Frontend(_)) => {
            let (backend, route) = (backend(random), format!("h{}.example", random.random_range(0..5)));
            if random.random_range(0..4) == 0 {
                guarded(&backend, &route, &format!("m{}", random.random_range(0..2)))
            } else {
                frontend(&backend, &route)
            }
        }
        Some(ObjectKey::Backend(_)) if random.random_range(0..2) == 0 => alias(&backend(random)),
        Some(ObjectKey::Backend(_)) => BACKEND.into(),
        Some(ObjectKey::Server(..)) => SERVER.into(),
        _ if random.random_range(0..3) == 0 => r#"{"Type":"auth","Middleware":{}}"#.into(),
        _ => HEADERS.into(),
    }
}

fn key(random: &mut StdRng) -> String {
    let number = random.random_range(0..5);
    match random.random_range(0..8) {
        0..3 => format!("frontends/f{number}/frontend"),
        3 => format!("frontends/f{number}"),
        4 => format!("backends/b{number}/backend"),
        5 => format!("backends/b{number}/servers/s{}", random.random_range(0..2)),
        6 => format!("frontends/f{number}/middlewares/m"),
        _ => format!("middlewares/m{}", random.random_range(0..2)),
    }
}

#[test]
fn random_histories_keep_the_image_in_agreement_with_itself() {
    for seed in 0..40_u64 {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut stage = Stage::new();
        for _ in 0..60 {
            let mut changes = BTreeMap::new();
            for _ in 0..random.random_range(1..6) {
                let key = key(&mut random);
                let is_there = stage.store.contains_key(&key);
                let sign = if is_there && random.random_range(0..3) == 0 { "-" } else { "+" };
                let value = value(&mut random, &key);
                changes.insert(key, (sign, value));
            }
            let changes: Vec<_> =
                changes.iter().map(|(key, (sign, value))| (format!("{sign}{key}"), value.as_str())).collect();
            let changes: Vec<_> = changes.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            stage.batch(&changes);
            if random.random_range(0..10) == 0 {
                assert!(stage.snapshot().changes.is_empty(), "a snapshot of what is known changes nothing");
            }
        }
    }
}
