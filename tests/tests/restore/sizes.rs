//! Sizes that were being changed when a cell's database was put back.

use std::time::Duration;

use agent::engine::{Engine, Name};
use api_db::resizes::Among;
use model::instance::Action;
use model::{Flavor, Instance, InstanceId};
use tests::backup::Backup;
use tests::cloud::{Cloud, Plan, Role, caller, context};
use tests::eventually;

use crate::{at_rest, boot, by, confirmed, delete, reaches, stop_workers};

/// What they are given.
const LARGER: &str = "2";

async fn ask(cloud: &Cloud, id: InstanceId) {
    let asked = cloud.verbs.resize(&caller(), &context(), id, (LARGER, None), None).await;
    asked.expect("is accepted");
}

/// Gives an instance a larger size, which is then to be confirmed.
pub async fn grow(cloud: &Cloud, id: InstanceId) {
    ask(cloud, id).await;
    reaches(cloud, id, "VERIFY_RESIZE").await;
}

/// Confirms it, or takes it back.
pub async fn decide(cloud: &Cloud, id: InstanceId, action: Action) {
    cloud.verbs.decide_resize(&caller(), &context(), id, action, None).await.expect("is accepted");
}

/// Waits until the newest record of an instance's size stands so.
async fn stands(cloud: &Cloud, id: InstanceId, status: &str) {
    let among = Among { instance: Some(id), ..Among::default() };
    eventually(Duration::from_secs(60), &format!("the change of {id} is {status}"), async || {
        let records = cloud.verbs.resizes(&among, None, 1).await.map_err(|fault| fault.message)?;
        match records.first() {
            Some(record) if record.status == status => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// The one container that there is of an instance.
fn container(cloud: &Cloud, id: InstanceId) -> Name {
    let all = cloud.engines().into_values().flatten().map(|container| container.name);
    let found: Vec<Name> = all.filter(|name| name.instance == id).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

/// How an instance's last change of its size ended, and why.
async fn ended(cloud: &Cloud, id: InstanceId) -> (Option<String>, Option<String>) {
    let history = cloud.verbs.history(&caller(), id).await.expect("is told");
    let found = history.done.into_iter().find(|done| done.action == "resize").expect("is recorded");
    (found.result, found.details)
}

/// Where in the cloud an instance's host is.
fn place(cloud: &Cloud, instance: &Instance) -> usize {
    let (id, _) = instance.host.as_ref().expect("has a host");
    cloud.cells[0].hosts.iter().position(|(host, ..)| host == id).expect("is a host of ours")
}

/// An instance that is not on that host.
async fn elsewhere(cloud: &Cloud, not: usize) -> InstanceId {
    for n in 0..20 {
        let id = boot(cloud, &format!("other{n}")).await;
        if place(cloud, &*reaches(cloud, id, "ACTIVE").await) != not {
            return id;
        }
        delete(cloud, id).await;
    }
    panic!("instances are not spread over hosts");
}

/// A machine loses its containers and its journal.
async fn wipe(cloud: &mut Cloud, host: usize) {
    let agent = cloud.agents[0][host].take().expect("runs");
    agent.kill();
    let (_, engine, journal) = &cloud.cells[0].hosts[host];
    for container in engine.containers() {
        engine.remove(container.name).await.expect("goes");
    }
    std::fs::remove_file(journal.join("journal.redb")).expect("goes");
    cloud.agents[0][host] = Some(cloud.start_agent(0, host));
}

/// Both are given a larger size while nobody at the API level is there to hear of it. Then the cell forgets that: of
/// the one that existed before, whose host has it in its new size, and of the other one, which it does not know at
/// all and whose host has lost it.
async fn sizes_are_being_changed(postgres: bool) {
    let mut cloud = Cloud::start(Plan { cells: 1, postgres, ..Plan::default() }).await;
    let has = boot(&cloud, "has").await;
    let kept = place(&cloud, &*reaches(&cloud, has, "ACTIVE").await);
    at_rest(&cloud).await;
    let (name, url) = (cloud.cells[0].cell.name.clone(), cloud.cells[0].cell.database_url.clone());
    let backup = Backup::take(&url).await;
    let lost = elsewhere(&cloud, kept).await;
    at_rest(&cloud).await;
    cloud.superconductors.drain(..).for_each(Role::kill);
    for id in [has, lost] {
        grow(&cloud, id).await;
    }
    let before = container(&cloud, has);

    stop_workers(&mut cloud, 0);
    backup.put_back().await;
    let operator = cloud.verbs.admin();
    eventually(Duration::from_secs(60), "the restored database answers", async || {
        operator.restored_cell(&by(), &name).await.map_err(|denied| denied.message)
    })
    .await;
    wipe(&mut cloud, 1 - kept).await;
    cloud.add_conductor(0);
    let done = confirmed(&cloud, &name).await;
    assert_eq!((done.taken_back, done.lost, done.offered), (1, 1, 0), "{done:?}");
    cloud.add_superconductor();

    stands(&cloud, has, "confirmed").await;
    stands(&cloud, lost, "error").await;
    let size = |instance: &Instance| -> Flavor { instance.spec.flavor.clone() };
    assert_eq!(size(&*reaches(&cloud, has, "ACTIVE").await).id, LARGER);
    assert_eq!(container(&cloud, has), before, "it was not made a second time");
    assert_eq!(ended(&cloud, has).await, (Some("Success".into()), None));
    assert_ne!(size(&*reaches(&cloud, lost, "ERROR").await).id, LARGER);
    let (result, why) = ended(&cloud, lost).await;
    assert_eq!(result.as_deref(), Some("Error"));
    assert!(why.as_ref().is_some_and(|why| why.contains("has no host")), "{why:?}");
    at_rest(&cloud).await;
    for id in [has, lost] {
        delete(&cloud, id).await;
    }
    at_rest(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_on_sqlite() {
    sizes_are_being_changed(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_on_postgresql() {
    sizes_are_being_changed(true).await;
}
