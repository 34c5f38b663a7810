//! Pairs in a cell's database of which one changes a size.

use std::sync::Arc;

use cell_db::resizes::{self, Due, Wish, Wished};
use cell_db::{Db, actions, reports};
use model::instance::Action;
use model::sync::{Observation, Observed, Outcome};
use model::{At, Caller, Context, Env, InstanceId, Intent, Phase, Power, Size, Timestamp};
use sql::{Error, Work};
use uuid::Uuid;

use crate::below::{Planned, bed, claim, planned, row, want_gone};
use crate::spec;

/// One of two planned instances runs and is wished twice as large; the host has room for that or for the other.
struct Ground {
    planned: Planned,
    wish: Uuid,
    due: Due,
}

fn grown() -> Size {
    let mut size = Size::of(&spec("p"));
    (size.flavor.id, size.flavor.vcpus, size.flavor.memory_mib) = ("2".into(), 2, 128);
    size
}

async fn wish(db: Db, instance: InstanceId, record: Uuid) -> Result<Wished, Error> {
    db.write(move |tx| -> Work<'_, Wished> {
        Box::pin(async move {
            let caller = Caller { user: "u".into(), project: "p".into(), roles: vec![] };
            let (size, action) = (Some(grown()), Action::Resize);
            let wish = Wish { record, instance, epoch: 1, saga_token: 1, action, size };
            resizes::wish(tx, &wish, (&caller, &Context::default()), Timestamp(6)).await
        })
    })
    .await
}

async fn carry_out(db: Db, due: Due) -> Result<(), Error> {
    db.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move { resizes::carry_out(tx, due, Timestamp(7)).await.map(drop) })
    })
    .await
}

/// Two planned instances, of which the first runs.
async fn running(db: &Db, env: &Env) -> Planned {
    let planned = planned(db, env, 2, 2).await;
    let (host, instance) = (planned.host, planned.claims[0].instance.id);
    claim(db.clone(), planned.claims[0].clone()).await.expect("claims");
    let seen = Observation {
        instance,
        at: At { epoch: 1, placement: 1, generation: 1 },
        seq: 9,
        outcome: Outcome::Done,
        restart_seq: 0,
        power: Power::Running,
        observed: Observed::default(),
        fault: None,
        request_id: String::new(),
    };
    let report = db.write(move |tx| -> Work<'_, ()> {
        let seen = seen.clone();
        Box::pin(async move { reports::apply(tx, host, &[seen], Timestamp(5)).await.map(drop) })
    });
    report.await.expect("is applied");
    planned
}

async fn wished(db: &Db, env: &Env) -> Ground {
    let planned = running(db, env).await;
    let (record, instance) = (env.uuid(), planned.claims[0].instance.id);
    assert_eq!(wish(db.clone(), instance, record).await.expect("is written"), Wished::Begun);
    let due = db.read(|tx| -> Work<'_, Vec<Due>> {
        Box::pin(async move { resizes::due(tx, InstanceId(Uuid::nil()), 1_000).await })
    });
    let due = due.await.expect("reads").into_iter().find(|due| due.instance == instance).expect("is due");
    Ground { planned, wish: record, due }
}

/// What the host has used of processors and memory, which never is more than it has, and what is allocated there.
async fn used(db: &Db, ground: &Ground) -> [(i64, i64); 2] {
    const USED: &str = "SELECT used_vcpus_milli, used_memory_mib FROM host WHERE id = $1";
    const SUM: &str = "SELECT CAST(COALESCE(SUM(vcpus_milli), 0) AS BIGINT),
        CAST(COALESCE(SUM(memory_mib), 0) AS BIGINT) FROM allocation WHERE host = $1";
    let host = ground.planned.host;
    let read = db.read(move |tx| -> Work<'_, [(i64, i64); 2]> {
        Box::pin(async move {
            let used: Option<(i64, i64)> = tx.opt(USED, sql::args![host]).await?;
            let sum: Option<(i64, i64)> = tx.opt(SUM, sql::args![host]).await?;
            Ok([used.unwrap_or_default(), sum.unwrap_or_default()])
        })
    });
    read.await.expect("reads")
}

/// The room that is left is claimed for a larger size and for another instance: one of them gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_larger_size_and_a_claim() {
    let look = async |db: &Db, ground: &Ground, ends: [crate::End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        let [one, other] = [0, 1].map(|n| ground.planned.claims[n].instance.id);
        let (grows, placed) = (row(db, one).await, row(db, other).await.host.is_some());
        assert_eq!(grows.phase, if placed { Phase::Plain } else { Phase::Resizing }, "{when}");
        assert_eq!(grows.spec.flavor.vcpus, if placed { 1 } else { 2 }, "{when}");
        assert_eq!(used(db, ground).await, [(2_000, 128), (2_000, 128)], "{when}");
    };
    bed()
        .await
        .interleave(
            wished,
            |db, ground| carry_out(db, ground.due),
            |db, ground: Arc<Ground>| claim(db, ground.planned.claims[1].clone()),
            look,
        )
        .await;
}

/// A larger size is claimed while the instance is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_larger_size_and_a_deletion() {
    let look = async |db: &Db, ground: &Ground, ends: [crate::End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        let instance = row(db, ground.due.instance).await;
        assert_eq!(instance.intent, Intent::Gone, "{when}");
        let [used, allocated] = used(db, ground).await;
        assert_eq!(used, allocated, "{when}: nothing leaks");
        let claimed = if instance.phase == Phase::Resizing { 2_000 } else { 1_000 };
        assert_eq!(used.0, claimed, "{when}: {:?}", instance.phase);
    };
    let gone = |db, ground: Arc<Ground>| want_gone(db, ground.due.instance, 2);
    bed().await.interleave(wished, |db, ground| carry_out(db, ground.due), gone, look).await;
}

/// Who accepted it and the task that outlives him write the same wish.
#[tokio::test(flavor = "multi_thread")]
async fn a_wish_by_two() {
    let prepare = async |db: &Db, env: &Env| {
        let planned = running(db, env).await;
        let due = Due { instance: planned.claims[0].instance.id, version: 0 };
        Ground { planned, wish: env.uuid(), due }
    };
    let one = |db, ground: Arc<Ground>| async move {
        wish(db, ground.due.instance, ground.wish).await.map(|wished| {
            assert!(matches!(wished, Wished::Begun | Wished::Before), "{wished:?}");
        })
    };
    let look = async |db: &Db, ground: &Ground, ends: [crate::End; 2], when: &str| {
        // Whoever comes between the other's reading and writing tries again.
        assert!(ends.iter().any(Result::is_ok), "{when}: {ends:?}");
        let instance = ground.due.instance;
        assert_eq!(row(db, instance).await.phase, Phase::ResizeWanted, "{when}");
        let read = db.read(move |tx| -> Work<'_, Vec<actions::Recorded>> {
            Box::pin(async move { actions::of(tx, instance).await })
        });
        let recorded = read.await.expect("reads");
        assert_eq!(recorded.len(), 1, "{when}: {recorded:?}");
        assert_eq!(recorded[0].result, None, "{when}: it is under way");
    };
    bed().await.interleave(prepare, one, one, look).await;
}
