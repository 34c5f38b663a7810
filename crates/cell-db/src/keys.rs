//! Which key a host signs with, how it got it, and who was refused.

use model::{HostId, Timestamp};
use sql::{Error, args};
use uuid::Uuid;

use crate::Tx;

/// The key of a host.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Key {
    /// The public half.
    pub public_key: String,
    /// An operator took it back.
    pub revoked: bool,
    /// The session that was heard last.
    pub session: Uuid,
    /// The highest counter of that session that was recorded.
    pub counter: i64,
}

/// The key of a host, if it has enrolled.
pub async fn of(tx: &mut Tx, host: HostId) -> Result<Option<Key>, Error> {
    const SQL: &str = "SELECT public_key, revoked, session, counter FROM host_key WHERE host = $1";
    tx.opt(SQL, args![host]).await
}

/// Makes a key the host's, in the place of the one that it had.
pub async fn put(
    tx: &mut Tx,
    host: HostId,
    public_key: &str,
    (session, counter): (Uuid, i64),
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO host_key (host, public_key, enrolled_at, session, counter)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (host) DO UPDATE SET public_key = excluded.public_key,
            enrolled_at = excluded.enrolled_at, revoked = false, session = excluded.session,
            counter = excluded.counter";
    tx.exec(SQL, args![host, public_key, now, session, counter]).await.map(drop)
}

/// Records how far a session was heard.
pub async fn heard(tx: &mut Tx, host: HostId, session: Uuid, counter: i64) -> Result<(), Error> {
    const SQL: &str = "UPDATE host_key SET session = $2, counter = $3 WHERE host = $1";
    tx.exec(SQL, args![host, session, counter]).await.map(drop)
}

/// Takes a host's key back: its agent is not heard until it has enrolled with another one. False if it has none.
pub async fn revoke(tx: &mut Tx, host: HostId) -> Result<bool, Error> {
    const SQL: &str = "UPDATE host_key SET revoked = true WHERE host = $1";
    Ok(tx.exec(SQL, args![host]).await? == 1)
}

/// A join token as it is kept.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its id.
    pub id: Uuid,
    /// What is kept of it.
    pub fingerprint: String,
    /// When it ends.
    pub ends: Timestamp,
}

/// Keeps join tokens, and forgets those that ended unused.
pub async fn allow(tx: &mut Tx, tokens: &[NewToken], now: Timestamp) -> Result<(), Error> {
    tx.exec("DELETE FROM join_token WHERE used_by IS NULL AND ends_at < $1", args![now]).await?;
    for NewToken { id, fingerprint, ends } in tokens {
        const SQL: &str =
            "INSERT INTO join_token (id, fingerprint, created_at, ends_at) VALUES ($1, $2, $3, $4)
            ON CONFLICT (id) DO NOTHING";
        tx.exec(SQL, args![*id, fingerprint.as_str(), now, *ends]).await?;
    }
    Ok(())
}

/// Uses a join token up. False if there is none, if it has ended, or if it was used before.
pub async fn spend(tx: &mut Tx, fingerprint: &str, host: HostId, now: Timestamp) -> Result<bool, Error> {
    const SQL: &str = "UPDATE join_token SET used_by = $2, used_at = $3
        WHERE fingerprint = $1 AND used_by IS NULL AND ends_at > $3";
    Ok(tx.exec(SQL, args![fingerprint, host, now]).await? == 1)
}

/// Most agents that are told of as refused: whoever may write to the broker cannot fill the database.
const MOST_REFUSED: i64 = 1_000;

/// Records that an agent was refused.
pub async fn refuse(
    tx: &mut Tx,
    host: HostId,
    name: &str,
    reason: &str,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO host_refused (host, name, reason, since, refused_at)
        SELECT $1, $2, $3, $4, $4 FROM (SELECT COUNT(*) AS n FROM host_refused) known WHERE known.n < $5
        ON CONFLICT (host) DO UPDATE SET name = excluded.name, reason = excluded.reason,
            refused_at = excluded.refused_at";
    let name: String = name.chars().take(255).collect();
    tx.exec(SQL, args![host, name.as_str(), reason, now, MOST_REFUSED]).await.map(drop)
}

/// Forgets that a host's agent was refused.
pub async fn accept(tx: &mut Tx, host: HostId) -> Result<(), Error> {
    tx.exec("DELETE FROM host_refused WHERE host = $1", args![host]).await.map(drop)
}

/// An agent that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The host id that it pretends to be of.
    pub host: HostId,
    /// The name that it gives.
    pub name: String,
    /// Why.
    pub reason: String,
    /// When it was refused last.
    pub at: Timestamp,
}

/// Agents that were refused since they were last registered, by name.
pub async fn refused(tx: &mut Tx) -> Result<Vec<Refused>, Error> {
    const SQL: &str = "SELECT host, name, reason, refused_at FROM host_refused ORDER BY name, host";
    let rows: Vec<(Uuid, String, String, i64)> = tx.all(SQL, vec![]).await?;
    Ok(rows
        .into_iter()
        .map(|(host, name, reason, at)| Refused { host: HostId(host), name, reason, at: Timestamp(at) })
        .collect())
}
