//! Idempotency keys: what was answered to a request that may be repeated, or who works on it.
//!
//! A row without an answer is held by one attempt, and only that one can answer it. Once its time is over
//! another attempt may take it; so clocks decide when, never whether, a request is worked on again.

use std::collections::BTreeMap;

use model::Timestamp;
use sql::{Error, Json, args};
use uuid::Uuid;

use crate::Tx;

/// One attempt at a request that carries a key.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The caller, the route and the key.
    pub id: Uuid,
    /// The rest of the request.
    pub fingerprint: Vec<u8>,
    /// The caller's project, for operators.
    pub project: String,
    /// The attempt's request id.
    pub request_id: String,
    /// The attempt itself.
    pub by: Uuid,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers that belong to it.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Vec<u8>,
    /// Id of the request that was worked on.
    pub request_id: String,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was answered.
    Answered(Answer),
    /// It is being worked on.
    Held,
    /// It was used for another request.
    Other,
}

#[derive(sqlx::FromRow)]
struct Row {
    fingerprint: Vec<u8>,
    request_id: String,
    held_until: i64,
    status: Option<i64>,
    headers: Option<Json<BTreeMap<String, String>>>,
    body: Option<Vec<u8>>,
}

/// What is known of a key that `fingerprint` comes with. What has expired, or was held too long, is not.
pub async fn find(tx: &mut Tx, id: Uuid, fingerprint: &[u8], now: Timestamp) -> Result<Option<Known>, Error> {
    const SQL: &str = "SELECT fingerprint, request_id, held_until, status, headers, body
        FROM idempotency_key WHERE id = $1 AND expires_at > $2";
    let Some(row) = tx.opt::<Row>(SQL, args![id, now]).await? else { return Ok(None) };
    if row.fingerprint != fingerprint {
        return Ok(Some(Known::Other));
    }
    let Some(status) = row.status else {
        return Ok((row.held_until > now.0).then_some(Known::Held));
    };
    let status = u16::try_from(status).map_err(|_| Error::corrupt("idempotency_key.status", status))?;
    Ok(Some(Known::Answered(Answer {
        status,
        headers: row.headers.map(|headers| headers.0).unwrap_or_default(),
        body: row.body.unwrap_or_default(),
        request_id: row.request_id,
    })))
}

/// Holds a key for an attempt until `until`, and gives the id that all attempts at the request have in common
/// (the first one's); nothing if [`find`] tells something of it.
pub async fn hold(
    tx: &mut Tx,
    attempt: &Attempt,
    now: Timestamp,
    until: Timestamp,
    expires: Timestamp,
) -> Result<Option<Uuid>, Error> {
    put(tx, attempt, None, now, until, expires).await
}

/// Stores the answer to an attempt that held nothing; false if [`find`] tells something of the key. In the
/// transaction that does what is answered, both happen or neither.
pub async fn answer(
    tx: &mut Tx,
    attempt: &Attempt,
    answer: &Answer,
    now: Timestamp,
    expires: Timestamp,
) -> Result<bool, Error> {
    Ok(put(tx, attempt, Some(answer), now, now, expires).await?.is_some())
}

async fn put(
    tx: &mut Tx,
    attempt: &Attempt,
    answer: Option<&Answer>,
    now: Timestamp,
    until: Timestamp,
    expires: Timestamp,
) -> Result<Option<Uuid>, Error> {
    const SQL: &str = "INSERT INTO idempotency_key
            (id, fingerprint, project, request_id, first, held_by, held_until, status, headers, body, expires_at)
        VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (id) DO UPDATE SET
            first = CASE WHEN idempotency_key.expires_at <= $11 THEN excluded.first
                ELSE idempotency_key.first END,
            fingerprint = excluded.fingerprint, request_id = excluded.request_id, held_by = excluded.held_by, held_until = excluded.held_until, status = excluded.status,
            headers = excluded.headers, body = excluded.body, expires_at = excluded.expires_at
        WHERE idempotency_key.expires_at <= $11 OR (idempotency_key.status IS NULL
            AND idempotency_key.held_until <= $11 AND idempotency_key.fingerprint = excluded.fingerprint)
        RETURNING first";
    let Attempt { id, fingerprint, project, request_id, by } = attempt;
    let (status, headers, body) = columns(answer)?;
    let (project, request_id) = (project.as_str(), request_id.as_str());
    let values =
        args![*id, fingerprint.clone(), project, request_id, *by, until, status, headers, body, expires, now];
    let first: Option<(Uuid,)> = tx.opt(SQL, values).await?;
    Ok(first.map(|(first,)| first))
}

/// Stores the answer of an attempt that holds its key; false if another has taken it over.
pub async fn settle(tx: &mut Tx, attempt: &Attempt, answer: &Answer) -> Result<bool, Error> {
    const SQL: &str = "UPDATE idempotency_key SET status = $3, headers = $4, body = $5
        WHERE id = $1 AND held_by = $2 AND status IS NULL";
    let (status, headers, body) = columns(Some(answer))?;
    Ok(tx.exec(SQL, args![attempt.id, attempt.by, status, headers, body]).await? == 1)
}

/// Ends an attempt that holds its key and has nothing to tell for ever: the next one may begin at once.
pub async fn release(tx: &mut Tx, attempt: &Attempt) -> Result<(), Error> {
    const SQL: &str = "UPDATE idempotency_key SET held_until = 0
        WHERE id = $1 AND held_by = $2 AND status IS NULL";
    tx.exec(SQL, args![attempt.id, attempt.by]).await.map(drop)
}

/// Deletes up to `limit` keys that have expired; gives how many.
pub async fn sweep(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<u64, Error> {
    const SQL: &str = "DELETE FROM idempotency_key WHERE id IN (
        SELECT id FROM idempotency_key WHERE expires_at <= $1 ORDER BY expires_at, id LIMIT $2)";
    tx.exec(SQL, args![now, limit]).await
}

type Columns = (Option<i64>, Option<serde_json::Value>, Option<Vec<u8>>);

fn columns(answer: Option<&Answer>) -> Result<Columns, Error> {
    let Some(answer) = answer else { return Ok((None, None, None)) };
    let headers = serde_json::to_value(&answer.headers);
    let headers = headers.map_err(|error| Error::corrupt("headers of an answer", error))?;
    Ok((Some(i64::from(answer.status)), Some(headers), Some(answer.body.clone())))
}
