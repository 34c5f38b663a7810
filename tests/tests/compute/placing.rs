//! Server groups, zones and hosts steer where servers go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent::engine::scripted::Verb;
use model::{Fault, FaultKind};
use serde_json::{Value, json};
use tests::cloud::Plan;
use tests::eventually;
use tests::face::Face;

use crate::{cloud_of, create, reaches, server};

async fn group(face: &Face, policy: &str, rules: Value) -> String {
    let wish = json!({"server_group": {"name": policy, "policy": policy, "rules": rules}});
    let made = face.post("ann", 64, "/os-server-groups", wish).await.is(200);
    made["server_group"]["id"].as_str().expect("an id").to_owned()
}

fn grouped(name: &str, group: &str) -> Value {
    let mut wish = server(name);
    wish["os:scheduler_hints"] = json!({ "group": group });
    wish
}

/// Asks for so many servers of a group, all at the same time.
async fn create_at_once(face: &Arc<Face>, group: &str, count: usize) {
    let tries: Vec<_> = (0..count)
        .map(|n| {
            let (face, wish) = (face.clone(), grouped(&format!("s{n}"), group));
            tokio::spawn(async move { face.post("ann", 90, "/servers", wish).await.is(202) })
        })
        .collect();
    for one in tries {
        one.await.expect("is accepted");
    }
}

/// Waits until all of ann's servers have settled, and gives their hosts; those in error have none.
async fn hosts(face: &Face, count: usize) -> Vec<Option<String>> {
    eventually(Duration::from_secs(120), "all have settled", async || {
        let said = face.get("admin", 96, "/servers/detail?all_tenants=1&project_id=p").await.is(200);
        let servers = said["servers"].as_array().expect("a list").clone();
        let settled: Vec<_> = servers
            .iter()
            .filter(|one| one["status"] == "ACTIVE" || one["status"] == "ERROR")
            .map(|one| {
                let active = one["status"] == "ACTIVE";
                one["OS-EXT-SRV-ATTR:host"].as_str().filter(|_| active).map(str::to_owned)
            })
            .collect();
        if settled.len() == count { Ok(settled) } else { Err(format!("{} of {count}", settled.len())) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_never_share_a_host_on_sqlite() {
    two_hundred_at_the_same_time_never_share_a_host(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_never_share_a_host_on_postgres() {
    two_hundred_at_the_same_time_never_share_a_host(true).await;
}

async fn two_hundred_at_the_same_time_never_share_a_host(postgres: bool) {
    let plan = Plan { cells: 3, hosts: 3, postgres, ..Plan::default() };
    let (cloud, face) = cloud_of(plan).await;
    // Two conductors in each cell, so that claims meet.
    let mut cloud = cloud;
    (0..3).for_each(|cell| cloud.add_conductor(cell));
    cloud.add_superconductor();
    let quota = json!({"quota_set": {"server_group_members": 200}});
    face.put("admin", 64, "/os-quota-sets/p", quota).await.is(200);
    let id = group(&face, "anti-affinity", json!({})).await;
    let face = Arc::new(face);
    create_at_once(&face, &id, 200).await;
    let found = hosts(&face, 200).await;
    let placed: Vec<&String> = found.iter().flatten().collect();
    let distinct: BTreeSet<&&String> = placed.iter().collect();
    assert_eq!((placed.len(), distinct.len()), (9, 9), "every host has one, and none has two");
    face.post("ann", 90, "/servers", grouped("more", &id)).await.is(403);
    let shown = face.get("ann", 64, &format!("/os-server-groups/{id}")).await.is(200);
    assert_eq!(shown["server_group"]["members"].as_array().map(Vec::len), Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_ask_for_one_host_or_for_few_on_each() {
    let (_cloud, face) = cloud_of(Plan { cells: 2, hosts: 2, ..Plan::default() }).await;
    let id = group(&face, "affinity", json!({})).await;
    let face = Arc::new(face);
    create_at_once(&face, &id, 6).await;
    let found: BTreeSet<_> = hosts(&face, 6).await.into_iter().collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(!found.contains(&None), "all run");
    let two = group(&face, "anti-affinity", json!({"max_server_per_host": 2})).await;
    for n in 0..9 {
        create(&face, grouped(&format!("t{n}"), &two)).await;
    }
    let mut of_two: BTreeMap<Option<String>, usize> = BTreeMap::new();
    hosts(&face, 15).await;
    let listed = face.get("admin", 96, "/servers/detail?all_tenants=1&name=%5Et").await.is(200);
    for one in listed["servers"].as_array().expect("a list") {
        let host = one["OS-EXT-SRV-ATTR:host"].as_str().filter(|_| one["status"] == "ACTIVE");
        *of_two.entry(host.map(str::to_owned)).or_default() += 1;
    }
    assert_eq!(of_two.remove(&None), Some(1), "the ninth finds no host: {of_two:?}");
    assert!(of_two.len() == 4 && of_two.values().all(|count| *count == 2), "{of_two:?}");
    let failed = listed["servers"].as_array().expect("a list").iter().find(|one| one["status"] == "ERROR");
    let why = failed.expect("the ninth")["fault"]["message"].as_str().expect("a message").to_owned();
    assert!(why.contains("server group"), "{why}");
    let body = grouped("x", "0197f000-0000-7000-8000-000000000001");
    face.post("ann", 90, "/servers", body).await.is(400);
    let mut other = grouped("x", &two);
    other["os:scheduler_hints"]["query"] = json!("[1]");
    face.post("ann", 90, "/servers", other).await.is(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_one_cell_refuses_goes_elsewhere_together() {
    let (cloud, face) = cloud_of(Plan { cells: 2, hosts: 1, ..Plan::default() }).await;
    let refusal = Fault::new(FaultKind::Engine, "no room on the disk");
    cloud.cells[0].hosts[0].1.fail(Verb::Create, refusal, u32::MAX);
    // Some of these groups begin in the cell that refuses.
    for n in 0..6 {
        let id = group(&face, "affinity", json!({})).await;
        let mut wish = grouped(&format!("g{n}"), &id);
        wish["server"]["min_count"] = json!(3);
        wish["server"]["max_count"] = json!(3);
        face.post("ann", 90, "/servers", wish).await.is(202);
    }
    let found = hosts(&face, 18).await;
    assert!(found.iter().all(|host| host.as_deref() == Some("cell2-h1")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_of_aggregates_and_named_hosts() {
    let (_cloud, face) = cloud_of(Plan { cells: 2, hosts: 2, ..Plan::default() }).await;
    let wish = json!({"aggregate": {"name": "f", "availability_zone": "az-f"}});
    let made = face.post("admin", 81, "/os-aggregates", wish).await.is(200);
    let action = format!("/os-aggregates/{}/action", made["aggregate"]["id"]);
    let host = |word: &str| json!({ word: {"host": "cell2-h1"} });
    eventually(Duration::from_secs(60), "the host is known", async || {
        let said = face.post("admin", 1, &action, host("add_host")).await;
        if said.status == 200 { Ok(()) } else { Err(said.body.to_string()) }
    })
    .await;
    let has_zone = async |wanted: bool| {
        eventually(Duration::from_secs(60), "the zone was copied down", async || {
            let zones = face.get("ann", 1, "/os-availability-zone").await.is(200).to_string();
            if zones.contains("az-f") == wanted { Ok(()) } else { Err(zones) }
        })
        .await;
    };
    has_zone(true).await;
    let in_zone = |zone: &str| {
        let mut wish = server("z");
        wish["server"]["availability_zone"] = json!(zone);
        wish
    };
    for _ in 0..4 {
        let id = create(&face, in_zone("az-f")).await;
        let seen = reaches(&face, &id, "ACTIVE").await;
        assert_eq!(seen["OS-EXT-SRV-ATTR:host"], "cell2-h1");
        assert_eq!(seen["OS-EXT-AZ:availability_zone"], "az-f");
    }
    let id = create(&face, in_zone("nova")).await;
    assert_ne!(reaches(&face, &id, "ACTIVE").await["OS-EXT-SRV-ATTR:host"], "cell2-h1");
    // Hosts are named by administrators only.
    face.post("ann", 90, "/servers", in_zone("nova:cell1-h2")).await.is(403);
    let mut named = server("n");
    named["server"]["host"] = json!("cell1-h2");
    face.post("ann", 90, "/servers", named.clone()).await.is(403);
    for wish in [named, in_zone("nova:cell1-h2")] {
        let made = face.post("admin", 90, "/servers", wish).await.is(202);
        let id = made["server"]["id"].as_str().expect("an id").to_owned();
        assert_eq!(reaches(&face, &id, "ACTIVE").await["OS-EXT-SRV-ATTR:host"], "cell1-h2");
    }
    face.post("admin", 1, &action, host("remove_host")).await.is(200);
    has_zone(false).await;
    let id = create(&face, in_zone("az-f")).await;
    let seen = reaches(&face, &id, "ERROR").await;
    let why = seen["fault"]["message"].as_str().expect("a message");
    assert!(why.contains("availability zone"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_keep_servers_together_and_apart_on_sqlite() {
    hints_keep_servers_together_and_apart(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_keep_servers_together_and_apart_on_postgres() {
    hints_keep_servers_together_and_apart(true).await;
}

async fn hints_keep_servers_together_and_apart(postgres: bool) {
    let (_cloud, face) = cloud_of(Plan { cells: 2, hosts: 2, postgres, ..Plan::default() }).await;
    let hinted = |name: &str, hints: Value| {
        let mut wish = server(name);
        wish["os:scheduler_hints"] = hints;
        wish
    };
    let host = async |id: &str| {
        let shown = face.get("admin", 96, &format!("/servers/{id}")).await.is(200);
        shown["server"]["OS-EXT-SRV-ATTR:host"].as_str().map(str::to_owned)
    };
    let first = create(&face, server("first")).await;
    reaches(&face, &first, "ACTIVE").await;
    let home = host(&first).await;
    for n in 0..4 {
        let beside = create(&face, hinted(&format!("beside{n}"), json!({"same_host": first}))).await;
        reaches(&face, &beside, "ACTIVE").await;
        assert_eq!(host(&beside).await, home);
        let away =
            create(&face, hinted(&format!("away{n}"), json!({"different_host": [first, beside]}))).await;
        reaches(&face, &away, "ACTIVE").await;
        assert_ne!(host(&away).await, home);
    }
    let nowhere = hinted("nowhere", json!({"same_host": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}));
    reaches(&face, &create(&face, nowhere).await, "ERROR").await;
    let torn = hinted("torn", json!({"same_host": first, "different_host": first}));
    reaches(&face, &create(&face, torn).await, "ERROR").await;
}
