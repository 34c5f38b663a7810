//! Archiving what is left of instances that are gone, and freeing allocations that nobody owns.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_db::closed::{self, Closed};
use cell_db::archive::{self, Archived, Orphan};
use cell_db::restored;
use futures::future::join_all;
use model::{Cell, InstanceId, Timestamp};
use serde::Serialize;
use serde_json::json;
use sql::Work;

use super::{Admin, By, Denied, only_admins, reason};

/// Instances that are archived in one transaction of a cell.
const BATCH: i64 = 100;

/// What to archive.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Most instances.
    pub most: i64,
    /// Only what ended before.
    pub before: Option<Timestamp>,
    /// Delete it instead.
    pub purge: bool,
}

/// What came of archiving, purging or auditing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Rows by cell and table; those of the API database under no cell.
    pub rows: BTreeMap<(Option<String>, &'static str), i64>,
    /// Instances.
    pub instances: i64,
    /// Cells that did not answer, with why.
    pub dark: Vec<(String, String)>,
}

impl Done {
    fn add(&mut self, cell: Option<&str>, table: &'static str, rows: i64) {
        if rows > 0 {
            *self.rows.entry((cell.map(str::to_owned), table)).or_default() += rows;
        }
    }
}

/// Allocations that nobody owns, in one cell.
#[derive(Clone, Debug)]
pub struct Orphans {
    /// The cell.
    pub cell: Cell,
    /// The allocations, or why the cell did not tell.
    pub found: Result<Vec<Orphan>, String>,
}

impl Admin {
    /// Archives what is left of instances that are gone, in these cells: tombstones, once no host may return
    /// that has not heard of the end; then their mappings and index entries. May be repeated. A cell that does
    /// not answer is told of and keeps nothing from the others.
    ///
    /// # Errors
    /// If the API database does not answer.
    pub async fn archive(&self, by: &By, cells: &[Cell], terms: Terms) -> Result<Done, Denied> {
        let entry = self.entry(by, "instance.archive")?;
        if !self.is_any_closed(cells, terms).await? {
            return Ok(Done::default());
        }
        let begun = self.begin(&entry, uuid::Uuid::nil(), json!({"purge": terms.purge})).await?;
        let archived = self.archive_all(cells, terms).await;
        self.end(&begun, archived, |done| json!({"instances": done.instances, "dark": done.dark.len()})).await
    }

    /// Whether there is anything to archive, as far as the API database knows.
    async fn is_any_closed(&self, cells: &[Cell], terms: Terms) -> Result<bool, Denied> {
        let nowhere = cells.iter().any(Cell::is_cell0).then_some(None);
        for cell in cells.iter().map(Some).chain(nowhere) {
            if self.closed(cell, None, terms, 0).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn archive_all(&self, cells: &[Cell], terms: Terms) -> Result<Done, Denied> {
        let mut done = Done::default();
        // All at the same time, so that one that does not answer is waited for once.
        let asked = self.ask(cells.to_vec(), |tx| -> Work<'_, restored::Standing> {
            Box::pin(async move { restored::standing(tx).await })
        });
        for (cell, answer) in asked.await {
            match answer {
                Ok(_) => self.archive_cell(&cell, terms, &mut done).await?,
                Err(error) => done.dark.push((cell.name.clone(), reason(&error))),
            }
        }
        // What never had a cell lies in none.
        if cells.iter().any(Cell::is_cell0) {
            let mut after = None;
            while let Some(page) = self.closed(None, after, terms, done.instances).await? {
                after = page.last().copied();
                self.forget(page.iter().map(|closed| closed.id).collect(), &mut done).await?;
            }
        }
        Ok(done)
    }

    async fn archive_cell(&self, cell: &Cell, terms: Terms, done: &mut Done) -> Result<(), Denied> {
        let (mut after, now) = (None, self.env.now());
        while let Some(page) = self.closed(Some(cell), after, terms, done.instances).await? {
            after = page.last().copied();
            let ids: Arc<Vec<InstanceId>> = Arc::new(page.iter().map(|closed| closed.id).collect());
            let moved = self.write(cell, move |tx| -> Work<'_, Archived> {
                let ids = ids.clone();
                Box::pin(async move { archive::archive(tx, &ids, terms.purge, now).await })
            });
            match moved.await {
                Ok(moved) => {
                    done.add(Some(&cell.name), "instance", moved.instances);
                    done.add(Some(&cell.name), "action", moved.actions);
                    self.forget(moved.absent, done).await?;
                }
                Err(error) => {
                    done.dark.push((cell.name.clone(), reason(&error)));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn closed(
        &self,
        cell: Option<&Cell>,
        after: Option<Closed>,
        terms: Terms,
        so_far: i64,
    ) -> Result<Option<Vec<Closed>>, Denied> {
        let limit = BATCH.min(terms.most - so_far);
        if limit <= 0 {
            return Ok(None);
        }
        let (id, before) = (cell.map(|cell| cell.id), terms.before.unwrap_or(Timestamp(i64::MAX)));
        let page = self.db.read(move |tx| -> Work<'_, Vec<Closed>> {
            Box::pin(async move { closed::page(tx, id, after, before, limit).await })
        });
        Ok(Some(page.await?).filter(|page| !page.is_empty()))
    }

    async fn forget(&self, ids: Vec<InstanceId>, done: &mut Done) -> Result<(), Denied> {
        let ids = Arc::new(ids);
        let gone = self.db.write(move |tx| -> Work<'_, (u64, u64)> {
            let ids = ids.clone();
            Box::pin(async move { closed::forget(tx, &ids).await })
        });
        let (mappings, entries) = gone.await?;
        done.add(None, "instance_mapping", mappings as i64);
        done.add(None, "instance_index", entries as i64);
        done.instances += mappings as i64;
        Ok(())
    }

    /// Deletes what was archived in these cells: all of it, or what ended before.
    ///
    /// # Errors
    /// Only of callers who are no administrators; cells that do not answer are told of.
    pub async fn purge(&self, by: &By, cells: &[Cell], before: Option<Timestamp>) -> Result<Done, Denied> {
        let entry = self.entry(by, "instance.purge")?;
        let begun = self.begin(&entry, uuid::Uuid::nil(), json!({"before": before})).await?;
        let mut done = Done::default();
        let purged = cells.iter().map(|cell| async move {
            let gone = self.write(cell, move |tx| -> Work<'_, u64> {
                Box::pin(async move { archive::purge(tx, before).await })
            });
            (cell, gone.await)
        });
        for (cell, gone) in join_all(purged).await {
            match gone {
                Ok(gone) => {
                    done.add(Some(&cell.name), "archived_instance", gone as i64);
                    done.instances += gone as i64;
                }
                Err(error) => done.dark.push((cell.name.clone(), reason(&error))),
            }
        }
        self.end(&begun, Ok(done), |done| json!({"instances": done.instances, "dark": done.dark.len()})).await
    }

    /// The allocations that nobody owns, cell by cell.
    ///
    /// # Errors
    /// If the API database does not answer.
    pub async fn orphans(&self, by: &By) -> Result<Vec<Orphans>, Denied> {
        only_admins(by)?;
        let cells = self.mappings().await?.into_iter().filter(|cell| !cell.is_cell0()).collect();
        let asked = self.ask(cells, |tx| -> Work<'_, Vec<Orphan>> {
            Box::pin(async move { archive::orphans(tx).await })
        });
        let told = |(cell, answer): (Cell, Result<Vec<Orphan>, sql::Error>)| Orphans {
            found: answer.map_err(|error| reason(&error)),
            cell,
        };
        Ok(asked.await.into_iter().map(told).collect())
    }

    /// Frees an allocation that nobody owns. False if somebody does by now.
    ///
    /// # Errors
    /// [`super::Why::Dark`]; if the API database does not answer, in which it is audited first.
    pub async fn free_orphan(&self, by: &By, cell: &Cell, orphan: &Orphan) -> Result<bool, Denied> {
        let entry = self.entry(by, "allocation.free")?;
        let (target, host) = (orphan.instance.uuid(), orphan.host);
        let begun = self.begin(&entry, target, json!({"host": host})).await?;
        let orphan = orphan.clone();
        let freed = self.write(cell, move |tx| -> Work<'_, bool> {
            let orphan = orphan.clone();
            Box::pin(async move { archive::free(tx, &orphan).await })
        });
        let freed = freed.await.map_err(|error| Denied::dark(&cell.name, &error));
        self.end(&begun, freed, |freed| json!({"freed": freed})).await
    }
}
