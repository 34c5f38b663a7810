//! Pairs of transactions that guard each other, interleaved statement by statement on PostgreSQL with two
//! connections. (SQLite has one writer: there they cannot overlap.)

use std::sync::Arc;
use std::time::Duration;

use cell_db::claims::{self, Claim};
use cell_db::dirty::Mark;
use cell_db::instances::{self, New};
use cell_db::{Db, Tx, dirty, hosts};
use model::instance::Stage;
use model::testing::spec;
use model::{CellId, Env, HostId, InstanceId, Resources, Timestamp};
use sql::testing::fresh;
use sql::{Error, Settings, Work};
use tokio::sync::Notify;

fn new(id: InstanceId, epoch: i64, saga_token: i64) -> New {
    New { id, epoch, saga_token, spec: spec(), asked_by: "req-1".into(), bucket: 7, created: Timestamp(5) }
}

async fn postgres() -> Option<Db> {
    let fresh = fresh().await.into_iter().find(|fresh| fresh.engine == "postgres")?;
    let db = Db::open(&Settings::new(&fresh.url)).expect("opens");
    cell_db::SCHEMA.migrate(&db, &Env::system()).await.expect("migrates");
    Some(db)
}

/// A transaction that does `first`, waits until it is told, and then ends.
struct Held<T> {
    reached: Arc<Notify>,
    go: Arc<Notify>,
    task: tokio::task::JoinHandle<Result<T, Error>>,
}

impl<T: Send + 'static> Held<T> {
    fn start<F>(db: &Db, first: F) -> Self
    where
        F: for<'t> Fn(&'t mut Tx) -> Work<'t, T> + Send + Sync + 'static,
    {
        let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (db, first, r, g) = (db.clone(), Arc::new(first), reached.clone(), go.clone());
        let task = tokio::spawn(async move {
            db.write(move |tx| -> Work<'_, T> {
                let (first, r, g) = (first.clone(), r.clone(), g.clone());
                Box::pin(async move {
                    let done = first(tx).await?;
                    r.notify_one();
                    g.notified().await;
                    Ok(done)
                })
            })
            .await
        });
        Self { reached, go, task }
    }

    async fn reached(&self) {
        tokio::time::timeout(Duration::from_secs(60), self.reached.notified()).await.expect("gets there");
    }

    async fn end(self) -> Result<T, Error> {
        self.go.notify_one();
        self.task.await.expect("runs")
    }
}

async fn stage(db: &Db, id: InstanceId) -> Stage {
    db.read(move |tx| -> Work<'_, _> { Box::pin(async move { instances::get(tx, CellId::ZERO, id).await }) })
        .await
        .expect("reads")
        .expect("is there")
        .stage
}

async fn changes(db: &Db) -> Vec<Mark> {
    let read =
        db.read(|tx| -> Work<'_, _> { Box::pin(async move { dirty::read(tx, CellId::ZERO, 100).await }) });
    read.await.expect("reads").into_iter().map(|c| c.mark).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn insertion_and_tombstone_contend_on_one_key() {
    let Some(db) = postgres().await else { return };
    // The deletion of a binding is under way, uncommitted, when its zombie's insertion arrives, and the
    // other way round: in either order the tombstone stands.
    let id: InstanceId = Env::system().id();
    let gone = Held::start(&db, move |tx| {
        Box::pin(async move { instances::want_gone(tx, &[new(id, 1, 5)], Timestamp(1)).await })
    });
    gone.reached().await;
    let insert = db.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move { instances::insert(tx, &[new(id, 1, 4)], Timestamp(2)).await })
    });
    let (inserted, gone) = tokio::join!(insert, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gone.end().await
    });
    inserted.expect("is refused without a fault");
    gone.expect("commits");
    assert_eq!(stage(&db, id).await, Stage::Tombstone);

    let id: InstanceId = Env::system().id();
    let insert = Held::start(&db, move |tx| {
        Box::pin(async move { instances::insert(tx, &[new(id, 1, 4)], Timestamp(1)).await })
    });
    insert.reached().await;
    let gone = db.write(move |tx| -> Work<'_, Vec<HostId>> {
        Box::pin(async move { instances::want_gone(tx, &[new(id, 1, 5)], Timestamp(2)).await })
    });
    let (gone, inserted) = tokio::join!(gone, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        insert.end().await
    });
    gone.expect("commits");
    inserted.expect("commits");
    assert_eq!(stage(&db, id).await, Stage::Tombstone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_and_a_deletion_cannot_both_win() {
    let Some(db) = postgres().await else { return };
    let env = Env::system();
    let (id, host, session): (InstanceId, HostId, _) = (env.id(), env.id(), env.uuid());
    db.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move {
            let registration = hosts::Registration {
                id: host,
                name: "h".into(),
                zone: "z".into(),
                engine: "e".into(),
                address: "127.0.0.1".into(),
                capacity: Resources { vcpus_milli: 1_000, memory_mib: 64, slots: 1 },
                boot: session,
                session,
                version: "0".into(),
                healthy: true,
            };
            hosts::register(tx, &registration, Timestamp(1)).await?;
            instances::insert(tx, &[new(id, 1, 1)], Timestamp(1)).await
        })
    })
    .await
    .expect("is set up");
    let waiting = db
        .read(|tx| -> Work<'_, _> { Box::pin(async move { claims::waiting(tx, 0, 10).await }) })
        .await
        .expect("reads");
    // The conductor has planned; before it claims, the deletion commits.
    let gone = Held::start(&db, move |tx| {
        Box::pin(async move { instances::want_gone(tx, &[new(id, 1, 2)], Timestamp(2)).await })
    });
    gone.reached().await;
    let planned: Vec<Claim> =
        waiting.into_iter().map(|instance| Claim { instance, host, engine: "e".into() }).collect();
    let claim = db.write(move |tx| -> Work<'_, _> {
        let planned = planned.clone();
        Box::pin(async move { claims::claim(tx, &planned, Timestamp(3)).await })
    });
    let (claimed, gone) = tokio::join!(claim, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gone.end().await
    });
    gone.expect("commits");
    assert!(claimed.expect("runs").won.is_empty(), "the row had moved on");
    assert_eq!(stage(&db, id).await, Stage::Tombstone);
    let used =
        db.read(|tx| -> Work<'_, _> { Box::pin(async move { hosts::all(tx).await }) }).await.expect("reads");
    assert_eq!(used[0].used, Resources::default(), "nothing leaked");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dirty_set_forgets_nothing_whatever_the_order_of_commits() {
    let Some(db) = postgres().await else { return };
    let env = Env::system();
    let (early, late): (InstanceId, InstanceId) = (env.id(), env.id());
    // `early` changes first and commits last; a cursor over time or sequence would pass it by.
    let held = Held::start(&db, move |tx| {
        Box::pin(async move { instances::insert(tx, &[new(early, 1, 1)], Timestamp(1)).await })
    });
    held.reached().await;
    db.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move { instances::insert(tx, &[new(late, 1, 1)], Timestamp(2)).await })
    })
    .await
    .expect("commits");
    let first = changes(&db).await;
    assert_eq!(first.iter().map(|mark| mark.instance).collect::<Vec<_>>(), [late]);
    held.end().await.expect("commits");
    // Between reading and forgetting, `late` changes again.
    db.write(move |tx| -> Work<'_, Vec<HostId>> {
        Box::pin(async move { instances::want_gone(tx, &[new(late, 1, 2)], Timestamp(3)).await })
    })
    .await
    .expect("commits");
    let applied = first.clone();
    db.write(move |tx| -> Work<'_, ()> {
        let applied = applied.clone();
        Box::pin(async move { dirty::forget(tx, &applied).await })
    })
    .await
    .expect("forgets");
    let mut left: Vec<InstanceId> = changes(&db).await.into_iter().map(|mark| mark.instance).collect();
    left.sort();
    let mut both = [early, late];
    both.sort();
    assert_eq!(left, both, "what changed after it was read is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn marking_everything_loses_no_change_that_is_under_way() {
    let Some(db) = postgres().await else { return };
    let id: InstanceId = Env::system().id();
    db.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move { instances::insert(tx, &[new(id, 1, 1)], Timestamp(1)).await })
    })
    .await
    .expect("commits");
    // A change is under way, uncommitted, when everything is marked: whichever commits first, what is left
    // is the mark of the newest version, and forgetting that one ends it.
    let held = Held::start(&db, move |tx| {
        Box::pin(async move { instances::want_gone(tx, &[new(id, 1, 2)], Timestamp(2)).await })
    });
    held.reached().await;
    let marked = db.write(|tx| -> Work<'_, _> {
        Box::pin(async move { dirty::mark_all(tx, None, 10, Timestamp(3)).await })
    });
    let (marked, held) = tokio::join!(marked, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        held.end().await
    });
    held.expect("commits");
    assert_eq!(marked.expect("commits"), (1, Some(id)));
    let seen = changes(&db).await;
    assert_eq!(seen.iter().map(|mark| (mark.instance, mark.version)).collect::<Vec<_>>(), [(id, 2)]);
    db.write(move |tx| -> Work<'_, ()> {
        let seen = seen.clone();
        Box::pin(async move { dirty::forget(tx, &seen).await })
    })
    .await
    .expect("forgets");
    let left = db.read(|tx| -> Work<'_, _> { Box::pin(async move { dirty::waiting(tx).await }) });
    assert_eq!(left.await.expect("reads"), (0, None));
}
