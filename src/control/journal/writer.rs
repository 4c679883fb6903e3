//! The thread that writes: appends revisions, brings them to the disk, and starts new generations.

use super::codec::{FileKind, put_commit, put_header, put_record};
use super::{Health, Message, files};
use crate::control::image::{Kept, Record};
use crate::model::{ObjectKey, Revision};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// From the first write that is not on the disk until it is brought there; well below the promised second.
const SYNC_AFTER: Duration = Duration::from_millis(300);
/// After a failure, from one attempt at a new base to the next.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// A journal this long is never too long.
const JOURNAL_BYTES_MIN: u64 = 4 * 1024 * 1024;

pub(super) struct Writer {
    dir: PathBuf,
    generation: u64,
    health: Arc<Health>,
    open: Option<Open>,
    retry_at: Option<Instant>,
    buffer: Vec<u8>,
}

/// The journal that is being appended to.
struct Open {
    file: File,
    bytes: u64,
    base_bytes: u64,
    unsynced_since: Option<Instant>,
}

impl Writer {
    /// `generation` is the newest on disk.
    pub(super) fn new(dir: PathBuf, generation: u64, health: Arc<Health>) -> Self {
        Self { dir, generation, health, open: None, retry_at: None, buffer: Vec::new() }
    }

    /// Until every sender is gone; then everything is on the disk.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = match self.next_deadline() {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => messages.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(Message::Revision { revision, records }) => self.append(revision, &records),
                Ok(Message::Base { revision, records }) => self.start_generation(revision, records),
                Ok(Message::Flush(done)) => {
                    self.sync();
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.on_deadline(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.sync();
                    return;
                }
            }
            if self.next_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                self.on_deadline();
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let sync_at = self.open.as_ref().and_then(|open| open.unsynced_since).map(|since| since + SYNC_AFTER);
        sync_at.into_iter().chain(self.retry_at).min()
    }

    fn on_deadline(&mut self) {
        if self.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.retry_at = None;
            self.health.want_base();
        }
        if self
            .open
            .as_ref()
            .and_then(|open| open.unsynced_since)
            .is_some_and(|since| since.elapsed() >= SYNC_AFTER)
        {
            self.sync();
        }
    }

    fn append(&mut self, revision: Revision, records: &[Record]) {
        // Without an open journal a new base is on its way, which will hold this revision.
        let Some(open) = &mut self.open else { return };
        self.buffer.clear();
        for Record { key, kept } in records {
            put_record(&mut self.buffer, key, kept.as_ref());
        }
        put_commit(&mut self.buffer, revision, u32::try_from(records.len()).unwrap_or(u32::MAX));
        if let Err(error) = open.file.write_all(&self.buffer) {
            self.fail("written", &error);
            return;
        }
        open.bytes += self.buffer.len() as u64;
        open.unsynced_since.get_or_insert_with(Instant::now);
        if open.bytes > open.base_bytes.max(JOURNAL_BYTES_MIN) {
            self.health.want_base();
        }
        self.buffer.shrink_to(1024 * 1024);
    }

    fn sync(&mut self) {
        let Some(open) = self.open.as_mut().filter(|open| open.unsynced_since.is_some()) else { return };
        match open.file.sync_data() {
            Ok(()) => open.unsynced_since = None,
            Err(error) => self.fail("brought to the disk", &error),
        }
    }

    fn start_generation(&mut self, revision: Revision, records: Vec<(ObjectKey, Kept)>) {
        // What was appended before is superseded by the base, which is brought to the disk itself.
        self.open = None;
        self.retry_at = None;
        // Another process may have written since this one began: see `Journal::wake`.
        let newest = files::generations(&self.dir).ok().and_then(|all| all.first().copied());
        let generation = newest.unwrap_or(0).max(self.generation) + 1;
        match write_generation(&self.dir, generation, revision, records) {
            Ok(open) => {
                self.generation = generation;
                self.open = Some(open);
                self.health.well();
                if let Err(error) = files::prune(&self.dir) {
                    tracing::warn!(dir = %self.dir.display(), %error, "older generations of the image cannot be removed");
                }
            }
            Err(error) => {
                // Left over by a full disk, it would keep the disk full.
                let _ = std::fs::remove_file(new_path(&self.dir, generation));
                self.fail("written", &error);
            }
        }
    }

    fn fail(&mut self, what: &str, error: &io::Error) {
        self.open = None;
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        self.health.ill(format!(
            "the image in {} cannot be {what}: {error}; a restart without the store would serve an older table",
            self.dir.display()
        ));
    }
}

fn new_path(dir: &Path, generation: u64) -> PathBuf {
    files::path(dir, generation, FileKind::Base).with_extension("base.new")
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// A base appears whole or not at all.
fn write_generation(
    dir: &Path,
    generation: u64,
    revision: Revision,
    records: Vec<(ObjectKey, Kept)>,
) -> io::Result<Open> {
    let new = new_path(dir, generation);
    let mut out = BufWriter::with_capacity(256 * 1024, create(&new)?);
    let mut frame = Vec::new();
    let mut base_bytes = 0;
    put_header(&mut frame, generation, FileKind::Base);
    let frames = u32::try_from(records.len()).unwrap_or(u32::MAX);
    for (key, kept) in records {
        put_record(&mut frame, &key, Some(&kept));
        if frame.len() >= 64 * 1024 {
            out.write_all(&frame)?;
            base_bytes += frame.len() as u64;
            frame.clear();
        }
    }
    put_commit(&mut frame, revision, frames);
    out.write_all(&frame)?;
    base_bytes += frame.len() as u64;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;

    // The journal comes first: a base never stands beside the journal of an earlier attempt.
    let mut file = create(&files::path(dir, generation, FileKind::Journal))?;
    frame.clear();
    put_header(&mut frame, generation, FileKind::Journal);
    file.write_all(&frame)?;
    std::fs::rename(&new, files::path(dir, generation, FileKind::Base))?;
    File::open(dir)?.sync_all()?;
    Ok(Open { file, bytes: frame.len() as u64, base_bytes, unsynced_since: Some(Instant::now()) })
}
