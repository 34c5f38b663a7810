//! The index that lists are made of, on both engines: what is written into it, and its pages in every order.

use api_db::index::{self, Heard};
use api_db::pages::{self, Among};
use api_db::{Db, Tx, mappings};
use model::extra::{Extra, Lock};
use model::instance::Task;
use model::listing::{Deleted, Narrow, Order, Place, Sort, Value};
use model::sync::Observed;
use model::{
    At, CellId, ContainerSpec, Env, Flavor, HostId, Instance, InstanceId, Intent, Power, RequestSpec, Stage,
    Timestamp,
};
use sql::testing::fresh;
use sql::{Error, Settings, Work, args};

fn spec(n: usize) -> RequestSpec {
    RequestSpec {
        name: format!("{}{}", ["web", "Ä", "db"][n % 3], n % 5),
        project: ["p", "q"][n % 2].into(),
        user: ["u", "v", "w"][n % 3].into(),
        request_id: format!("req-{}", n / 2),
        region: ["", "r"][n / 2 % 2].into(),
        zone: n.is_multiple_of(4).then(|| "asked".into()),
        image: ["skep/web:1", "skep/db:1"][n % 2].parse().expect("legal"),
        flavor: Flavor {
            id: format!("{}", n % 3),
            name: "tiny".into(),
            vcpus: 2,
            memory_mib: 64,
            disk_gib: 1,
            pids: 64,
        },
        container: ContainerSpec::default(),
        metadata: Default::default(),
        description: n.is_multiple_of(3).then(|| format!("about {n}")),
        deadline: Timestamp(i64::MAX),
        extra: Extra {
            tags: ["a", "b", "a%"]
                .into_iter()
                .enumerate()
                .filter(|(t, _)| n >> t & 1 == 1)
                .map(|t| t.1.into())
                .collect(),
            key_name: n.is_multiple_of(2).then(|| format!("key{}", n % 4)),
            locked: n.is_multiple_of(5).then_some(Lock { by_admin: false, reason: None }),
            ..Extra::default()
        },
    }
}

fn told(env: &Env, id: InstanceId, n: usize) -> Instance {
    Instance {
        id,
        spec: spec(n),
        cell: None,
        host: (!n.is_multiple_of(3)).then(|| (env.id::<HostId>(), format!("h{}", n % 4))),
        zone: (!n.is_multiple_of(3)).then(|| "nova".into()),
        at: At { epoch: 1, ..At::default() },
        intent: Intent::Run,
        stage: [Stage::Settled, Stage::Error, Stage::Building][n % 3],
        task: n.is_multiple_of(5).then_some(Task::Rebooting),
        power: [Power::Running, Power::Stopped][n % 2],
        phase: model::Phase::Plain,
        observed: Observed { address: format!("10.0.0.{n}"), ..Observed::default() },
        fault: None,
        created: Timestamp(3),
        updated: Timestamp(100 + n as i64 % 7),
        launched: n.is_multiple_of(2).then_some(Timestamp(50 + n as i64)),
        terminated: None,
    }
}

async fn databases() -> Vec<(&'static str, Db)> {
    sql::testing::migrated(&api_db::SCHEMA).await
}

/// Thirty instances; of the first twenty a cell has told, the last four of them are deleted.
async fn populate(tx: &mut Tx, ids: &[InstanceId], cell: CellId) -> Result<(), Error> {
    let env = Env::system();
    for (n, id) in ids.iter().enumerate() {
        mappings::create(tx, *id, &spec(n), Timestamp(10 + n as i64 / 3)).await?;
        if n < 20 {
            tx.swap("UPDATE instance_mapping SET cell = $2, epoch = 1 WHERE id = $1", args![*id, cell])
                .await?;
            index::apply(tx, &[Heard { instance: told(&env, *id, n), version: 2 }]).await?;
        }
        if (16..20).contains(&n) {
            tx.swap("UPDATE instance_mapping SET state = 'deleting' WHERE id = $1", args![*id]).await?;
            mappings::close(tx, &[(*id, 0)], Timestamp(200 + n as i64)).await?;
        }
    }
    Ok(())
}

fn value(entry: &index::Entry, sort: Sort) -> Value {
    let time = |at: Option<Timestamp>| Value::Number(at.map_or(0, |at| at.0));
    match sort {
        Sort::Created => entry.created.0.into(),
        Sort::Updated => entry.last.updated.0.into(),
        Sort::Launched => time(entry.last.launched),
        Sort::Terminated => time(entry.last.terminated),
        Sort::Name => entry.name.as_str().into(),
        Sort::Description => entry.description.as_str().into(),
        Sort::Hostname => entry.hostname.as_str().into(),
        Sort::KeyName => entry.key_name.as_str().into(),
        Sort::Locked => i64::from(entry.locked).into(),
        Sort::Host => entry.last.host.as_str().into(),
        Sort::Zone => entry.last.zone.as_str().into(),
        Sort::Image => entry.image.as_str().into(),
        Sort::Flavor => entry.flavor.as_str().into(),
        Sort::Project => entry.project.as_str().into(),
        Sort::User => entry.user.as_str().into(),
        Sort::VmState => entry.last.vm_state.as_str().into(),
        Sort::TaskState => entry.last.task_state.as_str().into(),
        Sort::Power => entry.last.power.into(),
        Sort::Id => Value::Id(entry.id.uuid()),
    }
}

fn place(entry: &index::Entry, order: &Order) -> Place {
    Place(order.keys().iter().map(|(sort, _)| value(entry, *sort)).collect())
}

#[tokio::test]
async fn every_order_is_walked_without_gaps() {
    for (engine, db) in databases().await {
        let env = Env::system();
        let mut ids: Vec<InstanceId> = (0..30).map(|_| env.id()).collect();
        ids.sort_by_key(|id| id.uuid().as_u128() & 0xffff);
        let cell: CellId = env.id();
        let stored = ids.clone();
        db.write(move |tx| -> Work<'_, ()> {
            let ids = stored.clone();
            Box::pin(async move { populate(tx, &ids, cell).await })
        })
        .await
        .expect("writes");
        let orders = Sort::ALL.into_iter().flat_map(|sort| {
            let other = Sort::ALL[(sort as usize + 5) % Sort::ALL.len()];
            [
                Order::new(&[(sort, false)]),
                Order::new(&[(sort, true)]),
                Order::new(&[(sort, true), (other, false)]),
                Order::new(&[(sort, false), (other, true), (Sort::Created, true)]),
            ]
        });
        let read = db.read(move |tx| -> Work<'_, ()> {
            let orders: Vec<Order> = orders.clone().collect();
            Box::pin(async move {
                for (order, deleted) in
                    orders.into_iter().flat_map(|o| [(o.clone(), Deleted::No), (o, Deleted::Both)])
                {
                    let among = Among::Everywhere(deleted);
                    let narrow = Narrow::default();
                    let all = pages::page(tx, among, &narrow, &order, None, 100).await?;
                    assert_eq!(all.len(), if deleted == Deleted::No { 26 } else { 30 });
                    let mut sorted = all.clone();
                    sorted.sort_by(|a, b| order.compare(&place(a, &order), &place(b, &order)));
                    assert_eq!(all, sorted, "{order:?}: the engine orders as we do");
                    let mut walked: Vec<index::Entry> = Vec::new();
                    loop {
                        let after = walked.last().map(|last| place(last, &order));
                        let page = pages::page(tx, among, &narrow, &order, after.as_ref(), 7).await?;
                        if page.is_empty() {
                            break;
                        }
                        walked.extend(page);
                    }
                    assert_eq!(walked, all, "{order:?}");
                }
                Ok(())
            })
        });
        read.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
    }
}

/// What is asked for, and which of the thirty it is.
type Case = (Narrow, fn(usize) -> bool);

fn tags(tags: &[&str]) -> Vec<String> {
    tags.iter().map(|tag| (*tag).to_owned()).collect()
}

#[tokio::test]
async fn entries_are_narrowed() {
    for (engine, db) in databases().await {
        let env = Env::system();
        let ids: Vec<InstanceId> = (0..30).map(|_| env.id()).collect();
        let cell: CellId = env.id();
        let done = db.write(move |tx| -> Work<'_, ()> {
            let ids = ids.clone();
            Box::pin(async move {
                populate(tx, &ids, cell).await?;
                let all = Among::Everywhere(Deleted::No);
                let order = Order::default();
                let cases: Vec<Case> = vec![
                    (Narrow { project: Some("q".into()), ..Narrow::default() }, |n| n % 2 == 1),
                    (Narrow { region: Some("r".into()), ..Narrow::default() }, |n| n / 2 % 2 == 1),
                    (Narrow { user: Some("w".into()), ..Narrow::default() }, |n| n % 3 == 2),
                    (Narrow { image: Some(spec(1).image.uuid()), ..Narrow::default() }, |n| n % 2 == 1),
                    (Narrow { flavor: Some("0".into()), ..Narrow::default() }, |n| n % 3 == 0),
                    (Narrow { host: Some("h1".into()), ..Narrow::default() }, |n| {
                        n < 20 && n % 3 > 0 && n % 4 == 1
                    }),
                    (Narrow { status: vec!["ERROR".into()], ..Narrow::default() }, |n| n < 20 && n % 3 == 1),
                    (Narrow { vm_state: Some("building".into()), ..Narrow::default() }, |n| {
                        n >= 20 || n % 3 == 2
                    }),
                    (Narrow { task_state: Some("rebooting".into()), ..Narrow::default() }, |n| {
                        n < 20 && n % 5 == 0
                    }),
                    (Narrow { since: Some(Timestamp(104)), ..Narrow::default() }, |n| n < 20 && n % 7 >= 4),
                    (Narrow { before: Some(Timestamp(101)), ..Narrow::default() }, |n| n >= 20 || n % 7 <= 1),
                    (Narrow { locked: Some(false), ..Narrow::default() }, |n| !n.is_multiple_of(5)),
                    (Narrow { tags: tags(&["a", "b"]), ..Narrow::default() }, |n| n & 3 == 3),
                    (Narrow { tags_any: tags(&["b", "a%"]), ..Narrow::default() }, |n| n & 6 != 0),
                    (Narrow { not_tags: tags(&["a", "b"]), ..Narrow::default() }, |n| n & 3 != 3),
                    (Narrow { not_tags_any: tags(&["b", "a%"]), ..Narrow::default() }, |n| n & 6 == 0),
                    (Narrow { ids: vec![ids[3], ids[17], ids[25]], ..Narrow::default() }, |n| {
                        n == 3 || n == 25
                    }),
                ];
                for (narrow, expected) in cases {
                    let mut found: Vec<InstanceId> = Vec::new();
                    for entry in pages::page(tx, all, &narrow, &order, None, 100).await? {
                        found.push(entry.id);
                    }
                    let alive = (0..30).filter(|n| !(16..20).contains(n));
                    let mut wanted: Vec<InstanceId> =
                        alive.filter(|n| expected(*n)).map(|n| ids[n]).collect();
                    found.sort();
                    wanted.sort();
                    assert_eq!(found, wanted, "{narrow:?}");
                }
                let narrow = Narrow::default();
                let anew = RequestSpec { name: "anew".into(), ..spec(4) };
                index::describe(tx, ids[3], &anew).await?;
                let entry = index::get(tx, ids[3]).await?.expect("is there");
                assert_eq!((entry.name.as_str(), entry.hostname.as_str()), ("anew", "anew"));
                assert_eq!((entry.tags, entry.flavor.as_str()), (anew.extra.tags.clone(), "1"));
                let building = pages::page(tx, Among::Building, &narrow, &order, None, 100).await?;
                assert_eq!(building.len(), (0..30).filter(|n| *n >= 20 || (n % 3 == 2 && *n < 16)).count());
                assert_eq!(pages::page(tx, Among::Cell(cell), &narrow, &order, None, 100).await?.len(), 16);
                let gone =
                    pages::page(tx, Among::Everywhere(Deleted::Only), &narrow, &order, None, 100).await?;
                assert_eq!(gone.len(), 4);
                assert!(gone.iter().all(|entry| entry.deleted && entry.last.status == "DELETED"));
                assert!(
                    gone.iter().all(|entry| entry.last.updated.0 >= 216 && entry.last.terminated.is_some())
                );
                Ok(())
            })
        });
        done.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
    }
}

#[tokio::test]
async fn a_tombstone_tells_its_numbers_only() {
    for (engine, db) in databases().await {
        let env = Env::system();
        let id: InstanceId = env.id();
        let told = told(&env, id, 0);
        let done = db.write(move |tx| -> Work<'_, ()> {
            let told = told.clone();
            Box::pin(async move {
                mappings::create(tx, id, &spec(0), Timestamp(1)).await?;
                let status = async |tx: &mut Tx| {
                    let entry = index::get(tx, id).await?.expect("is there");
                    Ok::<_, Error>((entry.last.status, entry.last.vm_state, entry.last.zone))
                };
                let building = ("BUILD".to_owned(), "building".to_owned(), "asked".to_owned());
                assert_eq!(status(tx).await?, building);
                let refused = Instance { stage: Stage::Tombstone, ..told.clone() };
                assert_eq!(index::apply(tx, &[Heard { instance: refused.clone(), version: 2 }]).await?, 1);
                assert_eq!(status(tx).await?, building, "it is bound elsewhere next");
                let late = Heard { instance: told.clone(), version: 1 };
                assert_eq!(index::apply(tx, &[late]).await?, 0, "older than the tombstone");
                let next = Instance { at: At { epoch: 2, ..At::default() }, ..told.clone() };
                assert_eq!(index::apply(tx, &[Heard { instance: next, version: 1 }]).await?, 1);
                assert_eq!(status(tx).await?.0, "REBOOT");
                Ok(())
            })
        });
        done.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
    }
}

#[tokio::test]
async fn a_database_of_the_first_release_is_brought_up() {
    for fresh in fresh().await {
        let (env, engine) = (Env::system(), fresh.engine);
        let db = Db::open(&Settings::new(&fresh.url)).expect("opens");
        let first =
            sql::migrate::Schema { name: "api", steps: &api_db::SCHEMA.steps[..2], oldest: 2, serves: 2 };
        let first: &'static sql::migrate::Schema = Box::leak(Box::new(first));
        first.migrate(&db, &env).await.expect("migrates");
        let [id, gone]: [InstanceId; 2] = [env.id(), env.id()];
        let old = db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                let spec = serde_json::to_value(spec(0)).expect("is JSON");
                for (id, deleted) in [(id, false), (gone, true)] {
                    let mapping = "INSERT INTO instance_mapping (id, project, user_id, cell, epoch, saga_token, \
                                   state, created_at) VALUES ($1, 'p', 'u', NULL, 1, 1, $2, 5)";
                    tx.exec(mapping, args![id, if deleted { "deleted" } else { "live" }]).await?;
                    let entry = "INSERT INTO instance_index (instance, project, user_id, region, created_at, \
                                 name, deleted, epoch, version, status) \
                                 VALUES ($1, 'p', 'u', '', 5, 'one', $2, 1, 1, $3)";
                    tx.exec(entry, args![id, deleted, (!deleted).then_some("SHUTOFF")]).await?;
                }
                tx.exec("INSERT INTO request_spec (instance, spec) VALUES ($1, $2)", args![id, spec]).await?;
                Ok(())
            })
        });
        old.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
        api_db::SCHEMA.migrate(&db, &env).await.expect("migrates");
        let read = db.read(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                let entry = index::get(tx, id).await?.expect("is there");
                assert_eq!((entry.image.as_str(), entry.flavor.as_str()), ("skep/web:1", "0"));
                assert_eq!((entry.description.as_str(), entry.last.zone.as_str()), ("about 0", "asked"));
                assert_eq!((entry.last.vm_state.as_str(), entry.last.updated), ("stopped", Timestamp(5)));
                let entry = index::get(tx, gone).await?.expect("is there");
                assert_eq!(
                    (entry.last.status.as_str(), entry.last.vm_state.as_str()),
                    ("DELETED", "deleted")
                );
                Ok(())
            })
        });
        read.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
    }
}
