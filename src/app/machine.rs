//! What the machine gives this process: open files and memory.

use crate::config::MemoryLimit;
use crate::proxy::MemoryMost;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use std::fs;
use std::path::{Path, PathBuf};

/// Files for the store, logs, checks and the admin API, which no client may take.
const FILES_KEPT: u64 = 32;
/// What a control group without a limit is said to have in version 1, roughly.
const NO_LIMIT: u64 = 1 << 60;

/// How many connections of clients there can be, `wanted` at most. Raises the limit of open files as far as it may be.
pub(super) fn connections(wanted: usize) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let files = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays");
            soft
        }
    };
    let connections = connections_within(files, wanted);
    tracing::info!(files, connections, "open files allow so many connections of clients");
    connections
}

/// A third of the files is for connections to servers and everything else.
fn connections_within(files: u64, wanted: usize) -> usize {
    if files == RLIM_INFINITY {
        return wanted;
    }
    let clients = (files - files / 3).min(files.saturating_sub(FILES_KEPT)).max(1);
    wanted.min(usize::try_from(clients).unwrap_or(usize::MAX))
}

/// How much memory the process may hold.
pub(super) fn memory(limit: MemoryLimit) -> MemoryMost {
    match limit {
        MemoryLimit::Off => MemoryMost::default(),
        MemoryLimit::Bytes(bytes) => MemoryMost { resident: Some(bytes as u64), address_space: None },
        MemoryLimit::Machine => {
            let space = getrlimit(Resource::RLIMIT_AS).ok().map(|(soft, _)| soft);
            MemoryMost {
                resident: of_control_group(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup")),
                address_space: space.filter(|space| *space != RLIM_INFINITY),
            }
        }
    }
}

/// The least limit of the control groups that this process is in, of either version.
fn of_control_group(root: &Path, own: &Path) -> Option<u64> {
    let own = fs::read_to_string(own).ok()?;
    let groups = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = path.trim_start_matches('/');
        match (number, controllers) {
            ("0", "") => Some((root.to_owned(), path, "memory.max")),
            (_, names) if names.split(',').any(|name| name == "memory") => {
                Some((root.join("memory"), path, "memory.limit_in_bytes"))
            }
            _ => None,
        }
    });
    // A group's parents limit it too; within a container its own path may not be visible, but its root is.
    let files = groups.flat_map(|(root, path, file)| {
        let group = root.join(path);
        let up = group.ancestors().take_while(|above| above.starts_with(&root)).map(PathBuf::from);
        up.map(|above| above.join(file)).collect::<Vec<_>>()
    });
    let limits = files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    limits.filter(|limit| *limit < NO_LIMIT).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_files_is_kept_back() {
        for (files, wanted, connections) in
            [(256, 50_000, 171), (20_000, 50_000, 13_334), (20_000, 100, 100), (40, 50_000, 8), (1, 9, 1)]
        {
            assert_eq!(connections_within(files, wanted), connections, "{files} {wanted}");
        }
        assert_eq!(connections_within(RLIM_INFINITY, 7), 7);
    }

    #[test]
    fn a_control_group_has_the_least_limit_of_its_parents() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("cgroup");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(root.join("memory/c")).unwrap();
        let own = dir.path().join("own");
        let check = |line: &str, limit| {
            fs::write(&own, line).unwrap();
            assert_eq!(of_control_group(&root, &own), limit, "{line}");
        };
        fs::write(root.join("a/memory.max"), "500000000\n").unwrap();
        fs::write(root.join("a/b/memory.max"), "max\n").unwrap();
        fs::write(root.join("memory/c/memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        check("0::/a/b\n", Some(500_000_000));
        check("0::/elsewhere\n", None);
        check("5:cpu,memory:/c\n", None);
        fs::write(root.join("memory/memory.limit_in_bytes"), "7000\n").unwrap();
        check("1:name=x:/\n5:cpu,memory:/c\n", Some(7000));
    }
}
