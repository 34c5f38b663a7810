//! A transaction (or, in [`crate::Db::read`], just a connection) on either engine.

use std::marker::PhantomData;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{AssertSqlSafe, FromRow, SqliteConnection};

use crate::args::{self, Args};
use crate::error::Error;
use crate::paged::Paged;
use crate::pool::Pooled;
use crate::rows::Rows;

/// A row type that both engines can fill; `#[derive(sqlx::FromRow)]` gives it.
pub trait Rec: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> {}
impl<R: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>> Rec for R {}

pub(crate) enum Conn {
    Writer(SqliteConnection),
    Reader(PoolConnection<Sqlite>),
    Pg(Pooled),
    Closed,
}

/// A transaction of database `D`: queries of another database do not take it.
pub struct Tx<D> {
    pub(crate) conn: Conn,
    /// Whether a transaction is open, so that the connection must not go back to its pool as it is.
    pub(crate) open: bool,
    _database: PhantomData<fn() -> D>,
}

impl<D> std::fmt::Debug for Tx<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx").field("open", &self.open).finish_non_exhaustive()
    }
}

macro_rules! on {
    ($tx:expr, $sql:expr, $args:expr, $query:ident, $c:ident, $q:ident => $run:expr) => {
        match &mut $tx.conn {
            Conn::Writer($c) => {
                let $q = sqlx::$query($sql, args::lite($args)?);
                $run
            }
            Conn::Reader($c) => {
                let $c = &mut **$c;
                let $q = sqlx::$query($sql, args::lite($args)?);
                $run
            }
            Conn::Pg($c) => {
                let $c = &mut **$c;
                let $q = sqlx::$query($sql, args::pg($args)?);
                $run
            }
            Conn::Closed => return Err(Error::Down("the connection was closed".into())),
        }
    };
}

impl<D> Tx<D> {
    pub(crate) fn new(conn: Conn) -> Self {
        Self { conn, open: false, _database: PhantomData }
    }

    /// Runs a statement and says how many rows it changed.
    pub async fn exec(&mut self, sql: &'static str, args: Args) -> Result<u64, Error> {
        Ok(on!(self, sql, args, query_with, c, q => q.execute(c).await?.rows_affected()))
    }

    /// Runs a statement that must change exactly one row; [`Error::Stale`] if it does not.
    pub async fn swap(&mut self, sql: &'static str, args: Args) -> Result<(), Error> {
        if self.exec(sql, args).await? == 1 { Ok(()) } else { Err(Error::Stale) }
    }

    /// The row that a statement gives, if any.
    pub async fn opt<R: Rec>(&mut self, sql: &'static str, args: Args) -> Result<Option<R>, Error> {
        Ok(on!(self, sql, args, query_as_with, c, q => q.fetch_optional(c).await?))
    }

    /// All rows that a statement gives.
    pub async fn all<R: Rec>(&mut self, sql: &'static str, args: Args) -> Result<Vec<R>, Error> {
        Ok(on!(self, sql, args, query_as_with, c, q => q.fetch_all(c).await?))
    }

    /// All rows of a page.
    pub async fn page<R: Rec>(&mut self, paged: Paged) -> Result<Vec<R>, Error> {
        let Paged { text, args } = paged;
        Ok(on!(self, AssertSqlSafe(text), args, query_as_with, c, q => q.fetch_all(c).await?))
    }

    /// Runs a statement over many rows and says how many it changed.
    pub async fn exec_rows(&mut self, sql: Rows, rows: Vec<Args>) -> Result<u64, Error> {
        let mut changed = 0;
        for (text, args) in sql.statements(rows) {
            changed += self.exec(text, args).await?;
        }
        Ok(changed)
    }

    /// All rows that a statement over many rows gives.
    pub async fn all_rows<R: Rec>(&mut self, sql: Rows, rows: Vec<Args>) -> Result<Vec<R>, Error> {
        let mut out = Vec::new();
        for (text, args) in sql.statements(rows) {
            out.extend(self.all(text, args).await?);
        }
        Ok(out)
    }

    /// All rows that a statement gives which looks for keys in a list (`IN (VALUES …)`), in as few round trips
    /// as possible. Each list holds up to 256 keys, some of them more than once.
    pub async fn all_keys<R: Rec>(&mut self, sql: Rows, keys: Vec<Args>) -> Result<Vec<R>, Error> {
        let mut out = Vec::new();
        for (text, args) in sql.covering(keys) {
            out.extend(self.all(text, args).await?);
        }
        Ok(out)
    }

    /// Runs a text of several statements without arguments: BEGIN, COMMIT, schema changes.
    pub(crate) async fn raw(&mut self, sql: &'static str) -> Result<(), Error> {
        match &mut self.conn {
            Conn::Writer(c) => sqlx::raw_sql(sql).execute(c).await?.rows_affected(),
            Conn::Reader(c) => sqlx::raw_sql(sql).execute(&mut **c).await?.rows_affected(),
            Conn::Pg(c) => sqlx::raw_sql(sql).execute(&mut **c).await?.rows_affected(),
            Conn::Closed => return Err(Error::Down("the connection was closed".into())),
        };
        Ok(())
    }

    /// Closes the connection at once and lets the pool make another: its state is not known.
    pub(crate) fn discard(&mut self) {
        self.open = false;
        match std::mem::replace(&mut self.conn, Conn::Closed) {
            Conn::Reader(conn) => drop(conn.detach()),
            Conn::Pg(conn) => conn.discard(),
            Conn::Writer(_) | Conn::Closed => {}
        }
    }
}

impl<D> Drop for Tx<D> {
    fn drop(&mut self) {
        if self.open {
            self.discard();
        }
    }
}
