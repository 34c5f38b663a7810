//! A journal in memory, for simulated hosts: whoever holds it keeps it when the agent dies. Writing it
//! blocks nobody, so that it is written where the writer runs and no thread is needed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Fault, HostId};

use super::{Change, Loaded};

/// The journal of one host, held outside of its agent. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    host: Option<HostId>,
    held: Loaded,
    failing: bool,
    failed: u64,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets every commit fail, as on a full disk, until it is called with `false`.
    pub fn fail(&self, failing: bool) {
        self.lock().failing = failing;
    }

    /// How many commits have failed.
    pub fn failed(&self) -> u64 {
        self.lock().failed
    }

    /// Forgets everything, as a disk that was replaced does.
    pub fn lose(&self) {
        *self.lock() = Kept::default();
    }

    pub(super) fn load(&self, host: HostId) -> Result<Loaded, Fault> {
        let mut kept = self.lock();
        match kept.host.replace(host) {
            Some(owner) if owner != host => {
                Err(Fault::invalid(format!("this journal belongs to host {owner}, and this is host {host}")))
            }
            _ => Ok(kept.held.clone()),
        }
    }

    pub(super) fn commit(&self, changes: &[Change]) -> Result<(), Fault> {
        let mut kept = self.lock();
        if kept.failing {
            kept.failed += 1;
            return Err(Fault::unavailable("the journal's disk is full"));
        }
        for change in changes {
            match change {
                Change::Wish(id, wish) => kept.held.instances.entry(*id).or_default().0 = wish.clone(),
                Change::Marks(id, marks) => kept.held.instances.entry(*id).or_default().1 = marks.clone(),
                Change::Boot(boot) => kept.held.boot = Some(*boot),
                Change::Incarnation(id) => kept.held.incarnation = Some(*id),
            }
        }
        Ok(())
    }
}
