//! The promises of `Db::write`, on every engine, inside `tokio::spawn`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use model::drill::{Drill, Gate};
use model::{Env, Fault};
use sql::testing::{Fresh, fresh};
use sql::{Db, Error, Rows, Settings, Work, args, migrate::Schema};
use sqlx::Connection as _;

#[derive(Debug)]
struct Probe;

static SCHEMA: Schema = Schema {
  name: "probe",
  steps: &[
    "CREATE TABLE host (id UUID PRIMARY KEY, used BIGINT NOT NULL, capacity BIGINT NOT NULL, CHECK (used <= capacity));
     CREATE TABLE thing (id UUID PRIMARY KEY, n BIGINT NOT NULL, note TEXT, flag BOOLEAN NOT NULL DEFAULT false, doc JSONB, raw BYTEA)",
    "ALTER TABLE thing ADD COLUMN extra TEXT",
  ],
  oldest: 1,
  serves: 2,
};

async fn databases() -> Vec<(Fresh, Db<Probe>)> {
    let mut out = Vec::new();
    for fresh in fresh().await {
        let db = Db::open(&Settings::new(&fresh.url)).expect("opens");
        SCHEMA.migrate(&db, &Env::system()).await.expect("migrates");
        out.push((fresh, db));
    }
    out
}

async fn count(db: &Db<Probe>) -> i64 {
    db.read(|tx| -> Work<'_, (i64,)> {
        Box::pin(async move { Ok(tx.opt("SELECT COUNT(*) FROM thing", vec![]).await?.unwrap_or_default()) })
    })
    .await
    .expect("counts")
    .0
}

const INSERT: &str = "INSERT INTO thing (id, n) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_once_and_agree() {
    for (fresh, db) in databases().await {
        let env = Env::system();
        let again = SCHEMA.migrate(&db, &env).await.expect("again");
        assert_eq!(again.version, 2, "{}", fresh.engine);
        assert_eq!(SCHEMA.status(&db).await.expect("status"), again);
        static OTHER: Schema = Schema { name: "other", ..SCHEMA };
        assert!(matches!(OTHER.status(&db).await, Err(Error::Fault(_))));
        static BEFORE: Schema = Schema { name: "probe", steps: &["SELECT 1"], oldest: 1, serves: 1 };
        let refused = BEFORE.status(&db).await;
        assert!(matches!(refused, Err(Error::Fault(_))), "what is newer and not made for it is refused");
        // A step later the releases overlap: the older one goes on, and migrating with it changes nothing.
        static LATER: Schema =
            Schema { steps: &[SCHEMA.steps[0], SCHEMA.steps[1], "CREATE TABLE later (a BIGINT)"], ..SCHEMA };
        assert_eq!(LATER.migrate(&db, &env).await.expect("migrates").version, 3);
        assert_eq!(SCHEMA.status(&db).await.expect("goes on").version, 3);
        assert_eq!(SCHEMA.migrate(&db, &env).await.expect("nothing to do").version, 3);
        assert!(matches!(BEFORE.status(&db).await, Err(Error::Fault(_))));
    }
}

#[tokio::test]
async fn a_database_of_another_encoding_is_not_migrated() {
    for fresh in fresh().await.into_iter().filter(|fresh| fresh.engine == "postgres") {
        let (base, name) = fresh.url.rsplit_once('/').expect("a URL");
        let mut conn = sqlx::PgConnection::connect(&format!("{base}/postgres")).await.expect("connects");
        let make = format!(
            "CREATE DATABASE {name}_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        sqlx::query(sqlx::AssertSqlSafe(make)).execute(&mut conn).await.expect("is made");
        let db: Db<Probe> = Db::open(&Settings::new(format!("{base}/{name}_ascii"))).expect("opens");
        let why = SCHEMA.migrate(&db, &Env::system()).await.expect_err("is refused").to_string();
        assert!(why.contains("SQL_ASCII"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrators_may_race() {
    for fresh in fresh().await {
        let racing = (0..4).map(|_| {
            let url = fresh.url.clone();
            tokio::spawn(async move {
                let db: Db<Probe> = Db::open(&Settings::new(url)).expect("opens");
                SCHEMA.migrate(&db, &Env::system()).await
            })
        });
        let mut incarnations = Vec::new();
        for one in futures::future::join_all(racing).await {
            incarnations.push(
                one.expect("runs").unwrap_or_else(|error| panic!("{}: {error}", fresh.engine)).incarnation,
            );
        }
        incarnations.dedup();
        assert_eq!(incarnations.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_types_come_back() {
    for (fresh, db) in databases().await {
        let id = Env::system().uuid();
        let doc = serde_json::json!({"a": [1, "x"]});
        let stored = doc.clone();
        db.write(move |tx| -> Work<'_, u64> {
            let doc = stored.clone();
            Box::pin(async move {
                tx.exec(
                    "INSERT INTO thing (id, n, note, flag, doc, raw) VALUES ($1, $2, $3, $4, $5, $6)",
                    args![id, 7_i64, None::<String>, true, doc, vec![1_u8, 0, 255]],
                )
                .await
            })
        })
        .await
        .expect("inserts");
        type Row = (uuid::Uuid, i64, Option<String>, bool, sql::Json<serde_json::Value>, Vec<u8>);
        let row = db
            .read(move |tx| -> Work<'_, Option<Row>> {
                Box::pin(async move {
                    tx.opt("SELECT id, n, note, flag, doc, raw FROM thing WHERE id = $1", args![id]).await
                })
            })
            .await
            .expect("reads")
            .expect("is there");
        assert_eq!(
            (row.0, row.1, row.2, row.3, row.4.0, row.5),
            (id, 7, None, true, doc, vec![1, 0, 255]),
            "{}",
            fresh.engine
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_inserted_and_updated_by_lists() {
    for (fresh, db) in databases().await {
        let env = Env::system();
        let ids: Arc<Vec<_>> = Arc::new((0..23).map(|_| env.uuid()).collect());
        let mine = ids.clone();
        let changed = db
            .write(move |tx| -> Work<'_, (u64, u64)> {
                let ids = mine.clone();
                Box::pin(async move {
                    const INSERT: Rows = Rows {
                        head: "INSERT INTO thing (id, n, note) VALUES",
                        tail: "ON CONFLICT (id) DO NOTHING",
                    };
                    const UPDATE: Rows = Rows {
                        head: "UPDATE thing SET n = v.column2, note = v.column3 FROM (VALUES",
                        tail: ") AS v WHERE thing.id = v.column1 AND thing.n < v.column2",
                    };
                    let rows = ids.iter().map(|id| args![*id, 1_i64, None::<String>]).collect();
                    let inserted = tx.exec_rows(INSERT, rows).await?;
                    let rows = ids.iter().take(9).map(|id| args![*id, 2_i64, "two"]).collect();
                    Ok((inserted, tx.exec_rows(UPDATE, rows).await?))
                })
            })
            .await
            .expect("writes");
        assert_eq!(changed, (23, 9), "{}", fresh.engine);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leaves_nothing_and_spares_its_neighbours() {
    for (fresh, db) in databases().await {
        let env = Env::system();
        let jobs = (0..200_i64).map(|n| {
            let (db, id) = (db.clone(), env.uuid());
            tokio::spawn(async move {
                db.write(move |tx| -> Work<'_, ()> {
                    Box::pin(async move {
                        tx.exec(INSERT, args![id, n]).await?;
                        if n % 3 == 0 { Err(Fault::conflict("no threes").into()) } else { Ok(()) }
                    })
                })
                .await
            })
        });
        let mut refused = 0;
        for job in futures::future::join_all(jobs).await {
            match job.expect("runs") {
                Ok(()) => {}
                Err(Error::Fault(_)) => refused += 1,
                Err(error) => panic!("{}: {error}", fresh.engine),
            }
        }
        assert_eq!(refused, 67);
        assert_eq!(count(&db).await, 133, "{}", fresh.engine);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_claims_meet_one_host() {
    for (fresh, db) in databases().await {
        let host = Env::system().uuid();
        db.write(move |tx| -> Work<'_, u64> {
            Box::pin(async move { tx.exec("INSERT INTO host VALUES ($1, 0, 40)", args![host]).await })
        })
        .await
        .expect("host");
        let claims = (0..64).map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write(move |tx| -> Work<'_, ()> {
                    Box::pin(async move {
                        tx.swap(
                            "UPDATE host SET used = used + 1 WHERE id = $1 AND used + 1 <= capacity",
                            args![host],
                        )
                        .await
                    })
                })
                .await
            })
        });
        let mut won = 0;
        for claim in futures::future::join_all(claims).await {
            match claim.expect("runs") {
                Ok(()) => won += 1,
                Err(Error::Stale) => {}
                Err(error) => panic!("{}: {error}", fresh.engine),
            }
        }
        assert_eq!(won, 40, "{}", fresh.engine);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_run_again() {
    for (fresh, db) in databases().await {
        let env = Env::system();
        let (a, b) = (env.uuid(), env.uuid());
        db.write(move |tx| -> Work<'_, u64> {
            Box::pin(async move {
                tx.exec("INSERT INTO thing (id, n) VALUES ($1, 0), ($2, 0)", args![a, b]).await
            })
        })
        .await
        .expect("rows");
        let runs = Arc::new(AtomicU32::new(0));
        let cross = |first, second| {
            let (db, runs) = (db.clone(), runs.clone());
            tokio::spawn(async move {
                db.write(move |tx| -> Work<'_, ()> {
                    runs.fetch_add(1, Ordering::SeqCst);
                    Box::pin(async move {
                        tx.swap("UPDATE thing SET n = n + 1 WHERE id = $1", args![first]).await?;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        tx.swap("UPDATE thing SET n = n + 1 WHERE id = $1", args![second]).await
                    })
                })
                .await
            })
        };
        let (one, two) = (cross(a, b), cross(b, a));
        one.await.expect("runs").unwrap_or_else(|error| panic!("{}: {error}", fresh.engine));
        two.await.expect("runs").unwrap_or_else(|error| panic!("{}: {error}", fresh.engine));
        if fresh.engine == "postgres" {
            assert!(runs.load(Ordering::SeqCst) > 2, "PostgreSQL broke the deadlock and the loser ran again");
        }
    }
}

/// Migrates, however slow the machine is: the deadlines that tests set are for what they are about.
async fn migrate(url: &str) {
    let settings = Settings { deadline: Duration::from_secs(60), ..Settings::new(url) };
    let db: Db<Probe> = Db::open(&settings).expect("opens");
    SCHEMA.migrate(&db, &Env::system()).await.expect("migrates");
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_deadline_leaves_nothing_and_the_pool_works_on() {
    for fresh in fresh().await {
        let mut settings = Settings::new(&fresh.url);
        settings.deadline = Duration::from_secs(2);
        settings.connections = 1;
        migrate(&fresh.url).await;
        let db: Db<Probe> = Db::open(&settings).expect("opens");
        let id = Env::system().uuid();
        if fresh.engine == "postgres" {
            let late = db
                .write(move |tx| -> Work<'_, ()> {
                    Box::pin(async move {
                        tx.exec(INSERT, args![id, 1_i64]).await?;
                        tx.exec("SELECT pg_sleep(20)", vec![]).await?;
                        Ok(())
                    })
                })
                .await;
            assert!(matches!(late, Err(Error::Down(_))), "{late:?}");
        }
        // A caller that goes away in the middle must not leave an open transaction in the pool.
        let dropped = db.clone();
        let task = tokio::spawn(async move {
            dropped
                .write(move |tx| -> Work<'_, ()> {
                    Box::pin(async move {
                        tx.exec(INSERT, args![id, 1_i64]).await?;
                        futures::future::pending().await
                    })
                })
                .await
        });
        if fresh.engine == "postgres" {
            tokio::time::sleep(Duration::from_millis(50)).await;
            task.abort();
            let _ = task.await;
            assert_eq!(count(&db).await, 0);
        } else {
            task.abort();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dark_database_answers_in_time() {
    for fresh in fresh().await {
        let gate = Gate::default();
        let settings = Settings {
            gate: gate.clone(),
            deadline: Duration::from_millis(200),
            ..Settings::new(&fresh.url)
        };
        migrate(&fresh.url).await;
        let db: Db<Probe> = Db::open(&settings).expect("opens");
        for drill in [Drill::Refuse, Drill::Hang] {
            gate.set(drill);
            let answer =
                tokio::time::timeout(Duration::from_secs(2), SCHEMA.status(&db)).await.expect("in time");
            assert!(matches!(answer, Err(Error::Down(_))), "{answer:?}");
        }
        gate.set(Drill::Off);
        let mut tries = 0;
        while let Err(error) = SCHEMA.status(&db).await {
            tries += 1;
            assert!(tries < 150, "{}: {error}", fresh.engine);
        }
    }
}

/// Waits until a user has connections, or none.
async fn connected(admin: &mut sqlx::PgConnection, user: &str, wanted: bool) {
    const SQL: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE usename = $1";
    for _ in 0..600 {
        let found: i64 = sqlx::query_scalar(SQL).bind(user).fetch_one(&mut *admin).await.expect("counts");
        if (found > 0) == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{user}: within a minute not connected as wanted ({wanted})");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_change_under_load_and_no_call_fails() {
    let Some(fresh) = fresh().await.into_iter().find(|fresh| fresh.engine == "postgres") else { return };
    let mut admin = sqlx::PgConnection::connect(&fresh.url).await.expect("connects");
    let run = async |admin: &mut sqlx::PgConnection, text: String| {
        sqlx::query(sqlx::AssertSqlSafe(text)).execute(admin).await.expect("is run");
    };
    let tail = Env::system().uuid().simple();
    let [a, b] = ["a", "b"].map(|name| format!("{name}_{tail}"));
    for name in [&a, &b] {
        run(&mut admin, format!("CREATE ROLE {name} LOGIN SUPERUSER")).await;
    }
    let [by_a, by_b] = [&a, &b].map(|name| fresh.url.replacen("postgres@", &format!("{name}@"), 1));
    assert!(by_a != fresh.url && by_b != fresh.url, "the URL names its user");
    let owner: Db<Probe> = Db::open(&Settings::new(&fresh.url)).expect("opens");
    SCHEMA.migrate(&owner, &Env::system()).await.expect("migrates");
    let db: Db<Probe> = Db::open(&Settings::new(&by_a)).expect("opens");
    let (stop, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let workers: Vec<_> = (0..6)
        .map(|_| {
            let (db, stop, done) = (db.clone(), stop.clone(), done.clone());
            tokio::spawn(async move {
                while stop.load(Ordering::SeqCst) == 0 {
                    let id = Env::system().uuid();
                    let written = db.write(move |tx| -> Work<'_, u64> {
                        Box::pin(async move { tx.exec(INSERT, args![id, 1_i64]).await })
                    });
                    assert_eq!(written.await.expect("no call fails"), 1);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    connected(&mut admin, &a, true).await;
    // The second where the first is refused; what is in use is used to its end.
    let both = [by_a.clone(), by_b.clone()];
    db.change_credentials(&both).expect("are read");
    run(&mut admin, format!("ALTER ROLE {a} NOLOGIN")).await;
    db.change_credentials(&both).expect("are read");
    connected(&mut admin, &a, false).await;
    connected(&mut admin, &b, true).await;
    assert!(db.change_credentials(&[by_a.clone(), "mysql://x".to_owned()]).is_err());
    // And back.
    run(&mut admin, format!("ALTER ROLE {a} LOGIN")).await;
    db.change_credentials(std::slice::from_ref(&by_a)).expect("are read");
    connected(&mut admin, &b, false).await;
    let before = done.load(Ordering::SeqCst);
    while done.load(Ordering::SeqCst) < before + 6 && workers.iter().all(|worker| !worker.is_finished()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(1, Ordering::SeqCst);
    for worker in workers {
        worker.await.expect("no call failed");
    }
    assert_eq!(count(&db).await, i64::from(done.load(Ordering::SeqCst)));
    db.close().await;
    // Who is refused altogether finds the database away, which is no defect.
    run(&mut admin, format!("ALTER ROLE {a} NOLOGIN")).await;
    let refused = SCHEMA.status(&Db::<Probe>::open(&Settings::new(&by_a)).expect("opens")).await;
    assert!(matches!(refused, Err(Error::Down(_))), "{refused:?}");
    run(&mut admin, format!("DROP ROLE {a}, {b}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_server_is_down_not_a_defect() {
    let settings = Settings {
        deadline: Duration::from_millis(500),
        ..Settings::new("postgres://x:secret@127.0.0.1:1/none")
    };
    let db: Db<Probe> = Db::open(&settings).expect("opens lazily");
    let error = db
        .write(|tx| -> Work<'_, u64> { Box::pin(async move { tx.exec("SELECT 1", vec![]).await }) })
        .await
        .expect_err("nobody listens");
    assert!(matches!(error, Error::Down(_)), "{error:?}");
    assert!(!format!("{error:?} {db:?} {settings:?}").contains("secret"));
    let error = Db::<Probe>::open(&Settings::new("mysql://u:secret@h/d")).expect_err("refused");
    assert!(!error.to_string().contains("secret"));
}
