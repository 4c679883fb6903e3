//! Failures of the store (E), of the process and its machine (P), each with what was promised for it.
//!
//! In all of them a mixed load (HTTP/1.1, HTTP/2, plain and over TLS) goes through three pods, and traffic is flipped
//! between two colours; an answer that fails, is another's or has the wrong colour counts as failed.

mod closing;
mod flips;
mod garbage;
mod login;
mod machine;
mod members;
mod names;
mod process;
mod scene;
mod soak;
mod starved;
mod store;
mod storm;

/// The letter of each group, and how many promises it has.
const GROUPS: [(char, usize); 2] = [('e', 12), ('p', 15)];

/// Promises without a test of their own yet, and what there is of one.
const IN_PART: [(&str, &str); 2] = [
    (
        "p11",
        "servers that refuse, reset and are silent: `upstreams`, `wire::broken`; not one that is cut off by the network",
    ),
    ("p13", "broken files and swapped ones: `edge::certificates`; not five thousand certificates"),
];

#[test]
fn every_failure_has_its_test() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/failures");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let sources = files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap());
    let sources = sources.collect::<String>();
    let ids =
        GROUPS.iter().flat_map(|(letter, count)| (1..=*count).map(move |id| format!("{letter}{id:02}")));
    let is_tested = |id: &String| {
        sources.contains(&format!("\nfn {id}_")) || sources.contains(&format!("\nasync fn {id}_"))
    };
    let in_part = |id: &String| IN_PART.iter().any(|(other, _)| other == id);
    let missing = ids.filter(|id| is_tested(id) == in_part(id)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "promises without a test: {missing:?}");
}
