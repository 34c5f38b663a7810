//! Users of our own, in the API database.
//!
//! What was checked is kept in the process, together with the revision of the database that it was read at.
//! Whatever makes a token worth less raises the revision in its own transaction; every process looks at the
//! revision twice a second, so a revoked token is refused everywhere within a second.

pub mod assignments;
pub mod bootstrap;
pub mod credentials;
pub mod entities;
mod guess;
pub mod issue;
mod lookup;
mod password;
mod roles;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use api_db::identity as db;
use model::{Caller, Context, Env, Fault, FaultKind};
use moka::sync::Cache;
use serde_json::Value;
use sql::Work;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::known::Known;
use guess::Guesses;
use password::Hashing;
pub(crate) use password::sha256;
use roles::Roles;

/// How often the revision is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long what was checked is believed while the database does not answer.
const BELIEVED: Duration = Duration::from_secs(60);
/// How often tokens that are over are removed, in looks.
const PURGE: u64 = 1_200;
/// How long tokens that are over are kept.
const OVER: Duration = Duration::from_secs(3_600);
/// Most tokens kept in the process.
const KEPT: u64 = 100_000;

/// How identity behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a token is good.
    pub token_lifetime: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { token_lifetime: Duration::from_secs(3_600) }
    }
}

/// On whose behalf something is changed, for the audit.
#[derive(Clone, Debug)]
pub struct By {
    /// The caller.
    pub caller: Arc<Caller>,
    /// The request.
    pub context: Context,
}

/// Why nobody was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As the fault says.
    Fault(Fault),
    /// Too many failures: not looked at before this time is over.
    Wait(Duration),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

struct Kept {
    revision: i64,
    known: Arc<Known>,
}

struct Inner {
    settings: Settings,
    env: Env,
    db: api_db::Db,
    hashing: Hashing,
    guesses: Guesses,
    kept: Cache<Vec<u8>, Arc<Kept>>,
    roles: Roles,
    /// The newest revision that this process has heard of.
    revision: AtomicI64,
    /// When it last looked, in monotonic microseconds.
    looked: AtomicU64,
}

/// Users of our own. Cheap to clone.
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Embedded {
    /// Users in `db`, and a loop until `shutdown` that hears of what other processes change. Nothing waits for
    /// the database.
    pub fn start(settings: Settings, env: Env, db: api_db::Db, shutdown: CancellationToken) -> Self {
        let embedded = Self::without_loop(settings, env, db);
        let follower = embedded.clone();
        tokio::spawn(async move { shutdown.run_until_cancelled(follower.follow()).await });
        embedded
    }

    /// The same without the loop, for one command.
    pub fn without_loop(settings: Settings, env: Env, db: api_db::Db) -> Self {
        let kept = Cache::builder().max_capacity(KEPT).time_to_live(settings.token_lifetime).build();
        Self {
            inner: Arc::new(Inner {
                settings,
                guesses: Guesses::new(env.clone()),
                env,
                db,
                hashing: Hashing::default(),
                kept,
                roles: Roles::default(),
                revision: AtomicI64::new(-1),
                looked: AtomicU64::new(0),
            }),
        }
    }

    /// What a token stands for, from memory if that is current.
    pub(crate) async fn validate(&self, token: &str) -> Result<Option<Arc<Known>>, Fault> {
        let hash = password::sha256(token);
        let now = self.inner.env.now();
        if let Some(kept) = self.inner.kept.get(&hash)
            && kept.revision == self.inner.revision.load(Ordering::Acquire)
            && self.believes()
        {
            return Ok(kept.known.lasts(now).then(|| Arc::clone(&kept.known)));
        }
        let inner = Arc::clone(&self.inner);
        let key = hash.clone();
        let found = self.inner.db.read(move |tx| -> Work<'_, _> {
            let (inner, key) = (Arc::clone(&inner), key.clone());
            Box::pin(async move { lookup::token(tx, &key, inner.env.now(), &inner.roles).await })
        });
        let Some((known, revision)) = found.await? else { return Ok(None) };
        let known = Arc::new(known);
        self.heard(revision);
        self.inner.kept.insert(hash, Arc::new(Kept { revision, known: Arc::clone(&known) }));
        Ok(Some(known))
    }

    /// Whether the revision was looked at lately.
    fn believes(&self) -> bool {
        let looked = Duration::from_micros(self.inner.looked.load(Ordering::Acquire));
        self.inner.env.monotonic().saturating_sub(looked) < BELIEVED
    }

    /// Takes in a revision, read or made now.
    fn heard(&self, revision: i64) {
        self.inner.revision.fetch_max(revision, Ordering::AcqRel);
    }

    async fn follow(self) {
        let mut looks: u64 = 0;
        let mut complained = false;
        loop {
            let started = self.inner.env.monotonic();
            match self.read((), |tx, ()| Box::pin(db::revision(tx))).await {
                Ok(revision) => {
                    self.heard(revision);
                    self.inner.looked.store(started.as_micros() as u64, Ordering::Release);
                    complained = false;
                }
                Err(why) if !complained => {
                    tracing::warn!(%why, "cannot hear whether tokens were revoked");
                    complained = true;
                }
                Err(_) => {}
            }
            if looks.is_multiple_of(PURGE) {
                let then = model::Timestamp(self.inner.env.now().0 - OVER.as_micros() as i64);
                if let Err(why) = self.write(then, |tx, then| Box::pin(db::tokens::purge(tx, then))).await {
                    tracing::debug!(%why, "tokens that are over were not removed");
                }
            }
            looks += 1;
            tokio::time::sleep(self.inner.env.jitter(LOOK)).await;
        }
    }

    /// Reads with a function of `input`.
    async fn read<I, T>(&self, input: I, run: Step<I, T>) -> Result<T, Fault>
    where
        I: Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        Ok(self.inner.db.read(move |tx| -> Work<'_, T> { run(tx, input.clone()) }).await?)
    }

    /// Writes with a function of `input`.
    async fn write<I, T>(&self, input: I, run: Step<I, T>) -> Result<T, Fault>
    where
        I: Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        Ok(self.inner.db.write(move |tx| -> Work<'_, T> { run(tx, input.clone()) }).await?)
    }

    /// Makes a change that is audited, and that tokens known to any process may be worth less (or more) by.
    async fn change<I, T>(&self, by: &By, what: Audit<'_>, input: I, run: Step<I, T>) -> Result<T, Fault>
    where
        I: Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        let (id, now, by) = (self.inner.env.uuid(), self.inner.env.now(), by.clone());
        let Audit { action, target, detail } = what;
        let (target, name) = (Uuid::parse_str(target).ok(), target.to_owned());
        let done = self.inner.db.write(move |tx| -> Work<'_, (T, i64)> {
            let (input, by, detail, name) = (input.clone(), by.clone(), detail.clone(), name.clone());
            Box::pin(async move {
                let done = run(tx, input).await?;
                let mut detail = detail;
                if target.is_none() {
                    detail["target"] = Value::from(name);
                }
                api_db::audit::record(tx, id, now, (&by.caller, &by.context), action, target, detail).await?;
                Ok((done, db::changed(tx).await?))
            })
        });
        let (done, revision) = done.await?;
        self.heard(revision);
        Ok(done)
    }
}

/// One step in the database, as a plain function.
type Step<I, T> = for<'t> fn(&'t mut api_db::Tx, I) -> Work<'t, T>;

/// What an audit's record says.
struct Audit<'a> {
    action: &'static str,
    target: &'a str,
    /// An object.
    detail: Value,
}

impl<'a> Audit<'a> {
    fn of(action: &'static str, target: &'a str) -> Self {
        Self { action, target, detail: Value::Object(serde_json::Map::new()) }
    }
}

/// Keystone's text for what is not there (`keystone/exception.py`).
fn missing(what: &str, id: &str) -> Fault {
    Fault::not_found(format!("Could not find {what}: {id}."))
}

/// Keystone's text for who is not let in, whatever the reason was.
fn not_you() -> Fault {
    Fault::new(FaultKind::Unauthenticated, "The request you have made requires authentication.")
}
