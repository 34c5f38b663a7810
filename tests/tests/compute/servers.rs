//! Servers and what lies below them.

use std::time::Duration;

use agent::engine::scripted::Verb;
use model::drill::Drill;
use model::{Fault, FaultKind};
use serde_json::{Value, json};
use tests::eventually;

use crate::{cloud, create, reaches, server};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_a_server_changes_and_is_listed() {
    let (cloud, face) = cloud().await;
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS one";
    face.post("ann", 10, "/os-keypairs", json!({"keypair": {"name": "k", "public_key": key}})).await.is(201);
    let mut wish = server("first");
    for (name, value) in [
        ("key_name", json!("k")),
        ("tags", json!(["red"])),
        ("accessIPv6", json!("0:0:0:0:0:babe:220.12.22.2")),
        ("metadata", json!({"a": "1"})),
        ("hostname", json!("host-1")),
    ] {
        wish["server"][name] = value;
    }
    let mut unknown = wish.clone();
    unknown["server"]["key_name"] = json!("unknown");
    face.post("ann", 90, "/servers", unknown).await.is(400);
    let id = create(&face, wish).await;
    let seen = reaches(&face, &id, "ACTIVE").await;
    assert_eq!((&seen["key_name"], &seen["tags"]), (&json!("k"), &json!(["red"])));
    assert_eq!(seen["accessIPv6"], "::babe:dc0c:1602");
    assert_eq!(seen["OS-EXT-SRV-ATTR:hostname"], "host-1");

    let path = format!("/servers/{id}");
    let renamed = json!({"server": {"name": "second", "description": "d", "hostname": "host-2"}});
    let told = face.put("ann", 90, &path, renamed).await.is(200);
    assert_eq!((&told["server"]["name"], &told["server"]["description"]), (&json!("second"), &json!("d")));
    let old = face.put("ann", 74, &path, json!({"server": {"name": "third"}})).await.is(200);
    assert!(old["server"].get("OS-EXT-STS:vm_state").is_none() && old["server"]["name"] == "third", "{old}");
    for bad in
        [json!({"name": ""}), json!({"name": "x".repeat(256)}), json!({"name": 5}), json!({"nam": "x"})]
    {
        face.put("ann", 90, &path, json!({ "server": bad })).await.is(400);
    }
    face.put("bob", 90, &path, json!({"server": {"name": "x"}})).await.is(403);
    face.put("cid", 90, &path, json!({"server": {"name": "x"}})).await.is(404);
    let listed = face.get("ann", 90, "/servers?name=third").await.is(200);
    assert_eq!(listed["servers"][0]["id"], id.as_str(), "lists know the name before the answer");

    let metadata = format!("{path}/metadata");
    let put = face.post("ann", 1, &metadata, json!({"metadata": {"b": "2"}})).await.is(200);
    assert_eq!(put["metadata"], json!({"a": "1", "b": "2"}));
    let put = face.put("ann", 1, &metadata, json!({"metadata": {"c": "3"}})).await.is(200);
    assert_eq!(put["metadata"], json!({"c": "3"}));
    face.put("ann", 1, &format!("{metadata}/c"), json!({"meta": {"c": "4"}})).await.is(200);
    face.put("ann", 1, &format!("{metadata}/c"), json!({"meta": {"x": "4"}})).await.is(400);
    assert_eq!(face.get("bob", 1, &format!("{metadata}/c")).await.is(200), json!({"meta": {"c": "4"}}));
    face.delete("ann", 1, &format!("{metadata}/c")).await.is(204);
    face.delete("ann", 1, &format!("{metadata}/c")).await.is(404);
    face.post("ann", 1, &metadata, json!({"metadata": {"": "2"}})).await.is(400);
    face.post("ann", 1, &metadata, json!({"metadata": null})).await.is(400);
    let many: serde_json::Map<String, Value> = (0..129).map(|n| (format!("k{n}"), json!("v"))).collect();
    face.post("ann", 1, &metadata, json!({ "metadata": many })).await.is(403);

    let tags = format!("{path}/tags");
    face.put("ann", 26, &format!("{tags}/blue"), Value::Null).await.is(201);
    face.put("ann", 26, &format!("{tags}/blue"), Value::Null).await.is(204);
    assert_eq!(face.get("bob", 26, &tags).await.is(200), json!({"tags": ["blue", "red"]}));
    face.get("bob", 26, &format!("{tags}/red")).await.is(204);
    face.get("bob", 26, &format!("{tags}/green")).await.is(404);
    face.get("bob", 25, &tags).await.is(404);
    face.delete("ann", 26, &format!("{tags}/red")).await.is(204);
    face.delete("ann", 26, &format!("{tags}/red")).await.is(404);
    face.put("ann", 26, &tags, json!({"tags": ["x", "x"]})).await.is(400);
    face.put("ann", 26, &tags, json!({"tags": ["a,b"]})).await.is(400);
    face.put("ann", 26, &tags, json!({"tags": ["x"]})).await.is(200);
    let listed = face.get("ann", 90, "/servers?tags=x").await.is(200);
    assert_eq!(listed["servers"].as_array().map(Vec::len), Some(1));
    face.delete("ann", 26, &tags).await.is(204);

    // With its cell dark nothing is half done, and what was changed before is known.
    let admin = face.get("admin", 90, &format!("{path}?skep=1")).await.is(200);
    let cell = admin["server"]["skep"]["cell"].as_str().expect("a cell").to_owned();
    let name = cloud.cells.iter().find(|parts| parts.cell.id.to_string() == cell).expect("its cell");
    assert!(cloud.router.drill(&name.cell.name, Drill::Refuse));
    face.put("ann", 90, &path, json!({"server": {"name": "fourth"}})).await.is(503);
    face.put("ann", 26, &tags, json!({"tags": ["y"]})).await.is(503);
    let partial = face.get("ann", 90, &format!("{path}?skep=1")).await.is(200);
    assert_eq!(partial["server"]["skep"]["name"], "third");
    assert!(cloud.router.drill(&name.cell.name, Drill::Off));
    eventually(Duration::from_secs(60), "the cell answers again", async || {
        let said = face.put("ann", 90, &path, json!({"server": {"name": "fourth"}})).await;
        if said.status == 200 { Ok(()) } else { Err(said.body.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_freezes_and_what_was_done() {
    let (_cloud, face) = cloud().await;
    let id = create(&face, server("one")).await;
    let created = reaches(&face, &id, "ACTIVE").await;
    let (path, action) = (format!("/servers/{id}"), format!("/servers/{id}/action"));
    let act = async |who: &str, name: &str| face.post(who, 96, &action, json!({ name: null })).await;

    let reason = json!({"lock": {"locked_reason": "mine"}});
    face.post("ann", 73, &action, reason.clone()).await.is(202);
    let locked = face.get("ann", 73, &path).await.is(200);
    assert_eq!(
        (&locked["server"]["locked"], &locked["server"]["locked_reason"]),
        (&json!(true), &json!("mine"))
    );
    let refused = act("ann", "pause").await.is(409);
    assert_eq!(refused["conflictingRequest"]["message"], format!("Instance {id} is locked"));
    face.delete("ann", 73, &path).await.is(409);
    face.post("ann", 73, &format!("{path}/metadata"), json!({"metadata": {"a": "b"}})).await.is(409);
    let listed = face.get("ann", 73, "/servers?locked=True").await.is(200);
    assert_eq!(listed["servers"].as_array().map(Vec::len), Some(1));
    act("ann", "unlock").await.is(202);
    face.post("admin", 73, &action, reason).await.is(202);
    act("ann", "unlock").await.is(403);
    // An owner's lock does not take the place of an administrator's.
    face.post("ann", 73, &action, json!({"lock": {"locked_reason": "ann's"}})).await.is(202);
    assert_eq!(face.get("ann", 73, &path).await.is(200)["server"]["locked_reason"], "mine");
    act("ann", "unlock").await.is(403);
    act("admin", "unlock").await.is(202);

    let paused = act("ann", "pause").await;
    let request = paused.request_id.clone();
    paused.is(202);
    let seen = reaches(&face, &id, "PAUSED").await;
    assert_eq!(
        (&seen["OS-EXT-STS:vm_state"], &seen["OS-EXT-STS:power_state"]),
        (&json!("paused"), &json!(3))
    );
    let refused = act("ann", "os-stop").await.is(409);
    let why = refused["conflictingRequest"]["message"].as_str().expect("a message");
    assert_eq!(why, format!("Cannot 'stop' instance {id} while it is in vm_state paused"));
    act("ann", "resume").await.is(409);
    face.get("admin", 48, &format!("{path}/diagnostics")).await.is(409);
    act("ann", "unpause").await.is(202);
    reaches(&face, &id, "ACTIVE").await;
    act("ann", "suspend").await.is(202);
    let seen = reaches(&face, &id, "SUSPENDED").await;
    assert_eq!(
        (&seen["OS-EXT-STS:vm_state"], &seen["OS-EXT-STS:power_state"]),
        (&json!("suspended"), &json!(7))
    );
    let listed = face.get("ann", 96, "/servers/detail?status=SUSPENDED").await.is(200);
    assert_eq!(listed["servers"].as_array().map(Vec::len), Some(1));
    act("ann", "resume").await.is(202);
    reaches(&face, &id, "ACTIVE").await;
    act("ann", "pause").await.is(202);
    reaches(&face, &id, "PAUSED").await;
    face.post("ann", 96, &action, json!({"reboot": {"type": "SOFT"}})).await.is(409);
    face.post("ann", 96, &action, json!({"reboot": {"type": "HARD"}})).await.is(202);
    reaches(&face, &id, "ACTIVE").await;
    face.get("admin", 48, &format!("{path}/diagnostics")).await.is(200);
    face.get("ann", 48, &format!("{path}/diagnostics")).await.is(403);
    face.get("ann", 78, &format!("{path}/topology")).await.is(200);
    face.get("ann", 77, &format!("{path}/topology")).await.is(404);

    let reset = |state: &str| json!({"os-resetState": {"state": state}});
    face.post("ann", 96, &action, reset("error")).await.is(403);
    face.post("admin", 96, &action, reset("error")).await.is(202);
    assert_eq!(face.get("ann", 96, &path).await.is(200)["server"]["status"], "ERROR");
    face.post("admin", 96, &action, reset("active")).await.is(202);
    assert_eq!(face.get("ann", 96, &path).await.is(200)["server"]["status"], "ACTIVE");
    face.post("admin", 96, &action, reset("happy")).await.is(400);
    for refused in ["createBackup", "changePassword", "shelveOffload", "migrate"] {
        act("ann", refused).await.is(501);
    }
    face.post("ann", 96, &action, json!({"createImage": {"name": "x"}})).await.is(501);

    let list = face.get("ann", 96, &format!("{path}/os-instance-actions")).await.is(200);
    let words: Vec<&str> = list["instanceActions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["action"].as_str().expect("a word"))
        .collect();
    assert_eq!(words.last(), Some(&"create"));
    for word in ["lock", "unlock", "pause", "unpause", "suspend", "resume", "reboot", "resetState"] {
        assert!(words.contains(&word), "{word}: {words:?}");
    }
    let one = face.get("ann", 96, &format!("{path}/os-instance-actions/{request}")).await.is(200);
    let one = &one["instanceAction"];
    assert_eq!(
        (&one["action"], &one["request_id"], &one["user_id"]),
        (&json!("pause"), &json!(request), &json!("ann"))
    );
    assert_eq!(one["events"][0]["result"], "Success", "{one}");
    assert!(one["events"][0].get("host").is_none() && one["events"][0]["hostId"] == created["hostId"]);
    let old = face.get("ann", 50, &format!("{path}/os-instance-actions/{request}")).await.is(200);
    assert!(old["instanceAction"].get("events").is_none());
    face.get("ann", 96, &format!("{path}/os-instance-actions/req-none")).await.is(404);
    face.get("cid", 96, &format!("{path}/os-instance-actions")).await.is(404);
    let gone = face.delete("ann", 96, &path).await;
    let request = gone.request_id.clone();
    gone.is(204);
    eventually(Duration::from_secs(60), "it is gone", async || {
        let said = face.get("ann", 96, &path).await;
        if said.status == 404 { Ok(()) } else { Err(said.body.to_string()) }
    })
    .await;
    let one = face.get("ann", 96, &format!("{path}/os-instance-actions/{request}")).await.is(200);
    assert_eq!(one["instanceAction"]["action"], "delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilding_from_another_image() {
    let (cloud, face) = cloud().await;
    let id = create(&face, server("one")).await;
    let before = reaches(&face, &id, "ACTIVE").await;
    let action = format!("/servers/{id}/action");
    let wish = json!({"rebuild": {"imageRef": "skep/other:2", "name": "two", "metadata": {"x": "y"}, "adminPass": "p"}});
    let told = face.post("ann", 79, &action, wish).await.is(202);
    assert_eq!((&told["server"]["name"], &told["server"]["adminPass"]), (&json!("two"), &json!("p")));
    assert_eq!(told["server"]["status"], "REBUILD");
    let after = reaches(&face, &id, "ACTIVE").await;
    assert_ne!(before["image"]["id"], after["image"]["id"]);
    assert_eq!((&after["metadata"], &after["hostId"]), (&json!({"x": "y"}), &before["hostId"]));
    let containers: Vec<_> = cloud.engines().into_values().flatten().collect();
    assert_eq!(containers.len(), 1, "the old container is gone: {containers:?}");
    assert!(containers[0].name.placement > 1, "{containers:?}");
    // What was stopped stays so.
    face.post("ann", 79, &action, json!({"os-stop": null})).await.is(202);
    reaches(&face, &id, "SHUTOFF").await;
    face.post("ann", 79, &action, json!({"rebuild": {"imageRef": "skep/web:1"}})).await.is(202);
    reaches(&face, &id, "SHUTOFF").await;
    face.post("ann", 79, &action, json!({"os-start": null})).await.is(202);
    reaches(&face, &id, "ACTIVE").await;
    face.post("ann", 79, &action, json!({"rebuild": {}})).await.is(400);
    let reserved = json!({"rebuild": {"imageRef": "skep/web:1", "metadata": {"skep:command": "x"}}});
    face.post("ann", 79, &action, reserved).await.is(400);
    face.post("ann", 79, &action, json!({"pause": null})).await.is(202);
    reaches(&face, &id, "PAUSED").await;
    face.post("ann", 79, &action, json!({"rebuild": {"imageRef": "skep/web:1"}})).await.is(409);
    face.post("ann", 79, &action, json!({"unpause": null})).await.is(202);
    reaches(&face, &id, "ACTIVE").await;
    // An image that cannot be had makes an error of it, and another rebuild mends that.
    let engines = || cloud.cells.iter().flat_map(|cell| &cell.hosts).map(|(_, engine, _)| engine);
    let missing = Fault::new(FaultKind::Engine, "no such image");
    engines().for_each(|engine| engine.fail(Verb::Create, missing.clone(), u32::MAX));
    face.post("ann", 79, &action, json!({"rebuild": {"imageRef": "skep/none:1"}})).await.is(202);
    let failed = reaches(&face, &id, "ERROR").await;
    assert_eq!(failed["fault"]["message"], "no such image");
    engines().for_each(|engine| engine.fail(Verb::Create, missing.clone(), 0));
    face.post("ann", 79, &action, json!({"rebuild": {"imageRef": "skep/web:1"}})).await.is(202);
    reaches(&face, &id, "ACTIVE").await;
    eventually(Duration::from_secs(60), "the cloud is at rest", async || {
        let violations = cloud.check().await.0;
        if violations.is_empty() { Ok(()) } else { Err(violations.join("; ")) }
    })
    .await;
}
