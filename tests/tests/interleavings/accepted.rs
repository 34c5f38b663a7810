//! What two API processes accept at a time, by the verbs themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_db::{Api, Db};
use model::{Caller, Env, Fault, InstanceId};
use router::Router;
use rpc::Connector;
use sql::{Error, Work};
use tests::cloud::{context, wish};
use tokio_util::sync::CancellationToken;
use verbs::{Accepted, Answer, Key, Prepared, Settings, Verbs};

use crate::{Bed, End};

async fn router(bed: &Bed<Api>) -> Router {
    let (env, db) = (bed.env.clone(), bed.db.clone());
    let settings = router::Settings::default();
    Router::start(settings, env.clone(), db, Connector::new(env), CancellationToken::new()).await
}

fn verbs(db: &Db, router: &Router) -> Verbs {
    Verbs::new(Settings::default(), Env::system(), db.clone(), router.clone(), None)
}

/// A caller of a project of its own.
fn caller(env: &Env) -> Caller {
    Caller { user: "u".into(), project: env.uuid().to_string(), roles: vec!["member".into()] }
}

fn sql(fault: Fault) -> Error {
    Error::from(fault)
}

async fn count(db: &Db, sql: &'static str, key: impl Into<sql::Val> + Clone + Send + Sync + 'static) -> i64 {
    let read = db.read(move |tx| -> Work<'_, i64> {
        let key = key.clone();
        Box::pin(async move { Ok(tx.opt::<(i64,)>(sql, vec![key.into()]).await?.map_or(0, |(n,)| n)) })
    });
    read.await.expect("reads")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deletions() {
    let bed: Bed<Api> = Bed::new(&api_db::SCHEMA).await;
    let router = router(&bed).await;
    let delete = |db: Db, ground: Arc<(Caller, InstanceId)>| {
        let verbs = verbs(&db, &router);
        async move { verbs.delete(&ground.0, &context(), ground.1).await.map_err(sql) }
    };
    let prepare = async |db: &Db, env: &Env| {
        let caller = caller(env);
        let made = verbs(db, &router).boot(&caller, &context(), wish("one")).await.expect("is accepted");
        (caller, made[0].id)
    };
    let look = async |db: &Db, (_, id): &(Caller, InstanceId), ends: [End; 2], when: &str| {
        assert_eq!(ends, [Ok(()), Ok(())], "{when}");
        const TASKS: &str = "SELECT COUNT(*) FROM task WHERE subject = $1";
        assert_eq!(count(db, TASKS, id.uuid()).await, 1, "{when}: one task, the deletion");
        const RECORDS: &str = "SELECT COUNT(*) FROM audit WHERE target = $1 AND action = 'delete'";
        assert_eq!(count(db, RECORDS, id.uuid()).await, 1, "{when}: one record");
    };
    bed.interleave(prepare, delete, delete, look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_creates_under_one_key() {
    let bed: Bed<Api> = Bed::new(&api_db::SCHEMA).await;
    let router = router(&bed).await;
    let create = |side: usize| {
        let router = &router;
        move |db: Db, ground: Arc<(Caller, [Prepared; 2])>| {
            let verbs = verbs(&db, router);
            async move {
                let (caller, prepared) = &*ground;
                let by = Env::system().uuid();
                let key = Key::new(caller, &context(), by, &["POST", "/servers", "k"], &[b"body"]);
                let (headers, request_id) = (BTreeMap::new(), "req-1".to_owned());
                let answer = Answer { status: 202, headers, body: Vec::new(), request_id };
                let accepted = verbs.accept(caller, &context(), &prepared[side], Some((&key, answer))).await;
                match accepted.map_err(sql)? {
                    Accepted::Now => Ok(()),
                    Accepted::Before(_) => Err(Error::Stale),
                }
            }
        }
    };
    let prepare = async |db: &Db, env: &Env| {
        let (caller, verbs) = (caller(env), verbs(db, &router));
        let prepared = async || verbs.prepare(&caller, &context(), wish("one")).await.expect("is legal");
        let both = [prepared().await, prepared().await];
        (caller, both)
    };
    let look = async |db: &Db, (caller, _): &(Caller, [Prepared; 2]), ends: [End; 2], when: &str| {
        assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 1, "{when}: {ends:?}");
        for sql in [
            "SELECT COUNT(*) FROM instance_mapping WHERE project = $1",
            "SELECT instances FROM quota WHERE project = $1",
            "SELECT COUNT(*) FROM audit WHERE project = $1",
        ] {
            assert_eq!(count(db, sql, caller.project.clone()).await, 1, "{when}: {sql}");
        }
    };
    bed.interleave(prepare, create(0), create(1), look).await;
}
