//! Copies of databases, taken and put back with the databases' own means while others are connected.

use std::path::PathBuf;

use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::{Database, postgres, unique};

/// A copy of one database.
pub struct Backup {
    url: String,
    copy: Copy,
}

enum Copy {
    /// Another file.
    File(PathBuf),
    /// Another database of the same server, and a database to give orders from.
    Template(String, Database),
}

async fn open(url: &str) -> SqliteConnection {
    SqliteConnection::connect(url).await.expect("opens")
}

async fn run(connection: &mut SqliteConnection, text: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(text.clone()))
        .execute(&mut *connection)
        .await
        .unwrap_or_else(|why| panic!("{text}: {why}"));
}

/// The name in a PostgreSQL URL.
fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// Cuts all connections to a database, and lets no others in if `shut`.
fn cut(desk: &Database, name: &str, shut: bool) {
    desk.query(&format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS {}", !shut));
    desk.query(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"));
}

impl Backup {
    /// Copies the database at `url` as it is now: `VACUUM INTO`, or `CREATE DATABASE … TEMPLATE`.
    ///
    /// # Panics
    /// If the database refuses it.
    pub async fn take(url: &str) -> Self {
        let copy = match url.strip_prefix("sqlite:") {
            Some(path) => {
                let file = PathBuf::from(format!("{path}.{}", unique("copy")));
                run(&mut open(url).await, format!("VACUUM INTO '{}'", file.display())).await;
                Copy::File(file)
            }
            None => {
                let (desk, copy) = (postgres().database("desk"), unique("copy"));
                cut(&desk, name(url), true);
                desk.query(&format!("CREATE DATABASE \"{copy}\" TEMPLATE \"{}\"", name(url)));
                cut(&desk, name(url), false);
                Copy::Template(copy, desk)
            }
        };
        Self { url: url.to_owned(), copy }
    }

    /// Puts the copy back. Nobody may write to the database meanwhile.
    ///
    /// # Panics
    /// If the database refuses it.
    pub async fn put_back(&self) {
        match &self.copy {
            Copy::File(file) => self.refill(file).await,
            Copy::Template(copy, desk) => {
                desk.query(&format!("DROP DATABASE \"{}\" WITH (FORCE)", name(&self.url)));
                desk.query(&format!("CREATE DATABASE \"{}\" TEMPLATE \"{copy}\"", name(&self.url)));
            }
        }
    }

    /// Fills the tables of an open SQLite file with those of the copy, as its online backup does with pages.
    async fn refill(&self, copy: &std::path::Path) {
        const TABLES: &str =
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let mut connection = open(&self.url).await;
        let tables = sqlx::query(TABLES).fetch_all(&mut connection).await.expect("lists tables");
        let mut text = String::from("BEGIN IMMEDIATE;");
        for row in tables {
            let table: String = row.get(0);
            text +=
                &format!("DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM copy.{table};");
        }
        run(&mut connection, "PRAGMA busy_timeout = 30000; PRAGMA foreign_keys = OFF;".into()).await;
        run(&mut connection, format!("ATTACH '{}' AS copy;", copy.display())).await;
        run(&mut connection, text + "COMMIT;").await;
        connection.close().await.expect("closes");
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        if let Copy::Template(copy, desk) = &self.copy {
            desk.query(&format!("DROP DATABASE IF EXISTS \"{copy}\" WITH (FORCE)"));
        }
    }
}
