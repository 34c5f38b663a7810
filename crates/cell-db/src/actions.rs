//! What was asked of instances inside the cell.

use model::instance::Action;
use model::{Caller, Context, InstanceId, Timestamp};
use sql::{Error, args};
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
    const SQL: &str = "INSERT INTO action (id, instance, action, request_id, user_id, project, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING";
    let (request, user, project) =
        (context.request_id.as_str(), caller.user.as_str(), caller.project.as_str());
    Ok(tx.exec(SQL, args![id, instance, action.word(), request, user, project, now]).await? == 1)
}
