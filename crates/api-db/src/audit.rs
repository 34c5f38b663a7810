//! The audit trail: one row for each accepted change, in the same transaction.

use model::{Caller, Context, Timestamp};
use serde_json::Value;
use sql::{Error, args};
use uuid::Uuid;

use crate::Tx;

/// Records that `caller` did `action` to `target`.
pub async fn record(
    tx: &mut Tx,
    id: Uuid,
    at: Timestamp,
    (caller, context): (&Caller, &Context),
    action: &str,
    target: Option<Uuid>,
    detail: Value,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO audit (id, at, request_id, user_id, project, action, target, detail)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let (request, user, project) =
        (context.request_id.as_str(), caller.user.as_str(), caller.project.as_str());
    tx.exec(SQL, args![id, at, request, user, project, action, target, detail]).await.map(drop)
}

/// Sets what a record says of what was done: of a change in a cell it is written before that begins, and told of its
/// outcome afterwards.
pub async fn amend(tx: &mut Tx, id: Uuid, detail: Value) -> Result<(), Error> {
    tx.exec("UPDATE audit SET detail = $2 WHERE id = $1", args![id, detail]).await.map(drop)
}

/// A change that was accepted at the API level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What was done.
    pub action: String,
    /// The request that did it.
    pub request_id: String,
    /// Who did it.
    pub user: String,
    /// For which project.
    pub project: String,
    /// When.
    pub at: Timestamp,
}

/// What was accepted about `target`, oldest first.
pub async fn of(tx: &mut Tx, target: Uuid) -> Result<Vec<Accepted>, Error> {
    const SQL: &str = "SELECT action, request_id, user_id, project, at FROM audit WHERE target = $1
        ORDER BY at, id";
    let rows: Vec<(String, String, String, String, i64)> = tx.all(SQL, args![target]).await?;
    Ok(rows
        .into_iter()
        .map(|(action, request_id, user, project, at)| Accepted {
            action,
            request_id,
            user,
            project,
            at: Timestamp(at),
        })
        .collect())
}
