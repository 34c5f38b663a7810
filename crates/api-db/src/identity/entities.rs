//! What has an id, a name in a domain, and attributes: domains, projects, users, roles, regions, services,
//! endpoints.

use serde_json::{Map, Value};
use sql::{Error, Json, args};

use crate::Tx;

/// Kinds, as they are stored.
pub const KINDS: [&str; 7] = ["domain", "project", "user", "role", "region", "service", "endpoint"];

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// Its id, unique in its kind.
    pub id: String,
    /// The domain's id; empty if it lies in none.
    pub domain: String,
    /// Its name, unique in its kind and domain.
    pub name: String,
    /// Whether it counts.
    pub enabled: bool,
    /// Further attributes.
    pub extra: Map<String, Value>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    domain: String,
    name: String,
    enabled: bool,
    extra: Json<Map<String, Value>>,
}

impl From<Row> for Entity {
    fn from(row: Row) -> Self {
        let Row { id, domain, name, enabled, extra: Json(extra) } = row;
        Self { id, domain, name, enabled, extra }
    }
}

/// The entity of that id.
pub async fn get(tx: &mut Tx, kind: &str, id: &str) -> Result<Option<Entity>, Error> {
    const SQL: &str =
        "SELECT id, domain, name, enabled, extra FROM identity_entity WHERE kind = $1 AND id = $2";
    Ok(tx.opt::<Row>(SQL, args![kind, id]).await?.map(Entity::from))
}

/// The entity of that name in that domain.
pub async fn named(tx: &mut Tx, kind: &str, domain: &str, name: &str) -> Result<Option<Entity>, Error> {
    const SQL: &str = "SELECT id, domain, name, enabled, extra FROM identity_entity
        WHERE kind = $1 AND domain = $2 AND name = $3";
    Ok(tx.opt::<Row>(SQL, args![kind, domain, name]).await?.map(Entity::from))
}

/// Those of a kind that have this name and lie in this domain, if either is given; by name.
pub async fn list(
    tx: &mut Tx,
    kind: &str,
    name: Option<&str>,
    domain: Option<&str>,
) -> Result<Vec<Entity>, Error> {
    const SQL: &str = "SELECT id, domain, name, enabled, extra FROM identity_entity
        WHERE kind = $1 AND ($2 OR name = $3) AND ($4 OR domain = $5) ORDER BY name, id";
    let args =
        args![kind, name.is_none(), name.unwrap_or_default(), domain.is_none(), domain.unwrap_or_default()];
    Ok(tx.all::<Row>(SQL, args).await?.into_iter().map(Entity::from).collect())
}

/// Stores a new one. False if its id, or its name in its domain, is taken: nothing was stored.
pub async fn insert(tx: &mut Tx, kind: &str, entity: &Entity) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO identity_entity (kind, id, domain, name, enabled, extra)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let (id, domain, name) = (entity.id.as_str(), entity.domain.as_str(), entity.name.as_str());
    let extra = Value::Object(entity.extra.clone());
    Ok(tx.exec(SQL, args![kind, id, domain, name, entity.enabled, extra]).await? == 1)
}

/// Stores another state of it; its id and domain stay. False if the name is another's: nothing was stored.
pub async fn update(tx: &mut Tx, kind: &str, entity: &Entity) -> Result<bool, Error> {
    if let Some(other) = named(tx, kind, &entity.domain, &entity.name).await?
        && other.id != entity.id
    {
        return Ok(false);
    }
    const SQL: &str =
        "UPDATE identity_entity SET name = $3, enabled = $4, extra = $5 WHERE kind = $1 AND id = $2";
    let (id, name, extra) = (entity.id.as_str(), entity.name.as_str(), Value::Object(entity.extra.clone()));
    tx.swap(SQL, args![kind, id, name, entity.enabled, extra]).await?;
    Ok(true)
}

/// Removes it. What hangs on it is the caller's to remove.
pub async fn delete(tx: &mut Tx, kind: &str, id: &str) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM identity_entity WHERE kind = $1 AND id = $2";
    Ok(tx.exec(SQL, args![kind, id]).await? == 1)
}

/// Which role implies which: (prior, implied), by both.
pub async fn implied(tx: &mut Tx) -> Result<Vec<(String, String)>, Error> {
    tx.all("SELECT prior, implied FROM identity_implied ORDER BY prior, implied", vec![]).await
}

/// Lets a role imply another.
pub async fn imply(tx: &mut Tx, prior: &str, implied: &str) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO identity_implied (prior, implied) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    tx.exec(SQL, args![prior, implied]).await.map(drop)
}

/// Takes that back; false if it was not so.
pub async fn unimply(tx: &mut Tx, prior: &str, implied: &str) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM identity_implied WHERE prior = $1 AND implied = $2";
    Ok(tx.exec(SQL, args![prior, implied]).await? == 1)
}

/// Forgets a role in what implies what.
pub async fn forget_implied(tx: &mut Tx, role: &str) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM identity_implied WHERE prior = $1 OR implied = $1";
    tx.exec(SQL, args![role]).await.map(drop)
}
