//! An API database that was put back from a backup: cells know more than it does, until they were compared with it
//! and an operator has said that all is well.
//!
//! Until then no task is leased, so that nothing is bound a second time of which the binding was lost. What is asked
//! for meanwhile is accepted and waits.

use std::collections::BTreeMap;

use model::{CellId, Incarnation, InstanceId, TaskId, Timestamp};
use serde_json::Value;
use sql::{Error, Json, Rows, args, migrate};
use tasks::{NewTask, store};
use uuid::Uuid;

use crate::mappings::{self, Mapping, State};
use crate::quotas::{self, Counted};
use crate::state::{self, BUILD, Build, RESIZE};
use crate::{Tx, cells};

/// What the fencing counters of all instances are raised by: more than they can have moved since any backup.
const LEAP: i64 = 1 << 20;

/// Since when the database waits for an operator, if it does.
pub async fn held_since(tx: &mut Tx) -> Result<Option<Timestamp>, Error> {
    let row: Option<(i64,)> = tx.opt("SELECT since FROM restored WHERE one = 1", vec![]).await?;
    Ok(row.map(|(since,)| Timestamp(since)))
}

/// Begins: another incarnation, fencing counters above all that cells have heard, and epochs above all bindings that
/// may have been made of what is not bound here. May be repeated.
pub async fn begin(tx: &mut Tx, incarnation: Incarnation, now: Timestamp) -> Result<(), Error> {
    const HOLD: &str = "INSERT INTO restored (one, since) VALUES (1, $1)
        ON CONFLICT (one) DO UPDATE SET since = excluded.since";
    const TOKENS: &str = "UPDATE instance_mapping SET saga_token = saga_token + $1";
    const EPOCHS: &str =
        "UPDATE instance_mapping SET epoch = epoch + $1 WHERE state <> 'deleted' AND (cell IS NULL
        OR id IN (SELECT subject FROM task WHERE kind = 'build/1' AND state->>'at' = 'pick'))";
    migrate::renew(tx, incarnation).await?;
    tx.exec(HOLD, args![now]).await?;
    tx.exec(TOKENS, args![LEAP]).await?;
    tx.exec(EPOCHS, args![LEAP]).await?;
    // Whoever worked on the database that is gone holds nothing here.
    tx.exec("DELETE FROM worker", vec![]).await?;
    tx.exec("UPDATE task SET owner = NULL", vec![]).await.map(drop)
}

/// Ends: the database is the truth again, in another incarnation.
pub async fn confirm(tx: &mut Tx, incarnation: Incarnation) -> Result<(), Error> {
    tx.exec("DELETE FROM restored", vec![]).await?;
    migrate::renew(tx, incarnation).await
}

/// Where the cells have an instance: its newest row there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The cell.
    pub cell: CellId,
    /// Its epoch there.
    pub epoch: i64,
    /// The fencing counter there.
    pub saga_token: i64,
    /// How it stands there.
    pub fate: Fate,
    /// What the project's quota has to count of it: the larger of its size and of one that is kept for it.
    pub counted: Counted,
}

/// How an instance stands in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It lives there, made or in error.
    Settled,
    /// It is being made there.
    Building,
    /// The cell has refused it: it may be bound elsewhere.
    Refused,
    /// Its deletion was carried out.
    Deleted,
}

/// What became of mappings that were compared with cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// Bound anew to where they live.
    pub moved: u64,
    /// Closed, because they were deleted.
    pub closed: u64,
    /// Mapped to a cell that has never heard of them, and made by nobody.
    pub lost: Vec<Mapping>,
}

/// A task for an instance that is being made in its cell and that nobody follows here.
#[derive(Clone, Copy, Debug)]
pub struct Follow {
    /// The task's id.
    pub task: TaskId,
    /// Hash bucket below [`store::BUCKETS`].
    pub bucket: i64,
}

/// Compares mappings with what cells have of their instances, and believes the cells. Repeats change nothing.
pub async fn compare(
    tx: &mut Tx,
    ids: &[(InstanceId, Follow)],
    seen: impl Fn(InstanceId) -> Option<Seen>,
    now: Timestamp,
) -> Result<Compared, Error> {
    const TASKS: Rows =
        Rows { head: "SELECT subject, kind, state FROM task WHERE subject IN (VALUES", tail: ")" };
    let known: Vec<InstanceId> = ids.iter().map(|(id, _)| *id).collect();
    let held = mappings::hold(tx, &known).await?;
    let tasks: Vec<(Uuid, String, Json<Value>)> =
        tx.all_keys(TASKS, known.iter().map(|id| args![*id]).collect()).await?;
    let counted = quotas::counted_of_each(tx, &known).await?;
    let mut out = Compared::default();
    // Projects' sums are held until the commit: everybody takes them in one order.
    let mut grown: BTreeMap<String, Vec<(InstanceId, Counted)>> = BTreeMap::new();
    for mapping in held {
        let task = tasks.iter().find(|(subject, ..)| *subject == mapping.id.uuid());
        let bound = task.and_then(|(_, _, state)| match serde_json::from_value(state.0.clone()) {
            Ok(Build::Bound { cell, .. }) => Some(cell),
            _ => None,
        });
        let follow = ids.iter().find(|(id, _)| *id == mapping.id).map(|(_, follow)| *follow);
        let is_build = task.is_none_or(|(_, kind, _)| kind == BUILD);
        // A change of its size that is under way counts by itself, and ends where there is nothing to be changed.
        let is_resize = task.is_some_and(|(_, kind, _)| kind == RESIZE);
        match (mapping.state, seen(mapping.id), follow) {
            (State::Deleted, ..) | (_, _, None) => {}
            (_, Some(seen @ Seen { fate: Fate::Settled | Fate::Building, .. }), Some(follow)) => {
                if !is_resize && counted.get(&mapping.id).is_some_and(|known| *known != seen.counted) {
                    grown.entry(mapping.project.clone()).or_default().push((mapping.id, seen.counted));
                }
                let moved = mapping.cell != Some(seen.cell) || mapping.epoch != seen.epoch;
                if moved {
                    rebind(tx, mapping.id, seen).await?;
                    out.moved += 1;
                }
                if is_build && (moved || task.is_none()) {
                    end_build(tx, mapping.id, bound).await?;
                    if seen.fate == Fate::Building {
                        follow_build(tx, &mapping, seen.cell, follow, now).await?;
                    }
                }
            }
            // What had been made at the time of the backup was not refused later.
            (State::Live, Some(Seen { fate, .. }), _) if fate == Fate::Deleted || task.is_none() => {
                end_build(tx, mapping.id, bound).await?;
                close(tx, &mapping, now).await?;
                out.closed += 1;
            }
            (State::Live, None, _) if (task.is_none() || is_resize) && mapping.cell.is_some() => {
                out.lost.push(mapping);
            }
            _ => {}
        }
    }
    for (id, now) in grown.into_values().flatten() {
        quotas::recount(tx, id, now, None).await?;
    }
    Ok(out)
}

async fn rebind(tx: &mut Tx, id: InstanceId, seen: Seen) -> Result<(), Error> {
    const SQL: &str = "UPDATE instance_mapping SET cell = $2, epoch = $3,
            saga_token = CASE WHEN saga_token > $4 THEN saga_token ELSE $4 + 1 END
        WHERE id = $1";
    tx.swap(SQL, args![id, seen.cell, seen.epoch, seen.saga_token]).await
}

/// Ends the task that builds an instance, which counts as unsettled in `bound`.
async fn end_build(tx: &mut Tx, id: InstanceId, bound: Option<CellId>) -> Result<(), Error> {
    store::supersede(tx, id.uuid()).await?;
    match bound {
        Some(cell) => cells::settle(tx, cell, 1).await,
        None => Ok(()),
    }
}

async fn follow_build(
    tx: &mut Tx,
    mapping: &Mapping,
    cell: CellId,
    follow: Follow,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(spec) = &mapping.spec else { return Ok(()) };
    let task = NewTask {
        id: follow.task,
        kind: BUILD,
        subject: mapping.id.uuid(),
        state: state::to_json(&Build::Bound { cell, refused: Vec::new() })?,
        bucket: follow.bucket,
        deadline: spec.deadline,
        request_id: spec.request_id.clone(),
        created: now,
    };
    if store::enqueue(tx, &task).await? {
        cells::reserve(tx, cell, 1, i64::MAX).await?;
    }
    Ok(())
}

async fn close(tx: &mut Tx, mapping: &Mapping, now: Timestamp) -> Result<(), Error> {
    mappings::request_delete(tx, mapping.id).await?;
    mappings::close(tx, &[(mapping.id, mapping.saga_token + 1)], now).await.map(drop)
}
