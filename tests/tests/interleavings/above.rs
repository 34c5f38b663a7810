//! Pairs in the API database.

use std::sync::Arc;
use std::time::Duration;

use api_db::mappings::{self, Bind};
use api_db::quotas::{self, Limits};
use api_db::state::{self, Build, Delete};
use api_db::{Api, Db, Tx, cells, hosts};
use model::{Cell, CellId, CellState, Env, HostId, InstanceId, TaskId, Timestamp, WorkerId};
use sql::{Error, Work, args};
use tasks::{NewTask, Worker, store};
use tokio::sync::Mutex;

use crate::{Bed, End, spec};

/// A beat that stands still for longer than no time is a dead worker's.
const WATCHES: Duration = Duration::from_nanos(1);
const NOW: Timestamp = Timestamp(1_000_000);
const KINDS: [&str; 4] = [state::BUILD, state::DELETE, "", ""];

async fn bed() -> Bed<Api> {
    Bed::new(&api_db::SCHEMA).await
}

async fn number(db: &Db, sql: &'static str, id: uuid::Uuid) -> i64 {
    let read = db.read(move |tx| -> Work<'_, i64> {
        Box::pin(async move { Ok(tx.opt::<(i64,)>(sql, args![id]).await?.map_or(0, |(n,)| n)) })
    });
    read.await.expect("reads")
}

/// An instance that is to be built, a cell for it, a worker, and one that watches it.
struct Build1 {
    instance: InstanceId,
    cell: CellId,
    worker: WorkerId,
    watcher: Mutex<Worker>,
    delete: TaskId,
}

async fn build(db: &Db, env: &Env) -> Build1 {
    // Whatever an earlier schedule has left is nobody's to lease.
    db.write(|tx| -> Work<'_, ()> {
        Box::pin(async move {
            tx.exec("DELETE FROM task WHERE $1", args![true]).await?;
            tx.exec("DELETE FROM worker WHERE $1", args![true]).await.map(drop)
        })
    })
    .await
    .expect("clears");
    let (instance, cell, task): (InstanceId, CellId, TaskId) = (env.id(), env.id(), env.id());
    db.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move {
            let mapping = Cell {
                id: cell,
                name: cell.to_string(),
                region: "r".into(),
                transport_url: "local:a".into(),
                second_database_url: String::new(),
                second_transport_url: String::new(),
                database_url: "sqlite:a".into(),
                state: CellState::Active,
                version: 1,
            };
            cells::create(tx, &mapping, NOW).await?;
            mappings::create(tx, instance, &spec("p"), NOW).await?;
            let build = Build::Pick { refused: Vec::new(), asked: Vec::new() };
            store::enqueue(tx, &new_task(task, state::BUILD, instance, state::to_json(&build)?)).await?;
            Ok(())
        })
    })
    .await
    .expect("is prepared");
    let worker = Worker::register(db, env, "test", "one", WATCHES).await.expect("registers");
    let mut watcher = Worker::register(db, env, "test", "two", WATCHES).await.expect("registers");
    // It sees the other's beat, and will find it unchanged.
    assert!(watcher.beat(db, env).await.expect("beats"));
    Build1 { instance, cell, worker: worker.id, watcher: Mutex::new(watcher), delete: env.id() }
}

fn new_task(id: TaskId, kind: &'static str, subject: InstanceId, state: serde_json::Value) -> NewTask {
    NewTask {
        id,
        kind,
        subject: subject.uuid(),
        state,
        bucket: 3,
        deadline: Timestamp(i64::MAX),
        request_id: "req-1".into(),
        created: NOW,
    }
}

/// What a superconductor does in one transaction: lease, fence, count, bind, advance.
async fn lease_and_bind(db: Db, ground: Arc<Build1>) -> Result<(), Error> {
    db.write(move |tx| -> Work<'_, ()> {
        let (worker, cell) = (ground.worker, ground.cell);
        Box::pin(async move { bind(tx, worker, cell).await })
    })
    .await
}

async fn bind(tx: &mut Tx, worker: WorkerId, cell: CellId) -> Result<(), Error> {
    for task in store::lease(tx, worker, KINDS, 0, 8, NOW).await? {
        let id = InstanceId(task.subject);
        for mapping in mappings::lease(tx, &[id]).await? {
            if task.kind != state::BUILD
                || !matches!(cells::reserve(tx, cell, 1, 100).await?, cells::Reserved::Taken(_))
            {
                continue;
            }
            let bind = Bind { id, cell, saga_token: mapping.saga_token, epoch: mapping.epoch };
            if mappings::bind(tx, &[bind]).await?.is_empty() {
                cells::settle(tx, cell, 1).await?;
            } else {
                let bound = state::to_json(&Build::Bound { cell, refused: Vec::new() })?;
                store::advance(tx, vec![(task.lease, bound)]).await?;
            }
        }
    }
    Ok(())
}

/// What an API process does in one transaction: intent, fence, replace what was under way.
async fn accept_delete(db: Db, ground: Arc<Build1>) -> Result<(), Error> {
    db.write(move |tx| -> Work<'_, ()> {
        let (id, task) = (ground.instance, ground.delete);
        Box::pin(async move {
            if !mappings::request_delete(tx, id).await? {
                return Ok(());
            }
            if let Some((kind, old)) = store::supersede(tx, id.uuid()).await?
                && kind == state::BUILD
                && let Build::Bound { cell, .. } = state::from_json(task, old)?
            {
                cells::settle(tx, cell, 1).await?;
            }
            let state = state::to_json(&Delete::Cell {})?;
            store::enqueue(tx, &new_task(task, state::DELETE, id, state)).await.map(drop)
        })
    })
    .await
}

/// Whatever comes first, the deletion is what is left to do, and nothing counts as unsettled.
#[tokio::test(flavor = "multi_thread")]
async fn a_binding_and_a_deletion() {
    let look = async |db: &Db, ground: &Build1, ends: [End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        const TASKS: &str = "SELECT COUNT(*) FROM task WHERE subject = $1 AND kind LIKE 'delete%'";
        assert_eq!(number(db, TASKS, ground.instance.uuid()).await, 1, "{when}: the deletion is to be done");
        const UNSETTLED: &str = "SELECT unsettled FROM cell_load WHERE cell = $1";
        assert_eq!(number(db, UNSETTLED, ground.cell.uuid()).await, 0, "{when}: nothing is counted for ever");
    };
    bed().await.interleave(build, lease_and_bind, accept_delete, look).await;
}

/// A worker leases while another declares it dead: what is held is held by somebody who is watched.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_and_a_take_over() {
    let take_over = |db: Db, ground: Arc<Build1>| async move {
        let mut watcher = ground.watcher.lock().await;
        assert!(watcher.beat(&db, &Env::system()).await?, "nobody watches the watcher");
        Ok(())
    };
    let look = async |db: &Db, ground: &Build1, ends: [End; 2], when: &str| {
        assert_eq!(ends[1], Ok(()), "{when}");
        const GHOSTS: &str = "SELECT COUNT(*) FROM task t LEFT JOIN worker w ON w.id = t.owner
            WHERE t.subject = $1 AND t.owner IS NOT NULL AND w.id IS NULL";
        assert_eq!(number(db, GHOSTS, ground.instance.uuid()).await, 0, "{when}: no task is a ghost's");
    };
    bed().await.interleave(build, lease_and_bind, take_over, look).await;
}

/// An operator deletes a cell, whose first step shuts it: what he then counts is all there will ever be.
#[tokio::test(flavor = "multi_thread")]
async fn a_binding_and_the_shutting_of_its_cell() {
    struct Shut {
        ground: Arc<Build1>,
        counted: Mutex<Option<i64>>,
    }
    let prepare =
        async |db: &Db, env: &Env| Shut { ground: Arc::new(build(db, env).await), counted: Mutex::default() };
    let shut = |db: Db, shut: Arc<Shut>| async move {
        let cell = shut.ground.cell;
        db.write(move |tx| -> Work<'_, ()> { Box::pin(async move { cells::shut(tx, cell).await }) }).await?;
        let read = db.read(move |tx| -> Work<'_, mappings::Counts> {
            Box::pin(async move { mappings::count(tx, cell).await })
        });
        *shut.counted.lock().await = Some(read.await?.live);
        Ok(())
    };
    let look = async |db: &Db, shut: &Shut, ends: [End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        const MAPPED: &str = "SELECT COUNT(*) FROM instance_mapping WHERE cell = $1";
        let now = number(db, MAPPED, shut.ground.cell.uuid()).await;
        assert_eq!(*shut.counted.lock().await, Some(now), "{when}: nothing is bound to it later");
    };
    bed().await.interleave(prepare, |db, s| lease_and_bind(db, s.ground.clone()), shut, look).await;
}

/// An operator cordons a cell: what is bound to it when that is answered is all there will be.
#[tokio::test(flavor = "multi_thread")]
async fn a_binding_and_the_cordoning_of_its_cell() {
    struct Cordon {
        ground: Arc<Build1>,
        counted: Mutex<Option<i64>>,
    }
    let prepare = async |db: &Db, env: &Env| Cordon {
        ground: Arc::new(build(db, env).await),
        counted: Mutex::default(),
    };
    let cordon = |db: Db, cordon: Arc<Cordon>| async move {
        let cell = cordon.ground.cell;
        let changed = db.write(move |tx| -> Work<'_, bool> {
            let change = cells::Change { state: Some(CellState::Cordoned), ..Default::default() };
            Box::pin(async move { cells::change(tx, cell, 1, &change).await })
        });
        assert!(changed.await?, "nobody else changes it");
        let read = db.read(move |tx| -> Work<'_, mappings::Counts> {
            Box::pin(async move { mappings::count(tx, cell).await })
        });
        *cordon.counted.lock().await = Some(read.await?.live);
        Ok(())
    };
    let look = async |db: &Db, cordon: &Cordon, ends: [End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        const MAPPED: &str = "SELECT COUNT(*) FROM instance_mapping WHERE cell = $1";
        let now = number(db, MAPPED, cordon.ground.cell.uuid()).await;
        assert_eq!(*cordon.counted.lock().await, Some(now), "{when}: nothing is bound to it later");
        const UNSETTLED: &str = "SELECT unsettled FROM cell_load WHERE cell = $1";
        assert_eq!(
            number(db, UNSETTLED, cordon.ground.cell.uuid()).await,
            now,
            "{when}: just that is counted"
        );
    };
    bed().await.interleave(prepare, |db, c| lease_and_bind(db, c.ground.clone()), cordon, look).await;
}

/// The last instance that a project may have is asked for twice, also as its first.
#[tokio::test(flavor = "multi_thread")]
async fn two_boots_within_a_quota_of_one() {
    let take = |db: Db, project: Arc<String>| async move {
        db.write(move |tx| -> Work<'_, ()> {
            let spec = spec(&project);
            let limits = Limits { instances: 1, cores: -1, memory_mib: -1 };
            Box::pin(async move { quotas::take(tx, &spec, 1, limits).await })
        })
        .await
    };
    for known in [false, true] {
        let prepare = async |db: &Db, env: &Env| {
            let project = env.uuid().to_string();
            if known {
                let spec = spec(&project);
                db.write(move |tx| -> Work<'_, ()> {
                    let spec = spec.clone();
                    Box::pin(async move {
                        let limits = Limits { instances: 1, cores: -1, memory_mib: -1 };
                        quotas::take(tx, &spec, 1, limits).await?;
                        quotas::give_back(tx, &spec.project, [1, spec.flavor.vcpus, spec.flavor.memory_mib])
                            .await
                    })
                })
                .await
                .expect("is prepared");
            }
            project
        };
        let look = async |db: &Db, project: &String, ends: [End; 2], when: &str| {
            assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 1, "known {known}, {when}: {ends:?}");
            let project = project.clone();
            let used = db.read(move |tx| -> Work<'_, i64> {
                let project = project.clone();
                Box::pin(async move {
                    let sql = "SELECT instances FROM quota WHERE project = $1";
                    Ok(tx.opt::<(i64,)>(sql, args![project]).await?.map_or(0, |(n,)| n))
                })
            });
            assert_eq!(used.await.expect("reads"), 1, "known {known}, {when}");
        };
        bed().await.interleave(prepare, take, take, look).await;
    }
}

/// A superconductor and an operator map the same hosts.
#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_and_a_discovery() {
    let prepare = async |_: &Db, env: &Env| -> Vec<hosts::Mapping> {
        let cell: CellId = env.id();
        let mut ids: Vec<HostId> = vec![env.id(), env.id()];
        ids.sort();
        ids.into_iter().map(|host| hosts::Mapping { host, cell, name: "h".into() }).collect()
    };
    let map = |db: Db, found: Arc<Vec<hosts::Mapping>>| async move {
        db.write(move |tx| -> Work<'_, ()> {
            let found = found.clone();
            Box::pin(async move {
                let mapped = hosts::map(tx, &found).await?;
                assert!(mapped.elsewhere.is_empty());
                Ok(())
            })
        })
        .await
    };
    let look = async |db: &Db, found: &Vec<hosts::Mapping>, ends: [End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        const MAPPED: &str = "SELECT COUNT(*) FROM host_mapping WHERE cell = $1";
        assert_eq!(number(db, MAPPED, found[0].cell.uuid()).await, 2, "{when}");
    };
    bed().await.interleave(prepare, map, map, look).await;
}
