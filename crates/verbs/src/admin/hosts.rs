//! Hosts: showing, disabling, enabling, deleting.

use std::collections::BTreeMap;

use api_db::hosts::{self, Mapping};
use cell_db::hosts::Disabled;
use cell_db::roster::{self, Detail};
use model::{Cell, CellId, HostId, Resources};
use serde::Serialize;
use serde_json::json;
use sql::Work;

use super::entry::nothing;
use super::maintenance::MARK;
use super::{Admin, By, Denied, Why, only_admins, pick, reason};

/// A host as an operator sees it. What only its cell knows is absent while that does not answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostView {
    /// Its id.
    pub id: HostId,
    /// Its name; need not be unique.
    pub name: String,
    /// The name of its cell.
    pub cell: String,
    /// The id of its cell.
    pub cell_id: CellId,
    /// Whether the API level has mapped it.
    pub mapped: bool,
    /// Whether its cell holds it; absent while that does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered: Option<bool>,
    /// Its availability zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Whether an operator lets it take new instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether it was heard of lately and its engine ran a probe container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// Why it is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// Who disabled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_by: Option<String>,
    /// If it is disabled: whether it is in maintenance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<bool>,
    /// Where its published ports are reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Version of its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When its agent was last heard of: microseconds since 1970, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<i64>,
    /// Instances on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<i64>,
    /// The key that it signs with: `own`, `revoked`, or `none` (an agent of the release before).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'static str>,
    /// Why another agent that says to be this host's was refused last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The user by which its agent was last connected to the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_as: Option<String>,
    /// Declared amounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Resources>,
    /// Claimed amounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Resources>,
}

/// Hosts, and the cells that did not answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HostsView {
    /// The hosts, by name.
    pub hosts: Vec<HostView>,
    /// Names of cells that did not answer, with the reason.
    pub dark: BTreeMap<String, String>,
}

/// A host, where it is, and what its cell said.
pub(crate) struct Place {
    pub cell: Cell,
    pub view: HostView,
    detail: Option<Detail>,
}

impl Admin {
    /// Host mappings with the names of their cells, by host name, of one cell or of all. No cell is asked.
    ///
    /// # Errors
    /// [`Why::NoCell`].
    pub async fn host_mappings(&self, by: &By, cell: Option<&str>) -> Result<Vec<(Mapping, String)>, Denied> {
        only_admins(by)?;
        let cells = self.mappings().await?;
        let only = cell.map(|cell| pick(cells.clone(), cell)).transpose()?.map(|cell| cell.id);
        let read =
            self.db.read(|tx| -> Work<'_, Vec<Mapping>> { Box::pin(async move { hosts::all(tx).await }) });
        let name = |id: CellId| cells.iter().find(|cell| cell.id == id).map(|cell| cell.name.clone());
        let shown = read.await?.into_iter().filter(|mapping| only.is_none_or(|cell| mapping.cell == cell));
        Ok(shown.map(|mapping| (mapping.clone(), name(mapping.cell).unwrap_or_default())).collect())
    }

    /// The hosts of one cell, or of all: what is mapped, and what the cells hold.
    ///
    /// # Errors
    /// [`Why::NoCell`].
    pub async fn hosts_view(&self, by: &By, cell: Option<&str>) -> Result<HostsView, Denied> {
        only_admins(by)?;
        let (places, dark) = self.places(cell).await?;
        Ok(HostsView { hosts: places.into_iter().map(|place| place.view).collect(), dark })
    }

    /// One host, by id or name.
    ///
    /// # Errors
    /// [`Why::NoCell`], [`Why::NoHost`], [`Why::Ambiguous`], [`Why::OtherCell`].
    pub async fn host_view(&self, by: &By, host: &str, cell: Option<&str>) -> Result<HostView, Denied> {
        only_admins(by)?;
        Ok(self.place(host, cell).await?.0.view)
    }

    async fn places(&self, cell: Option<&str>) -> Result<(Vec<Place>, BTreeMap<String, String>), Denied> {
        let cells = match cell {
            Some(cell) => vec![self.mapping(cell).await?],
            None => self.mappings().await?,
        };
        let mapped =
            self.db.read(|tx| -> Work<'_, Vec<Mapping>> { Box::pin(async move { hosts::all(tx).await }) });
        let asked = cells.into_iter().filter(|cell| !cell.is_cell0()).collect();
        let asked = self
            .ask(asked, |tx| -> Work<'_, Vec<Detail>> { Box::pin(async move { roster::hosts(tx).await }) });
        let (mapped, asked) = futures::join!(mapped, asked);
        let mapped = mapped?;
        let (mut places, mut dark) = (Vec::new(), BTreeMap::new());
        for (cell, answer) in asked {
            let here: Vec<&Mapping> = mapped.iter().filter(|mapping| mapping.cell == cell.id).collect();
            let answered = answer.is_ok();
            let details = answer.unwrap_or_else(|error| {
                dark.insert(cell.name.clone(), reason(&error));
                Vec::new()
            });
            for mapping in &here {
                if !details.iter().any(|detail| detail.host.id == mapping.host) {
                    let mut view = bare(&cell, mapping.host, &mapping.name, true);
                    view.registered = answered.then_some(false);
                    places.push(Place { cell: cell.clone(), view, detail: None });
                }
            }
            for detail in details {
                let is_mapped = here.iter().any(|mapping| mapping.host == detail.host.id);
                let view = full(&cell, &detail, is_mapped);
                places.push(Place { cell: cell.clone(), view, detail: Some(detail) });
            }
        }
        places.sort_by(|a, b| (&a.view.name, a.view.id).cmp(&(&b.view.name, b.view.id)));
        Ok((places, dark))
    }

    /// The one host with that id or name, and whether its cell is dark.
    async fn place(&self, host: &str, cell: Option<&str>) -> Result<(Place, Option<String>), Denied> {
        let only = match cell {
            Some(cell) => Some(self.mapping(cell).await?),
            None => None,
        };
        let (places, dark) = self.places(None).await?;
        let id: Option<HostId> = host.parse().ok();
        let named = |place: &Place| Some(place.view.id) == id || place.view.name == host;
        let (mut found, mut elsewhere) = (Vec::new(), Vec::new());
        for place in places.into_iter().filter(named) {
            match &only {
                Some(only) if only.id != place.cell.id => elsewhere.push(place.cell.name),
                _ => found.push(place),
            }
        }
        if found.len() > 1 {
            let ids: Vec<String> =
                found.iter().map(|place| format!("{} in {}", place.view.id, place.cell.name)).collect();
            let why = format!("several hosts are called '{host}': name one by its id: {}", ids.join(", "));
            return Err(Denied::new(Why::Ambiguous, why));
        }
        let Some(place) = found.pop() else {
            return Err(match (elsewhere.is_empty(), dark.is_empty()) {
                (false, _) => {
                    Denied::new(Why::OtherCell, format!("host '{host}' is in cell {}", elsewhere.join(", ")))
                }
                (true, true) => Denied::new(Why::NoHost, format!("there is no host '{host}'")),
                (true, false) => Denied::new(
                    Why::NoHost,
                    format!(
                        "no host '{host}' is mapped, and these cells did not answer: {}",
                        dark.keys().cloned().collect::<Vec<_>>().join(", ")
                    ),
                ),
            });
        };
        let why = dark.get(&place.cell.name).cloned();
        Ok((place, why))
    }

    /// Keeps a host from taking new instances; what it runs goes on.
    ///
    /// # Errors
    /// As [`Admin::host_view`]; [`Why::Dark`].
    pub async fn disable_host(
        &self,
        by: &By,
        host: &str,
        cell: Option<&str>,
        words: &str,
        dry_run: bool,
    ) -> Result<HostView, Denied> {
        self.switch(by, "host.disable", host, cell, Some(reason_for(words)?), dry_run).await
    }

    /// Lets a host take new instances again.
    ///
    /// # Errors
    /// As [`Admin::host_view`]; [`Why::Dark`].
    pub async fn enable_host(
        &self,
        by: &By,
        host: &str,
        cell: Option<&str>,
        dry_run: bool,
    ) -> Result<HostView, Denied> {
        self.switch(by, "host.enable", host, cell, None, dry_run).await
    }

    pub(super) async fn switch(
        &self,
        by: &By,
        action: &'static str,
        host: &str,
        cell: Option<&str>,
        words: Option<String>,
        dry_run: bool,
    ) -> Result<HostView, Denied> {
        let entry = self.entry(by, action)?;
        let place = self.known(host, cell).await?;
        if dry_run {
            return Ok(place.view);
        }
        let id = place.view.id;
        let (user, request_id) = (by.caller.user.clone(), by.context.request_id.clone());
        let why = words.map(|reason| Disabled { reason, user, request_id, since: entry.at });
        // Two databases: the audit says first what is about to be done, so that nothing is done unaudited.
        let detail = json!({"cell": place.cell.id, "name": place.view.name, "reason": why.as_ref().map(|w| &w.reason)});
        let begun = self.begin(&entry, id.uuid(), detail).await?;
        let written = self.write(&place.cell, move |tx| -> Work<'_, ()> {
            let why = why.clone();
            Box::pin(async move {
                match &why {
                    Some(why) => cell_db::hosts::disable(tx, id, why).await,
                    None => cell_db::hosts::enable(tx, id).await.map(drop),
                }
            })
        });
        let written = written.await.map_err(|error| Denied::dark(&place.cell.name, &error));
        self.end(&begun, written, nothing).await?;
        let (place, _) = self.place(&id.to_string(), Some(&place.cell.name)).await?;
        Ok(place.view)
    }

    /// The host, if its cell answers and holds it.
    pub(crate) async fn known(&self, host: &str, cell: Option<&str>) -> Result<Place, Denied> {
        match self.place(host, cell).await? {
            (place, None) if place.detail.is_some() => Ok(place),
            (place, None) => Err(Denied::new(
                Why::NoHost,
                format!("cell {} does not know host '{host}' any more: delete its mapping", place.cell.name),
            )),
            (place, Some(why)) => Err(Denied::new(Why::Dark, format!("cell {}: {why}", place.cell.name))),
        }
    }

    /// Deletes a host that no instance is on: its row in the cell and its mapping. A host whose agent is
    /// alive would enrol again at once; it is refused, or with `alive` only its mapping is deleted. Where
    /// the cell does not answer only `force` deletes the mapping.
    ///
    /// # Errors
    /// As [`Admin::host_view`]; [`Why::HasInstances`], [`Why::Alive`], [`Why::Dark`].
    pub async fn delete_host(
        &self,
        by: &By,
        host: &str,
        cell: Option<&str>,
        (alive, force, dry_run): (bool, bool, bool),
    ) -> Result<HostView, Denied> {
        let entry = self.entry(by, "host.delete")?;
        let (place, dark) = self.place(host, cell).await?;
        let (id, name) = (place.view.id, place.view.name.clone());
        let held = match &place.detail {
            Some(detail) => detail.instances,
            None => {
                let read = self.db.read(move |tx| -> Work<'_, i64> {
                    Box::pin(async move { hosts::instances(tx, id).await })
                });
                read.await?
            }
        };
        if let (Some(why), false) = (&dark, force) {
            let why = format!("cell {}: {why}; --force deletes the host's mapping alone", place.cell.name);
            return Err(Denied::new(Why::Dark, why));
        }
        if held > 0 {
            let why = format!("{held} instances are on host {name}: delete or move them first");
            return Err(Denied::new(Why::HasInstances, why));
        }
        let lives = place.detail.as_ref().is_some_and(|detail| !detail.silent);
        if lives && !alive && !force {
            let why = format!("the agent of host {name} is alive and would enrol it again: stop it first");
            return Err(Denied::new(Why::Alive, why));
        }
        if dry_run {
            return Ok(place.view);
        }
        let detail = json!({"cell": place.cell.id, "name": name, "force": force});
        let begun = self.begin(&entry, id.uuid(), detail).await?;
        if place.detail.is_some() && (!lives || force) {
            let deleted = self.write(&place.cell, move |tx| -> Work<'_, bool> {
                Box::pin(async move { cell_db::hosts::delete(tx, id).await })
            });
            let deleted = match deleted.await {
                Ok(true) => Ok(()),
                Ok(false) => {
                    let why =
                        format!("an instance was placed on host {name} at this moment: disable it first");
                    Err(Denied::new(Why::HasInstances, why))
                }
                Err(error) => Err(Denied::dark(&place.cell.name, &error)),
            };
            if deleted.is_err() {
                return self.end(&begun, deleted, nothing).await.map(|()| place.view);
            }
        }
        let unmapped = self.db.write(move |tx| -> Work<'_, ()> {
            let begun = begun.clone();
            Box::pin(async move {
                hosts::unmap(tx, id).await?;
                begun.done(tx, &json!({})).await
            })
        });
        // Should this fail, the host has no row but a mapping: repeating finishes it.
        unmapped.await?;
        Ok(place.view)
    }
}

/// Why a host is disabled, as it is kept.
pub(super) fn reason_for(words: &str) -> Result<String, Denied> {
    let words = words.trim().to_owned();
    match words.is_empty() || words.len() > 255 {
        true => Err(Denied::new(Why::Bad, "a reason has 1 to 255 characters")),
        false => Ok(words),
    }
}

fn bare(cell: &Cell, id: HostId, name: &str, mapped: bool) -> HostView {
    HostView {
        id,
        name: name.to_owned(),
        cell: cell.name.clone(),
        cell_id: cell.id,
        mapped,
        registered: None,
        zone: None,
        enabled: None,
        healthy: None,
        disabled_reason: None,
        disabled_by: None,
        maintenance: None,
        address: None,
        version: None,
        seen_at: None,
        instances: None,
        key: None,
        refused: None,
        connected_as: None,
        capacity: None,
        used: None,
    }
}

fn full(cell: &Cell, detail: &Detail, mapped: bool) -> HostView {
    let Detail { host, address, version, seen, instances, disabled, key, refused, connected_as, .. } = detail;
    HostView {
        registered: Some(true),
        zone: Some(host.zone.clone()),
        enabled: Some(host.enabled),
        healthy: Some(host.healthy),
        disabled_reason: disabled.as_ref().map(|disabled| disabled.reason.clone()),
        disabled_by: disabled.as_ref().map(|disabled| disabled.user.clone()),
        maintenance: disabled.as_ref().map(|disabled| disabled.reason.starts_with(MARK)),
        address: Some(address.clone()),
        version: Some(version.clone()),
        seen_at: Some(seen.0),
        instances: Some(*instances),
        key: Some(match key {
            Some(true) => "own",
            Some(false) => "revoked",
            None => "none",
        }),
        refused: refused.clone(),
        connected_as: connected_as.clone(),
        capacity: Some(host.capacity),
        used: Some(host.used),
        ..bare(cell, host.id, &host.name, mapped)
    }
}
