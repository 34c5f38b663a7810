//! Tests of reading `POST /servers`.

use serde_json::json;

use super::*;

fn read(server: Value, version: u16) -> Result<Create, (u16, String)> {
    let body = json!({ "server": server }).to_string();
    parse(body.as_bytes(), Version(version)).map_err(|refused| (refused.status.as_u16(), refused.message))
}

fn with(key: &str, value: Value) -> Value {
    let mut server = json!({"name": "web", "imageRef": "busybox", "flavorRef": "1", "networks": "none"});
    server[key] = value;
    server
}

#[test]
fn what_the_load_generator_sends() {
    let id = "3f1c5b62-8f2e-8f2e-8f2e-3f1c5b628f2e";
    let server = json!({"name": "bench-1", "imageRef": id, "flavorRef": "1", "networks": "none"});
    let create = read(server, 79).expect("legal");
    assert_eq!(create.image, id);
    assert_eq!((create.flavor.as_str(), create.count, create.container.no_network), ("1", 1, true));
}

#[test]
fn what_the_openstack_client_sends() {
    let id = "3f1c5b62-8f2e-8f2e-8f2e-3f1c5b628f2e";
    let server = json!({
        "name": "web", "imageRef": id, "flavorRef": "1", "min_count": 1, "max_count": 1, "networks": "auto",
        "block_device_mapping_v2": [{"uuid": id, "boot_index": 0, "source_type": "image",
            "destination_type": "local", "delete_on_termination": true}],
        "metadata": {"role": "front", "skep:command": "sleep 60"}, "description": "x",
        "security_groups": [{"name": "default"}], "config_drive": false,
    });
    let create = read(server, 96).expect("legal");
    assert_eq!(create.metadata.len(), 1, "reserved metadata is not kept");
    assert_eq!(create.container.command, ["sleep", "60"]);
    assert!(!create.container.no_network);
    assert_eq!(create.description.as_deref(), Some("x"));
}

#[test]
fn the_skep_object() {
    let create = read(with("skep", json!({"command": ["true"], "restart": "always"})), 96).expect("legal");
    assert_eq!(create.container.command, ["true"]);
    let mut server = with("skep", json!({"command": ["true"]}));
    server["metadata"] = json!({"skep:command": "false"});
    assert_eq!(read(server, 96).expect_err("both").0, 400);
}

#[test]
fn networks_by_microversion() {
    let mut server = with("networks", json!("auto"));
    assert!(read(server.clone(), 37).is_ok());
    assert!(read(server.clone(), 36).is_err(), "a word below 2.37");
    server["networks"] = json!([]);
    assert!(read(server.clone(), 36).is_ok() && read(server.clone(), 96).is_ok());
    server["networks"] = json!([{"uuid": "n1"}]);
    assert_eq!(read(server.clone(), 96).map(|create| create.network), Ok(Some("n1".to_owned())));
    for bad in [json!([{"port": "p1"}]), json!([{"uuid": "n1", "fixed_ip": "192.0.2.1"}]), json!([{}, {}])] {
        server["networks"] = bad;
        let (status, message) = read(server.clone(), 96).expect_err("cannot be had");
        assert_eq!(status, 400);
        assert!(message.contains("networks"), "{message}");
    }
    server.as_object_mut().expect("object").remove("networks");
    assert!(read(server.clone(), 36).is_ok());
    assert!(read(server, 37).expect_err("mandatory").1.contains("'networks' is a required property"));
}

#[test]
fn fields_that_would_be_lost_are_refused_by_name() {
    for (key, value) in [
        ("user_data", json!("aGk=")),
        ("config_drive", json!(true)),
        ("personality", json!([{"path": "/x", "contents": ""}])),
    ] {
        let version = if key == "personality" { 50 } else { 96 };
        let (status, message) = read(with(key, value), version).expect_err(key);
        assert_eq!(status, 400);
        assert!(message.contains(key), "{message}");
    }
    for (key, nothing) in [
        ("user_data", json!(null)),
        ("tags", json!([])),
        ("config_drive", json!("False")),
        ("accessIPv4", json!("")),
    ] {
        assert!(read(with(key, nothing), 96).is_ok(), "{key}");
    }
    let hints = json!({"server": with("name", json!("web")), "OS-SCH-HNT:scheduler_hints": {"group": "g"}});
    let refused = parse(hints.to_string().as_bytes(), Version(96)).expect_err("hints");
    assert!(refused.message.contains("scheduler_hints"));
}

#[test]
fn fields_of_other_microversions_are_unexpected() {
    for (key, value, version) in [
        ("description", json!("x"), 18),
        ("tags", json!([]), 51),
        ("personality", json!([]), 57),
        ("nmae", json!(1), 96),
    ] {
        let (_, message) = read(with(key, value), version).expect_err(key);
        assert!(message.contains(&format!("'{key}' was unexpected")), "{message}");
    }
}

#[test]
fn names_counts_and_metadata() {
    for bad in [json!(""), json!(42), json!(null), json!("x".repeat(256)), json!(" x"), json!("a\nb")] {
        let (status, message) = read(with("name", bad.clone()), 96).expect_err(&bad.to_string());
        assert!(status == 400 && message.contains("field/attribute name"), "{message}");
    }
    for bad in [json!(0), json!(-1), json!("x"), json!(1.5), json!(1001), json!(null)] {
        assert!(read(with("max_count", bad.clone()), 96).is_err(), "{bad}");
    }
    assert_eq!(read(with("max_count", json!("3")), 96).expect("text").count, 3);
    assert_eq!(read(with("min_count", json!(2)), 96).expect("least").count, 2);
    let mut server = with("min_count", json!(3));
    server["max_count"] = json!(2);
    assert_eq!(read(server, 96).expect_err("order").1, "min_count must be <= max_count");

    for bad in [
        json!({"a": 1}),
        json!({"": "x"}),
        json!({"a/b": "x"}),
        json!({"a": "x".repeat(256)}),
        json!(null),
        json!([]),
    ] {
        assert_eq!(read(with("metadata", bad.clone()), 96).map_err(|e| e.0), Err(400), "{bad}");
    }
}

#[test]
fn real_volumes_images_and_bodies() {
    for bad in [
        json!([{"uuid": "v", "source_type": "volume", "destination_type": "volume", "boot_index": 0}]),
        json!([{"uuid": "busybox", "source_type": "image", "destination_type": "volume", "volume_size": 1}]),
        json!([{"uuid": "other", "source_type": "image", "destination_type": "local"}]),
        json!("x"),
    ] {
        assert_eq!(read(with("block_device_mapping_v2", bad), 96).map_err(|e| e.0), Err(400));
    }
    for bad in [json!(""), json!(null), json!(5), json!("x".repeat(513))] {
        assert_eq!(read(with("imageRef", bad), 96).map_err(|e| e.0), Err(400));
    }
    assert!(matches!(read(with("flavorRef", json!(1)), 96), Ok(create) if create.flavor == "1"));
    for bad in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"server": []}"#,
        r#"{"server": {}}"#,
        r#"{"server": {"name": "x"}, "y": 1}"#,
    ] {
        let refused = parse(bad.as_bytes(), Version(96)).expect_err(bad);
        assert_eq!(refused.status.as_u16(), 400, "{bad}");
    }
}

#[test]
fn a_password_is_echoed_but_never_repeated_in_an_error() {
    assert_eq!(
        read(with("adminPass", json!("s3cret")), 96).expect("legal").admin_pass.as_deref(),
        Some("s3cret")
    );
    let (_, message) = read(with("adminPass", json!(["s3cret"])), 96).expect_err("type");
    assert!(!message.contains("s3cret"), "{message}");
}
