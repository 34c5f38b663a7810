//! Hosts and instances as an operator counts and checks them.

use model::host::Host;
use model::{CellId, HostId, Instance, InstanceId, Timestamp};
use sql::{Error, args};
use uuid::Uuid;

use crate::hosts::{self, Disabled};
use crate::instances::{Row, select};
use crate::{Tx, summary};

/// A host with what only operators care for.
#[derive(Clone, Debug, PartialEq)]
pub struct Detail {
    /// The host.
    pub host: Host,
    /// Where its published ports are reached.
    pub address: String,
    /// Version of its agent.
    pub version: String,
    /// Whether its agent has stood still for longer than the conductors tolerate.
    pub silent: bool,
    /// When its agent was last heard of.
    pub seen: Timestamp,
    /// Instances on it.
    pub instances: i64,
    /// Set while an operator keeps it from taking new instances.
    pub disabled: Option<Disabled>,
    /// Whether the key that it signs with stands, or was taken back; nothing if it has none.
    pub key: Option<bool>,
    /// Why another agent that says to be this host's was refused last.
    pub refused: Option<String>,
    /// The user by which its agent was last connected to the broker, if it says so.
    pub connected_as: Option<String>,
}

#[derive(sqlx::FromRow)]
struct HostRow {
    id: Uuid,
    address: String,
    version: String,
    silent: bool,
    seen_at: i64,
    instances: i64,
    reason: Option<String>,
    user_id: Option<String>,
    request_id: Option<String>,
    since: Option<i64>,
    revoked: Option<bool>,
    refused: Option<String>,
    connected_as: Option<String>,
}

/// All hosts, by name.
pub async fn hosts(tx: &mut Tx) -> Result<Vec<Detail>, Error> {
    const SQL: &str = "SELECT h.id, h.address, h.version, h.silent, h.seen_at, h.connected_as,
            (SELECT COUNT(*) FROM instance i WHERE i.host = h.id) AS instances,
            d.reason, d.user_id, d.request_id, d.since, k.revoked, f.reason AS refused
        FROM host h LEFT JOIN host_disabled d ON d.host = h.id LEFT JOIN host_key k ON k.host = h.id
            LEFT JOIN host_refused f ON f.host = h.id ORDER BY h.id";
    let rows: Vec<HostRow> = tx.all(SQL, vec![]).await?;
    let mut found = Vec::new();
    for host in hosts::all(tx).await? {
        // A host that registered between the two reads is seen next time.
        let Some(row) = rows.iter().find(|row| row.id == host.id.uuid()) else { continue };
        let disabled = row.reason.clone().map(|reason| Disabled {
            reason,
            user: row.user_id.clone().unwrap_or_default(),
            request_id: row.request_id.clone().unwrap_or_default(),
            since: Timestamp(row.since.unwrap_or_default()),
        });
        found.push(Detail {
            host,
            address: row.address.clone(),
            version: row.version.clone(),
            silent: row.silent,
            seen: Timestamp(row.seen_at),
            instances: row.instances,
            disabled,
            key: row.revoked.map(|revoked| !revoked),
            refused: row.refused.clone(),
            connected_as: row.connected_as.clone(),
        });
    }
    found.sort_by(|a, b| (&a.host.name, a.host.id).cmp(&(&b.host.name, b.host.id)));
    Ok(found)
}

/// What a cell has, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hosts.
    pub hosts: i64,
    /// Hosts that take new instances now.
    pub hosts_ready: i64,
    /// Instances, tombstones left out.
    pub instances: i64,
    /// When its conductors last published a summary.
    pub published: Option<Timestamp>,
}

/// Counts what the cell has.
pub async fn counts(tx: &mut Tx) -> Result<Counts, Error> {
    let all = hosts::all(tx).await?;
    Ok(Counts {
        hosts: all.len() as i64,
        hosts_ready: all.iter().filter(|host| host.enabled && host.healthy).count() as i64,
        instances: crate::instances::count(tx).await?,
        published: summary::read(tx).await?.map(|(_, summary)| summary.at),
    })
}

/// An instance as the cell holds it, with all that a mapping needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The instance.
    pub instance: Instance,
    /// The fencing counter of the API-level task that last wrote it.
    pub saga_token: i64,
    /// Its row's version.
    pub version: i64,
}

/// Up to `limit` instances after a key, oldest first, tombstones left out.
pub async fn instances(
    tx: &mut Tx,
    cell: CellId,
    after: Option<(Timestamp, InstanceId)>,
    limit: i64,
) -> Result<Vec<Held>, Error> {
    const SQL: &str = select!(
        "WHERE i.stage <> 'tombstone' AND (i.created_at, i.id) > ($1, $2)
         ORDER BY i.created_at, i.id LIMIT $3"
    );
    let (created, id) = after.map_or((i64::MIN, Uuid::nil()), |(created, id)| (created.0, id.uuid()));
    let rows: Vec<Row> = tx.all(SQL, args![created, id, limit]).await?;
    held(rows, cell)
}

/// Up to `limit` instances on a host, by id.
pub async fn on_host(tx: &mut Tx, cell: CellId, host: HostId, limit: i64) -> Result<Vec<Held>, Error> {
    const SQL: &str = select!("WHERE i.host = $1 ORDER BY i.id LIMIT $2");
    held(tx.all(SQL, args![host, limit]).await?, cell)
}

fn held(rows: Vec<Row>, cell: CellId) -> Result<Vec<Held>, Error> {
    let held = |row: Row| {
        let (saga_token, version) = (row.saga_token, row.version);
        Ok(Held { instance: row.instance(cell)?, saga_token, version })
    };
    rows.into_iter().map(held).collect()
}

/// The instances of a project that were asked for before `before`, tombstones left out.
pub async fn of_project(tx: &mut Tx, project: &str, before: Timestamp) -> Result<Vec<InstanceId>, Error> {
    const SQL: &str = "SELECT id FROM instance
        WHERE project = $1 AND stage <> 'tombstone' AND created_at < $2 ORDER BY id";
    let rows: Vec<(Uuid,)> = tx.all(SQL, args![project, before]).await?;
    Ok(rows.into_iter().map(|(id,)| InstanceId(id)).collect())
}

/// Whether the cell holds an instance: none if it never did, otherwise whether it is more than a tombstone.
pub async fn holds(tx: &mut Tx, id: InstanceId) -> Result<Option<bool>, Error> {
    let row: Option<(String,)> = tx.opt("SELECT stage FROM instance WHERE id = $1", args![id]).await?;
    Ok(row.map(|(stage,)| stage != "tombstone"))
}

/// Up to `limit` instances after one, by id: with whether they are more than tombstones. Those of `project` are
/// left out.
pub async fn ids(
    tx: &mut Tx,
    after: InstanceId,
    but: &str,
    limit: i64,
) -> Result<Vec<(InstanceId, bool)>, Error> {
    const SQL: &str = "SELECT id, stage <> 'tombstone' FROM instance WHERE id > $1 AND project <> $2
        ORDER BY id LIMIT $3";
    let rows: Vec<(Uuid, bool)> = tx.all(SQL, args![after, but, limit]).await?;
    Ok(rows.into_iter().map(|(id, living)| (InstanceId(id), living)).collect())
}

/// The hosts whose used amounts are not the sum of their allocations, with their names.
pub async fn uneven(tx: &mut Tx) -> Result<Vec<(model::HostId, String)>, Error> {
    const SQL: &str = "SELECT h.id, h.name FROM host h
        WHERE h.used_vcpus_milli <> (SELECT COALESCE(SUM(a.vcpus_milli), 0) FROM allocation a WHERE a.host = h.id)
            OR h.used_memory_mib <> (SELECT COALESCE(SUM(a.memory_mib), 0) FROM allocation a WHERE a.host = h.id)
            OR h.used_slots <> (SELECT COALESCE(SUM(a.slots), 0) FROM allocation a WHERE a.host = h.id)
        ORDER BY h.name, h.id";
    let rows: Vec<(Uuid, String)> = tx.all(SQL, vec![]).await?;
    Ok(rows.into_iter().map(|(id, name)| (model::HostId(id), name)).collect())
}
