//! Instance mappings with their request specs: where each instance lives, and the numbers that only the
//! API level writes.

use model::{CellId, InstanceId, RequestSpec, Timestamp};
use sql::{Error, Json, Rows, args};
use uuid::Uuid;

use crate::{Tx, index, quotas};

/// Whether an instance is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Live,
    /// Its deletion was accepted.
    Deleting,
    /// It is gone.
    Deleted,
}

/// One instance's mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// The instance.
    pub id: InstanceId,
    /// Whose it is.
    pub project: String,
    /// Its cell, once bound.
    pub cell: Option<CellId>,
    /// Bindings so far.
    pub epoch: i64,
    /// The fencing counter of API-level tasks on it.
    pub saga_token: i64,
    /// Whether it is wanted.
    pub state: State,
    /// When it was asked for.
    pub created: Timestamp,
    /// What was asked for; absent once deleted.
    pub spec: Option<RequestSpec>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    project: String,
    cell: Option<Uuid>,
    epoch: i64,
    saga_token: i64,
    state: String,
    created_at: i64,
    spec: Option<Json<RequestSpec>>,
}

impl TryFrom<Row> for Mapping {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self, Error> {
        let state = match row.state.as_str() {
            "live" => State::Live,
            "deleting" => State::Deleting,
            "deleted" => State::Deleted,
            other => return Err(Error::corrupt("instance_mapping.state", other)),
        };
        Ok(Self {
            id: InstanceId(row.id),
            project: row.project,
            cell: row.cell.map(CellId),
            epoch: row.epoch,
            saga_token: row.saga_token,
            state,
            created: Timestamp(row.created_at),
            spec: row.spec.map(|spec| spec.0),
        })
    }
}

/// Stores a new instance: mapping, request spec and index entry.
pub async fn create(
    tx: &mut Tx,
    id: InstanceId,
    spec: &RequestSpec,
    created: Timestamp,
) -> Result<(), Error> {
    const MAPPING: &str = "INSERT INTO instance_mapping
        (id, project, user_id, cell, epoch, saga_token, state, created_at)
        VALUES ($1, $2, $3, NULL, 0, 0, 'live', $4)";
    const SPEC: &str = "INSERT INTO request_spec (instance, spec) VALUES ($1, $2)";
    tx.exec(MAPPING, args![id, spec.project.as_str(), spec.user.as_str(), created]).await?;
    let json = serde_json::to_value(spec).map_err(|error| Error::corrupt("a request spec", error))?;
    tx.exec(SPEC, args![id, json]).await?;
    index::create(tx, id, spec, created).await
}

/// An instance's mapping, with its request spec.
pub async fn get(tx: &mut Tx, id: InstanceId) -> Result<Option<Mapping>, Error> {
    const SQL: &str = "SELECT m.id, m.project, m.cell, m.epoch, m.saga_token, m.state, m.created_at, r.spec
        FROM instance_mapping m LEFT JOIN request_spec r ON r.instance = m.id WHERE m.id = $1";
    tx.opt::<Row>(SQL, args![id]).await?.map(Mapping::try_from).transpose()
}

/// The mappings of these instances, with their request specs, in no order.
pub async fn get_many(tx: &mut Tx, ids: &[InstanceId]) -> Result<Vec<Mapping>, Error> {
    const SQL: Rows = Rows {
        head: "SELECT m.id, m.project, m.cell, m.epoch, m.saga_token, m.state, m.created_at, r.spec
            FROM instance_mapping m LEFT JOIN request_spec r ON r.instance = m.id WHERE m.id IN (VALUES",
        tail: ")",
    };
    let rows = tx.all_rows::<Row>(SQL, ids.iter().map(|id| args![*id]).collect()).await?;
    rows.into_iter().map(Mapping::try_from).collect()
}

/// Bumps the fencing counters of these instances, which the caller has just leased tasks on, and gives
/// their mappings with the new counters.
pub async fn lease(tx: &mut Tx, ids: &[InstanceId]) -> Result<Vec<Mapping>, Error> {
    const SQL: Rows = Rows {
        head: "UPDATE instance_mapping SET saga_token = saga_token + 1 WHERE id IN (VALUES",
        tail: ")",
    };
    tx.exec_rows(SQL, ids.iter().map(|id| args![*id]).collect()).await?;
    get_many(tx, ids).await
}

/// A binding to make.
#[derive(Clone, Copy, Debug)]
pub struct Bind {
    /// The instance.
    pub id: InstanceId,
    /// The cell.
    pub cell: CellId,
    /// The fencing counter that the caller holds.
    pub saga_token: i64,
    /// The epoch that it has now; the binding makes it one more.
    pub epoch: i64,
}

/// Binds instances to cells. Those whose counter, epoch or state has moved on are left out of the answer.
pub async fn bind(tx: &mut Tx, binds: &[Bind]) -> Result<Vec<InstanceId>, Error> {
    const SQL: Rows = Rows {
        head: "UPDATE instance_mapping SET cell = v.column2, epoch = epoch + 1 FROM (VALUES",
        tail: ") AS v WHERE instance_mapping.id = v.column1 AND saga_token = v.column3
            AND epoch = v.column4 AND state = 'live' RETURNING instance_mapping.id",
    };
    let rows = binds.iter().map(|b| args![b.id, b.cell, b.saga_token, b.epoch]).collect();
    Ok(tx.all_rows::<(Uuid,)>(SQL, rows).await?.into_iter().map(|(id,)| InstanceId(id)).collect())
}

/// Marks an instance for deletion and fences whoever works on it. False if it is not live any more.
pub async fn request_delete(tx: &mut Tx, id: InstanceId) -> Result<bool, Error> {
    const SQL: &str = "UPDATE instance_mapping SET state = 'deleting', saga_token = saga_token + 1
        WHERE id = $1 AND state = 'live'";
    Ok(tx.exec(SQL, args![id]).await? == 1)
}

/// Closes the mappings of instances that are gone and gives back their quota. Those whose counter has
/// moved on are left out of the answer.
pub async fn close(
    tx: &mut Tx,
    gone: &[(InstanceId, i64)],
    now: Timestamp,
) -> Result<Vec<InstanceId>, Error> {
    const CLOSE: Rows = Rows {
        head: "UPDATE instance_mapping SET state = 'deleted', deleted_at = v.column3 FROM (VALUES",
        tail: ") AS v WHERE instance_mapping.id = v.column1 AND saga_token = v.column2
            AND state = 'deleting' RETURNING instance_mapping.id",
    };
    const SPECS: Rows =
        Rows { head: "DELETE FROM request_spec WHERE instance IN (VALUES", tail: ") RETURNING spec" };
    let rows = gone.iter().map(|(id, token)| args![*id, *token, now]).collect();
    let closed: Vec<(Uuid,)> = tx.all_rows(CLOSE, rows).await?;
    let ids = || closed.iter().map(|(id,)| args![*id]).collect();
    let specs: Vec<(Json<RequestSpec>,)> = tx.all_rows(SPECS, ids()).await?;
    // One update for each (project, flavor): equal specs add up.
    let mut specs: Vec<RequestSpec> = specs.into_iter().map(|(spec,)| spec.0).collect();
    specs.sort_by(|a, b| (&a.project, &a.flavor.id).cmp(&(&b.project, &b.flavor.id)));
    for same in specs.chunk_by(|a, b| a.project == b.project && a.flavor == b.flavor) {
        quotas::give_back(tx, &same[0], same.len() as i64).await?;
    }
    let closed: Vec<InstanceId> = closed.into_iter().map(|(id,)| InstanceId(id)).collect();
    index::delete(tx, &closed).await?;
    Ok(closed)
}
