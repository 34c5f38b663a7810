//! The dirty set: which rows the API level has not seen yet. No cursor, so commit order cannot matter.

use model::{CellId, Instance, InstanceId, Timestamp};
use sql::{Error, Rows, args};
use uuid::Uuid;

use crate::Tx;
use crate::instances::{Row, select};

/// Marks instances whose `version` was just bumped, in the same transaction.
pub async fn mark(tx: &mut Tx, changed: &[(InstanceId, i64)], now: Timestamp) -> Result<(), Error> {
    const SQL: Rows = Rows {
        head: "INSERT INTO dirty (instance, version, since) VALUES",
        tail: "ON CONFLICT (instance) DO UPDATE SET version = excluded.version",
    };
    let rows = changed.iter().map(|(id, version)| args![*id, *version, now]).collect();
    tx.exec_rows(SQL, rows).await.map(drop)
}

/// Marks up to `limit` rows after an id, tombstones included, so that all of them are told again; gives
/// how many there were, and the last. Nothing is changed of the rows. A mark of a later version, by whoever changes
/// the row at the same time, stays; whoever does so later waits from the second statement on, for one round trip.
pub async fn mark_all(
    tx: &mut Tx,
    after: Option<InstanceId>,
    limit: i64,
    now: Timestamp,
) -> Result<(u64, Option<InstanceId>), Error> {
    const SOME: &str = "SELECT id FROM instance WHERE id > $1 ORDER BY id LIMIT $2";
    const MARK: &str = "INSERT INTO dirty (instance, version, since)
        SELECT id, version, $3 FROM instance WHERE id > $1 AND id <= $2 ORDER BY id
        ON CONFLICT (instance) DO UPDATE SET version = excluded.version
            WHERE dirty.version < excluded.version";
    let after = after.map_or(Uuid::nil(), InstanceId::uuid);
    let some: Vec<(Uuid,)> = tx.all(SOME, args![after, limit]).await?;
    let Some((last,)) = some.last() else { return Ok((0, None)) };
    tx.exec(MARK, args![after, *last, now]).await?;
    Ok((some.len() as u64, Some(InstanceId(*last))))
}

/// How many rows the API level has not seen yet, and since when the oldest waits.
pub async fn waiting(tx: &mut Tx) -> Result<(i64, Option<Timestamp>), Error> {
    let row: Option<(i64, Option<i64>)> =
        tx.opt("SELECT COUNT(*), MIN(since) FROM dirty", Vec::new()).await?;
    let (count, since) = row.unwrap_or_default();
    Ok((count, since.map(Timestamp)))
}

/// A changed row as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The instance.
    pub instance: Instance,
    /// Its row's version.
    pub version: i64,
    /// The version that it was marked with: the row's, or an earlier one if [`mark_all`] came late.
    pub mark: i64,
    /// Since when it is in the set.
    pub since: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Marked {
    #[sqlx(flatten)]
    row: Row,
    mark: i64,
    since: i64,
}

/// The longest-waiting `limit` changes, joined to the rows as they are now.
pub async fn read(tx: &mut Tx, cell: CellId, limit: i64) -> Result<Vec<Changed>, Error> {
    const SQL: &str = select!(
        "d.version AS mark, d.since, ",
        "JOIN dirty d ON d.instance = i.id ORDER BY d.since, d.instance LIMIT $1"
    );
    let rows: Vec<Marked> = tx.all(SQL, args![limit]).await?;
    rows.into_iter()
        .map(|Marked { row, mark, since }| {
            let version = row.version;
            Ok(Changed { instance: row.instance(cell)?, version, mark, since: Timestamp(since) })
        })
        .collect()
}

/// Forgets what was applied, by the marks that were read with it, unless it has changed again since.
pub async fn forget(tx: &mut Tx, applied: &[(InstanceId, i64)]) -> Result<(), Error> {
    const SQL: Rows = Rows { head: "DELETE FROM dirty WHERE (instance, version) IN (VALUES", tail: ")" };
    tx.exec_rows(SQL, applied.iter().map(|(id, version)| args![*id, *version]).collect()).await.map(drop)
}
