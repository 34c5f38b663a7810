//! Instance mappings: checking one, and making those that a cell's instances lack.

use std::sync::Arc;

use api_db::index::Heard;
use api_db::mappings::{self, Adopt, Mapping, State};
use api_db::quotas::Limits;
use cell_db::roster::{self, Held};
use model::{CellId, InstanceId, Timestamp};
use serde::Serialize;
use serde_json::json;
use sql::Work;

use super::{Admin, By, Denied, only_admins};

/// Instances that are read and mapped at a time; Nova's number.
const BATCH: i64 = 50;

/// Where an instance was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has no mapping.
    Unmapped,
    /// It has a mapping and no cell yet.
    NoCell,
    /// Its cell holds it.
    InCell(String, CellId),
    /// It is gone, and the mapping is left.
    Deleted(String, CellId),
    /// Its cell holds no trace of it, and the mapping is left.
    Missing(String, CellId),
}

/// What came of mapping a cell's instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Adopted {
    /// Instances that have a mapping now and had none.
    pub mapped: u64,
    /// Whether it stopped before the end.
    pub more: bool,
}

impl Admin {
    /// Where an instance is by its mapping, and whether its cell agrees.
    ///
    /// # Errors
    /// [`super::Why::Dark`] if its cell does not answer.
    pub async fn verify_instance(&self, by: &By, id: InstanceId) -> Result<Verdict, Denied> {
        only_admins(by)?;
        let read = self.db.read(move |tx| -> Work<'_, Option<Mapping>> {
            Box::pin(async move { mappings::get(tx, id).await })
        });
        let Some(mapping) = read.await? else { return Ok(Verdict::Unmapped) };
        let Some(cell) = mapping.cell else { return Ok(Verdict::NoCell) };
        let cell = self.mapping(&cell.to_string()).await?;
        let held = self.read(&cell, move |tx| -> Work<'_, Option<bool>> {
            Box::pin(async move { roster::holds(tx, id).await })
        });
        Ok(match (held.await, mapping.state) {
            (Ok(Some(true)), _) => Verdict::InCell(cell.name, cell.id),
            (Ok(Some(false)), _) | (Err(_), State::Deleted) => Verdict::Deleted(cell.name, cell.id),
            (Ok(None), _) => Verdict::Missing(cell.name, cell.id),
            (Err(error), _) => return Err(Denied::dark(&cell.name, &error)),
        })
    }

    /// Maps the instances that a cell holds and the API level does not know, oldest first: all of them, or
    /// up to `most`. May be repeated; what is mapped is passed over.
    ///
    /// # Errors
    /// [`super::Why::NoCell`], [`super::Why::Dark`]; what was mapped before stays so.
    pub async fn map_instances(
        &self,
        by: &By,
        cell: &str,
        most: Option<u64>,
        limits: Limits,
    ) -> Result<Adopted, Denied> {
        only_admins(by)?;
        let cell = self.mapping(cell).await?;
        let mut done = Adopted::default();
        let mut after: Option<(Timestamp, InstanceId)> = None;
        loop {
            let id = cell.id;
            let page = self.read(&cell, move |tx| -> Work<'_, Vec<Held>> {
                Box::pin(async move { roster::instances(tx, id, after, BATCH).await })
            });
            let page = page.await.map_err(|error| Denied::dark(&cell.name, &error))?;
            let Some(last) = page.last() else { return Ok(done) };
            after = Some((last.instance.created, last.instance.id));
            let lacking = self.lacking(page).await?;
            let room = most.map_or(u64::MAX, |most| most - done.mapped);
            if room == 0 && !lacking.is_empty() {
                return Ok(Adopted { more: true, ..done });
            }
            let take = lacking.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let left = lacking.len() > take;
            let adopts: Vec<Adopt> = lacking.into_iter().take(take).map(adopt).collect();
            done.mapped += self.adopt(by, cell.id, adopts, limits).await?;
            if left {
                return Ok(Adopted { more: true, ..done });
            }
        }
    }

    /// Those of `held` that have no mapping.
    async fn lacking(&self, held: Vec<Held>) -> Result<Vec<Held>, Denied> {
        let ids: Arc<Vec<InstanceId>> = Arc::new(held.iter().map(|held| held.instance.id).collect());
        let read = self.db.read(move |tx| -> Work<'_, Vec<Mapping>> {
            let ids = ids.clone();
            Box::pin(async move { mappings::get_many(tx, &ids).await })
        });
        let known = read.await?;
        Ok(held
            .into_iter()
            .filter(|held| !known.iter().any(|mapping| mapping.id == held.instance.id))
            .collect())
    }

    async fn adopt(&self, by: &By, cell: CellId, adopts: Vec<Adopt>, limits: Limits) -> Result<u64, Denied> {
        if adopts.is_empty() {
            return Ok(0);
        }
        let entry = self.entry(by, "instance.map")?;
        let adopts = Arc::new(adopts);
        let written = self.db.write(move |tx| -> Work<'_, u64> {
            let (adopts, entry) = (adopts.clone(), entry.clone());
            Box::pin(async move {
                let mapped = mappings::adopt(tx, cell, &adopts, limits).await?;
                for (n, id) in mapped.iter().enumerate() {
                    entry.nth(n).record(tx, id.uuid(), json!({"cell": cell})).await?;
                }
                Ok(mapped.len() as u64)
            })
        });
        Ok(written.await?)
    }
}

fn adopt(held: Held) -> Adopt {
    let Held { instance, saga_token, version } = held;
    let (spec, created) = (instance.spec.clone(), instance.created);
    Adopt { saga_token, spec, created, heard: Heard { instance, version } }
}
