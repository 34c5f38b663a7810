//! Changing what is kept of an instance, without its host: name, metadata, tags, lock, and its state by an
//! operator's word.

use model::{At, CellId, Fault, Instance, InstanceId, RequestSpec, Stage, Timestamp};
use sql::{Error, args};

use crate::instances::{Row, json, select};
use crate::{Tx, dirty, restored};

/// Stores what was changed of an instance's request spec, if the row is still of `version`; gives the new
/// version. What the host should do stays as it is.
///
/// # Errors
/// [`Error::Stale`] if the row has moved on; [`restored::refuse_held`].
pub async fn amend(
    tx: &mut Tx,
    id: InstanceId,
    version: i64,
    spec: &RequestSpec,
    now: Timestamp,
) -> Result<i64, Error> {
    const SQL: &str = "UPDATE instance SET spec = $3, name = $4, version = version + 1, updated_at = $5
        WHERE id = $1 AND version = $2 AND stage <> 'tombstone' RETURNING version";
    restored::refuse_held(tx).await?;
    let args = args![id, version, json(spec)?, spec.name.as_str(), now];
    let (version,): (i64,) = tx.opt(SQL, args).await?.ok_or(Error::Stale)?;
    dirty::mark(tx, &[(id, version)], now).await?;
    Ok(version)
}

/// Says that an instance is in error, or that it is not: what its host saw last counts again. An operator's
/// last resort.
///
/// # Errors
/// [`Error::Stale`] if the row has moved on.
pub async fn reset(
    tx: &mut Tx,
    id: InstanceId,
    at: At,
    fault: Option<&Fault>,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str =
        "UPDATE instance SET stage = $5, task = NULL, fault = $6, fault_at = $7, updated_at = $8,
            version = version + 1, op_token = op_token + 1
        WHERE id = $1 AND epoch = $2 AND placement = $3 AND generation = $4 AND intent <> 'gone'
            AND stage IN ('settled', 'error') AND host IS NOT NULL RETURNING version";
    let stage = if fault.is_some() { Stage::Error } else { Stage::Settled };
    let args = args![
        id,
        at.epoch,
        at.placement,
        at.generation,
        stage.as_str(),
        fault.map(json).transpose()?,
        fault.map(|_| now),
        now
    ];
    let (version,): (i64,) = tx.opt(SQL, args).await?.ok_or(Error::Stale)?;
    dirty::mark(tx, &[(id, version)], now).await
}

/// An instance and the version of its row, tombstones included.
pub async fn get(tx: &mut Tx, cell: CellId, id: InstanceId) -> Result<Option<(Instance, i64)>, Error> {
    let Some(row) = tx.opt::<Row>(select!("WHERE i.id = $1"), args![id]).await? else { return Ok(None) };
    let version = row.version;
    Ok(Some((row.instance(cell)?, version)))
}
