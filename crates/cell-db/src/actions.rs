//! What was asked of instances inside the cell.

use model::instance::Action;
use model::{Caller, Context, InstanceId, Timestamp};
use sql::{Error, args};
use uuid::Uuid;

use crate::Tx;

/// Records an accepted action, in the transaction that accepts it.
pub async fn record(
    tx: &mut Tx,
    id: Uuid,
    instance: InstanceId,
    action: Action,
    (caller, context): (&Caller, &Context),
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO action (id, instance, action, request_id, user_id, project, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let (request, user, project) =
        (context.request_id.as_str(), caller.user.as_str(), caller.project.as_str());
    tx.exec(SQL, args![id, instance, action.word(), request, user, project, now]).await.map(drop)
}
