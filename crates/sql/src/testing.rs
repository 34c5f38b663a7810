//! A fresh database for each test, on SQLite always and on PostgreSQL where one is offered.

use std::path::PathBuf;

use model::Env;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::migrate::Schema;
use crate::{Db, Settings};

/// One engine to run a suite on: its name and the URL of a fresh, empty database.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// `sqlite` or `postgres`.
    pub engine: &'static str,
    /// URL of the database.
    pub url: String,
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests read where the services are")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Fresh databases: one on SQLite and, if `SKEP_TEST_PG` names a server, one there. With
/// `SKEP_TEST_REQUIRE=1` a missing server is a failure.
///
/// # Panics
/// If PostgreSQL is required and missing, or refuses.
pub async fn fresh() -> Vec<Fresh> {
    let name = format!("skep_{}", Env::system().uuid().simple());
    let folder: PathBuf = std::env::temp_dir().join("skep-tests");
    std::fs::create_dir_all(&folder).expect("temporary folder");
    let mut out = vec![Fresh {
        engine: "sqlite",
        url: format!("sqlite:{}", folder.join(format!("{name}.db")).display()),
    }];
    match variable("SKEP_TEST_PG") {
        Some(base) => {
            let mut conn =
                PgConnection::connect(&format!("{base}/postgres")).await.expect("SKEP_TEST_PG answers");
            let text = format!(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            );
            sqlx::query(AssertSqlSafe(text)).execute(&mut conn).await.expect("database is created");
            out.push(Fresh { engine: "postgres", url: format!("{base}/{name}") });
        }
        None if variable("SKEP_TEST_REQUIRE").is_some() => panic!("SKEP_TEST_PG is not set"),
        None => eprintln!("PostgreSQL is left out: SKEP_TEST_PG is not set"),
    }
    out
}

/// [`fresh`] databases with the tables of `schema`, each with its engine's name.
///
/// # Panics
/// As [`fresh`], or if a database does not take the schema.
pub async fn migrated<D: 'static>(schema: &'static Schema) -> Vec<(&'static str, Db<D>)> {
    let mut out = Vec::new();
    for fresh in fresh().await {
        let db = Db::open(&Settings::new(&fresh.url)).expect("opens");
        schema.migrate(&db, &Env::system()).await.expect("migrates");
        out.push((fresh.engine, db));
    }
    out
}
