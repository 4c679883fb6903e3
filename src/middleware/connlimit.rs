//! Requests in flight for each value of a variable, exact over all workers.

use super::{Hold, Outcome, Reply, RequestContext, Visit, variable};
use crate::message::RequestHead;
use crate::meter::{Key, Keyed};
use crate::model::ConnLimitSpec;
use crate::telemetry::Reason;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// How many are in flight, of those that have any: as many keys as requests at most.
type Counts = Keyed<u32>;

#[derive(Debug)]
pub(super) struct ConnLimit {
    spec: ConnLimitSpec,
    counts: Arc<Counts>,
}

/// One request in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    counts: Arc<Counts>,
    key: Key,
}

impl ConnLimit {
    /// What is in flight goes on being counted as long as it is counted by the same.
    pub(super) fn compile(spec: &ConnLimitSpec, previous: Option<&Self>) -> Self {
        let same = previous.filter(|previous| previous.spec.by == spec.by);
        let counts = same.map(|previous| previous.counts.clone()).unwrap_or_default();
        Self { spec: spec.clone(), counts }
    }

    pub(super) fn run(
        &self,
        visit: &mut Visit,
        request: &RequestHead,
        context: &RequestContext<'_>,
    ) -> Outcome {
        let key = variable::key(&self.spec.by, request, context);
        match enter(&self.counts, key, self.spec.connections) {
            Some(in_flight) => {
                visit.holds.push(Hold::InFlight(in_flight));
                Outcome::Pass
            }
            None => Outcome::Reply(limited(self.spec.connections)),
        }
    }
}

fn enter(counts: &Arc<Counts>, key: Key, most: u32) -> Option<InFlight> {
    let mut keys = counts.lock(key);
    match keys.entry(key) {
        Entry::Occupied(count) if *count.get() >= most => return None,
        Entry::Occupied(mut count) => *count.get_mut() += 1,
        Entry::Vacant(_) if most == 0 => return None,
        Entry::Vacant(vacant) => {
            vacant.insert(1);
        }
    }
    drop(keys);
    Some(InFlight { counts: counts.clone(), key })
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.counts.lock(self.key).entry(self.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn limited(most: u32) -> Reply {
    let text = format!("max connections reached: {most}");
    Reply {
        body: Some(("text/plain; charset=utf-8".into(), text.into())),
        ..Reply::refuse(429, Reason::Limited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_flight_is_counted_by_key_and_forgotten_at_its_end() {
        let counts = Arc::new(Counts::default());
        let (a, b) = (Key::of("a"), Key::of("b"));
        assert!(enter(&counts, a, 0).is_none() && counts.is_empty());
        let first = enter(&counts, a, 2).unwrap();
        let second = enter(&counts, a, 2).unwrap();
        assert!(enter(&counts, a, 2).is_none());
        // A limit that was lowered lets nothing more in; one that was raised does.
        assert!(enter(&counts, a, 1).is_none());
        let third = enter(&counts, a, 3).unwrap();
        let other = enter(&counts, b, 2).unwrap();
        assert_eq!(counts.len(), 2);
        drop((first, second, other));
        assert_eq!(counts.len(), 1);
        assert!(enter(&counts, a, 1).is_none());
        drop(third);
        assert!(counts.is_empty());
    }

    #[test]
    fn many_threads_never_pass_the_limit() {
        let counts = Arc::new(Counts::default());
        let most = std::sync::atomic::AtomicU32::new(0);
        let now = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        let Some(_held) = enter(&counts, Key::of("a"), 3) else { continue };
                        let order = std::sync::atomic::Ordering::SeqCst;
                        most.fetch_max(now.fetch_add(1, order) + 1, order);
                        now.fetch_sub(1, order);
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert!(counts.is_empty());
    }
}
