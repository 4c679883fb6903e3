use super::*;
use crate::control::image::GhostKind;
use crate::control::image::Stored;
use crate::model::InForce;
use codec::FileKind;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::{fs, process};

type Objects = BTreeMap<ObjectKey, Kept>;

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).expect("a key")
}

fn stored(raw: &str, version: u64) -> Option<Stored> {
    Some(Stored { raw: raw.as_bytes().into(), version, created: 1, short: version.is_multiple_of(2) })
}

fn this(raw: &str, version: u64) -> Kept {
    Kept { stored: stored(raw, version), last_good: None, in_force: InForce::This, ghost: None }
}

fn flush(journal: &Journal) {
    assert!(journal.flush(Duration::from_secs(10)));
}

/// A base at revision 1 and a journal up to revision 5, and what is true at each revision.
fn write(dir: &Path) -> BTreeMap<u64, Objects> {
    let journal = Journal::open(dir).expect("opened").journal;
    let mut objects = Objects::new();
    objects.insert(key("backends/b/backend"), this("{}", 1));
    objects.insert(key("hosts/a.example/host"), this(r#"{"Sealed":"\u0000"}"#, 1));
    let mut truth = BTreeMap::from([(1, objects.clone())]);
    journal.base(Revision(1), objects.clone().into_iter().collect());
    let previous = Kept {
        stored: stored("{", 2),
        last_good: Some(b"{}"[..].into()),
        in_force: InForce::Previous,
        ghost: None,
    };
    let none = Kept { stored: stored("", 3), last_good: None, in_force: InForce::None, ghost: None };
    let ghost = Kept {
        stored: None,
        last_good: Some(b"x"[..].into()),
        in_force: InForce::Previous,
        ghost: Some((GhostKind::Held, Revision(4))),
    };
    let named = Kept { ghost: Some((GhostKind::Named, Revision(5))), ..ghost.clone() };
    let steps = [
        (
            2,
            vec![
                ("backends/b/backend", Some(previous)),
                ("backends/b/servers/s", Some(this("{\"URL\":1}", 2))),
            ],
        ),
        (3, vec![("frontends/f/frontend", Some(none)), ("listeners/l", Some(this("", 3)))]),
        (4, vec![("backends/b/servers/s", Some(ghost)), ("listeners/l", None)]),
        (5, vec![("middlewares/m", Some(named))]),
    ];
    for (revision, records) in steps {
        let records: Vec<_> =
            records.into_iter().map(|(text, kept)| Record { key: key(text), kept }).collect();
        for Record { key, kept } in records.clone() {
            match kept {
                Some(kept) => objects.insert(key, kept),
                None => objects.remove(&key),
            };
        }
        truth.insert(revision, objects.clone());
        journal.append(Revision(revision), records);
    }
    flush(&journal);
    assert_eq!(journal.problem(), None);
    truth
}

fn restore(dir: &Path) -> (Option<(u64, Objects)>, Vec<String>) {
    let Found { image, passed, .. } = files::restore(dir);
    (image.map(|(_, it)| (it.revision.0, it.records.into_iter().collect())), passed)
}

#[test]
fn what_was_written_is_restored() {
    let dir = tempfile::tempdir().expect("a directory");
    let truth = write(dir.path());
    let (found, passed) = restore(dir.path());
    assert_eq!(found, Some((5, truth[&5].clone())));
    assert_eq!(passed, Vec::<String>::new());
    let opened = Journal::open(dir.path()).expect("opened");
    assert_eq!(
        opened.restored.map(|it| (it.revision, it.records.len())),
        Some((Revision(5), truth[&5].len()))
    );
}

#[test]
fn a_cut_at_any_byte_drops_whole_revisions_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let truth = write(dir.path());
    let path = files::path(dir.path(), 1, FileKind::Journal);
    let whole = fs::read(&path).expect("a journal");
    let mut seen = std::collections::BTreeSet::new();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("written");
        let (found, passed) = restore(dir.path());
        let (revision, objects) = found.expect("the base is whole");
        assert_eq!(objects, truth[&revision], "cut at {length}");
        assert!(passed.len() <= 1 && passed.iter().all(|line| line.contains("byte")), "{passed:?}");
        seen.insert(revision);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    // A base that is cut is no base.
    fs::write(&path, &whole).expect("written");
    let path = files::path(dir.path(), 1, FileKind::Base);
    let whole = fs::read(&path).expect("a base");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("written");
        let (found, passed) = restore(dir.path());
        assert_eq!((found, passed.len()), (None, 1), "cut at {length}");
    }
}

#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let truth = write(dir.path());
    for kind in [FileKind::Base, FileKind::Journal] {
        let path = files::path(dir.path(), 1, kind);
        let whole = fs::read(&path).expect("a file");
        for place in 0..whole.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] ^= mask;
                fs::write(&path, &bytes).expect("written");
                let (found, passed) = restore(dir.path());
                assert_eq!(passed.len(), 1, "{kind:?} at {place}");
                match found {
                    Some((revision, objects)) => {
                        assert_eq!(
                            (kind, objects),
                            (FileKind::Journal, truth[&revision].clone()),
                            "at {place}"
                        );
                        assert!(revision < 5);
                    }
                    None => assert_eq!(kind, FileKind::Base),
                }
            }
        }
        fs::write(&path, &whole).expect("written");
    }
}

#[test]
fn a_damaged_base_is_passed_over_for_the_older_one_and_two_are_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    for revision in 1..=4 {
        let journal = Journal::open(dir.path()).expect("opened").journal;
        journal.base(Revision(revision * 10), vec![(key("backends/b/backend"), this("{}", revision))]);
        journal.append(Revision(revision * 10 + 1), Vec::new());
        flush(&journal);
    }
    assert_eq!(files::generations(dir.path()).expect("read"), [4, 3]);
    let path = files::path(dir.path(), 4, FileKind::Base);
    let mut bytes = fs::read(&path).expect("a base");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("written");
    let opened = Journal::open(dir.path()).expect("opened");
    assert_eq!(opened.restored.map(|it| it.revision), Some(Revision(31)));
    let passed = opened.journal.passed_over();
    assert!(passed.len() == 1 && passed[0].0.contains("image-0000000004.base"), "{passed:?}");
    // The next generation is newer than the damaged one.
    opened.journal.base(Revision(50), Vec::new());
    flush(&opened.journal);
    assert_eq!(restore(dir.path()).0.map(|(revision, _)| revision), Some(50));
    // Two that are whole are kept.
    assert_eq!(files::generations(dir.path()).expect("read"), [5, 3]);
}

#[test]
fn a_journal_that_outgrows_its_base_asks_for_a_new_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Journal::open(dir.path()).expect("opened").journal;
    journal.base(Revision(1), Vec::new());
    let raw = "x".repeat(1024 * 1024);
    for revision in 2..=5 {
        assert!(!journal.wants_base());
        let record = Record { key: key("backends/b/backend"), kept: Some(this(&raw, revision)) };
        journal.append(Revision(revision), vec![record]);
        flush(&journal);
    }
    assert!(journal.wants_base());
    journal.base(Revision(5), vec![(key("backends/b/backend"), this(&raw, 5))]);
    journal.append(Revision(6), Vec::new());
    flush(&journal);
    let bytes: u64 = fs::read_dir(dir.path())
        .expect("read")
        .map(|it| it.expect("entry").metadata().expect("size").len())
        .sum();
    assert!(bytes < 8 * 1024 * 1024, "{bytes}");
    assert_eq!(restore(dir.path()).0.map(|(revision, _)| revision), Some(6));
}

#[test]
fn files_are_for_their_owner_alone_and_the_directory_for_one_process() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("data");
    write(&dir);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for entry in fs::read_dir(&dir).expect("read") {
        assert_eq!(mode(&entry.expect("an entry").path()), 0o600);
    }
    let journal = Journal::open(&dir).expect("opened").journal;
    let error = Journal::open(&dir).err().expect("refused").to_string();
    assert!(error.contains(&format!("process {}", process::id())), "{error}");
    drop(journal);
    assert!(Journal::open(&dir).is_ok());
}

#[test]
fn a_directory_that_cannot_be_written_is_a_problem_and_nothing_more() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("file");
    fs::write(&dir, "not a directory").expect("written");
    let opened = Journal::open(&dir).expect("opened all the same");
    assert!(opened.restored.is_none() && opened.journal.problem().is_some());
    opened.journal.base(Revision(1), Vec::new());
    flush(&opened.journal);
    assert!(opened.journal.problem().is_some_and(|(reason, _)| reason.contains("cannot be written")));
    opened.journal.append(Revision(2), Vec::new());
    flush(&opened.journal);
}
