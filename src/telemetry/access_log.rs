//! The access log: lines are formatted on the worker into a buffer of its own and written by one thread.
//!
//! A request never waits for it. When the writer cannot follow, whole buffers are dropped and their lines counted.

use super::panics::{PanicIn, Restarts};
use super::record::{AccessRecord, LineWriter};
use crate::model::{AccessLogFormat, AccessLogTarget};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A worker's buffer goes to the writer when it holds this much.
pub const BUFFER_BYTES: usize = 32 * 1024;

/// How often a worker should call [`AccessLogBuffer::tick`].
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// Buffers that may wait for the writer, over all workers: 4 MiB.
pub const QUEUED_BUFFERS_MAX: usize = 128;

enum Message {
    Lines {
        bytes: Vec<u8>,
        lines: u64,
    },
    /// Look at `reopen`.
    Wake,
    Finish,
}

struct Shared {
    dropped: AtomicU64,
    reopen: AtomicBool,
    /// Empty buffers on their way back to workers.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Shared {
    fn lost(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < QUEUED_BUFFERS_MAX && buffer.capacity() <= 4 * BUFFER_BYTES {
            spare.push(buffer);
        }
    }

    /// Never waits: a worker that meets the lock makes a new buffer.
    fn take_spare(&self) -> Vec<u8> {
        let spare = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        spare.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES + 4096))
    }
}

/// The access log of a process. Make a [`buffer`](Self::buffer) for every worker; [`close`](Self::close) it last.
pub struct AccessLog {
    format: AccessLogFormat,
    shared: Arc<Shared>,
    /// None: off.
    writer: Option<Writer>,
}

struct Writer {
    sender: SyncSender<Message>,
    ended: Receiver<()>,
}

impl AccessLog {
    /// The count of lines that could not be kept.
    pub fn dropped_counter(&self) -> DroppedLines {
        DroppedLines(Arc::clone(&self.shared))
    }

    /// Opens the target and starts the writing thread.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread can be started.
    pub fn start(target: &AccessLogTarget, format: AccessLogFormat) -> io::Result<Self> {
        let sink = match target {
            AccessLogTarget::Off => return Ok(Self::off()),
            AccessLogTarget::Stdout => Sink::Stdout(io::stdout()),
            AccessLogTarget::File(path) => Sink::File(open(path)?, path.clone()),
        };
        Self::with_sink(sink, format)
    }

    /// Keeps nothing.
    pub fn off() -> Self {
        let shared = Shared { dropped: 0.into(), reopen: false.into(), spare: Mutex::default() };
        Self { format: AccessLogFormat::Json, shared: Arc::new(shared), writer: None }
    }

    fn with_sink(sink: Sink, format: AccessLogFormat) -> io::Result<Self> {
        let (sender, messages) = sync_channel(QUEUED_BUFFERS_MAX);
        let (ending, ended) = sync_channel(1);
        let log = Self { format, writer: Some(Writer { sender, ended }), ..Self::off() };
        let shared = Arc::clone(&log.shared);
        thread::Builder::new().name("access-log".into()).spawn(move || {
            let (mut sink, mut restarts) = (sink, Restarts::of(PanicIn::AccessLog));
            let mut run = || catch_unwind(AssertUnwindSafe(|| write_all(&mut sink, &messages, &shared)));
            while run().is_err() {
                thread::sleep(restarts.after_panic());
            }
            let _ = ending.send(());
        })?;
        Ok(log)
    }

    /// A worker's side.
    pub fn buffer(&self) -> AccessLogBuffer {
        AccessLogBuffer {
            format: self.format,
            sender: self.writer.as_ref().map(|writer| writer.sender.clone()),
            shared: Arc::clone(&self.shared),
            line: LineWriter::default(),
            bytes: Vec::new(),
            lines: 0,
        }
    }

    /// Opens a file target anew, for log rotation. Never waits; what was queued before may go to the new file.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
        if let Some(writer) = &self.writer {
            // A full queue wakes the writer as well.
            let _ = writer.sender.try_send(Message::Wake);
        }
    }

    /// Lines that were not kept, since the start.
    pub fn dropped_lines(&self) -> u64 {
        self.dropped_counter().get()
    }

    /// Writes what buffers handed over so far and ends the writer. Drop the buffers first: what they still hold they
    /// hand over then. Blocks up to `patience`; true if all was written.
    pub fn close(self, patience: Duration) -> bool {
        let Some(writer) = self.writer else { return true };
        let deadline = std::time::Instant::now() + patience;
        let mut message = Message::Finish;
        while let Err(refused) = writer.sender.try_send(message) {
            message = match refused {
                TrySendError::Full(message) if std::time::Instant::now() < deadline => message,
                _ => return false,
            };
            thread::sleep(Duration::from_millis(1));
        }
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        writer.ended.recv_timeout(left).is_ok()
    }
}

/// Counts the lines that the log could not keep; lives on with the log's name gone.
#[derive(Clone)]
pub struct DroppedLines(Arc<Shared>);

impl DroppedLines {
    /// Lines so far.
    pub fn get(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

/// A worker's part of the access log. Hands over what it holds when dropped.
pub struct AccessLogBuffer {
    format: AccessLogFormat,
    sender: Option<SyncSender<Message>>,
    shared: Arc<Shared>,
    line: LineWriter,
    bytes: Vec<u8>,
    lines: u64,
}

impl AccessLogBuffer {
    /// Whether records are kept; false lets the caller skip gathering them.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.sender.is_some()
    }

    /// Formats one line; hands the buffer over when it is full. Never waits.
    #[inline]
    pub fn record(&mut self, record: &AccessRecord<'_>) {
        if self.sender.is_none() {
            return;
        }
        match self.format {
            AccessLogFormat::Json => self.line.json(&mut self.bytes, record),
            AccessLogFormat::Text => self.line.text(&mut self.bytes, record),
        }
        self.lines += 1;
        if self.bytes.len() >= BUFFER_BYTES {
            self.hand_over();
        }
    }

    /// Hands over what is there. To be called every [`FLUSH_INTERVAL`].
    pub fn tick(&mut self) {
        if self.lines > 0 {
            self.hand_over();
        }
    }

    #[cold]
    fn hand_over(&mut self) {
        let Some(sender) = &self.sender else { return };
        let lines = std::mem::take(&mut self.lines);
        let bytes = std::mem::replace(&mut self.bytes, self.shared.take_spare());
        if let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) =
            sender.try_send(Message::Lines { bytes, lines })
        {
            self.shared.lost(lines);
            if let Message::Lines { mut bytes, .. } = message {
                bytes.clear();
                self.bytes = bytes;
            }
        }
    }
}

impl Drop for AccessLogBuffer {
    fn drop(&mut self) {
        self.tick();
    }
}

enum Sink {
    Stdout(io::Stdout),
    File(File, PathBuf),
    #[cfg(test)]
    Test(Box<dyn Write + Send>),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::File(file, _) => file.write_all(bytes),
            #[cfg(test)]
            Self::Test(writer) => writer.write_all(bytes),
        }
    }

    /// Keeps the file that is open when the new one cannot be.
    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File(file, path) = self {
            *file = open(path)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The writing thread's life.
fn write_all(sink: &mut Sink, messages: &Receiver<Message>, shared: &Shared) {
    let mut failing = false;
    loop {
        let message = match messages.recv_timeout(Duration::from_secs(1)) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if shared.reopen.swap(false, Ordering::Relaxed)
            && let Err(error) = sink.reopen()
        {
            tracing::error!(%error, "the access log's file cannot be opened anew; the old one stays open");
        }
        match message {
            Some(Message::Lines { bytes, lines }) => {
                PanicIn::AccessLog.trip();
                let result = sink.write(&bytes);
                if let Err(error) = &result {
                    shared.lost(lines);
                    if !failing {
                        tracing::error!(%error, "the access log cannot be written; lines are dropped until it can");
                    }
                }
                failing = result.is_err();
                shared.give_back(bytes);
            }
            Some(Message::Finish) => return,
            Some(Message::Wake) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Takes one permit for each write, or fails when there is an error to give.
    struct Gated {
        permits: Receiver<Option<io::ErrorKind>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Ok(Some(kind)) = self.permits.recv() {
                return Err(kind.into());
            }
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (AccessLog, Sender<Option<io::ErrorKind>>, Receiver<Vec<u8>>) {
        let (permit, permits) = channel();
        let (written, lines) = channel();
        let sink = Sink::Test(Box::new(Gated { permits, written }));
        (AccessLog::with_sink(sink, AccessLogFormat::Json).unwrap(), permit, lines)
    }

    fn line_count(bytes: &[u8]) -> usize {
        bytes.iter().filter(|byte| **byte == b'\n').count()
    }

    #[test]
    fn off_keeps_nothing() {
        let log = AccessLog::start(&AccessLogTarget::Off, AccessLogFormat::Json).unwrap();
        let mut buffer = log.buffer();
        assert!(!buffer.is_on());
        buffer.record(&sample());
        drop(buffer);
        assert_eq!(log.dropped_lines(), 0);
        assert!(log.close(PATIENCE));
    }

    #[test]
    fn lines_go_out_on_a_tick_when_full_and_at_the_end() {
        let (log, permit, written) = gated();
        (0..10).for_each(|_| permit.send(None).unwrap());
        let mut buffer = log.buffer();
        buffer.tick();
        buffer.record(&sample());
        buffer.tick();
        assert_eq!(line_count(&written.recv_timeout(PATIENCE).unwrap()), 1);
        let mut lines = 0;
        let full = loop {
            buffer.record(&sample());
            lines += 1;
            if let Ok(bytes) = written.try_recv() {
                break bytes;
            }
            assert!(lines < 100_000, "no buffer came");
        };
        assert!(full.len() >= BUFFER_BYTES && full.len() < BUFFER_BYTES + 1024, "{}", full.len());
        drop(buffer);
        drop(permit);
        assert!(log.close(PATIENCE));
        let rest: usize = written.try_iter().map(|bytes| line_count(&bytes)).sum();
        assert_eq!(line_count(&full) + rest, lines);
    }

    #[test]
    fn a_stuck_writer_costs_lines_and_never_time() {
        let (log, permit, written) = gated();
        let mut buffer = log.buffer();
        let sent = QUEUED_BUFFERS_MAX as u64 + 50;
        for _ in 0..sent {
            buffer.record(&sample());
            buffer.tick();
        }
        let dropped = log.dropped_lines();
        // One buffer is in the writer's hands.
        assert!((49..=50).contains(&dropped), "{dropped}");
        drop(buffer);
        (0..sent).for_each(|_| permit.send(None).unwrap());
        assert!(log.close(PATIENCE));
        assert_eq!(written.try_iter().map(|bytes| line_count(&bytes) as u64).sum::<u64>(), sent - dropped);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (log, permit, written) = gated();
        let mut buffer = log.buffer();
        permit.send(Some(io::ErrorKind::StorageFull)).unwrap();
        permit.send(None).unwrap();
        buffer.record(&sample());
        buffer.record(&sample());
        buffer.tick();
        buffer.record(&sample());
        buffer.tick();
        assert_eq!(line_count(&written.recv_timeout(PATIENCE).unwrap()), 1);
        assert_eq!(log.dropped_lines(), 2);
        drop(buffer);
        assert!(log.close(PATIENCE));
    }

    #[test]
    fn a_file_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
        let log = AccessLog::start(&AccessLogTarget::File(path.clone()), AccessLogFormat::Text).unwrap();
        let mut buffer = log.buffer();
        buffer.record(&sample());
        buffer.tick();
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        buffer.record(&sample());
        drop(buffer);
        assert!(log.close(PATIENCE));
        let lines = |path: &Path| line_count(&std::fs::read(path).unwrap());
        assert_eq!(lines(&path) + lines(&moved), 2);
        assert!(lines(&path) >= 1);
        let missing = AccessLogTarget::File(directory.path().join("none/access.log"));
        assert!(AccessLog::start(&missing, AccessLogFormat::Text).is_err());
    }
}
