//! The start of an agent: what the journal says against what the engine has.
//!
//! In this order: copies at or below a tombstone are killed, containers are looked at, what was begun is
//! driven on; and only then does the agent speak to its cell. A container with our host's label that
//! the journal does not know is taken in and never killed on silence.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use model::{InstanceId, Intent, Power};
use tokio_util::sync::CancellationToken;

use crate::drive::Driver;
use crate::engine::{Container, Name};
use crate::health::Health;
use crate::journal::Loaded;
use crate::slot::{Slot, Step};

/// How long the engine may take over its first kills and looks before the cell is spoken to anyway.
const FIRST_LOOKS: Duration = Duration::from_secs(10);
/// Pause before an engine that does not answer is asked again.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);

/// Fills the table with what the journal holds. With another boot, or without a journal, nothing is
/// started before a full sync.
pub(crate) fn load(driver: &Driver, loaded: Loaded) {
    let held = loaded.boot != Some(driver.config.boot);
    let mut inner = driver.table.lock();
    inner.held = held;
    for (id, (wish, marks)) in loaded.instances {
        let mut slot = Slot { wish, marks, confirmed: !held, ..Slot::default() };
        if slot.is_done() && slot.wish.intent != Intent::Gone {
            slot.look = true;
            // Until it is looked at, it is what it was made to be.
            slot.power = if slot.wish.intent == Intent::Run { Power::Running } else { Power::Stopped };
        }
        inner.slots.insert(id, slot);
    }
}

/// Asks the engine until it answers, and drives what is open. Says whether it came to its end before
/// the shutdown.
pub(crate) async fn recover(driver: &Arc<Driver>, health: &Health, shutdown: &CancellationToken) -> bool {
    let listed = loop {
        match driver.engine.list(driver.config.host).await {
            Ok(listed) => break listed,
            Err(fault) => {
                tracing::warn!(%fault, "the engine cannot be asked what it has");
                health.failed(fault);
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return false,
                    () = tokio::time::sleep(driver.table.env.jitter(ENGINE_PAUSE)) => {}
                }
            }
        }
    };
    compare(driver, listed, Duration::MAX);
    let first: Vec<_> = {
        let mut inner = driver.table.lock();
        let now = driver.table.env.monotonic();
        let may_start = !inner.held;
        let ids: Vec<InstanceId> = inner
            .slots
            .iter()
            .filter(|(id, slot)| {
                matches!(slot.next(**id, now, may_start), Some(Step::Remove(_) | Step::Look))
            })
            .map(|(id, _)| *id)
            .collect();
        ids.into_iter().filter_map(|id| driver.wake_in(&mut inner, id)).collect()
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => return false,
        waited = tokio::time::timeout(FIRST_LOOKS, join_all(first)) => {
            if waited.is_err() {
                tracing::warn!("the engine is slow; going on without having looked at everything");
            }
        }
    }
    wake_all(driver);
    true
}

/// Drives whatever has anything to do.
pub(crate) fn wake_all(driver: &Arc<Driver>) {
    let mut inner = driver.table.lock();
    let ids: Vec<InstanceId> = inner.slots.keys().copied().collect();
    for id in ids {
        driver.wake_in(&mut inner, id);
    }
}

/// Compares a list with the table and has the engine asked about every difference. What was driven
/// since the list was asked for, at `asked`, is newer than the list and left alone.
pub(crate) fn compare(driver: &Arc<Driver>, listed: Vec<Container>, asked: Duration) {
    let mut inner = driver.table.lock();
    let mut differing: BTreeSet<InstanceId> = BTreeSet::new();
    let present: HashSet<Name> = listed.iter().map(|container| container.name).collect();
    for container in listed {
        let (id, place) = (container.name.instance, container.name.place());
        let slot = inner.slots.entry(id).or_default();
        if slot.driver.is_some() || slot.touched >= asked {
            continue;
        }
        let new = slot.copies.insert(place, container.generation).is_none();
        slot.origin = container.origin;
        slot.look |= slot.differs(place, container.power) || (new && slot.is_unseen(place));
        differing.insert(id);
    }
    for (id, slot) in &mut inner.slots {
        if slot.copies.is_empty() || slot.driver.is_some() || slot.touched >= asked {
            continue;
        }
        let (wished, mut missing) = (slot.wish.place(), false);
        slot.copies.retain(|(epoch, placement), _| {
            let there = present.contains(&Name { instance: *id, epoch: *epoch, placement: *placement });
            missing |= !there && (*epoch, *placement) == wished;
            there || (*epoch, *placement) == wished
        });
        if missing {
            slot.look = true;
            differing.insert(*id);
        }
    }
    if asked == Duration::MAX {
        return;
    }
    for id in differing {
        driver.wake_in(&mut inner, id);
    }
}
