//! Flavors: the sizes on offer.

use model::Flavor;
use sql::{Error, args};

use crate::Tx;

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    vcpus: i64,
    memory_mib: i64,
    disk_gib: i64,
    pids: i64,
}

impl From<Row> for Flavor {
    fn from(row: Row) -> Self {
        let Row { id, name, vcpus, memory_mib, disk_gib, pids } = row;
        Self { id, name, vcpus, memory_mib, disk_gib, pids }
    }
}

/// All flavors, by id.
pub async fn all(tx: &mut Tx) -> Result<Vec<Flavor>, Error> {
    const SQL: &str = "SELECT id, name, vcpus, memory_mib, disk_gib, pids FROM flavor ORDER BY id";
    Ok(tx.all::<Row>(SQL, vec![]).await?.into_iter().map(Flavor::from).collect())
}

/// The flavor of that id.
pub async fn get(tx: &mut Tx, id: &str) -> Result<Option<Flavor>, Error> {
    const SQL: &str = "SELECT id, name, vcpus, memory_mib, disk_gib, pids FROM flavor WHERE id = $1";
    Ok(tx.opt::<Row>(SQL, args![id]).await?.map(Flavor::from))
}
