//! Tombstones that nobody needs any more, and allocations that nobody owns.
//!
//! A tombstone outlives its row's instance, because a host that returns may still run it. It may go once every
//! host of the cell has been heard of after the instance ended.

use model::{HostId, InstanceId, Resources, Timestamp};
use serde_json::{Value, json};
use sql::{Error, Json, Rows, args};
use uuid::Uuid;

use crate::{Tx, claims};

/// What came of an archiving.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// Rows of instances that went.
    pub instances: i64,
    /// Rows of what was asked of them.
    pub actions: i64,
    /// Of those that were named: which the cell holds no row of any more.
    pub absent: Vec<InstanceId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    project: String,
    name: String,
    spec: Json<Value>,
    fault: Option<Json<Value>>,
    created_at: i64,
    updated_at: i64,
    terminated_at: Option<i64>,
}

/// Moves the tombstones among `ids` into the archive, or with `purge` deletes them. What may be needed yet
/// stays: everything but tombstones, and tombstones that are younger than what was last heard of some host.
pub async fn archive(
    tx: &mut Tx,
    ids: &[InstanceId],
    purge: bool,
    now: Timestamp,
) -> Result<Archived, Error> {
    const MOVE: Rows = Rows {
        head: "DELETE FROM instance WHERE stage = 'tombstone'
            AND NOT EXISTS (SELECT 1 FROM host h WHERE h.seen_at <= instance.updated_at)
            AND id IN (VALUES",
        tail: ") RETURNING id, project, name, spec, fault, created_at, updated_at, terminated_at",
    };
    const KEEP: Rows = Rows {
        head: "INSERT INTO archived_instance (id, project, name, ended_at, archived_at, body) VALUES",
        tail: "ON CONFLICT (id) DO NOTHING",
    };
    const DIRTY: Rows = Rows { head: "DELETE FROM dirty WHERE instance IN (VALUES", tail: ")" };
    const ACTIONS: Rows = Rows {
        head: "DELETE FROM action WHERE instance IN (VALUES",
        tail: ") RETURNING instance, action, request_id, user_id, at",
    };
    const LEFT: Rows = Rows { head: "SELECT id FROM instance WHERE id IN (VALUES", tail: ")" };
    let named = || ids.iter().map(|id| args![*id]).collect::<Vec<_>>();
    let moved: Vec<Row> = tx.all_rows(MOVE, named()).await?;
    let gone = || moved.iter().map(|row| args![row.id]).collect::<Vec<_>>();
    tx.exec_rows(DIRTY, gone()).await?;
    let actions: Vec<(Uuid, String, String, String, i64)> = tx.all_rows(ACTIONS, gone()).await?;
    let body = |row: &Row| {
        let asked: Vec<Value> = actions
            .iter()
            .filter(|(instance, ..)| *instance == row.id)
            .map(|(_, action, request, user, at)| {
                json!({"action": action, "request_id": request, "user": user, "at": at})
            })
            .collect();
        let fault = row.fault.as_ref().map(|fault| &fault.0);
        json!({"spec": row.spec.0, "fault": fault, "created_at": row.created_at, "actions": asked})
    };
    if !purge {
        let rows = moved.iter().map(|row| {
            let ended = row.terminated_at.unwrap_or(row.updated_at);
            args![row.id, row.project.as_str(), row.name.as_str(), ended, now, body(row)]
        });
        tx.exec_rows(KEEP, rows.collect()).await?;
    }
    let left: Vec<(Uuid,)> = tx.all_rows(LEFT, named()).await?;
    let is_left = |id: &InstanceId| left.iter().any(|(left,)| *left == id.uuid());
    Ok(Archived {
        instances: moved.len() as i64,
        actions: actions.len() as i64,
        absent: ids.iter().filter(|id| !is_left(id)).copied().collect(),
    })
}

/// Deletes what was archived and ended before `before`, or all of it; gives how many.
pub async fn purge(tx: &mut Tx, before: Option<Timestamp>) -> Result<u64, Error> {
    const SQL: &str = "DELETE FROM archived_instance WHERE ended_at < $1";
    tx.exec(SQL, args![before.unwrap_or(Timestamp(i64::MAX))]).await
}

/// An allocation that nobody owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The instance that it is for.
    pub instance: InstanceId,
    /// The host that it is of.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// The amounts.
    pub amounts: Resources,
}

/// The allocations whose instance is not here, is gone, or has another host or epoch. A container that is made anew
/// on its host has another placement and keeps its allocation.
pub async fn orphans(tx: &mut Tx) -> Result<Vec<Orphan>, Error> {
    const SQL: &str = "SELECT a.instance, a.host, h.name, a.vcpus_milli, a.memory_mib, a.slots
        FROM allocation a JOIN host h ON h.id = a.host LEFT JOIN instance i ON i.id = a.instance
        WHERE i.id IS NULL OR i.host IS NULL OR i.host <> a.host OR i.epoch <> a.epoch
        ORDER BY a.instance";
    let rows: Vec<(Uuid, Uuid, String, i64, i64, i64)> = tx.all(SQL, vec![]).await?;
    Ok(rows
        .into_iter()
        .map(|(instance, host, host_name, vcpus_milli, memory_mib, slots)| Orphan {
            instance: InstanceId(instance),
            host: HostId(host),
            host_name,
            amounts: Resources { vcpus_milli, memory_mib, slots },
        })
        .collect())
}

/// Deletes an allocation that nobody owns and gives its amounts back to the host. False if somebody does own
/// it, or it is gone.
pub async fn free(tx: &mut Tx, orphan: &Orphan) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM allocation WHERE instance = $1 AND host = $2 AND NOT EXISTS (
        SELECT 1 FROM instance i WHERE i.id = allocation.instance AND i.host = allocation.host
            AND i.epoch = allocation.epoch)";
    const PORTS: &str = "DELETE FROM port_claim WHERE instance = $1
        AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = $1 AND i.host IS NOT NULL)";
    const GROUP: &str = "DELETE FROM group_claim WHERE instance = $1
        AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = $1 AND i.host IS NOT NULL)";
    if tx.exec(SQL, args![orphan.instance, orphan.host]).await? == 0 {
        return Ok(false);
    }
    tx.exec(PORTS, args![orphan.instance]).await?;
    tx.exec(GROUP, args![orphan.instance]).await?;
    claims::give_back(tx, orphan.host, orphan.amounts).await?;
    Ok(true)
}
