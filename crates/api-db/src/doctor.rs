//! What an operator's check reads of the API database.

use model::{CellId, InstanceId, TaskId};
use serde::Serialize;
use sql::{Error, Rows, args};
use uuid::Uuid;

use crate::Tx;

/// Up to `limit` instances that are mapped to a cell, after one: with whether they are wanted or being deleted,
/// not closed.
pub async fn mapped(
    tx: &mut Tx,
    cell: CellId,
    after: InstanceId,
    limit: i64,
) -> Result<Vec<(InstanceId, bool)>, Error> {
    const SQL: &str = "SELECT id, state <> 'deleted' FROM instance_mapping WHERE cell = $1 AND id > $2
        ORDER BY id LIMIT $3";
    let rows: Vec<(Uuid, bool)> = tx.all(SQL, args![cell, after, limit]).await?;
    Ok(rows.into_iter().map(|(id, live)| (InstanceId(id), live)).collect())
}

/// Those of `ids` that some task works on.
pub async fn worked_on(tx: &mut Tx, ids: &[InstanceId]) -> Result<Vec<InstanceId>, Error> {
    const SQL: Rows = Rows { head: "SELECT subject FROM task WHERE subject IN (VALUES", tail: ")" };
    let rows: Vec<(Uuid,)> = tx.all_rows(SQL, ids.iter().map(|id| args![*id]).collect()).await?;
    Ok(rows.into_iter().map(|(id,)| InstanceId(id)).collect())
}

/// Those of `ids` that some task works on which writes their rows in their cells, whatever is there.
pub async fn written_anew(tx: &mut Tx, ids: &[InstanceId]) -> Result<Vec<InstanceId>, Error> {
    const SQL: Rows =
        Rows { head: "SELECT subject FROM task WHERE kind <> 'resize/1' AND subject IN (VALUES", tail: ")" };
    let rows: Vec<(Uuid,)> = tx.all_rows(SQL, ids.iter().map(|id| args![*id]).collect()).await?;
    Ok(rows.into_iter().map(|(id,)| InstanceId(id)).collect())
}

/// Where instances are mapped to, and whether they are not closed.
pub async fn mappings(
    tx: &mut Tx,
    ids: &[InstanceId],
) -> Result<Vec<(InstanceId, Option<CellId>, bool)>, Error> {
    const SQL: Rows = Rows {
        head: "SELECT id, cell, state <> 'deleted' FROM instance_mapping WHERE id IN (VALUES",
        tail: ")",
    };
    let rows: Vec<(Uuid, Option<Uuid>, bool)> =
        tx.all_rows(SQL, ids.iter().map(|id| args![*id]).collect()).await?;
    Ok(rows.into_iter().map(|(id, cell, live)| (InstanceId(id), cell.map(CellId), live)).collect())
}

/// A task of the API level, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// Its id.
    pub id: Uuid,
    /// Kind and version.
    pub kind: String,
    /// The instance that it works on.
    pub instance: InstanceId,
    /// How often it was leased.
    pub attempt: i64,
    /// Whether it was set aside, as nobody could read it.
    pub parked: bool,
    /// Whether a worker holds it.
    pub held: bool,
    /// Why it last failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// When it was asked for: microseconds since 1970, UTC.
    pub created_at: i64,
}

/// Up to `limit` tasks, oldest first: all, or those that were set aside.
pub async fn tasks(tx: &mut Tx, parked: bool, limit: i64) -> Result<Vec<Task>, Error> {
    const SQL: &str = "SELECT id, kind, subject, attempt, parked, owner IS NOT NULL, last_fault, created_at
        FROM task WHERE parked OR NOT $1 ORDER BY created_at, id LIMIT $2";
    let rows: Vec<Row> = tx.all(SQL, args![parked, limit]).await?;
    Ok(rows.into_iter().map(task_of).collect())
}

/// One task, if there is one.
pub async fn task(tx: &mut Tx, id: TaskId) -> Result<Option<Task>, Error> {
    const SQL: &str = "SELECT id, kind, subject, attempt, parked, owner IS NOT NULL, last_fault, created_at
        FROM task WHERE id = $1";
    Ok(tx.opt::<Row>(SQL, args![id]).await?.map(task_of))
}

type Row = (Uuid, String, Uuid, i64, bool, bool, Option<String>, i64);

fn task_of((id, kind, subject, attempt, parked, held, fault, created_at): Row) -> Task {
    Task { id, kind, instance: InstanceId(subject), attempt, parked, held, fault, created_at }
}
