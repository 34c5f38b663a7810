//! Making databases that are not there yet, for operators who have a server and nothing on it.

use std::str::FromStr;
use std::time::Duration;

use model::Fault;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};

use crate::error::Error;

/// PostgreSQL's code for a database that is not there, and for one that is there already
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
const MISSING: &str = "3D000";
const EXISTS: &str = "42P04";

/// Makes the database that a PostgreSQL URL names, in UTF-8 and C collation, unless it is there, within
/// `deadline`; true if it was made. Anything but PostgreSQL's URLs is left alone.
///
/// # Errors
/// A database of another encoding or collation, whose order would differ from that of the others; a user who
/// may not make databases; a server that does not answer.
pub async fn create_database(url: &str, deadline: Duration) -> Result<bool, Error> {
    if !url.starts_with("postgres:") && !url.starts_with("postgresql:") {
        return Ok(false);
    }
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| Fault::invalid("not of the form postgres://USER:PASSWORD@HOST:PORT/NAME"))?;
    match tokio::time::timeout(deadline, ensure(&options)).await {
        Ok(made) => made,
        Err(_) => Err(Error::Down(format!("no answer within {deadline:?}"))),
    }
}

async fn ensure(options: &PgConnectOptions) -> Result<bool, Error> {
    match PgConnection::connect_with(options).await {
        Ok(conn) => {
            check(conn).await?;
            return Ok(false);
        }
        Err(error) if code(&error).as_deref() == Some(MISSING) => {}
        Err(error) => return Err(error.into()),
    }
    let name = options.get_database().unwrap_or_default().replace('"', "\"\"");
    let mut conn = PgConnection::connect_with(&options.clone().database("postgres")).await?;
    let text =
        format!("CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
    match sqlx::query(AssertSqlSafe(text)).execute(&mut conn).await {
        Ok(_) => Ok(true),
        // Somebody made it at the same time.
        Err(error) if code(&error).as_deref() == Some(EXISTS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What a PostgreSQL database says of its order.
pub(crate) const ORDER: &str = "SELECT pg_encoding_to_char(encoding)::TEXT, datcollate::TEXT FROM pg_database
        WHERE datname = current_database()";

async fn check(mut conn: PgConnection) -> Result<(), Error> {
    let (encoding, collation): (String, String) = sqlx::query_as(ORDER).fetch_one(&mut conn).await?;
    same_order(&encoding, &collation)
}

/// Refuses an order that differs from that of the other databases.
pub(crate) fn same_order(encoding: &str, collation: &str) -> Result<(), Error> {
    match (encoding, collation) {
        ("UTF8", "C" | "POSIX" | "C.UTF-8" | "C.utf8") => Ok(()),
        _ => Err(Fault::conflict(format!(
            "its encoding is {encoding} and its collation {collation}, which must be UTF8 and C: make it with \
             TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        ))
        .into()),
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_common_order_is_taken() {
        for collation in ["C", "POSIX", "C.UTF-8", "C.utf8"] {
            same_order("UTF8", collation).expect("is taken");
        }
        for (encoding, collation) in [("UTF8", "en_US.utf8"), ("LATIN1", "C"), ("SQL_ASCII", "C"), ("", "")] {
            let why = same_order(encoding, collation).expect_err("is refused").to_string();
            assert!(why.contains("must be UTF8 and C"), "{why}");
        }
    }
}
