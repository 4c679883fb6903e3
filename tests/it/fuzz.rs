//! The checks of the fuzz targets, on their seeds and on every input that was found to break one.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Runs a target's check on each file of a folder of its inputs; how many there were.
fn run(folder: &str, target: &str, check: targets::Check) -> usize {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder).join(target);
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let mut count = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        // What was printed last names the input, should its check end the process.
        println!("{}", path.display());
        check(&fs::read(path).unwrap());
        count += 1;
    }
    count
}

#[test]
fn seeds_and_inputs_once_found_hold() {
    for (target, check) in targets::TARGETS {
        assert!(run("seeds", target, check) > 0, "no seeds for {target}");
        run("regressions", target, check);
    }
}

#[test]
fn every_target_has_its_check() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/fuzz_targets");
    let mut found: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, targets::TARGETS.map(|(name, _)| name));
}
