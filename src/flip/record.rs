//! What the fleet writes down of itself in the state area: members, who is alive, flips, and their history. JSON with
//! vulcand's habit: unknown fields are passed over, so that proxies of two versions understand each other.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Lasting records of members lie below it.
pub const MEMBERS: &str = "members/";
/// Records of living processes lie below it, `alive/<name>/<boot>`.
pub const ALIVE: &str = "alive/";
/// Open flips lie below it.
pub const FLIPS: &str = "flips/";
/// Who runs an open flip, under the flip's id; ends with its owner.
pub const OWNERS: &str = "owners/";
/// Backends below it are told of by every proxy as long as they are here.
pub const WATCH: &str = "watch/";
/// Flips that are over lie below it, by the zero-padded revision of their write.
pub const HISTORY: &str = "history/";

/// Entries of the history that are kept.
pub const HISTORY_MAX: usize = 1_000;
/// Keys, servers or names that a record lists of one kind.
pub const LISTED_MAX: usize = 100;
/// Longest name of a member, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// A proxy that follows the prefix, as long as it has not ended cleanly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Tells apart proxies that could take the same name: machine and data directory.
    #[serde(default)]
    pub home: String,
    /// When it registered, in milliseconds since 1970.
    #[serde(default)]
    pub since: u64,
    /// Of the program.
    #[serde(default)]
    pub version: String,
}

/// One living process of a member.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alive {
    /// Every worker serves everything up to here.
    pub served: u64,
    /// No request of an older table can still begin an attempt.
    pub quiet: u64,
    /// The store's revision as last seen.
    #[serde(default)]
    pub synced: u64,
    /// Of the effective table, hexadecimal.
    #[serde(default)]
    pub hash: String,
    /// Of the program.
    #[serde(default)]
    pub version: String,
    /// It takes no more connections.
    #[serde(default)]
    pub draining: bool,
    /// Counts writes, so that a reader sees life where the store has no leases.
    #[serde(default)]
    pub beat: u64,
    /// When it was written, in milliseconds since 1970, by the writer's clock.
    #[serde(default)]
    pub at: u64,
    /// Keys of objects that are not in force as stored; at most [`LISTED_MAX`].
    #[serde(default)]
    pub not_in_force: Vec<String>,
    /// Backends of open flips, and those that nothing names but that have requests open.
    #[serde(default)]
    pub backends: BTreeMap<String, BackendView>,
    /// Open flips by id.
    #[serde(default)]
    pub flips: BTreeMap<String, FlipView>,
}

/// A backend as one process sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendView {
    /// Servers that are meant to take requests.
    pub active: u32,
    /// Of those, the ones that are well.
    pub well: u32,
    /// Ids of the others; at most [`LISTED_MAX`].
    #[serde(default)]
    pub unwell: Vec<String>,
    /// Requests and tunnels that are open.
    pub in_flight: u64,
    /// A frontend or alias in force names it.
    pub named: bool,
    /// Nothing in force names it, and no request that saw that otherwise can still begin an attempt.
    pub free: bool,
    /// Since the process began.
    #[serde(default)]
    pub totals: Totals,
}

/// Attempts at a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Attempts that ended.
    pub attempts: u64,
    /// Those that failed.
    pub failures: u64,
    /// All their times together, in microseconds.
    #[serde(default)]
    pub micros: u64,
}

impl Totals {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(other.attempts),
            failures: self.failures.saturating_add(other.failures),
            micros: self.micros.saturating_add(other.micros),
        }
    }

    /// What came since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_sub(earlier.attempts),
            failures: self.failures.saturating_sub(earlier.failures),
            micros: self.micros.saturating_sub(earlier.micros),
        }
    }
}

/// A flip as one process sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlipView {
    /// By backend: what getting ready for it came to. Empty until it is known.
    #[serde(default)]
    pub prepared: BTreeMap<String, Warmth>,
    /// Targets that still lead to the old side although the flip is written.
    #[serde(default)]
    pub not_in_force: Vec<String>,
    /// What the old side's last minute was like.
    #[serde(default)]
    pub baseline: Totals,
}

/// What getting ready for a backend came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warmth {
    /// Servers that are meant to take requests.
    pub active: u32,
    /// Of those, the ones that every worker reached and that are well.
    pub well: u32,
    /// Why the others are not, by id; at most [`LISTED_MAX`].
    #[serde(default)]
    pub unwell: BTreeMap<String, String>,
}

/// How far a flip is. What lies between the write and *safe* is seen and not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Proxies get ready. Nothing is changed.
    Prepare,
    /// The new values are written.
    Committed,
}

/// What made a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Deed {
    /// A flip.
    Flip,
    /// One that undoes an earlier one.
    Rollback,
}

/// An open flip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flip {
    /// Also the end of its key.
    pub id: String,
    /// A flip or its undoing.
    pub deed: Deed,
    /// Who asked for it.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub since: u64,
    /// How far it is.
    pub phase: Phase,
    /// What moves.
    pub targets: Vec<FlipTarget>,
    /// What the new side needs.
    pub min_healthy: MinHealthy,
    /// It is written whatever the proxies see.
    #[serde(default)]
    pub force: bool,
    /// How long the new side is compared with the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<BakePlan>,
    /// How long after *safe* the record stays open, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_warm_ms: Option<u64>,
    /// Who runs it; a claim changes it, so that a former owner's writes no longer fit.
    #[serde(default)]
    pub owner: String,
    /// At which revision it was written; 0: at that of this record.
    #[serde(default)]
    pub revision: u64,
    /// When it was written, in milliseconds since 1970.
    #[serde(default)]
    pub committed_at: u64,
    /// When it was found safe, in milliseconds since 1970; 0: not yet, or not written down.
    #[serde(default)]
    pub safe_at: u64,
    /// The old side's last minute, over all members.
    #[serde(default)]
    pub baseline: Totals,
    /// By process: what the new side had counted before the write.
    #[serde(default)]
    pub base: BTreeMap<String, Totals>,
    /// The flip that this one undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<String>,
}

impl Flip {
    /// Real backends that lose traffic and gain none.
    pub fn old_side(&self) -> BTreeSet<&str> {
        let new = self.new_side();
        self.targets
            .iter()
            .flat_map(|target| &target.old)
            .map(String::as_str)
            .filter(|id| !new.contains(id))
            .collect()
    }

    /// Backends that gain traffic.
    pub fn new_side(&self) -> BTreeSet<&str> {
        self.targets.iter().flat_map(|target| &target.new).map(String::as_str).collect()
    }
}

/// What moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlipTarget {
    /// `frontend/ID` or `alias/ID`.
    pub target: String,
    /// In the routing area.
    pub key: String,
    /// Its version before.
    pub version: u64,
    /// As written before: a backend, an alias, or the parts of a split.
    pub from: Vec<String>,
    /// As written after.
    pub to: Vec<String>,
    /// The real backends behind `from`.
    pub old: Vec<String>,
    /// The real backends behind `to`.
    pub new: Vec<String>,
    /// The value before, as stored.
    pub previous: String,
}

/// How long the new side is compared with the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BakePlan {
    /// In milliseconds from the write on.
    pub millis: u64,
    /// A condition that also sends it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_on: Option<String>,
}

/// How many servers of the new side must be well in the eyes of every proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum MinHealthy {
    /// So many.
    Count(u32),
    /// So many of a hundred of those that are meant to take requests, and at least one.
    Percent(u32),
}

impl MinHealthy {
    /// How many are needed of `active`.
    pub fn needed(self, active: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let part = (u64::from(active) * u64::from(percent)).div_ceil(100);
                u32::try_from(part).unwrap_or(u32::MAX).max(u32::from(percent > 0))
            }
        }
    }
}

impl fmt::Display for MinHealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl From<MinHealthy> for String {
    fn from(min: MinHealthy) -> Self {
        min.to_string()
    }
}

impl FromStr for MinHealthy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("{text:?} is neither a number of servers, like `2`, nor a share, like `50%`");
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
                _ => Err(expected()),
            },
            None => text.parse().map(Self::Count).map_err(|_| expected()),
        }
    }
}

impl TryFrom<String> for MinHealthy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// How a flip ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// It stays.
    Closed,
    /// The values before were written again.
    RolledBack,
    /// Another flip moved its targets on.
    Superseded,
}

impl Ending {
    /// As in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::RolledBack => "rolledBack",
            Self::Superseded => "superseded",
        }
    }
}

/// A flip that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// The flip's id.
    pub id: String,
    /// A flip or its undoing.
    pub deed: Deed,
    /// Who asked for it.
    pub by: String,
    /// When it was written, in milliseconds since 1970.
    pub at: u64,
    /// At which revision it was written.
    pub revision: u64,
    /// What moved.
    pub targets: Vec<FlipTarget>,
    /// How it ended.
    pub ending: Ending,
    /// Why, for people; may be empty.
    #[serde(default)]
    pub reason: String,
    /// What the new side counted.
    #[serde(default)]
    pub counted: Totals,
    /// The old side's last minute.
    #[serde(default)]
    pub baseline: Totals,
    /// The flip that this one undid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<String>,
}

impl Past {
    /// The entry of a written flip.
    pub fn of(flip: &Flip, revision: u64, ending: Ending, reason: String, counted: Totals) -> Self {
        Self {
            id: flip.id.clone(),
            deed: flip.deed,
            by: flip.by.clone(),
            at: flip.committed_at,
            revision,
            targets: flip.targets.clone(),
            ending,
            reason,
            counted,
            baseline: flip.baseline,
            undoes: flip.undoes.clone(),
        }
    }

    /// Where it stands.
    pub fn key(&self) -> String {
        format!("{HISTORY}{:020}", self.revision)
    }
}

/// Reads a record.
///
/// # Errors
/// What is wrong with it, with its key.
pub fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| format!("{key}: {error}"))
}

/// The value of a record.
pub fn write<T: Serialize>(record: &T) -> bytes::Bytes {
    // Maps with text as keys and plain numbers: there is nothing that could fail.
    serde_json::to_vec(record).unwrap_or_default().into()
}

/// Whether a text can name a member.
///
/// # Errors
/// What would be right.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.chars().all(plain) {
        return Err(format!(
            "is no name of a proxy: up to {NAME_BYTES_MAX} letters, digits, `.`, `_`, `-` and `:` are, not beginning \
             with a dot"
        ));
    }
    Ok(())
}

/// Milliseconds since 1970.
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A new id: the time, so that ids sort by age, and chance.
pub fn new_id(now: SystemTime) -> String {
    format!("{:012x}{:08x}", unix_ms(now), rand::random::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_must_be_well() {
        for (text, active, needed) in
            [("1", 4, 1), ("3", 2, 3), ("50%", 3, 2), ("50%", 0, 1), ("0%", 9, 0), ("100%", 7, 7)]
        {
            let min: MinHealthy = text.parse().unwrap();
            assert_eq!((min.needed(active), min.to_string().as_str()), (needed, text));
        }
        for wrong in ["", "x", "-1", "101%", "1.5", "%"] {
            assert!(wrong.parse::<MinHealthy>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_record_of_a_later_version_is_read() {
        let alive: Alive = read("alive/a/1", br#"{"served":3,"quiet":2,"mood":"good"}"#).unwrap();
        assert_eq!((alive.served, alive.quiet), (3, 2));
        let error = read::<Alive>("alive/a/1", br#"{"served":"3"}"#).unwrap_err();
        assert!(error.starts_with("alive/a/1: "), "{error}");
    }

    #[test]
    fn names_are_plain() {
        for name in ["gate-1", "10.0.0.1:80", "a"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in ["", ".a", "a/b", "a b", "ä"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
