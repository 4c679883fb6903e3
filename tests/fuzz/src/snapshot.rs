//! What a damaged data directory gives is a revision that was written, whole, or nothing; whatever bytes stand in it, it
//! is read without a panic.
//!
//! Behind an even byte the input is damage to good files, four bytes each: what is done, where (two bytes), and with what.
//! Behind an odd one it is payloads, each behind its length, which get the right sums.

use flipgate::control::image::{GhostKind, Kept, Record, Stored};
use flipgate::control::journal::Journal;
use flipgate::model::{InForce, ObjectKey, Revision};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

type Objects = BTreeMap<ObjectKey, Kept>;

/// Most that is done to one pair of files: more would sooner or later be damage that a sum of 32 bits does not show.
const EDITS_MAX: usize = 3;

/// Good files, and what they hold at each revision.
struct Good {
    dir: TempDir,
    base: Vec<u8>,
    journal: Vec<u8>,
    truth: BTreeMap<u64, Objects>,
}

thread_local! {
    static GOOD: Good = Good::new();
}

pub fn check(raw: &[u8]) {
    let Some((mode, rest)) = raw.split_first() else { return };
    GOOD.with(|good| match mode % 2 {
        0 => good.check_damage(rest),
        _ => good.check_payloads(rest),
    });
}

fn path(dir: &Path, ending: &str) -> PathBuf {
    dir.join(format!("image-0000000001.{ending}"))
}

/// What is restored.
fn open(dir: &Path) -> Option<(u64, Objects)> {
    let opened = Journal::open(dir).expect("nobody else has it");
    opened.restored.map(|it| (it.revision.0, it.records.into_iter().collect()))
}

impl Good {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = Journal::open(dir.path()).expect("opened").journal;
        let key = |text: &str| ObjectKey::parse(text).expect("a key");
        let stored = |raw: &str, version| {
            Some(Stored { raw: raw.as_bytes().into(), version, created: 1, short: version == 2 })
        };
        let kept = |raw: &str, version| Kept {
            stored: stored(raw, version),
            last_good: None,
            in_force: InForce::This,
            ghost: None,
        };
        let ghost = Kept {
            stored: None,
            last_good: Some(b"{}"[..].into()),
            in_force: InForce::Previous,
            ghost: Some((GhostKind::Held, Revision(3))),
        };
        let mut objects = Objects::from([(key("backends/b/backend"), kept("{}", 1))]);
        journal.base(Revision(1), objects.clone().into_iter().collect());
        let mut truth = BTreeMap::from([(1, objects.clone())]);
        let steps = [
            vec![("backends/b/servers/s", Some(kept(r#"{"URL":"http://a"}"#, 2)))],
            vec![("backends/b/servers/s", Some(ghost)), ("frontends/f/frontend", Some(kept("", 3)))],
            vec![("backends/b/backend", None), ("frontends/f/frontend", None)],
        ];
        for (revision, step) in (2..).zip(steps) {
            for (text, kept) in &step {
                match kept {
                    Some(kept) => objects.insert(key(text), kept.clone()),
                    None => objects.remove(&key(text)),
                };
            }
            truth.insert(revision, objects.clone());
            let records = step.into_iter().map(|(text, kept)| Record { key: key(text), kept });
            journal.append(Revision(revision), records.collect());
        }
        assert!(journal.flush(Duration::from_secs(10)));
        drop(journal);
        let read = |ending| fs::read(path(dir.path(), ending)).expect("a file");
        Self { base: read("base"), journal: read("journal"), dir, truth }
    }

    fn check_damage(&self, edits: &[u8]) {
        let (mut base, mut journal) = (self.base.clone(), self.journal.clone());
        for edit in edits.chunks_exact(4).take(EDITS_MAX) {
            let file = if edit[0] & 1 == 0 { &mut journal } else { &mut base };
            let at = usize::from(u16::from_le_bytes([edit[1], edit[2]])) % (file.len() + 1);
            match edit[0] >> 1 & 3 {
                0 => file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= edit[3]),
                1 => file.truncate(at),
                2 => file.insert(at, edit[3]),
                _ => drop(file.drain(at..(at + usize::from(edit[3])).min(file.len()))),
            }
        }
        let is_whole = base == self.base && journal == self.journal;
        match self.restore(&base, &journal) {
            Some((revision, objects)) => {
                assert_eq!(Some(&objects), self.truth.get(&revision), "revision {revision}");
                assert!(!is_whole || revision == 4);
            }
            None => assert_ne!(base, self.base),
        }
    }

    fn check_payloads(&self, mut rest: &[u8]) {
        // The header is the good one; all behind it is made up.
        let header = u32::from_le_bytes(self.base[..4].try_into().expect("four bytes")) as usize + 8;
        let (mut base, mut journal) = (self.base[..header].to_vec(), self.journal[..header].to_vec());
        let mut made = Vec::new();
        while let Some((length, behind)) = rest.split_first() {
            let (payload, behind) = behind.split_at(usize::from(*length).min(behind.len()));
            made.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            made.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
            made.extend_from_slice(payload);
            rest = behind;
        }
        journal.extend_from_slice(&made);
        base.extend_from_slice(&made);
        self.restore(&base, &self.journal);
        let restored = self.restore(&self.base, &journal).expect("the base is whole");
        for (key, kept) in restored.1 {
            assert_eq!(ObjectKey::parse(&key.to_string()), Some(key));
            let _ = kept.stored.map(|stored| stored.raw.len());
        }
    }

    fn restore(&self, base: &[u8], journal: &[u8]) -> Option<(u64, Objects)> {
        fs::write(path(self.dir.path(), "base"), base).expect("written");
        fs::write(path(self.dir.path(), "journal"), journal).expect("written");
        open(self.dir.path())
    }
}
