//! Any tree of files becomes entries or reasons, and what is written into it reads back.
//!
//! The input is text: a line `=== path` begins a file, and all behind it, up to the next such line, is its content.

use flipgate::model::{Object, ObjectKey, Strictness};
use flipgate::store::directory::DirectoryStore;
use flipgate::store::{Area, LeaseChoice, Operation, Store, Transaction, unreadable};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};
use tokio::runtime::Runtime;

const FILES_MAX: usize = 8;

thread_local! {
    static RUNTIME: Runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
}

pub fn check(raw: &[u8]) {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("objects");
    fs::create_dir(&root).expect("made");
    let mut files = BTreeMap::new();
    for (path, content) in parts(raw).into_iter().take(FILES_MAX) {
        if let Some(path) = write(&root, path, content) {
            files.insert(path, content);
        }
    }
    RUNTIME.with(|runtime| runtime.block_on(check_tree(&root, &files)));
}

/// The files of an input.
fn parts(raw: &[u8]) -> Vec<(&str, &[u8])> {
    const MARK: &[u8] = b"=== ";
    let starts: Vec<usize> = (0..raw.len())
        .filter(|at| raw[*at..].starts_with(MARK) && (*at == 0 || raw[at - 1] == b'\n'))
        .collect();
    let mut found = Vec::new();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(raw.len());
        let part = &raw[start + MARK.len()..end];
        let line = part.iter().position(|b| *b == b'\n').unwrap_or(part.len());
        if let Ok(path) = std::str::from_utf8(&part[..line]) {
            found.push((path, &part[(line + 1).min(part.len())..]));
        }
    }
    found
}

/// Writes a file where it can be; the path as it lies there.
fn write(root: &Path, path: &str, content: &[u8]) -> Option<String> {
    let plain: Option<Vec<&str>> = Path::new(path)
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str().filter(|name| !name.contains('\0')),
            _ => None,
        })
        .collect();
    let plain = plain.filter(|parts| !parts.is_empty() && parts.len() <= 8)?.join("/");
    let whole = root.join(&plain);
    fs::create_dir_all(whole.parent()?).ok()?;
    fs::write(&whole, content).ok()?;
    Some(plain)
}

/// The key of a file, if it has one.
fn key_of(path: &str) -> Option<&str> {
    let key = ["json", "yaml", "yml"].iter().find_map(|end| path.strip_suffix(&format!(".{end}")))?;
    let hidden = path.split('/').any(|part| part.starts_with('.'));
    (!hidden && !key.is_empty() && !key.ends_with('/')).then_some(key)
}

async fn check_tree(root: &Path, files: &BTreeMap<String, &[u8]>) {
    let mut wanted: BTreeMap<&str, Vec<(&str, &[u8])>> = BTreeMap::new();
    for (path, content) in files {
        if let Some(key) = key_of(path) {
            wanted.entry(key).or_default().push((path, content));
        }
    }
    let store = DirectoryStore::new(root.to_owned(), None);
    let snapshot = store.list(Area::Routing).await.expect("the directory is there");
    let keys: Vec<&str> = snapshot.entries.iter().map(|entry| &*entry.key).collect();
    assert_eq!(keys, wanted.keys().copied().collect::<Vec<_>>());
    for entry in &snapshot.entries {
        assert_ne!(entry.version, 0);
        let reason = unreadable(&entry.value);
        match &wanted[&*entry.key][..] {
            [(path, content)] if path.ends_with(".json") => assert_eq!(entry.value, *content),
            [_] => assert!(reason.is_some() || serde_json::from_slice::<Value>(&entry.value).is_ok()),
            _ => assert!(reason.is_some_and(|reason| reason.contains("several files"))),
        }
        if let Some(key) = ObjectKey::parse(&entry.key) {
            let _ = Object::parse(&key, &entry.value, Strictness::Stored);
        }
    }
    // Every value is written to the place of the next, in whatever format that is.
    let values: Vec<_> = snapshot.entries.iter().map(|entry| entry.value.clone()).collect();
    for (index, entry) in snapshot.entries.iter().enumerate() {
        let value = values[(index + 1) % values.len()].clone();
        let Ok(given) = serde_json::from_slice::<Value>(&value) else { continue };
        let put =
            Operation::Put { area: Area::Routing, key: entry.key.clone(), value, lease: LeaseChoice::Keep };
        let done = store.commit(Transaction { operations: vec![put], ..Transaction::default() }).await;
        if done.is_err() {
            continue;
        }
        let (_, read) = store.get(Area::Routing, &entry.key).await.expect("the directory is there");
        let read = read.expect("it was written");
        let read: Value = serde_json::from_slice(&read.value).expect("what is written is JSON");
        assert!(is_same(&read, &given), "{given} became {read}");
    }
}

/// Numbers may differ by what a way through decimal digits does to them.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one != other => {
            let (one, other) = (one.as_f64().unwrap_or_default(), other.as_f64().unwrap_or_default());
            (one - other).abs() <= one.abs() * 1e-12
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|it| is_same(value, it)))
        }
        _ => one == other,
    }
}
