//! Mapping hosts by reading the cells.

use std::sync::Arc;

use api_db::hosts::{self, Mapped, Mapping};
use model::host::Host;
use model::{Cell, CellId, HostId};
use serde::Serialize;
use serde_json::json;
use sql::{Error, Work};

use super::{Admin, By, DEADLINE, Denied, close, open, reason};

/// What a host's mapping was found to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// It had none, and has one now.
    New,
    /// It had one.
    Known,
    /// It is mapped to another cell: two machines share a host id. Nothing was changed.
    Elsewhere(CellId),
}

/// One cell that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CellScan {
    /// Its id.
    pub id: CellId,
    /// Its name.
    pub name: String,
    /// Its hosts: id, name, and what was found.
    pub hosts: Vec<(HostId, String, Found)>,
    /// Why it did not answer, if it did not.
    pub dark: Option<String>,
}

/// What came of a discovery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scan {
    /// Cells that were read, or were to be.
    pub cells: Vec<CellScan>,
}

impl Scan {
    /// Hosts that were found to be so.
    pub fn count(&self, is: impl Fn(&Found) -> bool) -> usize {
        self.cells.iter().flat_map(|cell| &cell.hosts).filter(|(_, _, found)| is(found)).count()
    }

    /// Whether a cell did not answer.
    pub fn is_partial(&self) -> bool {
        self.cells.iter().any(|cell| cell.dark.is_some())
    }
}

impl Admin {
    /// Maps the hosts of one cell, or of all but cell0. Cells are read at the same time; one that does not
    /// answer is told of and keeps nothing from the others. May be repeated and run at the same time.
    ///
    /// # Errors
    /// [`super::Why::NoCell`]; if the API database does not answer.
    pub async fn discover_hosts(&self, by: &By, cell: Option<&str>) -> Result<Scan, Denied> {
        let entry = self.entry(by, "host.map")?;
        let cells: Vec<Cell> = match cell {
            Some(cell) => vec![self.mapping(cell).await?],
            None => self.mappings().await?.into_iter().filter(|cell| !cell.is_cell0()).collect(),
        };
        let answers = self
            .ask(cells, |tx| -> Work<'_, Vec<Host>> {
                Box::pin(async move { cell_db::hosts::all(tx).await })
            })
            .await;
        let mut found: Vec<Mapping> = Vec::new();
        for (cell, answer) in &answers {
            for host in answer.iter().flatten() {
                found.push(Mapping { host: host.id, cell: cell.id, name: host.name.clone() });
            }
        }
        found.sort_by_key(|mapping| mapping.host);
        let found = Arc::new(found);
        let mapped = self.db.write(move |tx| -> Work<'_, Mapped> {
            let (found, entry) = (found.clone(), entry.clone());
            Box::pin(async move {
                let mapped = hosts::map(tx, &found).await?;
                for (n, host) in mapped.new.iter().enumerate() {
                    let mapping = found.iter().find(|mapping| mapping.host == *host);
                    let Some(Mapping { cell, name, .. }) = mapping else { continue };
                    entry.nth(n).record(tx, host.uuid(), json!({"cell": cell, "name": name})).await?;
                }
                Ok(mapped)
            })
        });
        let mapped = mapped.await?;
        let scan = |(cell, answer): (Cell, Result<Vec<Host>, Error>)| CellScan {
            dark: answer.as_ref().err().map(reason),
            hosts: answer
                .into_iter()
                .flatten()
                .map(|host| (host.id, host.name, verdict(&mapped, host.id, cell.id)))
                .collect(),
            id: cell.id,
            name: cell.name,
        };
        Ok(Scan { cells: answers.into_iter().map(scan).collect() })
    }

    /// The hosts that a database holds, mapped or not.
    ///
    /// # Errors
    /// If it does not answer or has no schema.
    pub async fn hosts_at(&self, database_url: &str) -> Result<Vec<Host>, Error> {
        let db = open(self.secrets.fill(router::Which::Database, database_url)?, false, DEADLINE)?;
        let read = db
            .read(|tx| -> Work<'_, Vec<Host>> { Box::pin(async move { cell_db::hosts::all(tx).await }) })
            .await;
        close(db);
        read
    }
}

fn verdict(mapped: &Mapped, host: HostId, cell: CellId) -> Found {
    if let Some((_, other)) = mapped.elsewhere.iter().find(|(id, other)| *id == host && *other != cell) {
        return Found::Elsewhere(*other);
    }
    if mapped.new.contains(&host) { Found::New } else { Found::Known }
}
