//! Server groups inside the cell: which host has which members. A claim of a host claims this too, so that
//! no two claims can break a group's rule between them.

use std::collections::{BTreeMap, BTreeSet};

use model::extra::{Group, Policy};
use model::{HostId, InstanceId};
use sql::{Error, Rows, args};
use uuid::Uuid;

use crate::Tx;

/// How many members of each of these groups each host has.
pub async fn members(tx: &mut Tx, groups: &[Uuid]) -> Result<BTreeMap<(Uuid, HostId), i64>, Error> {
    const SQL: Rows =
        Rows { head: "SELECT server_group, host FROM group_claim WHERE server_group IN (VALUES", tail: ")" };
    let rows: Vec<(Uuid, Uuid)> =
        tx.all_rows(SQL, groups.iter().map(|group| args![*group]).collect()).await?;
    let mut members = BTreeMap::new();
    for (group, host) in rows {
        *members.entry((group, HostId(host))).or_default() += 1;
    }
    Ok(members)
}

/// Where these instances lie, and whose they are; those without a host are left out.
pub async fn lying(
    tx: &mut Tx,
    ids: BTreeSet<InstanceId>,
) -> Result<Vec<(InstanceId, HostId, String)>, Error> {
    const SQL: Rows = Rows {
        head: "SELECT id, host, project FROM instance WHERE host IS NOT NULL AND id IN (VALUES",
        tail: ")",
    };
    let rows: Vec<(Uuid, Uuid, String)> =
        tx.all_keys(SQL, ids.into_iter().map(|id| args![id]).collect()).await?;
    Ok(rows.into_iter().map(|(id, host, project)| (InstanceId(id), HostId(host), project)).collect())
}

/// Counts an instance on a host for its group. False if the group's rule forbids it: nothing was stored.
pub(crate) async fn claim(
    tx: &mut Tx,
    group: &Group,
    host: HostId,
    instance: InstanceId,
) -> Result<bool, Error> {
    if group.policy == Policy::Affinity && !is_its_host(tx, group.id, host).await? {
        return Ok(false);
    }
    let most = match group.policy {
        Policy::AntiAffinity => group.max_per_host.max(1),
        _ => i64::MAX,
    };
    const TAKEN: &str = "SELECT slot FROM group_claim WHERE server_group = $1 AND host = $2 ORDER BY slot";
    const TAKE: &str = "INSERT INTO group_claim (server_group, host, slot, instance) VALUES ($1, $2, $3, $4)
        ON CONFLICT (server_group, host, slot) DO NOTHING";
    let taken: Vec<(i64,)> = tx.all(TAKEN, args![group.id, host]).await?;
    let free = (0..most).filter(|slot| !taken.contains(&(*slot,)));
    // Whoever else claims at the same moment may take the slot first; then the next one is tried.
    for slot in free {
        if tx.exec(TAKE, args![group.id, host, slot, instance]).await? == 1 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a group that asks for one host has this one; a group without members takes it.
async fn is_its_host(tx: &mut Tx, group: Uuid, host: HostId) -> Result<bool, Error> {
    // Whoever comes second waits here for the first.
    const LOCK: &str = "INSERT INTO group_host (server_group, host) VALUES ($1, $2)
        ON CONFLICT (server_group) DO UPDATE SET host = group_host.host RETURNING host";
    const MOVE: &str = "UPDATE group_host SET host = $2 WHERE server_group = $1
        AND NOT EXISTS (SELECT 1 FROM group_claim c WHERE c.server_group = $1)";
    let its: Option<(Uuid,)> = tx.opt(LOCK, args![group, host]).await?;
    Ok(its == Some((host.uuid(),)) || tx.exec(MOVE, args![group, host]).await? == 1)
}

/// Forgets instances that have left their hosts.
pub(crate) async fn release(tx: &mut Tx, instances: &[InstanceId]) -> Result<(), Error> {
    const SQL: Rows = Rows { head: "DELETE FROM group_claim WHERE instance IN (VALUES", tail: ")" };
    tx.exec_rows(SQL, instances.iter().map(|id| args![*id]).collect()).await.map(drop)
}
