//! Pairs in a cell's database.

use cell_db::claims::{self, Claim};
use cell_db::instances::{self, New};
use cell_db::{Cell, Db, Tx, hosts, reports, summary};
use model::host::Host;
use model::instance::{Stage, Task};
use model::sync::{Observation, Observed, Outcome};
use model::{
    At, CellId, Env, Fault, HostId, Incarnation, Instance, InstanceId, Intent, Power, Resources, Summary,
    Timestamp,
};
use sql::{Error, Work};

use crate::{Bed, spec};

fn new(id: InstanceId, epoch: i64, saga_token: i64) -> New {
    New { id, epoch, saga_token, spec: spec("p"), asked_by: "req-1".into(), bucket: 7, created: Timestamp(5) }
}

pub(crate) async fn bed() -> Bed<Cell> {
    Bed::new(&cell_db::SCHEMA).await
}

async fn insert(db: Db, id: InstanceId, token: i64) -> Result<(), Error> {
    db.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move { instances::insert(tx, &[new(id, 1, token)], Timestamp(2)).await })
    })
    .await
}

pub(crate) async fn want_gone(db: Db, id: InstanceId, token: i64) -> Result<(), Error> {
    db.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move { instances::want_gone(tx, &[new(id, 1, token)], Timestamp(3)).await.map(drop) })
    })
    .await
}

pub(crate) async fn row(db: &Db, id: InstanceId) -> Instance {
    let read = db.read(move |tx| -> Work<'_, Option<Instance>> {
        Box::pin(async move { instances::get(tx, CellId::ZERO, id).await })
    });
    read.await.expect("reads").expect("is there")
}

/// Registers a host with room for so many.
pub(crate) async fn register(tx: &mut Tx, host: HostId, slots: i64) -> Result<(), Error> {
    let registration = hosts::Registration {
        id: host,
        name: "h".into(),
        zone: "z".into(),
        engine: host.to_string(),
        address: "127.0.0.1".into(),
        capacity: Resources { vcpus_milli: 1_000 * slots, memory_mib: 64 * slots, slots },
        boot: host.uuid(),
        session: host.uuid(),
        version: "0".into(),
        healthy: true,
    };
    hosts::register(tx, &registration, Timestamp(1)).await.map(drop)
}

/// A host with room for `slots`, and instances that a conductor has planned to claim on it.
pub(crate) struct Planned {
    pub(crate) host: HostId,
    pub(crate) claims: Vec<Claim>,
}

pub(crate) async fn planned(db: &Db, env: &Env, slots: i64, count: usize) -> Planned {
    let host: HostId = env.id();
    let ids: Vec<InstanceId> = (0..count).map(|_| env.id()).collect();
    let waiting = db.write(move |tx| -> Work<'_, Vec<claims::Waiting>> {
        let ids = ids.clone();
        Box::pin(async move {
            register(tx, host, slots).await?;
            let new: Vec<New> = ids.iter().map(|id| new(*id, 1, 1)).collect();
            instances::insert(tx, &new, Timestamp(1)).await?;
            let waiting = claims::waiting(tx, 0, 1_000).await?;
            Ok(waiting.into_iter().filter(|waiting| ids.contains(&waiting.id)).collect())
        })
    });
    let claim = |instance| Claim { instance, host, engine: host.to_string() };
    let claims: Vec<Claim> = waiting.await.expect("is prepared").into_iter().map(claim).collect();
    assert_eq!(claims.len(), count);
    Planned { host, claims }
}

pub(crate) async fn claim(db: Db, claim: Claim) -> Result<(), Error> {
    db.write(move |tx| -> Work<'_, ()> {
        let claim = claim.clone();
        Box::pin(async move { claims::claim(tx, &[claim], Timestamp(4)).await.map(drop) })
    })
    .await
}

/// The used slots of a host, if it is there, and what its allocations sum to.
async fn slots(db: &Db, host: HostId) -> (Option<i64>, i64) {
    let read = db.read(move |tx| -> Work<'_, (Option<i64>, i64)> {
        Box::pin(async move {
            let used: Option<(i64,)> =
                tx.opt("SELECT used_slots FROM host WHERE id = $1", sql::args![host]).await?;
            let sum: Option<(i64,)> =
                tx.opt("SELECT COUNT(*) FROM allocation WHERE host = $1", sql::args![host]).await?;
            Ok((used.map(|(n,)| n), sum.map_or(0, |(n,)| n)))
        })
    });
    read.await.expect("reads")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insertion_and_a_deletion() {
    let look = async |db: &Db, id: &InstanceId, ends: [crate::End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        assert_eq!(row(db, *id).await.stage, Stage::Tombstone, "{when}: the tombstone stands");
    };
    let prepare = async |_: &Db, env: &Env| -> InstanceId { env.id() };
    bed().await.interleave(prepare, |db, id| insert(db, *id, 4), |db, id| want_gone(db, *id, 5), look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burial_and_a_deletion() {
    let bury = |db: Db, id: InstanceId| async move {
        db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                let dead = [(new(id, 1, 4), Fault::internal("no host"))];
                instances::bury(tx, &dead, Timestamp(2)).await
            })
        })
        .await
    };
    let look = async |db: &Db, id: &InstanceId, ends: [crate::End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        assert_eq!(row(db, *id).await.stage, Stage::Tombstone, "{when}: what was deleted stays so");
    };
    let prepare = async |_: &Db, env: &Env| -> InstanceId { env.id() };
    bed().await.interleave(prepare, move |db, id| bury(db, *id), |db, id| want_gone(db, *id, 5), look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_and_a_deletion() {
    let look = async |db: &Db, planned: &Planned, ends: [crate::End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        let instance = row(db, planned.claims[0].instance.id).await;
        let (used, allocated) = slots(db, planned.host).await;
        assert_eq!(used, Some(allocated), "{when}: nothing leaks");
        // Either it was never placed, or its host is asked to remove it.
        match instance.host {
            None => assert_eq!((instance.stage, allocated), (Stage::Tombstone, 0), "{when}"),
            Some(_) => assert_eq!((instance.task, allocated), (Some(Task::Deleting), 1), "{when}"),
        }
    };
    let gone = |db, planned: std::sync::Arc<Planned>| want_gone(db, planned.claims[0].instance.id, 2);
    let prepare = async |db: &Db, env: &Env| planned(db, env, 1, 1).await;
    bed().await.interleave(prepare, |db, planned| claim(db, planned.claims[0].clone()), gone, look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_claims_of_the_last_slot() {
    let look = async |db: &Db, planned: &Planned, ends: [crate::End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        assert_eq!(slots(db, planned.host).await, (Some(1), 1), "{when}");
        let placed = [&planned.claims[0], &planned.claims[1]];
        let mut hosts = 0;
        for claim in placed {
            hosts += usize::from(row(db, claim.instance.id).await.host.is_some());
        }
        assert_eq!(hosts, 1, "{when}: one of the two");
    };
    let prepare = async |db: &Db, env: &Env| planned(db, env, 1, 2).await;
    let (one, two) = (
        |db, p: std::sync::Arc<Planned>| claim(db, p.claims[0].clone()),
        |db, p: std::sync::Arc<Planned>| claim(db, p.claims[1].clone()),
    );
    bed().await.interleave(prepare, one, two, look).await;
}

/// An operator removes a host that is empty; a conductor has just planned to claim on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_and_the_deletion_of_its_host() {
    let delete = |db: Db, planned: std::sync::Arc<Planned>| async move {
        let host = planned.host;
        db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move { hosts::delete(tx, host).await.map(drop) })
        })
        .await
    };
    let look = async |db: &Db, planned: &Planned, ends: [crate::End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        let placed = row(db, planned.claims[0].instance.id).await.host.is_some();
        let expected = if placed { (Some(1), 1) } else { (None, 0) };
        assert_eq!(slots(db, planned.host).await, expected, "{when}: a host that is claimed on stays");
    };
    let prepare = async |db: &Db, env: &Env| planned(db, env, 1, 1).await;
    bed().await.interleave(prepare, |db, planned| claim(db, planned.claims[0].clone()), delete, look).await;
}

/// An operator disables a host; a conductor has just planned to claim on it. What is claimed there when that is answered
/// is all there will be.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_and_the_disabling_of_its_host() {
    struct Disable {
        planned: Planned,
        counted: tokio::sync::Mutex<Option<i64>>,
    }
    let disable = |db: Db, disable: std::sync::Arc<Disable>| async move {
        let host = disable.planned.host;
        db.write(move |tx| -> Work<'_, ()> {
            let (reason, user) = ("a disk".to_owned(), "ann".to_owned());
            let why = hosts::Disabled { reason, user, request_id: "req-9".into(), since: Timestamp(4) };
            Box::pin(async move { hosts::disable(tx, host, &why).await })
        })
        .await?;
        *disable.counted.lock().await = slots(&db, host).await.0;
        Ok(())
    };
    let look = async |db: &Db, disable: &Disable, ends: [crate::End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        let placed = row(db, disable.planned.claims[0].instance.id).await.host.is_some();
        let expected = if placed { (Some(1), 1) } else { (Some(0), 0) };
        assert_eq!(slots(db, disable.planned.host).await, expected, "{when}: nothing leaks");
        assert_eq!(*disable.counted.lock().await, expected.0, "{when}: nothing is claimed on it later");
    };
    let prepare = async |db: &Db, env: &Env| Disable {
        planned: planned(db, env, 1, 1).await,
        counted: Default::default(),
    };
    bed().await.interleave(prepare, |db, d| claim(db, d.planned.claims[0].clone()), disable, look).await;
}

/// A host gets room; then a summary is read and two more are published, of which one may have been under way. The
/// second of them tells of that room, whoever reads and writes first.
#[tokio::test(flavor = "multi_thread")]
async fn a_publication_and_a_question() {
    struct Room {
        host: HostId,
        asked: tokio::sync::Mutex<i64>,
    }
    async fn publish(db: &Db) -> Result<i64, Error> {
        db.write(move |tx| -> Work<'_, i64> {
            let sum = |all: Vec<Host>, waiting: i64| {
                let hosts = all.iter().filter(|host| host.capacity.slots > 0).count() as i64;
                Summary { hosts, waiting, ..Summary::default() }
            };
            Box::pin(async move { Ok(summary::publish(tx, Timestamp(4), sum).await?.version) })
        })
        .await
    }
    async fn published(db: &Db) -> Result<Summary, Error> {
        let read = db.read(|tx| -> Work<'_, Option<(Incarnation, Summary)>> {
            Box::pin(async move { summary::read(tx).await })
        });
        Ok(read.await?.expect("was published").1)
    }
    let prepare = async |db: &Db, env: &Env| {
        let host: HostId = env.id();
        db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                tx.exec("DELETE FROM host WHERE $1", sql::args![true]).await?;
                register(tx, host, 0).await
            })
        })
        .await
        .expect("is prepared");
        publish(db).await.expect("publishes");
        Room { host, asked: Default::default() }
    };
    let other = |db: Db, _: std::sync::Arc<Room>| async move { publish(&db).await.map(drop) };
    let ask = |db: Db, room: std::sync::Arc<Room>| async move {
        let host = room.host;
        db.write(move |tx| -> Work<'_, ()> { Box::pin(async move { register(tx, host, 1).await }) }).await?;
        *room.asked.lock().await = published(&db).await?.version;
        publish(&db).await.map(drop)
    };
    let look = async |db: &Db, room: &Room, ends: [crate::End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        let (last, asked) = (published(db).await.expect("reads"), *room.asked.lock().await);
        assert!(last.version < asked + 2 || last.hosts == 1, "{when}: {asked} was read, and then {last:?}");
    };
    bed().await.interleave(prepare, other, ask, look).await;
}

/// The host says that the container runs, or that nothing is left of it, while it is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_and_a_deletion() {
    for outcome in [Outcome::Done, Outcome::Failed, Outcome::Gone] {
        let report = move |db: Db, planned: std::sync::Arc<Planned>| async move {
            let (host, instance) = (planned.host, planned.claims[0].instance.id);
            db.write(move |tx| -> Work<'_, ()> {
                Box::pin(async move {
                    let seen = Observation {
                        instance,
                        at: At { epoch: 1, placement: 1, generation: 1 },
                        seq: 9,
                        outcome,
                        restart_seq: 0,
                        power: if outcome == Outcome::Done { Power::Running } else { Power::None },
                        observed: Observed::default(),
                        fault: None,
                        request_id: String::new(),
                    };
                    reports::apply(tx, host, &[seen], Timestamp(6)).await.map(drop)
                })
            })
            .await
        };
        let look = async |db: &Db, planned: &Planned, ends: [crate::End; 2], when: &str| {
            assert_eq!(ends, [Ok(()), Ok(())], "{outcome:?}, {when}");
            let instance = row(db, planned.claims[0].instance.id).await;
            let (used, allocated) = slots(db, planned.host).await;
            assert_eq!(used, Some(allocated), "{outcome:?}, {when}: nothing leaks");
            match instance.host {
                None => assert_eq!((instance.stage, allocated), (Stage::Tombstone, 0), "{outcome:?}, {when}"),
                Some(_) => {
                    assert_eq!((instance.task, allocated), (Some(Task::Deleting), 1), "{outcome:?}, {when}");
                    assert_eq!(instance.intent, Intent::Gone, "{outcome:?}, {when}");
                }
            }
        };
        let prepare = async |db: &Db, env: &Env| {
            let planned = planned(db, env, 1, 1).await;
            claim(db.clone(), planned.claims[0].clone()).await.expect("claims");
            planned
        };
        let gone = |db, planned: std::sync::Arc<Planned>| want_gone(db, planned.claims[0].instance.id, 2);
        bed().await.interleave(prepare, report, gone, look).await;
    }
}
