//! Who is connected: whether anybody still uses credentials that are to be forgotten.

use crate::db::{Db, Engine};
use crate::error::Error;
use crate::{Work, pg};

impl<D: 'static> Db<D> {
    /// The users, other than the one that this connects as, by whom processes of ours are connected to this database,
    /// with the number of their connections. SQLite has no users.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn other_users(&self) -> Result<Vec<(String, i64)>, Error> {
        // Every user may see these columns of everybody's sessions
        // (<https://www.postgresql.org/docs/current/monitoring-stats.html>).
        const SQL: &str = "SELECT CAST(usename AS TEXT), COUNT(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = $1 AND usename <> session_user
            GROUP BY usename ORDER BY 1";
        if self.engine() != Engine::Postgres {
            return Ok(Vec::new());
        }
        self.read(|tx| -> Work<'_, Vec<(String, i64)>> {
            Box::pin(async move { tx.all(SQL, crate::args![pg::NAME]).await })
        })
        .await
    }
}
