//! The count of revisions, the lock, and the intent of a transaction that is being written.

use super::Paths;
use super::files::Files;
use crate::model::Revision;
use crate::store::{Area, StoreError};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for another process that writes.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
const LOCK_TRY_EVERY: Duration = Duration::from_millis(2);

/// The count, with what it counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Counter {
    /// Of the last change; 0 before the first count.
    pub(super) revision: Revision,
    routing: String,
    state: String,
    /// The revision at which each key appeared, by area.
    created: BTreeMap<String, u64>,
    #[serde(default)]
    created_state: BTreeMap<String, u64>,
}

impl Counter {
    /// Counts on if the files are not those that were counted, above `seen` too. Whether it counted.
    pub(super) fn update(&mut self, routing: &Files, state: &Files, seen: Revision) -> bool {
        let digests = (routing.digest(), state.digest());
        if self.revision.0 > 0 && digests.0 == self.routing && digests.1 == self.state {
            return false;
        }
        let first = self.revision.0 == 0;
        self.revision = if first { seen } else { Revision(self.revision.max(seen).0 + 1) };
        (self.routing, self.state) = digests;
        for (created, files) in [(&mut self.created, routing), (&mut self.created_state, state)] {
            created.retain(|key, _| files.get(key).is_some());
            for (key, _) in files.iter() {
                created.entry(key.to_string()).or_insert(self.revision.0);
            }
        }
        true
    }

    /// When a key appeared.
    pub(super) fn created(&self, area: Area, key: &str) -> u64 {
        let created = if area == Area::Routing { &self.created } else { &self.created_state };
        created.get(key).copied().unwrap_or(self.revision.0)
    }

    /// What was saved, if anything was. A damaged file counts as none.
    pub(super) fn load(paths: &Paths, lock: Option<&Lock>) -> Option<Self> {
        let path = file(paths, lock)?;
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Saves it where it can be saved; otherwise it counts in memory.
    pub(super) fn save(&self, paths: &Paths, lock: Option<&Lock>) {
        let Some(path) = file(paths, lock) else { return };
        let saved =
            serde_json::to_vec(self).map_err(io::Error::other).and_then(|bytes| replace(&path, &bytes));
        if let Err(error) = saved {
            tracing::warn!(path = %path.display(), %error, "the revision of the directory cannot be saved");
        }
    }
}

fn file(paths: &Paths, lock: Option<&Lock>) -> Option<PathBuf> {
    match lock {
        Some(_) => Some(paths.state.join("revision")),
        None => paths.counter.clone(),
    }
}

/// Writes a file beside its place, syncs it and puts it in place.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    write_synced(Path::new(&staged), bytes)?;
    fs::rename(&staged, path)
}

/// Writes a file and waits until it is on the disk.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// One step of a transaction's second half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    /// A staged file takes its place.
    Rename {
        /// Hidden, beside `to`.
        from: PathBuf,
        /// The object's file.
        to: PathBuf,
    },
    /// A file goes.
    Remove(PathBuf),
}

/// The exclusive right to read and write a directory and its state. Ends when dropped, or with its process.
pub(super) struct Lock {
    _file: Flock<File>,
    intent: PathBuf,
}

impl Lock {
    /// Takes the lock. None where there can be none: the directory of state is missing and was not to be made, or
    /// cannot be written.
    pub(super) fn take(paths: &Paths, make: bool) -> Result<Option<Self>, StoreError> {
        // The state of a directory that does not exist would only be litter.
        if make && paths.root.is_dir() {
            let _ = fs::create_dir_all(&paths.state);
        }
        let path = paths.state.join("lock");
        let opened = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let Ok(mut file) = opened else { return Ok(None) };
        let late = Instant::now() + LOCK_WAIT_MAX;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => {
                    return Ok(Some(Self { _file: locked, intent: paths.state.join("intent") }));
                }
                Err((unlocked, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < late => {
                    file = unlocked;
                    std::thread::sleep(LOCK_TRY_EVERY);
                }
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                    let reason = format!("another process holds {} for {LOCK_WAIT_MAX:?}", path.display());
                    return Err(StoreError::Unavailable(reason));
                }
                Err((_, error)) => {
                    return Err(StoreError::Unavailable(format!(
                        "{} cannot be locked: {error}",
                        path.display()
                    )));
                }
            }
        }
    }

    /// Carries out steps so that a crash between them is made good by whoever takes the lock next.
    pub(super) fn carry_out(&self, steps: &[Step]) -> io::Result<()> {
        if steps.len() > 1 {
            replace(&self.intent, &serde_json::to_vec(steps).map_err(io::Error::other)?)?;
        }
        walk_through(steps)?;
        if steps.len() > 1 {
            fs::remove_file(&self.intent)?;
        }
        Ok(())
    }

    /// Whether steps are written down that were not all carried out.
    pub(super) fn has_intent(&self) -> bool {
        self.intent.exists()
    }

    /// Finishes what a crash interrupted.
    pub(super) fn finish_intent(&self) -> io::Result<()> {
        let bytes = match fs::read(&self.intent) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            bytes => bytes?,
        };
        // It is put in place whole, so one that cannot be read was damaged later; its steps are lost either way.
        match serde_json::from_slice::<Vec<Step>>(&bytes) {
            Ok(steps) => walk_through(&steps)?,
            Err(error) => {
                tracing::warn!(path = %self.intent.display(), %error, "a damaged intent is dropped")
            }
        }
        fs::remove_file(&self.intent)
    }
}

fn walk_through(steps: &[Step]) -> io::Result<()> {
    for step in steps {
        let done = match step {
            Step::Rename { from, to } => fs::rename(from, to),
            Step::Remove(path) => fs::remove_file(path),
        };
        match done {
            // Done before the crash.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => done?,
        }
    }
    let parents: std::collections::BTreeSet<&Path> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Rename { to: path, .. } | Step::Remove(path) => path.parent(),
        })
        .collect();
    for parent in parents {
        if let Ok(dir) = File::open(parent) {
            dir.sync_all()?;
        }
    }
    Ok(())
}
