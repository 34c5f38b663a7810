//! Processes of the API level: that they live, and which version of each cell's mapping they work with.

use std::time::Duration;

use model::{CellId, Timestamp};
use sql::{Error, Rows, args};
use uuid::Uuid;

use crate::Tx;

/// A process that was not heard of for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3_600);

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Names this run of it.
    pub id: Uuid,
    /// `api` or `superconductor`.
    pub kind: String,
    /// Where it runs, for operators.
    pub name: String,
    /// Its release.
    pub version: String,
    /// When it was last heard of, by its own clock.
    pub seen: Timestamp,
}

/// What a process has of one cell's mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Has {
    /// The cell.
    pub cell: CellId,
    /// The mapping's version.
    pub version: i64,
    /// Why it cannot use it, if it cannot.
    pub fault: Option<String>,
}

/// Tells that a process lives and what it has, in place of what it told before. Forgets those that are long gone.
pub async fn tell(tx: &mut Tx, process: &Process, has: &[Has]) -> Result<(), Error> {
    const BEAT: &str = "INSERT INTO process (id, kind, name, version, seen_at)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at";
    const HAS: Rows =
        Rows { head: "INSERT INTO process_cell (process, cell, version, fault) VALUES", tail: "" };
    const GONE: &str = "SELECT id FROM process WHERE seen_at < $1";
    let Process { id, kind, name, version, seen } = process;
    tx.exec(BEAT, args![*id, kind.as_str(), name.as_str(), version.as_str(), *seen]).await?;
    tx.exec("DELETE FROM process_cell WHERE process = $1", args![*id]).await?;
    let rows = has.iter().map(|has| args![*id, has.cell, has.version, has.fault.clone()]).collect();
    tx.exec_rows(HAS, rows).await?;
    let before = Timestamp(seen.0 - FORGOTTEN.as_micros() as i64);
    for (gone,) in tx.all::<(Uuid,)>(GONE, args![before]).await? {
        retire(tx, gone).await?;
    }
    Ok(())
}

/// Forgets a process, which has ended.
pub async fn retire(tx: &mut Tx, id: Uuid) -> Result<(), Error> {
    tx.exec("DELETE FROM process_cell WHERE process = $1", args![id]).await?;
    tx.exec("DELETE FROM process WHERE id = $1", args![id]).await.map(drop)
}

/// All processes, by kind and name.
pub async fn all(tx: &mut Tx) -> Result<Vec<Process>, Error> {
    const SQL: &str = "SELECT id, kind, name, version, seen_at FROM process ORDER BY kind, name, id";
    let rows: Vec<(Uuid, String, String, String, i64)> = tx.all(SQL, vec![]).await?;
    let process =
        |(id, kind, name, version, seen)| Process { id, kind, name, version, seen: Timestamp(seen) };
    Ok(rows.into_iter().map(process).collect())
}

/// What processes have of their cells' mappings.
pub async fn have(tx: &mut Tx) -> Result<Vec<(Uuid, Has)>, Error> {
    const SQL: &str = "SELECT process, cell, version, fault FROM process_cell ORDER BY process, cell";
    let rows: Vec<(Uuid, Uuid, i64, Option<String>)> = tx.all(SQL, vec![]).await?;
    let has = |(process, cell, version, fault)| (process, Has { cell: CellId(cell), version, fault });
    Ok(rows.into_iter().map(has).collect())
}
