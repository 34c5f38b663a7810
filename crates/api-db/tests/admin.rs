//! What operators do with mappings, on both engines.

use api_db::cells::{self, Change, Reserved};
use api_db::hosts::{self, Mapped, Mapping};
use api_db::index::{self, Heard};
use api_db::mappings::{self, Adopt, Counts};
use api_db::quotas::{self, Limits, UNLIMITED};
use api_db::{Db, Tx};
use model::{
    At, Cell, CellId, CellState, Env, Flavor, HostId, Instance, InstanceId, Intent, Power, RequestSpec,
    Stage, Timestamp,
};
use sql::{Error, Work};

fn cell(id: CellId, name: &str) -> Cell {
    Cell {
        id,
        name: name.into(),
        region: "r".into(),
        database_url: format!("sqlite:{name}"),
        transport_url: format!("local:{name}"),
        second_database_url: String::new(),
        second_transport_url: String::new(),
        state: CellState::Active,
        version: 1,
    }
}

fn spec() -> RequestSpec {
    let flavor = Flavor { vcpus: 2, ..model::testing::spec().flavor };
    RequestSpec { flavor, ..model::testing::spec() }
}

async fn databases() -> Vec<(&'static str, Db)> {
    sql::testing::migrated(&api_db::SCHEMA).await
}

async fn find(tx: &mut Tx, id: CellId) -> Result<Cell, Error> {
    Ok(cells::all(tx).await?.into_iter().find(|cell| cell.id == id).expect("is mapped"))
}

#[tokio::test]
async fn what_is_not_named_stays() {
    for (engine, db) in databases().await {
        let (one, two): (CellId, CellId) = (Env::system().id(), Env::system().id());
        let done = db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                for (id, name) in [(one, "one"), (two, "two")] {
                    assert!(cells::create(tx, &cell(id, name), Timestamp(1)).await?);
                }
                let cordon = Change { state: Some(CellState::Cordoned), ..Change::default() };
                assert!(cells::change(tx, one, 1, &cordon).await?);
                let wanted = Cell { state: CellState::Cordoned, version: 2, ..cell(one, "one") };
                assert_eq!(find(tx, one).await?, wanted);
                let taken = Change { name: Some("two".into()), ..Change::default() };
                assert!(!cells::change(tx, one, 2, &taken).await?, "the name is another's");
                assert!(cells::change(tx, two, 1, &taken).await?, "its own name is free");
                let urls = Change {
                    database_url: Some("sqlite:x".into()),
                    transport_url: Some("local:x".into()),
                    second_database_url: Some("sqlite:y".into()),
                    ..Change::default()
                };
                assert!(!cells::change(tx, two, 1, &urls).await?, "somebody was faster");
                assert!(cells::change(tx, two, 2, &urls).await?);
                let (database_url, transport_url) = ("sqlite:x".into(), "local:x".into());
                let second_database_url = "sqlite:y".into();
                let changed = Cell { database_url, transport_url, version: 3, ..cell(two, "two") };
                let wanted = Cell { second_database_url, ..changed.clone() };
                assert_eq!(find(tx, two).await?, wanted);
                let forget = Change { second_database_url: Some(String::new()), ..Change::default() };
                assert!(cells::change(tx, two, 3, &forget).await?);
                assert_eq!(find(tx, two).await?, Cell { version: 4, ..changed });
                assert!(!cells::change(tx, CellId::ZERO, 1, &cordon).await?, "there is none");
                Ok(())
            })
        });
        done.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
    }
}

#[tokio::test]
async fn a_cell_that_is_shut_takes_no_binding() {
    for (engine, db) in databases().await {
        let id: CellId = Env::system().id();
        let done = db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                assert!(cells::create(tx, &cell(id, "one"), Timestamp(1)).await?);
                assert_eq!(cells::reserve(tx, id, 1, 10).await?, Reserved::Taken(CellState::Active));
                assert_eq!(cells::reserve(tx, id, 1, 1).await?, Reserved::AtCap);
                let cordon = Change { state: Some(CellState::Cordoned), ..Change::default() };
                assert!(cells::change(tx, id, 1, &cordon).await?);
                assert_eq!(cells::reserve(tx, id, 1, 10).await?, Reserved::Closed);
                assert_eq!(cells::unsettled(tx).await?, [(id, 1)], "what was refused is not counted");
                cells::shut(tx, id).await?;
                assert_eq!(cells::reserve(tx, id, 1, 10).await?, Reserved::AtCap);
                assert!(cells::delete(tx, id).await? && !cells::delete(tx, id).await?);
                Ok(())
            })
        });
        done.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
    }
}

#[tokio::test]
async fn hosts_are_mapped_once_and_to_one_cell() {
    for (engine, db) in databases().await {
        let env = Env::system();
        let [a, b]: [HostId; 2] = [env.id(), env.id()];
        let [one, two]: [CellId; 2] = [env.id(), env.id()];
        let mapping = |host, cell, name: &str| Mapping { host, cell, name: name.into() };
        let done = db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                let first = [mapping(a, one, "a"), mapping(b, two, "b")];
                assert_eq!(hosts::map(tx, &first).await?, Mapped { new: vec![a, b], elsewhere: vec![] });
                assert_eq!(hosts::map(tx, &first).await?, Mapped::default());
                // One host id on two machines; the second is told of and changes nothing.
                let again = [mapping(a, one, "renamed"), mapping(b, one, "b")];
                assert_eq!(hosts::map(tx, &again).await?, Mapped { new: vec![], elsewhere: vec![(b, two)] });
                assert_eq!(hosts::all(tx).await?, [mapping(b, two, "b"), mapping(a, one, "renamed")]);
                assert!(hosts::unmap(tx, a).await? && !hosts::unmap(tx, a).await?);
                assert_eq!(hosts::unmap_all(tx, two).await?, 1);
                assert_eq!(hosts::all(tx).await?, []);
                assert_eq!(hosts::map(tx, &[]).await?, Mapped::default());
                Ok(())
            })
        });
        done.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
    }
}

#[tokio::test]
async fn hosts_are_mapped_by_many_at_the_same_time() {
    for (engine, db) in databases().await {
        let env = Env::system();
        let cell: CellId = env.id();
        let mut ids: Vec<HostId> = (0..20).map(|_| env.id()).collect();
        ids.sort();
        let all: Vec<Mapping> =
            ids.into_iter().map(|host| Mapping { host, cell, name: host.to_string() }).collect();
        let run = || {
            let all = all.clone();
            db.write(move |tx| -> Work<'_, Mapped> {
                let all = all.clone();
                Box::pin(async move { hosts::map(tx, &all).await })
            })
        };
        let runs = futures::future::join_all((0..6).map(|_| run())).await;
        let new: usize = runs.iter().map(|run| run.as_ref().expect("is written").new.len()).sum();
        assert_eq!(new, 20, "{engine}: each is new exactly once");
    }
}

fn running(id: InstanceId) -> Instance {
    Instance {
        id,
        spec: spec(),
        cell: None,
        host: None,
        zone: None,
        at: At { epoch: 2, ..At::default() },
        intent: Intent::Run,
        stage: Stage::Settled,
        task: None,
        power: Power::Running,
        phase: model::Phase::Plain,
        observed: Default::default(),
        fault: None,
        created: Timestamp(3),
        updated: Timestamp(4),
        launched: None,
        terminated: None,
    }
}

#[tokio::test]
async fn instances_are_adopted_and_forgotten() {
    for (engine, db) in databases().await {
        let env = Env::system();
        let cell: CellId = env.id();
        let [a, b, dead]: [InstanceId; 3] = [env.id(), env.id(), env.id()];
        let adopt = |id| Adopt {
            saga_token: 7,
            spec: spec(),
            created: Timestamp(3),
            heard: Heard { instance: running(id), version: 9 },
        };
        const LIMITS: Limits = Limits { instances: 1, cores: 1, memory_mib: 1 };
        let done = db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                assert_eq!(mappings::adopt(tx, cell, &[adopt(a), adopt(b)], LIMITS).await?.len(), 2);
                assert_eq!(mappings::adopt(tx, cell, &[adopt(a)], LIMITS).await?, []);
                let mapping = mappings::get(tx, a).await?.expect("is mapped");
                assert_eq!((mapping.cell, mapping.epoch, mapping.saga_token), (Some(cell), 2, 7));
                assert_eq!(mapping.spec, Some(spec()));
                let entry = index::get(tx, a).await?.expect("is indexed");
                assert_eq!((entry.last.status.as_str(), entry.last.updated), ("ACTIVE", Timestamp(4)));
                let used = "SELECT instances, cores, memory_mib, max_instances FROM quota";
                assert_eq!(tx.opt::<(i64, i64, i64, i64)>(used, vec![]).await?, Some((2, 4, 128, 1)));

                mappings::create(tx, dead, &spec(), Timestamp(1)).await?;
                quotas::take(tx, &RequestSpec { project: "q".into(), ..spec() }, 1, UNLIMITED).await?;
                let close = "UPDATE instance_mapping SET state = 'deleted', cell = $2 WHERE id = $1";
                tx.swap(close, sql::args![dead, cell]).await?;
                tx.exec("DELETE FROM request_spec WHERE instance = $1", sql::args![dead]).await?;
                assert_eq!(mappings::count(tx, cell).await?, Counts { live: 2, dead: 1 });
                assert_eq!(mappings::counts(tx).await?, [(cell, Counts { live: 2, dead: 1 })]);
                assert_eq!(mappings::forget(tx, cell, false, 10).await?, 1);
                assert_eq!(mappings::count(tx, cell).await?, Counts { live: 2, dead: 0 });
                assert_eq!(mappings::forget(tx, cell, true, 1).await?, 1, "no more than asked for");
                assert_eq!(mappings::forget(tx, cell, true, 10).await?, 1);
                assert_eq!(mappings::forget(tx, cell, true, 10).await?, 0);
                assert_eq!(index::get(tx, b).await?, None);
                let used = "SELECT instances, cores, memory_mib FROM quota WHERE project = 'p'";
                assert_eq!(tx.opt::<(i64, i64, i64)>(used, vec![]).await?, Some((0, 0, 0)));
                assert_eq!(mappings::adopt(tx, cell, &[adopt(a)], LIMITS).await?, [a], "it came back");
                Ok(())
            })
        });
        done.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
    }
}

#[tokio::test]
async fn a_sum_that_is_too_small_keeps_nobody_from_giving_back() {
    for (engine, db) in databases().await {
        let done = db.write(|tx| -> Work<'_, ()> {
            Box::pin(async move {
                let sum = "INSERT INTO quota (project, instances, cores, memory_mib, max_instances, max_cores, max_memory_mib)
                    VALUES ('p', 3, 1, 64, -1, -1, -1)";
                tx.exec(sum, vec![]).await?;
                quotas::give_back(tx, "p", [1, 2, 65]).await?;
                let used = "SELECT instances, cores, memory_mib FROM quota WHERE project = 'p'";
                assert_eq!(tx.opt::<(i64, i64, i64)>(used, vec![]).await?, Some((2, 0, 0)));
                quotas::give_back(tx, "p", [0, -2, -8]).await?;
                assert_eq!(tx.opt::<(i64, i64, i64)>(used, vec![]).await?, Some((2, 2, 8)));
                Ok(())
            })
        });
        done.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
    }
}
