//! The bytes on disk, of base files and journals alike; pure.
//!
//! ```text
//! file    = frame of a header, then frames
//! frame   = length of the payload (u32), CRC-32 of the payload (u32), payload
//! payload = 0 header:  "flipgate image 1", generation (u64), what the file is (u8)
//!         | 1 put:     key, state
//!         | 2 removal: key
//!         | 3 commit:  revision (u64), number of frames since the last commit (u32)
//! ```
//!
//! Numbers are little-endian, keys and values are preceded by their length (u32). What follows the last commit does not
//! count, so that a torn end drops whole revisions only. An empty payload is damage: it is what a hole reads as.

use super::super::image::{GhostKind, Kept, Record, Stored};
use crate::model::{InForce, ObjectKey, Revision};
use std::sync::Arc;

const MAGIC: &[u8] = b"flipgate image 1";
/// Far above what a store takes as a value, twice.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Length and sum.
pub(super) const FRAME_HEAD_BYTES: usize = 8;

const HEADER: u8 = 0;
const PUT: u8 = 1;
const REMOVAL: u8 = 2;
const COMMIT: u8 = 3;

/// Which of the two files of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Base,
    Journal,
}

/// One frame's meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Payload {
    Header { generation: u64, kind: FileKind },
    Record(Record),
    Commit { revision: Revision, frames: u32 },
}

/// Adds a header's frame.
pub(super) fn put_header(out: &mut Vec<u8>, generation: u64, kind: FileKind) {
    frame(out, |out| {
        out.push(HEADER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&generation.to_le_bytes());
        out.push(if kind == FileKind::Base { 0 } else { 1 });
    });
}

/// Adds a record's frame.
pub(super) fn put_record(out: &mut Vec<u8>, key: &ObjectKey, kept: Option<&Kept>) {
    frame(out, |out| match kept {
        None => {
            out.push(REMOVAL);
            put_bytes(out, key.to_string().as_bytes());
        }
        Some(kept) => {
            out.push(PUT);
            put_bytes(out, key.to_string().as_bytes());
            put_kept(out, kept);
        }
    });
}

/// Adds a commit's frame.
pub(super) fn put_commit(out: &mut Vec<u8>, revision: Revision, frames: u32) {
    frame(out, |out| {
        out.push(COMMIT);
        out.extend_from_slice(&revision.0.to_le_bytes());
        out.extend_from_slice(&frames.to_le_bytes());
    });
}

/// The payload's length and sum, if it can be one.
pub(super) fn read_frame_head(head: [u8; FRAME_HEAD_BYTES]) -> Option<(usize, u32)> {
    let [a, b, c, d, e, f, g, h] = head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
    (1..=PAYLOAD_BYTES_MAX).contains(&length).then_some((length, u32::from_le_bytes([e, f, g, h])))
}

/// What a payload says; `None`: it is damaged, or of another version.
pub(super) fn read_payload(payload: &[u8], sum: u32) -> Option<Payload> {
    if crc32fast::hash(payload) != sum {
        return None;
    }
    let mut reader = Reader(payload);
    let read = match reader.byte()? {
        HEADER => {
            let _ = reader.take(MAGIC.len()).filter(|magic| *magic == MAGIC)?;
            let generation = reader.u64()?;
            let kind = match reader.byte()? {
                0 => FileKind::Base,
                1 => FileKind::Journal,
                _ => return None,
            };
            Payload::Header { generation, kind }
        }
        PUT => {
            let key = reader.key()?;
            Payload::Record(Record { key, kept: Some(reader.kept()?) })
        }
        REMOVAL => Payload::Record(Record { key: reader.key()?, kept: None }),
        COMMIT => Payload::Commit { revision: Revision(reader.u64()?), frames: reader.u32()? },
        _ => return None,
    };
    reader.0.is_empty().then_some(read)
}

fn frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    write(out);
    let payload = out.get(start + FRAME_HEAD_BYTES..).unwrap_or_default();
    let (length, sum) = (u32::try_from(payload.len()).unwrap_or(u32::MAX), crc32fast::hash(payload));
    let head = length.to_le_bytes().into_iter().chain(sum.to_le_bytes());
    for (place, byte) in out.iter_mut().skip(start).zip(head) {
        *place = byte;
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Flags: 1 stored, 2 last good, 4 short key, 8 and 16 form in force, 32 held ghost, 64 named ghost.
fn put_kept(out: &mut Vec<u8>, kept: &Kept) {
    let mut flags = u8::from(kept.stored.is_some()) | u8::from(kept.last_good.is_some()) << 1;
    flags |= u8::from(kept.stored.as_ref().is_some_and(|stored| stored.short)) << 2;
    flags |= match kept.in_force {
        InForce::None => 0,
        InForce::Previous => 8,
        InForce::This => 16,
    };
    flags |= match kept.ghost {
        None => 0,
        Some((GhostKind::Held, _)) => 32,
        Some((GhostKind::Named, _)) => 64,
    };
    out.push(flags);
    if let Some(stored) = &kept.stored {
        out.extend_from_slice(&stored.version.to_le_bytes());
        out.extend_from_slice(&stored.created.to_le_bytes());
        put_bytes(out, &stored.raw);
    }
    if let Some(raw) = &kept.last_good {
        put_bytes(out, raw);
    }
    if let Some((_, revision)) = kept.ghost {
        out.extend_from_slice(&revision.0.to_le_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }

    fn key(&mut self) -> Option<ObjectKey> {
        ObjectKey::parse(std::str::from_utf8(self.bytes()?).ok()?)
    }

    fn kept(&mut self) -> Option<Kept> {
        let flags = self.byte()?;
        let mut stored = None;
        if flags & 1 != 0 {
            let (version, created) = (self.u64()?, self.u64()?);
            stored = Some(Stored { raw: Arc::from(self.bytes()?), version, created, short: flags & 4 != 0 });
        }
        let mut last_good = None;
        if flags & 2 != 0 {
            last_good = Some(Arc::from(self.bytes()?));
        }
        let in_force = match flags & 24 {
            0 => InForce::None,
            8 => InForce::Previous,
            16 => InForce::This,
            _ => return None,
        };
        let ghost = match flags & 96 {
            0 => None,
            32 => Some((GhostKind::Held, Revision(self.u64()?))),
            64 => Some((GhostKind::Named, Revision(self.u64()?))),
            _ => return None,
        };
        Some(Kept { stored, last_good, in_force, ghost })
    }
}
