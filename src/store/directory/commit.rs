//! A transaction of ours on files.

use super::counter::{Lock, Step, write_synced};
use super::files::{Files, version};
use super::{Inner, yaml};
use crate::model::Revision;
use crate::store::memory::expected;
use crate::store::{Operation, StoreError, Transaction};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// Longest segment of a key: a file name has 255 bytes, and staging needs some.
const SEGMENT_BYTES_MAX: usize = 230;

impl Inner {
    /// Writes all or nothing; the followers see one revision.
    pub(super) fn commit(&self, transaction: &Transaction) -> Result<Revision, StoreError> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = Lock::take(&self.paths, true)?;
        self.refresh_locked(&mut disk, lock.as_ref())?;
        expected(&self.log.read(), transaction)?;
        let Some(lock) = lock else {
            let state = self.paths.state.display();
            return Err(StoreError::Denied(format!(
                "{state}, where writes are locked and counted, cannot be written"
            )));
        };
        let mut plan = Plan::default();
        let planned = transaction.operations.iter().try_for_each(|operation| {
            let (area, key) = operation.target();
            plan.add(self.paths.root(area), disk.files(area), operation).map_err(|error| match error {
                PlanError::Refused(why) => StoreError::Refused(format!("{key}: {why}")),
                PlanError::Io(error) => StoreError::Denied(format!("{key} cannot be written: {error}")),
            })
        });
        if let Err(error) = planned {
            plan.undo();
            return Err(error);
        }
        if plan.steps.is_empty() {
            return Ok(self.log.read().revision);
        }
        if let Err(error) = lock.carry_out(&plan.steps) {
            // What is written down is finished by whoever takes the lock next; what is not must not stay staged.
            if !lock.has_intent() {
                plan.undo();
            }
            return Err(StoreError::Unavailable(format!("the directory cannot be written: {error}")));
        }
        for operation in &transaction.operations {
            if let Operation::Delete { area, key } = operation {
                tidy(self.paths.root(*area), key);
            }
        }
        self.refresh_locked(&mut disk, Some(&lock))?;
        Ok(self.log.read().revision)
    }
}

enum PlanError {
    Refused(String),
    Io(io::Error),
}

impl From<io::Error> for PlanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Staged files and the steps that put them in place.
#[derive(Default)]
struct Plan {
    steps: Vec<Step>,
}

impl Plan {
    fn add(&mut self, root: &Path, files: &Files, operation: &Operation) -> Result<(), PlanError> {
        let (_, key) = operation.target();
        check_path(key)?;
        let existing = files.get(key).map(|file| file.paths.as_slice()).unwrap_or_default();
        if let Some(linked) = existing.iter().find(|path| is_linked(root, path)) {
            let why = format!(
                "{} is a link, as in a mounted ConfigMap; change it where it comes from",
                linked.display()
            );
            return Err(PlanError::Refused(why));
        }
        let Operation::Put { value, .. } = operation else {
            self.steps.extend(existing.iter().cloned().map(Step::Remove));
            return Ok(());
        };
        let (to, bytes) = form(root, key, existing, value);
        if existing == [to.clone()] && files.get(key).is_some_and(|file| file.version == version(&bytes)) {
            return Ok(());
        }
        let name = to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parent = to.parent().unwrap_or(root);
        if to.is_dir() {
            return Err(PlanError::Refused(format!("{} is a directory", to.display())));
        }
        fs::create_dir_all(parent)?;
        let from = parent.join(format!(".{name}.{}.tmp", std::process::id()));
        self.steps.push(Step::Rename { from: from.clone(), to: to.clone() });
        write_synced(&from, &bytes)?;
        let others = existing.iter().filter(|path| **path != to).cloned();
        self.steps.extend(others.map(Step::Remove));
        Ok(())
    }

    /// Removes what was staged.
    fn undo(&self) {
        for step in &self.steps {
            if let Step::Rename { from, .. } = step {
                let _ = fs::remove_file(from);
            }
        }
    }
}

/// The file that a value goes to and its bytes there: YAML stays YAML, everything else is JSON as it came.
fn form(root: &Path, key: &str, existing: &[PathBuf], value: &[u8]) -> (PathBuf, Vec<u8>) {
    if let [path] = existing {
        if path.extension().is_some_and(|ending| ending == "json") {
            return (path.clone(), value.to_vec());
        }
        if let Some(yaml) = yaml::from_json(value) {
            return (path.clone(), yaml.into_bytes());
        }
    }
    (root.join(format!("{key}.json")), value.to_vec())
}

fn check_path(key: &str) -> Result<(), PlanError> {
    for segment in key.split('/') {
        if segment.starts_with('.') || segment.len() > SEGMENT_BYTES_MAX {
            let why = format!(
                "a file cannot be named {segment:?} (hidden, or longer than {SEGMENT_BYTES_MAX} bytes)"
            );
            return Err(PlanError::Refused(why));
        }
    }
    Ok(())
}

/// Whether the file, or a directory between it and the root, is a link.
fn is_linked(root: &Path, path: &Path) -> bool {
    path.ancestors()
        .take_while(|ancestor| *ancestor != root)
        .any(|part| fs::symlink_metadata(part).is_ok_and(|metadata| metadata.is_symlink()))
}

/// Removes the directories that a removed key left empty.
fn tidy(root: &Path, key: &str) {
    for (slash, _) in key.rmatch_indices('/') {
        let Some(dir) = key.get(..slash) else { return };
        if fs::remove_dir(root.join(dir)).is_err() {
            return;
        }
    }
}
