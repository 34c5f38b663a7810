//! Passwords: their hashes, apart from everything that is ever shown.

use model::Timestamp;
use sql::{Error, args};

use crate::Tx;

/// A user's hash.
pub async fn get(tx: &mut Tx, user: &str) -> Result<Option<String>, Error> {
    let row: Option<(String,)> =
        tx.opt("SELECT hash FROM identity_password WHERE user_id = $1", args![user]).await?;
    Ok(row.map(|(hash,)| hash))
}

/// Stores a user's hash in the place of another.
pub async fn set(tx: &mut Tx, user: &str, hash: &str, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO identity_password (user_id, hash, changed_at) VALUES ($1, $2, $3)
        ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at";
    tx.exec(SQL, args![user, hash, now]).await.map(drop)
}

/// Removes a user's hash.
pub async fn delete(tx: &mut Tx, user: &str) -> Result<(), Error> {
    tx.exec("DELETE FROM identity_password WHERE user_id = $1", args![user]).await.map(drop)
}
