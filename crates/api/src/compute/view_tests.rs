//! Golden tests of how servers look.

use model::{Fault, FaultKind, Power, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::testing;

fn look(version: u16, admin: bool, base: &Base) -> Look<'_> {
    Look { version: Version(version), admin, show: true, extended: false, base }
}

fn base() -> Base {
    Base { origin: "http://cloud.example".into(), mount: "/compute", project: None }
}

fn render(seen: &Seen, look: &Look<'_>) -> Value {
    let mut out = Vec::new();
    Object::write(&mut out, |object| server(object, seen, look));
    serde_json::from_slice(&out).expect("JSON")
}

fn fresh() -> Seen {
    Seen::Fresh(Box::new(testing::instance()))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("object").keys().map(String::as_str).collect()
}

#[test]
fn the_newest_one_for_an_administrator() {
    let id = testing::ID;
    let image = testing::spec().image.uuid();
    let got = render(&fresh(), &look(96, true, &base()));
    let host_id = got["hostId"].as_str().expect("text").to_owned();
    assert_eq!(host_id.len(), 56);
    let mut wanted = json!({
        "id": id, "name": "web one", "status": "ACTIVE", "tenant_id": "p1", "user_id": "u1",
        "created": "2026-01-05T10:02:00Z", "updated": "2026-01-05T10:02:03Z", "hostId": host_id,
        "addresses": {"skep": [{"version": 4, "addr": "10.1.0.7", "OS-EXT-IPS:type": "fixed",
            "OS-EXT-IPS-MAC:mac_addr": "02:42:0a:01:00:07"}]},
        "accessIPv4": "", "accessIPv6": "",
        "image": {"id": image,
            "links": [{"rel": "bookmark", "href": format!("http://cloud.example/compute/images/{image}")}]},
        "flavor": {"vcpus": 1, "ram": 64, "disk": 1, "ephemeral": 0, "swap": 0, "original_name": "c1.tiny",
            "extra_specs": {}},
        "metadata": {"role": "front"},
        "links": [
            {"rel": "self", "href": format!("http://cloud.example/compute/v2.1/servers/{id}")},
            {"rel": "bookmark", "href": format!("http://cloud.example/compute/servers/{id}")}],
        "progress": 0, "OS-DCF:diskConfig": "MANUAL", "OS-EXT-AZ:availability_zone": "az-a",
        "pinned_availability_zone": "az-a", "config_drive": "", "key_name": null,
        "security_groups": [{"name": "default"}], "OS-EXT-STS:task_state": null,
        "OS-EXT-STS:vm_state": "active", "OS-EXT-STS:power_state": 1,
        "OS-SRV-USG:launched_at": "2026-01-05T10:02:03.120000", "OS-SRV-USG:terminated_at": null,
        "os-extended-volumes:volumes_attached": [], "host_status": "UNKNOWN", "locked": false,
        "locked_reason": null, "description": null, "tags": [], "trusted_image_certificates": null,
        "server_groups": [],
    });
    let attributes = json!({
        "OS-EXT-SRV-ATTR:host": "node-17", "OS-EXT-SRV-ATTR:hypervisor_hostname": "node-17",
        "OS-EXT-SRV-ATTR:instance_name": format!("skep-{id}-1-2"), "OS-EXT-SRV-ATTR:hostname": "web-one",
        "OS-EXT-SRV-ATTR:launch_index": 0, "OS-EXT-SRV-ATTR:reservation_id": "r-9aul07gx",
        "OS-EXT-SRV-ATTR:root_device_name": null, "OS-EXT-SRV-ATTR:kernel_id": "",
        "OS-EXT-SRV-ATTR:ramdisk_id": "", "OS-EXT-SRV-ATTR:user_data": null,
    });
    wanted.as_object_mut().expect("object").extend(attributes.as_object().expect("object").clone());
    assert_eq!(got, wanted);
}

#[test]
fn the_oldest_one_for_a_member() {
    let got = render(&fresh(), &look(1, false, &base()));
    let mut wanted = vec![
        "OS-DCF:diskConfig",
        "OS-EXT-AZ:availability_zone",
        "OS-EXT-STS:power_state",
        "OS-EXT-STS:task_state",
        "OS-EXT-STS:vm_state",
        "OS-SRV-USG:launched_at",
        "OS-SRV-USG:terminated_at",
        "accessIPv4",
        "accessIPv6",
        "addresses",
        "config_drive",
        "created",
        "flavor",
        "hostId",
        "id",
        "image",
        "key_name",
        "links",
        "metadata",
        "name",
        "os-extended-volumes:volumes_attached",
        "progress",
        "security_groups",
        "status",
        "tenant_id",
        "updated",
        "user_id",
    ];
    wanted.sort_unstable();
    let mut got_keys = keys(&got);
    got_keys.sort_unstable();
    assert_eq!(got_keys, wanted);
    assert_eq!(
        got["flavor"],
        json!({"id": "1",
        "links": [{"rel": "bookmark", "href": "http://cloud.example/compute/flavors/1"}]})
    );
}

#[test]
fn each_field_comes_with_its_microversion() {
    let base = base();
    for (key, since, admin) in [
        ("OS-EXT-SRV-ATTR:host", 1, true),
        ("OS-EXT-SRV-ATTR:hostname", 3, true),
        ("OS-EXT-SRV-ATTR:user_data", 3, true),
        ("locked", 9, false),
        ("host_status", 16, true),
        ("description", 19, false),
        ("tags", 26, false),
        ("trusted_image_certificates", 63, false),
        ("server_groups", 71, false),
        ("locked_reason", 73, false),
        ("OS-EXT-SRV-ATTR:hostname", 90, false),
        ("pinned_availability_zone", 96, false),
    ] {
        let has = |version, admin| render(&fresh(), &look(version, admin, &base)).get(key).is_some();
        assert!(has(since, admin), "{key} at 2.{since}");
        assert!(since == 1 || !has(since - 1, admin), "{key} at 2.{}", since - 1);
        if admin {
            let member_has = since < 90 && has(since, false);
            assert!(!member_has, "{key} is for administrators");
        }
    }
    let list = Look { show: false, ..look(96, true, &base) };
    assert!(render(&fresh(), &list).get("server_groups").is_none(), "only in show");
    let swap = render(&fresh(), &look(47, false, &base));
    assert_eq!(swap["flavor"]["original_name"], "c1.tiny");
}

#[test]
fn while_building_and_in_error() {
    let base = base();
    let mut building = testing::instance();
    building.stage = Stage::Building;
    building.power = Power::None;
    building.host = None;
    building.zone = None;
    let got = render(&Seen::Fresh(Box::new(building.clone())), &look(96, true, &base));
    assert_eq!(got["status"], "BUILD");
    assert_eq!(got["addresses"], json!({}));
    assert_eq!((&got["hostId"], &got["host_status"]), (&json!(""), &json!("")));
    assert_eq!(got["OS-EXT-SRV-ATTR:host"], Value::Null);
    assert_eq!(got["OS-EXT-AZ:availability_zone"], "az-a");
    assert!(got.get("fault").is_none());

    building.stage = Stage::Error;
    building.fault = Some((Fault::new(FaultKind::NoValidHost, "No valid host was found."), Timestamp(0)));
    let got = render(&Seen::Fresh(Box::new(building)), &look(96, false, &base));
    assert_eq!(got["status"], "ERROR");
    let wanted =
        json!({"code": 500, "created": "1970-01-01T00:00:00Z", "message": "No valid host was found."});
    assert_eq!(got["fault"], wanted);
    assert!(got.get("progress").is_none());
}

#[test]
fn without_a_network() {
    let mut instance = testing::instance();
    instance.spec.container.no_network = true;
    instance.observed.address.clear();
    let got = render(&Seen::Fresh(Box::new(instance)), &look(79, false, &base()));
    assert_eq!(got["addresses"], json!({}));
    assert!(got.get("security_groups").is_none());
}

#[test]
fn dark_ones_in_exact_partial_shapes() {
    let base = base();
    let dark = Seen::Dark(Box::new(testing::dark()));
    let mut out = Vec::new();
    let named = Named { id: dark.id(), name: "n".into(), dark: true };
    Object::write(&mut out, |object| brief(object, &named, &look(69, false, &base)));
    let three: Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(keys(&three), ["id", "links", "status"]);
    assert_eq!(three["status"], "UNKNOWN");

    let list = Look { show: false, ..look(69, true, &base) };
    let five = render(&dark, &list);
    assert_eq!(keys(&five), ["created", "id", "links", "status", "tenant_id"]);

    let shown = render(&dark, &look(69, false, &base));
    let mut wanted = vec![
        "id",
        "status",
        "tenant_id",
        "created",
        "links",
        "image",
        "flavor",
        "OS-EXT-AZ:availability_zone",
        "OS-EXT-STS:power_state",
        "user_id",
    ];
    wanted.sort_unstable();
    assert_eq!(keys(&shown), wanted);
    assert_eq!(shown["OS-EXT-STS:power_state"], 0);
    assert_eq!(render(&dark, &look(71, false, &base))["server_groups"], json!([]));
}

#[test]
fn our_own_object_only_for_those_who_ask() {
    let base = base();
    assert!(render(&fresh(), &look(96, true, &base)).get("skep").is_none());
    let asked = Look { extended: true, ..look(1, false, &base) };
    let got = render(&fresh(), &asked);
    assert_eq!(
        got["skep"],
        json!({
            "image": "busybox:1.36", "command": ["sleep", "60"], "env": {"A": "b"}, "ports": ["8080:80/tcp"],
            "bindings": [{"container": 80, "protocol": "tcp", "address": "192.0.2.1", "host": 8080}],
            "restart": "on-failure:3", "labels": {}, "read_only": false, "container": "c0ffee", "exit_code": null,
            "restarts": 0,
        })
    );
    let admin = Look { extended: true, ..look(1, true, &base) };
    assert!(render(&fresh(), &admin)["skep"].get("cell").is_some());

    let dark = Seen::Dark(Box::new(testing::dark()));
    let got = render(&dark, &asked);
    assert_eq!(got["skep"]["last_status"], "ACTIVE");
    assert_eq!(got["skep"]["last_status_age_seconds"], 7);
    assert!(got["skep"].get("cell").is_none(), "cells are for administrators");
    assert_eq!(render(&dark, &admin)["skep"]["cell"], "cell2");
}

#[test]
fn opaque_hosts_and_host_names() {
    let one = testing::instance();
    let mut other = one.clone();
    other.spec.project = "p2".into();
    assert_eq!(host_id(&one), host_id(&one.clone()));
    assert_ne!(host_id(&one), host_id(&other));
    assert_eq!(hostname("My Web_1.example"), "my-web-1-example");
    assert_eq!(hostname("-é-"), "");
}
