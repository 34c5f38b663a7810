//! An API database that was put back from a backup, compared with what the cells have.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_db::quotas::Limits;
use api_db::restored::{self, Compared, Fate, Follow, Seen};
use api_db::{Tx, mappings};
use cell_db::restored::Standing;
use model::instance::Stage;
use model::{Cell, CellId, Incarnation, InstanceId, Timestamp};
use serde::Serialize;
use serde_json::json;
use sql::{Error, Work};
use tasks::store;
use uuid::Uuid;

use super::restored::PAGE;
use super::{Admin, By, Denied, Why};

/// What came of confirming the API database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConfirmedApi {
    /// Instances that cells have and that had no mapping.
    pub mapped: u64,
    /// Instances that were bound elsewhere since the backup.
    pub moved: u64,
    /// Instances that were deleted since the backup.
    pub closed: u64,
    /// Instances of which nothing is left, in ERROR.
    pub lost: u64,
    /// Cells that did not answer, and that `force` passed over.
    pub dark: Vec<String>,
}

/// Where the cells have instances: each one's newest row.
type Sightings = BTreeMap<InstanceId, Seen>;

impl Admin {
    /// Says that the API database was put back from a backup: until [`Admin::confirm_api`] no task is worked on.
    ///
    /// # Errors
    /// If the API database does not answer.
    pub async fn restored_api(&self, by: &By) -> Result<(), Denied> {
        let entry = self.entry(by, "api_db.restored")?;
        let (incarnation, now): (Incarnation, _) = (self.env.id(), self.env.now());
        let written = self.db.write(move |tx| -> Work<'_, ()> {
            let entry = entry.clone();
            Box::pin(async move {
                restored::begin(tx, incarnation, now).await?;
                entry.record(tx, incarnation.uuid(), json!({})).await
            })
        });
        Ok(written.await?)
    }

    /// Compares the restored API database with all cells, believes them, and has tasks worked on again. May be
    /// repeated if it stopped halfway. `force` passes cells over that do not answer: what they have may be made a
    /// second time elsewhere.
    ///
    /// # Errors
    /// [`Why::State`] if it does not wait, [`Why::NotReady`] with the cells that do not answer.
    pub async fn confirm_api(&self, by: &By, force: bool, limits: Limits) -> Result<ConfirmedApi, Denied> {
        let entry = self.entry(by, "api_db.confirm")?;
        if self.held_since().await?.is_none() {
            let why = "the API database does not wait for anything: it was not restored, or is confirmed";
            return Err(Denied::new(Why::State, why));
        }
        let mut done = ConfirmedApi::default();
        let asked = self.ask(self.mappings().await?, |tx| -> Work<'_, Standing> {
            Box::pin(async move { cell_db::restored::standing(tx).await })
        });
        // A cell that was restored itself knows less than its hosts: what it lacks is not lost yet.
        let (mut cells, mut whole) = (Vec::new(), Vec::new());
        for (cell, answer) in asked.await {
            match answer {
                Ok(standing) => {
                    whole.extend(standing.since.is_none().then_some(cell.id));
                    cells.push(cell);
                }
                Err(_) => done.dark.push(cell.name),
            }
        }
        if !done.dark.is_empty() && !force {
            let why =
                format!("cells do not answer, and what they have is not known: {}", done.dark.join(", "));
            return Err(Denied::new(Why::NotReady, why));
        }
        for cell in &cells {
            done.mapped += self.map_instances(by, &cell.id.to_string(), None, limits).await?.mapped;
        }
        let mut sightings = Sightings::new();
        for cell in &cells {
            self.sight(cell, &mut sightings).await?;
        }
        let sightings = Arc::new(sightings);
        for cell in self.mappings().await?.iter().map(|cell| Some(cell.id)).chain([None]) {
            let compared = self.compare_mappings(cell, &sightings).await?;
            (done.moved, done.closed) = (done.moved + compared.moved, done.closed + compared.closed);
            let home = cells.iter().find(|home| Some(home.id) == cell && whole.contains(&home.id));
            if let Some(home) = home {
                done.lost += self.lose(home, compared.lost).await?;
            }
        }
        let incarnation: Incarnation = self.env.id();
        let detail = json!({"force": force, "lost": done.lost});
        let written = self.db.write(move |tx| -> Work<'_, ()> {
            let (entry, detail) = (entry.clone(), detail.clone());
            Box::pin(async move {
                restored::confirm(tx, incarnation).await?;
                entry.record(tx, incarnation.uuid(), detail).await
            })
        });
        written.await?;
        // What was heard since the backup is forgotten above, and the cells do not tell it again by themselves.
        self.rebuild_all().await?;
        Ok(done)
    }

    /// Takes note of all rows of a cell that are newer than what was seen of their instances.
    async fn sight(&self, cell: &Cell, sightings: &mut Sightings) -> Result<(), Denied> {
        let mut after = InstanceId(Uuid::nil());
        loop {
            let page = self.rows(cell, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            for row in page {
                let fate = match row.stage {
                    Stage::Settled | Stage::Error => Fate::Settled,
                    Stage::Unplaced | Stage::Building | Stage::Leaving => Fate::Building,
                    // What is buried in cell0 keeps its reason when it is deleted.
                    Stage::Tombstone if row.has_fault && !cell.is_cell0() => Fate::Refused,
                    Stage::Tombstone => Fate::Deleted,
                };
                let (has, kept) = (&row.spec.flavor, row.other.as_ref().map(|size| &size.flavor));
                let kept = kept.unwrap_or(has);
                let counted = [has.vcpus.max(kept.vcpus), has.memory_mib.max(kept.memory_mib)];
                let (epoch, saga_token) = (row.epoch, row.saga_token);
                let seen = Seen { cell: cell.id, epoch, saga_token, fate, counted };
                let known = sightings.entry(row.id).or_insert(seen);
                if known.epoch < seen.epoch {
                    *known = seen;
                }
            }
        }
    }

    async fn compare_mappings(
        &self,
        cell: Option<CellId>,
        sightings: &Arc<Sightings>,
    ) -> Result<Compared, Denied> {
        let (mut all, mut after) = (Compared::default(), None);
        loop {
            let read = self.db.read(move |tx| -> Work<'_, Vec<InstanceId>> {
                Box::pin(async move { mappings::of_cell(tx, cell, after, PAGE).await })
            });
            let page = read.await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = Some(*last);
            let follow = |id: InstanceId| {
                (id, Follow { task: self.env.id(), bucket: self.env.below(store::BUCKETS) as i64 })
            };
            let ids: Arc<Vec<(InstanceId, Follow)>> = Arc::new(page.into_iter().map(follow).collect());
            let (sightings, now) = (sightings.clone(), self.env.now());
            let written = self.db.write(move |tx| -> Work<'_, Compared> {
                let (ids, sightings) = (ids.clone(), sightings.clone());
                Box::pin(async move { compare(tx, &ids, &sightings, now).await })
            });
            let compared = written.await?;
            (all.moved, all.closed) = (all.moved + compared.moved, all.closed + compared.closed);
            all.lost.extend(compared.lost);
        }
    }
}

async fn compare(
    tx: &mut Tx,
    ids: &[(InstanceId, Follow)],
    sightings: &Sightings,
    now: Timestamp,
) -> Result<Compared, Error> {
    restored::compare(tx, ids, |id| sightings.get(&id).copied(), now).await
}
