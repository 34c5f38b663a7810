//! What an answer of the cell means for the slots: judged, journaled, and only then put in force.

use std::collections::{BTreeMap, HashMap};

use model::sync::{Observation, Outcome, Wanted};
use model::{Fault, InstanceId};
use rpc::contract::{Synced, Verdict};

use super::Sync;
use crate::journal::{Change, Wish};
use crate::recover::wake_all;
use crate::table::{Inner, Sent};

impl Sync {
    /// Takes an answer in. After a fault nothing of it is in force, and the cell will repeat it.
    pub(super) async fn apply(&mut self, sent: &Sent, reply: Synced) -> Result<(), Fault> {
        self.meet(reply.incarnation.uuid());
        if reply.differs {
            tracing::info!("the cell's digest of this host differs; syncing in full");
            metrics::counter!("skep_agent_digests_differing_total").increment(1);
            self.ask_for_everything();
        }
        let mut staged = BTreeMap::new();
        {
            let mut inner = self.driver.table.lock();
            let told: HashMap<InstanceId, &Observation> =
                sent.observations.iter().map(|observation| (observation.instance, observation)).collect();
            for (id, verdict) in &reply.verdicts {
                if let Some(observation) = told.get(id) {
                    self.judge(&mut inner, &mut staged, observation, *verdict);
                }
            }
            for wanted in &reply.wanted {
                self.consider(&mut inner, &mut staged, wanted);
            }
        }
        if staged.is_empty() {
            return Ok(());
        }
        let changes = staged.iter().map(|(id, wish)| Change::Wish(*id, wish.clone())).collect();
        self.driver.journal.commit(changes).await?;
        let mut inner = self.driver.table.lock();
        for (id, wish) in staged {
            inner.slots.entry(id).or_default().accept(wish);
            self.driver.table.report_soon(&mut inner, id);
            self.driver.wake_in(&mut inner, id);
        }
        Ok(())
    }

    /// A verdict on what was told of a copy. Only positive evidence lets it be killed.
    fn judge(
        &self,
        inner: &mut Inner,
        staged: &mut BTreeMap<InstanceId, Wish>,
        told: &Observation,
        verdict: Verdict,
    ) {
        let id = told.instance;
        let Some(slot) = inner.slots.get_mut(&id) else { return };
        if told.outcome == Outcome::Gone {
            return;
        }
        match verdict {
            Verdict::Unknown => {
                if !slot.quarantined {
                    tracing::warn!(instance = %id, "the cell does not know this instance; it is kept");
                }
                slot.quarantined = true;
            }
            Verdict::Superseded(_) if self.distrust => {}
            Verdict::Superseded(by) if (by.epoch, by.placement) < (told.at.epoch, told.at.placement) => {
                tracing::error!(instance = %id, at = ?told.at, ?by, "what supersedes a copy is older than it");
            }
            Verdict::Superseded(by) => {
                tracing::info!(instance = %id, at = ?told.at, ?by, "this copy is superseded and goes");
                metrics::counter!("skep_agent_superseded_total").increment(1);
                // The tombstone covers what was told of, not the newer placement that may come here.
                if let Some(wish) = staged.get(&id).unwrap_or(&slot.wish).buried_at(told.at) {
                    staged.insert(id, wish);
                }
            }
        }
    }

    /// A wish: above the journal it is taken, anything else is answered with what is.
    fn consider(&self, inner: &mut Inner, staged: &mut BTreeMap<InstanceId, Wish>, wanted: &Wanted) {
        let id = wanted.instance;
        let slot = inner.slots.entry(id).or_default();
        let before = staged.get(&id).unwrap_or(&slot.wish);
        if let Some(wish) = before.succeeded_by(wanted) {
            staged.insert(id, wish);
            return;
        }
        let same = wanted.at == before.at;
        if same {
            (slot.confirmed, slot.quarantined) = (true, false);
        } else {
            tracing::debug!(instance = %id, at = ?wanted.at, journal = ?before.at, "an old wish is refused");
            metrics::counter!("skep_agent_refused_total").increment(1);
        }
        let settled = slot.is_done() || slot.failure().is_some();
        self.driver.wake_in(inner, id);
        // What is still being worked on was told as taken; it is told again when it is done.
        if !same || self.full || settled {
            self.driver.table.report_later(inner, id);
        }
    }

    /// Everything that the cell wishes was taken in.
    pub(super) async fn finish_full(&mut self) -> Result<(), Fault> {
        let mut changes = vec![Change::Boot(self.driver.config.boot)];
        changes.extend(self.incarnation.map(Change::Incarnation));
        if let Err(fault) = self.driver.journal.commit(changes).await {
            (self.full, self.after) = (true, None);
            return Err(fault);
        }
        if self.distrust {
            // Now verdicts count; hear them again.
            self.distrust = false;
            self.driver.table.report_all();
        }
        let was_held = std::mem::take(&mut self.driver.table.lock().held);
        if was_held {
            tracing::info!("the first full sync is finished; containers may be started");
            wake_all(&self.driver);
        }
        Ok(())
    }
}
