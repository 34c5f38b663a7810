//! What each instance has used: from when it was accepted until it was gone.

use model::{Flavor, InstanceId, RequestSpec, Timestamp};
use sql::{Error, Rows, args};
use uuid::Uuid;

use crate::Tx;

/// One instance's use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// The instance.
    pub instance: InstanceId,
    /// Whose it is.
    pub project: String,
    /// Its name when it was accepted.
    pub name: String,
    /// Its flavor's name.
    pub flavor: String,
    /// Virtual CPUs.
    pub vcpus: i64,
    /// Memory in MiB.
    pub memory_mib: i64,
    /// Disk in GiB.
    pub disk_gib: i64,
    /// When it was accepted.
    pub started: Timestamp,
    /// When it was gone.
    pub ended: Option<Timestamp>,
}

pub(crate) async fn begin(
    tx: &mut Tx,
    id: InstanceId,
    spec: &RequestSpec,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO instance_usage
            (instance, project, name, flavor, vcpus, memory_mib, disk_gib, started_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (instance) DO NOTHING";
    let flavor = &spec.flavor;
    let args = args![
        id,
        spec.project.as_str(),
        spec.name.as_str(),
        flavor.name.as_str(),
        flavor.vcpus,
        flavor.memory_mib,
        flavor.disk_gib,
        now
    ];
    tx.exec(SQL, args).await.map(drop)
}

/// Counts an instance with another flavor; Nova counts the one that it has for all of its time.
pub async fn resize(tx: &mut Tx, id: InstanceId, flavor: &Flavor) -> Result<(), Error> {
    const SQL: &str = "UPDATE instance_usage SET flavor = $2, vcpus = $3, memory_mib = $4, disk_gib = $5
        WHERE instance = $1";
    let args = args![id, flavor.name.as_str(), flavor.vcpus, flavor.memory_mib, flavor.disk_gib];
    tx.exec(SQL, args).await.map(drop)
}

pub(crate) async fn end(tx: &mut Tx, ids: &[InstanceId], now: Timestamp) -> Result<(), Error> {
    const SQL: Rows = Rows {
        head: "UPDATE instance_usage SET ended_at = v.column2 FROM (VALUES",
        tail: ") AS v WHERE instance_usage.instance = v.column1 AND ended_at IS NULL",
    };
    tx.exec_rows(SQL, ids.iter().map(|id| args![*id, now]).collect()).await.map(drop)
}

type Row = (Uuid, String, String, String, i64, i64, i64, i64, Option<i64>);

/// What was used between two moments, by project and then in the order in which it began; of one project or
/// of all.
pub async fn between(
    tx: &mut Tx,
    project: Option<&str>,
    (from, until): (Timestamp, Timestamp),
) -> Result<Vec<Used>, Error> {
    const ONE: &str =
        "SELECT instance, project, name, flavor, vcpus, memory_mib, disk_gib, started_at, ended_at
        FROM instance_usage WHERE project = $1 AND started_at < $3 AND (ended_at IS NULL OR ended_at > $2)
        ORDER BY project, started_at, instance";
    const ALL: &str =
        "SELECT instance, project, name, flavor, vcpus, memory_mib, disk_gib, started_at, ended_at
        FROM instance_usage WHERE started_at < $2 AND (ended_at IS NULL OR ended_at > $1)
        ORDER BY project, started_at, instance";
    let rows: Vec<Row> = match project {
        Some(project) => tx.all(ONE, args![project, from, until]).await?,
        None => tx.all(ALL, args![from, until]).await?,
    };
    Ok(rows
        .into_iter()
        .map(|(id, project, name, flavor, vcpus, memory_mib, disk_gib, started, ended)| Used {
            instance: InstanceId(id),
            project,
            name,
            flavor,
            vcpus,
            memory_mib,
            disk_gib,
            started: Timestamp(started),
            ended: ended.map(Timestamp),
        })
        .collect())
}
