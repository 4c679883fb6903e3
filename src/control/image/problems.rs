//! What is wrong, by object, and the list of it that people see.

use super::form::{Form, GhostKind};
use super::{Image, Moment, Now};
use crate::model::{Backend, BackendId, Finding, InForce, ObjectKey, Problem, Revision, Severity};
use crate::store;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Most problems that are listed; the count goes on.
pub const PROBLEMS_MAX: usize = 10_000;
/// Most foreign keys that are remembered by name; the count goes on.
const FOREIGN_MAX: usize = 10_000;
/// Most findings that are kept of one object.
const FINDINGS_PER_OBJECT_MAX: usize = 16;
/// How long a notice about the store as a whole stands.
const NOTICE_FOR: Duration = Duration::from_secs(600);
/// From here on a certificate's end is a warning.
const EXPIRY_DAYS: i64 = 14;

/// What is wrong, errors first, each group in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// At most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// How many there are.
    pub counts: Counts,
}

/// How many problems there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Of severity error.
    pub errors: usize,
    /// Of severity warning.
    pub warnings: usize,
}

/// A finding, with when it came.
#[derive(Debug)]
struct Recorded {
    finding: Finding,
    revision: Revision,
    since: SystemTime,
    /// It is about a file read anew, so the object is in force with what the file held before.
    is_reloaded: bool,
}

/// Findings of objects that have any.
#[derive(Debug, Default)]
pub(super) struct Findings(BTreeMap<ObjectKey, Vec<Recorded>>);

impl Findings {
    /// Replaces what was found about an object; a finding that was there before keeps its age.
    pub(super) fn set(&mut self, key: &ObjectKey, findings: Vec<Finding>, moment: &Moment) {
        if findings.is_empty() {
            self.0.remove(key);
            return;
        }
        let mut old = self.0.remove(key).unwrap_or_default();
        let mut new: Vec<Recorded> = Vec::with_capacity(findings.len().min(FINDINGS_PER_OBJECT_MAX));
        // Errors first, so that the bound never hides why an object is not in force.
        let (errors, warnings): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|finding| finding.severity == Severity::Error);
        for finding in errors.into_iter().chain(warnings).take(FINDINGS_PER_OBJECT_MAX) {
            match old.iter().position(|it| it.finding == finding && !it.is_reloaded) {
                Some(place) => new.push(old.swap_remove(place)),
                None => {
                    let (revision, since) = (moment.revision, moment.wall);
                    new.push(Recorded { finding, revision, since, is_reloaded: false });
                }
            }
        }
        self.0.insert(key.clone(), new);
    }

    /// What reading a host's files anew found.
    pub(super) fn set_reloaded(&mut self, key: &ObjectKey, finding: Option<Finding>, moment: &Moment) {
        let list = self.0.entry(key.clone()).or_default();
        let old = list.iter().position(|it| it.is_reloaded).map(|place| list.remove(place));
        if let Some(finding) = finding {
            let (revision, since) = match old {
                Some(old) if old.finding == finding => (old.revision, old.since),
                _ => (moment.revision, moment.wall),
            };
            list.push(Recorded { finding, revision, since, is_reloaded: true });
        }
        if list.is_empty() {
            self.0.remove(key);
        }
    }
}

/// Keys that are no objects.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    known: BTreeMap<Box<str>, (Revision, SystemTime)>,
    /// Beyond [`FOREIGN_MAX`].
    more: usize,
    before: BTreeMap<Box<str>, (Revision, SystemTime)>,
}

impl Foreign {
    pub(super) fn begin_snapshot(&mut self) {
        self.before = std::mem::take(&mut self.known);
        self.more = 0;
    }

    pub(super) fn end_snapshot(&mut self) {
        self.before = BTreeMap::new();
    }

    pub(super) fn put(&mut self, key: &str, moment: &Moment) {
        // vulcand's own cache of ACME certificates, which lies beside the objects.
        if key.split('/').next() == Some("autocert_cache") || self.known.contains_key(key) {
            return;
        }
        if self.known.len() >= FOREIGN_MAX {
            self.more += 1;
            return;
        }
        let age = self.before.remove(key).unwrap_or((moment.revision, moment.wall));
        self.known.insert(key.into(), age);
    }

    pub(super) fn delete(&mut self, key: &str) {
        if self.known.remove(key).is_none() {
            self.more = self.more.saturating_sub(1);
        }
    }
}

/// Something about the store as a whole.
#[derive(Debug)]
pub(super) struct Notice {
    reason: String,
    revision: Revision,
    since: SystemTime,
    until: std::time::Instant,
}

/// Collects up to the bound, counts beyond.
#[derive(Default)]
struct List {
    max: usize,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    counts: Counts,
}

impl List {
    fn add(&mut self, severity: Severity, problem: impl FnOnce() -> Problem) {
        let (list, count) = match severity {
            Severity::Error => (&mut self.errors, &mut self.counts.errors),
            Severity::Warning => (&mut self.warnings, &mut self.counts.warnings),
        };
        *count += 1;
        if list.len() < self.max {
            list.push(problem());
        }
    }
}

impl Image {
    /// Everything that is wrong now.
    pub fn problems(&self, now: Now) -> Listing {
        let List { mut errors, warnings, counts, .. } = self.list(now, PROBLEMS_MAX);
        let room = PROBLEMS_MAX.saturating_sub(errors.len());
        errors.extend(warnings.into_iter().take(room));
        Listing { problems: errors, counts }
    }

    /// How many problems there are now.
    pub fn counts(&self, now: Now) -> Counts {
        self.list(now, 0).counts
    }

    fn list(&self, now: Now, max: usize) -> List {
        let mut list = List { max, ..List::default() };
        self.list_notices(now, &mut list);
        self.list_ghosts(&mut list);
        self.list_findings(&mut list);
        self.list_missing(&mut list);
        self.list_shadowed(&mut list);
        self.list_foreign(&mut list);
        self.list_certificates(now, &mut list);
        list
    }

    /// What is to be said about a snapshot that is about to be taken.
    pub(super) fn notice_snapshot(&mut self, snapshot: &store::Snapshot, now: Now) {
        self.notices.retain(|notice| notice.until > now.instant);
        let mut notices = Vec::new();
        if snapshot.revision < self.revision {
            self.confirmed = None;
            notices.push(format!(
                "the store's revision went back from {} to {}: it was restored or replaced; what it holds now is obeyed",
                self.revision, snapshot.revision
            ));
        }
        let count = self.slots.values().filter(|slot| slot.stored.is_some()).count();
        if snapshot.entries.is_empty() && count > 0 {
            notices.push(format!("the prefix is empty: all {count} objects were removed"));
        }
        for reason in notices {
            let (revision, since, until) = (snapshot.revision, now.wall, now.instant + NOTICE_FOR);
            self.notices.push(Notice { reason, revision, since, until });
        }
    }

    fn stored_key(&self, key: &ObjectKey) -> String {
        let is_short =
            self.slots.get(key).and_then(|slot| slot.stored.as_ref()).is_some_and(|stored| stored.short);
        if is_short { short_key(key) } else { key.to_string() }
    }

    fn list_notices(&self, now: Now, list: &mut List) {
        for notice in self.notices.iter().filter(|notice| notice.until > now.instant) {
            list.add(Severity::Error, || Problem {
                key: String::new(),
                field: String::new(),
                reason: notice.reason.clone(),
                severity: Severity::Error,
                revision: notice.revision,
                since: notice.since,
                in_force: InForce::This,
            });
        }
    }

    fn list_ghosts(&self, list: &mut List) {
        for (key, ghost) in &self.ghosts {
            let reason = match ghost.kind {
                GhostKind::Held => {
                    "its removal is held, since so much was removed at once; it stays in force until it is written again or \
                     `flipgate confirm` releases it"
                }
                GhostKind::Named => {
                    "it was removed while frontends in force name it; it stays in force until none does, so that nothing is \
                     served without it"
                }
            };
            list.add(Severity::Error, || Problem {
                key: key.to_string(),
                field: String::new(),
                reason: reason.into(),
                severity: Severity::Error,
                revision: ghost.revision,
                since: ghost.since,
                in_force: InForce::Previous,
            });
        }
    }

    fn list_findings(&self, list: &mut List) {
        for (key, recorded) in &self.findings.0 {
            let slot = self.slots.get(key);
            let in_force = slot.map_or(InForce::None, |slot| slot.in_force);
            for Recorded { finding, revision, since, is_reloaded } in recorded {
                list.add(finding.severity, || Problem {
                    key: self.stored_key(key),
                    field: finding.field.clone(),
                    reason: finding.reason.clone(),
                    severity: finding.severity,
                    revision: *revision,
                    since: *since,
                    in_force: if *is_reloaded { InForce::Previous } else { in_force },
                });
            }
        }
    }

    /// Objects in force that name a backend which is gone. Only looked for while there is such a backend.
    fn list_missing(&self, list: &mut List) {
        if self.links.missing.is_empty() || list.max == 0 {
            let nodes = self.links.missing.keys().map(|id| self.links.node(id));
            list.counts.errors +=
                nodes.map(|node| (node.frontends + node.aliases + node.middlewares) as usize).sum::<usize>();
            return;
        }
        for (key, slot) in &self.slots {
            let is_missing = |target: &&BackendId| self.links.missing.contains_key(*target);
            let (target, field) = match &slot.form {
                Some(Form::Frontend(frontend)) => {
                    (frontend.backends().find(is_missing), frontend.backend_field())
                }
                Some(Form::Backend(backend, _)) => match &**backend {
                    Backend::Alias { target, .. } => (Some(target), "Target"),
                    Backend::Http { .. } => continue,
                },
                Some(Form::Middleware(middleware)) => {
                    (middleware.spec.backend().filter(is_missing), "Middleware.BackendId")
                }
                _ => continue,
            };
            let Some((target, (revision, since))) =
                target.and_then(|target| Some((target, self.links.missing.get(target)?)))
            else {
                continue;
            };
            list.add(Severity::Error, || Problem {
                key: self.stored_key(key),
                field: field.into(),
                reason: match field {
                    "Middleware.BackendId" => format!("backend {target} does not exist any more"),
                    _ => format!(
                        "backend {target} does not exist any more; requests are answered 503 no_backend"
                    ),
                },
                severity: Severity::Error,
                revision: *revision,
                since: *since,
                in_force: slot.in_force,
            });
        }
    }

    fn list_shadowed(&self, list: &mut List) {
        for (key, (stored, _)) in &self.shadowed {
            list.add(Severity::Warning, || Problem {
                key: short_key(key),
                field: String::new(),
                reason: format!("{key} exists, too, and is the one that counts; remove this key"),
                severity: Severity::Warning,
                revision: Revision(stored.version),
                since: self.work.moment.wall,
                in_force: InForce::None,
            });
        }
    }

    fn list_foreign(&self, list: &mut List) {
        for (key, (revision, since)) in &self.foreign.known {
            list.add(Severity::Warning, || Problem {
                key: key.to_string(),
                field: String::new(),
                reason: "no object of ours: known are listeners/<id>, hosts/<name>/host, frontends/<id>/frontend, \
                         frontends/<id>/middlewares/<id>, middlewares/<id>, backends/<id>/backend and \
                         backends/<id>/servers/<id>"
                    .into(),
                severity: Severity::Warning,
                revision: *revision,
                since: *since,
                in_force: InForce::None,
            });
        }
        list.counts.warnings += self.foreign.more;
    }

    fn list_certificates(&self, now: Now, list: &mut List) {
        let hosts = self.slots.iter().skip_while(|(key, _)| matches!(key, ObjectKey::Listener(_)));
        for (key, slot) in hosts.take_while(|(key, _)| matches!(key, ObjectKey::Host(_))) {
            let Some(Form::Host(host, tls)) = &slot.form else { continue };
            let Some(certificate) = &tls.certificate else { continue };
            let mut reasons: Vec<String> =
                certificate.warnings(&host.name, now.wall).iter().map(ToString::to_string).collect();
            let days = certificate.days_left(now.wall);
            if (0..=EXPIRY_DAYS).contains(&days) {
                reasons.push(format!("the certificate expires within {} days", days + 1));
            }
            let due = certificate.not_after().checked_sub(Duration::from_secs(EXPIRY_DAYS as u64 * 86_400));
            for reason in reasons {
                list.add(Severity::Warning, || Problem {
                    key: self.stored_key(key),
                    field: "Settings.KeyPair".into(),
                    reason,
                    severity: Severity::Warning,
                    revision: slot.stored.as_ref().map_or(self.revision, |stored| Revision(stored.version)),
                    since: due.filter(|due| *due <= now.wall).unwrap_or(now.wall),
                    in_force: slot.in_force,
                });
            }
        }
    }
}

/// `frontends/<id>`, `backends/<id>`, `hosts/<name>`.
fn short_key(key: &ObjectKey) -> String {
    match key {
        ObjectKey::Frontend(id) => format!("frontends/{id}"),
        ObjectKey::Backend(id) => format!("backends/{id}"),
        ObjectKey::Host(name) => format!("hosts/{name}"),
        other => other.to_string(),
    }
}
