//! Host aggregates: named sets of hosts, which may make an availability zone.

use std::collections::BTreeMap;

use model::Timestamp;
use serde_json::Value;
use sql::{Error, Json, args};
use uuid::Uuid;

use crate::{Tx, limits};

/// A host aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Its number.
    pub id: i64,
    /// Its id (2.41).
    pub uuid: Uuid,
    /// Its name, unique.
    pub name: String,
    /// The availability zone that its hosts lie in, if it makes one.
    pub zone: Option<String>,
    /// Metadata, without the zone.
    pub metadata: BTreeMap<String, String>,
    /// Names of its hosts, sorted.
    pub hosts: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed, if it was.
    pub updated: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    uuid: Uuid,
    name: String,
    zone: Option<String>,
    metadata: Json<BTreeMap<String, String>>,
    created_at: i64,
    updated_at: Option<i64>,
}

/// All aggregates, by number.
pub async fn all(tx: &mut Tx) -> Result<Vec<Aggregate>, Error> {
    const SQL: &str =
        "SELECT id, uuid, name, zone, metadata, created_at, updated_at FROM aggregate ORDER BY id";
    const HOSTS: &str = "SELECT aggregate, host FROM aggregate_host ORDER BY host";
    let rows: Vec<Row> = tx.all(SQL, vec![]).await?;
    let hosts: Vec<(i64, String)> = tx.all(HOSTS, vec![]).await?;
    let of = |id: i64| hosts.iter().filter(move |(of, _)| *of == id).map(|(_, host)| host.clone()).collect();
    Ok(rows
        .into_iter()
        .map(|row| Aggregate {
            id: row.id,
            uuid: row.uuid,
            name: row.name,
            zone: row.zone,
            metadata: row.metadata.0,
            hosts: of(row.id),
            created: Timestamp(row.created_at),
            updated: row.updated_at.map(Timestamp),
        })
        .collect())
}

/// The zone of each host that an aggregate puts into one, by the host's name.
pub async fn zones(tx: &mut Tx) -> Result<BTreeMap<String, String>, Error> {
    const SQL: &str = "SELECT h.host, a.zone FROM aggregate_host h JOIN aggregate a ON a.id = h.aggregate
        WHERE a.zone IS NOT NULL ORDER BY h.host, a.id DESC";
    Ok(tx.all::<(String, String)>(SQL, vec![]).await?.into_iter().collect())
}

/// Takes the lock under which aggregates change.
pub async fn lock(tx: &mut Tx) -> Result<(), Error> {
    limits::lock(tx, "aggregate").await
}

/// Stores an aggregate under the next number, which it gives; nothing if the name is taken.
pub async fn create(tx: &mut Tx, new: &Aggregate) -> Result<Option<i64>, Error> {
    const NEXT: &str = "SELECT COALESCE(MAX(id), 0) + 1 FROM aggregate";
    const SQL: &str = "INSERT INTO aggregate (id, uuid, name, zone, metadata, created_at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let (id,): (i64,) = tx.opt(NEXT, vec![]).await?.unwrap_or((1,));
    let args = args![id, new.uuid, new.name.as_str(), new.zone.clone(), json(&new.metadata)?, new.created];
    Ok((tx.exec(SQL, args).await? == 1).then_some(id))
}

fn json(metadata: &BTreeMap<String, String>) -> Result<Value, Error> {
    serde_json::to_value(metadata).map_err(|error| Error::corrupt("aggregate metadata", error))
}

/// Stores an aggregate's name, zone and metadata. False if another one has the name.
pub async fn update(tx: &mut Tx, changed: &Aggregate, now: Timestamp) -> Result<bool, Error> {
    const SQL: &str = "UPDATE aggregate SET name = $2, zone = $3, metadata = $4, updated_at = $5
        WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM aggregate o WHERE o.name = $2 AND o.id <> $1)";
    let args = args![changed.id, changed.name.as_str(), changed.zone.clone(), json(&changed.metadata)?, now];
    Ok(tx.exec(SQL, args).await? == 1)
}

/// Removes an aggregate without hosts. False if it has some, or if there is none.
pub async fn delete(tx: &mut Tx, id: i64) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM aggregate WHERE id = $1
        AND NOT EXISTS (SELECT 1 FROM aggregate_host h WHERE h.aggregate = $1)";
    Ok(tx.exec(SQL, args![id]).await? == 1)
}

/// Adds a host. False if it is in the aggregate already.
pub async fn add_host(tx: &mut Tx, id: i64, host: &str) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO aggregate_host (aggregate, host) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(tx.exec(SQL, args![id, host]).await? == 1)
}

/// Removes a host. False if it is not in the aggregate.
pub async fn remove_host(tx: &mut Tx, id: i64, host: &str) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM aggregate_host WHERE aggregate = $1 AND host = $2";
    Ok(tx.exec(SQL, args![id, host]).await? == 1)
}
