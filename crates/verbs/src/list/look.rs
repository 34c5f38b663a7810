//! Looking at instances where they live.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api_db::doctor;
use api_db::index::Entry;
use api_db::mappings::{self, Mapping, State};
use model::bug::{Bug, planted};
use model::instance::{Stage, Task};
use model::{CellId, Fault, Instance, InstanceId};
use router::scatter;
use sql::Work;

use crate::Verbs;
use crate::boot::waiting;
use crate::types::Seen;

impl Verbs {
    /// Fetches what these entries stand for, from the cells that own them.
    pub(super) async fn look(
        &self,
        entries: Vec<Entry>,
        dark: &mut BTreeSet<String>,
    ) -> Result<HashMap<InstanceId, Seen>, Fault> {
        let mut by_cell: BTreeMap<CellId, Vec<InstanceId>> = BTreeMap::new();
        let mut unbound: Vec<InstanceId> = Vec::new();
        for entry in &entries {
            match entry.cell {
                Some(cell) => by_cell.entry(cell).or_default().push(entry.id),
                None => unbound.push(entry.id),
            }
        }
        let gone: HashMap<InstanceId, &Entry> =
            entries.iter().filter(|entry| entry.deleted).map(|entry| (entry.id, entry)).collect();
        let mut seen: HashMap<InstanceId, Seen> = HashMap::new();
        let mut silent: Vec<InstanceId> = Vec::new();
        let cells = self.inner.router.cells();
        let asked = cells.into_iter().filter(|cell| by_cell.contains_key(&cell.cell.id)).collect();
        let answers = scatter(asked, |handle| {
            let cell = handle.cell.id;
            let ids = by_cell.get(&cell).cloned().unwrap_or_default();
            async move {
                handle
                    .read(move |tx| -> Work<'_, Vec<Instance>> {
                        let ids = ids.clone();
                        Box::pin(async move { cell_db::instances::get_many(tx, cell, &ids).await })
                    })
                    .await
            }
        })
        .await;
        let mut answered = BTreeSet::new();
        for answer in answers {
            let cell = answer.cell.cell.id;
            match answer.result {
                Ok(rows) => {
                    answered.insert(cell);
                    for mut row in rows {
                        let (entry, tombstone) = (gone.get(&row.id), row.stage == Stage::Tombstone);
                        if entry.is_some() != tombstone {
                            continue;
                        }
                        // It was gone from its cell a little before it was known to be gone.
                        if let Some(entry) = entry {
                            (row.updated, row.terminated) = (entry.last.updated, entry.last.terminated);
                        }
                        seen.insert(row.id, Seen::Fresh(Box::new(row)));
                    }
                }
                Err(error) if error.is_passing() => drop(dark.insert(answer.cell.cell.name.clone())),
                Err(error) => return Err(error.into()),
            }
        }
        for (cell, ids) in &by_cell {
            match answered.contains(cell) {
                // Not inserted yet, refused and about to be bound elsewhere, or gone: the mapping tells.
                true => unbound.extend(ids.iter().filter(|id| !seen.contains_key(id))),
                false if planted(Bug::DarkLeftOut) => {}
                false => silent.extend(ids),
            }
        }
        self.fill(&entries, unbound, silent, &mut seen).await?;
        Ok(seen)
    }

    /// What was last heard of entries whose cells are known not to answer.
    pub(super) async fn as_last_heard(
        &self,
        entries: Vec<Entry>,
    ) -> Result<HashMap<InstanceId, Seen>, Fault> {
        let mut seen = HashMap::new();
        let silent = entries.iter().map(|entry| entry.id).collect();
        self.fill(&entries, Vec::new(), silent, &mut seen).await?;
        Ok(seen)
    }

    /// Tells of instances that no cell's row told of, from their mappings and request specs.
    async fn fill(
        &self,
        entries: &[Entry],
        unbound: Vec<InstanceId>,
        silent: Vec<InstanceId>,
        seen: &mut HashMap<InstanceId, Seen>,
    ) -> Result<(), Fault> {
        let ids: Vec<InstanceId> = unbound.iter().chain(&silent).copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let asked = silent.clone();
        let (mappings, worked_on) = self
            .inner
            .db
            .read(move |tx| -> Work<'_, (Vec<Mapping>, Vec<InstanceId>)> {
                let (ids, silent) = (ids.clone(), asked.clone());
                Box::pin(async move {
                    Ok((mappings::get_many(tx, &ids).await?, doctor::worked_on(tx, &silent).await?))
                })
            })
            .await?;
        let worked_on: BTreeSet<InstanceId> = worked_on.into_iter().collect();
        let silent: BTreeSet<InstanceId> = silent.into_iter().collect();
        let lasts: HashMap<InstanceId, &Entry> = entries.iter().map(|entry| (entry.id, entry)).collect();
        for mut mapping in mappings {
            let (id, Some(spec)) = (mapping.id, mapping.spec.take()) else { continue };
            if silent.contains(&id) {
                let last = lasts.get(&id).copied();
                seen.insert(id, self.told(mapping, spec, last, worked_on.contains(&id)));
            } else if mapping.state == State::Live {
                let instance = waiting(id, spec, mapping.created, Task::Scheduling);
                seen.insert(id, Seen::Fresh(Box::new(instance)));
            }
        }
        Ok(())
    }
}
