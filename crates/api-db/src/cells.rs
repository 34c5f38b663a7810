//! Cell mappings, and how much of each cell has not settled.

use model::bug::{Bug, planted};
use model::{Cell, CellId, CellState, Timestamp};
use sql::{Error, args};
use uuid::Uuid;

use crate::Tx;

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    region: String,
    database_url: String,
    transport_url: String,
    second_database_url: String,
    second_transport_url: String,
    state: String,
    version: i64,
}

impl TryFrom<Row> for Cell {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self, Error> {
        let state =
            CellState::parse(&row.state).ok_or_else(|| Error::corrupt("cell_mapping.state", &row.state))?;
        Ok(Self {
            id: CellId(row.id),
            name: row.name,
            region: row.region,
            database_url: row.database_url,
            transport_url: row.transport_url,
            second_database_url: row.second_database_url,
            second_transport_url: row.second_transport_url,
            state,
            version: row.version,
        })
    }
}

/// All mappings, by name.
pub async fn all(tx: &mut Tx) -> Result<Vec<Cell>, Error> {
    const SQL: &str = "SELECT id, name, region, database_url, transport_url, second_database_url,
            second_transport_url, state, version
        FROM cell_mapping ORDER BY name, id";
    tx.all::<Row>(SQL, vec![]).await?.into_iter().map(Cell::try_from).collect()
}

/// Stores a new mapping. False if its id or name is taken: nothing was stored.
pub async fn create(tx: &mut Tx, cell: &Cell, now: Timestamp) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO cell_mapping
        (id, name, region, database_url, transport_url, second_database_url, second_transport_url, state, version,
         created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9) ON CONFLICT DO NOTHING";
    let args = args![
        cell.id,
        cell.name.as_str(),
        cell.region.as_str(),
        cell.database_url.as_str(),
        cell.transport_url.as_str(),
        cell.second_database_url.as_str(),
        cell.second_transport_url.as_str(),
        cell.state.as_str(),
        now
    ];
    if tx.exec(SQL, args).await? == 0 {
        return Ok(false);
    }
    const LOAD: &str = "INSERT INTO cell_load (cell, unsettled) VALUES ($1, 0) ON CONFLICT DO NOTHING";
    tx.exec(LOAD, args![cell.id]).await?;
    Ok(true)
}

/// What to change of a mapping; what is not named stays as it is.
#[derive(Clone, Default)]
pub struct Change {
    /// Its name.
    pub name: Option<String>,
    /// URL of its database. Secret.
    pub database_url: Option<String>,
    /// URL of its broker. Secret.
    pub transport_url: Option<String>,
    /// A second URL of its database; empty: there is none any more. Secret.
    pub second_database_url: Option<String>,
    /// The same of its broker. Secret.
    pub second_transport_url: Option<String>,
    /// Where it stands in its life.
    pub state: Option<CellState>,
}

/// Changes a mapping that is at `version`. False if it is not, if there is none, or if another cell has the
/// new name. Once a new state is committed, no binding follows that the old one allowed: see [`reserve`].
pub async fn change(tx: &mut Tx, cell: CellId, version: i64, change: &Change) -> Result<bool, Error> {
    const SQL: &str = "UPDATE cell_mapping SET name = COALESCE($2, name),
            database_url = COALESCE($3, database_url), transport_url = COALESCE($4, transport_url),
            second_database_url = COALESCE($5, second_database_url),
            second_transport_url = COALESCE($6, second_transport_url),
            state = COALESCE($7, state), version = version + 1
        WHERE id = $1 AND version = $8
            AND NOT EXISTS (SELECT 1 FROM cell_mapping o WHERE o.name = $2 AND o.id <> $1)";
    let change = change.clone();
    let state = change.state.map(CellState::as_str);
    let args = args![
        cell,
        change.name,
        change.database_url,
        change.transport_url,
        change.second_database_url,
        change.second_transport_url,
        state,
        version
    ];
    let changed = tx.exec(SQL, args).await? == 1;
    if changed && state.is_some() {
        await_bindings(tx, cell).await?;
    }
    Ok(changed)
}

/// Waits until bindings to a cell that are under way are done; those that come later wait for this transaction, and
/// read what it has changed.
async fn await_bindings(tx: &mut Tx, cell: CellId) -> Result<(), Error> {
    tx.exec("UPDATE cell_load SET unsettled = unsettled WHERE cell = $1", args![cell]).await.map(drop)
}

/// Shuts a cell for bindings, for good: from here on [`reserve`] finds nothing to count on, and a binding
/// that was under way is done when this returns. The first step of a deletion.
pub async fn shut(tx: &mut Tx, cell: CellId) -> Result<(), Error> {
    tx.exec("DELETE FROM cell_load WHERE cell = $1", args![cell]).await.map(drop)
}

/// The projects whose instances cells take while they are under test.
pub async fn projects(tx: &mut Tx) -> Result<Vec<(CellId, String)>, Error> {
    const SQL: &str = "SELECT cell, project FROM cell_project ORDER BY cell, project";
    let rows: Vec<(Uuid, String)> = tx.all(SQL, vec![]).await?;
    Ok(rows.into_iter().map(|(cell, project)| (CellId(cell), project)).collect())
}

/// Sets the projects whose instances a cell takes while it is under test, in place of those before.
pub async fn set_projects(tx: &mut Tx, cell: CellId, projects: &[String]) -> Result<(), Error> {
    tx.exec("DELETE FROM cell_project WHERE cell = $1", args![cell]).await?;
    for project in projects {
        const SQL: &str =
            "INSERT INTO cell_project (cell, project) VALUES ($1, $2) ON CONFLICT (cell, project) DO NOTHING";
        tx.exec(SQL, args![cell, project.as_str()]).await?;
    }
    await_bindings(tx, cell).await
}

/// Removes a mapping. False if there is none.
pub async fn delete(tx: &mut Tx, cell: CellId) -> Result<bool, Error> {
    tx.exec("DELETE FROM cell_project WHERE cell = $1", args![cell]).await?;
    Ok(tx.exec("DELETE FROM cell_mapping WHERE id = $1", args![cell]).await? == 1)
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It is counted, and the cell is in a state that takes new instances: which of them is read from here on.
    Taken(CellState),
    /// The cell is at its cap: nothing is counted.
    AtCap,
    /// The cell takes no new instances: nothing is counted.
    Closed,
}

/// Counts `n` more unsettled bindings of a cell, unless that would exceed `cap` or the cell takes no new instances.
///
/// Whoever changes the cell's state waits for this transaction, or this one for that; so the state is read by a
/// statement of its own, after the row was locked that both of them lock.
pub async fn reserve(tx: &mut Tx, cell: CellId, n: i64, cap: i64) -> Result<Reserved, Error> {
    const COUNT: &str =
        "UPDATE cell_load SET unsettled = unsettled + $2 WHERE cell = $1 AND unsettled + $2 <= $3";
    const STATE: &str = "SELECT state FROM cell_mapping WHERE id = $1";
    if tx.exec(COUNT, args![cell, n, cap]).await? == 0 {
        return Ok(Reserved::AtCap);
    }
    let state: Option<(String,)> = tx.opt(STATE, args![cell]).await?;
    let state = state.and_then(|(state,)| CellState::parse(&state));
    match state {
        Some(state) if state.takes_new() || planted(Bug::CordonUnread) => Ok(Reserved::Taken(state)),
        _ => {
            settle(tx, cell, n).await?;
            Ok(Reserved::Closed)
        }
    }
}

/// Counts `n` bindings of a cell as settled.
pub async fn settle(tx: &mut Tx, cell: CellId, n: i64) -> Result<(), Error> {
    const SQL: &str = "UPDATE cell_load SET unsettled = unsettled - $2 WHERE cell = $1";
    tx.exec(SQL, args![cell, n]).await.map(drop)
}

/// Unsettled bindings of every cell.
pub async fn unsettled(tx: &mut Tx) -> Result<Vec<(CellId, i64)>, Error> {
    let rows: Vec<(Uuid, i64)> =
        tx.all("SELECT cell, unsettled FROM cell_load ORDER BY cell", vec![]).await?;
    Ok(rows.into_iter().map(|(cell, n)| (CellId(cell), n)).collect())
}
