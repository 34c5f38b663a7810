//! Applying what hosts saw. An observation counts only for the placement that it is about, and only if
//! it is newer than the last one.

use model::bug::{Bug, planted};
use model::instance::{Power, Stage, Task};
use model::sync::{Observation, Outcome};
use model::{At, Fault, FaultKind, HostId, InstanceId, Intent, Phase, Timestamp};
use sql::{Args, Error, Json, Rows, args};
use uuid::Uuid;

use crate::instances::{json, words};
use crate::{Tx, actions, claims, dirty, resizes};

/// How often an engine's failure is retried inside the cell.
pub const TRIES: i64 = 2;

/// What a batch of observations led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Something settled, failed or is gone: the API level waits for it.
    pub settled: bool,
    /// Something has to be placed again.
    pub unplaced: bool,
    /// The host has something new to pull.
    pub wishes: bool,
    /// The cell has a tombstone or a newer placement of these: their copy must go.
    pub superseded: Vec<(InstanceId, At)>,
    /// The cell has no row of these.
    pub unknown: Vec<InstanceId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    epoch: i64,
    placement: i64,
    generation: i64,
    version: i64,
    intent: String,
    stage: String,
    task: Option<String>,
    power: String,
    phase: String,
    host: Option<Uuid>,
    obs_seq: i64,
    agent_generation: i64,
    tries: i64,
    avoid: Json<Vec<HostId>>,
    fault: Option<Json<Fault>>,
    launched_at: Option<i64>,
}

/// How a row changes.
struct Change {
    stage: Stage,
    task: Option<Task>,
    power: Power,
    phase: Phase,
    on_host: bool,
    again: bool,
    /// The host gets another wish: what was made there must go.
    wish: bool,
    fault: Option<Fault>,
}

/// Applies observations of one host.
pub async fn apply(
    tx: &mut Tx,
    host: HostId,
    observations: &[Observation],
    now: Timestamp,
) -> Result<Applied, Error> {
    const READ: Rows = Rows {
        head: "SELECT id, epoch, placement, generation, version, intent, stage, task, power, phase, host, obs_seq,
            agent_generation, tries, avoid, fault, launched_at FROM instance WHERE id IN (VALUES",
        tail: ")",
    };
    const WRITE: Rows = Rows {
        head: "UPDATE instance SET version = version + 1, stage = v.column3, task = v.column4,
            power = v.column5, host = v.column6, tries = v.column7, avoid = v.column8,
            agent_generation = v.column9, obs_seq = v.column10, restart_done = v.column11,
            observed = v.column12, fault = v.column13, fault_at = v.column14, launched_at = v.column15,
            terminated_at = v.column16, updated_at = v.column17,
            deadline = CASE WHEN v.column18 THEN deadline ELSE NULL END,
            generation = generation + v.column19, phase = v.column20,
            other_size = CASE WHEN v.column20 = '' THEN NULL ELSE other_size END FROM (VALUES",
        tail: ") AS v WHERE instance.id = v.column1 AND version = v.column2",
    };
    let mut ids: Vec<InstanceId> = observations.iter().map(|o| o.instance).collect();
    ids.sort();
    ids.dedup();
    let rows: Vec<Row> = tx.all_rows(READ, ids.iter().map(|id| args![*id]).collect()).await?;
    let mut out = Applied::default();
    let (mut writes, mut marks, mut freed): (Vec<Args>, Vec<_>, Vec<_>) = Default::default();
    let (mut ended, mut fitted) = (Vec::new(), Vec::new());
    for id in ids {
        // Only the newest observation of each instance matters; they are ordered.
        let newest = observations
            .iter()
            .filter(|o| o.instance == id)
            .max_by_key(|o| (o.at.epoch, o.at.placement, o.seq));
        let Some(seen) = newest else { continue };
        let Some(row) = rows.iter().find(|row| row.id == id.uuid()) else {
            if seen.outcome != Outcome::Gone {
                out.unknown.push(id);
            }
            continue;
        };
        let here = (row.epoch, row.placement);
        let there = (seen.at.epoch, seen.at.placement);
        if row.host != Some(host.uuid()) || here != there {
            if seen.outcome == Outcome::Gone {
                continue;
            }
            // An unplaced row of the same placement number has given that host up.
            let left = row.host.is_none() && here >= there;
            let buried = row.stage == Stage::Tombstone.as_str() && row.epoch >= seen.at.epoch;
            if here > there || left || buried {
                let at = At { epoch: row.epoch, placement: row.placement, generation: row.generation };
                // A tombstone covers every placement of its epoch: it may have been written by who never knew the last.
                let placement = if buried { at.placement.max(seen.at.placement) } else { at.placement };
                out.superseded.push((id, At { placement, ..at }));
            } else {
                out.unknown.push(id);
            }
            continue;
        }
        if seen.seq <= row.obs_seq && !planted(Bug::OldBelieved) {
            continue;
        }
        let Some(change) = judge(row, seen)? else { continue };
        let before = resizes::phase(&row.phase)?;
        let change = phased(before, row, change)?;
        let launched = match (row.launched_at, change.power) {
            (None, Power::Running) => Some(now.0),
            (at, _) => at,
        };
        let mut avoid = row.avoid.0.clone();
        if change.again {
            avoid.push(host);
        }
        let building = matches!(change.stage, Stage::Building | Stage::Leaving | Stage::Unplaced);
        writes.push(args![
            id,
            row.version,
            change.stage.as_str(),
            change.task.map(Task::as_str),
            change.power.as_str(),
            change.on_host.then_some(host),
            row.tries + i64::from(change.again),
            json(&avoid)?,
            row.agent_generation.max(seen.at.generation),
            seen.seq,
            seen.restart_seq,
            json(&seen.observed)?,
            change.fault.as_ref().map(json).transpose()?,
            change.fault.as_ref().map(|_| now),
            launched,
            (change.stage == Stage::Tombstone).then_some(now),
            now,
            building,
            i64::from(change.wish),
            change.phase.as_str()
        ]);
        marks.push((id, row.version + 1));
        out.unplaced |= change.stage == Stage::Unplaced || change.phase.is_due();
        if before != Phase::Plain && change.phase == Phase::Plain && change.on_host {
            fitted.push(id);
        }
        out.wishes |= change.wish;
        out.settled |= change.task.is_none();
        // Building and deleting are no actions of the cell's. One whose task an operator has reset ends all the same.
        let task = row.task.as_deref();
        let acts = task.is_some_and(|task| !matches!(task, "scheduling" | "spawning" | "deleting"));
        if (acts || !before.is_at_rest())
            && (change.task.is_none() || (before, change.phase) == (Phase::Resizing, Phase::RevertWanted))
        {
            ended.push((id, change.fault.as_ref().map(|fault| fault.message.clone())));
        }
        if !change.on_host {
            freed.push(id);
        }
    }
    let wanted = writes.len() as u64;
    if tx.exec_rows(WRITE, writes).await? != wanted {
        // A row moved between reading and writing: the whole batch is judged again.
        return Err(Error::Contended("an instance changed while its report was applied".into()));
    }
    actions::finish(tx, &ended, now).await?;
    if !planted(Bug::ClaimKept) {
        claims::release(tx, &freed).await?;
    }
    resizes::fit(tx, &fitted).await?;
    dirty::mark(tx, &marks, now).await?;
    Ok(out)
}

/// What an observation of the row's own placement means for it. Pure.
fn judge(row: &Row, seen: &Observation) -> Result<Option<Change>, Error> {
    let (stage, task, power) = words(&row.stage, row.task.as_deref(), &row.power)?;
    let intent = Intent::parse(&row.intent).ok_or_else(|| Error::corrupt("instance.intent", &row.intent))?;
    let current = seen.at.generation >= row.generation;
    let same = Change {
        stage,
        task,
        power: seen.power,
        phase: Phase::Plain,
        on_host: true,
        again: false,
        wish: false,
        fault: row.fault.as_ref().map(|fault| fault.0.clone()),
    };
    let lost = |why: &str| Fault::new(FaultKind::Engine, why);
    let engine = || seen.fault.clone().unwrap_or_else(|| lost("the engine failed"));
    let vanished = || lost("the container is gone from its host");
    let gone = |same: Change| Change {
        stage: Stage::Tombstone,
        task: None,
        power: Power::None,
        on_host: false,
        fault: None,
        ..same
    };
    Ok(Some(match (seen.outcome, stage) {
        (Outcome::Taken, _) => Change { power, ..same },
        (Outcome::Changed, _) => same,
        (Outcome::Gone, _) if intent == Intent::Gone => gone(same),
        // Only now that nothing of it is there may it be placed elsewhere.
        (Outcome::Gone, Stage::Leaving) => {
            let fault = same.fault.unwrap_or_else(vanished);
            retry(row, fault)
        }
        (Outcome::Gone, Stage::Building) => retry(row, vanished()),
        (Outcome::Gone, _) => {
            Change { stage: Stage::Error, task: None, power: Power::None, fault: Some(vanished()), ..same }
        }
        // It was given up here already; that the host failed says nothing of what it has left there.
        (_, Stage::Leaving) => same,
        (Outcome::Failed, Stage::Building) if intent == Intent::Gone => same,
        (Outcome::Failed, Stage::Building) if planted(Bug::FailureIsEvidence) => retry(row, engine()),
        (Outcome::Failed, Stage::Building) => {
            Change { stage: Stage::Leaving, wish: true, fault: Some(engine()), ..same }
        }
        (Outcome::Failed, _) if current => {
            Change { stage: Stage::Error, task: None, fault: Some(engine()), ..same }
        }
        (Outcome::Failed, _) => same,
        (Outcome::Done, _) if !current => same,
        // A wish for nothing is done only when it is observed gone.
        (Outcome::Done, _) if intent == Intent::Gone => same,
        (Outcome::Done, _) => Change { stage: Stage::Settled, task: None, fault: None, ..same },
    }))
}

/// The first container could not be made here: another host may do, and after some tries the cell says no.
fn retry(row: &Row, fault: Fault) -> Change {
    let again = row.tries + 1 < TRIES;
    Change {
        stage: if again { Stage::Unplaced } else { Stage::Tombstone },
        task: again.then_some(Task::Scheduling),
        power: Power::None,
        phase: Phase::Plain,
        on_host: false,
        again: true,
        wish: false,
        fault: Some(fault),
    }
}

/// What a change means for what the instance undergoes. Pure.
fn phased(phase: Phase, row: &Row, change: Change) -> Result<Change, Error> {
    let (stage, task) = (change.stage, change.task);
    if !change.on_host || stage == Stage::Tombstone {
        return Ok(Change { phase: Phase::Plain, ..change });
    }
    if phase.is_due() {
        // What the conductors are to do stays so, whatever its container does meanwhile.
        let (_, task, _) = words(&row.stage, row.task.as_deref(), &row.power)?;
        return Ok(Change { phase, task, ..change });
    }
    Ok(match (phase, stage, task) {
        (Phase::Resizing, Stage::Settled, None) => Change { phase: Phase::Resized, ..change },
        // It cannot be had in the new size: it gets the old one back.
        (Phase::Resizing, Stage::Error, _) => Change {
            stage: Stage::Settled,
            task: Some(Task::ResizeReverting),
            phase: Phase::RevertWanted,
            ..change
        },
        (Phase::Reverting, Stage::Settled, None) | (Phase::Reverting | Phase::Shelving, Stage::Error, _) => {
            Change { phase: Phase::Plain, ..change }
        }
        (Phase::Shelving, Stage::Settled, None) => Change { phase: Phase::Shelved, ..change },
        _ => Change { phase, ..change },
    })
}
