//! Stories on embedded parts: three cells, scripted engines, the in-process bus, SQLite; what dies here
//! dies in the middle of whatever it does.

#[path = "embedded/audited.rs"]
mod audited;
#[path = "embedded/policy.rs"]
mod policy;

use std::collections::BTreeSet;
use std::time::Duration;

use agent::engine::scripted::{Script, Verb};
use model::drill::Drill;
use model::instance::Action;
use model::{Fault, FaultKind, Instance, InstanceId};
use rpc::local::Faults;
use tests::cloud::{Cloud, Plan, caller, context, wish};
use tests::eventually;
use verbs::{Boot, Query, Seen};

async fn boot(cloud: &Cloud, wish: Boot) -> InstanceId {
    cloud.verbs.boot(&caller(), &context(), wish).await.expect("is accepted")[0].id
}

async fn boot_many(cloud: &Cloud, count: usize) -> Vec<InstanceId> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(boot(cloud, wish(&format!("i{n}"))).await);
    }
    ids
}

async fn shown(cloud: &Cloud, id: InstanceId) -> Result<Box<Instance>, String> {
    match cloud.verbs.show(&caller(), id).await {
        Ok(Seen::Fresh(instance)) => Ok(instance),
        Ok(Seen::Dark(dark)) => Err(format!("{} is dark", dark.cell)),
        Err(fault) => Err(fault.message),
    }
}

async fn reaches(cloud: &Cloud, id: InstanceId, status: &str) -> Box<Instance> {
    eventually(Duration::from_secs(40), &format!("{id} is {status}"), async || {
        let instance = shown(cloud, id).await?;
        match instance.status() {
            now if now == status && instance.task.is_none() => Ok(instance),
            now => Err(format!("it is {now}, task {:?}, fault {:?}", instance.task, instance.fault)),
        }
    })
    .await
}

/// Waits until placement knows of room in every cell: each has taken an instance.
async fn every_cell_takes_some(cloud: &Cloud) {
    let mut cells = BTreeSet::new();
    eventually(Duration::from_secs(60), "every cell takes instances", async || {
        let id = boot(cloud, wish("first")).await;
        cells.insert(reaches(cloud, id, "ACTIVE").await.cell);
        delete(cloud, id).await;
        let taking = cells.len();
        if taking == cloud.cells.len() { Ok(()) } else { Err(format!("{taking} do")) }
    })
    .await;
    at_rest(cloud).await;
}

async fn act(cloud: &Cloud, id: InstanceId, action: Action) {
    cloud.verbs.act(&caller(), &context(), id, action).await.expect("is accepted");
}

async fn delete(cloud: &Cloud, id: InstanceId) {
    cloud.verbs.delete(&caller(), &context(), id).await.expect("is accepted");
}

async fn at_rest(cloud: &Cloud) {
    eventually(Duration::from_secs(60), "the cloud is at rest and nothing is violated", async || {
        let violations = cloud.check().await.0;
        if violations.is_empty() { Ok(()) } else { Err(violations.join("; ")) }
    })
    .await;
}

async fn all_gone(cloud: &Cloud, ids: &[InstanceId]) {
    for id in ids {
        eventually(Duration::from_secs(40), "it is gone", async || {
            match cloud.verbs.show(&caller(), *id).await {
                Err(fault) if fault.kind == FaultKind::NotFound => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    at_rest(cloud).await;
    assert!(cloud.engines().values().all(Vec::is_empty), "no container is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn boots_stops_starts_reboots_and_goes_in_three_cells() {
    let cloud = Cloud::start(Plan::default()).await;
    every_cell_takes_some(&cloud).await;
    let ids = boot_many(&cloud, 30).await;
    let mut cells = BTreeSet::new();
    for id in &ids {
        cells.insert(reaches(&cloud, *id, "ACTIVE").await.cell);
    }
    assert_eq!(cells.len(), 3, "every cell has some");
    at_rest(&cloud).await;
    let page = cloud.verbs.list(&caller(), &Query::default()).await.expect("lists");
    let listed: Vec<InstanceId> = page.items.iter().map(Seen::id).collect();
    assert_eq!(
        listed,
        ids.iter().rev().copied().collect::<Vec<_>>(),
        "newest first, none twice, none missing"
    );

    act(&cloud, ids[0], Action::Stop).await;
    reaches(&cloud, ids[0], "SHUTOFF").await;
    let refused = cloud.verbs.act(&caller(), &context(), ids[0], Action::Stop).await.expect_err("is stopped");
    assert_eq!(refused.kind, FaultKind::Conflict);
    act(&cloud, ids[0], Action::Start).await;
    reaches(&cloud, ids[0], "ACTIVE").await;
    act(&cloud, ids[1], Action::Reboot { hard: false }).await;
    reaches(&cloud, ids[1], "ACTIVE").await;
    act(&cloud, ids[1], Action::Reboot { hard: true }).await;
    reaches(&cloud, ids[1], "ACTIVE").await;
    at_rest(&cloud).await;

    for id in &ids {
        delete(&cloud, *id).await;
    }
    all_gone(&cloud, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_filters_agree_with_the_whole_list() {
    let cloud = Cloud::start(Plan { hosts: 1, ..Plan::default() }).await;
    let ids = boot_many(&cloud, 25).await;
    for id in &ids {
        reaches(&cloud, *id, "ACTIVE").await;
    }
    act(&cloud, ids[3], Action::Stop).await;
    reaches(&cloud, ids[3], "SHUTOFF").await;
    for status in [vec![], vec!["ACTIVE".to_owned()], vec!["SHUTOFF".to_owned()], vec!["BUILD".to_owned()]] {
        let expected: Vec<InstanceId> = match status.first().map(String::as_str) {
            None => ids.iter().rev().copied().collect(),
            Some("ACTIVE") => ids.iter().rev().copied().filter(|id| *id != ids[3]).collect(),
            Some("SHUTOFF") => vec![ids[3]],
            _ => vec![],
        };
        let mut walked = Vec::new();
        let mut query = Query { status: status.clone(), limit: Some(4), ..Query::default() };
        loop {
            let page = cloud.verbs.list(&caller(), &query).await.expect("lists");
            walked.extend(page.items.iter().map(Seen::id));
            match page.next {
                Some(next) => query.marker = Some(next),
                None => break,
            }
        }
        assert_eq!(walked, expected, "{status:?}");
    }
    let named = Query { name: Some("i1".into()), ..Query::default() };
    assert_eq!(cloud.verbs.list(&caller(), &named).await.expect("lists").items.len(), 11);
    let other = model::Caller { project: "other".into(), ..caller() };
    assert!(cloud.verbs.list(&other, &Query::default()).await.expect("lists").items.is_empty());
    assert_eq!(cloud.verbs.show(&other, ids[0]).await.expect_err("foreign").kind, FaultKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_nowhere_lies_in_cell0_with_the_reason() {
    let cloud = Cloud::start(Plan { slots: 2, hosts: 1, ..Plan::default() }).await;
    let huge = boot(&cloud, Boot { flavor: "5".into(), ..wish("huge") }).await;
    let dead = reaches(&cloud, huge, "ERROR").await;
    assert_eq!(dead.cell, Some(cloud.cell0.id));
    let why = dead.fault.expect("says why").0.message;
    assert!(why.contains("No valid host was found") && why.contains("capacity"), "{why}");
    // Three cells with room for two each: six fit, the seventh does not, whatever each cell was told.
    let ids = boot_many(&cloud, 7).await;
    let mut states = Vec::new();
    for id in &ids {
        let settled = eventually(Duration::from_secs(30), "an outcome", async || {
            let instance = shown(&cloud, *id).await?;
            match instance.status() {
                "BUILD" => Err("it is in BUILD".into()),
                status => Ok(status),
            }
        })
        .await;
        states.push(settled);
    }
    assert_eq!(states.iter().filter(|s| **s == "ACTIVE").count(), 6, "{states:?}");
    assert_eq!(states.iter().filter(|s| **s == "ERROR").count(), 1, "{states:?}");
    at_rest(&cloud).await;
    for id in ids.iter().chain([&huge]) {
        delete(&cloud, *id).await;
    }
    all_gone(&cloud, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_engines_refuse_is_an_error_in_their_words_and_leaks_nothing() {
    let cloud = Cloud::start(Plan::default()).await;
    for (_, engine, _) in cloud.cells.iter().flat_map(|cell| &cell.hosts) {
        engine.fail(Verb::Create, Fault::new(FaultKind::Engine, "no such image: skep/none"), 100);
    }
    let id = boot(&cloud, wish("refused")).await;
    let dead = reaches(&cloud, id, "ERROR").await;
    assert_eq!(dead.fault.expect("says why").0.message, "no such image: skep/none");
    at_rest(&cloud).await;
    assert!(cloud.engines().values().all(Vec::is_empty));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dark_cell_costs_its_own_users_only() {
    let cloud = Cloud::start(Plan::default()).await;
    let ids = boot_many(&cloud, 12).await;
    for id in &ids {
        reaches(&cloud, *id, "ACTIVE").await;
    }
    at_rest(&cloud).await;
    for drill in [Drill::Refuse, Drill::Hang] {
        assert!(cloud.router.drill("cell2", drill));
        let page = cloud.verbs.list(&caller(), &Query::default()).await.expect("answers");
        assert_eq!(page.items.len(), 12, "nothing vanishes");
        assert_eq!(page.dark_cells, ["cell2"]);
        let dark: Vec<InstanceId> = page
            .items
            .iter()
            .filter(|seen| matches!(seen, Seen::Dark(dark) if dark.last_status.as_ref().is_some_and(|l| l.0 == "ACTIVE")))
            .map(Seen::id)
            .collect();
        assert!(!dark.is_empty(), "the last known status is told");
        let stop = cloud.verbs.act(&caller(), &context(), dark[0], Action::Stop).await.expect_err("dark");
        assert_eq!(stop.kind, FaultKind::Unavailable);
        cloud.router.drill("cell2", Drill::Off);
        reaches(&cloud, dark[0], "ACTIVE").await;
    }
    at_rest(&cloud).await;
}

/// A plain list asks no cell; the process that is asked for nothing else knows all the same which is dark.
#[tokio::test(flavor = "multi_thread")]
async fn plain_lists_hear_of_dark_cells_too() {
    let cloud = Cloud::start(Plan::default()).await;
    every_cell_takes_some(&cloud).await;
    for id in boot_many(&cloud, 12).await {
        reaches(&cloud, id, "ACTIVE").await;
    }
    at_rest(&cloud).await;
    let told = async |dark: &[&str]| {
        eventually(Duration::from_secs(30), "plain lists tell", async || {
            let names = cloud.verbs.list_names(&caller(), &Query::default()).await.expect("answers");
            assert_eq!(names.items.len(), 12, "nothing vanishes");
            if names.dark_cells == dark { Ok(()) } else { Err(format!("{:?}", names.dark_cells)) }
        })
        .await;
    };
    for drill in [Drill::Refuse, Drill::Hang] {
        assert!(cloud.router.drill("cell2", drill));
        told(&["cell2"]).await;
        assert!(cloud.router.drill("cell2", Drill::Off));
        told(&[]).await;
    }
}

/// As when a later release publishes it: the cell answers, but not with what this one can read.
#[tokio::test(flavor = "multi_thread")]
async fn a_cell_whose_summary_cannot_be_read_is_not_silent() {
    let cloud = Cloud::start(Plan { cells: 1, hosts: 1, ..Plan::default() }).await;
    every_cell_takes_some(&cloud).await;
    let db: cell_db::Db =
        sql::Db::open(&sql::Settings::new(&cloud.cells[0].cell.database_url)).expect("opens");
    let change = async |sql: &'static str| {
        let changed =
            db.write(move |tx| -> sql::Work<'_, u64> { Box::pin(async move { tx.exec(sql, vec![]).await }) });
        changed.await.expect("is changed");
    };
    change("ALTER TABLE summary RENAME TO summary_of_a_later_release").await;
    // One after the other, for so long that it is surely tried to read it in between.
    let (begun, mut ids) = (cloud.env.monotonic(), Vec::new());
    while cloud.env.monotonic() - begun < Duration::from_secs(2) {
        let id = boot(&cloud, wish("later")).await;
        reaches(&cloud, id, "ACTIVE").await;
        ids.push(id);
    }
    change("ALTER TABLE summary_of_a_later_release RENAME TO summary").await;
    for id in &ids {
        delete(&cloud, *id).await;
    }
    all_gone(&cloud, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_lost_doubled_late_and_reordered_cost_latency_only() {
    let cloud = Cloud::start(Plan::default()).await;
    for vhost in ["api", "cell1", "cell2", "cell3"] {
        let delay = Duration::from_millis(80);
        cloud
            .connector
            .hub()
            .set_faults(vhost, Faults { seed: 7, loss: 20, duplication: 20, reorder: 20, delay });
    }
    let ids = boot_many(&cloud, 40).await;
    for id in &ids[20..] {
        delete(&cloud, *id).await;
    }
    for vhost in ["api", "cell1", "cell2", "cell3"] {
        cloud.connector.hub().purge_all(vhost);
    }
    for id in &ids[..20] {
        reaches(&cloud, *id, "ACTIVE").await;
    }
    at_rest(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_superconductors_conductors_and_agents_lose_nothing() {
    let script =
        Script { create: Duration::from_millis(5), start: Duration::from_millis(20), ..Script::default() };
    let mut cloud = Cloud::start(Plan { script, ..Plan::default() }).await;
    cloud.add_superconductor();
    let ids = boot_many(&cloud, 60).await;
    for id in &ids[40..] {
        delete(&cloud, *id).await;
    }
    // Both superconductors, then every conductor, then every agent, each in the middle of its work.
    for role in std::mem::take(&mut cloud.superconductors) {
        role.kill();
    }
    cloud.add_superconductor();
    for cell in 0..3 {
        for role in std::mem::take(&mut cloud.conductors[cell]) {
            role.kill();
        }
        cloud.add_conductor(cell);
    }
    for cell in 0..3 {
        for host in 0..2 {
            cloud.agents[cell][host].take().expect("runs").kill();
        }
    }
    for cell in 0..3 {
        for host in 0..2 {
            cloud.agents[cell][host] = Some(cloud.start_agent(cell, host));
        }
    }
    for id in &ids[..40] {
        reaches(&cloud, *id, "ACTIVE").await;
    }
    at_rest(&cloud).await;
    let containers: usize = cloud.engines().values().map(Vec::len).sum();
    assert_eq!(containers, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_each_share_the_work() {
    let mut cloud = Cloud::start(Plan::default()).await;
    cloud.add_superconductor();
    for cell in 0..3 {
        cloud.add_conductor(cell);
    }
    let ids = boot_many(&cloud, 100).await;
    for id in &ids {
        reaches(&cloud, *id, "ACTIVE").await;
    }
    at_rest(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_spreads_over_equal_hosts() {
    let cloud = Cloud::start(Plan { cells: 2, hosts: 2, slots: 200, ..Plan::default() }).await;
    every_cell_takes_some(&cloud).await;
    let ids = cloud
        .verbs
        .boot(&caller(), &context(), Boot { count: 200, ..wish("burst") })
        .await
        .expect("accepted");
    for instance in &ids {
        reaches(&cloud, instance.id, "ACTIVE").await;
    }
    let counts: Vec<usize> = cloud.engines().values().map(Vec::len).collect();
    assert!(counts.iter().all(|count| *count <= 75), "no host has more than 1.5 times its share: {counts:?}");
    at_rest(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_mapped_by_reading_their_cells() {
    let cloud = Cloud::start(Plan::default()).await;
    eventually(Duration::from_secs(60), "every host is mapped to its cell", async || {
        let mapped = cloud.mapped_hosts().await;
        let mut wanted: Vec<_> =
            cloud.cells.iter().flat_map(|c| c.hosts.iter().map(|(host, ..)| (*host, c.cell.id))).collect();
        wanted.sort();
        if mapped == wanted { Ok(()) } else { Err(format!("{mapped:?}")) }
    })
    .await;
}
