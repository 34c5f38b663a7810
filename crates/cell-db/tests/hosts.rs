//! What operators do with a cell's hosts, on both engines.

use cell_db::claims::{self, Claim};
use cell_db::hosts::{self, Disabled, Registration};
use cell_db::instances::{self, New};
use cell_db::{Db, Tx, archive, dirty, roster, summary};
use model::extra::{Group, Policy};
use model::flavor::Resources;
use model::testing::spec;
use model::{CellId, Env, HostId, InstanceId, RequestSpec, Summary, Timestamp};
use sql::testing::fresh;
use sql::{Error, Settings, Work, args};

async fn register(tx: &mut Tx, id: HostId) -> Result<(), Error> {
    register_session(tx, id, id.uuid()).await.map(drop)
}

async fn register_session(tx: &mut Tx, id: HostId, session: uuid::Uuid) -> Result<i64, Error> {
    let host = Registration {
        id,
        name: "h".into(),
        zone: "z".into(),
        engine: "e".into(),
        address: "127.0.0.1".into(),
        capacity: Resources { vcpus_milli: 4_000, memory_mib: 640, slots: 4 },
        boot: id.uuid(),
        session,
        version: "0".into(),
        healthy: true,
    };
    hosts::register(tx, &host, Timestamp(1)).await
}

async fn place(tx: &mut Tx, id: InstanceId, host: HostId) -> Result<usize, Error> {
    place_as(tx, id, host, spec()).await
}

async fn place_as(tx: &mut Tx, id: InstanceId, host: HostId, spec: RequestSpec) -> Result<usize, Error> {
    let new =
        New { id, epoch: 2, saga_token: 3, spec, asked_by: "req-1".into(), bucket: 7, created: Timestamp(5) };
    instances::insert(tx, &[new], Timestamp(10)).await?;
    let mut won = 0;
    for instance in claims::waiting(tx, 0, 10).await? {
        let claim = Claim { instance, host, engine: "e".into() };
        won += claims::claim(tx, &[claim], Timestamp(20)).await?.won.len();
    }
    Ok(won)
}

#[tokio::test]
async fn a_host_is_disabled_enabled_and_deleted() {
    let env = Env::system();
    for fresh in fresh().await {
        let db = Db::open(&Settings::new(&fresh.url)).expect("opens");
        cell_db::SCHEMA.migrate(&db, &env).await.expect("migrates");
        let (host, instance): (HostId, InstanceId) = (env.id(), env.id());
        let done = db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                register(tx, host).await?;
                assert!(hosts::all(tx).await?[0].enabled);
                for reason in ["a disk", "two disks"] {
                    let (user, request_id) = ("ann".to_owned(), "req-9".to_owned());
                    let why = Disabled { reason: reason.into(), user, request_id, since: Timestamp(7) };
                    hosts::disable(tx, host, &why).await?;
                }
                assert_eq!(place(tx, instance, host).await?, 0, "a claim that was planned before is lost");
                register(tx, host).await?;
                let shown = &roster::hosts(tx).await?[0];
                assert!(!shown.host.enabled, "registration does not enable");
                let why = shown.disabled.clone().expect("is disabled");
                assert_eq!(
                    (why.reason.as_str(), why.user.as_str(), why.since),
                    ("two disks", "ann", Timestamp(7))
                );
                assert!(hosts::enable(tx, host).await? && !hosts::enable(tx, host).await?);
                assert!(hosts::all(tx).await?[0].enabled);
                for (sql, enabled) in [
                    ("INSERT INTO host_disabled SELECT id, '', '', '', 1 FROM host WHERE id = $1", false),
                    ("DELETE FROM host_disabled WHERE host = $1", true),
                ] {
                    tx.exec(sql, sql::args![host]).await?;
                    assert_eq!(hosts::take_over_switches(tx).await?, 1, "an older release has switched it");
                    assert_eq!(hosts::take_over_switches(tx).await?, 0);
                    assert_eq!(hosts::all(tx).await?[0].enabled, enabled);
                }

                assert_eq!(place(tx, instance, host).await?, 1);
                assert_eq!(roster::hosts(tx).await?[0].instances, 1);
                assert!(!hosts::delete(tx, host).await?, "an instance is on it");
                let counts = roster::counts(tx).await?;
                assert_eq!((counts.hosts, counts.hosts_ready, counts.instances), (1, 1, 1));
                assert_eq!(roster::holds(tx, instance).await?, Some(true));
                assert_eq!(roster::holds(tx, InstanceId(host.uuid())).await?, None);
                let held = roster::instances(tx, CellId::ZERO, None, 10).await?;
                assert_eq!(held.len(), 1);
                let one = &held[0].instance;
                assert_eq!((one.id, one.at.epoch, held[0].saga_token), (instance, 2, 3));
                assert_eq!((one.status(), one.host.as_ref().map(|host| host.0)), ("BUILD", Some(host)));
                let after = Some((one.created, instance));
                assert_eq!(roster::instances(tx, CellId::ZERO, after, 10).await?, []);
                Ok(())
            })
        });
        done.await.unwrap_or_else(|error| panic!("{}: {error}", fresh.engine));
        let empty: HostId = env.id();
        let gone = db.write(move |tx| -> Work<'_, (bool, bool, usize)> {
            Box::pin(async move {
                register(tx, empty).await?;
                let first = hosts::delete(tx, empty).await?;
                Ok((first, hosts::delete(tx, empty).await?, hosts::all(tx).await?.len()))
            })
        });
        assert_eq!(gone.await.expect("is written"), (true, false, 1), "{}", fresh.engine);
    }
}

#[tokio::test]
async fn a_later_session_is_numbered_above_all_before() {
    let env = Env::system();
    for fresh in fresh().await {
        let db = Db::open(&Settings::new(&fresh.url)).expect("opens");
        cell_db::SCHEMA.migrate(&db, &env).await.expect("migrates");
        let (host, one, two): (HostId, _, _) = (env.id(), env.uuid(), env.uuid());
        let numbers = db.write(move |tx| -> Work<'_, Vec<i64>> {
            Box::pin(async move {
                let mut numbers = Vec::new();
                for session in [one, one, two, one] {
                    numbers.push(register_session(tx, host, session).await?);
                }
                Ok(numbers)
            })
        });
        let numbers = numbers.await.expect("registers");
        assert!(numbers[0] > env.now().0, "{}: also above what clocks gave", fresh.engine);
        assert_eq!(numbers[0], numbers[1], "{}: the same session goes on", fresh.engine);
        assert!(numbers[1] < numbers[2] && numbers[2] < numbers[3], "{}: {numbers:?}", fresh.engine);
    }
}

#[tokio::test]
async fn a_summary_tells_the_releases_of_all_who_publish() {
    const HOUR: i64 = 3_600_000_000;
    let ours = env!("CARGO_PKG_VERSION");
    let env = Env::system();
    for fresh in fresh().await {
        let db = Db::open(&Settings::new(&fresh.url)).expect("opens");
        cell_db::SCHEMA.migrate(&db, &env).await.expect("migrates");
        let published = db.write(move |tx| -> Work<'_, (Summary, Summary)> {
            Box::pin(async move {
                let sum = |_: Vec<_>, waiting| Summary { waiting, ..Summary::default() };
                let now = Timestamp(10 * HOUR);
                summary::publish(tx, now, sum).await?;
                // Another release publishes into the same row, and remembers one that has left.
                const BODY: &str = "UPDATE summary SET body = $1 WHERE one = 1";
                let others = serde_json::json!({"releases": {ours: now.0, "99.9": now.0 - 1, "99.8": HOUR}});
                tx.exec(BODY, args![others]).await?;
                let first = summary::publish(tx, Timestamp(now.0 + 1), sum).await?;
                Ok((first, summary::publish(tx, Timestamp(now.0 + HOUR), sum).await?))
            })
        });
        let (first, later) = published.await.expect("is published");
        let told: Vec<&str> = first.releases.keys().map(String::as_str).collect();
        assert_eq!(told, [ours, "99.9"], "{}", fresh.engine);
        assert_eq!(later.releases.keys().collect::<Vec<_>>(), [ours], "{}: it has left, too", fresh.engine);
    }
}

#[tokio::test]
async fn what_nobody_owns_is_given_back_with_its_place_in_the_group() {
    let env = Env::system();
    for fresh in fresh().await {
        let db = Db::open(&Settings::new(&fresh.url)).expect("opens");
        cell_db::SCHEMA.migrate(&db, &env).await.expect("migrates");
        let (host, lost, next): (HostId, InstanceId, InstanceId) = (env.id(), env.id(), env.id());
        let mut spec = spec();
        spec.extra.group = Some(Group { id: env.uuid(), policy: Policy::AntiAffinity, max_per_host: 1 });
        let done = db.write(move |tx| -> Work<'_, (usize, usize)> {
            let spec = spec.clone();
            Box::pin(async move {
                register(tx, host).await?;
                let first = place_as(tx, lost, host, spec.clone()).await?;
                tx.exec("DELETE FROM instance WHERE id = $1", args![lost]).await?;
                let orphans = archive::orphans(tx).await?;
                assert_eq!(orphans.iter().map(|orphan| orphan.instance).collect::<Vec<_>>(), [lost]);
                assert!(archive::free(tx, &orphans[0]).await?);
                assert_eq!(hosts::all(tx).await?[0].used, Resources::default());
                Ok((first, place_as(tx, next, host, spec).await?))
            })
        });
        assert_eq!(done.await.expect("is written"), (1, 1), "{}: its place is free", fresh.engine);
    }
}

#[tokio::test]
async fn a_mark_that_came_late_is_forgotten_with_what_it_stands_for() {
    let env = Env::system();
    for fresh in fresh().await {
        let db = Db::open(&Settings::new(&fresh.url)).expect("opens");
        cell_db::SCHEMA.migrate(&db, &env).await.expect("migrates");
        let (host, ids): (HostId, Vec<InstanceId>) = (env.id(), (0..3).map(|_| env.id()).collect());
        let done = db.write(move |tx| -> Work<'_, ()> {
            let ids = ids.clone();
            Box::pin(async move {
                register(tx, host).await?;
                for id in &ids {
                    place(tx, *id, host).await?;
                }
                tx.exec("DELETE FROM dirty", vec![]).await?;
                let (mut marked, mut after) = (Vec::new(), None);
                while let (count, Some(last)) = dirty::mark_all(tx, after, 2, Timestamp(9)).await? {
                    marked.push(count);
                    after = Some(last);
                }
                assert_eq!(marked, [2, 1]);
                // As if the rows had changed, and that had been fed, between the look and the mark.
                tx.exec("UPDATE dirty SET version = version - 1", vec![]).await?;
                let read = dirty::read(tx, CellId::ZERO, 10).await?;
                let marks: Vec<_> = read.iter().map(|changed| changed.mark).collect();
                assert_eq!(marks.len(), 3);
                // All are to be told again while that is under way, by whatever clock.
                for now in [9, 4] {
                    dirty::mark_all(tx, None, 10, Timestamp(now)).await?;
                    dirty::forget(tx, &marks).await?;
                    assert_eq!(dirty::waiting(tx).await?.0, 3, "what was read before is not forgotten");
                }
                let read = dirty::read(tx, CellId::ZERO, 10).await?;
                dirty::forget(tx, &read.iter().map(|changed| changed.mark).collect::<Vec<_>>()).await?;
                assert_eq!(dirty::waiting(tx).await?, (0, None));
                Ok(())
            })
        });
        done.await.unwrap_or_else(|error| panic!("{}: {error}", fresh.engine));
    }
}
