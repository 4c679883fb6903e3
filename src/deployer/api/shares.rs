//! What all callers have together, and no one of them may have alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Who has how much.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares(Arc<Mutex<BTreeMap<Box<str>, usize>>>);

impl Shares {
    /// One more for `who`, until it is dropped. None: they have `most` already.
    pub(super) fn take(&self, who: &str, most: usize) -> Option<Share> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.get(who).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        all.insert(who.into(), count + 1);
        Some(Share { of: self.clone(), who: who.into() })
    }
}

/// One of what somebody has.
#[derive(Debug)]
pub(super) struct Share {
    of: Shares,
    who: Box<str>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(&self.who) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(all.remove(&self.who)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_it_all() {
        let shares = Shares::default();
        let (one, two) = (shares.take("a", 2), shares.take("a", 2));
        assert!(one.is_some() && two.is_some() && shares.take("a", 2).is_none());
        assert!(shares.take("b", 2).is_some());
        drop(one);
        assert!(shares.take("a", 2).is_some());
        drop(two);
        assert!(shares.0.lock().unwrap().is_empty());
    }
}
