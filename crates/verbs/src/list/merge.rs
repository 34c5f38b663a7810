//! Lists that the cells decide: each gives its matching rows in order, and they are merged.
//!
//! Beside the cells three more sources are merged, so that nothing that exists is left out: instances that
//! are not in their cell's database yet, those of cells that do not answer, as last heard of, and those that
//! are deleted, if they are asked for too. A cell that falls silent halfway is replaced by what the index
//! knows of it, from where it fell silent.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use api_db::index::Entry;
use api_db::pages::Among;
use futures::future::join_all;
use model::listing::{Deleted, Place};
use model::{CellId, Fault, Instance, InstanceId};
use router::CellHandle;
use sql::Work;

use super::facts::Facts;
use super::plan::Plan;
use crate::Verbs;
use crate::types::{Page, Seen};

/// Fewest rows that a cell is asked for.
const FEW: usize = 50;

/// Where the rows of a source come from.
enum Origin {
    Cell(Arc<CellHandle>),
    Index(Among),
}

/// One source of the merge: what it has given and is not on the page yet.
struct Source {
    from: Origin,
    after: Option<Place>,
    ready: VecDeque<(Place, Seen)>,
    done: bool,
}

impl Source {
    fn new(from: Origin, after: Option<&Place>) -> Self {
        Self { from, after: after.cloned(), ready: VecDeque::new(), done: false }
    }
}

impl Verbs {
    /// One page, merged.
    pub(super) async fn merge(&self, plan: &Plan, after: Option<Place>) -> Result<Page, Fault> {
        let mut sources = self.sources(plan, after.as_ref());
        let size = (plan.limit * 11 / 10 / sources.len().max(1)).max(FEW).min(plan.limit);
        let mut page = Page { items: Vec::new(), next: None, dark_cells: Vec::new() };
        let mut dark: BTreeSet<String> = BTreeSet::new();
        let mut shown: HashSet<InstanceId> = HashSet::new();
        loop {
            let filled = sources
                .iter_mut()
                .filter(|source| source.ready.is_empty() && !source.done)
                .map(|source| self.fill_up(plan, source, size));
            for silent in join_all(filled).await {
                dark.extend(silent?);
            }
            let places =
                sources.iter().enumerate().filter_map(|(n, source)| Some((n, &source.ready.front()?.0)));
            let first = places.min_by(|(_, a), (_, b)| plan.order.compare(a, b)).map(|(n, _)| n);
            let Some((_, one)) = first.and_then(|n| sources[n].ready.pop_front()) else { break };
            let id = one.id();
            if !shown.insert(id) {
                continue;
            }
            page.items.push(one);
            if page.items.len() == plan.limit {
                page.next = Some(id);
                break;
            }
        }
        page.dark_cells = dark.into_iter().collect();
        Ok(page)
    }

    fn sources(&self, plan: &Plan, after: Option<&Place>) -> Vec<Source> {
        let region = plan.narrow.region.as_ref();
        let lies = |cell: &CellHandle| {
            cell.cell.is_cell0() || region.is_none_or(|region| *region == cell.cell.region)
        };
        let cells = self.inner.router.cells().into_iter().filter(|cell| lies(cell)).map(Origin::Cell);
        let building = Origin::Index(Among::Building);
        let gone = (plan.deleted == Deleted::Both).then_some(Origin::Index(Among::Everywhere(Deleted::Only)));
        cells.chain([building]).chain(gone).map(|from| Source::new(from, after)).collect()
    }

    /// Fetches from a source until something of it is ready or it has no more. Gives the name of the cell if
    /// it was found not to answer.
    async fn fill_up(&self, plan: &Plan, source: &mut Source, size: usize) -> Result<Option<String>, Fault> {
        let mut silent = None;
        while source.ready.is_empty() && !source.done {
            match &source.from {
                Origin::Cell(handle) => match self.rows(plan, handle, source.after.clone(), size).await {
                    Ok(rows) => {
                        source.done = rows.len() < size;
                        for row in rows {
                            let facts = Facts::from(&row);
                            let (place, taken) = (facts.place(&plan.order), plan.takes(&facts));
                            source.after = Some(place.clone());
                            if taken {
                                source.ready.push_back((place, Seen::Fresh(Box::new(row))));
                            }
                        }
                    }
                    Err(error) if error.is_passing() => {
                        silent = Some(handle.cell.name.clone());
                        source.from = Origin::Index(Among::Cell(handle.cell.id));
                    }
                    Err(error) => return Err(error.into()),
                },
                Origin::Index(among) => {
                    let among = *among;
                    let entries = self.entries(plan, among, source.after.clone(), size).await?;
                    source.done = entries.len() < size;
                    if let Some(last) = entries.last() {
                        source.after = Some(Facts::from(last).place(&plan.order));
                    }
                    let seen = self.seen(plan, among, entries).await?;
                    source.ready.extend(seen);
                }
            }
        }
        Ok(silent)
    }

    async fn rows(
        &self,
        plan: &Plan,
        handle: &CellHandle,
        after: Option<Place>,
        size: usize,
    ) -> Result<Vec<Instance>, sql::Error> {
        let (cell, narrow, order): (CellId, _, _) = (handle.cell.id, plan.narrow.clone(), plan.order.clone());
        handle
            .read(move |tx| -> Work<'_, Vec<Instance>> {
                let (narrow, order, after) = (narrow.clone(), order.clone(), after.clone());
                Box::pin(async move {
                    cell_db::pages::page(tx, cell, &narrow, &order, after.as_ref(), size as i64).await
                })
            })
            .await
    }

    /// What stands behind entries, at the places that the index has for them. Instances that a cell's row
    /// tells of by now keep to what was asked for.
    async fn seen(
        &self,
        plan: &Plan,
        among: Among,
        entries: Vec<Entry>,
    ) -> Result<Vec<(Place, Seen)>, Fault> {
        let matching: Vec<Entry> =
            entries.into_iter().filter(|entry| plan.matches(&Facts::from(entry))).collect();
        let place = |entry: &Entry| {
            let facts = Facts::from(entry);
            (entry.id, facts.place(&plan.order), plan.takes(&facts))
        };
        let places: Vec<(InstanceId, Place, bool)> = matching.iter().map(place).collect();
        let mut seen = match among {
            Among::Cell(_) => self.as_last_heard(matching).await?,
            _ => self.look(matching, &mut BTreeSet::new()).await?,
        };
        let found = places.into_iter().filter_map(|(id, place, heard)| {
            let seen = seen.remove(&id)?;
            let taken = match &seen {
                Seen::Fresh(instance) => plan.takes(&Facts::from(&**instance)),
                Seen::Dark(_) => heard,
            };
            taken.then_some((place, seen))
        });
        Ok(found.collect())
    }
}
