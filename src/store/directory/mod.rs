//! The directory store: files that people edit, or that Kubernetes mounts.
//!
//! A file's path is its key: `frontends/shop/frontend.yaml`, `.yml` or `.json` is `frontends/shop/frontend`, and
//! `frontends/shop.yaml` is `frontends/shop`. Hidden files, editors' back-ups and other endings are left out. YAML
//! becomes JSON; a file that is neither becomes a value that says so (see [`unreadable`](super::unreadable)). A key
//! that two files claim is unreadable too, until one of them goes.
//!
//! **Revisions.** Edits that settle within 50 ms are one revision, as is the swap of a `..data` link; a longer burst is
//! cut after a second. A transaction of ours is one revision whatever its files. The revision is counted in
//! `<dir>.state/revision`, so that all who follow the directory agree on it and a restart goes on; where that cannot be
//! written it is counted in the file given as `counter`, or in memory from 1 on. [`Entry::version`] is a hash of the
//! file's bytes.
//!
//! **Writes** are made under an exclusive lock on `<dir>.state/lock`, which readers take too: staged beside their
//! targets, synced, renamed. What a crash leaves half renamed is finished from `<dir>.state/intent` by whoever takes the
//! lock next. A file keeps its format (its comments are lost); a new one is JSON, byte for byte what was written. State
//! lies in `<dir>.state/keys`. Leases are refused.

mod commit;
mod counter;
mod files;
mod follow;
mod yaml;

use super::log::Log;
use super::{Area, Capabilities, Change, Entry, Feed, Snapshot, Store, StoreError, Transaction};
use crate::model::Revision;
use counter::{Counter, Lock};
use files::{FILE_BYTES_MAX, Files};
use follow::Following;
use futures_util::future::BoxFuture;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

const OFFERED: Capabilities =
    Capabilities { leases: false, operations_max: 10_000, value_bytes_max: FILE_BYTES_MAX };

/// Keeps objects in files.
pub struct DirectoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    paths: Paths,
    log: Arc<Log>,
    /// What was last read; held while the disk is read or written.
    disk: Mutex<Disk>,
    following: Mutex<Weak<Following>>,
}

/// Where things lie.
#[derive(Debug, Clone)]
struct Paths {
    /// The objects.
    root: PathBuf,
    /// `<root>.state`
    state: PathBuf,
    /// `<root>.state/keys`
    state_keys: PathBuf,
    /// Where the revision is counted if `state` cannot be written.
    counter: Option<PathBuf>,
}

impl Paths {
    fn root(&self, area: Area) -> &PathBuf {
        match area {
            Area::Routing => &self.root,
            Area::State => &self.state_keys,
        }
    }
}

/// The directory as last read.
#[derive(Default)]
struct Disk {
    routing: Files,
    state: Files,
    counter: Counter,
    /// Something was read already.
    read: bool,
}

impl Disk {
    fn files(&self, area: Area) -> &Files {
        match area {
            Area::Routing => &self.routing,
            Area::State => &self.state,
        }
    }
}

impl DirectoryStore {
    /// A store over `path`, which need not exist yet. `counter` names the file that counts revisions where
    /// `<path>.state` cannot be written.
    pub fn new(path: PathBuf, counter: Option<PathBuf>) -> Self {
        // Without a trailing slash, so that the state lies beside it.
        let root: PathBuf = path.components().collect();
        let mut beside = OsString::from(&root);
        beside.push(".state");
        let state = PathBuf::from(beside);
        let paths = Paths { root, state_keys: state.join("keys"), state, counter };
        let inner = Inner {
            paths,
            log: Arc::new(Log::new(true)),
            disk: Mutex::new(Disk::default()),
            following: Mutex::new(Weak::new()),
        };
        Self { inner: Arc::new(inner) }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.inner.clone();
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(done) => done,
            Err(error) => Err(StoreError::Unavailable(format!("reading the directory failed: {error}"))),
        }
    }
}

impl Inner {
    /// Reads the directory and tells the followers what changed. `make` allows to make the directory of state.
    fn refresh(&self, make: bool) -> Result<(), StoreError> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let refreshed =
            Lock::take(&self.paths, make).and_then(|lock| self.refresh_locked(&mut disk, lock.as_ref()));
        if let Err(StoreError::Unavailable(reason)) = &refreshed {
            self.log.write(|state| state.outage = Some(reason.clone()));
        }
        refreshed
    }

    /// As [`Inner::refresh`], by someone who has the lock, or where there is none.
    fn refresh_locked(&self, disk: &mut Disk, lock: Option<&Lock>) -> Result<(), StoreError> {
        let failed = |error: io::Error| StoreError::Unavailable(self.why(&error));
        if let Some(lock) = lock {
            let unfinished = |error| {
                format!("an interrupted write to {} cannot be finished: {error}", self.paths.root.display())
            };
            lock.finish_intent().map_err(|error| StoreError::Unavailable(unfinished(error)))?;
        }
        let routing = Files::read(&self.paths.root, &disk.routing).map_err(failed)?;
        let state = match Files::read(&self.paths.state_keys, &disk.state) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Files::default()
            }
            read => read.map_err(failed)?,
        };
        let mut counter = Counter::load(&self.paths, lock).unwrap_or_else(|| disk.counter.clone());
        // Whoever wrote these files told their revision; if nobody did, they were edited by hand.
        if counter.update(&routing, &state, self.log.read().revision) {
            counter.save(&self.paths, lock);
        }
        self.tell(disk, &counter, &routing, &state);
        *disk = Disk { routing, state, counter, read: true };
        Ok(())
    }

    /// Brings the log to what was read.
    fn tell(&self, disk: &Disk, counter: &Counter, routing: &Files, state: &Files) {
        let mut changes: Vec<(Area, Change)> = Vec::new();
        for (area, new) in [(Area::Routing, routing), (Area::State, state)] {
            let old = disk.files(area);
            for (key, file) in new.iter() {
                if old.get(key).is_none_or(|old| old.version != file.version) {
                    changes.push((area, Change::Put(entry(area, key, file, counter))));
                }
            }
            for (key, _) in old.iter().filter(|(key, _)| new.get(key).is_none()) {
                changes.push((area, Change::Delete { key: key.clone() }));
            }
        }
        let known = self.log.read();
        let same =
            disk.read && changes.is_empty() && known.revision == counter.revision && known.outage.is_none();
        let goes_on = disk.read && counter.revision > known.revision;
        let returns = disk.read && changes.is_empty() && counter.revision == known.revision;
        drop(known);
        if same {
            return;
        }
        self.log.write(|log| {
            log.outage = None;
            if goes_on {
                log.record(counter.revision, changes);
            } else if !returns {
                let all = |area, files: &Files| {
                    files.iter().map(|(key, file)| entry(area, key, file, counter)).collect::<Vec<_>>()
                };
                log.replace(counter.revision, all(Area::Routing, routing), all(Area::State, state));
            }
        });
    }

    fn why(&self, error: &io::Error) -> String {
        let root = self.paths.root.display();
        match error.kind() {
            ErrorKind::NotFound => format!("the directory {root} does not exist"),
            _ => format!("the directory {root} cannot be read: {error}"),
        }
    }
}

fn entry(area: Area, key: &str, file: &files::File, counter: &Counter) -> Entry {
    Entry {
        key: key.into(),
        value: file.value.clone(),
        version: file.version,
        created: counter.created(area, key),
        lease: None,
    }
}

impl Store for DirectoryStore {
    fn kind(&self) -> &'static str {
        "directory"
    }

    fn location(&self) -> String {
        format!("dir:{}", self.inner.paths.root.display())
    }

    fn capabilities(&self) -> Capabilities {
        OFFERED
    }

    fn follow(&self, area: Area) -> Feed {
        let following = Following::of(&self.inner);
        self.inner.log.follow(area, following)
    }

    fn list(&self, area: Area) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        Box::pin(self.blocking(move |inner| {
            inner.refresh(false)?;
            Ok(inner.log.read().snapshot(area))
        }))
    }

    fn get<'a>(
        &'a self,
        area: Area,
        key: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, Option<Entry>), StoreError>> {
        let key: Box<str> = key.into();
        Box::pin(self.blocking(move |inner| {
            inner.refresh(false)?;
            let log = inner.log.read();
            Ok((log.revision, log.entries(area).get(&key).cloned()))
        }))
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            super::check::check(&transaction, &OFFERED)?;
            self.blocking(move |inner| inner.commit(&transaction)).await
        })
    }
}

#[cfg(test)]
mod tests;
