//! Identity: users, projects, domains, roles and who has which, credentials, tokens.
//!
//! A token's row says whose it is and for what; what that is worth is read anew at each check. Processes keep
//! what they have checked, together with the revision that it was read at; see [`revision`].

pub mod assignments;
pub mod credentials;
pub mod entities;
pub mod passwords;
pub mod tokens;

use sql::{Error, args};

use crate::Tx;

/// How often anything changed that makes tokens which are known already worth less or more.
pub async fn revision(tx: &mut Tx) -> Result<i64, Error> {
    let row: Option<(i64,)> = tx.opt("SELECT revision FROM identity_revision WHERE one = 1", vec![]).await?;
    Ok(row.map_or(0, |(revision,)| revision))
}

/// Counts such a change, and tells the new number.
pub async fn changed(tx: &mut Tx) -> Result<i64, Error> {
    const SQL: &str =
        "UPDATE identity_revision SET revision = revision + 1 WHERE one = $1 RETURNING revision";
    let row: Option<(i64,)> = tx.opt(SQL, args![1_i64]).await?;
    Ok(row.map_or(0, |(revision,)| revision))
}
