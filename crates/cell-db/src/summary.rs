//! What the cell publishes of itself for placement on the level above.

use std::time::Duration;

use model::host::Host;
use model::{Incarnation, Summary, Timestamp};
use sql::{Error, Json, args};
use uuid::Uuid;

use crate::{Tx, claims, hosts};

/// This release.
const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// How long a release is remembered that no conductor publishes by any more.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How long a conductor passes for connected as a user by which it does not publish any more.
const CONNECTED: Duration = Duration::from_secs(15);

/// Publishes what `sum` makes of all hosts and of how many instances wait for one, and gives it.
///
/// Publications come one after the other: the version is raised, and held, before anything is read. So whoever has
/// read version n knows that version n + 2 tells of a time after that: its reading began when n + 1, which may have
/// been under way, was done.
pub async fn publish(
    tx: &mut Tx,
    now: Timestamp,
    sum: impl FnOnce(Vec<Host>, i64) -> Summary,
) -> Result<Summary, Error> {
    const RAISE: &str = "INSERT INTO summary (one, version, at, body) VALUES (1, 1, $1, $2)
        ON CONFLICT (one) DO UPDATE SET version = summary.version + 1 RETURNING version, body";
    const WRITE: &str = "UPDATE summary SET at = $1, body = $2 WHERE one = 1";
    let json =
        |body: &Summary| serde_json::to_value(body).map_err(|error| Error::corrupt("a summary", error));
    let raised: Option<(i64, Json<Summary>)> = tx.opt(RAISE, args![now, json(&Summary::default())?]).await?;
    let (version, before) = raised.ok_or_else(|| Error::corrupt("summary.version", "none"))?;
    let mut releases = before.0.releases;
    // A clock may jump: what seems to be of another time is forgotten, and told again by whoever lives.
    releases.retain(|_, at| at.since(now).max(now.since(*at)) < REMEMBERED);
    releases.insert(RELEASE.to_owned(), now);
    let hosts = hosts::all(tx).await?;
    let waiting = claims::count_waiting(tx).await?;
    let mut body = Summary { version, at: now, releases, ..sum(hosts, waiting) };
    let others = before.0.users.into_iter().filter(|(_, at)| at.since(now).max(now.since(*at)) < CONNECTED);
    for (user, at) in others {
        body.users.entry(user).or_insert(at);
    }
    tx.exec(WRITE, args![now, json(&body)?]).await?;
    Ok(body)
}

/// What was last published, if anything, in this incarnation of the database. A restored one that waits for an operator
/// says nothing of itself: it has no room, but neither is it full.
pub async fn read(tx: &mut Tx) -> Result<Option<(Incarnation, Summary)>, Error> {
    const SQL: &str = "SELECT m.incarnation, s.version, s.at, s.body FROM summary s, schema_meta m
        WHERE s.one = 1 AND m.one = 1 AND NOT EXISTS (SELECT 1 FROM restored)";
    let row: Option<(Uuid, i64, i64, Json<Summary>)> = tx.opt(SQL, vec![]).await?;
    Ok(row.map(|(incarnation, version, at, body)| {
        (Incarnation(incarnation), Summary { version, at: Timestamp(at), ..body.0 })
    }))
}
