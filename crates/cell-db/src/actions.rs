//! What was asked of instances inside the cell.

use model::instance::Action;
use model::{Caller, Context, Fault, InstanceId, Timestamp};
use sql::{Error, Rows, args};
use uuid::Uuid;

use crate::Tx;

/// Whether an action was recorded.
pub async fn is_recorded(tx: &mut Tx, id: Uuid) -> Result<bool, Error> {
    let found: Option<(i64,)> = tx.opt("SELECT at FROM action WHERE id = $1", args![id]).await?;
    Ok(found.is_some())
}

/// Records an accepted action, in the transaction that accepts it; false if it was recorded before.
pub async fn record(
    tx: &mut Tx,
    id: Uuid,
    instance: InstanceId,
    action: Action,
    (caller, context): (&Caller, &Context),
    now: Timestamp,
) -> Result<bool, Error> {
    put(tx, id, instance, action.word(), (caller, context), (now, None)).await
}

/// An action that was asked for in this cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Nova's word for it.
    pub action: String,
    /// The request that asked.
    pub request_id: String,
    /// Who asked.
    pub user: String,
    /// For which project.
    pub project: String,
    /// When.
    pub at: Timestamp,
    /// When it came to its end, if it has.
    pub finished: Option<Timestamp>,
    /// `Success` or `Error`.
    pub result: Option<String>,
    /// Why it failed, if that is known.
    pub message: Option<String>,
}

type Row = (String, String, String, String, i64, Option<i64>, Option<String>, Option<String>);

/// What was asked of an instance, oldest first.
pub async fn of(tx: &mut Tx, instance: InstanceId) -> Result<Vec<Recorded>, Error> {
    const SQL: &str =
        "SELECT action, request_id, user_id, project, at, finished_at, result, message FROM action
        WHERE instance = $1 ORDER BY at, id";
    let rows: Vec<Row> = tx.all(SQL, args![instance]).await?;
    Ok(rows
        .into_iter()
        .map(|(action, request_id, user, project, at, finished, result, message)| Recorded {
            action,
            request_id,
            user,
            project,
            at: Timestamp(at),
            finished: finished.map(Timestamp),
            result,
            message,
        })
        .collect())
}

/// Records an action that is done in the transaction that accepts it.
pub async fn record_done(
    tx: &mut Tx,
    id: Uuid,
    instance: InstanceId,
    word: &'static str,
    (caller, context): (&Caller, &Context),
    now: Timestamp,
) -> Result<bool, Error> {
    put(tx, id, instance, word, (caller, context), (now, Some(now))).await
}

async fn put(
    tx: &mut Tx,
    id: Uuid,
    instance: InstanceId,
    word: &'static str,
    (caller, context): (&Caller, &Context),
    (at, succeeded): (Timestamp, Option<Timestamp>),
) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO action
            (id, instance, action, request_id, user_id, project, at, finished_at, result)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING";
    let (request, user, project) =
        (context.request_id.as_str(), caller.user.as_str(), caller.project.as_str());
    let result = succeeded.map(|_| "Success".to_owned());
    Ok(tx.exec(SQL, args![id, instance, word, request, user, project, at, succeeded, result]).await? == 1)
}

/// Ends what is under way of instances that came to rest: well, or in a failure, with why if that is known.
pub(crate) async fn finish(
    tx: &mut Tx,
    ended: &[(InstanceId, Option<String>)],
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: Rows = Rows {
        head: "UPDATE action SET finished_at = v.column2, result = v.column3, message = v.column4 FROM (VALUES",
        tail: ") AS v WHERE action.instance = v.column1 AND finished_at IS NULL",
    };
    let rows = ended
        .iter()
        .map(|(id, why)| args![*id, now, if why.is_none() { "Success" } else { "Error" }, why.as_deref()])
        .collect();
    tx.exec_rows(SQL, rows).await.map(drop)
}

/// Ends one action, well or in a failure.
pub(crate) async fn end(tx: &mut Tx, id: Uuid, why: Option<&Fault>, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE action SET finished_at = $2, result = $3, message = $4 WHERE id = $1";
    let result = if why.is_none() { "Success" } else { "Error" };
    tx.exec(SQL, args![id, now, result, why.map(|why| why.message.as_str())]).await.map(drop)
}
