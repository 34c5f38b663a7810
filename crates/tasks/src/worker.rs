//! Workers: registration, beats, and taking over from those whose beat stands still.

use std::collections::HashMap;
use std::time::Duration;

use model::bug::{Bug, planted};
use model::{Env, WorkerId};
use sql::{Db, Error, Tx, Work, args};
use uuid::Uuid;

/// How long a beat must stand still before the worker's tasks may be taken.
pub const LEASE: Duration = Duration::from_secs(15);

/// How often a worker bumps its beat.
pub const BEAT: Duration = Duration::from_secs(3);

/// One incarnation of a worker process, as registered in a database.
#[derive(Debug)]
pub struct Worker {
    /// Its lease name.
    pub id: WorkerId,
    /// What it plays: `superconductor`, `conductor`.
    kind: &'static str,
    lease: Duration,
    /// What it has seen of the others: their beat, and when it was first seen, by its own clock.
    seen: HashMap<Uuid, (i64, Duration)>,
}

impl Worker {
    /// Registers a new incarnation.
    pub async fn register<D: 'static>(
        db: &Db<D>,
        env: &Env,
        kind: &'static str,
        name: &str,
        lease: Duration,
    ) -> Result<Self, Error> {
        const SQL: &str = "INSERT INTO worker (id, kind, name, version, beat, started_at)
            VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT (id) DO NOTHING";
        let (id, now): (WorkerId, _) = (env.id(), env.now());
        let name = name.to_owned();
        db.write(move |tx| -> Work<'_, u64> {
            let name = name.clone();
            Box::pin(async move { tx.exec(SQL, args![id, kind, name, env!("CARGO_PKG_VERSION"), now]).await })
        })
        .await?;
        Ok(Self { id, kind, lease, seen: HashMap::new() })
    }

    /// Bumps the beat and releases the tasks of workers whose beat has stood still for the lease.
    /// False if this worker was itself declared dead: it must drop all that it holds and register anew.
    ///
    /// # Errors
    /// Whatever keeps the database from answering; the caller goes on and beats again.
    pub async fn beat<D: 'static>(&mut self, db: &Db<D>, env: &Env) -> Result<bool, Error> {
        let (me, kind) = (self.id, self.kind);
        let others = db
            .write(move |tx| -> Work<'_, Option<Vec<(Uuid, i64)>>> {
                Box::pin(async move {
                    if tx.exec("UPDATE worker SET beat = beat + 1 WHERE id = $1", args![me]).await? == 0 {
                        return Ok(None);
                    }
                    let sql = "SELECT id, beat FROM worker WHERE kind = $1 AND id <> $2";
                    Ok(Some(tx.all(sql, args![kind, me]).await?))
                })
            })
            .await?;
        let Some(others) = others else { return Ok(false) };
        let now = env.monotonic();
        self.seen.retain(|id, _| others.iter().any(|(other, _)| other == id));
        for (id, beat) in others {
            let seen = self.seen.entry(id).or_insert((beat, now));
            if seen.0 != beat {
                *seen = (beat, now);
            } else if now.saturating_sub(seen.1) >= self.lease && !planted(Bug::NobodyTakesOver) {
                let released = take_over(db, WorkerId(id), beat).await?;
                if let Some(tasks) = released {
                    tracing::warn!(worker = %id, tasks, "a worker's beat stands still: its tasks are free");
                }
                self.seen.remove(&id);
            }
        }
        Ok(true)
    }

    /// Gives everything back, at an orderly end.
    pub async fn retire<D: 'static>(&self, db: &Db<D>) -> Result<(), Error> {
        let me = self.id;
        db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                tx.exec("DELETE FROM worker WHERE id = $1", args![me]).await?;
                free(tx, me).await.map(drop)
            })
        })
        .await
    }
}

/// Releases a worker's tasks if its beat is still the one seen.
async fn take_over<D: 'static>(db: &Db<D>, worker: WorkerId, beat: i64) -> Result<Option<u64>, Error> {
    db.write(move |tx| -> Work<'_, Option<u64>> {
        Box::pin(async move {
            let gone = tx.exec("DELETE FROM worker WHERE id = $1 AND beat = $2", args![worker, beat]).await?;
            if gone == 0 { Ok(None) } else { free(tx, worker).await.map(Some) }
        })
    })
    .await
}

async fn free<D>(tx: &mut Tx<D>, worker: WorkerId) -> Result<u64, Error> {
    tx.exec("UPDATE task SET owner = NULL WHERE owner = $1", args![worker]).await
}
