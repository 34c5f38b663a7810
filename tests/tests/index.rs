//! The index that lists are made of: rebuilt while it is in use; and what the API level tells by itself of
//! builds whose cell went dark.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::drill::Drill;
use model::failpoint::{self, Mode};
use model::{ContainerSpec, FaultKind, Flavor, InstanceId, RequestSpec, Timestamp};
use sql::{Settings, Work};
use tests::cloud::{Cloud, Plan, admin, caller, context, wish};
use tests::eventually;
use verbs::admin::By;
use verbs::{Query, Seen};

const LONG: Duration = Duration::from_secs(60);

async fn boot(cloud: &Cloud, name: &str) -> InstanceId {
    cloud.verbs.boot(&caller(), &context(), wish(name)).await.expect("is accepted")[0].id
}

async fn at_rest(cloud: &Cloud) {
    eventually(LONG, "the cloud is at rest", async || {
        let violations = cloud.check().await.0;
        if violations.is_empty() { Ok(()) } else { Err(violations.join("; ")) }
    })
    .await;
}

fn drill_all(cloud: &Cloud, drill: Drill) {
    for handle in cloud.router.cells() {
        assert!(cloud.router.drill(&handle.cell.name, drill));
    }
}

/// What the index alone tells: ids, names, and the status that was last heard.
async fn told(cloud: &Cloud) -> BTreeMap<InstanceId, (String, Option<String>)> {
    let page = cloud.verbs.list(&caller(), &Query::default()).await.expect("answers");
    let last = |seen: &Seen| match seen {
        Seen::Dark(dark) => dark.last_status.as_ref().map(|(status, _)| status.clone()),
        Seen::Fresh(_) => None,
    };
    page.items.iter().map(|seen| (seen.id(), (seen.name().to_owned(), last(seen)))).collect()
}

/// An instance that runs is told to run, or not to be known.
fn assert_true(seen: &Seen) {
    if let Seen::Fresh(instance) = seen {
        assert_eq!(instance.status(), "ACTIVE", "{:?}", instance.fault);
    }
}

/// Runs statements on the API database, as a mishap would.
async fn hurt(cloud: &Cloud, statements: &'static [&'static str]) {
    let api: api_db::Db = sql::Db::open(&Settings::new(&cloud.api_url)).expect("opens");
    api.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move {
            for statement in statements {
                tx.exec(statement, Vec::new()).await?;
            }
            Ok(())
        })
    })
    .await
    .expect("is done");
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_heals_the_index_while_lists_go_on() {
    rebuild(Plan { hosts: 1, ..Plan::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_heals_the_index_while_lists_go_on_postgres() {
    rebuild(Plan { hosts: 1, postgres: true, ..Plan::default() }).await;
}

async fn rebuild(plan: Plan) {
    let cloud = Cloud::start(plan).await;
    let mut known = BTreeMap::new();
    for n in 0..24 {
        let name = format!("n{n}");
        known.insert(boot(&cloud, &name).await, (name, Some("ACTIVE".to_owned())));
    }
    at_rest(&cloud).await;
    // Entries are lost, names and statuses are wrong, and one claims to be newer than its cell will be for
    // long, as after a restore of the cell.
    hurt(
        &cloud,
        &[
            "DELETE FROM instance_index WHERE name LIKE '%3'",
            "UPDATE instance_index SET name = 'wrong', region = 'wrong' WHERE name LIKE '%4'",
            "UPDATE instance_index SET status = 'ERROR', version = 1000000 WHERE name LIKE '%5'",
            "UPDATE instance_index SET status = NULL WHERE name LIKE '%6'",
            "UPDATE instance_index SET deleted = true WHERE name LIKE '%7'",
        ],
    )
    .await;
    let intact: BTreeSet<InstanceId> = told(&cloud).await.into_keys().collect();
    assert!(intact.len() < known.len(), "something is lost");
    let by = By { caller: admin(), context: context() };
    let refused = cloud.verbs.admin().rebuild_index(&By { caller: caller(), ..by.clone() }, None).await;
    assert!(refused.is_err(), "for administrators only");
    // Lists go on meanwhile, with a cell dark that the rebuild reports and does not wait for.
    assert!(cloud.router.drill("cell1", Drill::Refuse));
    let admin = cloud.verbs.admin();
    let (rebuilt, ()) = tokio::join!(
        async {
            let first = admin.rebuild_index(&by, None).await.expect("is done");
            // What is not known any more is not made up: they all run.
            for id in known.keys() {
                let seen = cloud.verbs.show(&caller(), *id).await.expect("is shown");
                assert_true(&seen);
            }
            let listed = cloud.verbs.list(&caller(), &Query::default()).await.expect("answers");
            listed.items.iter().for_each(assert_true);
            assert!(cloud.router.drill("cell1", Drill::Off));
            eventually(LONG, "the cell answers", async || {
                match admin.rebuild_index(&by, Some("cell1")).await {
                    Ok(again) if again[0].why.is_none() => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
            first
        },
        async {
            for _ in 0..40 {
                let now: BTreeSet<InstanceId> = told(&cloud).await.into_keys().collect();
                assert!(now.is_superset(&intact), "nothing that was there vanishes");
            }
        }
    );
    assert_eq!(rebuilt.len(), 4, "{rebuilt:?}");
    assert_eq!(rebuilt.iter().map(|cell| cell.entries).sum::<u64>(), 24);
    for cell in &rebuilt {
        assert_eq!(cell.why.is_some(), cell.cell == "cell1", "{cell:?}");
    }
    // What the index says by itself is seen with every cell dark; it takes the feed a moment.
    eventually(LONG, "the index is as it was", async || {
        let lags = cloud.verbs.cells(&tests::cloud::admin()).await.map_err(|fault| fault.message)?;
        if lags.iter().any(|cell| cell.behind != Some(0)) {
            return Err(format!("{lags:?}"));
        }
        drill_all(&cloud, Drill::Refuse);
        let now = told(&cloud).await;
        drill_all(&cloud, Drill::Off);
        if now == known { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    at_rest(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_is_bound_to_a_dark_cell_says_so_and_ends_at_its_deadline() {
    let build = Duration::from_secs(6);
    let cloud = Cloud::start(Plan { cells: 2, hosts: 1, build, ..Plan::default() }).await;
    // Bound, and then its cell cannot be written to.
    cloud.failpoints.arm(failpoint::INSERT, Mode::FailBefore, u32::MAX);
    let (doomed, deleted) = (boot(&cloud, "doomed").await, boot(&cloud, "deleted").await);
    let api: api_db::Db = sql::Db::open(&Settings::new(&cloud.api_url)).expect("opens");
    eventually(LONG, "they are bound", async || {
        let read = api.read(move |tx| -> Work<'_, Vec<api_db::mappings::Mapping>> {
            Box::pin(async move { api_db::mappings::get_many(tx, &[doomed, deleted]).await })
        });
        let mappings = read.await.map_err(|error| error.to_string())?;
        let bound = mappings.iter().filter(|mapping| mapping.cell.is_some()).count();
        if bound == 2 { Ok(()) } else { Err(format!("{bound} of 2")) }
    })
    .await;
    api.close().await;
    drill_all(&cloud, Drill::Refuse);
    let status = async |id| match cloud.verbs.show(&caller(), id).await.expect("is shown") {
        Seen::Fresh(instance) => (instance.status(), instance.fault.clone().map(|(fault, _)| fault.kind)),
        Seen::Dark(dark) => panic!("the API level knows more: {dark:?}"),
    };
    let first = status(doomed).await;
    assert!(
        matches!(first, ("BUILD", Some(FaultKind::Unavailable)) | ("ERROR", Some(FaultKind::Timeout))),
        "{first:?}"
    );
    eventually(LONG, "its deadline ends it", async || match status(doomed).await {
        ("ERROR", Some(FaultKind::Timeout)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let in_error = Query { status: vec!["ERROR".into()], ..Query::default() };
    let listed = cloud.verbs.list(&caller(), &in_error).await.expect("answers");
    let listed: BTreeSet<InstanceId> = listed.items.iter().map(Seen::id).collect();
    assert_eq!(listed, BTreeSet::from([doomed, deleted]));
    let stopped = cloud.verbs.act(&caller(), &context(), doomed, model::instance::Action::Stop).await;
    assert_eq!(stopped.expect_err("nothing can be done to it").kind, FaultKind::Unavailable);
    cloud.verbs.delete(&caller(), &context(), deleted).await.expect("a deletion is accepted");
    // The cell is back: it takes nothing that is late, and nobody else does.
    cloud.failpoints.release();
    drill_all(&cloud, Drill::Off);
    eventually(LONG, "one is in error, one is gone", async || {
        let gone =
            cloud.verbs.show(&caller(), deleted).await.is_err_and(|why| why.kind == FaultKind::NotFound);
        match cloud.verbs.show(&caller(), doomed).await {
            Ok(Seen::Fresh(row)) if row.status() == "ERROR" && row.at.epoch > 0 && gone => Ok(()),
            other => Err(format!("gone: {gone}; {other:?}")),
        }
    })
    .await;
    at_rest(&cloud).await;
    assert_eq!(cloud.engines().values().map(Vec::len).sum::<usize>(), 0, "nothing was ever started");
}

/// Binds an instance to the cell at `to`, with a row there, as a move would after the tombstone.
async fn bind(cloud: &Cloud, id: InstanceId, to: usize, epoch: i64) {
    let cell = &cloud.cells[to].cell;
    let rows: cell_db::Db = sql::Db::open(&Settings::new(&cell.database_url)).expect("opens");
    rows.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move { cell_db::instances::insert(tx, &[new(id, epoch)], Timestamp(epoch)).await })
    })
    .await
    .expect("is inserted");
    rows.close().await;
    let (api, cell): (api_db::Db, _) =
        (sql::Db::open(&Settings::new(&cloud.api_url)).expect("opens"), cell.id);
    let bound = api.write(move |tx| -> Work<'_, usize> {
        let bind = api_db::mappings::Bind { id, cell, saga_token: 0, epoch: epoch - 1 };
        Box::pin(async move { Ok(api_db::mappings::bind(tx, &[bind]).await?.len()) })
    });
    assert_eq!(bound.await.expect("is bound"), 1);
    api.close().await;
}

/// Leaves a tombstone of that epoch in the cell at `from`.
async fn bury(cloud: &Cloud, id: InstanceId, from: usize, epoch: i64) {
    let url = &cloud.cells[from].cell.database_url;
    let rows: cell_db::Db = sql::Db::open(&Settings::new(url)).expect("opens");
    rows.write(move |tx| -> Work<'_, Vec<model::HostId>> {
        Box::pin(async move { cell_db::instances::want_gone(tx, &[new(id, epoch)], Timestamp(epoch)).await })
    })
    .await
    .expect("is buried");
    rows.close().await;
}

fn new(id: InstanceId, epoch: i64) -> cell_db::instances::New {
    let flavor = Flavor { id: "1".into(), name: "t".into(), vcpus: 1, memory_mib: 64, disk_gib: 1, pids: 64 };
    let spec = RequestSpec {
        name: "moves".into(),
        project: caller().project,
        user: caller().user,
        request_id: "req-1".into(),
        region: String::new(),
        zone: None,
        image: "skep/web:1".parse().expect("legal"),
        flavor,
        container: ContainerSpec::default(),
        metadata: Default::default(),
        description: None,
        extra: Default::default(),
        deadline: Timestamp(i64::MAX),
    };
    cell_db::instances::New {
        id,
        epoch,
        saga_token: 0,
        spec,
        asked_by: "req-1".into(),
        bucket: 0,
        created: Timestamp(1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_location_heals_itself() {
    let mut cloud = Cloud::start(Plan { cells: 2, hosts: 1, ..Plan::default() }).await;
    // Nobody but this story writes what follows.
    cloud.conductors.clear();
    cloud.superconductors.clear();
    let id: InstanceId = cloud.env.id();
    let api: api_db::Db = sql::Db::open(&Settings::new(&cloud.api_url)).expect("opens");
    api.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move { api_db::mappings::create(tx, id, &new(id, 0).spec, Timestamp(1)).await })
    })
    .await
    .expect("is asked for");
    let at = async || match cloud.verbs.show(&caller(), id).await.expect("is shown") {
        Seen::Fresh(instance) => (instance.cell, instance.at.epoch),
        Seen::Dark(dark) => panic!("it is not dark: {dark:?}"),
    };
    let (one, two) = (Some(cloud.cells[0].cell.id), Some(cloud.cells[1].cell.id));
    bind(&cloud, id, 0, 1).await;
    assert_eq!(at().await, (one, 1));
    // It moves: the tombstone says so to whoever still goes to the old place, at once.
    bury(&cloud, id, 0, 1).await;
    bind(&cloud, id, 1, 2).await;
    assert_eq!(at().await, (two, 2));
    // It moves back, and the cell that it left goes dark: the mapping says where it is, at once.
    bury(&cloud, id, 1, 2).await;
    bind(&cloud, id, 0, 3).await;
    assert!(cloud.router.drill("cell2", Drill::Refuse));
    assert_eq!(at().await, (one, 3));
    assert!(cloud.router.drill("cell2", Drill::Off));
    // It moves, and its old cell has forgotten that, as after a restore: memory does not last.
    bind(&cloud, id, 1, 4).await;
    eventually(LONG, "what was remembered is forgotten", async || match at().await {
        now if now == (two, 4) => Ok(()),
        old => Err(format!("{old:?}")),
    })
    .await;
}
