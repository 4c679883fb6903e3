//! What a proxy at the edge must withstand, case by case: each has a test that bears its number.
//!
//! R in a test's words: refused with 400 (or the code named) and `Connection: close`, closed, and not one byte of the
//! message at any server.

mod corpora;
mod floods;
mod h2;
pub mod limits;
mod slow;

/// Each group's letter, how many cases it has, and the sources of its tests. Older tests name the case that they hold in
/// their data.
const GROUPS: &[(char, usize, &[&str])] = &[
    ('h', 42, &["wire/refused", "wire/heads", "wire/bodies", "wire/fields", "wire/rules", "wire/broken"]),
    ('f', 14, &["cases/floods"]),
    ('w', 7, &["cases/slow"]),
    ('m', 8, &["cases/limits"]),
];

#[test]
fn every_case_of_a_group_has_its_test() {
    let mut missing = Vec::new();
    for (letter, count, files) in GROUPS {
        let sources = files.iter().map(|file| source(&format!("{file}.rs"))).collect::<String>();
        for case in (1..=*count).map(|number| format!("{letter}{number:02}")) {
            let data = format!("\"{}\"", case.to_ascii_uppercase());
            if !sources.contains(&format!("fn {case}_")) && !sources.contains(&data) {
                missing.push(case);
            }
        }
    }
    assert!(missing.is_empty(), "no test has their number: {missing:?}");
}

fn source(file: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
