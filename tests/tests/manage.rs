//! `skep-manage`: Nova's verbs, options, columns and exit codes, each on both engines; and cells that do not
//! answer.

#[path = "manage/archive.rs"]
mod archive;
#[path = "manage/bed.rs"]
mod bed;
#[path = "manage/dark_verbs.rs"]
mod dark_verbs;
#[path = "manage/doctor.rs"]
mod doctor;
#[path = "manage/instances.rs"]
mod instances;
#[path = "manage/people.rs"]
mod people;
#[path = "manage/ready.rs"]
mod ready;
#[path = "manage/restored.rs"]
mod restored;
#[path = "manage/secrets.rs"]
mod secrets;
#[path = "manage/slots.rs"]
mod slots;

use std::net::TcpListener;
use std::time::Duration;

use bed::{Bed, CANARY, beds};
use model::CellState;

/// The longest that a verb may take while cells do not answer: the cells' deadlines, and what a busy machine adds.
const PROMPT: Duration = Duration::from_secs(10);

fn check(bed: &Bed, line: &str, code: i32, says: &str) {
    let ended = bed.manage(line);
    let said = format!("{}{}", ended.out, ended.err);
    assert_eq!(ended.code, code, "{} {line}: {said}", bed.engine);
    assert!(said.contains(says), "{} {line}: wanted '{says}': {said}", bed.engine);
}

#[tokio::test]
async fn schemas() {
    for mut bed in beds().await {
        let newest = |schema: &sql::migrate::Schema| format!("{}\n", schema.newest());
        check(&bed, "api_db version", 0, &newest(&api_db::SCHEMA));
        check(&bed, "api_db sync", 0, "");
        check(&bed, "api_db sync 1", 255, "to no other");
        check(&bed, "db sync", 1, "Could not access cell0");
        let (cell0, cell1) = (bed.database("cell0"), bed.database("cell1"));
        bed.write_config(&format!("[cell.database]\nurl = '{cell1}'\n"));
        check(&bed, "db sync --local_cell", 0, "");
        check(&bed, "db version", 0, &newest(&cell_db::SCHEMA));
        check(&bed, &format!("cell_v2 map_cell0 --database-connection {cell0}"), 0, "");
        check(&bed, "db sync", 0, "");
        check(&bed, "cell_v2 map_cell0", 0, "Cell0 is already setup");
        assert_eq!(bed.mapping("cell0").await.database_url, cell0);
        check(&bed, "cell_v2 list_cells", 0, "none:///");
    }
}

#[tokio::test]
async fn cells_are_created_listed_and_changed() {
    for mut bed in beds().await {
        check(&bed, "cell_v2 create_cell --name x", 1, "Must specify --transport-url");
        let broker = bed.broker();
        check(
            &bed,
            &format!("cell_v2 create_cell --name x --transport-url {broker}"),
            1,
            "--database_connection",
        );
        check(
            &bed,
            &format!("cell_v2 create_cell --transport_url {broker} --database_connection mysql://x"),
            1,
            "URL",
        );
        let url = bed.cell("one").await;
        let create = |more: &str| format!("cell_v2 create_cell --database-connection {more}");
        check(&bed, &create(&format!("{url} --transport-url {broker}")), 2, "that of cell one");
        let other = bed.database("other");
        let theirs = bed.mapping("one").await.transport_url;
        check(&bed, &create(&format!("{other} --transport-url {theirs}")), 2, "that of cell one");
        check(&bed, &create(&format!("{other} --transport-url {broker} --name one")), 2, "already");
        let made = bed.manage(&create(&format!("{other} --transport-url {broker} --disabled --verbose")));
        let two = bed.mapping("cell1").await;
        assert_eq!((made.code, made.out.trim(), two.state), (0, &*two.id.to_string(), CellState::Cordoned));

        let listed = bed.manage("cell_v2 list_cells").out;
        let lines: Vec<&str> = listed.lines().collect();
        for column in ["Name", "UUID", "Transport URL", "Database Connection", "Disabled"] {
            assert!(lines[1].contains(column), "{listed}");
        }
        assert!(lines[3].contains("cell1") && lines[3].contains(" True "), "{listed}");
        assert!(lines[4].contains("one") && lines[4].contains(" False "), "{listed}");
        assert!(listed.contains("amqp://u:****@127.0.0.1:9/"), "{listed}");
        let audits = "SELECT COUNT(*) FROM audit WHERE action = 'cell.show-secrets'";
        assert_eq!(bed.number(audits).await, 0);
        assert!(bed.manage("cell_v2 list_cells --verbose").out.contains(CANARY));
        assert_eq!(bed.number(audits).await, 2, "who saw secrets is told");

        check(&bed, "cell_v2 update_cell --cell_uuid nine --name x", 1, "no cell 'nine'");
        check(&bed, "cell_v2 update_cell --name x", 2, "--cell_uuid");
        check(&bed, "cell_v2 update_cell --cell_uuid one --name cell1", 2, "already");
        check(
            &bed,
            &format!("cell_v2 update_cell --cell_uuid one --database_connection {other}"),
            3,
            "cell1",
        );
        check(&bed, "cell_v2 update_cell --cell_uuid one --enable --disable", 4, "same time");
        check(&bed, "cell_v2 update_cell --cell_uuid one --enable", 0, "already enabled");
        let before = bed.mapping("one").await;
        // Nova replaces both URLs here by those that its configuration happens to name.
        bed.write_config(&format!("[cell.database]\nurl = '{other}'\n[cell.transport]\nurl = '{broker}'\n"));
        check(&bed, "cell_v2 update_cell --cell-uuid one --disable", 0, "");
        let wanted =
            model::Cell { state: CellState::Cordoned, version: before.version + 1, ..before.clone() };
        assert_eq!(bed.mapping("one").await, wanted, "what is not named stays");
        check(&bed, "cell_v2 update_cell --cell-uuid one --disable", 0, "already disabled");
        check(&bed, &format!("cell_v2 update_cell --cell_uuid {} --name new", before.id), 0, "");
        assert_eq!(bed.mapping("new").await.database_url, before.database_url);
        let cell0 = bed.database("cell0");
        check(&bed, &format!("cell_v2 map_cell0 --database_connection {cell0}"), 0, "");
        check(&bed, "cell_v2 update_cell --cell_uuid cell0 --disable", 5, "cell0");
        check(&bed, "cell_v2 delete_cell --cell_uuid nine", 1, "no cell 'nine'");
        check(&bed, "cell_v2 delete_cell --cell_uuid new", 0, "");
        check(&bed, "cell_v2 delete_cell --cell_uuid new", 1, "no cell");
        let deleted = "SELECT COUNT(*) FROM audit WHERE action = 'cell.delete' AND user_id = 'ann'";
        assert_eq!(bed.number(deleted).await, 1);
    }
}

#[tokio::test]
async fn hosts_are_discovered_listed_and_deleted() {
    for mut bed in beds().await {
        let one = bed.cell("one").await;
        let two = bed.cell("two").await;
        check(&bed, "cell_v2 discover_hosts", 0, "");
        check(&bed, "cell_v2 discover_hosts --strict", 1, "");
        let host = bed.host(&one, "h1", true).await;
        let busy = bed.host(&one, "h2", false).await;
        // Names need not be unique.
        bed.host(&two, "h1", true).await;
        bed.instance(&one, Some(busy)).await;
        let told = bed.manage("cell_v2 discover_hosts --verbose --by-service --strict");
        assert_eq!((told.code, told.err.as_str()), (0, ""));
        for line in [
            "Found 2 cell mappings.".to_owned(),
            format!("Getting computes from cell 'one': {}", bed.mapping("one").await.id),
            format!("Creating host mapping for compute host 'h1': {host}"),
            format!("Found 1 unmapped computes in cell: {}", bed.mapping("two").await.id),
        ] {
            assert!(told.out.contains(&line), "wanted '{line}':\n{}", told.out);
        }
        check(&bed, "cell_v2 discover_hosts --cell_uuid one --strict", 1, "");
        check(&bed, "cell_v2 discover_hosts --cell_uuid nine", 255, "no cell 'nine'");
        let listed = bed.manage("cell_v2 list_hosts").out;
        let columns: Vec<&str> = listed.lines().nth(1).expect("head").split('|').map(str::trim).collect();
        assert_eq!(columns, ["", "Cell Name", "Cell UUID", "Hostname", ""]);
        assert_eq!(listed.lines().count(), 4 + 3);
        assert_eq!(bed.manage("cell_v2 list_hosts --cell_uuid two").out.lines().count(), 4 + 1);
        check(&bed, "cell_v2 list_hosts --cell_uuid nine", 1, "no cell 'nine'");

        check(&bed, "cell_v2 delete_cell --cell_uuid one", 2, "hosts are mapped");
        check(&bed, "cell_v2 delete_host --cell_uuid nine --host h1", 1, "no cell");
        check(&bed, "cell_v2 delete_host --cell_uuid one --host h9", 2, "no host");
        check(&bed, "cell_v2 delete_host --cell_uuid two --host h2", 3, "in cell one");
        check(&bed, "cell_v2 delete_host --cell_uuid one --host h2", 4, "instances are on host");
        check(&bed, "cell_v2 delete_host --cell_uuid one --host h1", 0, "");
        check(&bed, "cell_v2 delete_host --cell_uuid one --host h1", 3, "");
        check(&bed, "cell_v2 discover_hosts --strict", 1, "");

        // One host id on two machines.
        bed.register(&two, busy, "clone", false).await;
        check(&bed, "cell_v2 discover_hosts", 2, "two machines share one host id");
        let mapped = format!("{}", bed.mapping("one").await.id);
        assert!(bed.manage("cell_v2 list_hosts --cell_uuid one").out.contains(&mapped));
    }
}

#[tokio::test]
async fn instances_are_mapped_and_verified() {
    for mut bed in beds().await {
        let url = bed.cell("one").await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(bed.instance(&url, None).await);
        }
        let verify = |id: &dyn std::fmt::Display| format!("cell_v2 verify_instance --uuid {id}");
        check(&bed, &verify(&ids[0]), 1, "is not mapped to a cell");
        check(&bed, &verify(&"nonsense"), 1, "");
        let map = "cell_v2 map_instances --cell_uuid";
        for bad in ["0", "-1", "x"] {
            check(&bed, &format!("{map} one --max-count {bad}"), 127, "positive number");
        }
        check(&bed, &format!("{map} nine"), 255, "no cell");
        check(&bed, &format!("{map} one --max-count 2"), 1, "");
        assert_eq!(bed.number("SELECT COUNT(*) FROM instance_mapping").await, 2);
        check(&bed, &verify(&ids[0]), 0, "is in cell: one (");
        check(&bed, &verify(&ids[2]), 1, "");
        check(&bed, &format!("{map} one --max-count 2"), 0, "");
        check(&bed, &format!("{map} one --reset"), 0, "");
        assert_eq!(bed.number("SELECT instances FROM quota WHERE project = 'p'").await, 3);
        assert_eq!(bed.number("SELECT COUNT(*) FROM audit WHERE action = 'instance.map'").await, 3);
        let quiet = bed.manage(&format!("{} --quiet", verify(&ids[2])));
        assert_eq!((quiet.code, quiet.out.as_str()), (0, ""));
        let unbound = bed.unbound().await;
        check(&bed, &verify(&unbound), 2, "is not mapped to a cell\n");

        check(&bed, "cell_v2 delete_cell --cell_uuid one", 3, "instances live");
        check(&bed, "cell_v2 delete_cell --cell_uuid one --force", 3, "instances live");
        bed.end(&url, ids[0], true).await;
        check(&bed, &verify(&ids[0]), 3, "has been deleted");
        bed.end(&url, ids[1], false).await;
        check(&bed, &verify(&ids[1]), 4, "has been archived");
        bed.end(&url, ids[2], true).await;
        check(&bed, "cell_v2 delete_cell --cell_uuid one --force", 3, "instances live");
        bed.above("UPDATE instance_mapping SET state = 'deleted' WHERE cell IS NOT NULL", vec![]).await;
        bed.above("DELETE FROM request_spec", vec![]).await;
        check(&bed, "cell_v2 delete_cell --cell_uuid one", 4, "--force");
        check(&bed, "cell_v2 delete_cell --cell_uuid one --force", 0, "");
        assert_eq!(bed.number("SELECT COUNT(*) FROM instance_mapping").await, 1, "the unbound one");
    }
}

#[tokio::test]
async fn a_cloud_is_set_up_in_one_go() {
    for mut bed in beds().await {
        check(&bed, "cell_v2 simple_cell_setup", 1, "--transport-url");
        let (cell0, cell1, broker) = (bed.database("cell0"), bed.database("cell1"), bed.broker());
        bed.write_config(&format!(
            "[cell0.database]\nurl = '{cell0}'\n[cell.database]\nurl = '{cell1}'\n[cell.transport]\nurl = '{broker}'\n"
        ));
        check(&bed, "cell_v2 simple_cell_setup --transport-url nonsense", 1, "");
        check(&bed, "cell_v2 simple_cell_setup", 1, "cell.database");
        bed.migrate(&cell1).await;
        check(&bed, "cell_v2 simple_cell_setup", 1, "No hosts found");
        check(&bed, "cell_v2 map_cell_and_hosts", 0, "No hosts found");
        let host = bed.host(&cell1, "h1", false).await;
        bed.instance(&cell1, Some(host)).await;
        check(&bed, "cell_v2 simple_cell_setup", 0, "Cell0 is already setup");
        assert_eq!(bed.mapping("cell1").await.database_url, cell1);
        assert_eq!(bed.number("SELECT COUNT(*) FROM host_mapping").await, 1);
        assert_eq!(bed.number("SELECT COUNT(*) FROM instance_mapping").await, 1);
        check(&bed, "cell_v2 simple_cell_setup", 0, "All hosts are already mapped");
        check(&bed, "cell_v2 map_cell_and_hosts --verbose", 0, "Host h1 is already mapped");
        bed.host(&cell1, "h2", false).await;
        let again = bed.manage("cell_v2 map_cell_and_hosts --verbose");
        assert_eq!(again.code, 0);
        assert!(again.out.contains(&bed.mapping("cell1").await.id.to_string()), "{}", again.out);
        assert_eq!(bed.number("SELECT COUNT(*) FROM cell_mapping").await, 2, "no second cell");
        assert_eq!(bed.number("SELECT COUNT(*) FROM host_mapping").await, 2);
    }
}

#[tokio::test]
async fn cells_that_do_not_answer_stop_nothing_else() {
    for mut bed in beds().await {
        // It accepts and says nothing, as a frozen server does.
        let frozen = TcpListener::bind("127.0.0.1:0").expect("listens");
        let at = |name: &str, port: u16| format!("postgres://u:{CANARY}@127.0.0.1:{port}/{name}");
        let port = frozen.local_addr().expect("has an address").port();
        bed.map("frozen", &at("frozen", port));
        bed.map("refused", &at("refused", 1));
        check(&bed, &format!("cell_v2 map_cell0 --database_connection {}", at("cell0", port)), 0, "");
        let good = bed.cell("good").await;
        bed.host(&good, "h1", true).await;
        let prompt = |line: &str, code: i32, says: &str| {
            let ended = bed.manage(line);
            let said = format!("{}{}", ended.out, ended.err);
            assert_eq!(ended.code, code, "{} {line}: {said}", bed.engine);
            assert!(said.contains(says), "{line}: wanted '{says}': {said}");
            assert!(ended.took < PROMPT, "{line} took {:?}", ended.took);
            assert!(said.lines().count() < 20, "{line} says too much: {said}");
        };
        prompt("cell_v2 discover_hosts", 255, "cell refused was left out");
        prompt("cell_v2 discover_hosts", 255, "cell frozen was left out");
        prompt("cell_v2 list_hosts", 0, "h1");
        prompt("cell_v2 list_cells", 0, "frozen");
        prompt("cell_v2 delete_host --cell_uuid good --host h1", 0, "");
        prompt("cell_v2 map_instances --cell_uuid frozen", 255, "cell frozen");
        let lost = bed.unbound().await;
        prompt(&format!("cell_v2 verify_instance --uuid {lost}"), 2, "");
        bed.bind(lost, bed.mapping("frozen").await.id).await;
        bed.above(
            "INSERT INTO quota (project, instances, cores, memory_mib, max_instances, max_cores, max_memory_mib)
             VALUES ('p', 1, 1, 64, -1, -1, -1)",
            vec![],
        )
        .await;
        prompt(&format!("cell_v2 verify_instance --uuid {lost}"), 255, "cell frozen");
        prompt("cell_v2 delete_cell --cell_uuid refused", 255, "--force");
        prompt("cell_v2 delete_cell --cell_uuid refused --force", 0, "");
        prompt("cell_v2 delete_cell --cell_uuid frozen", 255, "--force");
        // Instances that may live there are given up in two steps only.
        prompt("cell_v2 delete_cell --cell_uuid frozen --force", 3, "--disable");
        prompt("cell_v2 update_cell --cell_uuid frozen --disable", 0, "");
        prompt("cell_v2 delete_cell --cell_uuid frozen --force", 0, "1 instances");
        assert_eq!(bed.number("SELECT COUNT(*) FROM instance_mapping").await, 0);
        assert_eq!(bed.number("SELECT instances FROM quota").await, 0);
        // With the bad ones gone all is well again; its only host was deleted above.
        prompt("cell_v2 discover_hosts --strict", 1, "");
        bed.host(&good, "h2", false).await;
        prompt("cell_v2 discover_hosts --strict", 0, "");
    }
}

#[tokio::test]
async fn a_command_starts_at_once() {
    for mut bed in beds().await {
        bed.cell("one").await;
        // The least of several: the machine may be busy with other things.
        let took = (0..15).map(|_| bed.manage("cell_v2 list_cells").took).min().expect("some");
        eprintln!("{}: list_cells takes {took:?}", bed.engine);
        assert!(took < Duration::from_millis(500), "{}: {took:?}", bed.engine);
    }
}

#[tokio::test]
async fn mistakes_are_told_as_such() {
    for bed in beds().await {
        check(&bed, "cell_v2 no_such", 2, "no_such");
        let by_the_other_name = bed.direct("manage cell_v2 verify_instance --uuid x");
        assert_eq!(by_the_other_name.code, 1, "{by_the_other_name:?}");
        check(&bed, "", 2, "Usage");
        bed.above("DROP TABLE schema_meta", vec![]).await;
        check(&bed, "api_db version", 255, "");
        std::fs::write(bed.folder.join("api.toml"), "[api_database]\nulr = 'x'\n").expect("is written");
        check(&bed, "cell_v2 list_cells", 255, "unknown field `ulr`");
        std::fs::write(bed.folder.join("api.toml"), "").expect("is written");
        check(&bed, "cell_v2 list_cells", 255, "SKEP__API_DATABASE__URL");
    }
}
