//! Quotas: what each project uses and may use, counted in the transaction that uses it.

use model::{Fault, FaultKind, RequestSpec};
use sql::{Error, args};

use crate::Tx;

/// Limits given to a project that has none of its own; -1 means without limit.
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

/// Counts `n` instances of `spec` for its project, or refuses with [`FaultKind::OverQuota`].
pub async fn take(tx: &mut Tx, spec: &RequestSpec, n: i64, default: Limits) -> Result<(), Error> {
    const TAKE: &str = "UPDATE quota SET
            instances = instances + $2, cores = cores + $3, memory_mib = memory_mib + $4
        WHERE project = $1 AND (max_instances < 0 OR instances + $2 <= max_instances)
          AND (max_cores < 0 OR cores + $3 <= max_cores)
          AND (max_memory_mib < 0 OR memory_mib + $4 <= max_memory_mib)";
    let project = spec.project.as_str();
    let amounts = args![project, n, n * spec.flavor.vcpus, n * spec.flavor.memory_mib];
    if tx.exec(TAKE, amounts.clone()).await? == 1 {
        return Ok(());
    }
    const FIRST: &str = "INSERT INTO quota
        (project, instances, cores, memory_mib, max_instances, max_cores, max_memory_mib)
        VALUES ($1, 0, 0, 0, $2, $3, $4) ON CONFLICT (project) DO NOTHING";
    // Whoever stored the first row, it is there now.
    tx.exec(FIRST, args![project, default.instances, default.cores, default.memory_mib]).await?;
    if tx.exec(TAKE, amounts).await? == 1 {
        return Ok(());
    }
    const USED: &str = "SELECT instances, cores, memory_mib, max_instances, max_cores, max_memory_mib
        FROM quota WHERE project = $1";
    type Used = (i64, i64, i64, i64, i64, i64);
    let used: Used = tx.opt(USED, args![project]).await?.unwrap_or_default();
    let over = |name, need, used, max| {
        (max >= 0 && used + need > max).then(|| {
            // Nova's text (`nova/exception.py`, TooManyInstances).
            format!("Quota exceeded for {name}: Requested {need}, but already used {used} of {max} {name}")
        })
    };
    let why = over("instances", n, used.0, used.3)
        .or_else(|| over("cores", n * spec.flavor.vcpus, used.1, used.4))
        .or_else(|| over("ram", n * spec.flavor.memory_mib, used.2, used.5))
        .unwrap_or_else(|| "Quota exceeded".into());
    Err(Fault::new(FaultKind::OverQuota, why).into())
}

/// Gives back what instances of `spec` used.
pub async fn give_back(tx: &mut Tx, spec: &RequestSpec, n: i64) -> Result<(), Error> {
    const SQL: &str = "UPDATE quota SET
            instances = instances - $2, cores = cores - $3, memory_mib = memory_mib - $4
        WHERE project = $1";
    let amounts = args![spec.project.as_str(), n, n * spec.flavor.vcpus, n * spec.flavor.memory_mib];
    tx.exec(SQL, amounts).await.map(drop)
}
