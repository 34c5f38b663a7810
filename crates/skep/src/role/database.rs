//! Opening databases as the configuration says, and waiting for their schema.

use std::time::Duration;

use model::drill::Gate;
use sql::migrate::{Schema, Status};
use sql::{Db, Settings, Work};

use super::needed;
use crate::config::Database;
use crate::exit::Failure;

/// How often a database that does not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// How `database` is opened; `key` is its section, for messages.
pub fn settings(database: &Database, key: &str, gate: Gate) -> Result<Settings, Failure> {
    let url = needed(database.url.as_ref(), &format!("{key}.url"))?.to_owned();
    let deadline = Duration::from_millis(database.deadline_ms.max(1));
    Ok(Settings { url, connections: database.connections.max(1), deadline, gate })
}

/// A handle on `database`. Nothing is connected yet.
pub fn open<D: 'static>(database: &Database, key: &str) -> Result<Db<D>, Failure> {
    Db::open(&settings(database, key, Gate::default())?)
        .map_err(|why| Failure::usage(format!("{key}: {why}")))
}

/// Waits until the database answers and has a schema that this release works on. Refuses a schema of
/// another release at once: waiting would not help.
pub async fn wait_for<D: 'static>(db: &Db<D>, schema: &'static Schema, key: &str) -> Result<Status, Failure> {
    loop {
        match schema.status(db).await {
            Ok(status) => return Ok(status),
            Err(why) if why.is_passing() => {
                tracing::warn!(database = key, %why, "waiting for the database");
                tokio::time::sleep(AGAIN).await;
            }
            Err(why) => return Err(Failure::new(format!("{key}: {why}"))),
        }
    }
}

/// Refuses a schema of another release. A database that does not answer yet is no reason not to start:
/// readiness tells.
pub async fn check<D: 'static>(db: &Db<D>, schema: &'static Schema, key: &str) -> Result<(), Failure> {
    match schema.status(db).await {
        Err(why) if why.is_passing() => {
            tracing::warn!(database = key, %why, "the database does not answer yet");
            Ok(())
        }
        Err(why) => Err(Failure::new(format!("{key}: {why}"))),
        Ok(_) => Ok(()),
    }
}

/// Brings the database to this release's schema.
pub async fn migrate<D: 'static>(
    db: &Db<D>,
    schema: &'static Schema,
    env: &model::Env,
    key: &str,
) -> Result<Status, Failure> {
    let migrated = async {
        answers(db).await?;
        schema.migrate(db, env).await
    };
    migrated.await.map_err(|why| Failure::new(format!("{key}: {why}")))
}

/// Whether a database answers, within the time that administrators' commands give one: what follows may take longer.
///
/// # Errors
/// It does not.
pub async fn answers<D: 'static>(db: &Db<D>) -> Result<(), sql::Error> {
    let asked = db.read(|tx| -> Work<'_, Option<(i64,)>> {
        Box::pin(async move { tx.opt("SELECT CAST(1 AS BIGINT)", vec![]).await })
    });
    let limit = verbs::admin::DEADLINE;
    let answered = tokio::time::timeout(limit, asked).await;
    answered.unwrap_or_else(|_| Err(sql::Error::Down(format!("no answer within {limit:?}")))).map(drop)
}

/// Whether the database answers now and has a schema that this release works on, for readiness.
pub async fn usable<D: 'static>(db: &Db<D>, schema: &'static Schema, key: &str) -> Result<(), String> {
    schema.status(db).await.map(drop).map_err(|why| format!("{key}: {why}"))
}
