//! Databases that are put back from a backup while hosts run on: nothing that runs is killed, nothing is made twice,
//! what was deleted stays deleted, and what was done since is found again.

#[path = "restore/sizes.rs"]
mod sizes;

use std::collections::BTreeSet;
use std::time::Duration;

use agent::engine::Name;
use api_db::quotas::Limits;
use model::instance::Action;
use model::{FaultKind, Instance, InstanceId, Power};
use serde_json::{Value, json};
use tests::backup::Backup;
use tests::cloud::{Cloud, Plan, Role, admin, caller, context, wish};
use tests::eventually;
use tests::face::Face;
use verbs::admin::{By, ConfirmedCell, Why};
use verbs::{Boot, Seen};

const LIMITS: Limits = Limits { instances: -1, cores: -1, memory_mib: -1 };

fn by() -> By {
    By { caller: admin(), context: context() }
}

async fn boot(cloud: &Cloud, name: &str) -> InstanceId {
    let wish = Boot { ..wish(name) };
    cloud.verbs.boot(&caller(), &context(), wish).await.expect("is accepted")[0].id
}

async fn reaches(cloud: &Cloud, id: InstanceId, status: &str) -> Box<Instance> {
    eventually(Duration::from_secs(60), &format!("{id} is {status}"), async || {
        match cloud.verbs.show(&caller(), id).await {
            Ok(Seen::Fresh(now)) if now.status() == status && now.task.is_none() => Ok(now),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

async fn is_gone(cloud: &Cloud, id: InstanceId) {
    eventually(Duration::from_secs(60), &format!("{id} is gone"), async || {
        match cloud.verbs.show(&caller(), id).await {
            Err(fault) if fault.kind == FaultKind::NotFound => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn act(cloud: &Cloud, id: InstanceId, action: Action) {
    eventually(Duration::from_secs(60), "the action is accepted", async || {
        cloud.verbs.act(&caller(), &context(), id, action).await.map_err(|fault| fault.message)
    })
    .await;
}

async fn delete(cloud: &Cloud, id: InstanceId) {
    eventually(Duration::from_secs(60), "the deletion is accepted", async || {
        cloud.verbs.delete(&caller(), &context(), id).await.map_err(|fault| fault.message)
    })
    .await;
    is_gone(cloud, id).await;
}

async fn at_rest(cloud: &Cloud) {
    eventually(Duration::from_secs(60), "the cloud is at rest and nothing is violated", async || {
        let violations = cloud.check().await.0;
        if violations.is_empty() { Ok(()) } else { Err(violations.join("; ")) }
    })
    .await;
}

/// Boots until a cell has so many that are ACTIVE, and gives those.
async fn some_in_one_cell(cloud: &Cloud, at: Option<usize>, count: usize) -> (usize, Vec<InstanceId>) {
    let mut by_cell: Vec<Vec<InstanceId>> = vec![Vec::new(); cloud.cells.len()];
    for n in 0..64 {
        let id = boot(cloud, &format!("i{n}")).await;
        let home = reaches(cloud, id, "ACTIVE").await.cell;
        let cell =
            cloud.cells.iter().position(|parts| Some(parts.cell.id) == home).expect("is a cell of ours");
        by_cell[cell].push(id);
        if by_cell[cell].len() == count && at.is_none_or(|at| at == cell) {
            return (cell, by_cell.swap_remove(cell));
        }
    }
    panic!("no cell took enough: {by_cell:?}");
}

/// Containers that run anywhere.
fn running(cloud: &Cloud) -> BTreeSet<Name> {
    let all = cloud.engines().into_values().flatten();
    all.filter(|container| container.power == Power::Running).map(|container| container.name).collect()
}

fn stop_workers(cloud: &mut Cloud, cell: usize) {
    cloud.superconductors.drain(..).for_each(Role::kill);
    cloud.conductors[cell].drain(..).for_each(Role::kill);
}

async fn confirmed(cloud: &Cloud, cell: &str) -> ConfirmedCell {
    eventually(Duration::from_secs(60), "the hosts were heard out", async || {
        match cloud.verbs.admin().confirm_cell(&by(), cell, false).await {
            Ok(done) => Ok(done),
            Err(denied) => Err(format!("{:?}: {}", denied.why, denied.message)),
        }
    })
    .await
}

async fn a_cells_database_is_restored(postgres: bool) {
    let mut cloud = Cloud::start(Plan { cells: 2, postgres, ..Plan::default() }).await;
    let (cell, old) = some_in_one_cell(&cloud, None, 6).await;
    let [kept, deleted, stopped, rebuilt, started, remade] = old.try_into().expect("six");
    act(&cloud, started, Action::Stop).await;
    reaches(&cloud, started, "SHUTOFF").await;
    at_rest(&cloud).await;
    let (name, url) = (cloud.cells[cell].cell.name.clone(), cloud.cells[cell].cell.database_url.clone());
    let backup = Backup::take(&url).await;

    // What happens after the copy.
    delete(&cloud, deleted).await;
    act(&cloud, remade, Action::Rebuild).await;
    reaches(&cloud, remade, "ACTIVE").await;
    delete(&cloud, remade).await;
    act(&cloud, stopped, Action::Stop).await;
    reaches(&cloud, stopped, "SHUTOFF").await;
    act(&cloud, rebuilt, Action::Rebuild).await;
    reaches(&cloud, rebuilt, "ACTIVE").await;
    act(&cloud, started, Action::Start).await;
    reaches(&cloud, started, "ACTIVE").await;
    let (_, new) = some_in_one_cell(&cloud, Some(cell), 2).await;
    at_rest(&cloud).await;
    let before = running(&cloud);

    stop_workers(&mut cloud, cell);
    backup.put_back().await;
    let operator = cloud.verbs.admin();
    eventually(Duration::from_secs(60), "the restored database answers", async || {
        operator.restored_cell(&by(), &name).await.map_err(|denied| denied.message)
    })
    .await;
    let early = operator.confirm_cell(&by(), &name, false).await.expect_err("no host was heard out");
    assert_eq!(early.why, Why::NotReady, "{early}");
    cloud.add_conductor(cell);
    cloud.add_superconductor();

    // Until an operator confirms, nothing goes and nothing comes, and users are told why.
    eventually(Duration::from_secs(60), "the containers are offered", async || {
        let offered = operator.offered(&by(), Some(&name)).await.map_err(|denied| denied.message)?;
        let offered: Vec<_> = offered.offers.into_iter().map(|offer| offer.offered).collect();
        let found = |id: &InstanceId| offered.iter().find(|offered| offered.instance == *id);
        match new.iter().all(|id| found(id).is_some_and(|o| o.has_spec && o.project == "p" && o.cell == name))
        {
            true => Ok(()),
            false => Err(format!("{offered:?}")),
        }
    })
    .await;
    let refused = cloud.verbs.act(&caller(), &context(), kept, Action::Stop).await.expect_err("is refused");
    assert!(refused.message.contains("restored"), "{refused}");
    let codes: BTreeSet<_> = operator
        .doctor(&by(), true)
        .await
        .expect("looks")
        .findings
        .into_iter()
        .map(|found| found.code)
        .collect();
    assert!(codes.contains("R001") && codes.contains("R002"), "{codes:?}");
    assert_eq!(running(&cloud), before);

    let done = confirmed(&cloud, &name).await;
    assert_eq!((done.taken_back, done.lost, done.offered), (5, 0, 0), "{done:?}");
    let again = operator.confirm_cell(&by(), &name, false).await.expect_err("it works already");
    assert_eq!(again.why, Why::State, "{again}");
    at_rest(&cloud).await;
    assert_eq!(running(&cloud), before, "nothing was killed and nothing was made twice");
    is_gone(&cloud, deleted).await;
    is_gone(&cloud, remade).await;
    reaches(&cloud, kept, "ACTIVE").await;
    reaches(&cloud, stopped, "SHUTOFF").await;
    reaches(&cloud, rebuilt, "ACTIVE").await;
    reaches(&cloud, started, "ACTIVE").await;
    for id in &new {
        reaches(&cloud, *id, "ACTIVE").await;
    }

    // All of them obey again.
    act(&cloud, stopped, Action::Start).await;
    act(&cloud, kept, Action::Stop).await;
    act(&cloud, started, Action::Stop).await;
    reaches(&cloud, stopped, "ACTIVE").await;
    reaches(&cloud, kept, "SHUTOFF").await;
    reaches(&cloud, started, "SHUTOFF").await;
    delete(&cloud, rebuilt).await;
    delete(&cloud, new[0]).await;
    some_in_one_cell(&cloud, Some(cell), 1).await;
    at_rest(&cloud).await;
}

async fn the_api_database_is_restored(postgres: bool) {
    let mut cloud = Cloud::start(Plan { cells: 2, postgres, ..Plan::default() }).await;
    let (_, old) = some_in_one_cell(&cloud, None, 3).await;
    let [kept, deleted, stopped] = old.try_into().expect("three");
    at_rest(&cloud).await;
    // Accepted before the copy, bound to a cell after it.
    cloud.superconductors.drain(..).for_each(Role::kill);
    let (waiting, doomed) = (boot(&cloud, "waits").await, boot(&cloud, "doomed").await);
    let backup = Backup::take(&cloud.api_url).await;

    cloud.add_superconductor();
    reaches(&cloud, waiting, "ACTIVE").await;
    reaches(&cloud, doomed, "ACTIVE").await;
    delete(&cloud, doomed).await;
    delete(&cloud, deleted).await;
    act(&cloud, stopped, Action::Stop).await;
    reaches(&cloud, stopped, "SHUTOFF").await;
    // The quota that is put back counts one of them as it was, and the other as it stays.
    sizes::grow(&cloud, kept).await;
    sizes::decide(&cloud, kept, Action::ConfirmResize).await;
    reaches(&cloud, kept, "ACTIVE").await;
    sizes::grow(&cloud, stopped).await;
    let new = boot(&cloud, "new").await;
    reaches(&cloud, new, "ACTIVE").await;
    at_rest(&cloud).await;
    let before = running(&cloud);

    cloud.superconductors.drain(..).for_each(Role::kill);
    backup.put_back().await;
    let operator = cloud.verbs.admin();
    eventually(Duration::from_secs(60), "the restored database answers", async || {
        operator.restored_api(&by()).await.map_err(|denied| denied.message)
    })
    .await;
    cloud.add_superconductor();
    // What is asked for meanwhile is accepted, and nothing is worked on.
    let meanwhile = boot(&cloud, "meanwhile").await;
    let codes: Vec<_> = operator
        .doctor(&by(), true)
        .await
        .expect("looks")
        .findings
        .into_iter()
        .map(|found| found.code)
        .collect();
    assert!(codes.contains(&"R003"), "{codes:?}");
    assert_eq!(running(&cloud), before);

    let done = operator.confirm_api(&by(), false, LIMITS).await.expect("is confirmed");
    assert_eq!((done.mapped, done.moved, done.closed, done.lost), (1, 1, 2, 0), "{done:?}");
    reaches(&cloud, meanwhile, "ACTIVE").await;
    at_rest(&cloud).await;
    let now = running(&cloud);
    assert!(now.is_superset(&before) && now.len() == before.len() + 1, "{before:?} {now:?}");
    is_gone(&cloud, deleted).await;
    is_gone(&cloud, doomed).await;
    for id in [kept, waiting, new] {
        reaches(&cloud, id, "ACTIVE").await;
    }
    reaches(&cloud, stopped, "VERIFY_RESIZE").await;
    sizes::decide(&cloud, stopped, Action::RevertResize).await;
    reaches(&cloud, stopped, "SHUTOFF").await;
    at_rest(&cloud).await;
    for id in [kept, waiting, new, stopped, meanwhile] {
        delete(&cloud, id).await;
    }
    at_rest(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cells_database_on_sqlite() {
    a_cells_database_is_restored(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cells_database_on_postgresql() {
    a_cells_database_is_restored(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_database_on_sqlite() {
    the_api_database_is_restored(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_database_on_postgresql() {
    the_api_database_is_restored(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_lets_them_wait_and_confirms() {
    let cloud = Cloud::start(Plan { cells: 2, hosts: 1, ..Plan::default() }).await;
    let face = Face::new(cloud.verbs.clone(), cloud.env.clone());
    let id = boot(&cloud, "stays").await;
    reaches(&cloud, id, "ACTIVE").await;
    let ask = async |who: &str, path: &str, body: Value| {
        face.at(who, "POST", &format!("/admin/v1{path}"), body).await
    };
    let cell = cloud.cells[0].cell.name.clone();
    let (begin, confirm) = (format!("/cells/{cell}/restored"), format!("/cells/{cell}/confirm"));
    ask("ann", "/restored", Value::Null).await.is(403);
    ask("admin", "/restored", json!({"dry_run": true})).await.is(400);
    ask("admin", "/confirm", Value::Null).await.is(409);
    ask("admin", &begin, Value::Null).await.is(204);
    ask("admin", "/restored", Value::Null).await.is(204);
    ask("admin", &confirm, json!({"force": true})).await.is(409);
    eventually(Duration::from_secs(60), "all cells are heard", async || {
        match ask("admin", "/confirm", Value::Null).await {
            said if said.status == 200 => Ok(()),
            said => Err(said.body.to_string()),
        }
    })
    .await;
    let done = eventually(Duration::from_secs(60), "its host is heard out", async || {
        match ask("admin", &confirm, Value::Null).await {
            said if said.status == 200 => Ok(said.body),
            said => Err(said.body.to_string()),
        }
    })
    .await;
    assert_eq!((&done["confirmed"]["cell"], &done["confirmed"]["lost"]), (&json!(cell), &json!(0)));
    reaches(&cloud, id, "ACTIVE").await;
    let later = boot(&cloud, "later").await;
    reaches(&cloud, later, "ACTIVE").await;
    at_rest(&cloud).await;
}
