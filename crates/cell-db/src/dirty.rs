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
/// the row at the same time, stays; whoever does so later waits from the second statement on, for one round trip. Each
/// is another mark than any before, so that who has read one of those does not forget it.
pub async fn mark_all(
    tx: &mut Tx,
    after: Option<InstanceId>,
    limit: i64,
    now: Timestamp,
) -> Result<(u64, Option<InstanceId>), Error> {
    const SOME: &str = "SELECT id FROM instance WHERE id > $1 ORDER BY id LIMIT $2";
    const MARK: &str = "INSERT INTO dirty (instance, version, since)
        SELECT id, version, $3 FROM instance WHERE id > $1 AND id <= $2 ORDER BY id
        ON CONFLICT (instance) DO UPDATE SET
            version = CASE WHEN dirty.version < excluded.version THEN excluded.version ELSE dirty.version END,
            since = CASE WHEN dirty.since < excluded.since THEN excluded.since ELSE dirty.since + 1 END";
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
    /// How it was marked.
    pub mark: Mark,
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
            let (version, instance) = (row.version, row.instance(cell)?);
            let mark = Mark { instance: instance.id, version: mark, since: Timestamp(since) };
            Ok(Changed { instance, version, mark })
        })
        .collect()
}

/// A mark as it was read, by which it is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The instance.
    pub instance: InstanceId,
    /// The version that it was marked with: the row's, or an earlier one if [`mark_all`] came late.
    pub version: i64,
    /// Since when it is in the set.
    pub since: Timestamp,
}

/// Forgets what was applied, by the marks that were read with it, unless it was marked again since.
pub async fn forget(tx: &mut Tx, applied: &[Mark]) -> Result<(), Error> {
    const SQL: Rows =
        Rows { head: "DELETE FROM dirty WHERE (instance, version, since) IN (VALUES", tail: ")" };
    let rows = applied.iter().map(|mark| args![mark.instance, mark.version, mark.since]).collect();
    tx.exec_rows(SQL, rows).await.map(drop)
}
