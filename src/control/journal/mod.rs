//! The image on disk, for a start without the store: a base file with every object, and a journal of the revisions
//! since. Values are kept as stored, so what is sealed stays sealed.
//!
//! Writing happens on a thread of its own and never holds up a swap: what it is told goes through a bounded queue, and
//! when that is full, or after an error, or when the journal has outgrown its base, it asks for a new base instead.
//! A disk that is full or read-only is a problem that is listed, and nothing more.

mod codec;
mod files;
#[cfg(test)]
mod tests;
mod writer;

use super::image::{Kept, Record, Restored};
use crate::model::{ObjectKey, Revision};
use files::Found;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// Revisions that wait to be written.
const QUEUE_MAX: usize = 1024;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Two processes on one would overwrite each other's image.
    #[error("the data directory {} is in use by process {}", dir.display(), pid.as_deref().unwrap_or("(unknown)"))]
    Locked {
        /// Which.
        dir: PathBuf,
        /// Whose it is, if that could be read.
        pid: Option<String>,
    },
    /// No thread could be started.
    #[error("the journal's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// A journal, and what a former process left.
pub struct Opened {
    /// To write to.
    pub journal: Journal,
    /// The newest image that is whole.
    pub restored: Option<Restored>,
}

/// Where the image is kept. Dropping it writes what is queued, for a second at most, and gives the directory free.
pub struct Journal {
    sender: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    health: Arc<Health>,
    lock: Option<File>,
}

enum Message {
    Revision { revision: Revision, records: Vec<Record> },
    Base { revision: Revision, records: Vec<(ObjectKey, Kept)> },
    Flush(SyncSender<()>),
}

/// What writer and publisher tell each other beside the queue.
struct Health {
    wants_base: AtomicBool,
    /// A revision was dropped; until the next base nothing is written.
    has_gap: AtomicBool,
    /// Another process writes the image: nothing is written here.
    is_asleep: AtomicBool,
    problem: Mutex<Option<(String, SystemTime)>>,
    passed_over: Mutex<Vec<(String, SystemTime)>>,
}

impl Health {
    fn want_base(&self) {
        self.wants_base.store(true, Ordering::Release);
    }

    fn well(&self) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn ill(&self, reason: String) {
        tracing::error!("{reason}");
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let since = problem.take().map_or_else(SystemTime::now, |(_, since)| since);
        *problem = Some((reason, since));
    }
}

impl Journal {
    /// Locks the data directory, making it where it is missing, and reads the newest image that is whole.
    ///
    /// # Errors
    /// Another process has it. A directory that cannot be written is a problem of the journal's, not an error.
    pub fn open(dir: &Path) -> Result<Opened, JournalError> {
        Self::open_with(dir, None)
    }

    /// As [`open`](Self::open), with a lock that another process holds too: that one writes until [`wake`](Self::wake).
    ///
    /// # Errors
    /// As there.
    pub fn open_with(dir: &Path, shared_lock: Option<File>) -> Result<Opened, JournalError> {
        let is_heir = shared_lock.is_some();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        let lock = match shared_lock {
            Some(lock) => Some(lock),
            None => lock(dir)?,
        };
        let Found { image, passed, damaged } = files::restore(dir);
        for line in &passed {
            tracing::warn!("{line}");
        }
        let now = SystemTime::now();
        let health = Arc::new(Health {
            wants_base: AtomicBool::new(true),
            has_gap: AtomicBool::new(is_heir),
            is_asleep: AtomicBool::new(is_heir),
            problem: Mutex::new(None),
            passed_over: Mutex::new(passed.into_iter().map(|line| (line, now)).collect()),
        });
        if let Err(error) = made {
            health.ill(format!("the data directory {} cannot be made: {error}", dir.display()));
        }
        // A generation that was passed over is not written again: its successor must be the newest.
        let newest = files::generations(dir).ok().and_then(|all| all.first().copied());
        let generation = newest.max(image.as_ref().map(|(generation, _)| *generation)).unwrap_or(0);
        for base in damaged {
            // It must not count as one of those that are kept. Where that fails, the next start passes it over again.
            let _ = std::fs::rename(&base, base.with_extension("damaged"));
        }
        let (sender, receiver) = mpsc::sync_channel(QUEUE_MAX);
        let writer = writer::Writer::new(dir.to_path_buf(), generation, health.clone());
        let thread = spawn(writer, receiver).map_err(JournalError::Thread)?;
        let journal = Self { sender: Some(sender), thread: Some(thread), health, lock };
        Ok(Opened { journal, restored: image.map(|(_, restored)| restored) })
    }

    /// Takes a revision; never waits. When the queue is full it is dropped, and a base is wanted that holds it.
    pub fn append(&self, revision: Revision, records: Vec<Record>) {
        if self.health.has_gap.load(Ordering::Acquire) {
            return;
        }
        if !self.send(Message::Revision { revision, records }) {
            self.skip();
        }
    }

    /// Leaves a revision out: what comes after it is not written behind the gap, and a base is wanted.
    pub fn skip(&self) {
        self.health.has_gap.store(true, Ordering::Release);
        self.health.want_base();
    }

    /// Whether [`Journal::base`] should be called: at first, when the queue was full, after an error, or when the
    /// journal has outgrown its base.
    pub fn wants_base(&self) -> bool {
        self.health.wants_base.load(Ordering::Acquire) && !self.health.is_asleep.load(Ordering::Acquire)
    }

    /// Brings to the disk what was taken, and leaves the rest to the process that takes over.
    pub fn sleep(&self, timeout: Duration) {
        self.flush(timeout);
        self.health.is_asleep.store(true, Ordering::Release);
        self.skip();
    }

    /// Writes from now on; the directory is this process's.
    pub fn wake(&self) {
        if let Some(lock) = &self.lock {
            note_owner(lock);
        }
        self.health.is_asleep.store(false, Ordering::Release);
        self.skip();
    }

    /// The lock once more, for the process that takes over; `None`: there is none.
    pub fn lock(&self) -> io::Result<Option<File>> {
        self.lock.as_ref().map(File::try_clone).transpose()
    }

    /// Starts a new generation with everything there is; never waits.
    pub fn base(&self, revision: Revision, records: Vec<(ObjectKey, Kept)>) {
        if self.health.is_asleep.load(Ordering::Acquire) {
            return;
        }
        if self.send(Message::Base { revision, records }) {
            self.health.wants_base.store(false, Ordering::Release);
            self.health.has_gap.store(false, Ordering::Release);
        }
    }

    /// What keeps the image from the disk, and since when.
    pub fn problem(&self) -> Option<(String, SystemTime)> {
        self.health.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Files that were damaged when the journal was opened.
    pub fn passed_over(&self) -> Vec<(String, SystemTime)> {
        self.health.passed_over.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until everything taken so far is on the disk, or for `timeout`; false: it took longer.
    pub fn flush(&self, timeout: Duration) -> bool {
        let (sender, done) = mpsc::sync_channel(1);
        let Some(queue) = &self.sender else { return false };
        let mut message = Message::Flush(sender);
        let deadline = std::time::Instant::now() + timeout;
        while let Err(mpsc::TrySendError::Full(again)) = queue.try_send(message) {
            if std::time::Instant::now() >= deadline {
                return false;
            }
            message = again;
            std::thread::sleep(Duration::from_millis(5));
        }
        done.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now())).is_ok()
    }

    fn send(&self, message: Message) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.try_send(message).is_ok())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let is_written = self.flush(Duration::from_secs(1));
        self.sender = None;
        // A disk that hangs must not hang the process.
        if let Some(thread) = self.thread.take().filter(|_| is_written) {
            let _ = thread.join();
        }
    }
}

fn spawn(writer: writer::Writer, receiver: Receiver<Message>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("journal".into()).spawn(move || writer.run(&receiver))
}

/// Holds `<dir>/lock`, which has the process id in it. Where the directory cannot be written, an existing lock file is
/// enough, and none is better than no service.
fn lock(dir: &Path) -> Result<Option<File>, JournalError> {
    let path = dir.join("lock");
    let writable =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let is_writable = writable.is_ok();
    let Ok(file) = writable.or_else(|_| File::open(&path)) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let read = file.take(32).read_to_string(&mut pid);
            let pid = read.ok().map(|_| pid.trim().to_owned()).filter(|pid| !pid.is_empty());
            return Err(JournalError::Locked { dir: dir.to_path_buf(), pid });
        }
        // File systems without locks exist.
        Err(TryLockError::Error(error)) => {
            tracing::warn!(path = %path.display(), %error, "the data directory cannot be locked");
            return Ok(None);
        }
    }
    if is_writable {
        note_owner(&file);
    }
    Ok(Some(file))
}

/// Writes this process's id into the lock.
fn note_owner(mut lock: &File) {
    let written =
        lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
    if let Err(error) = written {
        tracing::warn!(%error, "the process id cannot be noted in the data directory");
    }
}
