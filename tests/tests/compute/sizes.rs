//! Other sizes: changed on the host, confirmed or taken back; and servers that are set aside.

use std::sync::Arc;
use std::time::Duration;

use agent::engine::scripted::Verb;
use model::drill::Drill;
use model::{Fault, FaultKind};
use serde_json::{Value, json};
use sql::Work;
use tests::cloud::{Cloud, Plan};
use tests::eventually;
use tests::face::{Face, Said};
use tokio::sync::Notify;

use crate::{cloud, cloud_of, create, reaches, server};

/// Ann's server, and what is asked of it.
struct Ann<'a> {
    face: &'a Face,
    id: String,
}

impl<'a> Ann<'a> {
    async fn with(face: &'a Face, name: &str) -> Self {
        let id = create(face, server(name)).await;
        reaches(face, &id, "ACTIVE").await;
        Self { face, id }
    }

    async fn act(&self, action: Value) -> Said {
        self.face.post("ann", 96, &format!("/servers/{}/action", self.id), action).await
    }

    async fn resize(&self, flavor: &str) -> Said {
        self.act(json!({"resize": {"flavorRef": flavor}})).await
    }

    /// Resizes and waits until that is to be confirmed.
    async fn resized(&self, flavor: &str) -> Value {
        self.resize(flavor).await.is(202);
        reaches(self.face, &self.id, "VERIFY_RESIZE").await
    }

    /// Confirms and waits until it is as it was.
    async fn confirmed(&self, status: &str) -> Value {
        self.act(json!({"confirmResize": null})).await.is(204);
        reaches(self.face, &self.id, status).await
    }

    /// Its newest record of a changed size, once that stands so.
    async fn stands(&self, status: &str) -> Value {
        let path = format!("/os-migrations?instance_uuid={}", self.id);
        eventually(Duration::from_secs(60), &format!("the newest record is {status}"), async || {
            let said = self.face.get("admin", 80, &path).await.is(200);
            let newest = said["migrations"][0].clone();
            if newest["status"] == status { Ok(newest) } else { Err(said.to_string()) }
        })
        .await
    }

    /// Its newest action of this name.
    async fn action(&self, name: &str) -> Value {
        let path = format!("/servers/{}/os-instance-actions", self.id);
        let all = self.face.get("admin", 84, &path).await.is(200);
        let all = all["instanceActions"].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|action| action["action"] == name).expect("an action");
        let request = found["request_id"].as_str().expect("a request");
        self.face.get("admin", 84, &format!("{path}/{request}")).await.is(200)["instanceAction"].clone()
    }
}

/// What ann's project uses, once it is this: instances, cores, memory.
async fn uses(face: &Face, wanted: [i64; 3]) {
    eventually(Duration::from_secs(60), &format!("the project uses {wanted:?}"), async || {
        let limits = face.get("ann", 57, "/limits").await.is(200);
        let used = &limits["limits"]["absolute"];
        let used = ["totalInstancesUsed", "totalCoresUsed", "totalRAMUsed"]
            .map(|name| used[name].as_i64().unwrap_or(-1));
        if used == wanted { Ok(()) } else { Err(format!("{used:?}")) }
    })
    .await;
}

async fn holds(cloud: &Cloud) {
    eventually(Duration::from_secs(60), "nothing is violated", async || {
        let bad = cloud.check().await.0;
        if bad.is_empty() { Ok(()) } else { Err(bad.join("\n")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_is_changed_and_confirmed_or_taken_back() {
    let (cloud, face) = cloud().await;
    let ann = Ann::with(&face, "one").await;
    let path = format!("/servers/{}", ann.id);
    for (flavor, why) in [("1", "instances must change flavor"), ("nowhere", "could not be found")] {
        let said = ann.resize(flavor).await.is(400);
        assert!(said["badRequest"]["message"].as_str().is_some_and(|text| text.contains(why)), "{said}");
    }
    ann.act(json!({"resize": {"flavorRef": null}})).await.is(400);
    for too_early in ["confirmResize", "revertResize"] {
        let said = ann.act(json!({ too_early: null })).await.is(409);
        let why = format!("Cannot '{too_early}' instance {} while it is in vm_state active", ann.id);
        assert_eq!(said["conflictingRequest"]["message"], why);
    }
    let wish = json!({"resize": {"flavorRef": "3"}});
    face.post("bob", 96, &format!("{path}/action"), wish.clone()).await.is(403);
    face.post("cid", 96, &format!("{path}/action"), wish).await.is(404);

    ann.act(json!({"resize": {"flavorRef": "3", "OS-DCF:diskConfig": "AUTO"}})).await.is(202);
    let seen = face.get("ann", 96, &path).await.is(200);
    let status = seen["server"]["status"].as_str().expect("a status");
    assert!(["RESIZE", "VERIFY_RESIZE"].contains(&status), "it is under way at once: {status}");
    let seen = reaches(&face, &ann.id, "VERIFY_RESIZE").await;
    assert_eq!((&seen["OS-EXT-STS:vm_state"], &seen["progress"]), (&json!("resized"), &json!(0)));
    assert_eq!((&seen["flavor"]["vcpus"], &seen["flavor"]["ram"]), (&json!(2), &json!(1024)));
    for filter in ["status=VERIFY_RESIZE", "status=VERIFY_RESIZE&sort_key=updated_at"] {
        let found = face.get("ann", 96, &format!("/servers?{filter}")).await.is(200);
        assert_eq!(found["servers"][0]["id"], ann.id.as_str(), "{filter}");
    }
    eventually(Duration::from_secs(60), "the index has heard of its flavor", async || {
        let found = face.get("ann", 96, "/servers?flavor=3").await.is(200);
        if found["servers"][0]["id"] == ann.id.as_str() { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    for illegal in ["os-stop", "pause", "shelve"] {
        ann.act(json!({ illegal: null })).await.is(409);
    }
    assert_eq!(seen["OS-DCF:diskConfig"], "AUTO");
    ann.resize("2").await.is(409);
    uses(&face, [1, 2, 1024]).await;
    let record = ann.stands("finished").await;
    assert_eq!((&record["old_instance_type_id"], &record["new_instance_type_id"]), (&json!(1), &json!(3)));
    assert_eq!(record["source_compute"], record["dest_compute"]);
    holds(&cloud).await;

    ann.act(json!({"revertResize": null})).await.is(202);
    let seen = reaches(&face, &ann.id, "ACTIVE").await;
    assert_eq!((&seen["flavor"]["ram"], &seen["OS-DCF:diskConfig"]), (&json!(64), &json!("MANUAL")));
    uses(&face, [1, 1, 64]).await;
    ann.stands("reverted").await;

    ann.resized("3").await;
    assert_eq!(ann.confirmed("ACTIVE").await["flavor"]["ram"], 1024);
    ann.stands("confirmed").await;
    // What was larger is counted until it is confirmed, so that it can be had again.
    ann.resized("1").await;
    uses(&face, [1, 2, 1024]).await;
    assert_eq!(ann.confirmed("ACTIVE").await["flavor"]["ram"], 64);
    uses(&face, [1, 1, 64]).await;
    holds(&cloud).await;

    ann.act(json!({"os-stop": null})).await.is(202);
    reaches(&face, &ann.id, "SHUTOFF").await;
    assert_eq!(ann.resized("2").await["OS-EXT-STS:power_state"], 4, "what is stopped stays so");
    ann.confirmed("SHUTOFF").await;
    for name in ["resize", "confirmResize", "revertResize"] {
        let done = ann.action(name).await;
        assert_eq!(done["events"][0]["result"], "Success", "{done}");
    }

    ann.resized("3").await;
    ann.stands("finished").await;
    face.delete("ann", 96, &path).await.is(204);
    eventually(Duration::from_secs(60), "it is gone", async || {
        let said = face.get("ann", 96, &path).await;
        if said.status == 404 { Ok(()) } else { Err(said.body.to_string()) }
    })
    .await;
    uses(&face, [0, 0, 0]).await;
    ann.stands("confirmed").await;
    holds(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_stays_as_it_was() {
    // 640 MiB: five of 64 leave room for one more of 256 in place of 64, and then for none.
    let (cloud, face) = cloud_of(Plan { cells: 1, hosts: 1, slots: 10, ..Plan::default() }).await;
    let mut servers = Vec::new();
    for n in 0..5 {
        servers.push(Ann::with(&face, &format!("s{n}")).await);
    }
    let all: Vec<_> = servers.iter().map(|ann| ann.resize("2")).collect();
    for said in futures::future::join_all(all).await {
        said.is(202);
    }
    let (mut grown, mut same) = (0, 0);
    for ann in &servers {
        let path = format!("/servers/{}", ann.id);
        let status = eventually(Duration::from_secs(60), "it has its outcome", async || {
            let said = face.get("admin", 96, &path).await.is(200);
            let server = &said["server"];
            match server["OS-EXT-STS:task_state"].is_null() {
                true => Ok(server["status"].as_str().unwrap_or_default().to_owned()),
                false => Err(server.to_string()),
            }
        })
        .await;
        match status.as_str() {
            "VERIFY_RESIZE" => grown += 1,
            "ACTIVE" => {
                same += 1;
                ann.stands("error").await;
                let event = ann.action("resize").await["events"][0].clone();
                assert_eq!(event["result"], "Error");
                let why = event["details"].as_str().expect("a reason");
                assert!(why.contains("No valid host was found"), "{why}");
            }
            other => panic!("it is {other}"),
        }
    }
    assert_eq!((grown, same), (1, 4));
    uses(&face, [5, 5, 4 * 64 + 256]).await;
    holds(&cloud).await;

    let set = json!({"quota_set": {"cores": 5}});
    face.put("admin", 57, "/os-quota-sets/p", set).await.is(200);
    let small = servers[0].resize("4").await;
    assert!([403, 409].contains(&small.status), "over quota, or to be confirmed first: {}", small.body);
    let mut refused = 0;
    for ann in &servers {
        refused += usize::from(ann.resize("4").await.status == 403);
    }
    assert_eq!(refused, 4, "what its project may not have is refused at once");
    holds(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_fails_gives_the_old_size_back() {
    let (cloud, face) = cloud_of(Plan { cells: 1, hosts: 1, ..Plan::default() }).await;
    let ann = Ann::with(&face, "one").await;
    cloud.cells[0].hosts[0].1.fail(Verb::Create, Fault::new(FaultKind::Engine, "not in that size"), 1);
    ann.resize("2").await.is(202);
    let record = ann.stands("error").await;
    assert_eq!(record["new_instance_type_id"], 2);
    let seen = reaches(&face, &ann.id, "ACTIVE").await;
    assert_eq!(seen["flavor"]["ram"], 64);
    assert!(seen.get("fault").is_none());
    let done = ann.action("resize").await;
    assert_eq!(
        (&done["events"][0]["result"], &done["events"][0]["details"]),
        (&json!("Error"), &json!("not in that size"))
    );
    uses(&face, [1, 1, 64]).await;
    holds(&cloud).await;
    ann.resized("2").await;
    ann.confirmed("ACTIVE").await;
    holds(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_sizes_are_listed_by_pages_with_cells_dark() {
    let (cloud, face) = cloud().await;
    let (one, two) = (Ann::with(&face, "one").await, Ann::with(&face, "two").await);
    for _ in 0..2 {
        one.resized("2").await;
        one.act(json!({"revertResize": null})).await.is(202);
        reaches(&face, &one.id, "ACTIVE").await;
        one.stands("reverted").await;
    }
    two.resized("2").await;
    let newest = two.stands("finished").await;
    for parts in &cloud.cells {
        assert!(cloud.router.drill(&parts.cell.name, Drill::Refuse));
    }
    two.resize("3").await.is(503);
    two.act(json!({"confirmResize": null})).await.is(503);

    let list = async |query: &str| face.get("admin", 80, &format!("/os-migrations?{query}")).await.is(200);
    let (mut seen, mut marker): (Vec<Value>, String) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = list(&format!("limit=1{marker}")).await;
        let next = page["migrations_links"][0]["href"].as_str().expect("a next page").to_owned();
        let row = page["migrations"][0].clone();
        marker = format!("&marker={}", row["uuid"].as_str().expect("an id"));
        assert!(next.contains(&marker[1..]), "{next}");
        seen.push(row);
    }
    assert_eq!(seen[0], newest, "newest first");
    assert_eq!(list(&format!("limit=1{marker}")).await, json!({"migrations": []}));
    let count = async |query: &str| list(query).await["migrations"].as_array().map(Vec::len);
    let since = newest["updated_at"].as_str().expect("a time");
    for (query, wanted) in [
        (format!("instance_uuid={}", one.id), 2),
        ("status=finished".into(), 1),
        ("migration_type=resize".into(), 3),
        ("migration_type=live-migration".into(), 0),
        (format!("host={}", newest["source_compute"].as_str().expect("a host")), {
            let host = &newest["source_compute"];
            seen.iter().filter(|row| row["source_compute"] == *host).count()
        }),
        ("user_id=ann".into(), 3),
        ("project_id=q".into(), 0),
        (format!("changes-since={since}"), 1),
        (format!("changes-before={since}"), 3),
    ] {
        assert_eq!(count(&query).await, Some(wanted), "{query}");
    }
    for bad in ["marker=00000000-0000-0000-0000-000000000001", "marker=x", "limit=-1", "changes-since=x"] {
        face.get("admin", 80, &format!("/os-migrations?{bad}")).await.is(400);
    }
    let old = face.get("admin", 1, "/os-migrations?limit=1").await.is(200);
    assert_eq!(old["migrations"].as_array().map(Vec::len), Some(3), "no pages before 2.59");
    face.get("ann", 80, "/os-migrations").await.is(403);
    face.get("admin", 22, &format!("/servers/{}/migrations", one.id)).await.is(404);
    let live = face.get("admin", 80, &format!("/servers/{}/migrations", one.id)).await.is(200);
    assert_eq!(live, json!({"migrations": []}));
    face.get("admin", 80, &format!("/servers/{}/migrations/1", one.id)).await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_set_aside_and_keeps_what_it_has() {
    let (cloud, face) = cloud().await;
    let ann = Ann::with(&face, "one").await;
    let before = cloud.engines();
    ann.act(json!({"unshelve": null})).await.is(409);
    for begin in ["os-start", "pause", "os-stop"] {
        if begin != "os-start" {
            ann.act(json!({ begin: null })).await.is(202);
        }
        let status = match begin {
            "pause" => "PAUSED",
            "os-stop" => "SHUTOFF",
            _ => "ACTIVE",
        };
        reaches(&face, &ann.id, status).await;
        ann.act(json!({"shelve": null})).await.is(202);
        let seen = reaches(&face, &ann.id, "SHELVED").await;
        assert_eq!(
            (&seen["OS-EXT-STS:vm_state"], &seen["OS-EXT-STS:power_state"]),
            (&json!("shelved"), &json!(4))
        );
        let found = face.get("ann", 96, "/servers?status=SHELVED").await.is(200);
        assert_eq!(found["servers"][0]["id"], ann.id.as_str());
        for illegal in ["os-start", "shelve", "os-stop"] {
            ann.act(json!({ illegal: null })).await.is(409);
        }
        ann.resize("2").await.is(409);
        ann.act(json!({"unshelve": null})).await.is(202);
        reaches(&face, &ann.id, "ACTIVE").await;
        holds(&cloud).await;
    }
    let names = |engines: tests::check::Engines| -> Vec<_> {
        engines.into_values().flatten().map(|container| container.name).collect()
    };
    assert_eq!(names(before), names(cloud.engines()), "it is the same container");
    ann.act(json!({"shelve": null})).await.is(202);
    reaches(&face, &ann.id, "SHELVED").await;
    ann.act(json!({"shelveOffload": null})).await.is(501);
    face.delete("ann", 96, &format!("/servers/{}", ann.id)).await.is(204);
    holds(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_cannot_be_written_is_left_to_its_task() {
    let (cloud, face) = cloud_of(Plan { cells: 1, hosts: 1, ..Plan::default() }).await;
    let ann = Ann::with(&face, "one").await;
    // SQLite has one writer: while this transaction is open the cell's rows can be read and not be changed.
    let url = &cloud.cells[0].cell.database_url;
    let settings = sql::Settings { deadline: Duration::from_secs(300), ..sql::Settings::new(url) };
    let db: cell_db::Db = sql::Db::open(&settings).expect("opens");
    let (held, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (reached, told) = (held.clone(), go.clone());
    let holder = tokio::spawn(async move {
        db.write(move |tx| -> Work<'_, ()> {
            let (held, go) = (held.clone(), go.clone());
            Box::pin(async move {
                tx.exec("UPDATE instance SET op_token = op_token + 1", vec![]).await?;
                held.notify_one();
                go.notified().await;
                Ok(())
            })
        })
        .await
    });
    reached.notified().await;
    ann.resize("2").await.is(202);
    let seen = face.get("ann", 96, &format!("/servers/{}", ann.id)).await.is(200);
    assert_eq!(seen["server"]["status"], "ACTIVE", "it is promised and not begun");
    assert_eq!(ann.stands("migrating").await["new_instance_type_id"], 2);
    uses(&face, [1, 1, 256]).await;
    told.notify_one();
    holder.await.expect("runs").expect("commits");
    reaches(&face, &ann.id, "VERIFY_RESIZE").await;
    assert_eq!(ann.action("resize").await["user_id"], "ann");
    ann.confirmed("ACTIVE").await;
    holds(&cloud).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_resize_is_one() {
    let (cloud, face) = cloud_of(Plan { cells: 1, hosts: 1, ..Plan::default() }).await;
    let ann = Ann::with(&face, "one").await;
    let (id, once) = (ann.id.parse().expect("an id"), Some(cloud.env.uuid()));
    let (who, context) = (tests::cloud::caller(), tests::cloud::context());
    let resize = || cloud.verbs.resize(&who, &context, id, ("2", None), once);
    let (one, two) = futures::future::join(resize(), resize()).await;
    assert_eq!((one, two), (Ok(()), Ok(())));
    reaches(&face, &ann.id, "VERIFY_RESIZE").await;
    assert_eq!(resize().await, Ok(()), "it was done");
    let list = face.get("admin", 80, "/os-migrations").await.is(200);
    assert_eq!(list["migrations"].as_array().map(Vec::len), Some(1), "{list}");
    holds(&cloud).await;
    let other = cloud.verbs.resize(&who, &context, id, ("3", None), None).await;
    assert_eq!(other.map_err(|fault| fault.kind), Err(FaultKind::Conflict));
}
