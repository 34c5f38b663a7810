//! Instances as an operator who repairs something sees them: what is mapped, what cells hold, what hosts offer.

use api_db::doctor;
use api_db::mappings::{self, Mapping, State};
use cell_db::offers::Offered;
use cell_db::roster::{self, Held};
use model::{At, Cell, CellId, HostId, Instance, InstanceId};
use serde::Serialize;
use sql::Work;

use super::{Admin, By, Denied, Why, only_admins};

/// Most instances that are listed at a time.
pub const MOST: i64 = 1_000;

/// Where an instance is mapped to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MappingView {
    /// The cell's name, or its id if it is not mapped itself; absent while it is bound to none.
    pub cell: Option<String>,
    /// Bindings so far.
    pub epoch: i64,
    /// The fencing counter of API-level tasks on it.
    pub saga_token: i64,
    /// `live`, `deleting` or `deleted`.
    pub state: &'static str,
    /// Whether a task works on it.
    pub worked_on: bool,
}

/// An instance's row in a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowView {
    /// The instance.
    pub id: InstanceId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub project: String,
    /// The cell.
    pub cell: String,
    /// The host's name, if it is on one.
    pub host: Option<String>,
    /// The host's id.
    pub host_id: Option<HostId>,
    /// Epoch, placement and generation.
    pub at: At,
    /// As users see it, `DELETED` for a tombstone.
    pub status: &'static str,
    /// How far it has come in its cell.
    pub stage: &'static str,
    /// What should be: `run`, `stop` or `gone`.
    pub intent: &'static str,
    /// What its container was last seen doing.
    pub power: &'static str,
    /// Why it is in error.
    pub fault: Option<String>,
    /// Where it is mapped to; absent if it is not.
    pub mapping: Option<MappingView>,
}

/// A list, with the cells that did not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InstancesView {
    /// The rows, oldest first within each cell.
    pub instances: Vec<RowView>,
    /// Whether there are more than were asked for.
    pub more: bool,
    /// Cells that did not answer.
    pub dark: Vec<String>,
}

/// A container that a host has and its cell does not know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfferView {
    /// The cell of the host.
    pub in_cell: String,
    /// What is known of it.
    #[serde(flatten)]
    pub offered: Offered,
}

/// All that hosts offer, with the cells that did not answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OffersView {
    /// By cell and instance.
    pub offers: Vec<OfferView>,
    /// Cells that did not answer.
    pub dark: Vec<String>,
}

/// Everything about one instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceView {
    /// The instance.
    pub id: InstanceId,
    /// Where it is mapped to; absent if it is not.
    pub mapping: Option<MappingView>,
    /// Its row in each cell that has one, tombstones included.
    pub rows: Vec<RowView>,
    /// What hosts have of it that their cells do not know.
    pub offers: Vec<OfferView>,
    /// Cells that did not answer.
    pub dark: Vec<String>,
}

impl Admin {
    /// The instances that cells hold, with their mappings: of one cell, on one host, or all, up to `limit`.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::NoHost`], [`Why::Ambiguous`]; the API database does not answer.
    pub async fn instances_view(
        &self,
        by: &By,
        cell: Option<&str>,
        host: Option<&str>,
        limit: i64,
    ) -> Result<InstancesView, Denied> {
        only_admins(by)?;
        let limit = limit.clamp(1, MOST);
        let mut on: Option<HostId> = None;
        let cells = match (cell, host) {
            (_, Some(host)) => {
                let host = self.host_view(by, host, cell).await?;
                on = Some(host.id);
                vec![self.mapping(&host.cell).await?]
            }
            (Some(cell), None) => vec![self.mapping(cell).await?],
            (None, None) => self.mappings().await?,
        };
        let asked = cells.into_iter().map(|cell| async move {
            let id = cell.id;
            let read = self.read(&cell, move |tx| -> Work<'_, Vec<Held>> {
                Box::pin(async move {
                    match on {
                        Some(host) => roster::on_host(tx, id, host, limit + 1).await,
                        None => roster::instances(tx, id, None, limit + 1).await,
                    }
                })
            });
            let answer = read.await;
            (cell, answer)
        });
        let mut view = InstancesView::default();
        for (cell, answer) in futures::future::join_all(asked).await {
            match answer {
                Ok(held) => {
                    let rows = held.into_iter().map(|held| row(&cell, held.instance));
                    view.instances.extend(rows);
                }
                Err(_) => view.dark.push(cell.name),
            }
        }
        view.more = view.instances.len() as i64 > limit;
        view.instances.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let ids: Vec<InstanceId> = view.instances.iter().map(|row| row.id).collect();
        let known = self.mapping_views(ids).await?;
        for row in &mut view.instances {
            row.mapping = known.iter().find(|(id, _)| *id == row.id).map(|(_, view)| view.clone());
        }
        Ok(view)
    }

    /// Everything about one instance: its mapping, its row in every cell that has one, and what hosts offer of it.
    ///
    /// # Errors
    /// [`Why::Fault`] with `NotFound` if nobody knows it; the API database does not answer.
    pub async fn instance_view(&self, by: &By, id: InstanceId) -> Result<InstanceView, Denied> {
        only_admins(by)?;
        let known = self.mapping_views(vec![id]).await?;
        let mut view = InstanceView {
            id,
            mapping: known.into_iter().next().map(|(_, view)| view),
            rows: Vec::new(),
            offers: Vec::new(),
            dark: Vec::new(),
        };
        type Found = (Option<Instance>, Vec<Offered>);
        let asked = self.ask(self.mappings().await?, move |tx| -> Work<'_, Found> {
            Box::pin(async move {
                let row = cell_db::instances::get(tx, CellId::ZERO, id).await?;
                Ok((row, cell_db::offers::of(tx, id).await?))
            })
        });
        for (cell, answer) in asked.await {
            match answer {
                Ok((found, offers)) => {
                    view.rows.extend(found.map(|found| row(&cell, found)));
                    let offer = |offered| OfferView { in_cell: cell.name.clone(), offered };
                    view.offers.extend(offers.into_iter().map(offer));
                }
                Err(_) => view.dark.push(cell.name),
            }
        }
        let unknown = view.mapping.is_none() && view.rows.is_empty() && view.offers.is_empty();
        match unknown && view.dark.is_empty() {
            true => Err(Denied::new(
                Why::Fault(model::FaultKind::NotFound),
                format!("no cell has instance {id}, and it is not mapped"),
            )),
            false => Ok(view),
        }
    }

    /// What hosts of a cell, or of all cells, have and their cells do not know.
    ///
    /// # Errors
    /// [`Why::NoCell`]; the API database does not answer.
    pub async fn offered(&self, by: &By, cell: Option<&str>) -> Result<OffersView, Denied> {
        only_admins(by)?;
        let cells = match cell {
            Some(cell) => vec![self.mapping(cell).await?],
            None => self.mappings().await?,
        };
        let asked = self.ask(cells, |tx| -> Work<'_, Vec<Offered>> {
            Box::pin(async move { cell_db::offers::all(tx).await })
        });
        let mut view = OffersView::default();
        for (cell, answer) in asked.await {
            match answer {
                Ok(found) => {
                    let offer = |offered| OfferView { in_cell: cell.name.clone(), offered };
                    view.offers.extend(found.into_iter().map(offer));
                }
                Err(_) => view.dark.push(cell.name),
            }
        }
        Ok(view)
    }

    async fn mapping_views(&self, ids: Vec<InstanceId>) -> Result<Vec<(InstanceId, MappingView)>, Denied> {
        type Known = (Vec<Mapping>, Vec<InstanceId>);
        let cells = self.mappings().await?;
        let read = self.db.read(move |tx| -> Work<'_, Known> {
            let ids = ids.clone();
            Box::pin(
                async move { Ok((mappings::get_many(tx, &ids).await?, doctor::worked_on(tx, &ids).await?)) },
            )
        });
        let (known, worked_on) = read.await?;
        let name = |id: CellId| {
            cells.iter().find(|cell| cell.id == id).map_or_else(|| id.to_string(), |cell| cell.name.clone())
        };
        let view = |mapping: Mapping| {
            let state = match mapping.state {
                State::Live => "live",
                State::Deleting => "deleting",
                State::Deleted => "deleted",
            };
            let view = MappingView {
                cell: mapping.cell.map(name),
                epoch: mapping.epoch,
                saga_token: mapping.saga_token,
                state,
                worked_on: worked_on.contains(&mapping.id),
            };
            (mapping.id, view)
        };
        Ok(known.into_iter().map(view).collect())
    }
}

fn row(cell: &Cell, instance: Instance) -> RowView {
    RowView {
        id: instance.id,
        cell: cell.name.clone(),
        host: instance.host.as_ref().map(|(_, name)| name.clone()),
        host_id: instance.host.as_ref().map(|(id, _)| *id),
        at: instance.at,
        status: instance.status(),
        stage: instance.stage.as_str(),
        intent: instance.intent.as_str(),
        power: instance.power.as_str(),
        fault: instance.fault.as_ref().map(|(fault, _)| fault.message.clone()),
        mapping: None,
        name: instance.spec.name.clone(),
        project: instance.spec.project,
    }
}
