//! Two database engines behind one: SQLite and PostgreSQL, one SQL text for both.
//!
//! The rules that hold here, and why, are in `docs/decisions/0001`:
//!
//! - A change is a *re-runnable closure* given to [`Db::write`]: it awaits nothing but its transaction,
//!   may be run again (serialization failures), and may share one commit with others (SQLite).
//! - The result is done, not committed, or [`Error::Unknown`]: after a deadline or a cut connection in
//!   the middle of COMMIT nobody can tell, so ids are chosen before the transaction and the caller reads
//!   again by id.
//! - Every call has a client-side deadline; a connection that missed one is closed, never pooled.
//! - Expected conflicts are upserts with row counts, never caught violations.

mod args;
mod create;
mod db;
mod error;
mod lite;
pub mod migrate;
mod paged;
mod pg;
mod pool;
mod rows;
#[cfg(feature = "testing")]
pub mod simulated;
#[cfg(feature = "testing")]
pub mod testing;
mod tx;
mod users;

pub use args::{Args, Val};
pub use create::create_database;
pub use db::{Db, Engine, Settings};
pub use error::Error;
pub use paged::{Key, Paged};
pub use rows::Rows;
pub use sqlx::types::Json;
pub use tx::{Rec, Tx};

/// What a closure given to [`Db::write`] or [`Db::read`] returns.
pub type Work<'t, T> = futures::future::BoxFuture<'t, Result<T, Error>>;

/// Gives a closure that is kept in a variable the type that [`Db::write`] and [`Db::read`] ask for.
pub fn work<D, T, F>(closure: F) -> F
where
    F: for<'t> Fn(&'t mut Tx<D>) -> Work<'t, T> + Send + Sync + 'static,
{
    closure
}
