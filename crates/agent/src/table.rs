//! All slots of the host behind one lock, with what has to be reported and what falls due.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::sync::{Observation, Offer, Outcome};
use model::{At, Env, InstanceId, Intent, Power};
use tokio::sync::Notify;

use crate::slot::Slot;

/// The slots, and who is woken by what.
pub(crate) struct Table {
    pub env: Env,
    inner: Mutex<Inner>,
    /// There is something to report at once.
    pub urgent: Notify,
    /// There is something to report soon.
    pub soon: Notify,
    /// Something falls due earlier than anything before.
    pub sooner: Notify,
}

/// What the lock protects.
#[derive(Default)]
pub(crate) struct Inner {
    /// In the order of their ids, so that what happens does not hang on chance.
    pub slots: BTreeMap<InstanceId, Slot>,
    /// Nothing is started before a full sync is finished.
    pub held: bool,
    /// The agent ends: nothing new is begun.
    pub closing: bool,
    /// The number of the newest observation of this session.
    seq: i64,
    dirty: BTreeSet<InstanceId>,
    due: BinaryHeap<Reverse<(Duration, InstanceId)>>,
}

/// A page of observations, with the wishes that they tell of.
#[derive(Default)]
pub(crate) struct Sent {
    pub observations: Vec<Observation>,
    wishes: Vec<At>,
    /// There was more than fits.
    pub was_cut: bool,
}

/// Numbers of slots in several states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub instances: usize,
    pub running: usize,
    pub quarantined: usize,
    pub busy: usize,
    pub unreported: usize,
    pub held: bool,
}

impl Table {
    pub fn new(env: Env) -> Arc<Self> {
        Arc::new(Self {
            env,
            inner: Mutex::default(),
            urgent: Notify::new(),
            soon: Notify::new(),
            sooner: Notify::new(),
        })
    }

    /// Locks everything; never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks an instance to be reported at once.
    pub fn report(&self, inner: &mut Inner, id: InstanceId) {
        inner.dirty.insert(id);
        self.urgent.notify_one();
    }

    /// Marks an instance to be reported soon, along with others.
    pub fn report_soon(&self, inner: &mut Inner, id: InstanceId) {
        inner.dirty.insert(id);
        self.soon.notify_one();
    }

    /// Marks an instance to be reported with whatever goes next.
    pub fn report_later(&self, inner: &mut Inner, id: InstanceId) {
        inner.dirty.insert(id);
    }

    /// Puts what a slot says about its due time into the queue.
    pub fn schedule(&self, inner: &mut Inner, id: InstanceId) {
        let Some(due) = inner.slots.get(&id).and_then(|slot| slot.due) else { return };
        let first = inner.due.peek().is_none_or(|Reverse((earliest, _))| due < *earliest);
        inner.due.push(Reverse((due, id)));
        if first {
            self.sooner.notify_one();
        }
    }

    /// Takes what is due by `now`, and tells when the next falls due.
    pub fn take_due(&self, now: Duration) -> (Vec<InstanceId>, Option<Duration>) {
        let mut inner = self.lock();
        let mut ids = Vec::new();
        while let Some(Reverse((due, id))) = inner.due.peek().copied() {
            if due > now {
                return (ids, Some(due));
            }
            inner.due.pop();
            if let Some(slot) = inner.slots.get_mut(&id).filter(|slot| slot.due == Some(due)) {
                slot.due = None;
                ids.push(id);
            }
        }
        (ids, None)
    }

    /// Observations are numbered above `first` from now on. A cell that does not say gets the clock's
    /// word, which is above everything told before unless the clock was set back.
    pub fn number_from(&self, first: i64) {
        let first = if first > 0 { first } else { self.env.now().0 };
        let mut inner = self.lock();
        inner.seq = inner.seq.max(first);
    }

    /// Makes observations of what is unreported, oldest ids first, up to about `bytes`.
    pub fn send(&self, bytes: usize) -> Sent {
        let mut inner = self.lock();
        let mut sent = Sent::default();
        let mut size = 0;
        while size < bytes {
            let Some(id) = inner.dirty.pop_first() else { break };
            let seq = inner.seq + 1;
            let Some(slot) = inner.slots.get(&id) else { continue };
            let observation = slot.observation(id, seq);
            let observed = &observation.observed;
            size +=
                400 + observed.ports.len() * 80 + observation.fault.as_ref().map_or(0, |f| f.message.len());
            sent.wishes.push(slot.wish.at);
            sent.observations.push(observation);
            inner.seq = seq;
        }
        sent.was_cut = !inner.dirty.is_empty();
        sent
    }

    /// The page arrived. What has changed since it was made was marked again by whoever changed it.
    pub fn acknowledge(&self, sent: &Sent) {
        let mut inner = self.lock();
        for (observation, at) in sent.observations.iter().zip(&sent.wishes) {
            if let (Outcome::Done | Outcome::Changed, Some(slot)) =
                (observation.outcome, inner.slots.get_mut(&observation.instance))
            {
                slot.told = *at;
            }
        }
    }

    /// The page may not have arrived.
    pub fn unsend(&self, sent: &Sent) {
        let mut inner = self.lock();
        inner.dirty.extend(sent.observations.iter().map(|observation| observation.instance));
    }

    /// Marks everything that a cell would want to know.
    pub fn report_all(&self) {
        let mut inner = self.lock();
        let live: HashSet<InstanceId> =
            inner.slots.iter().filter(|(_, slot)| slot.is_live()).map(|(id, _)| *id).collect();
        inner.dirty.extend(live);
        self.urgent.notify_one();
    }

    /// Whether there is nothing left to report.
    pub fn is_reported(&self) -> bool {
        self.lock().dirty.is_empty()
    }

    /// What the cell does not know and is kept, by id.
    pub fn offers(&self, cell: &str) -> Vec<Offer> {
        self.lock().slots.iter().filter_map(|(id, slot)| slot.offer(*id, cell)).collect()
    }

    /// The digest of what was journaled and is known to the cell.
    pub fn digest(&self) -> u64 {
        let inner = self.lock();
        let live = inner
            .slots
            .iter()
            .filter(|(_, slot)| slot.wish.is_some() && slot.wish.intent != Intent::Gone && !slot.quarantined);
        rpc::contract::digest(live.map(|(id, slot)| (*id, slot.wish.at)))
    }

    pub fn counts(&self) -> Counts {
        let inner = self.lock();
        let mut counts = Counts { unreported: inner.dirty.len(), held: inner.held, ..Counts::default() };
        for slot in inner.slots.values() {
            counts.instances += usize::from(slot.is_live());
            counts.running += usize::from(slot.power == Power::Running);
            counts.quarantined += usize::from(slot.quarantined);
            counts.busy += usize::from(slot.driver.is_some());
        }
        counts
    }
}
