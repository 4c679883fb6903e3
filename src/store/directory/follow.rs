//! Notices edits: file system events where there are any, and a look every two seconds where there are none.

use super::Inner;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Edits closer than this are one revision.
const SETTLED_AFTER: Duration = Duration::from_millis(50);
/// Longest burst that is waited for.
const BURST_MAX: Duration = Duration::from_secs(1);
/// How often the files are looked at, whatever the file system tells.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The task that reads the directory when it changes; lives as long as the feeds that need it.
pub(super) struct Following {
    task: JoinHandle<()>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Following {
    /// The one task of a store, started if it does not run.
    pub(super) fn of(inner: &Arc<Inner>) -> Arc<Self> {
        let mut running = inner.following.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(following) = running.upgrade() {
            return following;
        }
        let following = Arc::new(Self { task: tokio::spawn(follow(inner.clone())) });
        *running = Arc::downgrade(&following);
        following
    }
}

async fn follow(inner: Arc<Inner>) {
    let changed = Arc::new(Notify::new());
    let mut watch = Watch::default();
    loop {
        // Watched before it is read, so that no edit falls between.
        watch.renew(&inner, &changed);
        let reader = inner.clone();
        let read = tokio::task::spawn_blocking(move || reader.refresh(true)).await;
        if let Ok(Err(error)) = read {
            tracing::debug!(%error, "the directory is not read");
        }
        loop {
            if timeout(LOOK_EVERY, changed.notified()).await.is_ok() {
                settle(&changed).await;
                break;
            }
            let reader = inner.clone();
            let same = tokio::task::spawn_blocking(move || reader.looks_same()).await;
            if !matches!(same, Ok(true)) {
                tokio::time::sleep(SETTLED_AFTER).await;
                break;
            }
        }
    }
}

/// Waits until nothing more comes, or the burst is too long.
async fn settle(changed: &Notify) {
    let late = Instant::now() + BURST_MAX;
    while Instant::now() < late && timeout(SETTLED_AFTER, changed.notified()).await.is_ok() {}
}

impl Inner {
    fn looks_same(&self) -> bool {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        self.log.read().outage.is_none()
            && self.paths.root.is_dir()
            && disk.routing.looks_same(&self.paths.root)
            && disk.state.looks_same(&self.paths.state_keys)
    }
}

/// What the file system was asked to tell.
#[derive(Default)]
struct Watch {
    watcher: Option<RecommendedWatcher>,
    /// The directories that are watched, as they were then.
    watched: Vec<Option<(u64, u64)>>,
}

impl Watch {
    /// Watches what exists now, if it is not what is watched already. A directory that was replaced is another one.
    fn renew(&mut self, inner: &Arc<Inner>, changed: &Arc<Notify>) {
        let paths = &inner.paths;
        let parent = match paths.root.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => Path::new("/"),
        };
        let targets = [
            (parent, RecursiveMode::NonRecursive),
            (paths.root.as_path(), RecursiveMode::Recursive),
            (paths.state_keys.as_path(), RecursiveMode::Recursive),
        ];
        let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        let now: Vec<_> = targets.iter().map(|(path, _)| identity(path)).collect();
        if self.watcher.is_some() && self.watched == now {
            return;
        }
        let told = Arc::downgrade(changed);
        let Ok(mut watcher) = notify::recommended_watcher(move |event| tell(&told, event)) else {
            tracing::warn!(
                "the file system tells no changes; the directory is looked at every {LOOK_EVERY:?}"
            );
            return;
        };
        for ((path, mode), _) in targets.iter().zip(&now).filter(|(_, found)| found.is_some()) {
            if let Err(error) = watcher.watch(path, *mode) {
                tracing::warn!(path = %path.display(), %error, "changes are not told; it is looked at every {LOOK_EVERY:?}");
            }
        }
        self.watcher = Some(watcher);
        self.watched = now;
    }
}

fn tell(changed: &Weak<Notify>, event: notify::Result<Event>) {
    let matters = match &event {
        // Reading opens files, and must not wake the reader.
        Ok(event) => match event.kind {
            EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write) && visible(&event.paths),
            _ => visible(&event.paths),
        },
        // Events were lost.
        Err(_) => true,
    };
    if matters && let Some(changed) = changed.upgrade() {
        changed.notify_one();
    }
}

/// Whether an event is about something that can be an object: staged and swap files are hidden.
fn visible(paths: &[std::path::PathBuf]) -> bool {
    paths.is_empty()
        || paths.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy()).any(|name| {
            name == "..data" || !(name.starts_with('.') || name.ends_with('~') || name.ends_with(".tmp"))
        })
}
