//! Listing instances: the index owns the order, the cells own the facts.
//!
//! A page is a run of index keys, newest first. Only the cells that own its rows are asked, at the same
//! time; what a cell calls gone is dropped and the page refilled. The next page begins after the last key
//! that was examined, so nothing is shown twice and nothing that exists throughout is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api_db::index::{self, Entry};
use api_db::mappings::{self, Mapping, State};
use api_db::pages::{self, Among};
use model::instance::{Stage, Task};
use model::listing::{Deleted, Narrow, Order, Place, Value};
use model::{Caller, CellId, Fault, FaultKind, Instance, InstanceId, Timestamp};
use regex::Regex;
use router::{Health, scatter};
use sql::Work;

use crate::Verbs;
use crate::boot::waiting;
use crate::types::{Named, Names, Page, Query, Seen};

/// Most instances on a page (Nova's `max_limit`).
const MOST: usize = 1_000;

/// Where a list goes on: after this key, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) created: Timestamp,
    pub(crate) id: InstanceId,
}

/// What a query means, checked.
pub(crate) struct Plan {
    pub(crate) project: Option<String>,
    region: String,
    name: Option<Regex>,
    pub(crate) status: BTreeSet<String>,
    pub(crate) limit: usize,
}

impl Verbs {
    /// One page of the instances that the caller may see.
    ///
    /// # Errors
    /// Bad filters; a marker that does not exist. Dark cells are no error: the page says which they are.
    pub async fn list(&self, caller: &Caller, query: &Query) -> Result<Page, Fault> {
        let plan = plan(caller, query)?;
        let mut after = self.marker(&plan, query.marker).await?;
        if plan.limit == 0 {
            return Ok(Page { items: Vec::new(), next: None, dark_cells: Vec::new() });
        }
        if let Some(page) = self.list_observed(&plan, after).await? {
            return Ok(page);
        }
        let mut page = Page { items: Vec::new(), next: None, dark_cells: Vec::new() };
        let mut dark: BTreeSet<String> = BTreeSet::new();
        loop {
            let wanted = plan.limit - page.items.len();
            // With filters most rows may fall away, so more are looked at in one go.
            let filtered = plan.name.is_some() || !plan.status.is_empty() || !plan.region.is_empty();
            let size = if filtered { MOST } else { wanted };
            let entries = self.entries(&plan, after, size).await?;
            let last = entries.len() < size;
            let named: Vec<Entry> = entries.iter().filter(|entry| plan.names(&entry.name)).cloned().collect();
            let mut seen = self.look(named, &mut dark).await?;
            for entry in &entries {
                after = Some(Key { created: entry.created, id: entry.id });
                let Some(one) = seen.remove(&entry.id).filter(|one| plan.takes(one)) else { continue };
                page.items.push(one);
                if page.items.len() == plan.limit {
                    page.next = Some(entry.id);
                    break;
                }
            }
            if page.items.len() == plan.limit || last {
                break;
            }
        }
        page.dark_cells = dark.into_iter().collect();
        Ok(page)
    }

    /// One page of ids and names, which the index alone can tell: no cell is asked, so that a dark one costs
    /// nothing and the number of cells does not matter. With a status filter it costs what a list costs.
    ///
    /// # Errors
    /// As for a list.
    pub async fn list_names(&self, caller: &Caller, query: &Query) -> Result<Names, Fault> {
        if !query.status.is_empty() {
            let page = self.list(caller, query).await?;
            let named = |seen: &Seen| {
                let dark = matches!(seen, Seen::Dark(_));
                Named { id: seen.id(), name: seen.name().to_owned(), dark }
            };
            let items = page.items.iter().map(named).collect();
            return Ok(Names { items, next: page.next, dark_cells: page.dark_cells });
        }
        let plan = plan(caller, query)?;
        let mut names = Names { items: Vec::new(), next: None, dark_cells: Vec::new() };
        // No cell is asked: what other calls have found out of its health is known already.
        let cells = self.inner.router.cells();
        let down: BTreeMap<CellId, &str> = cells
            .iter()
            .filter(|handle| handle.health() == Health::Down)
            .map(|handle| (handle.cell.id, handle.cell.name.as_str()))
            .collect();
        let mut after = self.marker(&plan, query.marker).await?;
        while names.items.len() < plan.limit {
            let filtered = plan.name.is_some() || !plan.region.is_empty();
            let size = if filtered { MOST } else { plan.limit };
            let entries = self.entries(&plan, after, size).await?;
            let last = entries.len() < size;
            for entry in entries {
                after = Some(Key { created: entry.created, id: entry.id });
                if plan.names(&entry.name) && (plan.region.is_empty() || plan.region == entry.region) {
                    let dark = entry.cell.and_then(|cell| down.get(&cell));
                    if let Some(cell) = dark.filter(|cell| !names.dark_cells.iter().any(|d| d == *cell)) {
                        names.dark_cells.push((*cell).to_owned());
                    }
                    names.items.push(Named { id: entry.id, name: entry.name, dark: dark.is_some() });
                    if names.items.len() == plan.limit {
                        names.next = Some(entry.id);
                        return Ok(names);
                    }
                }
            }
            if last {
                break;
            }
        }
        Ok(names)
    }

    async fn entries(&self, plan: &Plan, after: Option<Key>, size: usize) -> Result<Vec<Entry>, Fault> {
        let narrow = Narrow { project: plan.project.clone(), ..Narrow::default() };
        let after = after.map(|key| Place(vec![Value::Number(key.created.0), Value::Id(key.id.uuid())]));
        let read = self.inner.db.read(move |tx| -> Work<'_, Vec<Entry>> {
            let (narrow, after) = (narrow.clone(), after.clone());
            Box::pin(async move {
                let among = Among::Everywhere(Deleted::No);
                pages::page(tx, among, &narrow, &Order::default(), after.as_ref(), size as i64).await
            })
        });
        Ok(read.await?)
    }

    async fn marker(&self, plan: &Plan, marker: Option<InstanceId>) -> Result<Option<Key>, Fault> {
        let Some(id) = marker else { return Ok(None) };
        let read = self
            .inner
            .db
            .read(move |tx| -> Work<'_, Option<Entry>> { Box::pin(async move { index::get(tx, id).await }) });
        let mine = |entry: &Entry| plan.project.as_ref().is_none_or(|project| *project == entry.project);
        // Nova's text (`nova/exception.py`, MarkerNotFound).
        let missing = || Fault::invalid(format!("marker [{id}] not found"));
        let entry = read.await?.filter(mine).ok_or_else(missing)?;
        Ok(Some(Key { created: entry.created, id }))
    }

    /// Fetches what these entries stand for, from the cells that own them.
    async fn look(
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
                    let rows = rows.into_iter().filter(|row| row.stage != Stage::Tombstone);
                    seen.extend(rows.map(|row| (row.id, Seen::Fresh(Box::new(row)))));
                }
                Err(error) if error.is_passing() => drop(dark.insert(answer.cell.cell.name.clone())),
                Err(error) => return Err(error.into()),
            }
        }
        for (cell, ids) in &by_cell {
            match answered.contains(cell) {
                // Not inserted yet, refused and about to be bound elsewhere, or gone: the mapping tells.
                true => unbound.extend(ids.iter().filter(|id| !seen.contains_key(id))),
                false => silent.extend(ids),
            }
        }
        self.fill(&entries, unbound, silent, &mut seen).await?;
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
        let mappings = self
            .inner
            .db
            .read(move |tx| -> Work<'_, Vec<Mapping>> {
                let ids = ids.clone();
                Box::pin(async move { mappings::get_many(tx, &ids).await })
            })
            .await?;
        let silent: BTreeSet<InstanceId> = silent.into_iter().collect();
        let lasts: HashMap<InstanceId, &Entry> = entries.iter().map(|entry| (entry.id, entry)).collect();
        for mut mapping in mappings {
            let (id, Some(spec)) = (mapping.id, mapping.spec.take()) else { continue };
            if silent.contains(&id) {
                let last = lasts.get(&id).copied();
                seen.insert(id, Seen::Dark(Box::new(self.told(mapping, spec, last))));
            } else if mapping.state == State::Live {
                let instance = waiting(id, spec, mapping.created, Task::Scheduling);
                seen.insert(id, Seen::Fresh(Box::new(instance)));
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Whether the name is one that was asked for.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }

    /// Whether the region and the status are what was asked for.
    pub(crate) fn takes(&self, seen: &Seen) -> bool {
        let (region, status) = match seen {
            Seen::Fresh(instance) => (&instance.spec.region, instance.status()),
            // What cannot be asked is shown by what was last heard of it.
            Seen::Dark(dark) => (
                &dark.spec.region,
                dark.last_status.as_ref().map_or("UNKNOWN", |(status, _)| status.as_str()),
            ),
        };
        (self.region.is_empty() || *region == self.region)
            && (self.status.is_empty() || self.status.contains(status))
    }
}

fn plan(caller: &Caller, query: &Query) -> Result<Plan, Fault> {
    let project = match (query.all_projects, &query.project) {
        (false, _) => Some(caller.project.clone()),
        (true, _) if !caller.is_admin() => {
            let why = "Policy doesn't allow os_compute_api:servers:index:get_all_tenants to be performed.";
            return Err(Fault::new(FaultKind::Forbidden, why));
        }
        (true, project) => project.clone(),
    };
    let name = match &query.name {
        None => None,
        Some(pattern) => Some(Regex::new(pattern).map_err(|_| {
            Fault::invalid(format!(
                "Invalid input for query parameters name: '{pattern}' is no regular expression"
            ))
        })?),
    };
    Ok(Plan {
        project,
        region: query.region.clone(),
        name,
        status: query.status.iter().cloned().collect(),
        limit: query.limit.unwrap_or(MOST).min(MOST),
    })
}
