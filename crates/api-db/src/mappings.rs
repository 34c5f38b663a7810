//! Instance mappings with their request specs: where each instance lives, and the numbers that only the
//! API level writes.

use std::collections::{BTreeMap, BTreeSet};

use model::bug::{Bug, planted};
use model::{CellId, InstanceId, RequestSpec, Timestamp};
use serde_json::Value;
use sql::{Error, Json, Rows, args};
use uuid::Uuid;

use crate::index::Heard;
use crate::quotas::Limits;
use crate::state::Build;
use crate::{Tx, index, quotas, resizes, usage};

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
    const SPEC: &str = "INSERT INTO request_spec (instance, spec, counted_cores, counted_memory_mib)
        VALUES ($1, $2, $3, $4)";
    tx.exec(MAPPING, args![id, spec.project.as_str(), spec.user.as_str(), created]).await?;
    let json = serde_json::to_value(spec).map_err(|error| Error::corrupt("a request spec", error))?;
    tx.exec(SPEC, args![id, json, spec.flavor.vcpus, spec.flavor.memory_mib]).await?;
    usage::begin(tx, id, spec, created).await?;
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
    let rows = tx.all_keys::<Row>(SQL, ids.iter().map(|id| args![*id]).collect()).await?;
    rows.into_iter().map(Mapping::try_from).collect()
}

/// Up to `limit` instances that are mapped to a cell – or, without one, to none yet – by id, after an id.
pub async fn of_cell(
    tx: &mut Tx,
    cell: Option<CellId>,
    after: Option<InstanceId>,
    limit: i64,
) -> Result<Vec<InstanceId>, Error> {
    const BOUND: &str = "SELECT id FROM instance_mapping WHERE cell = $1 AND id > $2 ORDER BY id LIMIT $3";
    const UNBOUND: &str =
        "SELECT id FROM instance_mapping WHERE cell IS NULL AND id > $1 ORDER BY id LIMIT $2";
    let after = after.map_or(Uuid::nil(), InstanceId::uuid);
    let rows: Vec<(Uuid,)> = match cell {
        Some(cell) => tx.all(BOUND, args![cell, after, limit]).await?,
        None => tx.all(UNBOUND, args![after, limit]).await?,
    };
    Ok(rows.into_iter().map(|(id,)| InstanceId(id)).collect())
}

/// These mappings as they are and stay until this transaction ends: whoever would change one waits.
pub async fn hold(tx: &mut Tx, ids: &[InstanceId]) -> Result<Vec<Mapping>, Error> {
    const SQL: Rows =
        Rows { head: "UPDATE instance_mapping SET state = state WHERE id IN (VALUES", tail: ")" };
    tx.exec_rows(SQL, ids.iter().map(|id| args![*id]).collect()).await?;
    get_many(tx, ids).await
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

/// A binding to take back: nothing of it is in its cell, and nothing will be.
#[derive(Clone, Copy, Debug)]
pub struct Unbind {
    /// The instance.
    pub id: InstanceId,
    /// The fencing counter that the caller holds.
    pub saga_token: i64,
    /// The epoch of the binding, which stays: the next one makes it one more.
    pub epoch: i64,
}

/// Takes bindings back. Gives how many; those whose counter, epoch or state has moved on stay as they are.
pub async fn unbind(tx: &mut Tx, unbinds: &[Unbind]) -> Result<u64, Error> {
    const SQL: Rows = Rows {
        head: "UPDATE instance_mapping SET cell = NULL FROM (VALUES",
        tail: ") AS v WHERE instance_mapping.id = v.column1 AND saga_token = v.column2
            AND epoch = v.column3 AND state = 'live'",
    };
    tx.exec_rows(SQL, unbinds.iter().map(|u| args![u.id, u.saga_token, u.epoch]).collect()).await
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
        Rows { head: "DELETE FROM request_spec WHERE instance IN (VALUES", tail: RETURNING_COUNTED };
    let rows = gone.iter().map(|(id, token)| args![*id, *token, now]).collect();
    let closed: Vec<(Uuid,)> = tx.all_rows(CLOSE, rows).await?;
    let ids = || closed.iter().map(|(id,)| args![*id]).collect();
    let specs: Vec<Counted> = tx.all_rows(SPECS, ids()).await?;
    if !planted(Bug::QuotaKept) {
        give_back(tx, &specs).await?;
    }
    let closed: Vec<InstanceId> = closed.into_iter().map(|(id,)| InstanceId(id)).collect();
    usage::end(tx, &closed, now).await?;
    resizes::end(tx, &closed, now).await?;
    index::delete(tx, &closed, now).await?;
    Ok(closed)
}

/// What is counted of instances whose request specs are deleted.
type Counted = (Json<RequestSpec>, Option<i64>, Option<i64>);
const RETURNING_COUNTED: &str = ") RETURNING spec, counted_cores, counted_memory_mib";

/// Gives back what instances used that are gone, with one update for each project.
async fn give_back(tx: &mut Tx, gone: &[Counted]) -> Result<(), Error> {
    let mut sums: BTreeMap<&str, [i64; 3]> = BTreeMap::new();
    for (spec, cores, memory_mib) in gone {
        let [cores, memory_mib] = quotas::counted_of(&spec.0, *cores, *memory_mib);
        let sum = sums.entry(&spec.0.project).or_default();
        *sum = [sum[0] + 1, sum[1] + cores, sum[2] + memory_mib];
    }
    for (project, amounts) in sums {
        quotas::give_back(tx, project, amounts).await?;
    }
    Ok(())
}

/// Takes over what was changed of request specs, as cells' rows have them, where the index has applied just
/// these rows: then nothing newer was heard of them.
pub async fn amend(tx: &mut Tx, heard: &[Heard]) -> Result<(), Error> {
    // What an earlier release stored is counted as its spec says, and that may be another one from here on.
    const SQL: &str = "UPDATE request_spec SET spec = $2,
            counted_cores = COALESCE(counted_cores, CAST(spec->'flavor'->>'vcpus' AS BIGINT)),
            counted_memory_mib = COALESCE(counted_memory_mib, CAST(spec->'flavor'->>'memory_mib' AS BIGINT))
        WHERE instance = $1 AND EXISTS (SELECT 1
        FROM instance_index i WHERE i.instance = $1 AND i.epoch = $3 AND i.version = $4)";
    for heard in heard.iter().filter(|heard| heard.instance.spec.extra.amendments > 0) {
        let spec = &heard.instance.spec;
        let json = serde_json::to_value(spec).map_err(|error| Error::corrupt("a request spec", error))?;
        tx.exec(SQL, args![heard.id(), json, heard.instance.at.epoch, heard.version]).await?;
    }
    Ok(())
}

/// Where members of a server group are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The cell.
    pub cell: CellId,
    /// Whether one of them was made there. Otherwise the cell may yet refuse.
    pub made: bool,
}

/// Where other members of a server group live or are being made, if there are any; whoever asks at the same time
/// waits. One that its cell has refused is nowhere, although it is mapped there until another cell is picked.
pub async fn home_of_group(tx: &mut Tx, group: Uuid, but: InstanceId) -> Result<Option<Home>, Error> {
    const LOCK: &str = "UPDATE server_group SET name = name WHERE id = $1";
    const SQL: &str = "SELECT m.cell, t.state FROM server_group_member g
        JOIN instance_mapping m ON m.id = g.instance
        LEFT JOIN task t ON t.subject = m.id AND t.kind = 'build/1'
        WHERE g.server_group = $1 AND m.id <> $2 AND m.state = 'live' AND m.cell IS NOT NULL AND m.cell <> $3
        ORDER BY m.id";
    tx.exec(LOCK, args![group]).await?;
    let members: Vec<(Uuid, Option<Json<Value>>)> = tx.all(SQL, args![group, but, CellId::ZERO]).await?;
    let mut home = None;
    for (cell, state) in members {
        let made = state.is_none();
        let state = state.and_then(|state| serde_json::from_value::<Build>(state.0).ok());
        if matches!(state, Some(Build::Pick { .. })) {
            continue;
        }
        let here = Home { cell: CellId(cell), made };
        if made {
            return Ok(Some(here));
        }
        home = home.or(Some(here));
    }
    Ok(home)
}

/// The cells that any of these instances of a project is bound to.
pub async fn cells_of(
    tx: &mut Tx,
    project: &str,
    ids: &BTreeSet<InstanceId>,
) -> Result<BTreeSet<CellId>, Error> {
    const SQL: Rows = Rows {
        head: "SELECT project, cell FROM instance_mapping WHERE state = 'live' AND cell IS NOT NULL AND id IN (VALUES",
        tail: ")",
    };
    let rows: Vec<(String, Uuid)> = tx.all_keys(SQL, ids.iter().map(|id| args![*id]).collect()).await?;
    Ok(rows.into_iter().filter(|(its, _)| its == project).map(|(_, cell)| CellId(cell)).collect())
}

/// How many instances are mapped to a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not known to be gone.
    pub live: i64,
    /// Gone.
    pub dead: i64,
}

/// How many instances are mapped to each cell that has any.
pub async fn counts(tx: &mut Tx) -> Result<Vec<(CellId, Counts)>, Error> {
    const SQL: &str = "SELECT cell, COUNT(CASE WHEN state <> 'deleted' THEN 1 END), COUNT(*)
        FROM instance_mapping WHERE cell IS NOT NULL GROUP BY cell ORDER BY cell";
    let rows: Vec<(Uuid, i64, i64)> = tx.all(SQL, vec![]).await?;
    Ok(rows.into_iter().map(|(cell, live, all)| (CellId(cell), Counts { live, dead: all - live })).collect())
}

/// How many instances are mapped to a cell.
pub async fn count(tx: &mut Tx, cell: CellId) -> Result<Counts, Error> {
    const SQL: &str = "SELECT COUNT(CASE WHEN state <> 'deleted' THEN 1 END), COUNT(*)
        FROM instance_mapping WHERE cell = $1";
    let (live, all): (i64, i64) = tx.opt(SQL, args![cell]).await?.unwrap_or_default();
    Ok(Counts { live, dead: all - live })
}

/// An instance that a cell holds and that may lack its mapping.
#[derive(Clone, Debug)]
pub struct Adopt {
    /// The fencing counter of the row in the cell: tasks from here on must be above it.
    pub saga_token: i64,
    /// What was asked for.
    pub spec: RequestSpec,
    /// When it was asked for.
    pub created: Timestamp,
    /// What the cell says of it.
    pub heard: Heard,
}

/// Maps instances that `cell` holds and that have no mapping: mapping, request spec, index entry and quota
/// used, without asking whether it is within limits, because they run already. Gives those that were
/// mapped. Repeats change nothing.
pub async fn adopt(
    tx: &mut Tx,
    cell: CellId,
    adopts: &[Adopt],
    default: Limits,
) -> Result<Vec<InstanceId>, Error> {
    const MAPPING: Rows = Rows {
        head: "INSERT INTO instance_mapping
            (id, project, user_id, cell, epoch, saga_token, state, created_at) VALUES",
        tail: "ON CONFLICT (id) DO NOTHING RETURNING id",
    };
    const SPEC: &str = "INSERT INTO request_spec (instance, spec, counted_cores, counted_memory_mib)
        VALUES ($1, $2, $3, $4) ON CONFLICT (instance) DO NOTHING";
    const QUOTA: &str = "INSERT INTO quota
            (project, instances, cores, memory_mib, max_instances, max_cores, max_memory_mib)
        VALUES ($1, 1, $2, $3, $4, $5, $6) ON CONFLICT (project) DO UPDATE SET
            instances = quota.instances + 1, cores = quota.cores + excluded.cores,
            memory_mib = quota.memory_mib + excluded.memory_mib";
    let rows = adopts
        .iter()
        .map(|a| {
            let (project, user) = (a.spec.project.as_str(), a.spec.user.as_str());
            args![
                a.heard.id(),
                project,
                user,
                cell,
                a.heard.instance.at.epoch,
                a.saga_token,
                "live",
                a.created
            ]
        })
        .collect();
    let mapped: Vec<(Uuid,)> = tx.all_rows(MAPPING, rows).await?;
    let mapped: Vec<InstanceId> = mapped.into_iter().map(|(id,)| InstanceId(id)).collect();
    for adopt in adopts.iter().filter(|adopt| mapped.contains(&adopt.heard.id())) {
        let (id, spec) = (adopt.heard.id(), &adopt.spec);
        let json = serde_json::to_value(spec).map_err(|error| Error::corrupt("a request spec", error))?;
        tx.exec(SPEC, args![id, json, spec.flavor.vcpus, spec.flavor.memory_mib]).await?;
        usage::begin(tx, id, spec, adopt.created).await?;
        index::create(tx, id, spec, adopt.created).await?;
        index::apply(tx, std::slice::from_ref(&adopt.heard)).await?;
        let Limits { instances, cores, memory_mib } = default;
        let (project, flavor) = (spec.project.as_str(), &spec.flavor);
        tx.exec(QUOTA, args![project, flavor.vcpus, flavor.memory_mib, instances, cores, memory_mib]).await?;
    }
    Ok(mapped)
}

/// Forgets up to `limit` instances that are mapped to a cell and are gone – with `living`, where the cell
/// is given up for lost, also those that are not: their mappings, request specs, index entries and tasks
/// go, and quota is given back. Gives how many. Should the cell come back after all, [`adopt`] maps what it
/// holds again.
pub async fn forget(tx: &mut Tx, cell: CellId, living: bool, limit: i64) -> Result<u64, Error> {
    const SOME: &str =
        "SELECT id FROM instance_mapping WHERE cell = $1 AND (state = 'deleted' OR $2) ORDER BY id LIMIT $3";
    const MAPPINGS: Rows =
        Rows { head: "DELETE FROM instance_mapping WHERE id IN (VALUES", tail: ") RETURNING id" };
    const SPECS: Rows =
        Rows { head: "DELETE FROM request_spec WHERE instance IN (VALUES", tail: RETURNING_COUNTED };
    const INDEX: Rows = Rows { head: "DELETE FROM instance_index WHERE instance IN (VALUES", tail: ")" };
    const TASKS: Rows = Rows { head: "DELETE FROM task WHERE subject IN (VALUES", tail: ")" };
    let ids: Vec<(Uuid,)> = tx.all(SOME, args![cell, living, limit]).await?;
    let rows = || ids.iter().map(|(id,)| args![*id]).collect::<Vec<_>>();
    let gone: Vec<(Uuid,)> = tx.all_rows(MAPPINGS, rows()).await?;
    // Only what is not closed still has a request spec, and uses quota.
    let specs: Vec<Counted> = tx.all_rows(SPECS, rows()).await?;
    give_back(tx, &specs).await?;
    resizes::forget(tx, &gone).await?;
    tx.exec_rows(INDEX, rows()).await?;
    tx.exec_rows(TASKS, rows()).await?;
    Ok(gone.len() as u64)
}
