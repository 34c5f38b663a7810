//! The index that lists are made of: one row beside each mapping.

use model::{CellId, HostId, InstanceId, RequestSpec, Timestamp};
use sql::{Error, Rows, args};
use uuid::Uuid;

use crate::Tx;

/// Where a list goes on: after this key, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// When the instance was asked for.
    pub created: Timestamp,
    /// The instance.
    pub id: InstanceId,
}

/// One entry of the index, with where the instance lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands in the list.
    pub key: Key,
    /// Whose it is.
    pub project: String,
    /// Its name.
    pub name: String,
    /// The region that was asked for; empty means any.
    pub region: String,
    /// Its cell, once bound.
    pub cell: Option<CellId>,
    /// Bindings so far.
    pub epoch: i64,
    /// The status last heard of, and when it was so.
    pub last: Option<(String, Timestamp)>,
}

#[derive(sqlx::FromRow)]
struct Row {
    instance: Uuid,
    project: String,
    name: String,
    region: String,
    created_at: i64,
    status: Option<String>,
    updated_at: Option<i64>,
    cell: Option<Uuid>,
    epoch: i64,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self {
            key: Key { created: Timestamp(row.created_at), id: InstanceId(row.instance) },
            project: row.project,
            name: row.name,
            region: row.region,
            cell: row.cell.map(CellId),
            epoch: row.epoch,
            last: row.status.zip(row.updated_at.map(Timestamp)),
        }
    }
}

pub(crate) async fn create(
    tx: &mut Tx,
    id: InstanceId,
    spec: &RequestSpec,
    created: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO instance_index
        (instance, project, user_id, region, created_at, name, deleted, epoch, version)
        VALUES ($1, $2, $3, $4, $5, $6, false, 0, 0)";
    let (project, user) = (spec.project.as_str(), spec.user.as_str());
    tx.exec(SQL, args![id, project, user, spec.region.as_str(), created, spec.name.as_str()]).await.map(drop)
}

pub(crate) async fn delete(tx: &mut Tx, ids: &[InstanceId]) -> Result<(), Error> {
    const SQL: Rows =
        Rows { head: "UPDATE instance_index SET deleted = true WHERE instance IN (VALUES", tail: ")" };
    tx.exec_rows(SQL, ids.iter().map(|id| args![*id]).collect()).await.map(drop)
}

/// The newest `limit` entries after `after`, of one project or of all.
pub async fn page(
    tx: &mut Tx,
    project: Option<&str>,
    after: Option<Key>,
    limit: i64,
) -> Result<Vec<Entry>, Error> {
    const ONE: &str =
        "SELECT i.instance, i.project, i.name, i.region, i.created_at, i.status, i.updated_at, m.cell, m.epoch
        FROM instance_index i JOIN instance_mapping m ON m.id = i.instance
        WHERE i.project = $1 AND NOT i.deleted AND (i.created_at, i.instance) < ($2, $3)
        ORDER BY i.created_at DESC, i.instance DESC LIMIT $4";
    const ALL: &str =
        "SELECT i.instance, i.project, i.name, i.region, i.created_at, i.status, i.updated_at, m.cell, m.epoch
        FROM instance_index i JOIN instance_mapping m ON m.id = i.instance
        WHERE NOT i.deleted AND (i.created_at, i.instance) < ($1, $2)
        ORDER BY i.created_at DESC, i.instance DESC LIMIT $3";
    let (created, id) = match after {
        Some(key) => (key.created.0, key.id.uuid()),
        None => (i64::MAX, Uuid::max()),
    };
    let rows: Vec<Row> = match project {
        Some(project) => tx.all(ONE, args![project, created, id, limit]).await?,
        None => tx.all(ALL, args![created, id, limit]).await?,
    };
    Ok(rows.into_iter().map(Entry::from).collect())
}

/// One entry.
pub async fn get(tx: &mut Tx, id: InstanceId) -> Result<Option<Entry>, Error> {
    const SQL: &str =
        "SELECT i.instance, i.project, i.name, i.region, i.created_at, i.status, i.updated_at, m.cell, m.epoch
        FROM instance_index i JOIN instance_mapping m ON m.id = i.instance WHERE i.instance = $1";
    Ok(tx.opt::<Row>(SQL, args![id]).await?.map(Entry::from))
}

/// The list key of an instance, for markers. Deleted ones still have one.
pub async fn key(tx: &mut Tx, project: Option<&str>, id: InstanceId) -> Result<Option<Key>, Error> {
    const SQL: &str = "SELECT created_at FROM instance_index
        WHERE instance = $1 AND ($2 IS NULL OR project = $2)";
    let row: Option<(i64,)> = tx.opt(SQL, args![id, project]).await?;
    Ok(row.map(|(created,)| Key { created: Timestamp(created), id }))
}

/// What a cell said of one of its instances.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The instance.
    pub id: InstanceId,
    /// The epoch that the cell's row is of.
    pub epoch: i64,
    /// The row's version.
    pub version: i64,
    /// Nova's status.
    pub status: String,
    /// Its host, if placed.
    pub host: Option<HostId>,
    /// When the row last changed.
    pub updated: Timestamp,
}

/// Applies what cells said, where it is newer than what the index holds. Repeats are harmless.
pub async fn apply(tx: &mut Tx, heard: Vec<Heard>) -> Result<u64, Error> {
    const SQL: Rows = Rows {
        head: "UPDATE instance_index SET epoch = v.column2, version = v.column3, status = v.column4,
            host = v.column5, updated_at = v.column6 FROM (VALUES",
        tail: ") AS v WHERE instance = v.column1 AND (epoch, version) < (v.column2, v.column3)",
    };
    let rows =
        heard.into_iter().map(|h| args![h.id, h.epoch, h.version, h.status, h.host, h.updated]).collect();
    tx.exec_rows(SQL, rows).await
}
