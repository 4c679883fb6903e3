//! The files of a data directory: which generations there are, and what they hold.

use super::codec::{FRAME_HEAD_BYTES, FileKind, Payload, read_frame_head, read_payload};
use crate::control::image::{Record, Restored};
use crate::model::{ObjectKey, Revision};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Generations that stay on disk.
pub(super) const GENERATIONS_MAX: usize = 2;

/// Where a generation's file lies.
pub(super) fn path(dir: &Path, generation: u64, kind: FileKind) -> PathBuf {
    let end = match kind {
        FileKind::Base => "base",
        FileKind::Journal => "journal",
    };
    dir.join(format!("image-{generation:010}.{end}"))
}

/// Generations that have a base, newest first.
pub(super) fn generations(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let generation: Option<u64> =
            name.to_str().and_then(|name| name.strip_prefix("image-")?.strip_suffix(".base")?.parse().ok());
        found.extend(generation);
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Removes all but the newest generations, and what an interrupted write left.
pub(super) fn prune(dir: &Path) -> io::Result<()> {
    let kept: Vec<u64> = generations(dir)?.into_iter().take(GENERATIONS_MAX).collect();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix("image-")) else { continue };
        let generation: Option<u64> = rest.split('.').next().and_then(|number| number.parse().ok());
        if rest.ends_with(".new") || generation.is_some_and(|generation| !kept.contains(&generation)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What a data directory holds.
#[derive(Default)]
pub(super) struct Found {
    /// The newest image that is whole, and its generation.
    pub(super) image: Option<(u64, Restored)>,
    /// What was passed over: each line names a file and an offset.
    pub(super) passed: Vec<String>,
    /// Bases that can never be used.
    pub(super) damaged: Vec<PathBuf>,
}

/// Looks for the newest image that is whole.
pub(super) fn restore(dir: &Path) -> Found {
    let mut found = Found::default();
    let generations = match generations(dir) {
        Ok(generations) => generations,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return found,
        Err(error) => {
            found.passed.push(format!("the data directory {} cannot be read: {error}", dir.display()));
            return found;
        }
    };
    for generation in generations {
        let mut image = State::default();
        let base = path(dir, generation, FileKind::Base);
        if let Err(damage) = image.read(&base, generation, FileKind::Base) {
            found.passed.push(format!("{} is passed over: {damage}", base.display()));
            if !matches!(damage, Damage::Unreadable(..)) {
                found.damaged.push(base);
            }
            continue;
        }
        let journal = path(dir, generation, FileKind::Journal);
        if journal.exists()
            && let Err(damage) = image.read(&journal, generation, FileKind::Journal)
        {
            found.passed.push(format!(
                "{} is used up to revision {}: {damage}",
                journal.display(),
                image.revision
            ));
        }
        let records = image.objects.into_iter().collect();
        found.image = Some((generation, Restored { revision: image.revision, records }));
        break;
    }
    found
}

/// Why a file ends early.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("it is damaged at byte {0}")]
    At(u64),
    #[error("it ends within a revision, at byte {0}")]
    Torn(u64),
    #[error("it cannot be read at byte {0}: {1}")]
    Unreadable(u64, io::Error),
}

#[derive(Default)]
struct State {
    revision: Revision,
    objects: BTreeMap<ObjectKey, crate::control::image::Kept>,
}

impl State {
    /// Takes every whole revision of a file. An error says that there was more; what was taken stands.
    fn read(&mut self, path: &Path, generation: u64, kind: FileKind) -> Result<(), Damage> {
        let file = File::open(path).map_err(|error| Damage::Unreadable(0, error))?;
        let mut frames =
            Frames { file: BufReader::with_capacity(64 * 1024, file), offset: 0, payload: Vec::new() };
        match frames.next()? {
            Some(Payload::Header { generation: found, kind: of }) if found == generation && of == kind => {}
            _ => return Err(Damage::At(0)),
        }
        let mut pending: Vec<Record> = Vec::new();
        let mut commits = 0_u32;
        loop {
            let start = frames.offset;
            match frames.next()? {
                Some(Payload::Record(record)) => pending.push(record),
                Some(Payload::Commit { revision, frames })
                    if usize::try_from(frames) == Ok(pending.len()) =>
                {
                    for Record { key, kept } in pending.drain(..) {
                        match kept {
                            Some(kept) => self.objects.insert(key, kept),
                            None => self.objects.remove(&key),
                        };
                    }
                    self.revision = revision;
                    commits = commits.saturating_add(1);
                }
                Some(_) => return Err(Damage::At(start)),
                // A base is one revision; without its commit it is nothing.
                None if !pending.is_empty() || (kind == FileKind::Base && commits == 0) => {
                    return Err(Damage::Torn(start));
                }
                None => return Ok(()),
            }
        }
    }
}

struct Frames<R> {
    file: R,
    offset: u64,
    payload: Vec<u8>,
}

impl<R: Read> Frames<R> {
    /// The next frame; `None` exactly at the end.
    fn next(&mut self) -> Result<Option<Payload>, Damage> {
        let start = self.offset;
        let mut head = [0; FRAME_HEAD_BYTES];
        match self.fill(&mut head, start)? {
            0 => return Ok(None),
            FRAME_HEAD_BYTES => {}
            _ => return Err(Damage::Torn(start)),
        }
        let (length, sum) = read_frame_head(head).ok_or(Damage::At(start))?;
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        payload.resize(length, 0);
        if self.fill(&mut payload, start)? != length {
            return Err(Damage::Torn(start));
        }
        let read = read_payload(&payload, sum).ok_or(Damage::At(start))?;
        self.payload = payload;
        Ok(Some(read))
    }

    fn fill(&mut self, buffer: &mut [u8], start: u64) -> Result<usize, Damage> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read(rest) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Damage::Unreadable(start, error)),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }
}
