//! `flipgate put`: write one object.

use super::context::{Context, Exit};
use super::flags::TargetFlags;
use super::secret::admitted;
use super::target::{Committed, Target, objects, short};
use super::value::{self, parse_set, set_value};
use crate::model::{
    Backend, BackendId, Kind, Object, ObjectKey, Severity, Strictness, duration, edit, owner,
};
use crate::store::{Area, Entry, Expected, LeaseChoice, Operation, Transaction};
use crate::tls::SealKeys;
use anyhow::{anyhow, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Times that a write is tried again when someone else was faster.
const TRIES_MAX: usize = 5;

/// Write one object, whole or field by field
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate put frontend shop --set BackendId=shop-green      change one field, keep everything else
  flipgate put server shop-blue/a --set URL=http://10.0.0.11:8080
  flipgate put backend shop --set Type=alias --set Target=shop-blue
  flipgate put frontend shop --set Priority=null             take a field away
  flipgate put frontend shop -f shop.yaml                    the whole object, from a file or `-`
  flipgate put frontend shop -f - --expect absent            only if there is none yet

A field that does not exist is refused. Keys keep their leases. The new revision is printed; `flipgate status \
--wait-revision REVISION` waits until the proxy serves it.")]
pub(super) struct Put {
    /// listener, host, frontend, middleware, backend or server
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Id, or PARENT/ID of a server or a frontend's middleware
    #[arg(value_name = "ID")]
    id: String,
    /// The object in YAML or JSON; `-` is standard input
    #[arg(short, long, value_name = "FILE", required_unless_present = "set")]
    file: Option<PathBuf>,
    /// One field and its value, in JSON or as a text; null takes it away (repeatable)
    #[arg(long, value_name = "PATH=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
    /// Write only if the object has this modification revision, or is absent
    #[arg(long, value_name = "REVISION|absent")]
    expect: Option<Expect>,
    /// The key ends when it is not written again within this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    target: TargetFlags,
}

/// What `--expect` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// A modification revision.
    Version(u64),
    /// No such object.
    Absent,
}

impl FromStr for Expect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(version) if version > 0 => Ok(Self::Version(version)),
            _ if text == "absent" => Ok(Self::Absent),
            _ => {
                Err("a modification revision, as `flipgate get` shows it, or `absent` is expected".to_owned())
            }
        }
    }
}

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

/// What is wanted of an object.
pub(super) struct Wanted<'a> {
    /// Which.
    pub(super) key: &'a ObjectKey,
    /// The whole value, or none: only what `set` says changes.
    pub(super) whole: Option<&'a Value>,
    /// Fields, after `whole`.
    pub(super) set: &'a [(String, String)],
    /// Seals key pairs.
    pub(super) seal: &'a SealKeys,
}

impl Put {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let key = ObjectKey::from_kind_id(self.kind, &self.id)?;
        let whole = match &self.file {
            None => None,
            Some(path) => Some(single(context, path, &key)?),
        };
        let (target, seal) = (context.target(&self.target)?, self.target.seal_keys(context)?);
        let wanted = Wanted { key: &key, whole: whole.as_ref(), set: &self.set, seal: &seal };
        for _ in 0..TRIES_MAX {
            let (_, stored) = target.get(&key).await?;
            if let Some(no) = unexpected(self.expect, stored.as_ref()) {
                context.note(format_args!(
                    "flipgate: {} {}: {no}; nothing was written",
                    key.kind(),
                    key.id()
                ));
                return Ok(Exit::No);
            }
            let value = wanted.value(stored.as_ref())?;
            warn(context, &key, &value);
            if let Some(backend) = missing_backend(&target, &key, &value).await? {
                context.note(format_args!(
                    "warning: there is no backend {backend} yet; until there is, proxies keep what they serve"
                ));
            }
            if stored.as_ref().is_some_and(|stored| is_same(stored, &value)) && self.ttl.is_none() {
                let text = format!("{} {} is so already", key.kind(), key.id());
                let version = stored.map(|stored| stored.version);
                context.answer(text, || json!({ "unchanged": true, "modRevision": version }))?;
                return Ok(Exit::Done);
            }
            match target.commit(transaction(&key, stored.as_ref(), &value, self.ttl)).await? {
                Committed::At(revision) => {
                    let text = format!("{} {} written at revision {revision}", key.kind(), key.id());
                    context.answer(text, || json!({ "revision": revision }))?;
                    return Ok(Exit::Done);
                }
                Committed::Conflict(message) if self.expect.is_some() => {
                    context.note(format_args!("flipgate: {message}; nothing was written"));
                    return Ok(Exit::No);
                }
                Committed::Conflict(_) => {}
            }
        }
        bail!("{} {} changes all the time; nothing was written", key.kind(), key.id())
    }
}

/// The one value in a file: the object's, or a document of it.
fn single(context: &mut Context<'_, '_>, path: &Path, key: &ObjectKey) -> anyhow::Result<Value> {
    let text = context.read(path)?;
    let mut values = value::parse(&path.display().to_string(), &text)?;
    let (Some(value), true) = (values.pop(), values.is_empty()) else {
        bail!("{} holds not one value; `flipgate apply -f` takes several documents", path.display());
    };
    if value::field(&value, "kind").is_some() && value::field(&value, "spec").is_some() {
        bail!(
            "{} is a document with `kind` and `spec`; write it with `flipgate apply -f`, or give the fields of {} {} alone",
            path.display(),
            key.kind(),
            key.id()
        );
    }
    Ok(value)
}

fn unexpected(expect: Option<Expect>, stored: Option<&Entry>) -> Option<String> {
    match (expect?, stored) {
        (Expect::Absent, Some(stored)) => {
            Some(format!("it exists, at modification revision {}", stored.version))
        }
        (Expect::Version(version), Some(stored)) if stored.version != version => {
            Some(format!("its modification revision is {}, not {version}", stored.version))
        }
        (Expect::Version(version), None) => {
            Some(format!("it does not exist, and modification revision {version} was expected"))
        }
        _ => None,
    }
}

fn is_same(stored: &Entry, value: &Value) -> bool {
    serde_json::from_slice::<Value>(&stored.value).is_ok_and(|stored| stored == *value)
}

/// The backend that a value names, if there is none of that id: neither an object nor a server.
async fn missing_backend(
    target: &Target,
    key: &ObjectKey,
    value: &Value,
) -> anyhow::Result<Option<BackendId>> {
    let named = match Object::parse_value(key, value, Strictness::Stored).object {
        Some(Object::Frontend(frontend)) => frontend.backend,
        Some(Object::Middleware(middleware)) => match middleware.spec.backend() {
            Some(backend) => backend.clone(),
            None => return Ok(None),
        },
        Some(Object::Backend(Backend::Alias { target, .. })) => target,
        _ => return Ok(None),
    };
    if target.get(&ObjectKey::Backend(named.clone())).await?.1.is_some() {
        return Ok(None);
    }
    let (entries, _) = objects(target.list().await?);
    let has_server =
        entries.keys().any(|key| matches!(key, ObjectKey::Server(backend, _) if *backend == named));
    Ok((!has_server).then_some(named))
}

fn warn(context: &mut Context<'_, '_>, key: &ObjectKey, value: &Value) {
    for finding in Object::parse_value(key, value, Strictness::Stored).findings {
        context.note(format_args!(
            "warning: {} {}: {} {}",
            key.kind(),
            key.id(),
            finding.field,
            finding.reason
        ));
    }
    warn_kept(context, key, value, "write it without `Owner` to take it over");
}

/// Says that the registrar will undo what is about to be done, and what to do instead.
pub(super) fn warn_kept(context: &mut Context<'_, '_>, key: &ObjectKey, value: &Value, instead: &str) {
    if let Some(owner) = owner(value) {
        context.note(format_args!(
            "warning: {} {} is kept by {owner}: the registrar puts it back; change it there, or {instead}",
            key.kind(),
            key.id()
        ));
    }
}

fn transaction(key: &ObjectKey, stored: Option<&Entry>, value: &Value, ttl: Option<Duration>) -> Transaction {
    let written: Box<str> = stored.map_or_else(|| key.canonical().into(), |stored| stored.key.clone());
    let mut expect = Vec::new();
    match stored {
        Some(stored) => expect.push((Area::Routing, written.clone(), Expected::Version(stored.version))),
        None => {
            expect.push((Area::Routing, written.clone(), Expected::Absent));
            expect.extend(short(key).map(|short| (Area::Routing, short.into(), Expected::Absent)));
        }
    }
    let lease = ttl.map_or(LeaseChoice::Keep, LeaseChoice::Ttl);
    let put = Operation::Put { area: Area::Routing, key: written, value: value.to_string().into(), lease };
    Transaction { expect, operations: vec![put] }
}

impl Wanted<'_> {
    /// The value to write over what is stored.
    ///
    /// # Errors
    /// A path does not fit; the value is not valid, with everything that is wrong.
    pub(super) fn value(&self, stored: Option<&Entry>) -> anyhow::Result<Value> {
        let stored: Option<Value> = match stored {
            None => None,
            Some(entry) => match serde_json::from_slice(&entry.value) {
                Ok(value) => Some(value),
                Err(_) if self.whole.is_some() => None,
                Err(error) => {
                    bail!("what {} holds is no JSON ({error}); give the whole object with -f", entry.key)
                }
            },
        };
        // A number may be meant as a text, as in an id.
        let value = self.edited(stored.as_ref(), false)?;
        let value = match valid(self.key, &value, stored.as_ref()) {
            Ok(()) => value,
            Err(error) => {
                let as_text = self.edited(stored.as_ref(), true)?;
                valid(self.key, &as_text, stored.as_ref()).map_err(|_| error)?;
                as_text
            }
        };
        Ok(value)
    }

    fn edited(&self, stored: Option<&Value>, as_text: bool) -> anyhow::Result<Value> {
        let mut value = match (self.whole, stored) {
            (Some(whole), Some(stored)) => value::replaced(stored, whole),
            (Some(whole), None) => value::spelled(whole),
            (None, Some(stored)) => stored.clone(),
            (None, None) => json!({}),
        };
        for (path, text) in self.set {
            edit::set_path(&mut value, path, set_value(text, as_text))
                .map_err(|error| anyhow!("--set {path}: {error}"))?;
        }
        admitted(self.key, &value, stored, self.seal)
    }
}

/// Whether a value may be written over a stored one: everything that it brings is valid and known. What was there
/// before and is not ours does not count.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn valid(key: &ObjectKey, value: &Value, stored: Option<&Value>) -> anyhow::Result<()> {
    let before = match stored {
        Some(stored) if Object::parse_value(key, value, Strictness::Stored).object.is_some() => {
            Object::parse_value(key, stored, Strictness::Written).findings
        }
        _ => Vec::new(),
    };
    let findings = Object::parse_value(key, value, Strictness::Written).findings;
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let wrong: Vec<String> = errors
        .filter(|error| !before.contains(error))
        .map(|error| format!("\n  {}", [error.field.as_str(), &error.reason].join(" ").trim()))
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("{} {} is not valid:{}", key.kind(), key.id(), wrong.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &str) -> Entry {
        Entry { key: "x".into(), value: value.to_owned().into(), version: 7, created: 1, lease: None }
    }

    #[track_caller]
    fn check(
        key: &str,
        stored: Option<&str>,
        whole: Option<&str>,
        set: &[&str],
        expected: Result<&str, &str>,
    ) {
        let key = ObjectKey::parse(key).unwrap();
        let whole: Option<Value> = whole.map(|text| serde_json::from_str(text).unwrap());
        let set: Vec<_> = set.iter().map(|text| parse_set(text).unwrap()).collect();
        let seal = SealKeys::none();
        let wanted = Wanted { key: &key, whole: whole.as_ref(), set: &set, seal: &seal };
        let value = wanted.value(stored.map(entry).as_ref());
        match (value, expected) {
            (Ok(value), Ok(expected)) => assert_eq!(value.to_string(), expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (value, _) => panic!("{value:?}"),
        }
    }

    #[test]
    fn a_field_is_changed_and_the_rest_is_kept() {
        check(
            "frontends/f",
            Some(r#"{"type":"http","x-mine":1,"backendid":"a","Route":"Path(\"/\")"}"#),
            None,
            &["BackendId=b"],
            Ok(r#"{"type":"http","x-mine":1,"backendid":"b","Route":"Path(\"/\")"}"#),
        );
        check(
            "backends/b/servers/s",
            None,
            None,
            &["url=http://a:1", "weight=5"],
            Ok(r#"{"URL":"http://a:1","Weight":5}"#),
        );
        check("backends/x", None, None, &["type=alias", "target=5"], Ok(r#"{"Type":"alias","Target":"5"}"#));
        check(
            "backends/b",
            None,
            None,
            &["settings.timeouts.read=5s"],
            Ok(r#"{"Settings":{"Timeouts":{"Read":"5s"}}}"#),
        );
    }

    #[test]
    fn what_is_not_known_is_refused_with_the_nearest_name() {
        check("backends/b/servers/s", Some(r#"{"URL":"http://a:1"}"#), None, &["wieght=5"], Err("Weight"));
        check("frontends/f", None, None, &["BackendId=b"], Err("Route"));
        check("frontends/f", Some("5"), None, &["BackendId=b"], Err("not an object"));
        check("frontends/f", Some("no json"), None, &["BackendId=b"], Err("give the whole object with -f"));
    }

    #[test]
    fn a_whole_object_takes_the_place_of_the_stored_one() {
        check(
            "backends/b/servers/s",
            Some(r#"{"url":"http://a:1","Weight":3,"mine":true}"#),
            Some(r#"{"url":"http://b:1"}"#),
            &[],
            Ok(r#"{"url":"http://b:1","mine":true}"#),
        );
        check(
            "backends/b/servers/s",
            Some("no json"),
            Some(r#"{"url":"http://b:1"}"#),
            &[],
            Ok(r#"{"URL":"http://b:1"}"#),
        );
    }

    #[test]
    fn expectations() {
        let stored = entry("{}");
        assert_eq!("7".parse(), Ok(Expect::Version(7)));
        assert!("0".parse::<Expect>().is_err() && "x".parse::<Expect>().is_err());
        for (expect, stored, holds) in [
            (None, None, true),
            (Some(Expect::Absent), None, true),
            (Some(Expect::Absent), Some(&stored), false),
            (Some(Expect::Version(7)), Some(&stored), true),
            (Some(Expect::Version(8)), Some(&stored), false),
            (Some(Expect::Version(7)), None, false),
        ] {
            assert_eq!(unexpected(expect, stored).is_none(), holds, "{expect:?}");
        }
    }
}
