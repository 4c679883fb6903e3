//! What is told of a flip as it goes: each thing once, in order, and whom it waits for when that takes long.

use super::plan::{Preparation, Progress, Waiting};
use super::record::{Flip, Totals};
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// It is said whom a flip waits for when it has waited so long.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// It is said again, if it is the same, after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Takes what is told.
pub type Sink<'a> = &'a mut (dyn FnMut(Event) + Send);

/// One thing to tell. Its `Display` is a line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// So many proxies are ready.
    Prepared {
        /// How many.
        done: usize,
        /// Of how many.
        of: usize,
    },
    /// The new values are written.
    Written {
        /// Visible at it.
        revision: u64,
    },
    /// There is nobody to wait for.
    NoProxy,
    /// So many proxies serve it.
    Served {
        /// How many.
        done: usize,
        /// Of how many.
        of: usize,
    },
    /// No request can still begin on the old side.
    Quiet,
    /// So many proxies have no request open on the old side.
    Drained {
        /// How many.
        done: usize,
        /// Of how many.
        of: usize,
        /// Requests that are open.
        open: u64,
    },
    /// Something else still leads to the old side.
    StillNamed {
        /// The backend.
        backend: String,
        /// What names it; may be empty where only a proxy knows.
        by: Vec<String>,
    },
    /// Nothing leads to a backend any more, and nothing is open there.
    Safe {
        /// The backend.
        backend: String,
        /// The revision of the write.
        revision: u64,
        /// A bake may still send traffic back.
        baking: bool,
    },
    /// Who is waited for.
    Waiting(Vec<Waiting>),
    /// The new side did well enough, for as long as was asked.
    Baked {
        /// What it counted.
        counted: Totals,
    },
    /// The values before were written again.
    RolledBack {
        /// Why.
        reason: String,
        /// Visible at it.
        revision: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepared { done, of } => write!(f, "prepared {done} of {of}"),
            Self::Written { revision } => write!(f, "written at revision {revision}"),
            Self::NoProxy => f.write_str("no proxy is there"),
            Self::Served { done, of } => write!(f, "served {done} of {of}"),
            Self::Quiet => f.write_str("quiet"),
            Self::Drained { done, of, open: 0 } => write!(f, "drained {done} of {of}"),
            Self::Drained { done, of, open: 1 } => write!(f, "drained {done} of {of}, 1 request open"),
            Self::Drained { done, of, open } => write!(f, "drained {done} of {of}, {open} requests open"),
            Self::StillNamed { backend, by } if by.is_empty() => {
                write!(f, "drained, but a proxy still names {backend}")
            }
            Self::StillNamed { backend, by } => {
                let names = if by.len() == 1 { "names" } else { "name" };
                write!(f, "drained, but {} still {names} {backend}", by.join(", "))
            }
            Self::Safe { backend, baking: false, .. } => write!(f, "safe to destroy {backend}"),
            Self::Safe { backend, .. } => {
                write!(f, "safe to destroy {backend}; until it is baked, a rollback would need it")
            }
            Self::Waiting(list) => {
                let list: Vec<_> = list.iter().map(|it| format!("{} ({})", it.member, it.reason)).collect();
                write!(f, "waiting for {}", list.join(", "))
            }
            Self::Baked { counted } => {
                let Totals { attempts, failures, .. } = counted;
                write!(f, "baked: {failures} of {attempts} requests failed")
            }
            Self::RolledBack { reason, .. } => write!(f, "rolled back: {reason}"),
        }
    }
}

impl Event {
    /// For programs.
    pub fn to_json(&self, flip: &str) -> Value {
        match self {
            Self::Prepared { done, of } => {
                json!({ "event": "prepared", "flip": flip, "done": done, "of": of })
            }
            Self::Written { revision } => json!({ "event": "written", "flip": flip, "revision": revision }),
            Self::NoProxy => json!({ "event": "noProxy", "flip": flip }),
            Self::Served { done, of } => json!({ "event": "served", "flip": flip, "done": done, "of": of }),
            Self::Quiet => json!({ "event": "quiet", "flip": flip }),
            Self::Drained { done, of, open } => {
                json!({ "event": "drained", "flip": flip, "done": done, "of": of, "open": open })
            }
            Self::StillNamed { backend, by } => {
                json!({ "event": "stillNamed", "flip": flip, "backend": backend, "by": by })
            }
            Self::Safe { backend, revision, baking } => {
                json!({ "event": "safe", "flip": flip, "backend": backend, "revision": revision, "baking": baking })
            }
            Self::Waiting(list) => {
                let list: Vec<_> =
                    list.iter().map(|it| json!({ "member": it.member, "reason": it.reason })).collect();
                json!({ "event": "waiting", "flip": flip, "for": list })
            }
            Self::Baked { counted } => json!({
                "event": "baked", "flip": flip, "requests": counted.attempts, "errors": counted.failures,
            }),
            Self::RolledBack { reason, revision } => {
                json!({ "event": "rolledBack", "flip": flip, "reason": reason, "revision": revision })
            }
        }
    }
}

/// What was told already.
#[derive(Debug)]
pub(super) struct Told {
    prepared: Option<usize>,
    served: Option<usize>,
    quiet: bool,
    drained: Option<(usize, u64)>,
    drained_at: Instant,
    pub(super) safe: bool,
    named: Vec<String>,
    pub(super) baked: bool,
    moved_at: Instant,
    waiting: (Vec<Waiting>, Option<Instant>),
}

impl Told {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            prepared: None,
            served: None,
            quiet: false,
            drained: None,
            drained_at: now,
            safe: false,
            named: Vec::new(),
            baked: false,
            moved_at: now,
            waiting: (Vec::new(), None),
        }
    }

    pub(super) fn preparation(
        &mut self,
        found: &Preparation,
        now: Instant,
        sink: &mut (dyn FnMut(Event) + Send),
    ) {
        if found.of > 0 && self.prepared != Some(found.done) && (found.done > 0 || self.prepared.is_some()) {
            self.prepared = Some(found.done);
            self.moved_at = now;
            sink(Event::Prepared { done: found.done, of: found.of });
        }
        let waiting = found.missing.iter().chain(&found.lost).cloned().collect();
        self.wait_for(waiting, now, sink);
    }

    /// A phase begins.
    pub(super) fn restart(&mut self, now: Instant) {
        self.moved_at = now;
        self.waiting = (Vec::new(), None);
    }

    pub(super) fn progress(
        &mut self,
        flip: &Flip,
        revision: u64,
        found: &Progress,
        now: Instant,
        sink: &mut (dyn FnMut(Event) + Send),
    ) {
        if found.of == 0 || self.safe {
            return;
        }
        if self.served != Some(found.served) && (found.served > 0 || self.served.is_some()) {
            self.served = Some(found.served);
            self.moved_at = now;
            sink(Event::Served { done: found.served, of: found.of });
        }
        if !self.quiet && found.quiet == found.of {
            self.quiet = true;
            self.moved_at = now;
            sink(Event::Quiet);
        }
        if self.quiet {
            let state = (found.drained, found.open);
            let is_news = match self.drained {
                None => true,
                Some((done, _)) if done != found.drained => true,
                Some(_) => {
                    self.drained != Some(state)
                        && now.saturating_duration_since(self.drained_at) >= SILENT_FOR
                }
            };
            if is_news {
                (self.drained, self.drained_at, self.moved_at) = (Some(state), now, now);
                sink(Event::Drained { done: found.drained, of: found.of, open: found.open });
            }
        }
        if found.safe {
            self.safe = true;
            for backend in flip.old_side() {
                let baking = flip.bake.is_some() && !self.baked;
                sink(Event::Safe { backend: backend.to_owned(), revision, baking });
            }
            return;
        }
        self.wait_for(found.waiting.clone(), now, sink);
    }

    /// Those of the backends that were not yet told of as still named.
    pub(super) fn newly_named(&mut self, found: &Progress) -> Vec<String> {
        if found.drained < found.of {
            return Vec::new();
        }
        let new: Vec<String> = found.named.iter().filter(|id| !self.named.contains(id)).cloned().collect();
        self.named.extend(new.iter().cloned());
        new
    }

    fn wait_for(&mut self, waiting: Vec<Waiting>, now: Instant, sink: &mut (dyn FnMut(Event) + Send)) {
        if waiting.is_empty() || now.saturating_duration_since(self.moved_at) < SILENT_FOR {
            return;
        }
        let names = |list: &[Waiting]| list.iter().map(|it| it.member.clone()).collect::<Vec<_>>();
        let is_news = names(&waiting) != names(&self.waiting.0)
            || self.waiting.1.is_none_or(|at| now.saturating_duration_since(at) >= AGAIN_AFTER);
        if is_news {
            self.waiting = (waiting.clone(), Some(now));
            sink(Event::Waiting(waiting));
        }
    }
}
