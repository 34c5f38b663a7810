//! Listing instances: the index owns the order, the cells own the facts.
//!
//! By the index: a page is a run of its entries. Only the cells that own them are asked, at the same time;
//! what a cell calls gone, or other than what was asked for, is dropped and the page refilled. What is
//! filtered and sorted by what only cells know for certain is merged from the cells instead ([`merge`]), and
//! the index speaks for those that are dark.
//!
//! Either way the next page begins after the last instance of this one, by the values that it is sorted by.

mod facts;
mod look;
mod merge;
mod plan;

use std::collections::{BTreeMap, BTreeSet};

use api_db::index::{self, Entry};
use api_db::pages::{self, Among};
use model::instance::Stage;
use model::listing::Place;
use model::{Caller, CellId, Fault, Instance, InstanceId};
use router::Health;
use sql::Work;

use crate::Verbs;
use crate::show::is_made;
use crate::types::{Named, Names, Page, Query, Seen};

use facts::Facts;
pub use facts::Field;
use plan::Plan;

/// Entries of the index that are looked at in one go where regular expressions let most of them fall away.
const CHUNK: usize = 1_000;

impl Verbs {
    /// One page of the instances that the caller may see.
    ///
    /// # Errors
    /// Bad filters; a marker that does not exist. Dark cells are no error: the page says which they are.
    pub async fn list(&self, caller: &Caller, query: &Query) -> Result<Page, Fault> {
        let plan = Plan::of(caller, query, self.inner.settings.max_limit)?;
        let mut after = self.marker(caller, &plan, query.marker).await?;
        let mut page = Page { items: Vec::new(), next: None, dark_cells: Vec::new() };
        if plan.limit == 0 {
            return Ok(page);
        }
        if plan.by_cells {
            return self.merge(&plan, after).await;
        }
        let mut dark: BTreeSet<String> = BTreeSet::new();
        loop {
            let size = if plan.has_patterns() { CHUNK } else { plan.limit - page.items.len() };
            let entries = self.entries(&plan, Among::Everywhere(plan.deleted), after, size).await?;
            let last = entries.len() < size;
            let matching: Vec<Entry> =
                entries.iter().filter(|entry| plan.matches(&Facts::from(*entry))).cloned().collect();
            let mut seen = self.look(matching, &mut dark).await?;
            after = entries.last().map(|entry| Facts::from(entry).place(&plan.order));
            for entry in &entries {
                let Some(one) = seen.remove(&entry.id) else { continue };
                // What cannot be asked is known by what was last heard of it.
                if let Seen::Fresh(instance) = &one
                    && !plan.takes(&Facts::from(&**instance))
                {
                    continue;
                }
                page.items.push(one);
                if page.items.len() == plan.limit {
                    page.next = Some(entry.id);
                    break;
                }
            }
            if page.next.is_some() || last {
                break;
            }
        }
        page.dark_cells = dark.into_iter().collect();
        Ok(page)
    }

    /// One page of ids and names. Where the index knows what was asked for, it is all that is read: no cell
    /// is asked, so that a dark one costs nothing and the number of cells does not matter.
    ///
    /// # Errors
    /// As for a list.
    pub async fn list_names(&self, caller: &Caller, query: &Query) -> Result<Names, Fault> {
        let plan = Plan::of(caller, query, self.inner.settings.max_limit)?;
        if plan.by_cells {
            let page = self.list(caller, query).await?;
            let named = |seen: &Seen| {
                let dark = matches!(seen, Seen::Dark(_));
                Named { id: seen.id(), name: seen.name().to_owned(), dark }
            };
            let items = page.items.iter().map(named).collect();
            return Ok(Names { items, next: page.next, dark_cells: page.dark_cells });
        }
        let mut names = Names { items: Vec::new(), next: None, dark_cells: Vec::new() };
        // No cell is asked: what other calls have found out of its health is known already.
        let cells = self.inner.router.cells();
        let down: BTreeMap<CellId, &str> = cells
            .iter()
            .filter(|handle| handle.health() == Health::Down)
            .map(|handle| (handle.cell.id, handle.cell.name.as_str()))
            .collect();
        let mut after = self.marker(caller, &plan, query.marker).await?;
        while names.items.len() < plan.limit {
            let size = if plan.has_patterns() { CHUNK } else { plan.limit - names.items.len() };
            let entries = self.entries(&plan, Among::Everywhere(plan.deleted), after, size).await?;
            let last = entries.len() < size;
            after = entries.last().map(|entry| Facts::from(entry).place(&plan.order));
            for entry in entries {
                if !plan.matches(&Facts::from(&entry)) {
                    continue;
                }
                // What its cell was never heard to have made is told as it is by the API level.
                let dark = entry.cell.filter(|_| is_made(&entry)).and_then(|cell| down.get(&cell));
                if let Some(cell) = dark.filter(|cell| !names.dark_cells.iter().any(|d| d == *cell)) {
                    names.dark_cells.push((*cell).to_owned());
                }
                names.items.push(Named { id: entry.id, name: entry.name, dark: dark.is_some() });
                if names.items.len() == plan.limit {
                    names.next = Some(entry.id);
                    return Ok(names);
                }
            }
            if last {
                break;
            }
        }
        Ok(names)
    }

    /// Some entries of the index in the plan's order.
    async fn entries(
        &self,
        plan: &Plan,
        among: Among,
        after: Option<Place>,
        size: usize,
    ) -> Result<Vec<Entry>, Fault> {
        let (narrow, order) = (plan.narrow.clone(), plan.order.clone());
        let read = self.inner.db.read(move |tx| -> Work<'_, Vec<Entry>> {
            let (narrow, order, after) = (narrow.clone(), order.clone(), after.clone());
            Box::pin(
                async move { pages::page(tx, among, &narrow, &order, after.as_ref(), size as i64).await },
            )
        });
        Ok(read.await?)
    }

    /// The place of an instance that a list goes on after. One that is deleted, or whose cell is dark, has
    /// one too.
    async fn marker(
        &self,
        caller: &Caller,
        plan: &Plan,
        marker: Option<InstanceId>,
    ) -> Result<Option<Place>, Fault> {
        let Some(id) = marker else { return Ok(None) };
        let read = self
            .inner
            .db
            .read(move |tx| -> Work<'_, Option<Entry>> { Box::pin(async move { index::get(tx, id).await }) });
        let mine = |entry: &Entry| caller.is_admin() || entry.project == caller.project;
        // Nova's text (`nova/exception.py`, MarkerNotFound).
        let missing = || Fault::invalid(format!("marker [{id}] not found"));
        let entry = read.await?.filter(mine).ok_or_else(missing)?;
        if plan.by_cells
            && plan.order.is_observed()
            && !entry.deleted
            && let Some(cell) = entry.cell
            && let Ok(handle) = self.inner.router.cell(cell)
        {
            let row = handle.read(move |tx| -> Work<'_, Option<Instance>> {
                Box::pin(async move { cell_db::instances::get(tx, cell, id).await })
            });
            if let Ok(Some(row)) = row.await
                && row.stage != Stage::Tombstone
            {
                return Ok(Some(Facts::from(&row).place(&plan.order)));
            }
        }
        Ok(Some(Facts::from(&entry).place(&plan.order)))
    }
}
