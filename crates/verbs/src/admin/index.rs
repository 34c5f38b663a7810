//! Rebuilding the index that lists are made of, while it is in use.
//!
//! For each cell: entries are made anew from mappings and request specs, and every row of the cell is marked
//! as not yet seen; the superconductors' feed then applies the rows as they are, as it does with any change.
//! Nothing vanishes from a list meanwhile, and it may be repeated or stopped at any time.

use api_db::index;
use api_db::mappings;
use cell_db::dirty;
use model::{Cell, CellId, InstanceId};
use serde::Serialize;
use serde_json::json;
use sql::Work;

use super::{Admin, By, Denied, only_admins};

/// Mappings that are read and written at a time.
const BATCH: i64 = 500;
/// Rows of a cell that are marked at a time: whoever changes one of them meanwhile waits.
const MARKS: i64 = 64;

/// What came of rebuilding a cell's part of the index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// The cell.
    pub cell: String,
    /// Entries that were made anew.
    pub entries: u64,
    /// Rows of the cell that will be told again.
    pub marked: u64,
    /// Why the cell could not be asked; repeat the command when it is back. What was last heard of it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Admin {
    /// Rebuilds the index of one cell, or of all. A cell that does not answer is told of and stops nothing
    /// else.
    ///
    /// # Errors
    /// [`super::Why::NoCell`]; the API database does not answer.
    pub async fn rebuild_index(&self, by: &By, cell: Option<&str>) -> Result<Vec<Rebuilt>, Denied> {
        only_admins(by)?;
        let cells = match cell {
            Some(cell) => vec![self.mapping(cell).await?],
            None => self.mappings().await?,
        };
        let mut rebuilt = Vec::new();
        if cell.is_none() {
            // What is not bound yet is in no cell.
            self.renew(None).await?;
        }
        for cell in cells {
            let entry = self.entry(by, "index.rebuild")?;
            let begun = self.begin(&entry, cell.id.uuid(), json!({})).await?;
            let done = self.rebuild(&cell).await;
            rebuilt.push(
                self.end(
                    &begun,
                    done,
                    |done| json!({"entries": done.entries, "marked": done.marked, "dark": done.why}),
                )
                .await?,
            );
        }
        Ok(rebuilt)
    }

    /// [`Admin::rebuild_index`] of all cells, as a part of what is recorded already.
    pub(super) async fn rebuild_all(&self) -> Result<(), Denied> {
        self.renew(None).await?;
        for cell in self.mappings().await? {
            self.rebuild(&cell).await?;
        }
        Ok(())
    }

    async fn rebuild(&self, cell: &Cell) -> Result<Rebuilt, Denied> {
        // The entries first: what the cell says then finds them.
        let entries = self.renew(Some(cell.id)).await?;
        let (marked, why) = self.mark(cell).await;
        Ok(Rebuilt { cell: cell.name.clone(), entries, marked, why })
    }

    async fn renew(&self, cell: Option<CellId>) -> Result<u64, Denied> {
        let (mut count, mut after): (u64, Option<InstanceId>) = (0, None);
        let now = self.env.now();
        loop {
            let page = self.db.write(move |tx| -> Work<'_, (u64, Option<InstanceId>)> {
                Box::pin(async move {
                    let page = mappings::of_cell(tx, cell, after, BATCH).await?;
                    // One that is closed meanwhile must not come back.
                    let held = mappings::hold(tx, &page).await?;
                    Ok((index::renew(tx, &held, now).await?, page.last().copied()))
                })
            });
            let (renewed, last) = page.await?;
            count += renewed;
            match last {
                Some(_) => after = last,
                None => return Ok(count),
            }
        }
    }

    async fn mark(&self, cell: &Cell) -> (u64, Option<String>) {
        let (mut count, mut after): (u64, Option<InstanceId>) = (0, None);
        let now = self.env.now();
        loop {
            let page = self.write(cell, move |tx| -> Work<'_, (u64, Option<InstanceId>)> {
                Box::pin(async move { dirty::mark_all(tx, after, MARKS, now).await })
            });
            match page.await {
                Ok((marked, Some(last))) => (count, after) = (count + marked, Some(last)),
                Ok((_, None)) => return (count, None),
                Err(error) => return (count, Some(super::reason(&error))),
            }
        }
    }
}
