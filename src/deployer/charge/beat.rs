//! The sign of life of a charge: a key that is put again and again, each time only if the application is still this
//! process's.

use super::{Charge, Timings, lock_put, read};
use crate::deployer::record::{Application, application_key};
use crate::kubernetes::Name;
use crate::store::{Area, Expected, Store, StoreError, Transaction};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Dropping it ends it.
pub(in crate::deployer) struct Beat {
    /// Somebody else has the application.
    pub(in crate::deployer) lost: CancellationToken,
    away: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
}

impl Beat {
    /// Whether the store did not take the last sign of life.
    pub(in crate::deployer) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }
}

/// Begins to give signs of life.
pub(in crate::deployer) fn beat(charge: &Charge, timings: Timings) -> Beat {
    let lost = CancellationToken::new();
    let away = Arc::<AtomicBool>::default();
    let mut heart = Heart {
        away: away.clone(),
        store: charge.store.clone(),
        app: charge.app.clone(),
        application: charge.application.clone(),
        fence: charge.fence,
    };
    let end = lost.clone();
    let task = tokio::spawn(async move {
        let mut ticks = interval(timings.beat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !heart.beat(timings).await {
                return end.cancel();
            }
        }
    });
    Beat { lost, away, _task: AbortOnDropHandle::new(task) }
}

struct Heart {
    store: Arc<dyn Store>,
    app: Name,
    application: Application,
    fence: u64,
    away: Arc<AtomicBool>,
}

impl Heart {
    /// False: the application is somebody else's, or its deployment is over.
    async fn beat(&mut self, timings: Timings) -> bool {
        let expect = vec![(Area::State, application_key(&self.app), Expected::Version(self.fence))];
        let operations = vec![lock_put(&self.app, &self.application.holder, timings.lock_ttl)];
        let put = self.store.commit(Transaction { expect, operations }).await;
        self.away.store(matches!(put, Err(StoreError::Unavailable(_))), Ordering::Relaxed);
        match put {
            Err(StoreError::Conflict { .. }) => self.is_still_ours().await,
            Err(error) => {
                tracing::debug!(app = %self.app, %error, "no sign of life could be given");
                true
            }
            Ok(_) => true,
        }
    }

    /// The record may have been written by this process itself.
    async fn is_still_ours(&mut self) -> bool {
        match read::<Application>(&*self.store, &application_key(&self.app)).await {
            Ok(Some((found, version))) => {
                let mine = &self.application;
                self.fence = version;
                (&found.holder, found.term, &found.open) == (&mine.holder, mine.term, &mine.open)
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }
}
