//! Flavors: the sizes on offer, and who may use those that are not public.

use std::collections::BTreeMap;

use model::Flavor;
use sql::{Error, Json, args};

use crate::Tx;

/// A flavor with what Nova knows of it beside its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its id, name and size.
    pub flavor: Flavor,
    /// Whether every project may use it.
    pub public: bool,
    /// Free text (2.55).
    pub description: Option<String>,
    /// Swap in MiB, shown only.
    pub swap_mib: i64,
    /// Second disk in GiB, shown only.
    pub ephemeral_gib: i64,
    /// Network factor in thousandths, shown only.
    pub rxtx_milli: i64,
    /// Extra specs.
    pub extra_specs: BTreeMap<String, String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    vcpus: i64,
    memory_mib: i64,
    disk_gib: i64,
    pids: i64,
    public: bool,
    description: Option<String>,
    swap_mib: i64,
    ephemeral_gib: i64,
    rxtx_milli: i64,
    extra_specs: Json<BTreeMap<String, String>>,
}

impl From<Row> for Offer {
    fn from(row: Row) -> Self {
        let Row { id, name, vcpus, memory_mib, disk_gib, pids, .. } = row;
        Self {
            flavor: Flavor { id, name, vcpus, memory_mib, disk_gib, pids },
            public: row.public,
            description: row.description,
            swap_mib: row.swap_mib,
            ephemeral_gib: row.ephemeral_gib,
            rxtx_milli: row.rxtx_milli,
            extra_specs: row.extra_specs.0,
        }
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, vcpus, memory_mib, disk_gib, pids, public, description, swap_mib, ephemeral_gib,
             rxtx_milli, extra_specs FROM flavor ",
            $rest
        )
    };
}

/// All flavors, by id.
pub async fn all(tx: &mut Tx) -> Result<Vec<Offer>, Error> {
    Ok(tx.all::<Row>(select!("ORDER BY id"), vec![]).await?.into_iter().map(Offer::from).collect())
}

/// Those that a project may use, by id.
pub async fn usable(tx: &mut Tx, project: &str) -> Result<Vec<Offer>, Error> {
    const SQL: &str =
        select!("WHERE public OR id IN (SELECT flavor FROM flavor_access WHERE project = $1) ORDER BY id");
    Ok(tx.all::<Row>(SQL, args![project]).await?.into_iter().map(Offer::from).collect())
}

/// The flavor of that id.
pub async fn get(tx: &mut Tx, id: &str) -> Result<Option<Offer>, Error> {
    Ok(tx.opt::<Row>(select!("WHERE id = $1"), args![id]).await?.map(Offer::from))
}

/// Stores a flavor. False if its id or name is taken: nothing was stored.
pub async fn create(tx: &mut Tx, offer: &Offer) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO flavor (id, name, vcpus, memory_mib, disk_gib, pids, public, description,
            swap_mib, ephemeral_gib, rxtx_milli, extra_specs)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING";
    let flavor = &offer.flavor;
    let specs = serde_json::to_value(&offer.extra_specs).map_err(|e| Error::corrupt("extra specs", e))?;
    let args = args![
        flavor.id.as_str(),
        flavor.name.as_str(),
        flavor.vcpus,
        flavor.memory_mib,
        flavor.disk_gib,
        flavor.pids,
        offer.public,
        offer.description.clone(),
        offer.swap_mib,
        offer.ephemeral_gib,
        offer.rxtx_milli,
        specs
    ];
    Ok(tx.exec(SQL, args).await? == 1)
}

/// Sets a flavor's description. False if there is no such flavor.
pub async fn describe(tx: &mut Tx, id: &str, description: Option<String>) -> Result<bool, Error> {
    Ok(tx.exec("UPDATE flavor SET description = $2 WHERE id = $1", args![id, description]).await? == 1)
}

/// Adds and removes extra specs; gives them as they are then, or nothing if there is no such flavor.
pub async fn change_specs(
    tx: &mut Tx,
    id: &str,
    put: &BTreeMap<String, String>,
    remove: Option<&str>,
) -> Result<Option<BTreeMap<String, String>>, Error> {
    // The row's lock is taken before it is read.
    if tx.exec("UPDATE flavor SET public = public WHERE id = $1", args![id]).await? == 0 {
        return Ok(None);
    }
    let Some(offer) = get(tx, id).await? else { return Ok(None) };
    let mut specs = offer.extra_specs;
    specs.extend(put.clone());
    if let Some(key) = remove {
        specs.remove(key);
    }
    let json = serde_json::to_value(&specs).map_err(|e| Error::corrupt("extra specs", e))?;
    tx.exec("UPDATE flavor SET extra_specs = $2 WHERE id = $1", args![id, json]).await?;
    Ok(Some(specs))
}

/// Removes a flavor. Instances keep what it was. False if there is no such flavor.
pub async fn delete(tx: &mut Tx, id: &str) -> Result<bool, Error> {
    tx.exec("DELETE FROM flavor_access WHERE flavor = $1", args![id]).await?;
    Ok(tx.exec("DELETE FROM flavor WHERE id = $1", args![id]).await? == 1)
}

/// Which projects may use a flavor that is not public.
pub async fn access(tx: &mut Tx, id: &str) -> Result<Vec<String>, Error> {
    const SQL: &str = "SELECT project FROM flavor_access WHERE flavor = $1 ORDER BY project";
    let rows: Vec<(String,)> = tx.all(SQL, args![id]).await?;
    Ok(rows.into_iter().map(|(project,)| project).collect())
}

/// Lets a project use a flavor. False if it may already.
pub async fn allow(tx: &mut Tx, id: &str, project: &str) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO flavor_access (flavor, project) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(tx.exec(SQL, args![id, project]).await? == 1)
}

/// Takes that back. False if it may not.
pub async fn deny(tx: &mut Tx, id: &str, project: &str) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM flavor_access WHERE flavor = $1 AND project = $2";
    Ok(tx.exec(SQL, args![id, project]).await? == 1)
}
