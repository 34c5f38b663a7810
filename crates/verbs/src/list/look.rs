//! Looking at instances where they live.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api_db::doctor;
use api_db::index::Entry;
use api_db::mappings::{self, Mapping, State};
use futures::future::join;
use model::bug::{Bug, planted};
use model::instance::{Stage, Task};
use model::{CellId, Fault, Instance, InstanceId};
use router::{Health, scatter};
use sql::Work;

use crate::Verbs;
use crate::boot::waiting;
use crate::show::is_made;
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
        let mut silent: Vec<InstanceId> = Vec::new();
        let (down, asked): (Vec<_>, Vec<_>) = self
            .inner
            .router
            .cells()
            .into_iter()
            .filter(|cell| by_cell.contains_key(&cell.cell.id))
            .partition(|cell| cell.health() == Health::Down);
        // A cell that is known not to answer is not waited for: what the API level knows is read meanwhile.
        dark.extend(down.iter().map(|cell| cell.cell.name.clone()));
        let known: Vec<InstanceId> =
            down.iter().filter_map(|cell| by_cell.remove(&cell.cell.id)).flatten().collect();
        let told = self.fill(&entries, &[], if planted(Bug::DarkLeftOut) { &[] } else { &known });
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
        });
        let (told, answers) = join(told, answers).await;
        let mut seen = told?;
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
        seen.extend(self.fill(&entries, &unbound, &silent).await?);
        Ok(seen)
    }

    /// What was last heard of entries whose cells are known not to answer.
    pub(super) async fn as_last_heard(
        &self,
        entries: Vec<Entry>,
    ) -> Result<HashMap<InstanceId, Seen>, Fault> {
        let silent: Vec<InstanceId> = entries.iter().map(|entry| entry.id).collect();
        self.fill(&entries, &[], &silent).await
    }

    /// Tells of instances that no cell's row told of, from their mappings and request specs.
    async fn fill(
        &self,
        entries: &[Entry],
        unbound: &[InstanceId],
        silent: &[InstanceId],
    ) -> Result<HashMap<InstanceId, Seen>, Fault> {
        let ids: Arc<Vec<InstanceId>> = Arc::new(unbound.iter().chain(silent).copied().collect());
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let silent: BTreeSet<InstanceId> = silent.iter().copied().collect();
        let lasts: HashMap<InstanceId, &Entry> = entries.iter().map(|entry| (entry.id, entry)).collect();
        // Only of what no cell was heard to have made does it matter whether it is worked on.
        let unmade = |id: &&InstanceId| !lasts.get(*id).is_some_and(|entry| is_made(entry));
        let unmade: Arc<Vec<InstanceId>> = Arc::new(silent.iter().filter(unmade).copied().collect());
        let (mappings, worked_on) = self
            .inner
            .db
            .read(move |tx| -> Work<'_, (Vec<Mapping>, Vec<InstanceId>)> {
                let (ids, unmade) = (ids.clone(), unmade.clone());
                Box::pin(async move {
                    Ok((mappings::get_many(tx, &ids).await?, doctor::worked_on(tx, &unmade).await?))
                })
            })
            .await?;
        let mut seen = HashMap::new();
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
        Ok(seen)
    }
}
