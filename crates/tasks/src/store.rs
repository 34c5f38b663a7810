//! All the SQL there is about tasks. Every function takes the caller's transaction.

use std::time::Duration;

use model::{Env, TaskId, Timestamp, WorkerId};
use serde_json::Value;
use sql::{Args, Error, Json, Rows, Tx, args};
use uuid::Uuid;

/// Number of hash buckets; workers start scanning at different ones, so that they seldom collide.
pub const BUCKETS: u64 = 1_024;

/// The longest back-off. A `run_at` further ahead than this was written by a wrong clock and is due.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// A task to enqueue.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// Kind and version of its states, as `build/1`. Workers leave kinds alone that they do not know.
    pub kind: &'static str,
    /// The instance that it works on.
    pub subject: Uuid,
    /// The state to begin in.
    pub state: Value,
    /// Hash bucket below [`BUCKETS`].
    pub bucket: i64,
    /// When it must have ended.
    pub deadline: Timestamp,
    /// The request that asked for it.
    pub request_id: String,
    /// Now.
    pub created: Timestamp,
}

/// What proves that a task is held: leased again, even by the same worker, it is another lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The task.
    pub task: TaskId,
    /// The worker's incarnation that leased it.
    pub owner: WorkerId,
    /// How often it has been leased, this time included.
    pub attempt: i64,
}

/// A task that this worker holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Leased {
    /// The proof.
    pub lease: Lease,
    /// Kind and version.
    pub kind: String,
    /// The instance that it works on.
    pub subject: Uuid,
    /// The state that it has reached.
    pub state: Value,
    /// When it must have ended.
    pub deadline: Timestamp,
    /// When it was enqueued.
    pub created: Timestamp,
    /// The request that asked for it.
    pub request_id: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    subject: Uuid,
    state: Json<Value>,
    attempt: i64,
    deadline: i64,
    created_at: i64,
    request_id: String,
}

impl Row {
    fn leased(self, owner: WorkerId) -> Leased {
        let row = self;
        Leased {
            lease: Lease { task: TaskId(row.id), owner, attempt: row.attempt },
            kind: row.kind,
            subject: row.subject,
            state: row.state.0,
            deadline: Timestamp(row.deadline),
            created: Timestamp(row.created_at),
            request_id: row.request_id,
        }
    }
}

/// Stores a task. False if the subject has a live one already: nothing was stored.
pub async fn enqueue<D>(tx: &mut Tx<D>, task: &NewTask) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO task
        (id, kind, subject, state, bucket, attempt, run_at, deadline, parked, request_id, created_at)
        VALUES ($1, $2, $3, $4, $5, 0, $6, $7, false, $8, $6) ON CONFLICT (subject) DO NOTHING";
    let args = args![
        task.id,
        task.kind,
        task.subject,
        task.state.clone(),
        task.bucket,
        task.created,
        task.deadline,
        task.request_id.clone()
    ];
    Ok(tx.exec(SQL, args).await? == 1)
}

/// The subject's live task, if it has one: its id and kind.
pub async fn live<D>(tx: &mut Tx<D>, subject: Uuid) -> Result<Option<(TaskId, String)>, Error> {
    const SQL: &str = "SELECT id, kind FROM task WHERE subject = $1";
    let row: Option<(Uuid, String)> = tx.opt(SQL, args![subject]).await?;
    Ok(row.map(|(id, kind)| (TaskId(id), kind)))
}

/// Removes the subject's live task, whatever its state and owner, and says what kind it was and what it
/// had reached: a newer promise replaces it. The caller must bump the subject's fencing counter in the
/// same transaction.
pub async fn supersede<D>(tx: &mut Tx<D>, subject: Uuid) -> Result<Option<(String, Value)>, Error> {
    const SQL: &str = "DELETE FROM task WHERE subject = $1 RETURNING kind, state";
    let row: Option<(String, Json<Value>)> = tx.opt(SQL, args![subject]).await?;
    Ok(row.map(|(kind, state)| (kind, state.0)))
}

/// Leases up to `limit` due tasks of the (at most four) `kinds`, looking from bucket `from` on and then
/// from the first. The caller must bump the subjects' fencing counters in the same transaction.
///
/// # Errors
/// [`Error::Stale`] if this worker was declared dead.
pub async fn lease<D>(
    tx: &mut Tx<D>,
    worker: WorkerId,
    kinds: [&'static str; 4],
    from: i64,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Leased>, Error> {
    // One text: choose candidates, compare-and-swap them. Two workers may choose the same; the row
    // decides, and neither waits for the other's choice.
    const SQL: &str = "UPDATE task SET owner = $1, attempt = attempt + 1 WHERE owner IS NULL AND id IN (
          SELECT id FROM task WHERE owner IS NULL AND NOT parked AND bucket >= $2 AND bucket < $3
            AND kind IN ($4, $5, $6, $7) AND (run_at <= $8 OR run_at > $9)
          ORDER BY bucket LIMIT $10)
        RETURNING id, kind, subject, state, attempt, deadline, created_at, request_id";
    // Whoever declares this worker dead deletes its row and then frees what it holds: this update makes
    // the two take turns, so that nothing is leased under a name that nobody watches any more.
    const ALIVE: &str = "UPDATE worker SET beat = beat WHERE id = $1";
    if tx.exec(ALIVE, args![worker]).await? == 0 {
        return Err(Error::Stale);
    }
    let mut out: Vec<Leased> = Vec::new();
    for (low, high) in [(from, BUCKETS as i64), (0, from)] {
        let left = limit - out.len() as i64;
        if left > 0 && low < high {
            let args = args![
                worker,
                low,
                high,
                kinds[0],
                kinds[1],
                kinds[2],
                kinds[3],
                now,
                now.plus(LONGEST_BACKOFF),
                left
            ];
            out.extend(tx.all::<Row>(SQL, args).await?.into_iter().map(|row| row.leased(worker)));
        }
    }
    Ok(out)
}

/// Records the states that tasks have reached; those no longer held are left out of the answer.
pub async fn advance<D>(tx: &mut Tx<D>, states: Vec<(Lease, Value)>) -> Result<Vec<TaskId>, Error> {
    const SQL: Rows = Rows {
        head: "UPDATE task SET state = v.column4 FROM (VALUES",
        tail: ") AS v WHERE task.id = v.column1 AND task.owner = v.column2 AND task.attempt = v.column3
            RETURNING task.id",
    };
    let rows = states.into_iter().map(|(held, state)| args![held.task, held.owner, held.attempt, state]);
    held(tx, SQL, rows.collect(), "task.advance").await
}

/// Removes finished tasks; those no longer held are left out of the answer.
pub async fn finish<D>(tx: &mut Tx<D>, leases: &[Lease]) -> Result<Vec<TaskId>, Error> {
    const SQL: Rows =
        Rows { head: "DELETE FROM task WHERE (id, owner, attempt) IN (VALUES", tail: ") RETURNING id" };
    let rows = leases.iter().map(|held| args![held.task, held.owner, held.attempt]).collect();
    held(tx, SQL, rows, "task.finish").await
}

/// Gives tasks back, to be leased again not before the given time, noting why.
pub async fn release<D>(tx: &mut Tx<D>, tasks: Vec<(Lease, Timestamp, String)>) -> Result<(), Error> {
    const SQL: Rows = Rows {
        head: "UPDATE task SET owner = NULL, run_at = v.column4, last_fault = v.column5 FROM (VALUES",
        tail: ") AS v WHERE task.id = v.column1 AND task.owner = v.column2 AND task.attempt = v.column3",
    };
    let row = |(held, run_at, why): (Lease, Timestamp, String)| {
        args![held.task, held.owner, held.attempt, run_at, why]
    };
    let rows: Vec<Args> = tasks.into_iter().map(row).collect();
    let asked = rows.len() as u64;
    refused(asked.saturating_sub(tx.exec_rows(SQL, rows).await?), "task.release");
    Ok(())
}

/// Sets a task aside for an operator: it is never leased again by itself.
pub async fn park<D>(tx: &mut Tx<D>, held: Lease, why: &str) -> Result<(), Error> {
    const SQL: &str = "UPDATE task SET owner = NULL, parked = true, last_fault = $4
        WHERE id = $1 AND owner = $2 AND attempt = $3";
    tx.exec(SQL, args![held.task, held.owner, held.attempt, why]).await.map(drop)
}

/// What became of a task that an operator wants tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It is due now; the instance that it works on.
    Due(Uuid),
    /// A worker holds it: nothing was changed.
    Held,
    /// There is none.
    Gone,
}

/// Makes a task due, and has it leased again if it was set aside. What it has reached stays.
pub async fn retry<D>(tx: &mut Tx<D>, task: TaskId, now: Timestamp) -> Result<Retried, Error> {
    const SQL: &str =
        "UPDATE task SET parked = false, run_at = $2 WHERE id = $1 AND owner IS NULL RETURNING subject";
    const FIND: &str = "SELECT subject FROM task WHERE id = $1";
    if let Some((subject,)) = tx.opt::<(Uuid,)>(SQL, args![task, now]).await? {
        return Ok(Retried::Due(subject));
    }
    let there = tx.opt::<(Uuid,)>(FIND, args![task]).await?.is_some();
    Ok(if there { Retried::Held } else { Retried::Gone })
}

/// The tasks that were still held, of those that a statement was about.
async fn held<D>(
    tx: &mut Tx<D>,
    sql: Rows,
    rows: Vec<Args>,
    place: &'static str,
) -> Result<Vec<TaskId>, Error> {
    let asked = rows.len();
    let found: Vec<(Uuid,)> = tx.all_rows(sql, rows).await?;
    refused(asked.saturating_sub(found.len()) as u64, place);
    Ok(found.into_iter().map(|(id,)| TaskId(id)).collect())
}

/// Counts writes that came from a lease that is over. A transaction that runs again counts again.
fn refused(count: u64, place: &'static str) {
    if count > 0 {
        metrics::counter!("skep_fenced_writes_total", "where" => place).increment(count);
    }
}

/// How long to wait before the next try after `attempt` tries: 100 ms doubling to [`LONGEST_BACKOFF`],
/// with jitter.
pub fn backoff(env: &Env, attempt: i64) -> Duration {
    let doubled = Duration::from_millis(100) * 2_u32.pow(attempt.clamp(0, 9) as u32);
    env.jitter(doubled.min(LONGEST_BACKOFF / 2))
}
