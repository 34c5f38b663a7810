//! Instances: the one row that each has in this cell, from insertion to tombstone.
//!
//! Whoever writes a row bumps its `version` and marks it dirty in the same transaction. API-level tasks
//! write under the fencing counter `saga_token`; a lower one is refused.

use model::instance::{Action, Freeze, Power, Stage, Task};
use model::sync::Observed;
use model::{At, CellId, Fault, HostId, Instance, InstanceId, Intent, RequestSpec, Timestamp};
use serde_json::Value;
use sql::{Error, Json, Rows, args};
use uuid::Uuid;

use crate::{Tx, dirty, resizes, restored};

/// Number of hash buckets; conductors start scanning at different ones, so that they seldom collide.
pub const BUCKETS: u64 = 1_024;

/// Reads the three words that make a status.
pub(crate) fn words(
    stage: &str,
    task: Option<&str>,
    power: &str,
) -> Result<(Stage, Option<Task>, Power), Error> {
    let stage = Stage::parse(stage).ok_or_else(|| Error::corrupt("instance.stage", stage))?;
    let power = Power::parse(power).ok_or_else(|| Error::corrupt("instance.power", power))?;
    let task = match task {
        None => None,
        Some(word) => Some(Task::parse(word).ok_or_else(|| Error::corrupt("instance.task", word))?),
    };
    Ok((stage, task, power))
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(|error| Error::corrupt("a value to store", error))
}

/// An instance to insert, unplaced, by an API-level task.
#[derive(Clone, Debug)]
pub struct New {
    /// The instance.
    pub id: InstanceId,
    /// The epoch of the binding.
    pub epoch: i64,
    /// The fencing counter that the task holds.
    pub saga_token: i64,
    /// What was asked for.
    pub spec: RequestSpec,
    /// The request that asks for what is to be done here: the one that created it, or another.
    pub asked_by: String,
    /// Hash bucket below [`BUCKETS`], for conductors' scans.
    pub bucket: i64,
    /// When it was asked for.
    pub created: Timestamp,
}

/// The columns of an insertion, in the order of [`INSERT_VALUES`].
const INSERT: &str = "INSERT INTO instance (id, epoch, placement, generation, saga_token, op_token, version,
    project, name, spec, intent, stage, task, power, host, bucket, tries, avoid, restart_seq, restart_hard,
    restart_done, agent_generation, obs_seq, observed, fault, fault_at, deadline, created_at, updated_at,
    asked_by) VALUES";

/// What an insertion does to a row that is there: a newer binding replaces an older one, unless a newer
/// task has been here.
const REPLACE: &str = "ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, placement = 0, generation = 1,
    saga_token = excluded.saga_token, op_token = instance.op_token + 1, version = instance.version + 1,
    spec = excluded.spec, name = excluded.name, intent = excluded.intent, stage = excluded.stage,
    task = excluded.task, power = excluded.power, host = NULL, frozen = '', phase = '', other_size = NULL,
    tries = 0, avoid = excluded.avoid, asked_by = excluded.asked_by,
    agent_generation = 0, obs_seq = 0, observed = excluded.observed, fault = excluded.fault,
    fault_at = excluded.fault_at, deadline = excluded.deadline, updated_at = excluded.updated_at,
    launched_at = NULL, terminated_at = NULL
    WHERE instance.epoch < excluded.epoch AND instance.saga_token <= excluded.saga_token
        AND instance.host IS NULL
    RETURNING id, version";

fn insertion(
    new: &New,
    (intent, stage, task): (Intent, Stage, Option<Task>),
    fault: Option<&Fault>,
    now: Timestamp,
) -> Result<sql::Args, Error> {
    let deadline = (stage == Stage::Unplaced).then_some(new.spec.deadline);
    Ok(args![
        new.id,
        new.epoch,
        0_i64,
        1_i64,
        new.saga_token,
        0_i64,
        1_i64,
        new.spec.project.as_str(),
        new.spec.name.as_str(),
        json(&new.spec)?,
        intent.as_str(),
        stage.as_str(),
        task.map(Task::as_str),
        Power::None.as_str(),
        None::<HostId>,
        new.bucket,
        0_i64,
        Value::Array(Vec::new()),
        0_i64,
        false,
        0_i64,
        0_i64,
        0_i64,
        json(&Observed::default())?,
        fault.map(json).transpose()?,
        fault.map(|_| now),
        deadline,
        new.created,
        now,
        new.asked_by.as_str()
    ])
}

/// Inserts instances, unplaced. Those that are there already with this epoch or a later one, or that a
/// newer task has touched, are left as they are; a row of this very epoch takes over the counter.
///
/// # Errors
/// [`restored::refuse_held`].
pub async fn insert(tx: &mut Tx, new: &[New], now: Timestamp) -> Result<(), Error> {
    restored::refuse_held(tx).await?;
    const SQL: Rows = Rows { head: INSERT, tail: REPLACE };
    const FENCE: Rows = Rows {
        head: "UPDATE instance SET saga_token = v.column3 FROM (VALUES",
        tail: ") AS v WHERE instance.id = v.column1 AND epoch = v.column2 AND saga_token < v.column3",
    };
    let state = (Intent::Run, Stage::Unplaced, Some(Task::Scheduling));
    let rows = new.iter().map(|new| insertion(new, state, None, now)).collect::<Result<_, _>>()?;
    let inserted: Vec<(Uuid, i64)> = tx.all_rows(SQL, rows).await?;
    if inserted.len() < new.len() {
        let rows = new.iter().map(|new| args![new.id, new.epoch, new.saga_token]).collect();
        tx.exec_rows(FENCE, rows).await?;
        count_fenced(tx, new.iter(), "cell.insert").await?;
    }
    mark(tx, inserted, now).await
}

/// Buries instances that could not be built, as ERROR with the reason. For cell0.
pub async fn bury(tx: &mut Tx, dead: &[(New, Fault)], now: Timestamp) -> Result<(), Error> {
    const SQL: Rows = Rows { head: INSERT, tail: REPLACE };
    let state = (Intent::Stop, Stage::Error, None);
    let rows =
        dead.iter().map(|(new, fault)| insertion(new, state, Some(fault), now)).collect::<Result<_, _>>()?;
    let inserted: Vec<(Uuid, i64)> = tx.all_rows(SQL, rows).await?;
    if inserted.len() < dead.len() {
        count_fenced(tx, dead.iter().map(|(new, _)| new), "cell.bury").await?;
    }
    mark(tx, inserted, now).await
}

/// Counts writes that were refused because a later lease of a task on the instance has been here already. A
/// transaction that runs again counts again.
async fn count_fenced(
    tx: &mut Tx,
    new: impl Iterator<Item = &New>,
    place: &'static str,
) -> Result<(), Error> {
    const SQL: Rows = Rows {
        head: "SELECT instance.id FROM instance, (VALUES",
        tail: ") AS v WHERE instance.id = v.column1 AND instance.saga_token > v.column2",
    };
    let fenced: Vec<(Uuid,)> =
        tx.all_rows(SQL, new.map(|new| args![new.id, new.saga_token]).collect()).await?;
    if !fenced.is_empty() {
        metrics::counter!("skep_fenced_writes_total", "where" => place).increment(fenced.len() as u64);
    }
    Ok(())
}

async fn mark(tx: &mut Tx, changed: Vec<(Uuid, i64)>, now: Timestamp) -> Result<(), Error> {
    let changed: Vec<_> = changed.into_iter().map(|(id, version)| (InstanceId(id), version)).collect();
    dirty::mark(tx, &changed, now).await
}

/// [`want_gone_for_sure`], unless the database waits for an operator.
///
/// # Errors
/// [`restored::refuse_held`].
pub async fn want_gone(tx: &mut Tx, gone: &[New], now: Timestamp) -> Result<Vec<HostId>, Error> {
    restored::refuse_held(tx).await?;
    want_gone_for_sure(tx, gone, now).await
}

/// Wants instances gone, by an API-level task: what has no host becomes a tombstone at once, what is not
/// here yet becomes one before it ever was. Gives the hosts to ring. Repeats change nothing but the
/// fencing counter.
pub async fn want_gone_for_sure(tx: &mut Tx, gone: &[New], now: Timestamp) -> Result<Vec<HostId>, Error> {
    // Insert and tombstone are the same upsert, so that they contend on one key and cannot skew.
    const SQL: Rows = Rows {
        head: INSERT,
        tail: "ON CONFLICT (id) DO UPDATE SET saga_token = excluded.saga_token,
            op_token = instance.op_token + 1, version = instance.version + 1,
            epoch = excluded.epoch, intent = 'gone', updated_at = excluded.updated_at,
            asked_by = CASE WHEN instance.intent = 'gone' THEN instance.asked_by ELSE excluded.asked_by END,
            generation = CASE WHEN instance.intent = 'gone' THEN instance.generation
                ELSE instance.generation + 1 END,
            stage = CASE WHEN instance.host IS NULL THEN 'tombstone' ELSE instance.stage END,
            task = CASE WHEN instance.host IS NULL THEN NULL ELSE 'deleting' END,
            terminated_at = CASE WHEN instance.host IS NULL THEN excluded.updated_at ELSE NULL END,
            deadline = NULL
            WHERE instance.epoch <= excluded.epoch AND instance.saga_token <= excluded.saga_token
                AND (instance.stage <> 'tombstone' OR instance.epoch < excluded.epoch)
            RETURNING id, version, host",
    };
    let state = (Intent::Gone, Stage::Tombstone, None);
    let rows = gone.iter().map(|new| insertion(new, state, None, now)).collect::<Result<_, _>>()?;
    let changed: Vec<(Uuid, i64, Option<Uuid>)> = tx.all_rows(SQL, rows).await?;
    if changed.len() < gone.len() {
        count_fenced(tx, gone.iter(), "cell.gone").await?;
    }
    mark(tx, changed.iter().map(|(id, version, _)| (*id, *version)).collect(), now).await?;
    let mut hosts: Vec<HostId> = changed.into_iter().filter_map(|(_, _, host)| host.map(HostId)).collect();
    hosts.sort();
    hosts.dedup();
    Ok(hosts)
}

/// Where a row stands, for API-level tasks that wait for an outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The instance.
    pub id: InstanceId,
    /// Its epoch here.
    pub epoch: i64,
    /// Its stage.
    pub stage: Stage,
    /// Why it is in error or was refused.
    pub fault: Option<Fault>,
}

/// Where these rows stand; those that are not here are left out.
pub async fn standing(tx: &mut Tx, ids: &[InstanceId]) -> Result<Vec<Standing>, Error> {
    const SQL: Rows = Rows {
        head: "SELECT id, epoch, stage, fault FROM instance
            WHERE stage IN ('settled', 'error', 'tombstone') AND id IN (VALUES",
        tail: ")",
    };
    type Row = (Uuid, i64, String, Option<Json<Fault>>);
    let rows: Vec<Row> = tx.all_keys(SQL, ids.iter().map(|id| args![*id]).collect()).await?;
    rows.into_iter()
        .map(|(id, epoch, stage, fault)| {
            let stage = Stage::parse(&stage).ok_or_else(|| Error::corrupt("instance.stage", &stage))?;
            Ok(Standing { id: InstanceId(id), epoch, stage, fault: fault.map(|f| f.0) })
        })
        .collect()
}

/// A row with its instance and the numbers that only rows have.
#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    id: Uuid,
    pub(crate) version: i64,
    pub(crate) saga_token: i64,
    epoch: i64,
    placement: i64,
    generation: i64,
    spec: Json<RequestSpec>,
    intent: String,
    stage: String,
    task: Option<String>,
    power: String,
    phase: String,
    host: Option<Uuid>,
    host_name: Option<String>,
    host_zone: Option<String>,
    observed: Json<Observed>,
    fault: Option<Json<Fault>>,
    fault_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
    launched_at: Option<i64>,
    terminated_at: Option<i64>,
}

impl Row {
    pub(crate) fn instance(self, cell: CellId) -> Result<Instance, Error> {
        let (stage, task, power) = words(&self.stage, self.task.as_deref(), &self.power)?;
        let intent =
            Intent::parse(&self.intent).ok_or_else(|| Error::corrupt("instance.intent", &self.intent))?;
        Ok(Instance {
            id: InstanceId(self.id),
            spec: self.spec.0,
            cell: Some(cell),
            host: self.host.map(|id| (HostId(id), self.host_name.unwrap_or_default())),
            zone: self.host_zone,
            at: At { epoch: self.epoch, placement: self.placement, generation: self.generation },
            intent,
            stage,
            task,
            power,
            phase: resizes::phase(&self.phase)?,
            observed: self.observed.0,
            fault: self.fault.map(|f| (f.0, Timestamp(self.fault_at.unwrap_or(self.updated_at)))),
            created: Timestamp(self.created_at),
            updated: Timestamp(self.updated_at),
            launched: self.launched_at.map(Timestamp),
            terminated: self.terminated_at.map(Timestamp),
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        select!("", $rest)
    };
    ($more:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $more,
            "i.id, i.version, i.saga_token, i.epoch, i.placement, i.generation, i.spec, i.intent, i.stage, i.task, i.power, i.phase,
             i.host, h.name AS host_name, COALESCE(z.zone, h.zone) AS host_zone, i.observed, i.fault, i.fault_at, i.created_at,
             i.updated_at, i.launched_at, i.terminated_at FROM instance i LEFT JOIN host h ON h.id = i.host
             LEFT JOIN host_zone z ON z.host = i.host ",
            $rest
        )
    };
}
pub(crate) use select;

/// One instance, tombstones included.
pub async fn get(tx: &mut Tx, cell: CellId, id: InstanceId) -> Result<Option<Instance>, Error> {
    const SQL: &str = select!("WHERE i.id = $1");
    tx.opt::<Row>(SQL, args![id]).await?.map(|row| row.instance(cell)).transpose()
}

/// These instances, tombstones included, in no order.
pub async fn get_many(tx: &mut Tx, cell: CellId, ids: &[InstanceId]) -> Result<Vec<Instance>, Error> {
    const SQL: Rows = Rows { head: select!("WHERE i.id IN (VALUES"), tail: ")" };
    let rows: Vec<Row> = tx.all_keys(SQL, ids.iter().map(|id| args![*id]).collect()).await?;
    rows.into_iter().map(|row| row.instance(cell)).collect()
}

/// Changes an instance's intent as `action` asks, if the row is still at `at`; gives the host to ring.
///
/// # Errors
/// [`Error::Stale`] if the row has moved on; [`restored::refuse_held`].
pub async fn act(
    tx: &mut Tx,
    id: InstanceId,
    at: At,
    action: Action,
    request_id: &str,
    now: Timestamp,
) -> Result<Option<HostId>, Error> {
    const SQL: &str = "UPDATE instance SET generation = generation + 1, version = version + 1, intent = $5,
            task = $6, restart_seq = restart_seq + $7, restart_hard = $8, updated_at = $9,
            op_token = op_token + 1, frozen = $10, asked_by = $12,
            phase = CASE WHEN phase IN ('resizing', 'resized', 'reverting') THEN phase ELSE $11 END,
            stage = CASE WHEN stage = 'error' AND host IS NOT NULL THEN 'settled' ELSE stage END
        WHERE id = $1 AND epoch = $2 AND placement = $3 AND generation = $4 AND intent <> 'gone'
            AND host IS NOT NULL AND phase NOT IN ('resize-wanted', 'confirming', 'revert-wanted')
        RETURNING version, host";
    restored::refuse_held(tx).await?;
    let (intent, restarts, hard) = match action {
        Action::Stop | Action::Shelve => (Intent::Stop, 0_i64, false),
        Action::Reboot { hard } => (Intent::Run, 1, hard),
        Action::Rebuild => return rebuild(tx, id, at, request_id, now).await,
        _ => (Intent::Run, 0, false),
    };
    let row: Option<(i64, Option<Uuid>)> = tx
        .opt(
            SQL,
            args![
                id,
                at.epoch,
                at.placement,
                at.generation,
                intent.as_str(),
                action.task().map(Task::as_str),
                restarts,
                hard,
                now,
                action.freeze().map_or("", Freeze::as_str),
                action.phase().as_str(),
                request_id
            ],
        )
        .await?;
    let (version, host) = row.ok_or(Error::Stale)?;
    dirty::mark(tx, &[(id, version)], now).await?;
    Ok(host.map(HostId))
}

/// Has the container made anew on the host where it is: a new placement, so that everything that holds for
/// placements – the old copy goes first, late words of it count for nothing – holds here.
async fn rebuild(
    tx: &mut Tx,
    id: InstanceId,
    at: At,
    request_id: &str,
    now: Timestamp,
) -> Result<Option<HostId>, Error> {
    const SQL: &str = "UPDATE instance SET placement = placement + 1, generation = 1, agent_generation = 0,
            obs_seq = 0, restart_seq = 0, restart_done = 0, version = version + 1, op_token = op_token + 1,
            frozen = '', task = 'rebuilding', stage = 'settled', fault = NULL, fault_at = NULL, updated_at = $5,
            asked_by = $6
        WHERE id = $1 AND epoch = $2 AND placement = $3 AND generation = $4 AND intent <> 'gone'
            AND host IS NOT NULL AND phase NOT IN ('resize-wanted', 'confirming', 'revert-wanted')
        RETURNING version, host";
    let args = args![id, at.epoch, at.placement, at.generation, now, request_id];
    let row: Option<(i64, Option<Uuid>)> = tx.opt(SQL, args).await?;
    let (version, host) = row.ok_or(Error::Stale)?;
    dirty::mark(tx, &[(id, version)], now).await?;
    Ok(host.map(HostId))
}

/// How many instances this cell holds, tombstones left out.
pub async fn count(tx: &mut Tx) -> Result<i64, Error> {
    let row: Option<(i64,)> =
        tx.opt("SELECT COUNT(*) FROM instance WHERE stage <> 'tombstone'", vec![]).await?;
    Ok(row.unwrap_or_default().0)
}

/// Gives up waiting for hosts that did not build in time: ERROR, until the host says otherwise. Nothing
/// is freed, because the host may still run it.
pub async fn expire(tx: &mut Tx, now: Timestamp) -> Result<u64, Error> {
    const SQL: &str = "UPDATE instance SET stage = 'error', task = NULL, fault = $2, fault_at = $1,
            deadline = NULL, updated_at = $1, version = version + 1
        WHERE deadline IS NOT NULL AND deadline < $1 AND stage = 'building' AND intent <> 'gone'
        RETURNING id, version";
    let fault = Fault::new(model::FaultKind::Timeout, "the host did not build the container in time");
    let changed: Vec<(Uuid, i64)> = tx.all(SQL, args![now, json(&fault)?]).await?;
    let count = changed.len() as u64;
    mark(tx, changed, now).await?;
    Ok(count)
}
