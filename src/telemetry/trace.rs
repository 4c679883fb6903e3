//! Traces: records of requests for syslog, files or the standard output, written by one thread of their own.
//!
//! A request never waits for them. What cannot be written, or comes faster than it can be, is dropped and counted.

use super::rfc3339;
use crate::model::{SyslogPlace, TraceAddress, TraceTarget};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Records that may wait for the writer.
pub const TRACES_QUEUED_MAX: usize = 1024;
/// Longest record, in bytes; what a datagram can carry.
pub const TRACE_BYTES_MAX: usize = 32 * 1024;

/// Places that are kept open at once.
const SINKS_MAX: usize = 64;
/// A place is opened anew after so long: files may have been moved away, daemons restarted, names changed.
const OPEN_MAX: Duration = Duration::from_secs(1);
/// Where a machine's own syslog listens.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// vulcand's tag.
const TAG: &str = "pid";

struct Record {
    to: Arc<TraceAddress>,
    text: String,
}

/// The traces of a process. The writing thread begins with the first record, and ends with this.
pub struct Traces {
    dir: Option<PathBuf>,
    sender: OnceLock<Option<SyncSender<Record>>>,
    dropped: Arc<AtomicU64>,
}

/// Where a trace's file lies.
///
/// # Errors
/// Why there cannot be one, in words for whoever named it.
pub fn trace_file(dir: Option<&Path>, path: &Path) -> Result<PathBuf, String> {
    let Some(dir) = dir else {
        return Err("names a file, and there is no directory for traces; name it with --trace-dir".into());
    };
    let inside =
        path.strip_prefix(dir).map_err(|_| format!("names a file that is not below {}", dir.display()))?;
    let root = dir.canonicalize().map_err(|error| format!("cannot be used: {}: {error}", dir.display()))?;
    let file = root.join(inside);
    let parent = file.parent().unwrap_or(&root);
    // Symbolic links must not lead out of it.
    let parent =
        parent.canonicalize().map_err(|error| format!("cannot be used: {}: {error}", parent.display()))?;
    let is_link = std::fs::symlink_metadata(&file).is_ok_and(|there| there.is_symlink());
    match file.file_name() {
        Some(name) if parent.starts_with(&root) && !is_link => Ok(parent.join(name)),
        _ => Err(format!("names a file that is not below {}", dir.display())),
    }
}

impl Traces {
    /// Files lie below `dir` only; without it there are none.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, sender: OnceLock::new(), dropped: Arc::default() }
    }

    /// Hands over one record, a text of one line. Never waits.
    pub fn record(&self, to: &Arc<TraceAddress>, text: String) {
        let sender = self.sender.get_or_init(|| self.start());
        let taken = text.len() <= TRACE_BYTES_MAX
            && sender.as_ref().is_some_and(|sender| sender.try_send(Record { to: to.clone(), text }).is_ok());
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that were not kept.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn start(&self) -> Option<SyncSender<Record>> {
        let (sender, records) = sync_channel(TRACES_QUEUED_MAX);
        let writer = Writer { dir: self.dir.clone(), dropped: self.dropped.clone(), sinks: HashMap::new() };
        let started = std::thread::Builder::new().name("traces".into()).spawn(move || writer.run(&records));
        match started {
            Ok(_) => Some(sender),
            Err(error) => {
                tracing::error!(%error, "traces cannot be written");
                None
            }
        }
    }
}

struct Writer {
    dir: Option<PathBuf>,
    dropped: Arc<AtomicU64>,
    sinks: HashMap<Arc<TraceAddress>, Sink>,
}

struct Sink {
    /// None where it could not be opened.
    open: Option<Open>,
    since: Instant,
    failing: bool,
}

enum Open {
    Udp(UdpSocket),
    Socket(UnixDatagram),
    File(File),
    Stdout,
}

impl Writer {
    fn run(mut self, records: &Receiver<Record>) {
        while let Ok(record) = records.recv() {
            let now = Instant::now();
            if self.sinks.len() >= SINKS_MAX && !self.sinks.contains_key(&record.to) {
                self.sinks.clear();
            }
            let dir = self.dir.as_deref();
            let sink = self.sinks.entry(record.to.clone()).or_insert_with(|| Sink {
                open: None,
                since: now.checked_sub(2 * OPEN_MAX).unwrap_or(now),
                failing: false,
            });
            if let Err(error) = sink.write(&record, dir, now) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                if !sink.failing {
                    let to = record.to.text();
                    tracing::warn!(to, %error, "traces cannot be written; they are dropped until they can");
                }
                sink.failing = true;
            } else {
                sink.failing = false;
            }
        }
    }
}

impl Sink {
    fn write(&mut self, record: &Record, dir: Option<&Path>, now: Instant) -> io::Result<()> {
        if now.duration_since(self.since) >= OPEN_MAX {
            self.since = now;
            self.open = None;
            self.open = Some(open(&record.to.target, dir)?);
        }
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotConnected.into()) };
        let written = match (open, &record.to.target) {
            (Open::Udp(socket), TraceTarget::Syslog { priority, prefix, .. }) => {
                // Go's syslog, and so vulcand, has another time in datagrams than on sockets.
                let head = format!("<{priority}>{} {} ", rfc3339(SystemTime::now()), host());
                let text = format!("{head}{TAG}[{}]: {prefix}{}\n", std::process::id(), record.text);
                socket.send(text.as_bytes()).map(drop)
            }
            (Open::Socket(socket), TraceTarget::Syslog { priority, prefix, .. }) => {
                let head = format!("<{priority}>{} ", timestamp(SystemTime::now()));
                let text = format!("{head}{TAG}[{}]: {prefix}{}\n", std::process::id(), record.text);
                socket.send(text.as_bytes()).map(drop)
            }
            (Open::File(file), _) => file.write_all(format!("{}\n", record.text).as_bytes()),
            (Open::Stdout, _) => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(format!("{}\n", record.text).as_bytes()).and_then(|()| stdout.flush())
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        };
        if written.is_err() {
            self.open = None;
        }
        written
    }
}

fn open(target: &TraceTarget, dir: Option<&Path>) -> io::Result<Open> {
    let datagrams = |path: &Path| {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        // A daemon that does not read must not hold up the traces of others.
        socket.set_nonblocking(true)?;
        Ok(Open::Socket(socket))
    };
    match target {
        TraceTarget::Stdout => Ok(Open::Stdout),
        TraceTarget::File(path) => {
            let path = trace_file(dir, path).map_err(io::Error::other)?;
            OpenOptions::new().append(true).create(true).open(path).map(Open::File)
        }
        TraceTarget::Syslog { to: SyslogPlace::Socket(path), .. } => datagrams(path),
        TraceTarget::Syslog { to: SyslogPlace::Local, .. } => {
            let there = LOCAL.iter().map(Path::new).find_map(|path| datagrams(path).ok());
            there.ok_or_else(|| io::Error::other("no syslog listens on this machine"))
        }
        TraceTarget::Syslog { to: SyslogPlace::Udp(address), .. } => {
            use std::net::ToSocketAddrs;
            let to = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            Ok(Open::Udp(socket))
        }
    }
}

/// `Nov  5 07:08:09`, in UTC (RFC 3164 section 4.1.2 has the machine's zone, which is UTC in containers).
fn timestamp(time: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's days-to-civil, for years from 1970 on.
    let day = days + 719_468;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * shifted + 2) / 5 + 1;
    let month = MONTHS.get(((shifted + 2) % 12) as usize).copied().unwrap_or_default();
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{month} {of_month:>2} {hour:02}:{minute:02}:{second:02}")
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() || name.contains(char::is_whitespace) { "-".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_syslog_has_them() {
        for (seconds, expected) in [
            (0, "Jan  1 00:00:00"),
            (951_782_399, "Feb 28 23:59:59"),
            (951_868_800, "Mar  1 00:00:00"),
            (1_709_164_800, "Feb 29 00:00:00"),
            (1_762_326_489, "Nov  5 07:08:09"),
            (1_767_225_599, "Dec 31 23:59:59"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn files_lie_below_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("in/below")).unwrap();
        std::fs::create_dir(root.join("out")).unwrap();
        std::os::unix::fs::symlink(root.join("out"), root.join("in/link")).unwrap();
        let inside = root.join("in");
        let file = |path: &str| trace_file(Some(&inside), &root.join(path));
        assert!(file("in/a.log").is_ok() && file("in/below/a.log").is_ok());
        std::os::unix::fs::symlink(root.join("out/a.log"), root.join("in/file")).unwrap();
        for outside in ["out/a.log", "in/link/a.log", "in/file", "in/absent/a.log", "a.log", "in"] {
            assert!(file(outside).is_err(), "{outside}");
        }
        assert!(trace_file(None, &root.join("in/a.log")).unwrap_err().contains("--trace-dir"));
    }
}
