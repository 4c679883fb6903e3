//! From the API server's bytes to changes. Each object is dropped as soon as what matters of it was taken, so that a page
//! of large ones is never whole in memory; and one that cannot be understood hurts only itself.

use super::kinds::Watched;
use crate::kubernetes::Name;
use crate::registrar::seen;
use crate::registrar::world::Change;
use bytes::{Bytes, BytesMut};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use kube::core::{Status, WatchEvent};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Longest line of a watch, in bytes: etcd takes no object of more than 1.5 MB.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A part of a list.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The list's version.
    pub version: String,
    /// Where the next part is; absent: this is the last one.
    pub next: Option<String>,
    /// What is there.
    pub items: Vec<(Name, Change)>,
    /// What is there too, but cannot be understood, with the reason.
    pub unreadable: Vec<(Name, String)>,
}

/// One line of a watch.
#[derive(Debug)]
pub(super) enum Event {
    /// An object is there or gone.
    Changed { name: Name, is_there: bool, change: Change, version: String },
    /// An object changed, and cannot be understood.
    Unreadable { name: Name, version: String, reason: String },
    /// Nothing happened up to this version.
    Bookmark { version: String },
    /// The server ends the watch.
    Ended(Box<Status>),
}

/// What every object has.
#[derive(Deserialize, Clone)]
struct Bare {
    metadata: ObjectMeta,
}

/// Reads a part of a list.
pub(super) fn page<K: Watched>(bytes: &[u8], pod_label: &str) -> Result<Page, serde_json::Error> {
    let mut page = Page::default();
    let mut take = |object: K| page.items.extend(change(&object, pod_label));
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = List { take: &mut take, kind: PhantomData }.deserialize(&mut reader);
    let metadata = match read {
        Ok(metadata) => metadata,
        Err(_) => return page_by_items::<K>(bytes, pod_label),
    };
    page.describe(metadata);
    Ok(page)
}

/// Reads one line of a watch.
pub(super) fn event<K: Watched>(line: &[u8], pod_label: &str) -> Result<Event, serde_json::Error> {
    let error = match serde_json::from_slice::<WatchEvent<K>>(line) {
        Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
            return changed(object.metadata(), true, |name| K::change(name, Some(&object), pod_label));
        }
        Ok(WatchEvent::Deleted(object)) => {
            return changed(object.metadata(), false, |name| K::change(name, None, pod_label));
        }
        Ok(WatchEvent::Bookmark(mark)) => {
            return Ok(Event::Bookmark { version: mark.metadata.resource_version });
        }
        Ok(WatchEvent::Error(status)) => return Ok(Event::Ended(status)),
        Err(error) => error,
    };
    match serde_json::from_slice::<WatchEvent<Bare>>(line)? {
        WatchEvent::Deleted(bare) => changed(&bare.metadata, false, |name| K::change(name, None, pod_label)),
        WatchEvent::Added(Bare { metadata }) | WatchEvent::Modified(Bare { metadata }) => {
            let (name, version) = named(&metadata)?;
            Ok(Event::Unreadable { name, version, reason: error.to_string() })
        }
        _ => Err(error),
    }
}

/// Cuts the bytes of a watch into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: BytesMut,
    /// So many bytes hold no end of a line.
    scanned: usize,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line that says something.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        loop {
            let rest = self.buffer.get(self.scanned..)?;
            let Some(end) = memchr::memchr(b'\n', rest) else {
                self.scanned = self.buffer.len();
                return None;
            };
            let line = self.buffer.split_to(self.scanned + end + 1).freeze();
            self.scanned = 0;
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }

    /// Whether a line is longer than any object may be.
    pub(super) fn is_too_long(&self) -> bool {
        self.buffer.len() > LINE_BYTES_MAX
    }
}

impl Page {
    fn describe(&mut self, metadata: ListMeta) {
        self.version = metadata.resource_version.unwrap_or_default();
        self.next = metadata.continue_.filter(|next| !next.is_empty());
    }
}

/// An object that is there; none where it has no name, or says nothing that matters.
fn change<K: Watched>(object: &K, pod_label: &str) -> Option<(Name, Change)> {
    let name = seen::name(object.metadata())?;
    Some((name.clone(), K::change(name, Some(object), pod_label)))
}

fn changed(
    metadata: &ObjectMeta,
    is_there: bool,
    change: impl FnOnce(Name) -> Change,
) -> Result<Event, serde_json::Error> {
    let (name, version) = named(metadata)?;
    Ok(Event::Changed { name: name.clone(), is_there, change: change(name), version })
}

fn named(metadata: &ObjectMeta) -> Result<(Name, String), serde_json::Error> {
    let name = seen::name(metadata);
    let version = metadata.resource_version.clone().filter(|version| !version.is_empty());
    name.zip(version).ok_or_else(|| serde::de::Error::custom("an object without name or version"))
}

/// The slow way, for a list with an object that cannot be understood.
fn page_by_items<K: Watched>(bytes: &[u8], pod_label: &str) -> Result<Page, serde_json::Error> {
    #[derive(Deserialize)]
    struct Whole {
        metadata: ListMeta,
        #[serde(default)]
        items: Vec<serde_json::Value>,
    }

    let whole: Whole = serde_json::from_slice(bytes)?;
    let mut page = Page::default();
    for item in whole.items {
        match K::deserialize(&item) {
            Ok(object) => page.items.extend(change(&object, pod_label)),
            Err(error) => {
                let bare = Bare::deserialize(&item)?;
                let name = seen::name(&bare.metadata).ok_or(error)?;
                page.unreadable
                    .push((name, "it is not as this version of Flipgate knows the kind".to_owned()));
            }
        }
    }
    page.describe(whole.metadata);
    Ok(page)
}

/// A list that is read object by object; yields its metadata.
struct List<'t, K, T> {
    take: &'t mut T,
    kind: PhantomData<fn(K)>,
}

impl<'de, K: Watched, T: FnMut(K)> DeserializeSeed<'de> for List<'_, K, T> {
    type Value = ListMeta;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<ListMeta, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de, K: Watched, T: FnMut(K)> Visitor<'de> for List<'_, K, T> {
    type Value = ListMeta;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list with metadata and items")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ListMeta, A::Error> {
        let mut metadata = None;
        while let Some(field) = fields.next_key::<String>()? {
            match field.as_str() {
                "metadata" => metadata = Some(fields.next_value()?),
                "items" => fields.next_value_seed(Items { take: self.take, kind: self.kind })?,
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        metadata.ok_or_else(|| serde::de::Error::missing_field("metadata"))
    }
}

/// The objects of a list.
struct Items<'t, K, T> {
    take: &'t mut T,
    kind: PhantomData<fn(K)>,
}

impl<'de, K: Watched, T: FnMut(K)> DeserializeSeed<'de> for Items<'_, K, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de, K: Watched, T: FnMut(K)> Visitor<'de> for Items<'_, K, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects")
    }

    /// As Go writes an empty list at times.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(object) = items.next_element::<K>()? {
            (self.take)(object);
        }
        Ok(())
    }
}
