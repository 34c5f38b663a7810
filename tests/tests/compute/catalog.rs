//! What lives in the API database alone: key pairs, flavors, quotas, groups, aggregates, usage.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{cloud, create, reaches, server};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS one@example";

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn key_pairs() {
    let (_cloud, face) = cloud().await;
    let body = |name: &str| json!({"keypair": {"name": name, "public_key": KEY}});
    let made = face.post("ann", 1, "/os-keypairs", body("one")).await.is(200);
    assert_eq!(keys(&made["keypair"]), ["fingerprint", "name", "public_key", "user_id"]);
    let made = face.post("ann", 2, "/os-keypairs", body("two")).await.is(201);
    assert_eq!(made["keypair"]["type"], "ssh");
    face.post("ann", 10, "/os-keypairs", body("one")).await.is(409);
    let made = face.post("ann", 10, "/os-keypairs", json!({"keypair": {"name": "made"}})).await.is(201);
    let private = made["keypair"]["private_key"].as_str().expect("a private key");
    assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    face.post("ann", 92, "/os-keypairs", json!({"keypair": {"name": "x"}})).await.is(400);
    for bad in [
        json!({"keypair": {"name": "a/b", "public_key": KEY}}),
        json!({"keypair": {"name": "x", "public_key": "ssh-rsa nonsense"}}),
        json!({"keypair": {"name": "x".repeat(256), "public_key": KEY}}),
        json!({"keypair": {"public_key": KEY}}),
        json!({"keypair": {"name": "x", "public_key": KEY, "more": 1}}),
    ] {
        face.post("ann", 2, "/os-keypairs", bad).await.is(400);
    }
    let listed = face.get("ann", 35, "/os-keypairs?limit=2").await.is(200);
    let names = |body: &Value| -> Vec<String> {
        let pairs = body["keypairs"].as_array().expect("a list");
        pairs.iter().map(|pair| pair["keypair"]["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&listed), ["made", "one"]);
    let next = listed["keypairs_links"][0]["href"].as_str().expect("a link");
    assert!(next.ends_with("/os-keypairs?limit=2&marker=one"), "{next}");
    let listed = face.get("ann", 35, "/os-keypairs?limit=2&marker=one").await.is(200);
    assert_eq!((names(&listed), listed["keypairs_links"].is_null()), (vec!["two".to_owned()], true));
    face.get("ann", 35, "/os-keypairs?marker=no").await.is(400);
    assert!(names(&face.get("cid", 10, "/os-keypairs").await.is(200)).is_empty(), "another user's");
    face.get("cid", 10, "/os-keypairs?user_id=ann").await.is(403);
    assert_eq!(names(&face.get("admin", 10, "/os-keypairs?user_id=ann").await.is(200)).len(), 3);
    let shown = face.get("ann", 10, "/os-keypairs/one").await.is(200);
    assert!(shown["keypair"]["id"].is_u64() && shown["keypair"]["deleted"] == false, "{shown}");
    face.get("cid", 10, "/os-keypairs/one").await.is(404);
    // Two are left to the limit, so of four at the same time two are refused.
    face.put("admin", 57, "/os-quota-sets/p", json!({"quota_set": {"key_pairs": 5}})).await.is(200);
    let face = Arc::new(face);
    let tries = (0..4).map(|n| {
        let face = face.clone();
        let body = body(&format!("more{n}"));
        tokio::spawn(async move { face.post("ann", 10, "/os-keypairs", body).await.status })
    });
    let mut said = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        said.push(one.await.expect("is answered"));
    }
    said.sort_unstable();
    assert_eq!(said, [201, 201, 403, 403]);
    face.delete("ann", 1, "/os-keypairs/two").await.is(202);
    face.delete("ann", 10, "/os-keypairs/one").await.is(204);
    face.delete("ann", 10, "/os-keypairs/one").await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn flavors() {
    let (_cloud, face) = cloud().await;
    let wish = |id: &str, public: bool| {
        json!({"flavor": {"id": id, "name": format!("f.{id}"), "ram": "128", "vcpus": 1, "disk": 0,
            "rxtx_factor": 2, "os-flavor-access:is_public": public}})
    };
    face.post("ann", 55, "/flavors", wish("x", true)).await.is(403);
    let made = face.post("admin", 61, "/flavors", wish("own", false)).await.is(200);
    assert_eq!(made["flavor"]["os-flavor-access:is_public"], false);
    assert_eq!((&made["flavor"]["ram"], &made["flavor"]["rxtx_factor"]), (&json!(128), &json!(2.0)));
    face.post("admin", 61, "/flavors", wish("own", false)).await.is(409);
    for bad in [
        json!({"flavor": {"name": "y", "ram": 0, "vcpus": 1, "disk": 0}}),
        json!({"flavor": {"name": "y", "ram": 1, "disk": 0}}),
        json!({"flavor": {"name": "y", "ram": 1, "vcpus": 1, "disk": 0, "id": "a/b"}}),
        json!({"flavor": {"name": "y", "ram": 1, "vcpus": 1, "disk": 0, "colour": "red"}}),
    ] {
        face.post("admin", 61, "/flavors", bad).await.is(400);
    }
    let auto = json!({"flavor": {"name": "auto", "ram": 64, "vcpus": 1, "disk": 1, "description": "d"}});
    let made = face.post("admin", 55, "/flavors", auto).await.is(200);
    assert_eq!(made["flavor"]["description"], "d");
    let auto = made["flavor"]["id"].as_str().expect("an id").to_owned();

    // What is not public is there for those who have access, and for nobody else.
    face.get("ann", 61, "/flavors/own").await.is(404);
    let own =
        || json!({"server": {"name": "s", "imageRef": "skep/web:1", "flavorRef": "own", "networks": "none"}});
    face.post("ann", 61, "/servers", own()).await.is(400);
    let add = json!({"addTenantAccess": {"tenant": "p"}});
    let access = face.post("admin", 1, "/flavors/own/action", add.clone()).await.is(200);
    assert_eq!(access, json!({"flavor_access": [{"flavor_id": "own", "tenant_id": "p"}]}));
    face.post("admin", 1, "/flavors/own/action", add.clone()).await.is(409);
    face.post("admin", 1, "/flavors/1/action", add).await.is(409);
    face.get("admin", 1, "/flavors/1/os-flavor-access").await.is(404);
    face.get("ann", 61, "/flavors/own").await.is(200);
    face.get("cid", 61, "/flavors/own").await.is(404);
    let listed = face.get("cid", 61, "/flavors?is_public=None").await.is(200);
    assert!(!listed.to_string().contains("f.own"), "{listed}");

    let specs = json!({"extra_specs": {"a:b": "1", "c": "d"}});
    face.post("ann", 61, "/flavors/own/os-extra_specs", specs.clone()).await.is(403);
    face.post("admin", 61, "/flavors/own/os-extra_specs", specs).await.is(200);
    assert_eq!(face.get("ann", 61, "/flavors/own/os-extra_specs/c").await.is(200), json!({"c": "d"}));
    face.put("admin", 61, "/flavors/own/os-extra_specs/c", json!({"c": "e"})).await.is(200);
    face.put("admin", 61, "/flavors/own/os-extra_specs/c", json!({"x": "e"})).await.is(400);
    face.delete("admin", 61, "/flavors/own/os-extra_specs/a:b").await.is(200);
    face.delete("admin", 61, "/flavors/own/os-extra_specs/a:b").await.is(404);
    let shown = face.get("ann", 61, "/flavors/own").await.is(200);
    assert_eq!(shown["flavor"]["extra_specs"], json!({"c": "e"}));
    let id = create(&face, own()).await;
    let server = reaches(&face, &id, "ACTIVE").await;
    assert_eq!(server["flavor"]["extra_specs"], json!({"c": "e"}), "as they were at the time");

    face.put("admin", 54, &format!("/flavors/{auto}"), json!({"flavor": {"description": "e"}})).await.is(404);
    let told =
        face.put("admin", 55, &format!("/flavors/{auto}"), json!({"flavor": {"description": "e"}})).await;
    assert_eq!(told.is(200)["flavor"]["description"], "e");
    face.delete("admin", 61, &format!("/flavors/{auto}")).await.is(202);
    face.delete("admin", 61, &format!("/flavors/{auto}")).await.is(404);
    face.get("admin", 61, &format!("/flavors/{auto}")).await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_and_limits() {
    let (cloud, face) = cloud().await;
    let defaults = face.get("ann", 57, "/os-quota-sets/p/defaults").await.is(200);
    assert_eq!(
        (&defaults["quota_set"]["key_pairs"], &defaults["quota_set"]["id"]),
        (&json!(100), &json!("p"))
    );
    assert!(
        defaults["quota_set"]["injected_files"].is_null() && defaults["quota_set"]["fixed_ips"].is_null()
    );
    let old = face.get("ann", 1, "/os-quota-sets/p").await.is(200);
    assert!(old["quota_set"]["injected_files"].is_i64() && old["quota_set"]["fixed_ips"].is_i64());
    face.get("ann", 57, "/os-quota-sets/q").await.is(403);
    face.put("ann", 57, "/os-quota-sets/p", json!({"quota_set": {"cores": 3}})).await.is(403);
    for bad in [
        json!({"quota_set": {"corse": 3}}),
        json!({"quota_set": {"cores": "x"}}),
        json!({"quota_set": {"cores": -2}}),
    ] {
        face.put("admin", 57, "/os-quota-sets/p", bad).await.is(400);
    }
    let set =
        face.put("admin", 57, "/os-quota-sets/p", json!({"quota_set": {"instances": "3"}})).await.is(200);
    assert_eq!((&set["quota_set"]["instances"], set["quota_set"].get("id")), (&json!(3), None));
    let mut many = server("s");
    many["server"]["max_count"] = json!(4);
    let refused = face.post("ann", 90, "/servers", many).await.is(403);
    let why = refused["forbidden"]["message"].as_str().expect("a message");
    assert_eq!(why, "Quota exceeded for instances: Requested 4, but already used 0 of 3 instances");
    // Of six at the same time three fit, also with a cell dark.
    assert!(cloud.router.drill("cell1", model::drill::Drill::Refuse));
    let face = Arc::new(face);
    let tries: Vec<_> = (0..6)
        .map(|n| {
            let face = face.clone();
            tokio::spawn(
                async move { face.post("ann", 90, "/servers", server(&format!("s{n}"))).await.status },
            )
        })
        .collect();
    let mut said = Vec::new();
    for one in tries {
        said.push(one.await.expect("is answered"));
    }
    said.sort_unstable();
    assert_eq!(said, [202, 202, 202, 403, 403, 403]);
    assert!(cloud.router.drill("cell1", model::drill::Drill::Off));
    let detail = face.get("ann", 57, "/os-quota-sets/p/detail").await.is(200);
    assert_eq!(detail["quota_set"]["instances"], json!({"limit": 3, "in_use": 3, "reserved": 0}));
    face.put("admin", 57, "/os-quota-sets/p", json!({"quota_set": {"instances": 2}})).await.is(400);
    let forced = json!({"quota_set": {"instances": 2, "force": true}});
    face.put("admin", 57, "/os-quota-sets/p", forced).await.is(200);
    let limits = face.get("ann", 57, "/limits?reserved=False").await.is(200);
    let absolute = &limits["limits"]["absolute"];
    assert_eq!((&absolute["totalInstancesUsed"], &absolute["maxTotalInstances"]), (&json!(3), &json!(2)));
    assert!(absolute.get("maxSecurityGroups").is_none() && limits["limits"]["rate"] == json!([]));
    let old = face.get("ann", 1, "/limits").await.is(200);
    assert!(old["limits"]["absolute"]["maxSecurityGroups"].is_i64());
    face.get("ann", 57, "/limits?tenant_id=q").await.is(403);
    face.get("admin", 57, "/limits?tenant_id=p").await.is(200);
    face.delete("admin", 57, "/os-quota-sets/p").await.is(202);
    // The class holds for who has nothing of their own.
    let class = json!({"quota_class_set": {"metadata_items": 1, "instances": 3}});
    face.put("admin", 57, "/os-quota-class-sets/default", class).await.is(200);
    let shown = face.get("ann", 57, "/os-quota-sets/p").await.is(200);
    assert_eq!(
        (&shown["quota_set"]["instances"], &shown["quota_set"]["metadata_items"]),
        (&json!(3), &json!(1))
    );
    face.post("ann", 90, "/servers", server("s")).await.is(403);
    let mut metadata = server("s");
    metadata["server"]["metadata"] = json!({"a": "1", "b": "2"});
    let refused = face.post("cid", 90, "/servers", metadata).await.is(403);
    let why = refused["forbidden"]["message"].as_str().expect("a message");
    assert!(why.contains("metadata"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_their_quota() {
    let (_cloud, face) = cloud().await;
    let old = json!({"server_group": {"name": "g", "policies": ["anti-affinity"]}});
    let made = face.post("ann", 13, "/os-server-groups", old.clone()).await.is(200);
    assert_eq!(
        keys(&made["server_group"]),
        ["id", "members", "metadata", "name", "policies", "project_id", "user_id"]
    );
    face.post("ann", 64, "/os-server-groups", old).await.is(400);
    let soft = json!({"server_group": {"name": "g", "policies": ["soft-affinity"]}});
    face.post("ann", 14, "/os-server-groups", soft.clone()).await.is(400);
    face.post("ann", 15, "/os-server-groups", soft).await.is(200);
    let rules = |policy: &str, most: Value| json!({"server_group": {"name": "r", "policy": policy, "rules": {"max_server_per_host": most}}});
    let made = face.post("ann", 64, "/os-server-groups", rules("anti-affinity", json!("2"))).await.is(200);
    assert_eq!(made["server_group"]["rules"], json!({"max_server_per_host": 2}));
    face.post("ann", 64, "/os-server-groups", rules("affinity", json!(2))).await.is(400);
    face.post("ann", 64, "/os-server-groups", rules("anti-affinity", json!(0))).await.is(400);
    face.post("ann", 64, "/os-server-groups", rules("nearby", json!(1))).await.is(400);
    face.post("bob", 64, "/os-server-groups", rules("anti-affinity", json!(1))).await.is(403);
    let id = made["server_group"]["id"].as_str().expect("an id").to_owned();
    face.get("cid", 64, &format!("/os-server-groups/{id}")).await.is(404);
    face.delete("cid", 64, &format!("/os-server-groups/{id}")).await.is(404);
    let listed = face.get("ann", 64, "/os-server-groups?limit=1&offset=2").await.is(200);
    assert_eq!(listed["server_groups"][0]["id"], id.as_str());
    face.get("ann", 64, "/os-server-groups?all_projects=True").await.is(403);
    let all = face.get("admin", 64, "/os-server-groups?all_projects=True").await.is(200);
    assert_eq!(all["server_groups"].as_array().map(Vec::len), Some(3));
    face.put("admin", 57, "/os-quota-sets/p", json!({"quota_set": {"server_groups": 3}})).await.is(200);
    face.post("ann", 64, "/os-server-groups", rules("anti-affinity", json!(1))).await.is(403);
    face.delete("ann", 64, &format!("/os-server-groups/{id}")).await.is(204);
    face.get("ann", 64, &format!("/os-server-groups/{id}")).await.is(404);
    face.get("ann", 64, "/os-server-groups/nonsense").await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_usage_and_extensions() {
    let (_cloud, face) = cloud().await;
    let body = json!({"aggregate": {"name": "fast", "availability_zone": "az-f"}});
    face.post("ann", 81, "/os-aggregates", body.clone()).await.is(403);
    let made = face.post("admin", 81, "/os-aggregates", body.clone()).await.is(200);
    assert!(made["aggregate"]["hosts"].is_null() && made["aggregate"]["uuid"].is_string(), "{made}");
    let id = made["aggregate"]["id"].as_i64().expect("a number");
    face.post("admin", 81, "/os-aggregates", body).await.is(409);
    face.get("admin", 81, "/os-aggregates/fast").await.is(400);
    face.get("admin", 81, "/os-aggregates/99").await.is(404);
    let action = format!("/os-aggregates/{id}/action");
    // Hosts are known once the API level has read the cells.
    let added = tests::eventually(std::time::Duration::from_secs(60), "the host is known", async || {
        let said = face.post("admin", 1, &action, json!({"add_host": {"host": "cell1-h1"}})).await;
        if said.status == 404 { Err(said.body.to_string()) } else { Ok(said) }
    })
    .await
    .is(200);
    assert_eq!(added["aggregate"]["hosts"], json!(["cell1-h1"]));
    face.post("admin", 1, &action, json!({"add_host": {"host": "cell1-h1"}})).await.is(409);
    face.post("admin", 1, &action, json!({"add_host": {"host": "nowhere"}})).await.is(404);
    let other = json!({"aggregate": {"name": "other", "availability_zone": "az-o"}});
    let other = face.post("admin", 81, "/os-aggregates", other).await.is(200)["aggregate"]["id"].clone();
    let elsewhere = format!("/os-aggregates/{other}/action");
    face.post("admin", 1, &elsewhere, json!({"add_host": {"host": "cell1-h1"}})).await.is(409);
    let set = json!({"set_metadata": {"metadata": {"ssd": "true", "availability_zone": "az-g"}}});
    let changed = face.post("admin", 1, &action, set).await.is(200);
    assert_eq!(changed["aggregate"]["availability_zone"], "az-g");
    assert_eq!(changed["aggregate"]["metadata"], json!({"ssd": "true", "availability_zone": "az-g"}));
    let unset = json!({"set_metadata": {"metadata": {"ssd": null}}});
    let changed = face.post("admin", 1, &action, unset).await.is(200);
    assert_eq!(changed["aggregate"]["metadata"], json!({"availability_zone": "az-g"}));
    let named = json!({"aggregate": {"name": "slow"}});
    let changed = face.put("admin", 81, &format!("/os-aggregates/{id}"), named).await.is(200);
    assert_eq!(changed["aggregate"]["name"], "slow");
    face.delete("admin", 81, &format!("/os-aggregates/{id}")).await.is(400);
    face.post("admin", 1, &action, json!({"remove_host": {"host": "cell1-h1"}})).await.is(200);
    face.post("admin", 1, &action, json!({"remove_host": {"host": "cell1-h1"}})).await.is(404);
    face.delete("admin", 81, &format!("/os-aggregates/{id}")).await.is(200);
    face.get("admin", 81, &format!("/os-aggregates/{id}")).await.is(404);

    create(&face, server("used")).await;
    let usage = face.get("ann", 40, "/os-simple-tenant-usage/p").await.is(200);
    assert_eq!(usage["tenant_usage"]["server_usages"][0]["name"], "used");
    assert!(usage["tenant_usage"]["total_memory_mb_usage"].is_f64());
    let idle = face.get("cid", 40, "/os-simple-tenant-usage/q").await.is(200);
    assert_eq!(idle["tenant_usage"]["total_hours"], json!(0.0));
    face.get("cid", 40, "/os-simple-tenant-usage/p").await.is(403);
    face.get("ann", 40, "/os-simple-tenant-usage").await.is(403);
    let all = face.get("admin", 40, "/os-simple-tenant-usage?detailed=1").await.is(200);
    assert_eq!(all["tenant_usages"][0]["tenant_id"], "p");
    face.get("admin", 40, "/os-simple-tenant-usage?start=nonsense").await.is(400);
    face.get("admin", 40, "/os-simple-tenant-usage?start=2026-01-02&end=2026-01-01").await.is(400);

    let listed = face.get("ann", 1, "/extensions").await.is(200);
    assert!(listed["extensions"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "Hosts")));
    face.get("ann", 1, "/extensions/os-consoles").await.is(200);
    face.get("ann", 1, "/extensions/nothing").await.is(404);
    let zones = face.get("bob", 1, "/os-availability-zone").await.is(200);
    assert_eq!(zones["availabilityZoneInfo"][0]["zoneName"], "nova");
    face.get("bob", 1, "/os-availability-zone/detail").await.is(403);
}
