//! Schema versions: an ordered list of texts, applied once each, the same for both engines.
//!
//! Migrations expand first and contract a release later, so two neighbouring versions of the code work
//! on one schema. A database records its version and the lowest newest version of code that may still work on
//! it; a role refuses a schema outside its range.

use model::{Env, Fault, Incarnation};
use uuid::Uuid;

use crate::error::Error;
use crate::tx::Tx;
use crate::{Db, Engine, Work, args, create};

/// The history of one schema. The texts are append-only.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// `api` or `cell`; also guards against opening one as the other.
    pub name: &'static str,
    /// The texts; version N is the Nth, counted from 1.
    pub steps: &'static [&'static str],
    /// The lowest version of a database that this code can work on.
    pub oldest: i64,
    /// What the newest version of other code has to be at least, if that is to work on a database of our newest
    /// version: the release before goes on while roles are restarted one by one.
    pub serves: i64,
}

/// What a database says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its version; 0 if it is empty.
    pub version: i64,
    /// Its incarnation, new after a restore.
    pub incarnation: Incarnation,
}

const META: &str = "CREATE TABLE IF NOT EXISTS schema_meta (
  one BIGINT PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, version BIGINT NOT NULL,
  incarnation UUID NOT NULL, migrating_since BIGINT)";

/// A table of its own, and read only where the version is newer than ours: whoever wrote that one has made it.
const RANGE: &str = "CREATE TABLE IF NOT EXISTS schema_range (
  one BIGINT PRIMARY KEY CHECK (one = 1), serves BIGINT NOT NULL)";

#[derive(sqlx::FromRow)]
struct Meta {
    name: String,
    version: i64,
    incarnation: Uuid,
}

async fn meta<D>(tx: &mut Tx<D>) -> Result<Option<Meta>, Error> {
    tx.opt("SELECT name, version, incarnation FROM schema_meta WHERE one = 1", vec![]).await
}

/// The incarnation of the database that `tx` is on.
pub async fn incarnation<D>(tx: &mut Tx<D>) -> Result<Incarnation, Error> {
    let found = meta(tx).await?.ok_or_else(|| Error::corrupt("schema_meta", "no row"))?;
    Ok(Incarnation(found.incarnation))
}

/// Gives the database another incarnation: whoever remembers the last one believes nothing that he remembers of it.
pub async fn renew<D>(tx: &mut Tx<D>, incarnation: Incarnation) -> Result<(), Error> {
    tx.swap("UPDATE schema_meta SET incarnation = $1 WHERE one = 1", args![incarnation]).await
}

impl Schema {
    /// The newest version that this code knows.
    pub fn newest(&self) -> i64 {
        self.steps.len() as i64
    }

    /// Brings a database to the newest version, one transaction a step; safe to run at the same time. A PostgreSQL
    /// database of another encoding or collation than all others is refused: its order would differ from theirs.
    pub async fn migrate<D: 'static>(&'static self, db: &Db<D>, env: &Env) -> Result<Status, Error> {
        if db.engine() == Engine::Postgres {
            type Order = Option<(String, String)>;
            let order = db.read(|tx| -> Work<'_, Order> { Box::pin(tx.opt(create::ORDER, vec![])) }).await?;
            let (encoding, collation) = order.unwrap_or_default();
            create::same_order(&encoding, &collation)?;
        }
        let incarnation: Incarnation = env.id();
        let mut attempt = 0;
        // CREATE TABLE IF NOT EXISTS may fail on PostgreSQL when two run it at the same moment.
        while let Err(error) = self.describe(db, incarnation).await {
            attempt += 1;
            if attempt == 5 || !matches!(error, Error::Statement(_) | Error::Contended(_)) {
                return Err(error);
            }
        }
        loop {
            let done = db
                .write(move |tx| -> Work<'_, bool> {
                    Box::pin(async move {
                        // The update takes the row's lock, so a second migrator waits here and then finds it done.
                        tx.exec("UPDATE schema_meta SET migrating_since = version WHERE one = 1", vec![])
                            .await?;
                        let found = meta(tx).await?;
                        let meta = self.check(tx, found).await?;
                        let Some(step) = usize::try_from(meta.version).ok().and_then(|at| self.steps.get(at))
                        else {
                            return Ok(true);
                        };
                        tx.raw(step).await?;
                        // What was said once is not taken back: versions and ranges only grow.
                        const SERVES: &str = "INSERT INTO schema_range (one, serves) VALUES (1, $1)
                            ON CONFLICT (one) DO UPDATE SET serves = excluded.serves
                            WHERE schema_range.serves < excluded.serves";
                        tx.exec(SERVES, args![self.serves]).await?;
                        tx.exec("UPDATE schema_meta SET version = $1 WHERE one = 1", args![meta.version + 1])
                            .await?;
                        Ok(false)
                    })
                })
                .await?;
            if done {
                return self.status(db).await;
            }
        }
    }

    async fn describe<D: 'static>(&'static self, db: &Db<D>, incarnation: Incarnation) -> Result<(), Error> {
        db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                tx.raw(META).await?;
                tx.raw(RANGE).await?;
                tx.exec(
                    "INSERT INTO schema_meta (one, name, version, incarnation) VALUES (1, $1, 0, $2)
           ON CONFLICT (one) DO NOTHING",
                    args![self.name, incarnation],
                )
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// What the database says of itself, refused if this code cannot work on it.
    pub async fn status<D: 'static>(&'static self, db: &Db<D>) -> Result<Status, Error> {
        let meta = db
            .read(move |tx| -> Work<'_, Meta> {
                Box::pin(async move {
                    let found = match meta(tx).await {
                        Err(Error::Statement(_)) => None,
                        other => other?,
                    };
                    self.check(tx, found).await
                })
            })
            .await?;
        if meta.version < self.oldest {
            return Err(Error::Fault(Fault::unavailable(format!(
                "the {} database has schema version {}, this release needs {} to {}: run 'skep db sync'",
                self.name,
                meta.version,
                self.oldest,
                self.newest()
            ))));
        }
        Ok(Status { version: meta.version, incarnation: Incarnation(meta.incarnation) })
    }

    async fn check<D>(&self, tx: &mut Tx<D>, meta: Option<Meta>) -> Result<Meta, Error> {
        let refuse = |why: String| Err(Error::Fault(Fault::unavailable(why)));
        match meta {
            None => refuse(format!("the {} database is empty: run 'skep db sync'", self.name)),
            Some(meta) if meta.name != self.name => {
                refuse(format!("this is a database of kind '{}', not '{}'", meta.name, self.name))
            }
            Some(meta) if meta.version > self.newest() => {
                let serves: Option<(i64,)> =
                    tx.opt("SELECT serves FROM schema_range WHERE one = 1", vec![]).await?;
                match serves {
                    Some((serves,)) if serves <= self.newest() => Ok(meta),
                    _ => refuse(format!(
                        "the {} database has schema version {}, newer than the {} that this release knows and not made \
                         for it: use a newer release",
                        self.name,
                        meta.version,
                        self.newest()
                    )),
                }
            }
            Some(meta) => Ok(meta),
        }
    }
}
