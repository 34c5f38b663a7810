//! Deleting a cell's mapping, also of a cell that is lost.

use api_db::mappings::Counts;
use api_db::{cells, hosts, mappings};
use cell_db::instances;
use model::{Cell, Fault};
use serde::Serialize;
use serde_json::json;
use sql::Work;

use super::entry::{Begun, nothing};
use super::{Admin, By, Denied, Why};

/// Instances that are forgotten in one transaction.
const BATCH: i64 = 500;

/// What was, or with a dry run would be, deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The cell's name.
    pub cell: String,
    /// Whether its database answered.
    pub up: bool,
    /// Mappings of hosts.
    pub hosts: i64,
    /// Mappings of instances that are gone.
    pub dead: i64,
    /// Mappings of instances that were given up with the cell.
    pub lost: i64,
}

impl Admin {
    /// Deletes a cell's mapping. The cell's own database is left as it is.
    ///
    /// With `force` also the mappings of its hosts and of its instances that are gone. Where its database
    /// does not answer, `force` gives the cell up for lost, if it was cordoned before: what is mapped to it
    /// is forgotten, and quota is given back.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::HasHosts`], [`Why::HasInstances`], [`Why::HasDead`], [`Why::Dark`].
    pub async fn delete_cell(
        &self,
        by: &By,
        cell: &str,
        force: bool,
        dry_run: bool,
    ) -> Result<Removed, Denied> {
        let entry = self.entry(by, "cell.delete")?;
        let cell = self.mapping(cell).await?;
        let (removed, living) = self.examine(&cell, force).await?;
        if dry_run {
            return Ok(removed);
        }
        let id = cell.id;
        let detail = json!({"name": cell.name, "lost": removed.lost});
        let begun = self.begin(&entry, id.uuid(), detail).await?;
        let deleted = self.give_up(&cell, living, &begun).await;
        match deleted {
            Ok(()) => Ok(removed),
            // Its last transaction has said what was done.
            Err(_) => self.end(&begun, deleted, nothing).await.map(|()| removed),
        }
    }

    /// Forgets what is mapped to a cell, and its mapping at last.
    async fn give_up(&self, cell: &Cell, living: bool, begun: &Begun) -> Result<(), Denied> {
        let id = cell.id;
        // Where living ones are given up the cell is cordoned, so nothing new comes while this goes on; what is
        // left when it stops half-way is found by the next call.
        loop {
            let forgotten = self.db.write(move |tx| -> Work<'_, u64> {
                Box::pin(async move { mappings::forget(tx, id, living, BATCH).await })
            });
            if forgotten.await? == 0 {
                break;
            }
        }
        let (name, begun) = (cell.name.clone(), begun.clone());
        let deleted = self.db.write(move |tx| -> Work<'_, bool> {
            let (begun, name) = (begun.clone(), name.clone());
            Box::pin(async move {
                cells::shut(tx, id).await?;
                let Counts { live, dead } = mappings::count(tx, id).await?;
                if live > 0 {
                    return Err(Fault::conflict(format!(
                        "an instance was bound to cell {name} at this moment: cordon the cell first"
                    ))
                    .into());
                }
                let hosts = hosts::unmap_all(tx, id).await?;
                if dead > 0 {
                    while mappings::forget(tx, id, false, BATCH).await? > 0 {}
                }
                if !cells::delete(tx, id).await? {
                    return Ok(false);
                }
                begun.done(tx, &json!({"hosts": hosts, "dead": dead})).await?;
                Ok(true)
            })
        });
        match deleted.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Denied::new(Why::NoCell, format!("cell {} is gone already", cell.name))),
            Err(sql::Error::Fault(fault)) => Err(Denied::new(Why::HasInstances, fault.message)),
            Err(error) => Err(error.into()),
        }
    }

    /// What would be deleted, and whether living instances are given up with it; or why it cannot be.
    async fn examine(&self, cell: &Cell, force: bool) -> Result<(Removed, bool), Denied> {
        let id = cell.id;
        let mapped = self.db.read(move |tx| -> Work<'_, (i64, Counts)> {
            Box::pin(async move {
                let hosts = hosts::all(tx).await?.iter().filter(|host| host.cell == id).count() as i64;
                Ok((hosts, mappings::count(tx, id).await?))
            })
        });
        let counted =
            self.read(cell, |tx| -> Work<'_, i64> { Box::pin(async move { instances::count(tx).await }) });
        let (mapped, counted) = futures::join!(mapped, counted);
        let (hosts, Counts { live, dead }) = mapped?;
        let name = &cell.name;
        if hosts > 0 && !force {
            let why = format!("{hosts} hosts are mapped to cell {name}: delete them first, or use --force");
            return Err(Denied::new(Why::HasHosts, why));
        }
        let removed = Removed { cell: name.clone(), up: counted.is_ok(), hosts, dead, lost: 0 };
        match counted {
            Ok(held) if live > 0 || held > 0 => Err(Denied::new(
                Why::HasInstances,
                format!("{} instances live in cell {name}: delete or move them first", live.max(held)),
            )),
            Ok(_) if dead > 0 && !force => Err(Denied::new(
                Why::HasDead,
                format!("{dead} mappings of deleted instances of cell {name} are left: use --force"),
            )),
            Ok(_) => Ok((removed, false)),
            Err(error) if !force => {
                let mut denied = Denied::dark(name, &error);
                denied.message += "; if the cell is lost, cordon it (--disable) and delete it with --force";
                Err(denied)
            }
            Err(_) if live > 0 && cell.state.takes_new() => Err(Denied::new(
                Why::HasInstances,
                format!(
                    "cell {name} does not answer, and {live} instances are mapped to it: to give them up for \
                     lost, cordon the cell first (--disable)"
                ),
            )),
            Err(_) => Ok((Removed { lost: live, ..removed }, live > 0)),
        }
    }
}
