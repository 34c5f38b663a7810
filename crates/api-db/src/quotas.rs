//! Quotas: what each project uses, counted in the transaction that uses it.

use std::collections::BTreeMap;

use model::{InstanceId, RequestSpec};
use sql::{Error, Json, Rows, args};
use uuid::Uuid;

use crate::limits::{self, Effective};
use crate::{Tx, groups};

/// Limits of the configuration; -1 means without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Instances.
    pub instances: i64,
    /// Virtual CPUs.
    pub cores: i64,
    /// Memory in MiB.
    pub memory_mib: i64,
}

/// No limits.
pub const UNLIMITED: Limits = Limits { instances: -1, cores: -1, memory_mib: -1 };

/// Counts `n` instances of `spec` for its project, or refuses with [`model::FaultKind::OverQuota`].
pub async fn take(tx: &mut Tx, spec: &RequestSpec, n: i64, default: Limits) -> Result<(), Error> {
    let limits = limits::of(tx, &spec.project, default).await?;
    let (vcpus, memory_mib) = (spec.flavor.vcpus, spec.flavor.memory_mib);
    change(tx, &spec.project, [n, n * vcpus, n * memory_mib], &limits).await
}

/// Counts amounts of instances, cores and memory (MiB) for a project, or refuses with
/// [`model::FaultKind::OverQuota`]. Negative amounts are given back and never refused.
pub async fn change(tx: &mut Tx, project: &str, amounts: [i64; 3], limits: &Effective) -> Result<(), Error> {
    const TAKE: &str = "UPDATE quota SET
            instances = instances + $2, cores = cores + $3, memory_mib = memory_mib + $4
        WHERE project = $1 AND ($2 <= 0 OR $5 < 0 OR instances + $2 <= $5)
          AND ($3 <= 0 OR $6 < 0 OR cores + $3 <= $6)
          AND ($4 <= 0 OR $7 < 0 OR memory_mib + $4 <= $7)";
    let [n, cores, memory_mib] = amounts;
    let (max_n, max_cores, max_memory) = (limits.get("instances"), limits.get("cores"), limits.get("ram"));
    let args = args![project, n, cores, memory_mib, max_n, max_cores, max_memory];
    if tx.exec(TAKE, args.clone()).await? == 1 {
        return Ok(());
    }
    const FIRST: &str = "INSERT INTO quota
        (project, instances, cores, memory_mib, max_instances, max_cores, max_memory_mib)
        VALUES ($1, 0, 0, 0, -1, -1, -1) ON CONFLICT (project) DO NOTHING";
    // Whoever stored the first row, it is there now.
    tx.exec(FIRST, args![project]).await?;
    if tx.exec(TAKE, args).await? == 1 {
        return Ok(());
    }
    let used = counted(tx, project).await?;
    refused(limits, used, amounts)
}

fn refused(limits: &Effective, used: [i64; 3], amounts: [i64; 3]) -> Result<(), Error> {
    for (at, resource) in ["instances", "cores", "ram"].into_iter().enumerate() {
        if amounts[at] > 0 {
            limits.check(resource, used[at], amounts[at])?;
        }
    }
    // It fits by now: whoever was in the way has gone.
    Err(Error::Contended("a quota changed while it was counted".into()))
}

async fn counted(tx: &mut Tx, project: &str) -> Result<[i64; 3], Error> {
    const USED: &str = "SELECT instances, cores, memory_mib FROM quota WHERE project = $1";
    let (n, cores, memory): (i64, i64, i64) = tx.opt(USED, args![project]).await?.unwrap_or_default();
    Ok([n, cores, memory])
}

/// What a project uses, by resource. Key pairs are counted for each user and members for each group, so here
/// they are none.
pub async fn used(tx: &mut Tx, project: &str) -> Result<BTreeMap<&'static str, i64>, Error> {
    let [instances, cores, ram] = counted(tx, project).await?;
    let groups = groups::count(tx, project).await?;
    let mut used: BTreeMap<&'static str, i64> =
        limits::RESOURCES.iter().map(|(resource, _)| (*resource, 0)).collect();
    used.extend([("instances", instances), ("cores", cores), ("ram", ram), ("server_groups", groups)]);
    Ok(used)
}

/// Gives back amounts of instances, cores and memory (MiB) of a project.
pub async fn give_back(tx: &mut Tx, project: &str, amounts: [i64; 3]) -> Result<(), Error> {
    // Never below nothing: a sum that is too small after a restore must not keep anybody from deleting.
    const SQL: &str = "UPDATE quota SET
            instances = CASE WHEN instances < $2 THEN 0 ELSE instances - $2 END,
            cores = CASE WHEN cores < $3 THEN 0 ELSE cores - $3 END,
            memory_mib = CASE WHEN memory_mib < $4 THEN 0 ELSE memory_mib - $4 END
        WHERE project = $1";
    let [n, cores, memory_mib] = amounts;
    tx.exec(SQL, args![project, n, cores, memory_mib]).await.map(drop)
}

/// What is counted of one instance: cores and memory (MiB).
pub type Counted = [i64; 2];

/// What a request spec's row says is counted of its instance.
pub(crate) fn counted_of(spec: &RequestSpec, cores: Option<i64>, memory_mib: Option<i64>) -> Counted {
    [cores.unwrap_or(spec.flavor.vcpus), memory_mib.unwrap_or(spec.flavor.memory_mib)]
}

/// Counts an instance anew, and its project's quota with it, in one statement after the other on rows that are held
/// until the commit: however often this is repeated, the project's sum is that of its instances. With `limits` more
/// is refused with [`model::FaultKind::OverQuota`] where it does not fit.
pub async fn recount(
    tx: &mut Tx,
    id: InstanceId,
    now: Counted,
    limits: Option<&Effective>,
) -> Result<(), Error> {
    const HOLD: &str = "UPDATE request_spec SET counted_cores = counted_cores WHERE instance = $1
        RETURNING spec, counted_cores, counted_memory_mib";
    const SET: &str =
        "UPDATE request_spec SET counted_cores = $2, counted_memory_mib = $3 WHERE instance = $1";
    type Row = (Json<RequestSpec>, Option<i64>, Option<i64>);
    let Some((spec, cores, memory)) = tx.opt::<Row>(HOLD, args![id]).await? else { return Ok(()) };
    let before = counted_of(&spec.0, cores, memory);
    tx.exec(SET, args![id, now[0], now[1]]).await?;
    let (project, more) = (&spec.0.project, [0, now[0] - before[0], now[1] - before[1]]);
    match limits {
        Some(limits) => change(tx, project, more, limits).await,
        None => give_back(tx, project, more.map(|amount| -amount)).await,
    }
}

/// What is counted of these instances; those without a request spec are left out.
pub(crate) async fn counted_of_each(
    tx: &mut Tx,
    ids: &[InstanceId],
) -> Result<BTreeMap<InstanceId, Counted>, Error> {
    const SQL: Rows = Rows {
        head: "SELECT instance, spec, counted_cores, counted_memory_mib FROM request_spec
            WHERE instance IN (VALUES",
        tail: ")",
    };
    type Row = (Uuid, Json<RequestSpec>, Option<i64>, Option<i64>);
    let rows: Vec<Row> = tx.all_keys(SQL, ids.iter().map(|id| args![*id]).collect()).await?;
    let counted = |(id, spec, cores, memory): Row| (InstanceId(id), counted_of(&spec.0, cores, memory));
    Ok(rows.into_iter().map(counted).collect())
}

/// A project whose sums are not those of its instances: instances, cores and memory (MiB).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uneven {
    /// The project.
    pub project: String,
    /// What is counted for it.
    pub counted: [i64; 3],
    /// What its instances add up to.
    pub sum: [i64; 3],
}

/// Every project whose sums are not those of its instances.
pub async fn uneven(tx: &mut Tx) -> Result<Vec<Uneven>, Error> {
    // One statement, because both change in one transaction and PostgreSQL shows each statement another moment.
    const SQL: &str = "SELECT q.project, q.instances, q.cores, q.memory_mib,
            COALESCE(s.n, 0), COALESCE(s.cores, 0), COALESCE(s.memory_mib, 0)
        FROM quota q LEFT JOIN (SELECT m.project, COUNT(*) AS n,
                CAST(SUM(COALESCE(r.counted_cores, CAST(r.spec->'flavor'->>'vcpus' AS BIGINT))) AS BIGINT) AS cores,
                CAST(SUM(COALESCE(r.counted_memory_mib, CAST(r.spec->'flavor'->>'memory_mib' AS BIGINT))) AS BIGINT)
                    AS memory_mib
            FROM instance_mapping m JOIN request_spec r ON r.instance = m.id WHERE m.state <> 'deleted'
            GROUP BY m.project) s ON s.project = q.project
        WHERE q.instances <> COALESCE(s.n, 0) OR q.cores <> COALESCE(s.cores, 0)
            OR q.memory_mib <> COALESCE(s.memory_mib, 0)
        ORDER BY q.project";
    type Row = (String, i64, i64, i64, i64, i64, i64);
    let rows: Vec<Row> = tx.all(SQL, vec![]).await?;
    let uneven = |(project, n, cores, memory, own_n, own_cores, own_memory): Row| Uneven {
        project,
        counted: [n, cores, memory],
        sum: [own_n, own_cores, own_memory],
    };
    Ok(rows.into_iter().map(uneven).collect())
}

/// Sets a project's sums to those of its instances.
pub async fn even(tx: &mut Tx, project: &str) -> Result<(), Error> {
    // Held first: whoever has changed an instance's amounts and waits for it changes the sum afterwards, and what was
    // committed before is seen by the second statement.
    const HOLD: &str = "UPDATE quota SET instances = instances WHERE project = $1";
    const SUM: &str = "SELECT COUNT(*),
            CAST(COALESCE(SUM(COALESCE(r.counted_cores, CAST(r.spec->'flavor'->>'vcpus' AS BIGINT))), 0) AS BIGINT),
            CAST(COALESCE(SUM(COALESCE(r.counted_memory_mib, CAST(r.spec->'flavor'->>'memory_mib' AS BIGINT))), 0)
                AS BIGINT)
        FROM instance_mapping m JOIN request_spec r ON r.instance = m.id
        WHERE m.project = $1 AND m.state <> 'deleted'";
    const SET: &str = "UPDATE quota SET instances = $2, cores = $3, memory_mib = $4 WHERE project = $1";
    tx.exec(HOLD, args![project]).await?;
    let sum: Option<(i64, i64, i64)> = tx.opt(SUM, args![project]).await?;
    let (n, cores, memory_mib) = sum.unwrap_or_default();
    tx.exec(SET, args![project, n, cores, memory_mib]).await.map(drop)
}
