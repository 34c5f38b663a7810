//! Listing by status: what is observed is asked of the cells, and their answers are merged.
//!
//! Each cell gives a chunk of its matching rows, newest first. A merged row is certain only down to the
//! newest of the last keys of those chunks that were cut; the next round goes on from there.

use model::instance::{Power, Stage};
use model::{Fault, Instance, Timestamp};
use router::scatter;
use sql::Work;
use uuid::Uuid;

use crate::Verbs;
use crate::list::{Key, Plan};
use crate::types::{Page, Seen};

impl Verbs {
    /// One page of the instances that stand as asked, if the cells alone can tell: only statuses that
    /// cells know were asked for, and no cell is dark.
    pub(crate) async fn list_observed(&self, plan: &Plan, after: Option<Key>) -> Result<Option<Page>, Fault> {
        let wanted: Option<Vec<_>> = plan.status.iter().map(|status| rows_of(status)).collect();
        let Some(mut wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Ok(None) };
        wanted.sort_by_key(|(stage, power)| (stage.as_str(), power.map(Power::as_str)));
        wanted.dedup();
        let mut items: Vec<Seen> = Vec::new();
        let mut from = after.map_or((Timestamp(i64::MAX), Uuid::max()), |key| (key.created, key.id.uuid()));
        let limit = plan.limit as i64;
        loop {
            let answers = scatter(self.inner.router.cells(), |handle| {
                let (cell, project, wanted) = (handle.cell.id, plan.project.clone(), wanted.clone());
                async move {
                    handle
                        .read(move |tx| -> Work<'_, Vec<Vec<Instance>>> {
                            let (project, wanted) = (project.clone(), wanted.clone());
                            Box::pin(async move {
                                let mut chunks = Vec::new();
                                for rows in wanted {
                                    let project = project.as_deref();
                                    let list = cell_db::instances::list;
                                    chunks.push(list(tx, cell, project, rows, from, limit).await?);
                                }
                                Ok(chunks)
                            })
                        })
                        .await
                }
            })
            .await;
            let mut horizon: Option<(Timestamp, Uuid)> = None;
            let mut rows: Vec<Instance> = Vec::new();
            for answer in answers {
                let Ok(chunks) = answer.result else { return Ok(None) };
                for chunk in chunks {
                    if chunk.len() as i64 == limit {
                        horizon = horizon.max(chunk.last().map(key));
                    }
                    rows.extend(chunk);
                }
            }
            rows.retain(|row| horizon.is_none_or(|horizon| key(row) >= horizon));
            rows.sort_by_key(|row| std::cmp::Reverse(key(row)));
            for row in rows {
                if !plan.names(&row.spec.name) {
                    continue;
                }
                let seen = Seen::Fresh(Box::new(row));
                if plan.takes(&seen) {
                    items.push(seen);
                    if items.len() == plan.limit {
                        let next = items.last().map(Seen::id);
                        return Ok(Some(Page { items, next, dark_cells: Vec::new() }));
                    }
                }
            }
            match horizon {
                Some(horizon) => from = horizon,
                None => break,
            }
        }
        Ok(Some(Page { items, next: None, dark_cells: Vec::new() }))
    }
}

fn key(row: &Instance) -> (Timestamp, Uuid) {
    (row.created, row.id.uuid())
}

/// Which rows may have `status`; none if the API level has to say.
fn rows_of(status: &str) -> Option<(Stage, Option<Power>)> {
    match status {
        "ACTIVE" => Some((Stage::Settled, Some(Power::Running))),
        "PAUSED" => Some((Stage::Settled, Some(Power::Paused))),
        "SHUTOFF" | "REBOOT" | "HARD_REBOOT" => Some((Stage::Settled, None)),
        "ERROR" => Some((Stage::Error, None)),
        _ => None,
    }
}
