//! Seeing one instance.

use api_db::doctor;
use api_db::index;
use api_db::mappings::{self, Mapping, State};
use model::instance::{Stage, Task};
use model::{Caller, CellId, Fault, FaultKind, Instance, InstanceId, RequestSpec, Timestamp};
use router::Located;
use sql::{Error, Work};

use crate::boot::waiting;
use crate::types::{Dark, Seen};
use crate::{Verbs, no_such_instance};

/// Whether a cell was heard to have made an instance that is wanted: until then the API level knows how it
/// stands. What is DELETED there was refused, and is to be made by another.
pub(crate) fn is_made(entry: &index::Entry) -> bool {
    !matches!(entry.last.status.as_str(), "BUILD" | "DELETED")
}

/// What was found of an instance, and where.
pub(crate) enum Found {
    /// Its row in its cell.
    Row(Box<Instance>),
    /// It is not in a cell's database yet, or between two.
    Waiting(Box<Instance>),
    /// Its cell does not answer.
    Dark(Box<Unseen>),
}

/// What is known of an instance when its cell does not answer, and why it does not.
pub(crate) struct Unseen {
    mapping: Mapping,
    spec: RequestSpec,
    pub(crate) why: Error,
}

impl Verbs {
    /// One instance, as far as it can be seen now.
    ///
    /// # Errors
    /// It does not exist, is gone, or is another project's: all the same to the caller.
    pub async fn show(&self, caller: &Caller, id: InstanceId) -> Result<Seen, Fault> {
        match self.find(caller, id).await? {
            Found::Row(instance) | Found::Waiting(instance) => Ok(Seen::Fresh(instance)),
            Found::Dark(unseen) => Ok(self.dark(*unseen).await),
        }
    }

    /// Finds an instance: from the remembered location, else from its mapping.
    pub(crate) async fn find(&self, caller: &Caller, id: InstanceId) -> Result<Found, Fault> {
        if let Some(at) = self.inner.locations.get(id)
            && (caller.is_admin() || caller.project == at.project)
            && let Ok(cell) = self.inner.router.cell(at.cell)
        {
            let here = cell.cell.id;
            let row = cell
                .read(move |tx| -> Work<'_, Option<Instance>> {
                    Box::pin(async move { cell_db::instances::get(tx, here, id).await })
                })
                .await;
            match row {
                Ok(Some(row)) if row.at.epoch == at.epoch && row.stage != Stage::Tombstone => {
                    return Ok(Found::Row(Box::new(row)));
                }
                // It moved, is gone, or the cell is dark: the mapping tells.
                _ => self.inner.locations.forget(id),
            }
        }
        let mut patience = 3;
        loop {
            let since = self.inner.env.monotonic();
            let mapping = self.mapping(caller, id).await?;
            let (Some(cell), Some(spec)) = (mapping.cell, mapping.spec.clone()) else {
                return match mapping.spec {
                    Some(spec) => {
                        Ok(Found::Waiting(Box::new(between(&mapping.state, id, spec, mapping.created))))
                    }
                    None => Err(no_such_instance(id)),
                };
            };
            let handle = match self.inner.router.cell(cell) {
                Ok(handle) => handle,
                Err(fault) => {
                    let why = Error::Down(fault.message);
                    return Ok(Found::Dark(Box::new(Unseen { mapping, spec, why })));
                }
            };
            let row = handle
                .read(move |tx| -> Work<'_, Option<Instance>> {
                    Box::pin(async move { cell_db::instances::get(tx, cell, id).await })
                })
                .await;
            match row {
                Err(why) if why.is_passing() => {
                    return Ok(Found::Dark(Box::new(Unseen { mapping, spec, why })));
                }
                Err(error) => return Err(error.into()),
                Ok(Some(row)) if row.at.epoch == mapping.epoch && row.stage != Stage::Tombstone => {
                    if mapping.state == State::Live {
                        let located = Located { project: mapping.project, cell, epoch: mapping.epoch };
                        self.inner.locations.put(id, located, since);
                    }
                    return Ok(Found::Row(Box::new(row)));
                }
                // The cell is ahead: the mapping was read a moment too early.
                Ok(Some(row)) if row.at.epoch > mapping.epoch && patience > 0 => patience -= 1,
                // Observed gone; only the bookkeeping is left.
                Ok(Some(row)) if row.stage == Stage::Tombstone && mapping.state == State::Deleting => {
                    return Err(no_such_instance(id));
                }
                // Not inserted yet, or refused there and about to be bound elsewhere.
                Ok(_) => {
                    return Ok(Found::Waiting(Box::new(between(&mapping.state, id, spec, mapping.created))));
                }
            }
        }
    }

    /// The mapping of an instance that the caller may see.
    pub(crate) async fn mapping(&self, caller: &Caller, id: InstanceId) -> Result<Mapping, Fault> {
        let read = self.inner.db.read(move |tx| -> Work<'_, Option<Mapping>> {
            Box::pin(async move { mappings::get(tx, id).await })
        });
        match read.await? {
            Some(mapping) if mapping.state == State::Deleted => Err(no_such_instance(id)),
            Some(mapping) if caller.is_admin() || mapping.project == caller.project => Ok(mapping),
            _ => Err(no_such_instance(id)),
        }
    }

    /// An instance as its cell or, before that, the API level has it.
    ///
    /// # Errors
    /// There is none for this caller; unavailable if its cell does not answer.
    pub(crate) async fn row(&self, caller: &Caller, id: InstanceId) -> Result<Box<Instance>, Fault> {
        match self.find(caller, id).await? {
            Found::Row(row) | Found::Waiting(row) => Ok(row),
            Found::Dark(unseen) => Err(unseen.why.into()),
        }
    }

    /// What is known of an instance whose cell does not answer.
    async fn dark(&self, unseen: Unseen) -> Seen {
        let Unseen { mapping, spec, .. } = unseen;
        let id = mapping.id;
        let last = self
            .inner
            .db
            .read(move |tx| -> Work<'_, (Option<index::Entry>, bool)> {
                Box::pin(async move {
                    let entry = index::get(tx, id).await?;
                    Ok((entry, !doctor::worked_on(tx, &[id]).await?.is_empty()))
                })
            })
            .await;
        match last {
            Ok((entry, worked_on)) => self.told(mapping, spec, entry.as_ref(), worked_on),
            // Nothing is made up of what could not be read.
            Err(_) => Seen::Dark(Box::new(self.unknown(mapping, spec, None))),
        }
    }

    /// An instance whose cell does not answer, with what was last heard of it. Of one that its cell was never
    /// heard to have made, the API level knows enough to tell as long as its build is worked on: after that the
    /// cell has said how it stands, and the entry was lost. What lies in cell0 was made by no cell.
    pub(crate) fn told(
        &self,
        mapping: Mapping,
        spec: RequestSpec,
        entry: Option<&index::Entry>,
        worked_on: bool,
    ) -> Seen {
        let is_known = worked_on || mapping.cell == Some(CellId::ZERO);
        match mapping.state {
            State::Live if is_known && !entry.is_some_and(is_made) => {
                Seen::Fresh(Box::new(self.bound(mapping, spec)))
            }
            _ => Seen::Dark(Box::new(self.unknown(mapping, spec, entry))),
        }
    }

    /// A build that is bound to a cell which went dark before it was heard to have made it: BUILD until its
    /// deadline, then ERROR. It is never started elsewhere without the cell's word; should the cell come
    /// back and have made it after all, its own row tells so from then on.
    fn bound(&self, mapping: Mapping, spec: RequestSpec) -> Instance {
        let (now, deadline) = (self.inner.env.now(), spec.deadline);
        let why = "The cell that was to make it does not answer; it is made when the cell is back.";
        let late = "The cell that was to make it did not answer in time. It may be deleted at any time.";
        let mut instance = waiting(mapping.id, spec, mapping.created, Task::Scheduling);
        instance.cell = mapping.cell;
        instance.fault = Some((Fault::unavailable(why), now));
        if mapping.cell == Some(CellId::ZERO) {
            // No cell could take it. The whole explanation lies in cell0, which is away.
            (instance.stage, instance.task) = (Stage::Error, None);
            instance.fault = Some((Fault::new(FaultKind::NoValidHost, "No valid host was found."), now));
        } else if now > deadline {
            (instance.stage, instance.task, instance.updated) = (Stage::Error, None, deadline);
            instance.fault = Some((Fault::new(FaultKind::Timeout, late), deadline));
        }
        instance
    }

    fn unknown(&self, mapping: Mapping, spec: RequestSpec, entry: Option<&index::Entry>) -> Dark {
        let cell = mapping.cell.and_then(|cell| self.inner.router.cell(cell).ok());
        Dark {
            id: mapping.id,
            spec,
            created: mapping.created,
            cell: cell.map(|handle| handle.cell.name.clone()).unwrap_or_default(),
            last_status: entry
                .map(|entry| (entry.last.status.clone(), self.inner.env.now().since(entry.last.updated))),
        }
    }
}

fn between(state: &State, id: InstanceId, spec: RequestSpec, created: Timestamp) -> Instance {
    let task = if *state == State::Live { Task::Scheduling } else { Task::Deleting };
    waiting(id, spec, created, task)
}
