//! Servers: what becomes of one, and what no container can.

use tests::eventually_blocking;

use super::{REACHES, Story, text};

pub fn a_life(story: &mut Story) {
    let ana = &mut story.ana;
    assert_eq!(ana.json("server group create --policy anti-affinity apart")["policy"], "anti-affinity");
    assert_eq!(ana.column("server group list", "Name"), ["apart"]);
    let made = ana.json(
        "server create --flavor story.small --image ours --network skep --security-group default \
         --key-name k1 --server-group apart --description 'a shop' --property role=front --tag blue \
         --property 'skep:command=sh -c \"echo one; echo two; exec sleep 3600\"' --wait web",
    );
    assert_eq!((&made["status"], &made["key_name"]), (&"ACTIVE".into(), &"k1".into()), "{made}");
    let id = text(&made, "id");
    let shown = ana.json("server show web");
    assert!(text(&shown, "image").starts_with("ours ("), "{shown}");
    let address = shown["addresses"]["skep"][0].as_str().expect("an address").to_owned();
    assert_eq!(ana.json("server group show apart")["members"], serde_json::json!([id]));
    let port = ana.json(&format!("port list --server {id}"));
    assert_eq!(port[0]["Fixed IP Addresses"][0]["ip_address"], address.as_str(), "{port}");
    assert_eq!(ana.json(&format!("port show {id}"))["device_id"], id.as_str());
    for filter in
        ["--name we", "--status ACTIVE", "--image ours", "--flavor story.small", "--tags blue", "--long"]
    {
        assert_eq!(ana.column(&format!("server list {filter}"), "Name"), ["web"], "{filter}");
    }
    for filter in ["--name x", "--status SHUTOFF", "--not-tags blue"] {
        assert_eq!(ana.column(&format!("server list {filter}"), "Name"), [""; 0], "{filter}");
    }
    assert_eq!(story.bob.column("server list", "Name"), [""; 0]);

    // What it says, and what is said of it.
    eventually_blocking(REACHES, "its log comes", || {
        let said = ana.run("console log show web");
        if said.out.contains("two") { Ok(()) } else { Err(said.out + &said.err) }
    });
    assert!(ana.ok("console log show web").contains("one"));
    assert!(!ana.ok("console log show --lines 1 web").contains("one"));
    ana.ok("server set --name front --description new --property a=b --tag red web");
    let shown = ana.json("server show front");
    assert_eq!((&shown["id"], &shown["description"]), (&id.as_str().into(), &"new".into()));
    assert_eq!(shown["properties"], serde_json::json!({"role": "front", "a": "b"}));
    ana.ok("server unset --property a --tag blue front");
    let shown = ana.json("server show front");
    assert_eq!((&shown["tags"], shown["properties"].get("a")), (&serde_json::json!(["red"]), None));

    // What is done to it.
    ana.ok("server lock --reason holidays front");
    ana.fails("server stop front", "locked");
    assert_eq!(ana.json("server show front")["locked_reason"], "holidays");
    ana.ok("server unlock front");
    for (verb, status) in [
        ("pause", "PAUSED"),
        ("unpause", "ACTIVE"),
        ("suspend", "SUSPENDED"),
        ("resume", "ACTIVE"),
        ("stop", "SHUTOFF"),
        ("start", "ACTIVE"),
    ] {
        story.ana.ok(&format!("server {verb} front"));
        story.until("front", status);
    }
    let ana = &mut story.ana;
    ana.fails("server start front", "vm_state active");
    ana.ok("server reboot --wait front");
    ana.ok("server reboot --hard --wait front");
    story.until("front", "ACTIVE");
    let ana = &mut story.ana;
    ana.ok("server rebuild --image skep/web:1 front");
    story.until("front", "ACTIVE");
    let ana = &mut story.ana;
    assert!(text(&ana.json("server show front"), "image").starts_with("skep/web:1 ("));
    sizes(story);
    let ana = &mut story.ana;
    let done = ana.json("server event list front");
    let done: Vec<&str> =
        done.as_array().into_iter().flatten().filter_map(|row| row["Action"].as_str()).collect();
    for action in ["create", "pause", "suspend", "stop", "start", "reboot", "rebuild", "resize", "shelve"] {
        assert!(done.contains(&action), "{action} is not in {done:?}");
    }
    let list = ana.json("server event list front");
    let request = list[0]["Request ID"].as_str().expect("a request").to_owned();
    assert_eq!(ana.json(&format!("server event show front {request}"))["request_id"], request.as_str());
    assert_eq!(ana.json("server volume list front"), serde_json::json!([]));
}

/// Another size, taken back and confirmed, and a server that is set aside.
fn sizes(story: &mut Story) {
    story.ana.fails("server resize --flavor story.small front", "must change flavor");
    story.ana.fails("server resize confirm front", "vm_state active");
    for (decision, wait, flavor) in [("revert", "--wait", "story.small"), ("confirm", "", "c1.small")] {
        story.ana.ok(&format!("server resize --flavor c1.small {wait} front"));
        story.until("front", "VERIFY_RESIZE");
        story.ana.ok(&format!("server resize {decision} front"));
        story.until("front", "ACTIVE");
        let shown = story.ana.json("server show front");
        assert_eq!(shown["flavor"]["name"], flavor, "{shown}");
    }
    let admin = &mut story.admin;
    eventually_blocking(REACHES, "both have ended", || {
        let statuses = admin.column("server migration list", "Status");
        if statuses == ["confirmed", "reverted"] { Ok(()) } else { Err(format!("{statuses:?}")) }
    });
    assert_eq!(admin.column("server migration list --type live-migration", "Status"), [""; 0]);
    story.ana.ok("server shelve front");
    story.until("front", "SHELVED");
    story.ana.fails("server start front", "vm_state shelved");
    story.ana.ok("server unshelve front");
    story.until("front", "ACTIVE");
}

pub fn what_no_container_can(story: &mut Story) {
    let Story { ana, admin, .. } = story;
    let unsupported = "HttpException: 501";
    for line in [
        "server rescue front",
        "server unrescue front",
        "server dump create front",
        "server image create --name snap front",
        "server backup create --name copy front",
        "server set --password secret front",
        "server add security group front default",
        "console url show front",
    ] {
        let said = ana.run(line);
        assert_ne!(said.code, 0, "openstack {line}: {}", said.out);
        assert!(
            said.err.contains("not supported") || said.err.contains(unsupported),
            "openstack {line}: {}",
            said.err
        );
        ana.count();
    }
    ana.fails("server restore front", "Cannot 'restore' instance");
    let id = text(&ana.json("server show front"), "id");
    for line in [
        format!("server migrate {id}"),
        format!("server migrate --live-migration {id}"),
        format!("server evacuate {id}"),
    ] {
        admin.fails(&line, "not supported");
    }
    ana.fails("server migrate front", "not supported");
    ana.fails(
        "server create --flavor story.small --image nowhere --nic none x",
        "No Image found for nowhere",
    );
    ana.fails("server create --flavor nowhere --image ours --nic none x", "No Flavor found for nowhere");
    ana.fails(
        "server create --flavor story.small --image ours --network nowhere x",
        "No Network found for nowhere",
    );
    ana.fails(
        "server create --flavor story.small --image ours --nic none --key-name k9 x",
        "Invalid key_name",
    );
    ana.fails(
        "server create --flavor story.small --image ours --nic none --config-drive true x",
        "config_drive",
    );
}

pub fn the_end(story: &mut Story) {
    let Story { admin, ana, .. } = story;
    ana.ok("server delete --wait front");
    ana.fails("server show front", "No Server found for front");
    assert_eq!(ana.json("port list"), serde_json::json!([]));
    ana.ok("server group delete apart");
    ana.ok("keypair delete k1");
    ana.ok("image delete ours");
    assert_eq!(ana.column("image list", "Name"), ["skep/web:1"]);
    admin.ok("flavor delete story.small");
    admin.ok("user delete ana");
    admin.ok("project delete shop");
}
