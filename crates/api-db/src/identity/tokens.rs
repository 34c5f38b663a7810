//! Tokens: whose they are, for what, and until when.

use model::Timestamp;
use serde_json::Value;
use sql::{Error, Json, args};

use crate::Tx;

/// A token, without itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// SHA-256 of it.
    pub hash: Vec<u8>,
    /// Whose it is.
    pub user: String,
    /// `none`, `project`, `domain` or `system`.
    pub scope: String,
    /// The project's or domain's id, else empty.
    pub target: String,
    /// How it was got.
    pub methods: Vec<String>,
    /// The application credential that it was got with.
    pub credential: Option<String>,
    /// Its own id for audits, then that of the first token in its line, if it is another.
    pub audit_ids: Vec<String>,
    /// When it was made.
    pub issued: Timestamp,
    /// Until when it is good.
    pub expires: Timestamp,
}

/// What a token stands for, as it is now.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Found {
    /// Whose it is.
    pub user_id: String,
    /// The user's name.
    pub user_name: String,
    /// Whether user, domain, and project or domain of the scope all count.
    pub enabled: bool,
    /// The user's domain.
    pub domain: String,
    /// Its name.
    pub domain_name: String,
    /// `none`, `project`, `domain` or `system`.
    pub scope: String,
    /// The project's or domain's id, else empty.
    pub target: String,
    /// Its name; none if there is none, or if it is gone.
    pub target_name: Option<String>,
    /// The project's domain.
    pub target_domain: Option<String>,
    /// Its name.
    pub target_domain_name: Option<String>,
    /// How it was got.
    pub methods: Json<Vec<String>>,
    /// The application credential that it was got with.
    pub credential: Option<String>,
    /// Its ids for audits.
    pub audit_ids: Json<Vec<String>>,
    /// When it was made.
    pub issued_at: i64,
    /// Until when it is good.
    pub expires_at: i64,
    /// The revision that this was read at.
    pub revision: i64,
}

/// Stores a new token.
pub async fn insert(tx: &mut Tx, token: &Token) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO identity_token
        (hash, user_id, scope, target, methods, credential, audit_ids, issued_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (hash) DO NOTHING";
    let token = token.clone();
    let args = args![
        token.hash,
        token.user,
        token.scope,
        token.target,
        Value::from(token.methods),
        token.credential,
        Value::from(token.audit_ids),
        token.issued,
        token.expires,
    ];
    tx.exec(SQL, args).await.map(drop)
}

/// What the token of that hash stands for, whether it is over or not.
pub async fn find(tx: &mut Tx, hash: &[u8]) -> Result<Option<Found>, Error> {
    const SQL: &str = "SELECT t.user_id, u.name AS user_name,
          u.enabled AND d.enabled AND COALESCE(x.enabled, TRUE) AND COALESCE(xd.enabled, TRUE) AS enabled,
          u.domain, d.name AS domain_name, t.scope, t.target, x.name AS target_name,
          xd.id AS target_domain, xd.name AS target_domain_name,
          t.methods, t.credential, t.audit_ids, t.issued_at, t.expires_at,
          (SELECT revision FROM identity_revision WHERE one = 1) AS revision
        FROM identity_token t
        JOIN identity_entity u ON u.kind = 'user' AND u.id = t.user_id
        JOIN identity_entity d ON d.kind = 'domain' AND d.id = u.domain
        LEFT JOIN identity_entity x ON x.kind = t.scope AND x.id = t.target
        LEFT JOIN identity_entity xd ON xd.kind = 'domain' AND xd.id = x.domain
        WHERE t.hash = $1";
    tx.opt(SQL, args![hash.to_vec()]).await
}

/// Revokes a token.
pub async fn delete(tx: &mut Tx, hash: &[u8]) -> Result<bool, Error> {
    Ok(tx.exec("DELETE FROM identity_token WHERE hash = $1", args![hash.to_vec()]).await? == 1)
}

/// Revokes all tokens of a user.
pub async fn forget_user(tx: &mut Tx, user: &str) -> Result<(), Error> {
    tx.exec("DELETE FROM identity_token WHERE user_id = $1", args![user]).await.map(drop)
}

/// Removes what was over before `then`; tells how many.
pub async fn purge(tx: &mut Tx, then: Timestamp) -> Result<u64, Error> {
    tx.exec("DELETE FROM identity_token WHERE expires_at < $1", args![then]).await
}
