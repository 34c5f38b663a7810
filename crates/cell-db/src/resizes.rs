//! Changing an instance's size on its own host, and taking that back.
//!
//! A wish is a phase of the row, written by the API level. The conductors do what touches hosts: they claim what the
//! larger of both sizes needs, so that the new one fits now and the old one fits for as long as the user has not
//! decided. Then the container is made anew, as a new placement.

use model::instance::{Action, Task};
use model::phase::either;
use model::{
    Caller, Context, Fault, FaultKind, HostId, InstanceId, Phase, RequestSpec, Resources, Size, Timestamp,
};
use sql::{Error, Json, Rows, args};
use uuid::Uuid;

use crate::instances::{json, words};
use crate::{Tx, actions, claims, dirty, restored};

/// What a user wants of an instance's size.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What it is known by: a repetition changes nothing.
    pub record: Uuid,
    /// The instance.
    pub instance: InstanceId,
    /// The epoch of its binding.
    pub epoch: i64,
    /// The fencing counter that the writer holds.
    pub saga_token: i64,
    /// [`Action::Resize`], [`Action::ConfirmResize`] or [`Action::RevertResize`].
    pub action: Action,
    /// The size, for a resize.
    pub size: Option<Size>,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq)]
pub enum Wished {
    /// The conductors are to do it.
    Begun,
    /// It was written, or refused, before.
    Before,
    /// It has that size already, as after a restore of the cell's database whose hosts have told so.
    Had,
    /// The row's state forbids it; this is recorded, so that it stays so.
    Refused(Fault),
}

#[derive(sqlx::FromRow)]
struct Row {
    epoch: i64,
    saga_token: i64,
    version: i64,
    intent: String,
    stage: String,
    task: Option<String>,
    power: String,
    phase: String,
    host: Option<Uuid>,
    spec: Json<RequestSpec>,
}

pub(crate) fn phase(word: &str) -> Result<Phase, Error> {
    Phase::parse(word).ok_or_else(|| Error::corrupt("instance.phase", word))
}

/// Writes a wish into the instance's row, once, whoever writes it first: the verb or the task that outlives it. What
/// comes of it is recorded also if there is no such row, so that who waits for it does not do so for ever.
///
/// # Errors
/// [`Error::Stale`] if the row has moved on, or a later task has been here; [`restored::refuse_held`].
pub async fn wish(
    tx: &mut Tx,
    wish: &Wish,
    who: (&Caller, &Context),
    now: Timestamp,
) -> Result<Wished, Error> {
    const READ: &str =
        "SELECT epoch, saga_token, version, intent, stage, task, power, phase, host, spec FROM instance
        WHERE id = $1";
    const WRITE: &str = "UPDATE instance SET saga_token = $3, op_token = op_token + 1, version = version + 1,
            phase = $4, task = $5, other_size = COALESCE($6, other_size), updated_at = $7,
            asked_by = $8
        WHERE id = $1 AND version = $2";
    restored::refuse_held(tx).await?;
    let id = wish.instance;
    let row = tx.opt::<Row>(READ, args![id]).await?;
    if row.as_ref().is_some_and(|row| row.saga_token > wish.saga_token) {
        metrics::counter!("skep_fenced_writes_total", "where" => "cell.resize").increment(1);
        return Err(Error::Stale);
    }
    if !actions::record(tx, wish.record, id, wish.action, who, now).await? {
        return Ok(Wished::Before);
    }
    let Some(row) = row else {
        let fault = Fault::conflict(format!("Instance {id} is not in its cell"));
        actions::end(tx, wish.record, Some(&fault), now).await?;
        return Ok(Wished::Refused(fault));
    };
    if has(&row, wish)? {
        actions::end(tx, wish.record, None, now).await?;
        return Ok(Wished::Had);
    }
    if let Err(fault) = check(&row, wish)? {
        actions::end(tx, wish.record, Some(&fault), now).await?;
        return Ok(Wished::Refused(fault));
    }
    let args = args![
        id,
        row.version,
        wish.saga_token,
        wish.action.phase().as_str(),
        wish.action.task().map(Task::as_str),
        wish.size.as_ref().map(json).transpose()?,
        now,
        who.1.request_id.as_str()
    ];
    if tx.exec(WRITE, args).await? == 0 {
        return Err(Error::Stale);
    }
    dirty::mark(tx, &[(id, row.version + 1)], now).await?;
    Ok(Wished::Begun)
}

/// Whether a row is as the wish would have it. A change under way counts as none.
fn has(row: &Row, wish: &Wish) -> Result<bool, Error> {
    let same = wish.size.as_ref().is_some_and(|size| size.is_of(&row.spec.0));
    Ok(same && row.intent != "gone" && row.epoch == wish.epoch && phase(&row.phase)? == Phase::Plain)
}

fn check(row: &Row, wish: &Wish) -> Result<Result<(), Fault>, Error> {
    let (stage, task, power) = words(&row.stage, row.task.as_deref(), &row.power)?;
    let (id, word) = (wish.instance, wish.action.word());
    if row.intent == "gone" || row.epoch != wish.epoch {
        return Ok(Err(Fault::conflict(format!(
            "Cannot '{word}' instance {id} while it is in task_state deleting"
        ))));
    }
    if row.host.is_none() {
        return Ok(Err(Fault::conflict(format!("Cannot '{word}' instance {id}: it has no host"))));
    }
    Ok(wish.action.check(id, (stage, power, phase(&row.phase)?), task))
}

/// A row that the conductors have to do something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The instance.
    pub instance: InstanceId,
    /// Its row's version when it was read.
    pub version: i64,
}

/// Up to `limit` rows that are due, after an instance, by id.
pub async fn due(tx: &mut Tx, after: InstanceId, limit: i64) -> Result<Vec<Due>, Error> {
    const SQL: &str = "SELECT id, version FROM instance
        WHERE phase IN ('resize-wanted', 'confirming', 'revert-wanted') AND intent <> 'gone' AND host IS NOT NULL
            AND id > $1 AND NOT EXISTS (SELECT 1 FROM restored)
        ORDER BY id LIMIT $2";
    let rows: Vec<(Uuid, i64)> = tx.all(SQL, args![after, limit]).await?;
    Ok(rows.into_iter().map(|(id, version)| Due { instance: InstanceId(id), version }).collect())
}

/// What came of a row that was due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The host to ring: it has something to pull.
    pub host: Option<HostId>,
    /// Whether it has come to its end, which the API level waits for.
    pub settled: bool,
}

#[derive(sqlx::FromRow)]
struct Whole {
    phase: String,
    host: Uuid,
    spec: Json<RequestSpec>,
    other_size: Option<Json<Size>>,
}

/// Does what is due of a row, unless it has changed since: claims and has the container made anew, gives the old
/// size back, or has the old container made anew.
pub async fn carry_out(tx: &mut Tx, due: Due, now: Timestamp) -> Result<Done, Error> {
    // The row first and then the host's, as claims do.
    const HOLD: &str = "UPDATE instance SET op_token = op_token + 1 WHERE id = $1 AND version = $2
        AND intent <> 'gone' AND host IS NOT NULL RETURNING phase, host, spec, other_size";
    let Due { instance: id, version } = due;
    let Some(row) = tx.opt::<Whole>(HOLD, args![id, version]).await? else { return Ok(Done::default()) };
    let (phase, host, mut spec) = (phase(&row.phase)?, HostId(row.host), row.spec.0);
    let Some(other) = row.other_size.map(|size| size.0) else {
        return Err(Error::corrupt("instance.other_size", row.phase));
    };
    match phase {
        Phase::ResizeWanted => {
            let both = either(spec.resources(), other.flavor.resources());
            if let Err(fault) = grow(tx, id, host, both).await? {
                rest(tx, id, version, &spec, now).await?;
                actions::finish(tx, &[(id, Some(fault.message))], now).await?;
                return Ok(Done { host: None, settled: true });
            }
            let old = other.swap_into(&mut spec);
            anew(tx, (id, version), (Phase::Resizing, Task::ResizeFinish), &spec, &old, now).await?;
            Ok(Done { host: Some(host), settled: false })
        }
        Phase::RevertWanted => {
            let new = other.swap_into(&mut spec);
            anew(tx, (id, version), (Phase::Reverting, Task::ResizeReverting), &spec, &new, now).await?;
            Ok(Done { host: Some(host), settled: false })
        }
        Phase::Confirming => {
            rest(tx, id, version, &spec, now).await?;
            actions::finish(tx, &[(id, None)], now).await?;
            fit(tx, &[id]).await?;
            Ok(Done { host: None, settled: true })
        }
        _ => Ok(Done::default()),
    }
}

/// Claims so much more on the host that the allocation is `need`; none is left without an answer.
async fn grow(
    tx: &mut Tx,
    id: InstanceId,
    host: HostId,
    need: Resources,
) -> Result<Result<(), Fault>, Error> {
    const TAKE: &str = "UPDATE host SET used_vcpus_milli = used_vcpus_milli + $2,
            used_memory_mib = used_memory_mib + $3
        WHERE id = $1 AND ($2 = 0 OR used_vcpus_milli + $2 <= cap_vcpus_milli)
            AND ($3 = 0 OR used_memory_mib + $3 <= cap_memory_mib)";
    let has = allocated(tx, id).await?;
    let more = either(need, has).minus(has);
    if tx.exec(TAKE, args![host, more.vcpus_milli, more.memory_mib]).await? == 0 {
        let why = format!(
            "No valid host was found: its host has no room for {} more virtual CPUs and {} MiB more memory.",
            more.vcpus_milli / 1_000,
            more.memory_mib
        );
        return Ok(Err(Fault::new(FaultKind::NoValidHost, why)));
    }
    allocate(tx, id, either(need, has)).await?;
    Ok(Ok(()))
}

/// Gives back what these instances have claimed beyond the size in their specs.
pub(crate) async fn fit(tx: &mut Tx, ids: &[InstanceId]) -> Result<(), Error> {
    const SPECS: Rows = Rows {
        head: "SELECT id, host, spec FROM instance WHERE host IS NOT NULL AND id IN (VALUES",
        tail: ")",
    };
    type Row = (Uuid, Uuid, Json<RequestSpec>);
    let mut rows: Vec<Row> = tx.all_rows(SPECS, ids.iter().map(|id| args![*id]).collect()).await?;
    rows.sort_by_key(|(id, host, _)| (*host, *id));
    for (id, host, spec) in rows {
        let (id, host) = (InstanceId(id), HostId(host));
        let (has, need) = (allocated(tx, id).await?, spec.0.resources());
        allocate(tx, id, need).await?;
        claims::give_back(tx, host, has.minus(need)).await?;
    }
    Ok(())
}

async fn allocated(tx: &mut Tx, id: InstanceId) -> Result<Resources, Error> {
    const SQL: &str = "SELECT vcpus_milli, memory_mib, slots FROM allocation WHERE instance = $1";
    let row: Option<(i64, i64, i64)> = tx.opt(SQL, args![id]).await?;
    let (vcpus_milli, memory_mib, slots) =
        row.ok_or_else(|| Error::corrupt("allocation", "an instance with a host has none"))?;
    Ok(Resources { vcpus_milli, memory_mib, slots })
}

async fn allocate(tx: &mut Tx, id: InstanceId, need: Resources) -> Result<(), Error> {
    const SQL: &str = "UPDATE allocation SET vcpus_milli = $2, memory_mib = $3 WHERE instance = $1";
    tx.exec(SQL, args![id, need.vcpus_milli, need.memory_mib]).await.map(drop)
}

/// Nothing is under way any more.
async fn rest(
    tx: &mut Tx,
    id: InstanceId,
    version: i64,
    spec: &RequestSpec,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str =
        "UPDATE instance SET phase = '', other_size = NULL, task = NULL, spec = $3, updated_at = $4,
        version = version + 1 WHERE id = $1 AND version = $2";
    tx.exec(SQL, args![id, version, json(spec)?, now]).await?;
    dirty::mark(tx, &[(id, version + 1)], now).await
}

/// Has the container made anew in the size of `spec`, keeping the other: a new placement, as a rebuild is.
async fn anew(
    tx: &mut Tx,
    (id, version): (InstanceId, i64),
    (phase, task): (Phase, Task),
    spec: &RequestSpec,
    other: &Size,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE instance SET placement = placement + 1, generation = 1, agent_generation = 0,
            obs_seq = 0, restart_seq = 0, restart_done = 0, version = version + 1, frozen = '', stage = 'settled',
            phase = $3, task = $4, spec = $5, other_size = $6, updated_at = $7
        WHERE id = $1 AND version = $2";
    let args = args![id, version, phase.as_str(), task.as_str(), json(spec)?, json(other)?, now];
    tx.exec(SQL, args).await?;
    dirty::mark(tx, &[(id, version + 1)], now).await
}

/// How an instance stands whose size was to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The instance.
    pub id: InstanceId,
    /// Its phase.
    pub phase: Phase,
    /// Its size, unless the cell has no row of it.
    pub size: Option<Size>,
    /// The size that is kept beside it.
    pub other: Option<Size>,
    /// Whether the action came to a good end.
    pub went_well: bool,
}

/// Those of these instances of whose size nothing is under way, each with what its wish is known by.
pub async fn standing(tx: &mut Tx, ids: &[(InstanceId, Uuid)]) -> Result<Vec<Standing>, Error> {
    const SQL: Rows = Rows {
        head: "SELECT a.instance, i.phase, i.spec, i.other_size, a.result
            FROM action a LEFT JOIN instance i ON i.id = a.instance JOIN (VALUES",
        tail: ") AS v ON a.instance = v.column1 AND a.id = v.column2
            WHERE a.finished_at IS NOT NULL
                AND (i.id IS NULL OR i.phase IN ('', 'resized', 'shelving', 'shelved'))",
    };
    type Row = (Uuid, Option<String>, Option<Json<RequestSpec>>, Option<Json<Size>>, Option<String>);
    let rows: Vec<Row> =
        tx.all_rows(SQL, ids.iter().map(|(id, record)| args![*id, *record]).collect()).await?;
    rows.into_iter()
        .map(|(id, word, spec, other, result)| {
            Ok(Standing {
                id: InstanceId(id),
                phase: phase(word.as_deref().unwrap_or_default())?,
                size: spec.map(|spec| Size::of(&spec.0)),
                other: other.map(|size| size.0),
                went_well: result.as_deref() == Some("Success"),
            })
        })
        .collect()
}
