//! Claims: choosing hosts for unplaced instances so that nothing can be over-allocated.
//!
//! A claim is a conditional update of the host's used amounts, an allocation, and the instance's row, in
//! one transaction. In a batch each is conditional on its own: a lost one stays unplaced and its
//! neighbours are not rolled back.

use std::collections::BTreeMap;

use model::{Fault, HostId, InstanceId, RequestSpec, Resources, Timestamp};
use sql::{Error, Json, Rows, args};
use uuid::Uuid;

use crate::instances::json;
use crate::{Tx, dirty, groups};

/// An instance that waits for a host.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The instance.
    pub id: InstanceId,
    /// Its epoch.
    pub epoch: i64,
    /// Placements so far.
    pub placement: i64,
    /// Its generation.
    pub generation: i64,
    /// What was asked for.
    pub spec: RequestSpec,
    /// Hosts that have failed it.
    pub avoid: Vec<HostId>,
    /// How the last of them failed.
    pub fault: Option<Fault>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    epoch: i64,
    placement: i64,
    generation: i64,
    spec: Json<RequestSpec>,
    avoid: Json<Vec<HostId>>,
    fault: Option<Json<Fault>>,
}

/// Up to `limit` instances that wait for a host, from bucket `from` on and then from the first.
pub async fn waiting(tx: &mut Tx, from: i64, limit: i64) -> Result<Vec<Waiting>, Error> {
    const SQL: &str = "SELECT id, epoch, placement, generation, spec, avoid, fault FROM instance
        WHERE stage = 'unplaced' AND bucket >= $1 AND bucket < $2 ORDER BY bucket LIMIT $3";
    let mut rows: Vec<Row> = tx.all(SQL, args![from, i64::MAX, limit]).await?;
    if from > 0 && (rows.len() as i64) < limit {
        rows.extend(tx.all::<Row>(SQL, args![0_i64, from, limit - rows.len() as i64]).await?);
    }
    Ok(rows
        .into_iter()
        .map(|row| Waiting {
            id: InstanceId(row.id),
            epoch: row.epoch,
            placement: row.placement,
            generation: row.generation,
            spec: row.spec.0,
            avoid: row.avoid.0,
            fault: row.fault.map(|fault| fault.0),
        })
        .collect())
}

/// A claim to make: an instance and the host chosen for it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The instance, as it was read.
    pub instance: Waiting,
    /// The host.
    pub host: HostId,
    /// Names the host's engine, whose ports it shares.
    pub engine: String,
}

/// What became of a batch of claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Placed, with their hosts.
    pub won: Vec<(InstanceId, HostId)>,
    /// Lost: the host was full, a port taken, or the row had moved on.
    pub lost: Vec<InstanceId>,
}

async fn take(tx: &mut Tx, host: HostId, need: Resources) -> Result<bool, Error> {
    const SQL: &str = "UPDATE host SET used_vcpus_milli = used_vcpus_milli + $2,
            used_memory_mib = used_memory_mib + $3, used_slots = used_slots + $4
        WHERE id = $1 AND enabled AND used_vcpus_milli + $2 <= cap_vcpus_milli
            AND used_memory_mib + $3 <= cap_memory_mib AND used_slots + $4 <= cap_slots";
    Ok(tx.exec(SQL, args![host, need.vcpus_milli, need.memory_mib, need.slots]).await? == 1)
}

/// Gives amounts back to a host.
pub(crate) async fn give_back(tx: &mut Tx, host: HostId, amount: Resources) -> Result<(), Error> {
    const SQL: &str = "UPDATE host SET used_vcpus_milli = used_vcpus_milli - $2,
            used_memory_mib = used_memory_mib - $3, used_slots = used_slots - $4,
            shrunk = used_vcpus_milli - $2 > cap_vcpus_milli OR used_memory_mib - $3 > cap_memory_mib
                OR used_slots - $4 > cap_slots
        WHERE id = $1";
    tx.exec(SQL, args![host, amount.vcpus_milli, amount.memory_mib, amount.slots]).await.map(drop)
}

/// Makes claims, host by host in the order of their ids.
pub async fn claim(tx: &mut Tx, claims: &[Claim], now: Timestamp) -> Result<Claimed, Error> {
    // The instances' rows are taken first, in the order of their ids, then the hosts' in theirs.
    const PLACE: Rows = Rows {
        head: "UPDATE instance SET placement = v.column4 + 1, host = v.column5, stage = 'building',
            task = 'spawning', generation = 1, agent_generation = 0, obs_seq = 0, version = version + 1,
            updated_at = v.column6 FROM (VALUES",
        tail: ") AS v WHERE instance.id = v.column1 AND epoch = v.column2 AND generation = v.column3
            AND placement = v.column4 AND stage = 'unplaced' AND intent = 'run'
            RETURNING instance.id, version",
    };
    const ALLOCATE: Rows = Rows {
        head: "INSERT INTO allocation (instance, host, epoch, placement, vcpus_milli, memory_mib, slots) VALUES",
        tail: "",
    };
    const UNPLACE: Rows = Rows {
        head: "UPDATE instance SET placement = placement - 1, host = NULL, stage = 'unplaced',
            task = 'scheduling' WHERE id IN (VALUES",
        tail: ")",
    };
    let mut ordered: Vec<&Claim> = claims.iter().collect();
    ordered.sort_by_key(|claim| claim.instance.id);
    let rows = ordered
        .iter()
        .map(|claim| {
            let i = &claim.instance;
            args![i.id, i.epoch, i.generation, i.placement, claim.host, now]
        })
        .collect();
    let placed: Vec<(Uuid, i64)> = tx.all_rows(PLACE, rows).await?;
    let versions: BTreeMap<InstanceId, i64> = placed.into_iter().map(|(id, v)| (InstanceId(id), v)).collect();
    let mut by_host: BTreeMap<HostId, Vec<&Claim>> = BTreeMap::new();
    let mut out = Claimed::default();
    for claim in ordered {
        match versions.contains_key(&claim.instance.id) {
            true => by_host.entry(claim.host).or_default().push(claim),
            false => out.lost.push(claim.instance.id),
        }
    }
    let (mut won, mut unplace): (Vec<&Claim>, Vec<InstanceId>) = (Vec::new(), Vec::new());
    for (host, mut claims) in by_host {
        let mut ported = Vec::new();
        for claim in claims.drain(..) {
            match claim_rules(tx, claim).await? {
                true => ported.push(claim),
                false => unplace.push(claim.instance.id),
            }
        }
        let sum = ported.iter().fold(Resources::default(), |sum, c| sum.plus(c.instance.spec.resources()));
        if ported.is_empty() || take(tx, host, sum).await? {
            won.extend(ported);
            continue;
        }
        for claim in ported {
            if take(tx, host, claim.instance.spec.resources()).await? {
                won.push(claim);
            } else {
                free_ports(tx, claim.instance.id).await?;
                groups::release(tx, &[claim.instance.id]).await?;
                unplace.push(claim.instance.id);
            }
        }
    }
    tx.exec_rows(UNPLACE, unplace.iter().map(|id| args![*id]).collect()).await?;
    let allocations = won
        .iter()
        .map(|claim| {
            let (i, need) = (&claim.instance, claim.instance.spec.resources());
            let placement = i.placement + 1;
            args![i.id, claim.host, i.epoch, placement, need.vcpus_milli, need.memory_mib, need.slots]
        })
        .collect();
    tx.exec_rows(ALLOCATE, allocations).await?;
    let marks: Vec<_> = won.iter().map(|c| (c.instance.id, versions[&c.instance.id])).collect();
    dirty::mark(tx, &marks, now).await?;
    out.won = won.iter().map(|claim| (claim.instance.id, claim.host)).collect();
    out.lost.extend(unplace);
    Ok(out)
}

/// Claims what a host can give to one only: its group's slot and fixed ports.
async fn claim_rules(tx: &mut Tx, claim: &Claim) -> Result<bool, Error> {
    let instance = claim.instance.id;
    if let Some(group) = &claim.instance.spec.extra.group
        && !groups::claim(tx, group, claim.host, instance).await?
    {
        return Ok(false);
    }
    let ported = claim_ports(tx, claim).await?;
    if !ported && claim.instance.spec.extra.group.is_some() {
        groups::release(tx, &[instance]).await?;
    }
    Ok(ported)
}

async fn claim_ports(tx: &mut Tx, claim: &Claim) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO port_claim (engine, protocol, port, instance) VALUES ($1, $2, $3, $4)
        ON CONFLICT (engine, protocol, port) DO NOTHING";
    for port in claim.instance.spec.container.ports.iter().filter(|port| port.host != 0) {
        let args =
            args![claim.engine.as_str(), port.protocol.as_str(), i64::from(port.host), claim.instance.id];
        if tx.exec(SQL, args).await? == 0 {
            free_ports(tx, claim.instance.id).await?;
            return Ok(false);
        }
    }
    Ok(true)
}

async fn free_ports(tx: &mut Tx, instance: InstanceId) -> Result<(), Error> {
    tx.exec("DELETE FROM port_claim WHERE instance = $1", args![instance]).await.map(drop)
}

/// Host ports that are taken, as (engine, protocol, port), for planning.
pub async fn taken_ports(tx: &mut Tx) -> Result<Vec<(String, String, i64)>, Error> {
    tx.all("SELECT engine, protocol, port FROM port_claim ORDER BY engine, protocol, port", vec![]).await
}

/// Releases the allocations and ports of instances that have left their hosts.
pub(crate) async fn release(tx: &mut Tx, instances: &[InstanceId]) -> Result<(), Error> {
    const ALLOCATIONS: Rows = Rows {
        head: "DELETE FROM allocation WHERE instance IN (VALUES",
        tail: ") RETURNING host, vcpus_milli, memory_mib, slots",
    };
    const PORTS: Rows = Rows { head: "DELETE FROM port_claim WHERE instance IN (VALUES", tail: ")" };
    let rows = || instances.iter().map(|id| args![*id]).collect::<Vec<_>>();
    let freed: Vec<(Uuid, i64, i64, i64)> = tx.all_rows(ALLOCATIONS, rows()).await?;
    tx.exec_rows(PORTS, rows()).await?;
    groups::release(tx, instances).await?;
    let mut by_host: BTreeMap<HostId, Resources> = BTreeMap::new();
    for (host, vcpus_milli, memory_mib, slots) in freed {
        let sum = by_host.entry(HostId(host)).or_default();
        *sum = sum.plus(Resources { vcpus_milli, memory_mib, slots });
    }
    for (host, sum) in by_host {
        give_back(tx, host, sum).await?;
    }
    Ok(())
}

/// How many instances wait for a host.
pub async fn count_waiting(tx: &mut Tx) -> Result<i64, Error> {
    let row: Option<(i64,)> =
        tx.opt("SELECT COUNT(*) FROM instance WHERE stage = 'unplaced'", vec![]).await?;
    Ok(row.unwrap_or_default().0)
}

/// Turns unplaced instances into tombstones of their epoch, with the reason: the cell cannot take them.
pub async fn refuse(
    tx: &mut Tx,
    refused: &[(Waiting, Fault)],
    now: Timestamp,
) -> Result<Vec<InstanceId>, Error> {
    const SQL: Rows = Rows {
        head: "UPDATE instance SET stage = 'tombstone', intent = 'gone', task = NULL, fault = v.column4,
            fault_at = v.column5, updated_at = v.column5, terminated_at = v.column5, deadline = NULL,
            version = version + 1 FROM (VALUES",
        tail: ") AS v WHERE instance.id = v.column1 AND epoch = v.column2 AND generation = v.column3
            AND stage = 'unplaced' RETURNING instance.id, version",
    };
    let rows = refused
        .iter()
        .map(|(w, fault)| Ok(args![w.id, w.epoch, w.generation, json(fault)?, now]))
        .collect::<Result<_, Error>>()?;
    let changed: Vec<(Uuid, i64)> = tx.all_rows(SQL, rows).await?;
    let changed: Vec<_> = changed.into_iter().map(|(id, version)| (InstanceId(id), version)).collect();
    dirty::mark(tx, &changed, now).await?;
    Ok(changed.into_iter().map(|(id, _)| id).collect())
}
