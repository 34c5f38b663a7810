//! Host mappings: which host lies in which cell. Made by reading the cells; a host's id is its identity,
//! its name need not be unique.

use std::collections::BTreeMap;

use model::{CellId, HostId};
use sql::{Error, Rows, args};
use uuid::Uuid;

use crate::Tx;

/// One host's mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The host.
    pub host: HostId,
    /// Its cell.
    pub cell: CellId,
    /// Its name when the cell was last read.
    pub name: String,
}

/// What came of mapping hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// Hosts that had no mapping.
    pub new: Vec<HostId>,
    /// Hosts that are mapped to another cell, with that cell: two machines share one host id. Their
    /// mappings stay as they are.
    pub elsewhere: Vec<(HostId, CellId)>,
}

/// All host mappings, by name.
pub async fn all(tx: &mut Tx) -> Result<Vec<Mapping>, Error> {
    const SQL: &str = "SELECT host, cell, name FROM host_mapping ORDER BY name, host";
    let rows: Vec<(Uuid, Uuid, String)> = tx.all(SQL, vec![]).await?;
    let mapping =
        |(host, cell, name): (Uuid, Uuid, String)| Mapping { host: HostId(host), cell: CellId(cell), name };
    Ok(rows.into_iter().map(mapping).collect())
}

/// Maps hosts; those that are mapped to the same cell already only take over a new name. Repeats and
/// concurrent runs are harmless.
pub async fn map(tx: &mut Tx, hosts: &[Mapping]) -> Result<Mapped, Error> {
    const INSERT: Rows = Rows {
        head: "INSERT INTO host_mapping (host, cell, name) VALUES",
        tail: "ON CONFLICT (host) DO NOTHING RETURNING host",
    };
    const RENAME: Rows = Rows {
        head: "UPDATE host_mapping SET name = v.column3 FROM (VALUES",
        tail: ") AS v WHERE host_mapping.host = v.column1 AND cell = v.column2 AND name <> v.column3",
    };
    let rows = || hosts.iter().map(|h| args![h.host, h.cell, h.name.as_str()]).collect::<Vec<_>>();
    let new: Vec<(Uuid,)> = tx.all_rows(INSERT, rows()).await?;
    let new: Vec<HostId> = new.into_iter().map(|(host,)| HostId(host)).collect();
    if new.len() == hosts.len() {
        return Ok(Mapped { new, elsewhere: Vec::new() });
    }
    tx.exec_rows(RENAME, rows()).await?;
    let known: BTreeMap<HostId, CellId> =
        all(tx).await?.into_iter().map(|mapping| (mapping.host, mapping.cell)).collect();
    let other = |wanted: &Mapping| known.get(&wanted.host).copied().filter(|cell| *cell != wanted.cell);
    let elsewhere = hosts.iter().filter_map(|h| Some((h.host, other(h)?))).collect();
    Ok(Mapped { new, elsewhere })
}

/// Removes a host's mapping. False if it had none.
pub async fn unmap(tx: &mut Tx, host: HostId) -> Result<bool, Error> {
    Ok(tx.exec("DELETE FROM host_mapping WHERE host = $1", args![host]).await? == 1)
}

/// Removes the mappings of all hosts of a cell; gives how many.
pub async fn unmap_all(tx: &mut Tx, cell: CellId) -> Result<u64, Error> {
    tx.exec("DELETE FROM host_mapping WHERE cell = $1", args![cell]).await
}

/// How many instances were last heard to be on a host. Where its cell does not answer, this is all that is
/// known.
pub async fn instances(tx: &mut Tx, host: HostId) -> Result<i64, Error> {
    const SQL: &str = "SELECT COUNT(*) FROM instance_index WHERE host = $1 AND NOT deleted";
    Ok(tx.opt::<(i64,)>(SQL, args![host]).await?.unwrap_or_default().0)
}
