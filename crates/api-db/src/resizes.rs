//! Records of changed sizes, which the compute face shows as Nova's migrations. They are written in the transactions
//! that accept and that end the change, so the list of them needs no cell.

use model::{InstanceId, Timestamp};
use sql::{Error, Key, Paged, Rows, args};
use uuid::Uuid;

use crate::Tx;

/// One change of a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: Uuid,
    /// The instance.
    pub instance: InstanceId,
    /// Whose it is.
    pub project: String,
    /// Who asked.
    pub user: String,
    /// Name of the host where it is.
    pub host: String,
    /// Id of the flavor that it had.
    pub old_flavor: String,
    /// Id of the flavor that it was to get.
    pub new_flavor: String,
    /// Nova's word: `migrating`, `finished`, `confirming`, `confirmed`, `reverting`, `reverted` or `error`.
    pub status: String,
    /// When it was asked for.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
}

type Row = (Uuid, Uuid, String, String, String, String, String, String, i64, i64);

fn record(row: Row) -> Record {
    let (id, instance, project, user, host, old_flavor, new_flavor, status, created, updated) = row;
    Record {
        id,
        instance: InstanceId(instance),
        project,
        user,
        host,
        old_flavor,
        new_flavor,
        status,
        created: Timestamp(created),
        updated: Timestamp(updated),
    }
}

/// Stores a new one.
pub async fn begin(tx: &mut Tx, new: &Record) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO resize (id, instance, project, user_id, host_name, old_flavor, new_flavor,
        status, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let args = args![
        new.id,
        new.instance,
        new.project.as_str(),
        new.user.as_str(),
        new.host.as_str(),
        new.old_flavor.as_str(),
        new.new_flavor.as_str(),
        new.status.as_str(),
        new.created,
        new.updated
    ];
    tx.exec(SQL, args).await.map(drop)
}

/// Sets how the one of an instance stands that has not ended, if there is one.
pub async fn stands(tx: &mut Tx, instance: InstanceId, status: &str, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE resize SET status = $2, updated_at = $3
        WHERE instance = $1 AND status IN ('migrating', 'finished', 'confirming', 'reverting')";
    tx.exec(SQL, args![instance, status, now]).await.map(drop)
}

/// Ends those of instances that are gone: what the user had not decided upon counts as confirmed, as in Nova.
pub(crate) async fn end(tx: &mut Tx, gone: &[InstanceId], now: Timestamp) -> Result<(), Error> {
    const SQL: Rows = Rows {
        head: "UPDATE resize SET status = CASE WHEN status = 'migrating' THEN 'error' ELSE 'confirmed' END,
            updated_at = v.column2 FROM (VALUES",
        tail: ") AS v WHERE instance = v.column1
            AND status IN ('migrating', 'finished', 'confirming', 'reverting')",
    };
    tx.exec_rows(SQL, gone.iter().map(|id| args![*id, now]).collect()).await.map(drop)
}

/// Deletes those of instances of which nothing else is left.
pub(crate) async fn forget(tx: &mut Tx, gone: &[(Uuid,)]) -> Result<(), Error> {
    const SQL: Rows = Rows { head: "DELETE FROM resize WHERE instance IN (VALUES", tail: ")" };
    tx.exec_rows(SQL, gone.iter().map(|(id,)| args![*id]).collect()).await.map(drop)
}

/// Which records are meant. What is absent means any.
#[derive(Clone, Debug, Default)]
pub struct Among {
    /// Of this instance.
    pub instance: Option<InstanceId>,
    /// On the host of this name.
    pub host: Option<String>,
    /// With this status.
    pub status: Option<String>,
    /// Asked for by this user.
    pub user: Option<String>,
    /// Of this project.
    pub project: Option<String>,
    /// Changed then or later.
    pub since: Option<Timestamp>,
    /// Changed then or earlier.
    pub before: Option<Timestamp>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, instance, project, user_id, host_name, old_flavor, new_flavor, status, created_at,
             updated_at FROM resize ",
            $rest
        )
    };
}

/// The first `limit` records, newest first, after a record.
pub async fn page(
    tx: &mut Tx,
    among: &Among,
    after: Option<&Record>,
    limit: i64,
) -> Result<Vec<Record>, Error> {
    const KEYS: [Key; 2] =
        [Key { expr: "created_at", descending: true }, Key { expr: "id", descending: true }];
    let paged = Paged::new(select!("WHERE created_at > ?"), args![i64::MIN])
        .and_if("instance = ?", among.instance)
        .and_if("host_name = ?", among.host.as_deref())
        .and_if("status = ?", among.status.as_deref())
        .and_if("user_id = ?", among.user.as_deref())
        .and_if("project = ?", among.project.as_deref())
        .and_if("updated_at >= ?", among.since)
        .and_if("updated_at <= ?", among.before);
    let after = after.map(|last| args![last.created, last.id]);
    let rows: Vec<Row> = tx.page(paged.page(&KEYS, after, limit)).await?;
    Ok(rows.into_iter().map(record).collect())
}

/// One record.
pub async fn get(tx: &mut Tx, id: Uuid) -> Result<Option<Record>, Error> {
    Ok(tx.opt::<Row>(select!("WHERE id = $1"), args![id]).await?.map(record))
}
