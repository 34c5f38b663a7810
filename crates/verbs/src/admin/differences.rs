//! Instances: what is mapped to a cell against what it holds, for the doctor.
//!
//! Two databases are never read at one moment, so what differs is looked at twice.

use std::collections::{BTreeMap, BTreeSet};

use api_db::doctor;
use cell_db::roster;
use model::{Cell, CellId, InstanceId};
use sql::{Error, Work};
use uuid::Uuid;

use super::doctor::{Diagnosis, PAGE, PAUSE};
use super::probe::PROJECT;
use super::{Admin, Denied};

impl Admin {
    /// Instances: what is mapped to the cell against what it holds.
    pub(super) async fn compare(&self, cell: &Cell, found: &mut Diagnosis) -> Result<(), Denied> {
        let first = match self.differences(cell).await? {
            Ok(first) if first.is_empty() => return Ok(()),
            Ok(first) => first,
            Err(error) => {
                found.dark(cell, &error);
                return Ok(());
            }
        };
        tokio::time::sleep(PAUSE).await;
        let second = match self.differences(cell).await? {
            Ok(second) => second,
            Err(error) => {
                found.dark(cell, &error);
                return Ok(());
            }
        };
        let both: Vec<(InstanceId, &'static str)> =
            second.into_iter().filter(|(id, code)| first.get(id) == Some(code)).collect();
        let ids: Vec<InstanceId> = both.iter().map(|(id, _)| *id).collect();
        let read = self.db.read(move |tx| -> Work<'_, Vec<InstanceId>> {
            let ids = ids.clone();
            Box::pin(async move { doctor::worked_on(tx, &ids).await })
        });
        let worked_on: BTreeSet<InstanceId> = read.await?.into_iter().collect();
        for (id, code) in both.into_iter().filter(|(id, _)| !worked_on.contains(id)) {
            let (what, fix) = match code {
                "I001" => (
                    "the cell holds an instance that the API level does not know",
                    "skep-manage cell_v2 map_instances --cell_uuid CELL",
                ),
                "I002" => (
                    "an instance is mapped to the cell, which holds no row of it",
                    "delete it, or restore the cell's database",
                ),
                "I003" => (
                    "an instance was deleted above and lives on in the cell",
                    "if nobody wants it, delete its container on its host; otherwise map it again",
                ),
                _ => (
                    "the cell holds an instance that is mapped to another cell",
                    "if a move is not under way, tell the developers",
                ),
            };
            found.add(code, Some(&cell.name), Some(id.to_string()), what, fix);
        }
        Ok(())
    }

    /// What differs, by instance: the code of the finding.
    async fn differences(
        &self,
        cell: &Cell,
    ) -> Result<Result<BTreeMap<InstanceId, &'static str>, Error>, Denied> {
        let (mut out, mut held) = (BTreeMap::new(), BTreeMap::new());
        let (of, mut after) = (cell.id, InstanceId(Uuid::nil()));
        loop {
            let read = self.read(cell, move |tx| -> Work<'_, Vec<(InstanceId, bool)>> {
                Box::pin(async move { roster::ids(tx, after, PROJECT, PAGE).await })
            });
            let page = match read.await {
                Ok(page) => page,
                Err(error) => return Ok(Err(error)),
            };
            let Some((last, _)) = page.last() else { break };
            after = *last;
            let ids: Vec<InstanceId> = page.iter().filter(|(_, living)| *living).map(|(id, _)| *id).collect();
            let asked = ids.clone();
            let read = self.db.read(move |tx| -> Work<'_, Vec<(InstanceId, Option<CellId>, bool)>> {
                let ids = asked.clone();
                Box::pin(async move { doctor::mappings(tx, &ids).await })
            });
            let known: BTreeMap<InstanceId, (Option<CellId>, bool)> =
                read.await?.into_iter().map(|(id, cell, live)| (id, (cell, live))).collect();
            for id in ids {
                match known.get(&id) {
                    None => out.insert(id, "I001"),
                    Some((Some(cell), true)) if *cell == of => None,
                    Some((Some(cell), false)) if *cell == of => out.insert(id, "I003"),
                    Some(_) => out.insert(id, "I004"),
                };
            }
            held.extend(page);
        }
        let mut after = InstanceId(Uuid::nil());
        loop {
            let read = self.db.read(move |tx| -> Work<'_, Vec<(InstanceId, bool)>> {
                Box::pin(async move { doctor::mapped(tx, of, after, PAGE).await })
            });
            let page = read.await?;
            let Some((last, _)) = page.last() else { return Ok(Ok(out)) };
            after = *last;
            for (id, _) in page.iter().filter(|(id, live)| *live && !held.contains_key(id)) {
                out.insert(*id, "I002");
            }
        }
    }
}
