//! The files below a root, read so that what was read was there at one moment.

use super::yaml;
use crate::store::check::unreadable_value;
use aws_lc_rs::digest::{Context, SHA256, digest};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Largest file that is read as an object, in bytes.
pub(super) const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Deepest directory below the root; links may make circles.
const DEPTH_MAX: usize = 8;
/// Most files below a root.
const FILES_MAX: usize = 500_000;
/// Times that a read is repeated because files changed meanwhile.
const READS_MAX: usize = 100;
const READ_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// A file changed so recently may change again without a new time stamp.
const STAMP_UNSURE: Duration = Duration::from_millis(200);
/// Endings of files that are objects.
pub(super) const ENDINGS: [&str; 3] = ["json", "yaml", "yml"];

/// One key's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// More than one if several files claim the key.
    pub(super) paths: Vec<PathBuf>,
    stamps: Vec<Stamp>,
    /// Hash of the bytes, never 0.
    pub(super) version: u64,
    /// JSON.
    pub(super) value: Bytes,
}

/// What tells that a file changed without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
}

type Walked = BTreeMap<Box<str>, Vec<(PathBuf, Stamp)>>;

/// All objects below a root, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    files: BTreeMap<Box<str>, File>,
    /// When it was read, since 1970.
    read_ns: i128,
}

impl Files {
    pub(super) fn get(&self, key: &str) -> Option<&File> {
        self.files.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Box<str>, &File)> {
        self.files.iter()
    }

    /// A hash of all keys and versions.
    pub(super) fn digest(&self) -> String {
        let mut context = Context::new(&SHA256);
        for (key, file) in &self.files {
            context.update(key.as_bytes());
            context.update(&[0]);
            context.update(&file.version.to_be_bytes());
        }
        first_64(context.finish().as_ref()).to_string()
    }

    /// Reads everything below `root`; contents that cannot have changed are taken from `before`. A read during which
    /// files change is repeated.
    pub(super) fn read(root: &Path, before: &Self) -> io::Result<Self> {
        let read_ns = now_ns();
        let mut walked = walk(root)?;
        if before.are(&walked) {
            return Ok(Self { files: before.files.clone(), read_ns });
        }
        for _ in 0..READS_MAX {
            let read_ns = now_ns();
            let files: BTreeMap<_, _> = walked
                .iter()
                .map(|(key, found)| (key.clone(), file(found, before.get(key), before.read_ns)))
                .collect();
            let again = walk(root)?;
            if again == walked {
                return Ok(Self { files, read_ns });
            }
            walked = again;
            std::thread::sleep(READ_AGAIN_AFTER);
        }
        Err(io::Error::other("its files change all the time"))
    }

    /// Whether the files look as they did when this was read; cheap, and not certain.
    pub(super) fn looks_same(&self, root: &Path) -> bool {
        match walk(root) {
            Ok(walked) => self.are(&walked),
            Err(_) => self.files.is_empty(),
        }
    }

    /// Whether these stamps can only be those of what was read.
    fn are(&self, walked: &Walked) -> bool {
        let same = |file: &File, found: &[(PathBuf, Stamp)]| {
            file.stamps.len() == found.len()
                && file.paths.iter().zip(&file.stamps).zip(found).all(|((path, stamp), (now_path, now))| {
                    path == now_path && stamp == now && stamp.is_sure(self.read_ns)
                })
        };
        walked.len() == self.files.len()
            && walked.iter().all(|(key, found)| self.files.get(key).is_some_and(|file| same(file, found)))
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a change after `read_ns` must show in the stamp.
    fn is_sure(&self, read_ns: i128) -> bool {
        let unsure = i128::try_from(STAMP_UNSURE.as_nanos()).unwrap_or(i128::MAX);
        read_ns.saturating_sub(self.changed_ns.max(self.modified_ns)) > unsure
    }
}

fn now_ns() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

/// The key of a file by its path below the root.
pub(super) fn key_of(below: &Path) -> Option<String> {
    let below = below.to_str()?;
    let (key, ending) = below.rsplit_once('.')?;
    let key_like = ENDINGS.contains(&ending) && !key.is_empty() && !key.ends_with('/');
    (key_like && !below.split('/').any(|part| part.starts_with('.'))).then(|| key.to_owned())
}

/// All files below `root` that are objects, with their stamps. Links are followed.
fn walk(root: &Path) -> io::Result<Walked> {
    let mut walked = Walked::new();
    let mut open = vec![(root.to_owned(), 0)];
    let mut count = 0;
    while let Some((dir, depth)) = open.pop() {
        let entries = match fs::read_dir(&dir) {
            // A directory that went while we walked; the walk after the read finds out.
            Err(error) if depth > 0 && error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for found in entries {
            let found = found?;
            if found.file_name().as_encoded_bytes().first() == Some(&b'.') {
                continue;
            }
            let path = found.path();
            // Of the link's target; a link that leads nowhere is nothing.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_dir() {
                if depth < DEPTH_MAX {
                    open.push((path, depth + 1));
                }
                continue;
            }
            let Some(key) = path.strip_prefix(root).ok().and_then(key_of) else { continue };
            count += 1;
            if count > FILES_MAX {
                return Err(io::Error::other(format!("it has more than {FILES_MAX} files")));
            }
            walked.entry(key.into()).or_default().push((path, Stamp::of(&metadata)));
        }
    }
    walked.values_mut().for_each(|found| found.sort_by(|(a, _), (b, _)| a.cmp(b)));
    Ok(walked)
}

fn file(found: &[(PathBuf, Stamp)], before: Option<&File>, read_ns: i128) -> File {
    let stamps: Vec<Stamp> = found.iter().map(|(_, stamp)| *stamp).collect();
    let paths: Vec<PathBuf> = found.iter().map(|(path, _)| path.clone()).collect();
    if let Some(before) = before
        && before.stamps == stamps
        && before.paths == paths
        && stamps.iter().all(|stamp| stamp.is_sure(read_ns))
    {
        return before.clone();
    }
    let mut context = Context::new(&SHA256);
    let mut value = Err(String::new());
    for (path, stamp) in found {
        let bytes = match fs::read(path) {
            _ if stamp.bytes > FILE_BYTES_MAX as u64 => {
                Err(format!("the file has more than {FILE_BYTES_MAX} bytes"))
            }
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(format!("the file cannot be read: {error}")),
        };
        match &bytes {
            Ok(bytes) => context.update(bytes),
            Err(reason) => context.update(reason.as_bytes()),
        }
        value = bytes.and_then(|bytes| json(path, bytes));
    }
    if found.len() > 1 {
        let names: Vec<_> =
            paths.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy()).collect();
        value = Err(format!("several files claim this key: {}; remove all but one", names.join(", ")));
    }
    let version = first_64(context.finish().as_ref());
    let value = value.unwrap_or_else(|reason| unreadable_value(&reason));
    File { paths, stamps, version, value }
}

/// JSON goes through as it is, broken or not: the reader of objects says where it is broken.
fn json(path: &Path, bytes: Vec<u8>) -> Result<Bytes, String> {
    if path.extension().is_some_and(|ending| ending == "json") {
        return Ok(bytes.into());
    }
    let text = String::from_utf8(bytes).map_err(|_| "broken YAML: the file is not UTF-8".to_owned())?;
    yaml::to_json(&text).map(Bytes::from)
}

/// First 8 bytes of a hash, never 0.
fn first_64(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte)).max(1)
}

/// The version of a file with these bytes.
pub(super) fn version(bytes: &[u8]) -> u64 {
    first_64(digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_shows_even_with_its_time_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        fs::write(&path, "1").unwrap();
        let old = SystemTime::now() - Duration::from_secs(60);
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let mut read = Files::read(dir.path(), &Files::default()).unwrap();
        assert!(!read.looks_same(dir.path()), "so young a file may change unseen");
        // As if it had been read later.
        read.read_ns += 1_000_000_000;
        assert!(read.looks_same(dir.path()));
        fs::write(&path, "2").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert!(!read.looks_same(dir.path()));
        let again = Files::read(dir.path(), &read).unwrap();
        assert_eq!(again.get("a").map(|file| &*file.value), Some(&b"2"[..]));
        assert_ne!(again.digest(), read.digest());
        fs::write(dir.path().join("b.json"), "1").unwrap();
        assert!(!again.looks_same(dir.path()));
    }
}
