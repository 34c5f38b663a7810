//! The dirty set: which rows the API level has not seen yet. No cursor, so commit order cannot matter.

use model::{HostId, InstanceId, Timestamp, instance};
use sql::{Error, Rows, args};
use uuid::Uuid;

use crate::Tx;
use crate::instances::words;

/// Marks instances whose `version` was just bumped, in the same transaction.
pub async fn mark(tx: &mut Tx, changed: &[(InstanceId, i64)], now: Timestamp) -> Result<(), Error> {
    const SQL: Rows = Rows {
        head: "INSERT INTO dirty (instance, version, since) VALUES",
        tail: "ON CONFLICT (instance) DO UPDATE SET version = excluded.version",
    };
    let rows = changed.iter().map(|(id, version)| args![*id, *version, now]).collect();
    tx.exec_rows(SQL, rows).await.map(drop)
}

/// A changed row as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The instance.
    pub id: InstanceId,
    /// Its epoch here.
    pub epoch: i64,
    /// Its version.
    pub version: i64,
    /// Nova's status.
    pub status: &'static str,
    /// Its host, if placed.
    pub host: Option<HostId>,
    /// When it changed.
    pub updated: Timestamp,
    /// Since when it is in the set.
    pub since: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    epoch: i64,
    version: i64,
    stage: String,
    task: Option<String>,
    power: String,
    host: Option<Uuid>,
    updated_at: i64,
    since: i64,
}

/// The longest-waiting `limit` changes, joined to the rows as they are now.
pub async fn read(tx: &mut Tx, limit: i64) -> Result<Vec<Changed>, Error> {
    const SQL: &str =
        "SELECT i.id, i.epoch, i.version, i.stage, i.task, i.power, i.host, i.updated_at, d.since
        FROM dirty d JOIN instance i ON i.id = d.instance ORDER BY d.since, d.instance LIMIT $1";
    let rows: Vec<Row> = tx.all(SQL, args![limit]).await?;
    rows.into_iter()
        .map(|row| {
            let (stage, task, power) = words(&row.stage, row.task.as_deref(), &row.power)?;
            Ok(Changed {
                id: InstanceId(row.id),
                epoch: row.epoch,
                version: row.version,
                status: instance::status(stage, power, task),
                host: row.host.map(HostId),
                updated: Timestamp(row.updated_at),
                since: Timestamp(row.since),
            })
        })
        .collect()
}

/// Forgets what was applied, unless it has changed again since.
pub async fn forget(tx: &mut Tx, applied: &[(InstanceId, i64)]) -> Result<(), Error> {
    const SQL: Rows = Rows { head: "DELETE FROM dirty WHERE (instance, version) IN (VALUES", tail: ")" };
    tx.exec_rows(SQL, applied.iter().map(|(id, version)| args![*id, *version]).collect()).await.map(drop)
}
