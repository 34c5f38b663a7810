//! What has gone wrong, counted by kind: a kind that never happens proves nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use model::failpoint;

use super::world::World;

/// The counts of one simulation. What is counted is what happened, not what was drawn: a loss is a message that was
/// lost, not a broker that might lose some.
#[derive(Debug, Default)]
pub struct Fired(Mutex<BTreeMap<&'static str, u64>>);

impl Fired {
    /// It happened once.
    pub fn once(&self, kind: &'static str) {
        self.more(kind, 1);
    }

    /// It happened so often.
    pub fn more(&self, kind: &'static str, times: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += times;
    }

    /// All counts.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl World {
    /// What has gone wrong so far, by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = self.fired.counts();
        let mut more = |kind, times| *counts.entry(kind).or_default() += times;
        for at in 0..=self.sites.len() {
            let misdeeds = self.connector.hub().misdeeds(&self.vhost(at));
            more("a message is lost", misdeeds.lost);
            more("a message is doubled", misdeeds.doubled);
            more("a message overtakes", misdeeds.overtook);
            more("a message is late", misdeeds.late);
            more("a publisher is blocked", misdeeds.blocked);
        }
        for host in self.hosts() {
            more("a journal cannot be written", host.journal.failed());
        }
        for point in failpoint::ALL {
            more(point.0, self.failpoints.fired(*point));
        }
        counts
    }
}
