//! Hosts of every cell as their cells tell of them, and by name where a cell does not answer.

use std::collections::BTreeSet;

use api_db::hosts::Mapping;
use cell_db::roster::{self, Detail};
use model::{Caller, Cell, CellId, Fault, FaultKind, HostId};
use router::scatter;
use sql::Work;

use crate::Verbs;

/// A host of some cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ComputeHost {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// What its cell tells of it; nothing if the cell does not answer.
    pub told: Option<Detail>,
}

/// The hosts of all cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComputeHosts {
    /// The hosts, by name.
    pub hosts: Vec<ComputeHost>,
    /// Names of cells that did not answer.
    pub dark_cells: Vec<String>,
}

impl Verbs {
    /// Every host of a region, or of all if that is empty. Those of cells that do not answer are known by their
    /// mappings.
    ///
    /// # Errors
    /// For administrators only.
    pub async fn compute_hosts(&self, caller: &Caller, region: &str) -> Result<ComputeHosts, Fault> {
        if !caller.is_admin() {
            return Err(Fault::new(FaultKind::Forbidden, "only administrators see hosts"));
        }
        let asked = |cell: &Cell| !cell.is_cell0() && (region.is_empty() || cell.region == region);
        let cells = self.inner.router.cells().into_iter().filter(|cell| asked(&cell.cell)).collect();
        let answers = scatter(cells, |cell| async move {
            cell.read(|tx| -> Work<'_, Vec<Detail>> { Box::pin(async move { roster::hosts(tx).await }) })
                .await
        });
        let mut found = ComputeHosts::default();
        let mut dark: BTreeSet<CellId> = BTreeSet::new();
        for answer in answers.await {
            match answer.result {
                Ok(hosts) => found.hosts.extend(hosts.into_iter().map(|told| ComputeHost {
                    id: told.host.id,
                    name: told.host.name.clone(),
                    told: Some(told),
                })),
                Err(error) if error.is_passing() => {
                    dark.insert(answer.cell.cell.id);
                    found.dark_cells.push(answer.cell.cell.name.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !dark.is_empty() {
            let read = self.inner.db.read(|tx| -> Work<'_, Vec<Mapping>> {
                Box::pin(async move { api_db::hosts::all(tx).await })
            });
            let lost = read.await?.into_iter().filter(|mapping| dark.contains(&mapping.cell));
            found.hosts.extend(lost.map(|m| ComputeHost { id: m.host, name: m.name, told: None }));
        }
        found.hosts.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(found)
    }
}
