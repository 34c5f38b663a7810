//! What is the administrator's: hosts, aggregates, zones, quotas, usage.

use super::{Story, text};

pub fn hosts_and_aggregates(story: &mut Story) {
    let Story { admin, ana, .. } = story;
    assert_eq!(admin.column("server list --all-projects", "Name"), ["front"]);
    let id = text(&ana.json("server show front"), "id");
    admin.ok(&format!("server set --state error --auto-approve {id}"));
    assert_eq!(ana.column("server list --status ERROR", "Name"), ["front"]);
    admin.ok(&format!("server set --state active --auto-approve {id}"));
    assert_eq!(ana.column("server list --status ACTIVE", "Name"), ["front"]);
    assert!(admin.ok(&format!("server show --diagnostics {id}")).contains("running"));
    ana.fails("server list --all-projects", "Policy doesn't allow");
    let hosts = ["cell1-h1", "cell2-h1", "cell3-h1"];
    assert_eq!(admin.column("compute service list", "Host"), hosts);
    assert_eq!(admin.column("compute service list --host cell2-h1", "State"), ["up"]);
    admin.ok("compute service set --disable --disable-reason disk cell3-h1 nova-compute");
    assert_eq!(admin.column("compute service list --long --host cell3-h1", "Disabled Reason"), ["disk"]);
    admin.ok("compute service set --enable cell3-h1 nova-compute");
    assert_eq!(admin.column("compute service list", "Status"), ["enabled", "enabled", "enabled"]);
    assert_eq!(admin.column("host list", "Host Name"), hosts);
    ana.fails("host list", "Policy doesn't allow");
    assert_eq!(admin.column("hypervisor list", "Hypervisor Hostname"), hosts);
    assert_eq!(admin.json("hypervisor show cell1-h1")["state"], "up");
    assert!(admin.ok("hypervisor stats show").contains("running_vms"));
    ana.fails("hypervisor list", "Policy doesn't allow");

    let made = admin.json("aggregate create --zone story --property a=b racks");
    assert_eq!((&made["name"], &made["availability_zone"]), (&"racks".into(), &"story".into()));
    admin.fails("aggregate create racks", "already exists");
    assert_eq!(admin.json("aggregate add host racks cell3-h1")["hosts"], serde_json::json!(["cell3-h1"]));
    assert_eq!(admin.column("aggregate list", "Name"), ["racks"]);
    admin.ok("aggregate set --name rows --property c=d racks");
    assert_eq!(admin.json("aggregate show rows")["properties"], serde_json::json!({"a": "b", "c": "d"}));
    assert_eq!(admin.json("aggregate remove host rows cell3-h1")["hosts"], serde_json::json!([]));
    admin.ok("aggregate delete rows");
    admin.fails("aggregate show rows", "No Aggregate found for rows");
    assert!(!ana.column("availability zone list --compute", "Zone Name").is_empty());
    ana.fails("server migration list", "Policy doesn't allow");
    assert!(ana.column("extension list --compute", "Alias").contains(&"os-consoles".to_owned()));
    assert!(ana.ok("versions show").contains("2.96"));
}

/// One limit among those that a command shows.
fn limit(list: &serde_json::Value, (key, name): (&str, &str), column: &str) -> i64 {
    let rows = list.as_array().into_iter().flatten();
    let row = rows.into_iter().find(|row| row[key] == name);
    row.and_then(|row| row[column].as_i64()).unwrap_or_else(|| panic!("no {name}: {list}"))
}

pub fn quotas_and_usage(story: &mut Story) {
    let Story { admin, ana, .. } = story;
    let instances = ("Resource", "instances");
    admin.ok("quota set --instances 1 --cores 4 shop");
    assert_eq!(limit(&ana.json("quota show"), instances, "Limit"), 1);
    assert_eq!(limit(&ana.json("quota show --usage"), instances, "In Use"), 1);
    assert_eq!(limit(&ana.json("quota show --network"), ("Resource", "networks"), "Limit"), 1);
    ana.fails("server create --flavor story.small --image ours --nic none x", "Quota exceeded");
    assert_eq!(limit(&ana.json("limits show --absolute"), ("Name", "max_total_instances"), "Value"), 1);
    assert_eq!(limit(&ana.json("limits show --absolute"), ("Name", "total_instances_used"), "Value"), 1);
    admin.ok("quota delete shop");
    assert_ne!(limit(&ana.json("quota show --compute"), instances, "Limit"), 1);
    ana.fails("quota set --instances 9 shop", "Policy doesn't allow");
    let shop = text(&admin.json("project show shop"), "id");
    assert_eq!(admin.column("usage list", "Project"), [shop]);
    let usage = ana.json("usage show");
    assert_eq!(usage["Servers"][0]["flavor"], "c1.small", "{usage}");
}
