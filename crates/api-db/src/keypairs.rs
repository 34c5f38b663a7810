//! Key pairs: public keys by user and name. A private key is never stored.

use model::Timestamp;
use sql::{Error, args};

use crate::Tx;
use crate::limits::{self, Effective};

/// A key pair as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// Whose it is.
    pub user: String,
    /// Its name, unique for the user.
    pub name: String,
    /// `ssh` or `x509`.
    pub kind: String,
    /// The public key as it was given.
    pub public_key: String,
    /// MD5 fingerprint of an SSH key, SHA-1 of a certificate, as `aa:bb:…`.
    pub fingerprint: String,
    /// When it was stored.
    pub created: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    user_id: String,
    name: String,
    kind: String,
    public_key: String,
    fingerprint: String,
    created_at: i64,
}

impl From<Row> for KeyPair {
    fn from(row: Row) -> Self {
        let Row { user_id, name, kind, public_key, fingerprint, created_at } = row;
        Self { user: user_id, name, kind, public_key, fingerprint, created: Timestamp(created_at) }
    }
}

/// Stores a key pair, within its user's limit. False if the user has one of that name.
pub async fn create(tx: &mut Tx, pair: &KeyPair, limits: &Effective) -> Result<bool, Error> {
    const INSERT: &str = "INSERT INTO keypair (user_id, name, kind, public_key, fingerprint, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let user = pair.user.as_str();
    limits::lock(tx, &format!("keypair/{user}")).await?;
    if get(tx, user, &pair.name).await?.is_some() {
        return Ok(false);
    }
    limits.check("key_pairs", count(tx, user).await?, 1)?;
    let args = args![
        user,
        pair.name.as_str(),
        pair.kind.as_str(),
        pair.public_key.as_str(),
        pair.fingerprint.as_str(),
        pair.created
    ];
    tx.exec(INSERT, args).await?;
    Ok(true)
}

/// How many a user has.
pub async fn count(tx: &mut Tx, user: &str) -> Result<i64, Error> {
    const SQL: &str = "SELECT COUNT(*) FROM keypair WHERE user_id = $1";
    Ok(tx.opt::<(i64,)>(SQL, args![user]).await?.unwrap_or_default().0)
}

/// One key pair.
pub async fn get(tx: &mut Tx, user: &str, name: &str) -> Result<Option<KeyPair>, Error> {
    const SQL: &str = "SELECT user_id, name, kind, public_key, fingerprint, created_at FROM keypair
        WHERE user_id = $1 AND name = $2";
    Ok(tx.opt::<Row>(SQL, args![user, name]).await?.map(KeyPair::from))
}

/// Up to `limit` key pairs of a user after a name, by name.
pub async fn list(tx: &mut Tx, user: &str, after: &str, limit: i64) -> Result<Vec<KeyPair>, Error> {
    const SQL: &str = "SELECT user_id, name, kind, public_key, fingerprint, created_at FROM keypair
        WHERE user_id = $1 AND name > $2 ORDER BY name LIMIT $3";
    let rows: Vec<Row> = tx.all(SQL, args![user, after, limit]).await?;
    Ok(rows.into_iter().map(KeyPair::from).collect())
}

/// Removes a key pair. False if there is none.
pub async fn delete(tx: &mut Tx, user: &str, name: &str) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM keypair WHERE user_id = $1 AND name = $2";
    Ok(tx.exec(SQL, args![user, name]).await? == 1)
}
