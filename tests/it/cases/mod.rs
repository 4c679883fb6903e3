//! What a proxy at the edge must withstand, case by case: each has a test that bears its number.
//!
//! R in a test's words: refused with 400 (or the code named) and `Connection: close`, closed, and not one byte of the
//! message at any server.

mod corpora;
mod floods;
mod framing;
mod h2;
pub mod limits;
mod semantics;
mod slow;
mod tls;
mod upstream;

/// Cases that are not held, each with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// Each group's letter, how many cases it has, and the sources of its tests.
const GROUPS: &[(char, usize, &[&str])] = &[
    ('h', 42, &["framing"]),
    ('s', 14, &["semantics"]),
    ('t', 13, &["h2", "tls"]),
    ('f', 14, &["floods"]),
    ('l', 13, &["tls"]),
    ('w', 7, &["slow"]),
    ('u', 15, &["upstream"]),
    ('m', 8, &["limits"]),
];

#[test]
fn every_case_has_its_test_or_its_reason() {
    let mut missing = Vec::new();
    for (letter, count, files) in GROUPS {
        let sources = files.iter().map(|file| source(&format!("cases/{file}.rs"))).collect::<String>();
        for number in 1..=*count {
            let case = format!("{letter}{number:02}");
            let test = sources.contains(&format!("\nfn {case}_"))
                || sources.contains(&format!("\nasync fn {case}_"));
            let excepted = EXCEPTIONS.iter().any(|(id, _)| *id == case);
            if test == excepted {
                missing.push(case);
            }
        }
    }
    assert!(missing.is_empty(), "neither tested nor excepted, or both: {missing:?}");
}

fn source(file: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
