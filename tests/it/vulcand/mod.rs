//! The real vulcand beside Flipgate, on one etcd and one prefix.
//!
//! `tests/tools.sh` builds its programs. Where they are not to be had, `FLIPGATE_WITHOUT_VULCAND=1` leaves these tests
//! out, and they say so; without it they fail.

mod cases;
mod defects;
mod differences;
mod differential;
mod hour;
mod secure;
mod upstreams;
mod vctl;

use crate::support::{Connection, Keys, Process, free_port, until};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// vulcand's own prefix.
pub const PREFIX: &str = "vulcand";

/// Longest time from its start to its first answer.
const START_MAX: Duration = Duration::from_secs(20);

/// The daemon: what `FLIPGATE_VULCAND` names, else what `tests/tools.sh` has built. `None`: left out, and said so.
pub fn vulcand_program() -> Option<PathBuf> {
    program("vulcand", "FLIPGATE_VULCAND")
}

/// Its command line client: what `FLIPGATE_VCTL` names, else what `tests/tools.sh` has built.
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
    assert!(
        path.is_file(),
        "no {name} at {}: run `. tests/tools.sh; install_vulcand`, name one with {variable}, or leave these tests out \
         with FLIPGATE_WITHOUT_VULCAND=1",
        path.display()
    );
    Some(path)
}

/// A running vulcand. Dropping it kills it.
pub struct Vulcand {
    _process: Process,
    _dir: TempDir,
}

impl Vulcand {
    /// Starts one below [`PREFIX`] with its default listener and its API on free ports, and waits until it has read the
    /// store. `None`: left out.
    pub fn start(keys: &Keys, flags: &[&str]) -> Option<Self> {
        let program = vulcand_program()?;
        let dir = tempfile::tempdir().unwrap();
        let (port, admin_port) = (free_port(), free_port());
        let mut command = Command::new(program);
        command
            .env_clear()
            .arg(format!("-etcd=http://{}", keys.address()))
            .arg(format!("-etcdKey={PREFIX}"))
            .args(["-interface=127.0.0.1", "-apiInterface=127.0.0.1", "-logSeverity=INFO"])
            .arg(format!("-port={port}"))
            .arg(format!("-apiPort={admin_port}"))
            .args(flags);
        let mut process = Process::start(&mut command, &dir.path().join("output"));
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        until("vulcand answers", START_MAX, || {
            let ended = process.ended();
            assert!(ended.is_none(), "vulcand ended with {ended:?}");
            [at(port), at(admin_port)]
                .iter()
                .all(|address| {
                    Connection::try_open(*address).is_ok_and(|mut it| it.get("vulcand", "/").is_ok())
                })
                .then_some(())
        });
        Some(Self { _process: process, _dir: dir })
    }
}
