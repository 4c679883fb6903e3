//! Where objects live: etcd, a directory, memory. One trait, one conformance suite.
//!
//! A store has two areas. *Routing* is what proxies, ours or vulcand, follow for routes; *state* is everything else
//! that the fleet shares. Keys are relative to the area's root and have no leading slash. Both areas count with one
//! revision.
//!
//! A follower gets whole revisions: [`Event::Snapshot`] first, then one [`Event::Batch`] for each revision that touched
//! its area. Whatever may have lost a change (compaction, a restored backup, a wiped store) is answered by another
//! snapshot, never by silence.
//!
//! What a store offers beyond that stands in [`Capabilities`]; [`conformance`] is what all of them promise.

mod check;
#[doc(hidden)]
pub mod conformance;
pub mod directory;
#[cfg(feature = "etcd")]
pub mod etcd;
mod log;
pub mod memory;
mod open;

pub use check::{KEY_BYTES_MAX, unreadable};
pub use open::{EtcdAccess, InvalidStoreUrl, OpenError, StoreOptions, StoreUrl, open};

use crate::model::Revision;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::time::Duration;

/// The two trees of keys in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// Objects, below `--prefix`.
    Routing,
    /// Members, confirmations, flips, history, below `--state-prefix`.
    State,
}

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the area's root, exactly as stored: `frontends/shop/frontend`.
    pub key: Box<str>,
    /// As stored. YAML in a directory arrives as JSON; a file that cannot be read as either arrives as what
    /// [`unreadable`] recognises.
    pub value: Bytes,
    /// Compared by expectations: etcd's modification revision, a content hash in a directory. Never 0.
    pub version: u64,
    /// Orders objects by age: etcd's creation revision; in a directory the revision at which the file appeared.
    pub created: u64,
    /// The key ends with it.
    pub lease: Option<i64>,
}

/// Everything in an area at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The revision it is complete at.
    pub revision: Revision,
    /// In key order.
    pub entries: Vec<Entry>,
}

/// One key's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Written.
    Put(Entry),
    /// Removed, by hand or by its lease's end.
    Delete {
        /// As in [`Entry::key`].
        key: Box<str>,
    },
}

/// All changes of one revision: visible together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Always higher than that of the event before, within one feed, unless a snapshot stands between.
    pub revision: Revision,
    /// Each key at most once.
    pub changes: Vec<Change>,
}

/// What a feed tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The whole area anew: the first event, and after every break that may have lost changes. The revision may be
    /// lower than before (restored backup, wiped store); what is not in it is gone.
    Snapshot(Snapshot),
    /// The next revision that touched the area.
    Batch(Batch),
    /// The store does not answer; `reason` is for people. Sent once per outage, and once more when it turns out that the
    /// store does answer, but refuses.
    Lost {
        /// One sentence.
        reason: String,
    },
    /// The store answered (again) and nothing was missed up to `revision`: what the events so far make is the area at
    /// that revision. Sent after every snapshot and `Lost`, and then at least every 5 s.
    InSync {
        /// The store's revision as last seen, at least that of the last event.
        revision: Revision,
    },
}

/// Events of one area, in order. Dropping it ends the following. Bounded: a slow reader slows the feed, never loses.
pub type Feed = tokio::sync::mpsc::Receiver<Event>;

/// What a store offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Keys can end with a lease.
    pub leases: bool,
    /// Most operations of one transaction.
    pub operations_max: usize,
    /// Largest value, in bytes.
    pub value_bytes_max: usize,
}

/// What a commit expects of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// It has this [`Entry::version`].
    Version(u64),
    /// It does not exist.
    Absent,
    /// It exists.
    Present,
}

/// What becomes of a key's lease when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaseChoice {
    /// It keeps the one it has, if any.
    #[default]
    Keep,
    /// A new one of this length, the same for all keys of a transaction that ask for it; refused by stores without
    /// leases.
    Ttl(Duration),
    /// The one of this number, which another key has; refused where it has ended.
    Existing(i64),
    /// None: it stays until it is removed.
    Without,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Write a value.
    Put {
        /// Which tree.
        area: Area,
        /// Relative key.
        key: Box<str>,
        /// New value.
        value: Bytes,
        /// Its lease.
        lease: LeaseChoice,
    },
    /// Remove exactly this key, never its siblings or children. Absent is not an error.
    Delete {
        /// Which tree.
        area: Area,
        /// Relative key.
        key: Box<str>,
    },
}

/// Writes that happen together, if everything expected holds, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// Checked first.
    pub expect: Vec<(Area, Box<str>, Expected)>,
    /// Each key at most once.
    pub operations: Vec<Operation>,
}

/// Why a store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// An expectation did not hold; nothing was written.
    #[error("{key} is not as expected: it was changed, created or removed meanwhile")]
    Conflict {
        /// Relative key.
        key: String,
    },
    /// It does not answer, or not in time. A commit may or may not have happened.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The store refused, and would again.
    #[error("the store refused: {0}")]
    Refused(String),
    /// The store's rights do not cover it.
    #[error("not permitted by the store: {0}")]
    Denied(String),
    /// Not offered by this kind of store.
    #[error("{0}")]
    Unsupported(String),
}

/// Keeps objects. Every future is cancel-safe but for commit, whose outcome is unknown when it is dropped.
pub trait Store: Send + Sync + 'static {
    /// `etcd`, `directory` or `memory`.
    fn kind(&self) -> &'static str;
    /// Where, for people: end points or a path; never secrets.
    fn location(&self) -> String;
    /// What it offers.
    fn capabilities(&self) -> Capabilities;
    /// Follows an area for ever: reconnects, lists again after every break that may have lost something. Starts a task,
    /// so it is called within a Tokio runtime.
    fn follow(&self, area: Area) -> Feed;
    /// Everything in an area now.
    fn list(&self, area: Area) -> BoxFuture<'_, Result<Snapshot, StoreError>>;
    /// One key now, with the store's revision.
    fn get<'a>(
        &'a self,
        area: Area,
        key: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, Option<Entry>), StoreError>>;
    /// Writes all or nothing; the answer is the revision at which the writes are visible.
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Revision, StoreError>>;
    /// One sentence if the prefix is empty while its twin with or without the leading slash is not: the usual mistake
    /// of those who come from an older API of etcd.
    fn twin_prefix(&self) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
