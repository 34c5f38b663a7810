//! What another release has written: what this one does not know it leaves alone, and goes on with the rest.

use model::InstanceId;
use serde_json::{Value, json};
use sql::{Settings, Work, args};
use tests::cloud::{Cloud, Plan, Role, admin, context};
use tests::eventually;
use verbs::admin::By;

use crate::{LONG, at_rest, boot, delete, is_gone, reaches};

fn by() -> By {
    By { caller: admin(), context: context() }
}

/// What a worker of a later release would have made of a task.
async fn rewrite(cloud: &Cloud, id: InstanceId, kind: &'static str, state: Value) {
    const SQL: &str = "UPDATE task SET kind = $2, state = $3 WHERE subject = $1";
    let db: api_db::Db = sql::Db::open(&Settings::new(&cloud.api_url)).expect("opens");
    let written = db.write(move |tx| -> Work<'_, u64> {
        let state = state.clone();
        Box::pin(async move { tx.exec(SQL, args![id, kind, state]).await })
    });
    assert_eq!(written.await.expect("writes"), 1);
    db.close().await;
}

/// The task of an instance: how often it was leased, whether somebody holds it, and whether it was set aside.
async fn task(cloud: &Cloud, id: InstanceId) -> Option<(i64, bool, bool)> {
    let tasks = cloud.verbs.admin().tasks(&by(), false, 100).await.expect("are listed");
    tasks.into_iter().find(|task| task.instance == id).map(|task| (task.attempt, task.held, task.parked))
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_a_later_release_are_left_to_it() {
    let mut cloud = Cloud::start(Plan { cells: 1, hosts: 1, ..Plan::default() }).await;
    cloud.superconductors.drain(..).for_each(Role::kill);
    let (later, deleted) = (boot(&cloud, "later").await, boot(&cloud, "deleted").await);
    let unread = boot(&cloud, "unread").await;
    for id in [later, deleted] {
        rewrite(&cloud, id, "build/2", json!({"at": "somewhere", "new": [1]})).await;
    }
    rewrite(&cloud, unread, "build/1", json!({"at": "somewhere"})).await;
    let ours = boot(&cloud, "ours").await;
    cloud.add_superconductor();
    reaches(&cloud, ours, "ACTIVE").await;
    // A kind that it does not know it does not touch. A state that it ought to know and does not is told of.
    for id in [later, deleted] {
        assert_eq!(task(&cloud, id).await, Some((0, false, false)));
    }
    eventually(LONG, "what cannot be read is set aside", async || match task(&cloud, unread).await {
        Some((_, false, true)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let found = cloud.verbs.admin().doctor(&by(), false).await.expect("looks").findings;
    let about = unread.to_string();
    assert!(found.iter().any(|f| f.code == "T001" && f.subject.as_ref() == Some(&about)), "{found:?}");
    // A deletion replaces whatever is under way.
    for id in [deleted, unread] {
        delete(&cloud, id).await;
        is_gone(&cloud, id).await;
    }
    assert_eq!(task(&cloud, later).await, Some((0, false, false)));
    rewrite(&cloud, later, "build/1", json!({"at": "pick", "refused": []})).await;
    reaches(&cloud, later, "ACTIVE").await;
    at_rest(&cloud).await;
}
