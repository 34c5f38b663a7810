//! The limit of whatever promises durably: bare single-row inserts, each a commit of its own.

use std::time::Duration;

use anyhow::bail;
use model::Env;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};
use tokio::task::JoinSet;

/// A database with a table of ours.
#[derive(Clone, Debug)]
pub enum Commits {
    /// PostgreSQL, one connection for each caller.
    Postgres(PgPool),
    /// SQLite in WAL with `synchronous=FULL`, through its one writer.
    Sqlite(SqlitePool),
}

const TABLE: &str = "CREATE TABLE bare (id UUID PRIMARY KEY, body JSONB NOT NULL)";
const INSERT: &str = "INSERT INTO bare (id, body) VALUES ($1, $2)";

impl Commits {
    /// On an empty database.
    pub async fn postgres(url: &str, most: usize) -> anyhow::Result<Self> {
        let options = sqlx::postgres::PgPoolOptions::new().max_connections(most as u32);
        let pool = options.test_before_acquire(false).connect(url).await?;
        sqlx::query(TABLE).execute(&pool).await?;
        Ok(Self::Postgres(pool))
    }

    /// In a file that does not exist.
    pub async fn sqlite(file: &std::path::Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false);
        let pool = pool.connect_with(options).await?;
        sqlx::query(TABLE).execute(&pool).await?;
        Ok(Self::Sqlite(pool))
    }

    async fn insert(&self, env: &Env, body: &Value) -> anyhow::Result<()> {
        let id = env.uuid();
        let rows = match self {
            Self::Postgres(pool) => {
                sqlx::query(INSERT).bind(id).bind(body).execute(pool).await?.rows_affected()
            }
            Self::Sqlite(pool) => {
                sqlx::query(INSERT).bind(id).bind(body).execute(pool).await?.rows_affected()
            }
        };
        if rows == 1 { Ok(()) } else { bail!("{rows} rows were inserted") }
    }

    /// Commits a second by so many callers.
    pub async fn rate(&self, callers: usize, length: Duration) -> anyhow::Result<f64> {
        let env = Env::system();
        let body = json!({"text": "x".repeat(280)});
        let (start, mut all) = (env.monotonic(), JoinSet::new());
        for _ in 0..callers {
            let (commits, env, body) = (self.clone(), env.clone(), body.clone());
            all.spawn(async move {
                let mut done = 0_u64;
                while env.monotonic() - start < length {
                    commits.insert(&env, &body).await?;
                    done += 1;
                }
                anyhow::Ok(done)
            });
        }
        let mut done = 0;
        while let Some(own) = all.join_next().await {
            done += own??;
        }
        Ok(done as f64 / (env.monotonic() - start).as_secs_f64())
    }
}
