//! What `openstack` says of users, projects, roles, tokens and the catalog, by password.

use tests::Estate;
use tests::estate::Plan;

#[tokio::test(flavor = "multi_thread")]
async fn users_projects_and_roles_at_the_command_line() {
    let estate = Estate::start(Plan::default()).await;
    let mut admin = estate.administrator();
    let token = admin.json("token issue");
    assert!(token["id"].as_str().is_some_and(|id| id.len() == 64), "{token}");
    let types = ["compute", "identity", "image", "network"];
    assert_eq!(admin.column("catalog list", "Type"), types);
    assert_eq!(admin.column("service list", "Type"), types);
    assert_eq!(admin.column("endpoint list --service compute --interface public", "Region"), ["RegionOne"]);
    assert_eq!(admin.column("region list", "Region"), ["RegionOne"]);
    assert_eq!(admin.column("role list", "Name"), ["admin", "manager", "member", "reader", "service"]);
    assert_eq!(admin.column("domain list", "Name"), ["Default"]);
    let implied = admin.column("implied role list", "Implied Role Name");
    assert_eq!(implied, ["manager", "member", "reader"]);

    // Projects.
    let shop = admin.json("project create --description 'what sells' shop");
    assert_eq!((&shop["name"], &shop["description"]), (&"shop".into(), &"what sells".into()));
    admin.fails("project create shop", "Conflict occurred attempting to store project");
    assert_eq!(admin.json("project show shop")["id"], shop["id"]);
    admin.ok("project set --description none --disable shop");
    assert_eq!(admin.json("project show shop")["enabled"], false);
    admin.ok("project set --enable shop");
    assert_eq!(admin.column("project list", "Name"), ["admin", "shop"]);
    admin.fails("project show nowhere", "No Project found for nowhere");

    // Users and roles.
    let ana = admin.json("user create --project shop --email ana@example.org --password s3cret-of-ana ana");
    assert_eq!(ana["email"], "ana@example.org");
    admin.ok("user create --password s3cret-of-bo bo");
    assert_eq!(admin.column("user list", "Name"), ["admin", "ana", "bo"]);
    admin.ok("role add --user ana --project shop member");
    admin.ok("role add --user ana --project shop reader");
    admin.ok("role remove --user ana --project shop reader");
    assert_eq!(admin.column("role assignment list --names --user ana", "Role"), ["member"]);
    assert_eq!(
        admin.column("role assignment list --names --user ana --effective", "Role"),
        ["member", "reader"]
    );
    admin.ok("role create auditor");
    assert_eq!(admin.json("role show auditor")["name"], "auditor");
    admin.ok("implied role create --implied-role reader auditor");
    admin.ok("implied role delete --implied-role reader auditor");
    admin.ok("role set --name inspector auditor");
    admin.ok("role delete inspector");
    admin.fails("role show inspector", "inspector");

    // Ana comes by herself, and sees what is hers.
    let mut by_ana = estate.by_password("ana", "s3cret-of-ana", "shop");
    assert_eq!(by_ana.json("token issue")["project_id"], shop["id"]);
    assert_eq!(by_ana.column("server list", "Name"), [""; 0]);
    assert!(by_ana.column("flavor list", "Name").contains(&"c1.tiny".to_owned()));
    let own = by_ana.json(&format!("project show {}", shop["id"].as_str().expect("an id")));
    assert_eq!(own["name"], "shop");
    by_ana.fails("user list", "identity:list_users");
    by_ana.fails("server list --all-projects", "Policy doesn't allow");
    estate.by_password("ana", "wrong", "shop").fails("token issue", "HTTP 401");
    estate.by_password("bo", "s3cret-of-bo", "shop").fails("token issue", "HTTP 401");
    by_ana.ok("user password set --original-password s3cret-of-ana --password another-of-ana");
    estate.by_password("ana", "s3cret-of-ana", "shop").fails("token issue", "HTTP 401");
    let mut by_ana = estate.by_password("ana", "another-of-ana", "shop");

    // A server of Ana's is nobody else's.
    let server = by_ana.json("server create --flavor c1.tiny --image skep/web:1 --nic none --wait web");
    let id = server["id"].as_str().expect("an id").to_owned();
    estate.openstack("bob").fails(&format!("server show {id}"), "No Server found");
    assert_eq!(admin.column("server list --all-projects", "Name"), ["web"]);

    // An application credential with less than she has.
    let ci = by_ana.json("application credential create --role reader --description CI ci");
    assert_eq!((&ci["Roles"][0]["name"], &ci["Roles"][1]), (&"reader".into(), &().into()), "{ci}");
    let text = |name: &str| ci[name].as_str().unwrap_or_else(|| panic!("no {name}: {ci}")).to_owned();
    assert_eq!(by_ana.column("application credential list", "Name"), ["ci"]);
    let mut program = estate.by_credential(&text("ID"), &text("Secret"));
    assert_eq!(program.column("server list", "Name"), ["web"]);
    program.fails("server delete web", "Policy doesn't allow os_compute_api:servers:delete");
    program.fails("application credential create more", "may not make another");
    by_ana.ok("application credential delete ci");
    program.fails("server list", "HTTP 401");

    // System scope: what is the cloud's, and no project's servers.
    let mut system = estate.on_system();
    assert_eq!(system.column("compute service list", "Status"), ["enabled", "enabled", "enabled"]);
    system.fails("server list", "Policy doesn't allow");
    assert_eq!(system.column("project list", "Name"), ["admin", "shop"]);

    // The catalog takes what is added, and keeps what is ours.
    admin.ok("service create --name swift --description none object-store");
    admin.ok("endpoint create --region RegionOne object-store public 'http://swift.example/v1/AUTH_%(project_id)s'");
    let catalog = admin.ok("catalog show object-store");
    assert!(
        catalog.contains("http://swift.example/v1/AUTH_") && !catalog.contains("project_id"),
        "{catalog}"
    );
    admin.ok("service delete swift");
    admin.fails("service delete skep-compute", "made from this cloud's configuration");

    // A domain of its own.
    admin.ok("domain create --description d other");
    admin.ok("user create --domain other --password s3cret-of-ana ana");
    assert_eq!(admin.column("user list --domain other", "Name"), ["ana"]);
    admin.fails("domain delete other", "please disable it first");
    admin.ok("domain set --disable other");
    admin.ok("domain delete other");

    by_ana.ok("server delete --wait web");
    let token = by_ana.json("token issue");
    admin.ok(&format!("token revoke {}", token["id"].as_str().unwrap_or_default()));
    admin.ok("user set --disable ana");
    by_ana.fails("token issue", "HTTP 401");
    admin.ok("user delete ana bo");
    admin.ok("project delete shop");
    assert_eq!(admin.column("user list", "Name"), ["admin"]);
    estate.at_rest().await;
}
