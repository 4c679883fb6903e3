//! The real vulcand beside Flipgate.

mod vctl;

use std::path::{Path, PathBuf};

/// The daemon: what `FLIPGATE_VULCAND` names, else what stands in `target/tools/bin`. `None`: left out, and said so.
pub fn vulcand_program() -> Option<PathBuf> {
    program("vulcand", "FLIPGATE_VULCAND")
}

/// Its command line client: what `FLIPGATE_VCTL` names, else what stands in `target/tools/bin`.
pub fn vctl_program() -> Option<PathBuf> {
    program("vctl", "FLIPGATE_VCTL")
}

fn program(name: &str, variable: &str) -> Option<PathBuf> {
    if std::env::var("FLIPGATE_WITHOUT_VULCAND").is_ok_and(|value| value == "1") {
        println!("SKIPPED without {name}: FLIPGATE_WITHOUT_VULCAND=1");
        return None;
    }
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin").join(name);
    let path = std::env::var_os(variable).map_or_else(built, PathBuf::from);
    assert!(path.is_file(), "no {name} at {}; {variable} names another", path.display());
    Some(path)
}
