//! Application credentials: what a user gives to a program instead of a password.

use model::Timestamp;
use serde_json::Value;
use sql::{Error, Json, args};

use crate::Tx;

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// Its name, unique with its user.
    pub name: String,
    /// The project that it is good for.
    pub project: String,
    /// The secret's hash.
    pub secret: String,
    /// Free text.
    pub description: Option<String>,
    /// Whether it may make and remove credentials.
    pub unrestricted: bool,
    /// Ids of the roles that it is good for.
    pub roles: Vec<String>,
    /// The requests that it is good for; none means all. As Keystone shows them.
    pub access_rules: Value,
    /// Until when it is good.
    pub expires: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    user_id: String,
    name: String,
    project: String,
    secret: String,
    description: Option<String>,
    unrestricted: bool,
    roles: Json<Vec<String>>,
    access_rules: Json<Value>,
    expires_at: Option<i64>,
}

impl From<Row> for Credential {
    fn from(row: Row) -> Self {
        let Row { id, user_id: user, name, project, secret, description, unrestricted, .. } = row;
        let (Json(roles), Json(access_rules), expires) =
            (row.roles, row.access_rules, row.expires_at.map(Timestamp));
        Self { id, user, name, project, secret, description, unrestricted, roles, access_rules, expires }
    }
}

/// The one of that id.
pub async fn get(tx: &mut Tx, id: &str) -> Result<Option<Credential>, Error> {
    const SQL: &str = "SELECT id, user_id, name, project, secret, description, unrestricted, roles,
        access_rules, expires_at FROM identity_credential WHERE id = $1";
    Ok(tx.opt::<Row>(SQL, args![id]).await?.map(Credential::from))
}

/// A user's, by name.
pub async fn of_user(tx: &mut Tx, user: &str) -> Result<Vec<Credential>, Error> {
    const SQL: &str = "SELECT id, user_id, name, project, secret, description, unrestricted, roles,
        access_rules, expires_at FROM identity_credential WHERE user_id = $1 ORDER BY name";
    Ok(tx.all::<Row>(SQL, args![user]).await?.into_iter().map(Credential::from).collect())
}

/// Stores a new one. False if its user has one of that name: nothing was stored.
pub async fn insert(tx: &mut Tx, new: &Credential) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO identity_credential (id, user_id, name, project, secret, description,
        unrestricted, roles, access_rules, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
    let new = new.clone();
    let args = args![
        new.id,
        new.user,
        new.name,
        new.project,
        new.secret,
        new.description,
        new.unrestricted,
        Value::from(new.roles),
        new.access_rules,
        new.expires,
    ];
    Ok(tx.exec(SQL, args).await? == 1)
}

/// Removes one, and the tokens that were got with it.
pub async fn delete(tx: &mut Tx, id: &str) -> Result<(), Error> {
    tx.exec("DELETE FROM identity_credential WHERE id = $1", args![id]).await?;
    tx.exec("DELETE FROM identity_token WHERE credential = $1", args![id]).await.map(drop)
}

/// Removes all of a user, on one project if one is given. Their tokens are worth nothing without them.
pub async fn forget(tx: &mut Tx, user: Option<&str>, project: Option<&str>) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM identity_credential WHERE ($1 OR user_id = $2) AND ($3 OR project = $4)";
    let args =
        args![user.is_none(), user.unwrap_or_default(), project.is_none(), project.unwrap_or_default()];
    tx.exec(SQL, args).await.map(drop)
}
