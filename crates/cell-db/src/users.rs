//! Which hosts have users of the broker of their own.

use model::{HostId, Timestamp};
use sql::{Error, args};
use uuid::Uuid;

use crate::Tx;

/// Records that a host's user is about to be made, or given another password.
pub async fn put(tx: &mut Tx, host: HostId, name: &str, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO broker_user (host, name, made_at) VALUES ($1, $2, $3)
        ON CONFLICT (host) DO UPDATE SET name = excluded.name, made_at = excluded.made_at";
    tx.exec(SQL, args![host, name, now]).await.map(drop)
}

/// At most a hundred users whose hosts have no key any more, or one that was revoked.
pub async fn left(tx: &mut Tx) -> Result<Vec<(HostId, String)>, Error> {
    const SQL: &str = "SELECT u.host, u.name FROM broker_user u
        WHERE NOT EXISTS (SELECT 1 FROM host_key k WHERE k.host = u.host AND NOT k.revoked)
        ORDER BY u.made_at, u.host LIMIT 100";
    let rows: Vec<(Uuid, String)> = tx.all(SQL, vec![]).await?;
    Ok(rows.into_iter().map(|(host, name)| (HostId(host), name)).collect())
}

/// Forgets a user who was removed, unless the host has enrolled again since.
pub async fn forget(tx: &mut Tx, host: HostId, name: &str) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM broker_user WHERE host = $1 AND name = $2
        AND NOT EXISTS (SELECT 1 FROM host_key WHERE host = $1 AND NOT revoked)";
    tx.exec(SQL, args![host, name]).await.map(drop)
}
