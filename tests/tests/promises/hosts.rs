//! Hosts that do not make in time what they were given, and hosts that are away when something is deleted.

use std::time::Duration;

use agent::engine::scripted::Verb;
use model::{Fault, FaultKind, Intent, Power, Task};
use tests::cloud::{Cloud, Plan};

use crate::{at_rest, becomes, boot, delete, is_gone, reaches};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_does_not_make_in_time_is_an_error_until_it_is_made() {
    let build = Duration::from_secs(6);
    let cloud = Cloud::start(Plan { cells: 1, hosts: 1, build, ..Plan::default() }).await;
    let engine = cloud.cells[0].hosts[0].1.clone();
    let busy = || Fault::unavailable("the engine is busy");
    engine.fail(Verb::Start, busy(), u32::MAX);
    let (late, unwanted) = (boot(&cloud, "late").await, boot(&cloud, "unwanted").await);
    for id in [late, unwanted] {
        let seen = reaches(&cloud, id, "ERROR").await;
        let (fault, _) = seen.fault.as_ref().expect("says why");
        assert_eq!(fault.kind, FaultKind::Timeout);
        assert!(fault.message.contains("did not build the container in time"), "{fault}");
        assert!(seen.host.is_some(), "it may be made there yet, and counts there");
    }
    // It ends for a user who does not want to wait, and for one who does.
    delete(&cloud, unwanted).await;
    is_gone(&cloud, unwanted).await;
    engine.fail(Verb::Start, busy(), 0);
    assert!(reaches(&cloud, late, "ACTIVE").await.fault.is_none());
    at_rest(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_while_its_host_is_away_goes_when_it_is_back() {
    let mut cloud = Cloud::start(Plan { cells: 1, hosts: 1, ..Plan::default() }).await;
    let (kept, deleted) = (boot(&cloud, "kept").await, boot(&cloud, "deleted").await);
    for id in [kept, deleted] {
        reaches(&cloud, id, "ACTIVE").await;
    }
    at_rest(&cloud).await;
    cloud.agents[0][0].take().expect("runs").kill();
    delete(&cloud, deleted).await;
    // Its cell was told, and nobody says that it is gone.
    let told = becomes(&cloud, deleted, "to go", |seen| seen.intent == Intent::Gone).await;
    assert_eq!(told.task, Some(Task::Deleting));
    assert!(told.host.is_some(), "its claim is kept");
    let running = |cloud: &Cloud| -> Vec<_> {
        let all = cloud.engines().into_values().flatten();
        all.filter(|seen| seen.power == Power::Running).map(|seen| seen.name.instance).collect()
    };
    assert_eq!(running(&cloud).len(), 2);
    let used = cloud.quota("p").await;
    assert_eq!(used, [2, 2, 128], "its quota is kept");
    cloud.agents[0][0] = Some(cloud.start_agent(0, 0));
    is_gone(&cloud, deleted).await;
    at_rest(&cloud).await;
    assert_eq!(running(&cloud), [kept]);
    assert_eq!(cloud.quota("p").await, [1, 1, 64]);
}
