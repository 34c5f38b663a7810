//! What the cell publishes of itself for placement on the level above.

use model::{Summary, Timestamp};
use sql::{Error, Json, args};

use crate::Tx;

/// Publishes `body`, with a version above the last one.
pub async fn write(tx: &mut Tx, body: &Summary, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO summary (one, version, at, body) VALUES (1, 1, $1, $2)
        ON CONFLICT (one) DO UPDATE SET version = summary.version + 1, at = excluded.at, body = excluded.body";
    let json = serde_json::to_value(body).map_err(|error| Error::corrupt("a summary", error))?;
    tx.exec(SQL, args![now, json]).await.map(drop)
}

/// What was last published, if anything.
pub async fn read(tx: &mut Tx) -> Result<Option<Summary>, Error> {
    const SQL: &str = "SELECT version, at, body FROM summary WHERE one = 1";
    let row: Option<(i64, i64, Json<Summary>)> = tx.opt(SQL, vec![]).await?;
    Ok(row.map(|(version, at, body)| Summary { version, at: Timestamp(at), ..body.0 }))
}
