//! Mappings of instances that are gone: what is left of them until it is archived.

use model::{CellId, InstanceId, Timestamp};
use sql::{Error, Rows, args};
use uuid::Uuid;

use crate::{Tx, resizes};

/// A mapping that was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The instance.
    pub id: InstanceId,
    /// When it was closed.
    pub at: Timestamp,
}

/// Up to `limit` closed mappings of a cell (or of instances that never had one), oldest first, after a key
/// and before a time.
pub async fn page(
    tx: &mut Tx,
    cell: Option<CellId>,
    after: Option<Closed>,
    before: Timestamp,
    limit: i64,
) -> Result<Vec<Closed>, Error> {
    const OF: &str = "SELECT id, deleted_at FROM instance_mapping
        WHERE state = 'deleted' AND cell = $1 AND deleted_at < $2 AND (deleted_at, id) > ($3, $4)
        ORDER BY deleted_at, id LIMIT $5";
    const NONE: &str = "SELECT id, deleted_at FROM instance_mapping
        WHERE state = 'deleted' AND cell IS NULL AND deleted_at < $1 AND (deleted_at, id) > ($2, $3)
        ORDER BY deleted_at, id LIMIT $4";
    let (at, id) = after.map_or((Timestamp(i64::MIN), Uuid::nil()), |key| (key.at, key.id.uuid()));
    let rows: Vec<(Uuid, i64)> = match cell {
        Some(cell) => tx.all(OF, args![cell, before, at, id, limit]).await?,
        None => tx.all(NONE, args![before, at, id, limit]).await?,
    };
    Ok(rows.into_iter().map(|(id, at)| Closed { id: InstanceId(id), at: Timestamp(at) }).collect())
}

/// Deletes the closed mappings among these, with their index entries; gives how many of each.
pub async fn forget(tx: &mut Tx, ids: &[InstanceId]) -> Result<(u64, u64), Error> {
    const MAPPINGS: Rows = Rows {
        head: "DELETE FROM instance_mapping WHERE state = 'deleted' AND id IN (VALUES",
        tail: ") RETURNING id",
    };
    const INDEX: Rows = Rows { head: "DELETE FROM instance_index WHERE instance IN (VALUES", tail: ")" };
    const GROUPS: Rows =
        Rows { head: "DELETE FROM server_group_member WHERE instance IN (VALUES", tail: ")" };
    let rows = ids.iter().map(|id| args![*id]).collect();
    let gone: Vec<(Uuid,)> = tx.all_rows(MAPPINGS, rows).await?;
    let entries = tx.exec_rows(INDEX, gone.iter().map(|(id,)| args![*id]).collect()).await?;
    tx.exec_rows(GROUPS, gone.iter().map(|(id,)| args![*id]).collect()).await?;
    resizes::forget(tx, &gone).await?;
    Ok((gone.len() as u64, entries))
}
