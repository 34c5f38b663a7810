//! A database that was put back from a backup: hosts and the API level know more than it does, until they were
//! compared and an operator has said that all is well.
//!
//! Until then nothing is placed, because a copy may run already where this database does not see it; nothing is
//! removed, because what looks like an orphan may be what a user has; and nothing is changed for users, because
//! their newer wishes have yet to be found.

use model::instance::Stage;
use model::sync::{Observation, Outcome};
use model::{Fault, HostId, Incarnation, InstanceId, Intent, RequestSpec, Size, Timestamp};
use sql::{Error, Json, Rows, args, migrate};
use uuid::Uuid;

use crate::instances::{self, New};
use crate::reports::{self, Applied};
use crate::{Tx, dirty};

/// What counters that others compare are raised by: more than they can have moved since any backup.
const LEAP: i64 = 1 << 20;
/// What rows' versions are raised by, so that the index takes what is told from here on.
const VERSION_LEAP: i64 = 1 << 32;
/// What hosts' sessions are raised by; they begin at 4096 and may grow to 2^23.
const SESSION_LEAP: i64 = 1 << 10;
/// Rows whose marks are written at a time.
const MARKS: i64 = 512;

/// Where a database stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Since when it waits for an operator, if it does.
    pub since: Option<Timestamp>,
}

/// Where the database stands.
pub async fn standing(tx: &mut Tx) -> Result<Standing, Error> {
    const SQL: &str = "SELECT m.incarnation, r.since FROM schema_meta m
        LEFT JOIN restored r ON r.one = m.one WHERE m.one = 1";
    let row: Option<(Uuid, Option<i64>)> = tx.opt(SQL, vec![]).await?;
    let (incarnation, since) = row.ok_or_else(|| Error::corrupt("schema_meta", "no row"))?;
    Ok(Standing { incarnation: Incarnation(incarnation), since: since.map(Timestamp) })
}

/// Whether the database waits for an operator.
pub async fn is_held(tx: &mut Tx) -> Result<bool, Error> {
    let row: Option<(i64,)> = tx.opt("SELECT since FROM restored WHERE one = 1", vec![]).await?;
    Ok(row.is_some())
}

/// Refuses a change while the database waits for an operator.
///
/// # Errors
/// [`model::FaultKind::Unavailable`], with what to do.
pub async fn refuse_held(tx: &mut Tx) -> Result<(), Error> {
    match is_held(tx).await? {
        false => Ok(()),
        true => Err(Error::Fault(Fault::unavailable(
            "the cell's database was restored from a backup and nothing is changed in it before an operator has \
             confirmed it",
        ))),
    }
}

/// Begins: another incarnation, and every counter that somebody else compares above whatever he can know. May be
/// repeated.
pub async fn begin(tx: &mut Tx, incarnation: Incarnation, now: Timestamp) -> Result<(), Error> {
    const HOLD: &str = "INSERT INTO restored (one, since) VALUES (1, $1)
        ON CONFLICT (one) DO UPDATE SET since = excluded.since";
    migrate::renew(tx, incarnation).await?;
    tx.exec(HOLD, args![now]).await?;
    tx.exec("DELETE FROM offered", vec![]).await?;
    tx.exec(
        "UPDATE host SET heard = NULL, sessions = sessions + $1, beat = beat + $2",
        args![SESSION_LEAP, LEAP],
    )
    .await?;
    tx.exec("UPDATE summary SET version = version + $1", args![LEAP]).await?;
    tx.exec("UPDATE instance SET op_token = op_token + $1", args![LEAP]).await?;
    tell_again(tx, now).await
}

/// Ends: the database is the truth again, in another incarnation, so that every agent asks for everything anew and
/// hears what is to go. Rows whose hosts were not heard out, those that wait for a host, and those that are to go, with
/// whatever was made of them since, get numbers above all that such a host may know.
pub async fn confirm(tx: &mut Tx, incarnation: Incarnation, now: Timestamp) -> Result<(), Error> {
    const UNHEARD: &str =
        "UPDATE instance SET generation = generation + $1 WHERE host IN (SELECT h.id FROM host h
        JOIN schema_meta m ON m.one = 1 WHERE h.heard IS NULL OR h.heard <> m.incarnation)";
    const UNPLACED: &str = "UPDATE instance SET placement = placement + $1 WHERE stage = 'unplaced'";
    const GOING: &str =
        "UPDATE instance SET placement = placement + $1, generation = 1, agent_generation = 0,
        obs_seq = 0 WHERE intent = 'gone' AND host IS NOT NULL";
    tx.exec(UNHEARD, args![LEAP]).await?;
    tx.exec(UNPLACED, args![LEAP]).await?;
    tx.exec(GOING, args![LEAP]).await?;
    tx.exec("DELETE FROM restored", vec![]).await?;
    migrate::renew(tx, incarnation).await?;
    tell_again(tx, now).await
}

/// Has the API level hear every row again, as newer than anything it heard before.
async fn tell_again(tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
    tx.exec("UPDATE instance SET version = version + $1", args![VERSION_LEAP]).await?;
    let mut after = None;
    loop {
        let (_, last) = dirty::mark_all(tx, after, MARKS, now).await?;
        match last {
            Some(_) => after = last,
            None => return Ok(()),
        }
    }
}

/// A row as it is compared with the API level's mapping.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The instance.
    pub id: InstanceId,
    /// Its epoch here.
    pub epoch: i64,
    /// The fencing counter of the API-level task that last wrote it.
    pub saga_token: i64,
    /// Its stage.
    pub stage: Stage,
    /// Whether it says why it failed or was refused.
    pub has_fault: bool,
    /// What was asked for.
    pub spec: RequestSpec,
    /// The size that is kept beside the one that it has, if one is.
    pub other: Option<Size>,
    /// When it was asked for.
    pub created: Timestamp,
}

/// Up to `limit` rows after an id, tombstones included. Those of `project` are left out.
pub async fn page(tx: &mut Tx, after: InstanceId, but: &str, limit: i64) -> Result<Vec<Seen>, Error> {
    const SQL: &str = "SELECT id, epoch, saga_token, stage, fault IS NOT NULL, spec, other_size, created_at
        FROM instance WHERE id > $1 AND project <> $2 ORDER BY id LIMIT $3";
    type Row = (Uuid, i64, i64, String, bool, Json<RequestSpec>, Option<Json<Size>>, i64);
    let rows: Vec<Row> = tx.all(SQL, args![after, but, limit]).await?;
    rows.into_iter()
        .map(|(id, epoch, saga_token, stage, has_fault, spec, other, created)| {
            let stage = Stage::parse(&stage).ok_or_else(|| Error::corrupt("instance.stage", &stage))?;
            let (id, spec, other) = (InstanceId(id), spec.0, other.map(|size| size.0));
            Ok(Seen { id, epoch, saga_token, stage, has_fault, spec, other, created: Timestamp(created) })
        })
        .collect()
}

/// Gives rows the fencing counters that the API level has: whoever wrote with lower ones is refused from here on.
pub async fn fence(tx: &mut Tx, tokens: &[(InstanceId, i64)]) -> Result<(), Error> {
    const SQL: Rows = Rows {
        head: "UPDATE instance SET saga_token = v.column2 FROM (VALUES",
        tail: ") AS v WHERE instance.id = v.column1 AND saga_token < v.column2",
    };
    tx.exec_rows(SQL, tokens.iter().map(|(id, token)| args![*id, *token]).collect()).await.map(drop)
}

/// Writes instances that the cell had and of which nothing is left as ERROR, with the reason: they are never made a
/// second time.
pub async fn lose(tx: &mut Tx, lost: &[New], now: Timestamp) -> Result<(), Error> {
    const SQL: Rows = Rows {
        head: "UPDATE instance SET version = v.column2 FROM (VALUES",
        tail: ") AS v WHERE instance.id = v.column1 AND version = 1",
    };
    let why = "It was made after the backup that its cell's database was restored from, and no host has its \
               container. Delete it, and ask for another.";
    let dead: Vec<(New, Fault)> = lost.iter().map(|new| (new.clone(), Fault::unavailable(why))).collect();
    instances::bury(tx, &dead, now).await?;
    let rows = lost.iter().map(|new| args![new.id, VERSION_LEAP]).collect();
    tx.exec_rows(SQL, rows).await?;
    let marks: Vec<_> = lost.iter().map(|new| (new.id, VERSION_LEAP)).collect();
    dirty::mark(tx, &marks, now).await
}

/// Remembers that a host has told all that it has in this incarnation.
pub async fn heard(tx: &mut Tx, host: HostId, incarnation: Incarnation) -> Result<(), Error> {
    const SQL: &str = "UPDATE host SET heard = $2 WHERE id = $1 AND (heard IS NULL OR heard <> $2)";
    tx.exec(SQL, args![host, incarnation]).await.map(drop)
}

/// The names of the hosts that have not told all that they have, in the order of their names.
pub async fn unheard(tx: &mut Tx) -> Result<Vec<String>, Error> {
    const SQL: &str = "SELECT h.name FROM host h JOIN schema_meta m ON m.one = 1
        WHERE h.heard IS NULL OR h.heard <> m.incarnation ORDER BY h.name, h.id";
    let rows: Vec<(String,)> = tx.all(SQL, vec![]).await?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

/// Applies observations while the database waits for an operator: those of copies that it knows, as it knows them.
/// All others are unknown, so that their hosts keep and offer them; that a copy is gone, or failed, changes nothing.
pub async fn hear(
    tx: &mut Tx,
    host: HostId,
    observations: &[Observation],
    now: Timestamp,
) -> Result<Applied, Error> {
    const READ: Rows = Rows {
        head: "SELECT id, epoch, placement, generation, host, intent FROM instance WHERE id IN (VALUES",
        tail: ")",
    };
    type Known = (Uuid, i64, i64, i64, Option<Uuid>, String);
    let ids = observations.iter().map(|seen| args![seen.instance]).collect();
    let rows: Vec<Known> = tx.all_keys(READ, ids).await?;
    let (mut known, mut unknown): (Vec<Observation>, Vec<InstanceId>) = Default::default();
    for seen in observations.iter().filter(|seen| seen.outcome != Outcome::Gone) {
        let is_known = rows.iter().any(|(id, epoch, placement, generation, at, intent)| {
            *id == seen.instance.uuid()
                && *at == Some(host.uuid())
                && (*epoch, *placement) == (seen.at.epoch, seen.at.placement)
                && *generation >= seen.at.generation
                && intent != Intent::Gone.as_str()
        });
        match is_known {
            true if seen.outcome == Outcome::Failed => {}
            true => known.push(seen.clone()),
            false => unknown.push(seen.instance),
        }
    }
    let mut applied = reports::apply(tx, host, &known, now).await?;
    applied.superseded.clear();
    applied.unknown.extend(unknown);
    Ok(applied)
}
