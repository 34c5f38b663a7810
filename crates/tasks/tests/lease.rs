//! Leases: every task goes to one worker, a dead worker's tasks are taken, a zombie's writes are refused.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::env::{Rng, SystemRng};
use model::{Clock, Env, TaskId, Timestamp, WorkerId};
use serde_json::json;
use sql::testing::{Fresh, fresh};
use sql::{Db, Settings, Work, migrate::Schema};
use tasks::{NewTask, Worker, store};

#[derive(Debug)]
struct Probe;

static SCHEMA: Schema = Schema { name: "probe", steps: &[tasks::TABLES], oldest: 1, serves: 1 };
const KINDS: [&str; 4] = ["probe/1", "", "", ""];

/// A clock that stands still until it is told to move.
#[derive(Default)]
struct StillClock(AtomicU64);
impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_000_000)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

async fn databases(env: &Env) -> Vec<(Fresh, Db<Probe>)> {
    let mut out = Vec::new();
    for fresh in fresh().await {
        let db = Db::open(&Settings::new(&fresh.url)).expect("opens");
        SCHEMA.migrate(&db, env).await.expect("migrates");
        out.push((fresh, db));
    }
    out
}

async fn enqueue(db: &Db<Probe>, env: &Env, kind: &'static str) -> TaskId {
    let task = NewTask {
        id: env.id(),
        kind,
        subject: env.uuid(),
        state: json!({"at": "start"}),
        bucket: env.below(store::BUCKETS) as i64,
        deadline: Timestamp(i64::MAX),
        request_id: "req-1".into(),
        created: env.now(),
    };
    let id = task.id;
    let stored = db
        .write(move |tx| -> Work<'_, bool> {
            let task = task.clone();
            Box::pin(async move { store::enqueue(tx, &task).await })
        })
        .await
        .expect("enqueues");
    assert!(stored);
    id
}

async fn lease(db: &Db<Probe>, env: &Env, worker: WorkerId, limit: i64) -> Vec<TaskId> {
    let (from, now) = (env.below(store::BUCKETS) as i64, env.now());
    db.write(move |tx| -> Work<'_, Vec<store::Leased>> {
        Box::pin(async move { store::lease(tx, worker, KINDS, from, limit, now).await })
    })
    .await
    .expect("leases")
    .into_iter()
    .map(|leased| leased.lease.task)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_task_goes_to_one_worker() {
    let env = Env::system();
    for (fresh, db) in databases(&env).await {
        let mut all = HashSet::new();
        for _ in 0..120 {
            all.insert(enqueue(&db, &env, "probe/1").await);
        }
        enqueue(&db, &env, "later/9").await;
        let racing = (0..4).map(|_| {
            let (db, env) = (db.clone(), env.clone());
            tokio::spawn(async move {
                let registered =
                    Worker::register(&db, &env, "probe", "w", tasks::LEASE).await.expect("registers");
                let (worker, mut mine, mut idle) = (registered.id, Vec::new(), 0);
                while idle < 3 {
                    let got = lease(&db, &env, worker, 7).await;
                    idle = if got.is_empty() { idle + 1 } else { 0 };
                    mine.extend(got);
                }
                mine
            })
        });
        let mut taken = Vec::new();
        for mine in futures_all(racing).await {
            taken.extend(mine);
        }
        assert_eq!(taken.len(), 120, "{}: none twice, an unknown kind left alone", fresh.engine);
        assert_eq!(taken.into_iter().collect::<HashSet<_>>(), all);
    }
}

async fn futures_all<T: Send + 'static>(all: impl Iterator<Item = tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut out = Vec::new();
    for one in all.collect::<Vec<_>>() {
        out.push(one.await.expect("runs"));
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_still_beat_frees_the_tasks_and_fences_the_worker() {
    let clock = Arc::new(StillClock::default());
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    let env = Env::new(clock.clone(), rng);
    for (fresh, db) in databases(&env).await {
        let task = enqueue(&db, &env, "probe/1").await;
        let mut dead = Worker::register(&db, &env, "probe", "dead", tasks::LEASE).await.expect("registers");
        let mut heir = Worker::register(&db, &env, "probe", "heir", tasks::LEASE).await.expect("registers");
        assert_eq!(lease(&db, &env, dead.id, 10).await, [task]);
        assert!(heir.beat(&db, &env).await.expect("beats"));
        // Time passes, but the other still beats: nothing is taken.
        clock.0.fetch_add(14_000, Ordering::SeqCst);
        assert!(dead.beat(&db, &env).await.expect("beats"));
        assert!(heir.beat(&db, &env).await.expect("beats"));
        clock.0.fetch_add(14_000, Ordering::SeqCst);
        assert!(heir.beat(&db, &env).await.expect("beats"));
        assert!(lease(&db, &env, heir.id, 10).await.is_empty(), "{}", fresh.engine);
        // Now it stands still for the whole lease.
        clock.0.fetch_add(15_000, Ordering::SeqCst);
        assert!(heir.beat(&db, &env).await.expect("beats"));
        assert_eq!(lease(&db, &env, heir.id, 10).await, [task], "{}", fresh.engine);
        assert!(!dead.beat(&db, &env).await.expect("beats"), "the worker learns that it was fenced");
        let (gone, now) = (dead.id, env.now());
        let late = db
            .write(move |tx| -> Work<'_, Vec<store::Leased>> {
                Box::pin(async move { store::lease(tx, gone, KINDS, 0, 10, now).await })
            })
            .await;
        assert!(matches!(late, Err(sql::Error::Stale)), "nothing is leased under a name that nobody watches");
        let zombie = store::Lease { task, owner: dead.id, attempt: 1 };
        let repeated = store::Lease { owner: heir.id, ..zombie };
        let advanced = db
            .write(move |tx| -> Work<'_, Vec<TaskId>> {
                Box::pin(async move {
                    let mut done = Vec::new();
                    for stale in [zombie, repeated] {
                        done.extend(store::advance(tx, vec![(stale, json!({"at": "wrong"}))]).await?);
                        done.extend(store::finish(tx, &[stale]).await?);
                    }
                    Ok(done)
                })
            })
            .await
            .expect("runs");
        assert!(advanced.is_empty(), "{}: a zombie's writes are refused, and an older lease's", fresh.engine);
    }
}
