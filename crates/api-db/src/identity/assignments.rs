//! Which user has which role on what.

use sql::{Error, args};

use crate::Tx;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Assignment {
    /// The user's id.
    pub user_id: String,
    /// `project`, `domain` or `system`.
    pub scope: String,
    /// The project's or domain's id; empty for the system.
    pub target: String,
    /// The role's id.
    pub role: String,
}

/// Roles of a user on a target, by id.
pub async fn roles(tx: &mut Tx, user: &str, scope: &str, target: &str) -> Result<Vec<String>, Error> {
    const SQL: &str = "SELECT role FROM identity_assignment
        WHERE user_id = $1 AND scope = $2 AND target = $3 ORDER BY role";
    let rows: Vec<(String,)> = tx.all(SQL, args![user, scope, target]).await?;
    Ok(rows.into_iter().map(|(role,)| role).collect())
}

/// All, of one user if one is given, on one target if one is given.
pub async fn list(
    tx: &mut Tx,
    user: Option<&str>,
    on: Option<(&str, &str)>,
) -> Result<Vec<Assignment>, Error> {
    const SQL: &str = "SELECT user_id, scope, target, role FROM identity_assignment
        WHERE ($1 OR user_id = $2) AND ($3 OR (scope = $4 AND target = $5))
        ORDER BY user_id, scope, target, role";
    let (scope, target) = on.unwrap_or_default();
    tx.all(SQL, args![user.is_none(), user.unwrap_or_default(), on.is_none(), scope, target]).await
}

/// Gives a role.
pub async fn grant(tx: &mut Tx, given: &Assignment) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO identity_assignment (user_id, scope, target, role)
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    let Assignment { user_id, scope, target, role } = given.clone();
    tx.exec(SQL, args![user_id, scope, target, role]).await.map(drop)
}

/// Takes a role away; false if it was not given.
pub async fn revoke(tx: &mut Tx, given: &Assignment) -> Result<bool, Error> {
    const SQL: &str = "DELETE FROM identity_assignment
        WHERE user_id = $1 AND scope = $2 AND target = $3 AND role = $4";
    let Assignment { user_id, scope, target, role } = given.clone();
    Ok(tx.exec(SQL, args![user_id, scope, target, role]).await? == 1)
}

/// Takes away all that a user has.
pub async fn forget_user(tx: &mut Tx, user: &str) -> Result<(), Error> {
    tx.exec("DELETE FROM identity_assignment WHERE user_id = $1", args![user]).await.map(drop)
}

/// Takes away all that anybody has on a target.
pub async fn forget_target(tx: &mut Tx, scope: &str, target: &str) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM identity_assignment WHERE scope = $1 AND target = $2";
    tx.exec(SQL, args![scope, target]).await.map(drop)
}

/// Takes a role away from everybody.
pub async fn forget_role(tx: &mut Tx, role: &str) -> Result<(), Error> {
    tx.exec("DELETE FROM identity_assignment WHERE role = $1", args![role]).await.map(drop)
}
