//! Which colour an answer may have, over flips.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What flips did. Whoever writes them says so here, before and after; clones share it.
#[derive(Clone, Default)]
pub struct Colours(Arc<Mutex<Vec<Flip>>>);

struct Flip {
    colour: String,
    begun: Instant,
    served: Option<Instant>,
}

impl Colours {
    /// A flip is about to be written.
    pub fn begin(&self, colour: &str) {
        self.flips().push(Flip { colour: colour.to_owned(), begun: Instant::now(), served: None });
    }

    /// All workers serve the last one.
    pub fn served(&self) {
        if let Some(last) = self.flips().last_mut() {
            last.served = Some(Instant::now());
        }
    }

    /// Checks an answer that is whole now, to a request begun at `begin`: what was served by then, or what was written
    /// since.
    pub(super) fn check(&self, colour: &str, begin: Instant) -> Result<(), String> {
        let (flips, end) = (self.flips(), Instant::now());
        let written = flips.iter().rev().skip_while(|flip| flip.begun > end);
        let mut allowed = Vec::new();
        for flip in written {
            if flip.colour == colour {
                return Ok(());
            }
            allowed.push(flip.colour.clone());
            if flip.served.is_some_and(|served| served <= begin) {
                break;
            }
        }
        Err(format!("{colour}, where only {allowed:?} may be"))
    }

    fn flips(&self) -> MutexGuard<'_, Vec<Flip>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[test]
fn a_colour_is_wrong_once_the_next_one_is_served() {
    let colours = Colours::default();
    let before = Instant::now();
    colours.begin("blue");
    colours.served();
    assert!(colours.check("green", before).is_err());
    colours.begin("green");
    for colour in ["blue", "green"] {
        assert_eq!(colours.check(colour, Instant::now()), Ok(()));
    }
    let while_written = Instant::now();
    colours.served();
    assert_eq!(colours.check("blue", while_written), Ok(()));
    assert!(colours.check("blue", Instant::now()).is_err());
    assert_eq!(colours.check("green", Instant::now()), Ok(()));
}
