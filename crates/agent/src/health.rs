//! What is known of the engine and of the way to the cell.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Fault;
use tokio::sync::Notify;

/// Shared by those who find out and those who tell.
#[derive(Default)]
pub(crate) struct Health {
    known: Mutex<Known>,
    changed: Notify,
    suspect: Notify,
}

/// What is known.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// A probe container ran.
    pub probed: bool,
    /// Why the engine does not work.
    pub fault: Option<Fault>,
    pub registered: bool,
    pub synced_at: Option<Duration>,
    pub sync_fault: Option<Fault>,
}

impl Known {
    /// A probe container ran, and the engine has answered since.
    pub fn is_healthy(&self) -> bool {
        self.probed && self.fault.is_none()
    }
}

impl Health {
    pub fn known(&self) -> Known {
        self.lock().clone()
    }

    pub fn is_healthy(&self) -> bool {
        self.lock().is_healthy()
    }

    /// The engine failed to answer.
    pub fn failed(&self, fault: Fault) {
        self.change(|known| known.fault = Some(fault));
    }

    /// The engine answered. If it had failed before, only a probe shows that it works again.
    pub fn answered(&self) {
        if self.lock().fault.is_some() {
            self.suspect.notify_one();
        }
    }

    /// A probe came to its end.
    pub fn probed(&self, result: Result<(), Fault>) {
        self.change(|known| {
            known.probed |= result.is_ok();
            known.fault = result.err();
        });
    }

    /// Returns when the engine has to be probed again.
    pub async fn suspect(&self) {
        self.suspect.notified().await;
    }

    /// Returns when the engine became healthy or stopped being it, once however often.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub fn registered(&self) {
        self.lock().registered = true;
    }

    pub fn synced(&self, now: Duration, result: Result<(), Fault>) {
        let mut known = self.lock();
        if result.is_ok() {
            known.synced_at = Some(now);
        }
        known.sync_fault = result.err();
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.lock();
        let before = known.is_healthy();
        change(&mut known);
        if known.is_healthy() != before {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
